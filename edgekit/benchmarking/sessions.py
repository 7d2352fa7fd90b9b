"""Measuring files in turns, in several sessions where one was ended early."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.benchmarking.journal import Journal
from edgekit.core import Measurement
from edgekit.core.text import counted_words
from edgekit.devices.device import Device
from edgekit.errors import EdgekitError, UnavailableError
from edgekit.measure import profiling, statistics
from edgekit.measure.metering import OFF
from edgekit.measure.session import Effort, Hold, Progress
from edgekit.measure.subjects import Subject

_LEAST_SHARE = 0.25
"""Of the time, which a session has at least that goes on with another one."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What became of the files that were measured.

    Attributes:
        found: by digest; blocks of one position are of one round.
        failed: by path, why a file could not be measured.
        lost: that the device was, which ended it early.
        interrupted: whether the user ended it early.
        fresh: whether anything was measured now.
    """

    found: dict[str, Measurement]
    failed: dict[str, EdgekitError]
    lost: EdgekitError | None = None
    interrupted: bool = False
    fresh: bool = True


def measure(
    files: Sequence[tuple[Path, str]],
    effort: Effort,
    *,
    threads: int,
    device: Device,
    journal: Journal,
    command: str | None = None,
    progress: Progress | None = None,
    hold: Hold | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Measures files in turns, and goes on with what was measured of the same ones before.

    Args:
        files: with their digests.
        effort: its seconds are those of all files together.
        command: what repeats it, for the record.
        note: told what is begun.

    Raises:
        EdgekitError: nothing at all could be measured.
        KeyboardInterrupt: it was ended before there was anything to keep.
    """
    told = [f"{device.transport.where}, {threads} threads", *(sha256 for _, sha256 in files)]
    before = journal.sessions(told)
    if before and journal.complete:
        return Measured(_together(before, files, effort.goal), {}, fresh=False)
    spent_s = sum(max((m.blocks[-1].start_s for m in one if m.blocks), default=0) for one in before)
    left_s = max(effort.seconds - spent_s, _LEAST_SHARE * effort.seconds)
    number = len(before) + 1
    note(f"measuring {counted_words(len(files), 'file')} in turns, {left_s:.0f} s at most")

    def kept(measurements: Sequence[Measurement]) -> None:
        journal.note_session(told, number, measurements, complete=False)

    result = profiling.profile(
        [Subject(str(path), threads) for path, _ in files],
        dataclasses.replace(effort, seconds=left_s),
        device=device,
        energy=OFF,
        command=command,
        progress=progress,
        hold=hold,
        kept=kept,
    )
    lost = _lost(result, device)
    complete = lost is None and not result.interrupted
    failed = {} if lost else {f.subject.source: f.error for f in result.failures}
    whole = [m for m in result.measurements if m.artifact not in failed]
    journal.note_session(told, number, whole, complete=complete)
    found = _together([*before, whole], files, effort.goal)
    return Measured(found, failed, lost, result.interrupted)


def _lost(result: profiling.Profile, device: Device) -> EdgekitError | None:
    """The error of a device that was lost, which ends the part of all files at once."""
    errors = [failure.error for failure in result.failures]
    gone = [error for error in errors if isinstance(error, UnavailableError)]
    if device.here or not gone:
        return None
    unfinished = {failure.subject.source for failure in result.failures}
    measured = {m.artifact for m in result.measurements}
    return gone[-1] if measured <= unfinished else None


def _together(
    sessions: Sequence[Sequence[Measurement]], files: Sequence[tuple[Path, str]], goal: float
) -> dict[str, Measurement]:
    """One measurement a file; its blocks are those of all sessions.

    Blocks of one position are of one round: a file that one session has not measured to the end
    has none.
    """
    names = {sha256: str(path) for path, sha256 in files}
    parts: dict[str, list[Measurement]] = {sha256: [] for sha256 in names}
    for position, session in enumerate(sessions):
        rounds = min((len(m.blocks) for m in session), default=0)
        for m in session if rounds else ():
            # Loads of two sessions are not the same.
            blocks = [
                dataclasses.replace(b, instance=b.instance + _LOADS * position)
                for b in m.blocks[:rounds]
            ]
            if m.sha256 in parts:
                parts[m.sha256].append(dataclasses.replace(m, blocks=tuple(blocks)))
    most = max((len(own) for own in parts.values()), default=0)
    return {
        sha256: _one(own, names[sha256], goal)
        for sha256, own in parts.items()
        if own and len(own) == most
    }


def _one(parts: Sequence[Measurement], name: str, goal: float) -> Measurement:
    """One measurement of what several sessions have measured of a file."""
    last = parts[-1]
    blocks = tuple(block for one in parts for block in one.blocks)
    reasons = dict.fromkeys(
        text for one in parts for text in one.reasons if not text.startswith(profiling.OF_LENGTH)
    )
    if statistics.summary(blocks).precision > goal:
        reasons[f"medians are known to ± as shown only, not to ±{goal:.1%}"] = None
    return dataclasses.replace(
        last, artifact=name, blocks=blocks, stable=not reasons, reasons=tuple(reasons)
    )


_LOADS = 1 << 20
