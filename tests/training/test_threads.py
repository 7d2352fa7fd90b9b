"""Threads of a training follow what other processes leave, and never without a word."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgekit.models.source import open_model
from edgekit.quantize import training
from edgekit.quantize.calibration import calibration_images
from edgekit.search.jobs import Bench, Candidate, WorkerSetup
from edgekit.search.learning import Learner
from edgekit.training import threads
from edgekit.training.threads import CHOSEN_BY_USER, Threads


class Machine:
    """Two processors, of which others use as many as each reading says."""

    readings: list[float]

    def cores(self) -> float:
        return self.readings.pop(0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    for name in CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    found = Machine()
    monkeypatch.setattr(threads, "Others", lambda: found)
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    monkeypatch.setattr(threads, "left_by", lambda others, most: max(1, round(most - others)))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield found
    torch.set_num_threads(before)


def test_threads_follow_and_every_change_is_told(machine: Machine) -> None:
    notes: list[str] = []
    machine.readings = [0.1, 1.9, 2.0, 0.0]
    chosen = Threads(None, notes.append)
    seen = []
    for _ in range(4):
        chosen.fit()
        seen.append(torch.get_num_threads())
    assert seen == [2, 1, 1, 2]
    assert len(notes) == 2
    assert "1 of 2 threads from here on, as other processes keep 1.9 processors busy" in notes[0]


def test_a_number_that_was_asked_for_stays(machine: Machine) -> None:
    machine.readings = []
    chosen = Threads(2, lambda text: pytest.fail(text))
    chosen.fit()
    chosen.resume(1)
    assert torch.get_num_threads() == chosen.now == 2


def test_so_does_one_of_the_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    machine.readings = []
    chosen = Threads(None, lambda text: pytest.fail(text))
    chosen.fit()
    assert chosen.now == 2


def test_a_run_that_goes_on_begins_with_its_own(machine: Machine) -> None:
    machine.readings = []
    chosen = Threads(None, lambda text: pytest.fail(text))
    chosen.resume(1)
    assert torch.get_num_threads() == 1


def test_training_for_integers_follows_and_puts_back(
    machine: Machine,
    short_network: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    seen: list[int] = []
    whole = training.augment

    def noted(*arguments: Any, **options: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return whole(*arguments, **options)

    monkeypatch.setattr(training, "augment", noted)
    model = open_model(str(short_network))
    stages: list[str] = []
    for split in ("train", "test"):
        for i in range(8):
            folder = tmp_path / split / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    machine.readings = [0.1, 1.9]
    assert model.preprocessing is not None
    calibration = calibration_images("digits", model.preprocessing, 16)
    training.fine_tune(model, str(tmp_path), calibration, epochs=2, notify=stages.append)
    half = len(seen) // 2
    assert (set(seen[:half]), set(seen[half:])) == ({2}, {1})
    told = [text for text in stages if "threads from here on" in text]
    assert len(told) == 1
    assert "OMP_NUM_THREADS=N keeps one number" in told[0]
    assert torch.get_num_threads() == 2


def test_jobs_of_a_search_that_run_alone_follow(
    machine: Machine, short_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Learner, "tune", lambda *_, **__: seen.append(torch.get_num_threads()))
    network = short_network.read_bytes()
    bench = Bench(WorkerSetup("digits", 0, network, 20))
    machine.readings = [0.1, 1.9]
    first, second = (
        Candidate("training", network, steps=1, recalibrate=False, wide=True).do(bench)
        for _ in range(2)
    )
    assert (seen, first.notes, machine.readings) == ([2, 1], (), [])
    assert "1 of 2 threads from here on" in second.notes[0]
    Candidate("training", network, steps=1, recalibrate=False).do(bench)
    assert seen == [2, 1, 1]


def test_jobs_take_no_more_than_the_environment_says(
    machine: Machine, short_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Learner, "tune", lambda *_, **__: seen.append(torch.get_num_threads()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)  # as a process of its own has it then
    network = short_network.read_bytes()
    job = Candidate("training", network, steps=1, recalibrate=False, wide=True)
    assert job.do(Bench(WorkerSetup("digits", 0, network, 20))).notes == ()
    assert seen == [1]
