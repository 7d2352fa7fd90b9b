"""A budget of energy, with a meter that is not there: a tree of files as the kernel shows them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.models.source import open_model
from edgekit.search.budget import parse_budget
from edgekit.search.records import Conduct, SearchOptions
from edgekit.search.searching import search

ZONE = "sys/class/powercap/intel-rapl:0"
IDLE_W, BUSY_W = 2.0, 8.0


class Package:
    """A processor package that draws more while a network runs."""

    def __init__(self, root: Path) -> None:
        (root / ZONE).mkdir(parents=True)
        (root / ZONE / "name").write_text("package-0")
        (root / ZONE / "max_energy_range_uj").write_text("65532610987")
        self.watts, self.drawn_uj, self.clock_s = IDLE_W, 0.0, time.monotonic()
        self.file = os.open(root / ZONE / "energy_uj", os.O_RDWR | os.O_CREAT)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.tick()
        self.thread.start()

    def told(self, what: str) -> None:
        """What the search is doing."""
        self.tick()
        if what.startswith("energy of "):
            self.watts = IDLE_W if "idling" in what else BUSY_W

    def tick(self) -> None:
        now_s = time.monotonic()
        self.drawn_uj += self.watts * 1e6 * (now_s - self.clock_s)
        self.clock_s = now_s
        os.pwrite(self.file, f"{int(self.drawn_uj):<20}\n".encode(), 0)

    def run(self) -> None:
        while not self.stop.wait(0.001):
            self.tick()

    def close(self) -> None:
        self.stop.set()
        self.thread.join()
        os.close(self.file)


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Package]:
    made = Package(tmp_path / "root")
    yield made
    made.close()


def test_the_finished_network_takes_less_when_measured(
    package: Package, trained_run: Path, tmp_path: Path
) -> None:
    found = search(
        open_model(str(trained_run)),
        parse_budget("energy=0.8x"),
        "tflite",
        out=tmp_path / "s",
        options=SearchOptions(reduction=0.3, tune_steps=1, finish_epochs=0, distill=False),
        conduct=Conduct(meter="rapl", root=tmp_path / "root"),
        notify=package.told,
    )
    start, last = found.steps[0], found.steps[-1]
    assert len(start.energy_ci95) == 2
    assert last.energy_ci95[1] <= 0.8 * start.costs["energy"]
    assert last.ratio is None
    # As much as the package draws more, for as long as the network takes.
    assert start.costs["energy"] / (BUSY_W - IDLE_W) == pytest.approx(0.5, rel=2)
