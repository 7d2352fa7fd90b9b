"""Energy of whole measurements: with a meter that goes along, with one that lies, without one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import foreign_files
import pytest

from edgekit.core import Energy
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject

ZONE = "sys/class/powercap/intel-rapl:0"
RANGE_UJ = 65_532_610_987  # of a desktop's package
BEFORE_W, IDLE_W, BUSY_W = 0.001, 2.0, 8.0  # before energy is asked for, hardly any

# More than is drawn before the idle window, less than in it; and what is drawn in the first of
# the windows with inferences, each of 0.2 s.
IN_IDLE_UJ, IN_FIRST_UJ = 100_000, 1_000_000


class Package:
    """A processor package that draws more while a network runs, and shows it as it is told to.

    Args:
        shown: what the counter shows for the energy that was drawn, in uJ.
    """

    def __init__(
        self,
        root: Path,
        shown: Callable[[int], str],
        ranged: bool = True,
        busy_w: float = BUSY_W,
    ) -> None:
        (root / ZONE).mkdir(parents=True)
        (root / ZONE / "name").write_text("package-0")
        if ranged:
            (root / ZONE / "max_energy_range_uj").write_text(f"{RANGE_UJ}")
        self.root, self.shown = root, shown
        self.watts, self.busy_w, self.drawn_uj = BEFORE_W, busy_w, 0.0
        self.clock_s = time.monotonic()
        self.file = os.open(root / ZONE / "energy_uj", os.O_RDWR | os.O_CREAT)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.tick()

    def progress(self, what: str, _done: float, _total: float) -> None:
        """Told by the measurement what it does."""
        self.tick()
        if what.startswith("energy of "):
            self.watts = IDLE_W if "idling" in what else self.busy_w

    def tick(self) -> None:
        now_s = time.monotonic()
        self.drawn_uj += self.watts * 1e6 * (now_s - self.clock_s)
        self.clock_s = now_s
        os.pwrite(self.file, f"{self.shown(int(self.drawn_uj)):<20}\n".encode(), 0)

    def run(self) -> None:
        while not self.stop.wait(0.001):
            self.tick()

    def energy(self, network: Path) -> Energy:
        """Of a whole measurement."""
        self.thread.start()
        try:
            found = profile(
                [network],
                Effort(seconds=0.2),
                energy="rapl",
                progress=self.progress,
                root=self.root,
            )
        finally:
            self.stop.set()
            self.thread.join()
            os.close(self.file)
        (measurement,) = found.measurements
        assert measurement.blocks, "the latencies are there whatever the meter shows"
        return measurement.energy


def wrapped(uj: int) -> str:
    return str((RANGE_UJ - IN_FIRST_UJ + uj) % RANGE_UJ)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return foreign_files.write("tflite", tmp_path, [1, 8, 8, 3])


def test_a_whole_measurement_gives_what_the_network_adds(tmp_path: Path, network: Path) -> None:
    for attempt in range(4):  # on a busy machine the package may draw by fits and starts
        energy = Package(tmp_path / f"{attempt}", wrapped).energy(network)
        if energy.kind == "measured":
            break
    assert energy.kind == "measured", energy.reason
    assert (energy.meter, energy.detail, energy.windows) == ("rapl", "package-0", 5)
    assert energy.mj_per_inference is not None
    assert energy.gross_mj_per_inference is not None
    assert energy.ci95 is not None
    assert energy.idle_mw == pytest.approx(1e3 * IDLE_W, rel=0.25)
    share = energy.mj_per_inference / energy.gross_mj_per_inference
    assert share == pytest.approx(1 - IDLE_W / BUSY_W, abs=0.1)
    assert 0 < energy.ci95[0] <= energy.mj_per_inference <= energy.ci95[1]


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (lambda uj: "20000", "nothing new"),
        (lambda uj: str(RANGE_UJ - uj % RANGE_UJ), "which no power or its range of 65532610987 uJ"),
        (lambda uj: "nan" if uj > IN_IDLE_UJ else str(uj), "shows 'nan': expected a whole number"),
        (lambda uj: "" if uj > IN_IDLE_UJ else str(uj), "shows '': expected a whole number"),
    ],
    ids=["stuck", "backwards", "nan", "empty"],
)
def test_a_counter_that_lies_gives_no_energy_and_the_reason(
    tmp_path: Path, network: Path, shown: Callable[[int], str], reason: str
) -> None:
    energy = Package(tmp_path, shown).energy(network)
    assert (energy.kind, energy.mj_per_inference) == ("unavailable", None)
    assert reason in str(energy.reason)


def test_a_wrap_without_its_range_gives_no_energy(tmp_path: Path, network: Path) -> None:
    energy = Package(tmp_path, wrapped, ranged=False).energy(network)
    assert energy.kind == "unavailable"
    assert "max_energy_range_uj" in str(energy.reason)


def test_a_network_that_adds_nothing_has_no_energy(tmp_path: Path, network: Path) -> None:
    energy = Package(tmp_path, str, busy_w=0.9 * IDLE_W).energy(network)
    assert (energy.kind, energy.mj_per_inference) == ("unavailable", None)
    assert "can tell" in str(energy.reason) or "something else ran" in str(energy.reason)


# Each works in the process that measures, and fails in the one that asks.
MOODY = """
import sys
import torch

class Moody(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 10)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))

class Divides(Moody):
    def forward(self, x):
        if "pytest" in sys.modules:
            1 / 0
        return super().forward(x)

class Hides(Moody):
    def parameters(self, recurse=True):
        if "pytest" in sys.modules:
            raise KeyError("hidden")
        return super().parameters(recurse)

def lacks():
    if "pytest" in sys.modules:
        raise ImportError("libodd.so: cannot open shared object file")
    return Moody()
"""


@pytest.mark.parametrize(
    ("network", "reason"),
    [("Divides", "division by zero"), ("Hides", "KeyError: 'hidden'"), ("lacks", "libodd.so")],
)
def test_an_estimate_that_fails_leaves_the_latency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, reason: str
) -> None:
    (tmp_path / "moody.py").write_text(MOODY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "moody", raising=False)
    subject = Subject(f"moody:{network}", resolution=8)
    found = profile([subject], Effort(seconds=0.2), energy="estimate")
    (measurement,) = found.measurements
    assert measurement.blocks
    assert measurement.energy.kind == "unavailable"
    assert reason in str(measurement.energy.reason)
