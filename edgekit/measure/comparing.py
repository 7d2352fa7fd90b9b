"""Which of two is faster: measured in turns, decided by an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core import Measurement
from edgekit.errors import UnavailableError
from edgekit.measure import statistics
from edgekit.measure.profiling import measurement, now
from edgekit.measure.session import Effort, Hold, Participant, Progress, session
from edgekit.measure.statistics import Ratio
from edgekit.measure.subjects import Subject, as_subject

# Half the width of the interval at which a comparison stops.
GOAL = 0.01


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two subjects that were measured in turns.

    Attributes:
        ratio: time of A over time of B, its interval and verdict.
        differing: conditions that were not the same, in words.
        interrupted: whether it was ended before it was done.
    """

    a: Measurement
    b: Measurement
    ratio: Ratio
    differing: tuple[str, ...]
    interrupted: bool


def compare(
    a: Subject | str | Path,
    b: Subject | str | Path,
    effort: Effort | None = None,
    *,
    device: str = "host",
    command: str | None = None,
    progress: Progress | None = None,
    hold: Hold | None = None,
) -> Comparison:
    """Measures two subjects in turns until the interval of their ratio is narrow enough.

    Args:
        a: a source stands for `Subject` with its defaults.
        b: as ``a``.
        command: what repeats it, for the record.
        hold: see `edgekit.measure.session.Hold`.

    Raises:
        EdgekitError: one of them cannot be run to the end.
        KeyboardInterrupt: it was ended before there was anything to compare.
    """
    started = now()
    a, b = as_subject(a), as_subject(b)
    with session((a, b), effort or Effort(goal=GOAL), progress, hold) as open_session:
        for participant in open_session.participants:
            if participant.error is not None:
                raise participant.error
        open_session.take_turns(_precision)
        one, other = open_session.participants
        for participant in (one, other):
            if participant.error is not None:
                raise participant.error
        if not one.blocks or not other.blocks:
            if open_session.interrupted:
                raise KeyboardInterrupt
            raise UnavailableError(
                f"{a.called} and {b.called}: the time was too short for one round"
            )
        measured = [
            measurement(participant, open_session, started=started, device=device, command=command)
            for participant in (one, other)
        ]
        ratio = statistics.ratio(one.blocks, other.blocks)
        return Comparison(
            measured[0], measured[1], ratio, differences(*measured), open_session.interrupted
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
