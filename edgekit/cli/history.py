"""``edgekit history``: the measurements that were kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from edgekit.cli import console
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core import Measurement

Command = TypeVar("Command", bound=Callable[..., Any])

_SPAN = re.compile(r"(\d{1,6})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

# Longer names show their end only.
_NAME_WIDTH = 40


def filter_options(command: Command) -> Command:
    """``--artifact``, ``--device``, ``--runtime``, ``--since`` and ``--limit``."""
    options = (
        click.option("--artifact", metavar="WORDS", help="Part of its name, or of its SHA-256."),
        click.option("--device", metavar="NAME", help="Device that it was measured on."),
        click.option("--runtime", metavar="WORDS", help="Part of the runtime's name."),
        click.option("--since", metavar="WHEN", help="As in 2026-01-31, 2026-01-31T18:00 or 7d."),
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def moment(text: str | None, now: datetime) -> datetime | None:
    """The point in time that ``--since`` names; times without a zone are the user's own.

    Args:
        now: with its time zone.

    Raises:
        UsageError: it is neither a date nor a span.
    """
    if text is None:
        return None
    try:
        if (span := _SPAN.fullmatch(text)) is not None:
            return now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"--since {text}: expected a date such as 2026-01-31 or 2026-01-31T18:00, or a span "
            f"such as 12h, 7d, 4w"
        ) from error


@click.command("history")
@filter_options
@console.common_options
def command(
    artifact: str | None,
    device: str | None,
    runtime: str | None,
    since: str | None,
    limit: int | None,
) -> None:
    """List the measurements that were kept, the newest first.

    At most 20, unless --limit says otherwise. All samples stay in the file;
    'edgekit export-profiles' writes them into a table.
    """
    from edgekit.measure.store import Store

    store = Store()
    # One by one: of each only a line is kept, whatever its samples take.
    found = store.each(
        artifact=artifact,
        device=device,
        runtime=runtime,
        since=moment(since, datetime.now(UTC)),
        limit=limit or 20,
    )
    entries, lines = [], []
    for number, one in found:
        if console.wants_json():
            entries.append({"id": number, **measurement_entry(one)})
        else:
            lines.append(_line(number, one))
    for reason in store.skipped:
        console.warn(reason)
    if console.wants_json():
        console.emit_json(
            "edgekit.history/1",
            {"store": str(store.path), "measurements": entries, "skipped": store.skipped},
        )
        return
    if not lines:
        filtered = any((artifact, device, runtime, since))
        what = "no measurement matches" if filtered else "no measurements yet"
        console.say(f"{what} ({store.path})")
        return
    _show(lines)


class _Line(NamedTuple):
    """What is shown of a measurement."""

    cells: tuple[str, ...]
    device: str
    batch: int
    stable: bool


def _line(number: int, one: Measurement) -> _Line:
    from edgekit.cli.figures import chosen_input
    from edgekit.measure.statistics import summary

    result = summary(one.blocks) if _has_samples(one) else None
    low, high = result.ci95_ms if result else (0.0, 0.0)
    cells = (
        str(number),
        _when(one),
        _short(one.artifact) + chosen_input(one),
        _short(one.device),
        one.runtime,
        str(one.threads),
        str(one.batch),
        f"{result.p50_ms:#.4g}".rstrip(".") + "*" * (not one.stable) if result else "-",
        f"{50 * (high - low) / result.p50_ms:.1f} %" if result else "-",
    )
    return _Line(cells, one.device, one.batch, one.stable)


def _show(lines: list[_Line]) -> None:
    rows = [line.cells for line in lines]
    # What all have in common is said once, and its column left out.
    devices = {line.device for line in lines}
    batches = {line.batch for line in lines}
    columns: list[str | tuple[str, str]] = [("id", "right"), "when", "artifact", "device"]
    columns += ["runtime", ("thr", "right"), ("N", "right"), ("p50 ms", "right"), ("±", "right")]
    if len(batches) == 1:
        columns.pop(6)
        rows = [(*row[:6], *row[7:]) for row in rows]
        if batches != {1}:
            console.say(f"batch {batches.pop()}")
    if len(devices) == 1:
        columns.pop(3)
        rows = [(*row[:3], *row[4:]) for row in rows]
        console.say(f"on {devices.pop()}")
    console.table(columns, rows)
    if not all(line.stable for line in lines):
        console.say("* unstable; --json tells why")


def _has_samples(measurement: Measurement) -> bool:
    """Whether there is anything to summarize; an interrupted measurement may have nothing."""
    return any(block.samples_ms for block in measurement.blocks)


def _when(measurement: Measurement) -> str:
    """Date and time on the user's clock."""
    from edgekit.measure.plausible import started_at

    return f"{started_at(measurement).astimezone():%y-%m-%d %H:%M}"


def _short(name: str) -> str:
    """The end of a path or name, which tells most."""
    text = PurePath(name).name or name
    return text if len(text) <= _NAME_WIDTH else "~" + text[1 - _NAME_WIDTH :]


def measurement_entry(measurement: Measurement) -> dict[str, Any]:
    """A measurement as documents show it; without samples, ``latency_ms`` is ``None``."""
    from edgekit.cli.figures import entry
    from edgekit.core import to_json

    if _has_samples(measurement):
        return entry(measurement)
    document = {key: value for key, value in to_json(measurement).items() if key != "blocks"}
    return {**document, "latency_ms": None}
