"""What files take on microcontrollers, for ``edgekit profile --device``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.cli import console, figures, measuring
from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from edgekit.core import Simulation

NO_CLOCK = (
    "No latency can be told from this: the interpreter ran on this machine. The arena is that of a "
    "64-bit machine; pointers take half as much on most microcontrollers."
)


def refuse_options(device: str, names: Sequence[str]) -> None:
    """Refuses options of measuring, which have no effect here.

    Raises:
        UsageError: one was given.
    """
    for name in names:
        if measuring.given(name):
            raise UsageError(
                f"--{name.replace('_', '-')} does not go with device '{device}', on which nothing "
                f"is timed: leave it out"
            )


def command(sources: Sequence[str], device: str) -> None:
    """Shows what files take.

    Raises:
        EdgekitError: one of them cannot be used; the others are shown all the same.
    """
    from edgekit.api.simulating import estimate
    from edgekit.folders import expanded

    found: list[tuple[str, Simulation]] = []
    failed: list[tuple[str, EdgekitError]] = []
    with console.status("") as notify:
        for source in expanded(sources):
            notify(f"looking at {source}")
            try:
                found.append((source, estimate(source, device)))
            except EdgekitError as error:
                failed.append((source, error))
    if found:
        _show(found)
    for _, other in failed[:-1]:
        console.warn(str(other))
    if console.wants_json() and found:
        from edgekit.core import to_json

        console.emit_json(
            "edgekit.profile/1",
            {
                "measurements": [],
                "simulations": [{"artifact": source, **to_json(one)} for source, one in found],
                "failed": [
                    {"artifact": source, "error": console.error_entry(why)}
                    for source, why in failed
                ],
            },
        )
    if failed:
        raise failed[-1][1]


def _show(found: Sequence[tuple[str, Simulation]]) -> None:
    first = found[0][1]
    if first.arena_bytes is not None:
        _arenas(found)
        figures.say_wrapped(NO_CLOCK)
    else:
        _estimates(found)
    console.say(f"By {first.simulator}.")


def _arenas(found: Sequence[tuple[str, Simulation]]) -> None:
    """A line for each part of an arena, and a column for each file."""
    parts = dict.fromkeys(part for _, one in found for part in one.arena or {})
    rows: list[tuple[str, ...]] = [
        ("arena", *(_kib(one.arena_bytes) for _, one in found)),
        *(
            (f"  {part}", *(_kib((one.arena or {}).get(part)) for _, one in found))
            for part in parts
        ),
        ("file", *(_kib(one.size_bytes) for _, one in found)),
    ]
    _table(f"memory on {found[0][1].device}", found, rows)


def _estimates(found: Sequence[tuple[str, Simulation]]) -> None:
    simulations = [one for _, one in found]
    rows: list[tuple[str, ...]] = [
        ("SRAM", *(_kib(one.sram_bytes) for one in simulations)),
        *_by_memory("", [one.memory_bytes or {} for one in simulations]),
        *_by_memory(" traffic", [one.traffic_bytes or {} for one in simulations]),
        ("cycles", *(f"{one.cycles or 0:,}" for one in simulations)),
        (
            f"estimated time at {simulations[0].clock_mhz:g} MHz",
            *(f"{one.estimated_ms or 0:.3f} ms" for one in simulations),
        ),
        ("operators on the NPU", *(f"{one.npu_share or 0:.1%}" for one in simulations)),
    ]
    _table(f"estimate for {simulations[0].device}", found, rows)
    for source, one in found:
        if one.cpu_operators:
            figures.say_wrapped(
                f"{source}: {', '.join(one.cpu_operators)} left to the processor, whose time is "
                f"not in the estimate."
            )
    settings = simulations[0].settings or {}
    figures.say_wrapped(
        f"All of this is an estimate for {settings.get('system')}, {settings.get('memory')}; "
        f"nothing was run or measured."
    )


def _by_memory(what: str, found: Sequence[dict[str, int] | Any]) -> list[tuple[str, ...]]:
    names = dict.fromkeys(name for one in found for name in one)
    return [(f"{name}{what}", *(_kib(one.get(name)) for one in found)) for name in names]


def _table(
    title: str, found: Sequence[tuple[str, Simulation]], rows: Sequence[tuple[str, ...]]
) -> None:
    names = [Path(source).name for source, _ in found]
    if len(set(names)) < len(names):
        names = [source for source, _ in found]
    columns = [(name, "right") for name in names]
    console.table(["", *columns], rows, title=title)


def _kib(size: int | None) -> str:
    return "" if size is None else f"{size / 1024:,.1f} KiB"
