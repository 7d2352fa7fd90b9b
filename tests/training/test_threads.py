"""Threads of a training follow what other processes leave, and never without a word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

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
