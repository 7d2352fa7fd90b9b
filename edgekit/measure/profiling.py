"""How fast artifacts and networks run: latency, memory, energy and time per operator."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.core import Energy, Measurement, OperatorTime, from_json
from edgekit.core.text import counted_words
from edgekit.devices.agents import Agent
from edgekit.devices.device import HOST, Device
from edgekit.errors import EdgekitError
from edgekit.measure import statistics
from edgekit.measure.energy import unavailable
from edgekit.measure.metering import AUTO, Metering, Say, metering
from edgekit.measure.session import Effort, Hold, Participant, Progress, Session, session
from edgekit.measure.subjects import Subject, as_subject, check

Opened = Callable[[Agent], None]
"""Told the agent that a measurement asks, so that whoever else can end it."""

Kept = Callable[[Sequence[Measurement]], None]
"""Told what was measured so far, so that it is not lost should the process be killed."""

KEEP_EVERY_S = 15.0

KNOWN_TO, ENDED, INTERRUPTED, TIME_FOR = (
    "the median is known to", "ended early", "interrupted", "there was time for",
)  # fmt: skip
OF_LENGTH = (KNOWN_TO, ENDED, INTERRUPTED, TIME_FOR)
"""How reasons begin that a measurement which goes on for longer does not have any more."""

_PROFILED_RUNS = 30
# Fewer say nothing about how far a median can be believed.
_FEWEST_BLOCKS = 3
# What profilers make of a run at most; one that times operators one by one runs each alone.
_PROFILING_COST = 10


@dataclass(frozen=True, slots=True)
class Failure:
    """A subject that could not be measured, or not in full."""

    subject: Subject
    error: EdgekitError


@dataclass(frozen=True, slots=True)
class Profile:
    """What a session found out.

    Attributes:
        measurements: of what could be measured, in the order asked for.
        failures: of what could not.
        interrupted: whether it was ended before it was done.
        untimed: what was measured, but for the time of its operators.
    """

    measurements: tuple[Measurement, ...]
    failures: tuple[Failure, ...]
    interrupted: bool
    untimed: tuple[Failure, ...] = ()


def profile(
    subjects: Sequence[Subject | str | Path],
    effort: Effort | None = None,
    *,
    device: Device = HOST,
    operators: bool = False,
    energy: str = AUTO,
    command: str | None = None,
    progress: Progress | None = None,
    hold: Hold | None = None,
    opened: Opened | None = None,
    kept: Kept | None = None,
    say: Say = lambda warning: None,
    root: Path = Path("/"),
) -> Profile:
    """Measures subjects in one session.

    Args:
        subjects: a source stands for `Subject` with its defaults.
        effort: its seconds are those of the whole session.
        device: that they run on.
        operators: whether to time operators as well, of exported files.
        energy: see `edgekit.measure.metering.metering`.
        command: what repeats it, for the record.
        hold: see `edgekit.measure.session.Hold`.
        opened: see `Opened`.
        kept: see `Kept`; told every `KEEP_EVERY_S`.
        say: told why the meter that the device declares is not used.
        root: of the device's file system, in which meters are looked for.

    Raises:
        EdgekitError: nothing at all could be measured; the error of the first.
        KeyboardInterrupt: it was ended before there was anything to keep.
    """
    effort = effort or Effort()
    started = now()
    chosen = [as_subject(subject) for subject in subjects]
    for subject in chosen if not device.here else ():  # before it is reached
        check(subject)
        device.check_names(subject.files or ())
    told = _Telling(progress, kept)
    gpu = any(subject.processor == "cuda" for subject in chosen)
    with (
        _agent(device, opened) as agent,
        metering(agent, energy, gpu=gpu, root=root, device=device, say=say) as meter,
        session(chosen, effort, told, hold, device, agent) as open_session,
    ):
        told.of = lambda: [
            measurement(p, open_session, started=started, device=device.name, command=command)
            for p in open_session.active
            if p.blocks
        ]
        open_session.take_turns(_precision)
        told.of = None
        measured = [p for p in open_session.participants if p.blocks]
        untimed: list[Failure] = []
        further = [_further(p, open_session, meter, operators, untimed) for p in measured]
        found = [
            replace(
                measurement(
                    participant,
                    open_session,
                    started=started,
                    device=device.name,
                    goal=effort.goal,
                    command=command,
                ),
                energy=spent,
                operators=times,
            )
            for participant, (spent, times) in zip(measured, further, strict=True)
        ]
        failures = tuple(
            Failure(p.subject, p.error) for p in open_session.participants if p.error is not None
        )
        if not found:
            if open_session.interrupted:
                raise KeyboardInterrupt
            raise failures[0].error
        return Profile(tuple(found), failures, open_session.interrupted, tuple(untimed))


class _Telling:
    """Progress of a session, which now and then gives away what was measured so far.

    Attributes:
        of: makes records of that; ``None`` where there is nothing to give away.
    """

    def __init__(self, progress: Progress | None, kept: Kept | None) -> None:
        self._progress, self._kept = progress, kept
        self._last_s = time.monotonic()
        self.of: Callable[[], list[Measurement]] | None = None

    def __call__(self, what: str, done: float, total: float) -> None:
        """See `edgekit.measure.session.Progress`."""
        if self._progress is not None:
            self._progress(what, done, total)
        due = time.monotonic() - self._last_s >= KEEP_EVERY_S
        if self._kept is None or self.of is None or not due:
            return
        found = self.of()
        if found:
            self._kept(found)
            self._last_s = time.monotonic()


@contextlib.contextmanager
def _agent(device: Device, opened: Opened | None) -> Iterator[Agent]:
    with contextlib.closing(device.open()) as agent:
        if opened is not None:
            opened(agent)
        yield agent


def measurement(
    participant: Participant,
    session: Session,
    *,
    started: str,
    device: str,
    goal: float | None = None,
    command: str | None = None,
) -> Measurement:
    """The record of what a participant measured.

    Args:
        goal: half the width that the interval of its median should have, as a share.
    """
    subject, opened = participant.subject, participant.opened
    reasons = session.reasons()
    if participant.cut_short:
        reasons.append(f"{ENDED}: {participant.error}")
    if session.interrupted:
        reasons.append(f"{INTERRUPTED} after {session.seconds:.1f} s")
    if len(participant.blocks) < _FEWEST_BLOCKS:
        reasons.append(f"{TIME_FOR} {counted_words(len(participant.blocks), 'block')} of runs only")
    precision = statistics.summary(participant.blocks).precision
    if goal and precision > goal:
        reasons.append(f"{KNOWN_TO} ±{precision:.1%} only, not ±{goal:.1%}")
    peak, idle = opened.get("peak_rss_mib"), opened.get("idle_rss_mib")
    return Measurement(
        artifact=subject.called,
        target=subject.target,
        device=device,
        runtime=opened["runtime"],
        threads=subject.threads,
        batch=subject.batch,
        started=started,
        blocks=tuple(participant.blocks),
        energy=unavailable("not asked for"),
        sha256=opened["sha256"],
        load_ms=opened["load_ms"],
        first_ms=opened["first_ms"],
        peak_rss_mib=None if peak is None or idle is None else max(0.0, peak - idle),
        size_bytes=opened["size_bytes"],
        environment=session.environment(participant),
        tools=opened["tools"],
        command=command,
        stable=not reasons,
        reasons=tuple(reasons),
        warnings=() if participant.misfit is None else (participant.misfit,),
    )


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _further(
    participant: Participant,
    session: Session,
    meter: Metering,
    operators: bool,
    untimed: list[Failure],
) -> tuple[Energy, tuple[OperatorTime, ...] | None]:
    """What is found out behind the turns: energy, and where asked for, time per operator.

    Args:
        untimed: gets what has operators that cannot be timed, which takes nothing from the rest.
    """
    spent, times = unavailable("the measurement ended before energy was metered"), None
    if participant.error is not None or session.interrupted:
        return spent, times
    with session.keeping(participant):
        session.look(now=True)
        spent = meter.of(participant, session.progress)
        if operators and participant.subject.target != "pytorch":  # which has no operators to time
            try:
                times = _operators(participant, session)
            except EdgekitError as error:
                untimed.append(Failure(participant.subject, error))
        session.look(now=True)
    return spent, times


def _operators(participant: Participant, session: Session) -> tuple[OperatorTime, ...]:
    session.progress(f"operators of {participant.subject.called}", 0, 1)
    answer = participant.process.ask(
        "operators",
        expected_s=_PROFILED_RUNS * _PROFILING_COST * participant.run_s + participant.load_s,
        runs=_PROFILED_RUNS,
    )
    return tuple(from_json(OperatorTime, entry) for entry in answer["operators"])


def _precision(participants: Sequence[Participant]) -> float:
    return max(statistics.summary(p.blocks).precision for p in participants)
