from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from fake_meters import COUNTER, FakeMeter, readings

from edgekit.agent.recorder import EnergyRecorder, poll_s, shortest_window_s
from edgekit.core import Reading
from edgekit.errors import MeterError
from edgekit.measure.energy_curve import energy_curve


def test_windows_are_twenty_periods_and_polls_not_too_fast() -> None:
    assert (poll_s(COUNTER), shortest_window_s(COUNTER)) == (0.05, 2.0)
    fast = FakeMeter(period_s=0.001)
    assert (poll_s(fast), shortest_window_s(fast)) == (0.01, 0.2)


class Script:
    """A meter's answers, one a call; then nothing new. Tells when it is through."""

    def __init__(self, *answers: Sequence[Reading] | Exception) -> None:
        self.answers = iter(answers)
        self.through = threading.Event()

    def __call__(self) -> Sequence[Reading]:
        answer = next(self.answers, None)
        if answer is None:
            self.through.set()
            return ()
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_recorder_gathers_what_the_meter_shows() -> None:
    script = Script(readings((0, 1000)), readings((0.5, 1000), (1.0, 2000)), readings((1.5, 2000)))
    meter = FakeMeter("power", show=script)
    with EnergyRecorder(meter, every_s=0.001) as recorder:
        recorder.reach(1.4)
        curve = energy_curve(recorder.readings(), meter)
    assert curve.between(0, 1.5) == pytest.approx(500 + 750 + 1000)
    assert "edgekit-energy" not in {thread.name for thread in threading.enumerate()}


def test_a_recorder_waits_for_a_counter_to_move() -> None:
    script = Script(readings((0, 5)), readings((1.0, 7)), readings((2.0, 7)))
    meter = FakeMeter(show=script)
    with EnergyRecorder(meter, every_s=0.001) as recorder:
        recorder.reach(1.0)
        assert script.through.wait(10)
        with pytest.raises(MeterError, match="nothing new"):
            recorder.reach(1.5, limit_s=0.0)
    assert meter.closed == []


@pytest.mark.parametrize("failure", [MeterError("broken"), OSError("broken"), KeyError("broken")])
def test_a_meter_that_fails_at_once_is_raised_on_entering(failure: Exception) -> None:
    meter = FakeMeter(show=Script(failure))
    with pytest.raises(MeterError, match="broken"), EnergyRecorder(meter):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("failure", [MeterError("broken"), KeyError("broken")])
def test_a_meter_that_fails_later_is_raised_in_the_caller(failure: Exception) -> None:
    script = Script(readings((0, 5)), failure)
    with (
        pytest.raises(MeterError, match="broken"),
        EnergyRecorder(FakeMeter(show=script), every_s=0.001) as recorder,
    ):
        recorder.reach(1.0)
    with pytest.raises(MeterError, match="broken"):
        recorder.readings()


def test_a_meter_that_fails_unasked_is_raised_at_the_end_of_the_block() -> None:
    failed = threading.Event()

    def show() -> Sequence[Reading]:
        if threading.current_thread() is threading.main_thread():
            return readings((0, 5))
        failed.set()
        raise MeterError("broken")

    with (
        pytest.raises(MeterError, match="broken"),
        EnergyRecorder(FakeMeter(show=show), every_s=0.001),
    ):
        assert failed.wait(10)


def test_an_error_of_the_block_is_not_hidden_by_one_of_the_meter() -> None:
    script = Script(readings((0, 5)), MeterError("broken"))
    with (
        pytest.raises(ValueError, match="of the block"),
        EnergyRecorder(FakeMeter(show=script), every_s=0.001),
    ):
        raise ValueError("of the block")
