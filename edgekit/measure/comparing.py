"""Which of two is faster: measured in turns, decided by an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core import Measurement
from edgekit.devices.device import HOST, Device
from edgekit.errors import EdgekitError, UnavailableError
from edgekit.measure import statistics
from edgekit.measure.fleet import side_by_side
from edgekit.measure.metering import OFF
from edgekit.measure.profiling import Opened, Profile, measurement, now, profile
from edgekit.measure.session import Effort, Hold, Participant, Progress, session
from edgekit.measure.statistics import Ratio
from edgekit.measure.subjects import Subject, as_subject

# Half the width of the interval at which a comparison stops.
GOAL = 0.01

# Of a comparison that was cut off: fewer say nothing about how far its ratio can be believed.
_FEWEST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two subjects that were measured in turns.

    Attributes:
        ratio: time of A over time of B, its interval and verdict.
        differing: conditions that were not the same, in words.
        paired: whether they were taken in turns, on one device.
        boot: see `edgekit.measure.session.Session`.
        interrupted: whether it was ended before it was done.
    """

    a: Measurement
    b: Measurement
    ratio: Ratio
    differing: tuple[str, ...]
    interrupted: bool
    paired: bool = True
    boot: str | None = None


def compare(
    a: Subject | str | Path,
    b: Subject | str | Path,
    effort: Effort | None = None,
    *,
    device: Device = HOST,
    command: str | None = None,
    progress: Progress | None = None,
    hold: Hold | None = None,
) -> Comparison:
    """Measures two subjects in turns until the interval of their ratio is narrow enough.

    Args:
        a: a source stands for `Subject` with its defaults.
        b: as ``a``.
        device: that both run on.
        command: what repeats it, for the record.
        hold: see `edgekit.measure.session.Hold`.

    Raises:
        EdgekitError: one of them cannot be run to the end; ``results`` holds what was measured
            before, a `Comparison` or the `Measurement` of one.
        KeyboardInterrupt: it was ended before there was anything to compare.
    """
    started = now()
    a, b = as_subject(a), as_subject(b)
    with session((a, b), effort or Effort(goal=GOAL), progress, hold, device) as open_session:
        for participant in open_session.participants:
            if participant.error is not None:
                raise participant.error
        open_session.take_turns(_precision)
        one, other = open_session.participants
        measured = [
            measurement(
                participant, open_session, started=started, device=device.name, command=command
            )
            for participant in (one, other)
            if participant.blocks
        ]
        found: Sequence[Comparison | Measurement] = measured
        error = one.error or other.error
        rounds = min(len(one.blocks), len(other.blocks))
        if rounds >= (1 if error is None else _FEWEST_ROUNDS):
            ratio = statistics.ratio(one.blocks, other.blocks)
            differing = differences(measured[0], measured[1])
            comparison = Comparison(
                measured[0],
                measured[1],
                ratio,
                differing,
                open_session.interrupted,
                boot=open_session.boot,
            )
            if error is None:
                return comparison
            found = [comparison]
        if error is not None:
            error.results = found
            raise error
        if open_session.interrupted:
            raise KeyboardInterrupt
        raise UnavailableError(f"{a.called} and {b.called}: the time was too short for one round")


def compare_apart(
    a: Subject,
    b: Subject,
    devices: tuple[Device, Device],
    effort: Effort,
    *,
    command: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Measures two subjects on a device each, at the same time.

    Args:
        command: what repeats it, for the record.

    Raises:
        EdgekitError: one of them cannot be run to the end; ``results`` holds each `Measurement`
            that there is.
        KeyboardInterrupt: it was ended before there was anything to compare.
        UnavailableError: one of the devices is emulated, and the other is not.
    """
    emulated = [device.name for device in devices if device.emulated()]
    if len(emulated) == 1:
        raise UnavailableError(
            f"the processor of {emulated[0]} is emulated: its times mean nothing beside real ones"
        )

    def measure(position: int, progress: Progress, opened: Opened | None) -> Profile:
        return profile(
            [(a, b)[position]],
            effort,
            device=devices[position],
            energy=OFF,
            command=command,
            progress=progress,
            opened=opened,
        )

    results = side_by_side(devices, measure, progress)
    found = [result for result in results if isinstance(result, Profile)]
    errors = [result for result in results if isinstance(result, EdgekitError)]
    errors += [failure.error for profiled in found for failure in profiled.failures]
    if errors:
        errors[0].results = [m for profiled in found for m in profiled.measurements]
        raise errors[0]
    if len(found) < len(results):
        raise KeyboardInterrupt
    (one,), (other,) = (profiled.measurements for profiled in found)
    ratio = statistics.ratio_apart(one.blocks, other.blocks)
    return Comparison(
        one, other, ratio, differences(one, other), any(p.interrupted for p in found), paired=False
    )


def differences(a: Measurement, b: Measurement) -> tuple[str, ...]:
    """Conditions of two measurements that differ, in words."""
    pairs = [
        (name, getattr(a, name), getattr(b, name))
        for name in ("device", "runtime", "threads", "batch", "target")
    ]
    pairs.append(("input", a.environment.get("input"), b.environment.get("input")))
    told = set(a.runtime.split()) | set(b.runtime.split())
    for name in sorted(a.tools.keys() & b.tools.keys()):
        one, other = a.tools[name], b.tools[name]
        if not {one, other} <= told:  # the runtime's own version stands with its name
            pairs.append((name, one, other))
    return tuple(f"{name}: {one} and {other}" for name, one, other in pairs if one != other)


def _precision(participants: Sequence[Participant]) -> float:
    if len(participants) < 2:
        return 0.0  # one has failed, and there is nothing to wait for
    one, other = participants
    return statistics.ratio(one.blocks, other.blocks).precision
