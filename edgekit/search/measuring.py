"""What networks and their parts take on the device, measured; waits where the device is gone."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from edgekit.core import Target
from edgekit.devices.device import HOST, Device
from edgekit.errors import UnavailableError
from edgekit.measure.comparing import Comparison, compare
from edgekit.measure.metering import metering
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.statistics import summary
from edgekit.measure.subjects import Subject
from edgekit.search.journal import Iteration, Journal
from edgekit.search.records import Conduct
from edgekit.search.timing import Timer

MEASURING_SECONDS = 6.0

MEASURING_TRIES = 3
"""A comparison that is too coarse for its step is made again, each time twice as long."""

_POLLS_S = (5.0, 10.0, 20.0, 30.0)

Notify = Callable[[str], None]
T = TypeVar("T")


class Say(Protocol):
    """Says something that has to be known, and keeps it."""

    def __call__(self, iteration: Iteration, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Latency:
    """What a comparison with the start gave.

    Attributes:
        ratio: latency over that of the start.
        ci95: interval of ``ratio``.
        ms: at the speed that the machine had when the start was measured.
    """

    ratio: float
    ci95: tuple[float, float]
    ms: float


def check_meter(conduct: Conduct, device: Device) -> None:
    """Looks for a meter of energy.

    Raises:
        UnavailableError: there is none.
    """
    with (
        contextlib.closing(device.open()) as agent,
        metering(agent, conduct.meter, root=conduct.root, device=device) as found,
    ):
        if found.meter is None:
            raise UnavailableError(
                f"a budget of energy needs a meter, as an estimate is no measurement, and "
                f"--meter {conduct.meter} finds none: see 'edgekit list meters' and "
                f"'edgekit doctor'"
            )


class Measurer:
    """All that a search measures; one process at a time uses the device.

    Args:
        threads: of the runtime.
        say: told of waiting, and of measurements that have to be longer.
        device: that it measures on.
    """

    def __init__(
        self,
        target: Target,
        threads: int,
        conduct: Conduct,
        journal: Journal,
        notify: Notify,
        say: Say,
        device: Device = HOST,
    ) -> None:
        self._device = device
        self._target, self._threads, self._conduct = target, threads, conduct
        self._journal, self._notify, self._say = journal, notify, say
        self._timer: Timer | None = None
        known = (record.get("boot") for record in reversed(journal.events("measurement")))
        self._boot: str | None = next((boot for boot in known if isinstance(boot, str)), None)

    def start(self, iteration: Iteration, path: Path) -> tuple[float, tuple[float, float]]:
        """Milliseconds of the start, and their interval."""
        found = self._compared(path, path, MEASURING_SECONDS)
        times = summary(found.b.blocks)
        record = {"latency_ms": times.p50_ms, "ci95_ms": list(times.ci95_ms), "boot": found.boot}
        self._journal.note("measurement", iteration, record)
        return times.p50_ms, times.ci95_ms

    def latency(
        self,
        iteration: Iteration,
        path: Path,
        start: Path,
        start_ms: float,
        expected: float,
        bound: float,
    ) -> Latency:
        """Measures a file in turns with that of the start.

        Args:
            expected: share of the latency by which it should differ from what it is told from;
                infinite where only the bound counts.
            bound: ratio on one side of which the interval should lie.
        """
        seconds = MEASURING_SECONDS
        for attempt in range(MEASURING_TRIES):
            found = self._compared(path, start, seconds)
            ratio = found.ratio
            record = {"ratio": ratio.ratio, "ci95": list(ratio.ci95), "seconds": seconds}
            record["boot"] = found.boot  # of the device's system, which may have started anew
            self._journal.note("measurement", iteration, record)
            # What keeps the bound is told apart from nothing any more.
            wide = ratio.precision > expected / 2 and ratio.ci95[1] >= bound
            undecided = ratio.ci95[0] < bound < ratio.ci95[1]
            if not (wide or undecided) or attempt + 1 == MEASURING_TRIES:
                break
            seconds *= 2
            why = (
                f"the interval of +-{ratio.precision:.1%} is wide for a step of {expected:.1%}"
                if wide
                else f"{ratio.ratio:.3f} +-{ratio.precision:.1%} may keep the budget or not"
            )
            self._say(
                iteration,
                f"{iteration.series} {iteration.step}: {why}: measuring again, for {seconds:.0f} s",
            )
        return Latency(ratio.ratio, ratio.ci95, ratio.ratio * start_ms)

    def _compared(self, path: Path, other: Path, seconds: float) -> Comparison:
        a, b = (Subject(str(file), threads=self._threads) for file in (path, other))
        found = self.patiently(
            functools.partial(compare, a, b, Effort(seconds, 0.005), device=self._device)
        )
        if found.interrupted:
            raise KeyboardInterrupt
        self._note_boot(found.boot)
        return found

    def _note_boot(self, boot: str | None) -> None:
        """Says that the device was started anew, if it was: it may be faster or slower since."""
        if self._boot is not None and boot is not None and boot != self._boot:
            self._say(
                Iteration("device", 0),
                "the device was started anew: networks are measured in turns with the start and "
                "parts with their reference, before and after; milliseconds are those of the "
                "speed that it had when the start was measured",
            )
        self._boot = boot or self._boot

    def energy(self, path: Path) -> tuple[float, tuple[float, ...]]:
        """Millijoule of an inference and their interval.

        Raises:
            UnavailableError: the meter cannot be read.
        """
        return self.patiently(functools.partial(self._energy, path))

    def _energy(self, path: Path) -> tuple[float, tuple[float, ...]]:
        found = profile(
            [Subject(str(path), threads=self._threads)],
            Effort(MEASURING_SECONDS / 2),
            device=self._device,
            energy=self._conduct.meter,
            progress=lambda what, done, total: self._notify(what),
            root=self._conduct.root,
        )
        if found.interrupted:
            raise KeyboardInterrupt
        energy = found.measurements[0].energy
        if energy.kind != "measured" or energy.mj_per_inference is None:
            raise UnavailableError(f"energy cannot be measured: {energy.reason}")
        return energy.mj_per_inference, tuple(energy.ci95 or ())

    def part(
        self, path: Path, reference: Path, between: int, *, whole: bool
    ) -> tuple[float, float]:
        """Milliseconds of a part and of what it was measured in turns with.

        Args:
            between: bytes that are read between two runs of a part; the same for all calls.
            whole: whether it is the whole network.

        Raises:
            InputError: the runtime cannot load it, or crashes or hangs.
        """
        if self._timer is None:
            self._timer = Timer(self._target, reference, self._threads, between, self._device)
        found = self.patiently(functools.partial(self._timer.time, path, whole=whole))
        self._note_boot(self._timer.boot)
        return found

    def patiently(self, call: Callable[[], T]) -> T:
        """Calls something that needs the device, and waits for the device where it is gone.

        Raises:
            UnavailableError: it does not come back.
        """
        begun = time.monotonic()
        for attempt in range(10**6):
            try:
                return call()
            except UnavailableError as error:
                left = self._conduct.patience_s - (time.monotonic() - begun)
                if left <= 0:
                    raise
                pause = min(left, _POLLS_S[min(attempt, len(_POLLS_S) - 1)])
                self._say(Iteration("device", 0), f"{error}; waiting, {left:.0f} s left")
                time.sleep(pause)
        raise AssertionError

    def close(self) -> None:
        """Ends what measures."""
        if self._timer is not None:
            self._timer.close()
