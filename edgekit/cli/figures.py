"""What the commands that measure print: tables, lines, and entries of documents."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import registry
from edgekit.cli import console
from edgekit.core import Profilable, printable
from edgekit.core.text import counted_words, shortened

if TYPE_CHECKING:
    from edgekit.core import Energy, Measurement

Label = tuple[str, str]
"""A name, which can be shortened, and what stands behind it."""


def entry(measurement: Measurement) -> dict[str, Any]:
    """A measurement as it stands in a document: statistics in the place of samples."""
    from edgekit.core import to_json
    from edgekit.measure.statistics import reference_ms, summary

    s = summary(measurement.blocks)
    m = to_json(measurement)
    del m["blocks"]
    total, share = operator_sum(measurement) or (None, None)
    return {
        **m,
        "latency_ms": {
            "min": s.min_ms,
            "p50": s.p50_ms,
            "p90": s.p90_ms,
            "p99": s.p99_ms,
            "mean": s.mean_ms,
            "n": s.n,
            "ci95": list(s.ci95_ms),
        },
        "reference_ms": reference_ms(measurement.blocks),
        "images_per_s": 1e3 * measurement.batch / s.p50_ms,
        "loads": len({block.instance for block in measurement.blocks}),
        "operators_ms": total,
        "operators_share": share,
        "operators_reason": operators_reason(measurement),
    }


def chosen_input(m: Measurement) -> str:
    """The sizes of the inputs, behind a space, where somebody chose them; empty elsewhere."""
    return f" {m.input_sizes}" if m.input_chosen else ""


def labels(measurements: Sequence[Measurement]) -> list[Label]:
    """Names that tell measurements of one table apart."""
    names = [Path(path).name for path in dict.fromkeys(m.artifact for m in measurements)]
    several = len({m.device for m in measurements}) > 1
    found = []
    for m in measurements:
        short = Path(m.artifact).name
        # "PyTorch 2.13.0 eager"
        rest = f" {m.runtime.split()[2]}" if m.target == "pytorch" else chosen_input(m)
        rest = f"{rest} on {m.device}" if several else rest
        found.append((short if names.count(short) == 1 else m.artifact, rest))
    return found


def latency_table(measurements: Sequence[Measurement], names: Sequence[str] = ()) -> None:
    """Prints latencies, one line each."""
    from edgekit.measure.statistics import summary

    rows = []
    for m in measurements:
        s = summary(m.blocks)
        figures = (f"{s.p50_ms:.3f}", f"{s.precision:.1%}", f"{s.p90_ms:.3f}", f"{s.p99_ms:.3f}")
        rows.append((str(m.threads), *figures, f"{1e3 * m.batch / s.p50_ms:,.0f}"))
    found = [(name, "") for name in names] or labels(measurements)
    marked = [
        (name, rest if m.stable else f"{rest} *")
        for (name, rest), m in zip(found, measurements, strict=True)
    ]
    _named_table(marked, ("thr", "p50 ms", "±", "p90", "p99", "images/s"), rows)


def cost_table(measurements: Sequence[Measurement]) -> None:
    """Prints load times, memory, size and energy, one line each."""
    several = len({m.threads for m in measurements}) > 1
    columns = ("load ms", "first ms", "memory MiB", "file MiB", "mJ each")
    rows = []
    for m in measurements:
        load = "-" if m.load_ms is None else f"{m.load_ms:.1f}"
        first = "-" if m.first_ms is None else f"{m.first_ms:.2f}"
        memory = "-" if m.peak_rss_mib is None else f"{m.peak_rss_mib:.1f}"
        size = "-" if m.size_bytes is None else f"{m.size_bytes / 2**20:.2f}"
        threads = (str(m.threads),) if several else ()
        rows.append((*threads, load, first, memory, size, energy_cell(m.energy)))
    _named_table(labels(measurements), (("thr",) if several else ()) + columns, rows)


_SHORTEST_NAME = 8


def _named_table(
    names: Sequence[Label], columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Prints figures behind names, and makes room: narrower gaps, shorter names, then numbers."""
    taken = sum(max(map(len, cells)) for cells in zip(columns, *rows, strict=True))
    longest = max(len(name) + len(rest) for name, rest in names)
    room, gap = 0, 0
    for gap in (3, 2, 1):
        room = console.width() - taken - gap * len(columns) - 2
        if room >= longest:
            break
    room = max(room, _SHORTEST_NAME + max(len(rest) for _, rest in names))
    shown = [shortened(name, room - len(rest)) for name, rest in names]
    if len(set(shown)) < len({name for name, _ in names}):
        numbers = {name: str(i) for i, name in enumerate(dict.fromkeys(n for n, _ in names), 1)}
        for name, number in numbers.items():
            say_wrapped(f"{number}: {name}")
        shown = [numbers[name] for name, _ in names]
    first = [name + rest for name, (_, rest) in zip(shown, names, strict=True)]
    console.table(
        [("measured", "left"), *((column, "right") for column in columns)],
        [(name, *cells) for name, cells in zip(first, rows, strict=True)],
        gap=gap,
    )


def say_wrapped(text: str, indent: str = "", behind: str = "  ") -> None:
    """Prints a sentence, in lines that fit a terminal.

    Args:
        indent: of the first line.
        behind: of the others.
    """
    width = min(console.width(), console.PLAIN_WIDTH) - 2
    wrapper = textwrap.TextWrapper(
        width,
        initial_indent=indent,
        subsequent_indent=behind,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in wrapper.wrap(printable(text)):
        console.say(line)


def energy_cell(energy: Energy) -> str:
    """Energy as it stands in a table; an estimate says so."""
    if energy.mj_per_inference is None:
        return "-"
    return f"{energy.mj_per_inference:.3g}{' est.' if energy.kind == 'estimated' else ''}"


def energy_lines(measurements: Sequence[Measurement]) -> None:
    """Prints where energy comes from, or why there is none."""
    texts = [_energy_text(m.energy, m.device) for m in measurements]
    if len(set(texts)) == 1:
        say_wrapped(f"energy: {texts[0]}")
        return
    for (name, mode), m, text in zip(labels(measurements), measurements, texts, strict=True):
        threads = "" if m.threads == 1 else f", {m.threads} threads"
        say_wrapped(f"energy of {name}{mode}{threads}: {text}")


# Of --energy auto; behind it stands for each meter why it cannot be read.
_NO_METER = "no meter: "


def _energy_text(energy: Energy, device: str) -> str:
    if energy.kind == "measured":
        detail = f" ({energy.detail})" if energy.detail else ""
        idle = "" if energy.idle_mw is None else f"; {energy.idle_mw:,.0f} mW of idling left out"
        return f"meter {energy.meter}, {energy.scope}{detail}{idle}"
    if energy.kind == "estimated":
        numbers = [f"{name} {value:g}" for name, value in (energy.coefficients or {}).items()]
        return f"estimated, not measured: {energy.model} ({', '.join(numbers)})"
    reason = energy.reason or "nobody said why"
    if reason.startswith(_NO_METER):
        return (
            f"not measured: no meter on {device} ('edgekit devices check {device}' shows which "
            f"can be read, --energy METER or --json why one cannot)"
        )
    return f"not measured: {reason}"


def conditions(measurements: Sequence[Measurement]) -> None:
    """Prints on what it was measured, what disturbed it, and what else is to be known."""
    for device in dict.fromkeys(m.device for m in measurements):
        _conditions([m for m in measurements if m.device == device])
    for text in dict.fromkeys(text for m in measurements for text in m.warnings):
        console.warn(text)


def _conditions(measurements: Sequence[Measurement]) -> None:
    first = measurements[0]
    runtimes = dict.fromkeys(m.runtime for m in measurements)
    batch = "" if first.batch == 1 else f", batch {first.batch}"
    cpu = first.environment.get("cpu") or "an unknown processor"
    say_wrapped(f"{first.device}: {cpu}{batch}; {', '.join(runtimes)}")
    if any(m.reasons for m in measurements):
        console.say("* not stable:")
    for reason in _reasons(measurements):
        say_wrapped(reason, "  - ", "    ")


def _reasons(measurements: Sequence[Measurement]) -> list[str]:
    """What disturbed measurements; it names those that it holds for, unless it does for all."""
    holders: dict[str, list[str]] = {}
    for m, (name, rest) in zip(measurements, labels(measurements), strict=True):
        for reason in m.reasons:
            holders.setdefault(reason, []).append(f"{name}{rest}")
    found = []
    for reason, names in holders.items():
        if len(names) == len(measurements):
            found.append(reason)
        elif len(names) > _NAMED:
            found.append(f"{len(names)} of {len(measurements)}: {reason}")
        else:
            found.append(f"{', '.join(names)}: {reason}")
    return found


_NAMED = 2  # files that a line has room for


SHOWN_OPERATORS = 15

# Of the operators' sum over the whole: within these, it needs no explanation.
_EXPLAINED = (0.9, 1.1)


def operator_sum(m: Measurement) -> tuple[float, float] | None:
    """What the operators take together, in ms and as a share of p50; ``None`` without any."""
    from edgekit.measure.statistics import summary

    if m.operators is None:
        return None
    total = sum(op.ms for op in m.operators)
    return total, total / summary(m.blocks).p50_ms


def operator_table(m: Measurement) -> None:
    """Prints the operators that take longest, and how their sum compares with the whole."""
    from edgekit.measure.statistics import summary

    assert m.operators is not None
    total = sum(op.ms for op in m.operators)

    def share(ms: float) -> str:
        return f"{ms / total:.1%}" if total else "-"

    ranked = sorted(m.operators, key=lambda op: -op.ms)
    rows = [(op.name, op.kind, f"{op.ms:.4f}", share(op.ms)) for op in ranked[:SHOWN_OPERATORS]]
    rest = ranked[SHOWN_OPERATORS:]
    if rest:
        rest_ms = sum(op.ms for op in rest)
        rows.append((f"{len(rest)} others", "", f"{rest_ms:.4f}", share(rest_ms)))
    columns = (("operator", "left"), ("kind", "left"), ("ms", "right"), ("share", "right"))
    threads = "" if m.threads == 1 else f", {m.threads} threads"
    console.say()
    title = f"{m.artifact}{chosen_input(m)}, {m.runtime}{threads}:"
    console.table(columns, rows, title=title)
    whole = summary(m.blocks).p50_ms
    say_wrapped(
        f"all {counted_words(len(m.operators), 'operator')} {total:.3f} ms, "
        f"the whole {whole:.3f} ms: {total / whole:.0%}"
    )
    reason = operators_reason(m)
    if reason is not None:
        say_wrapped(reason, "  ", "  ")


def operators_reason(m: Measurement) -> str | None:
    """What makes the sum of the operators another than the whole; ``None`` where it hardly is."""
    total = operator_sum(m)
    low, high = _EXPLAINED
    if total is None or low <= total[1] <= high:
        return None
    if total[0] == 0:
        return "the profiler of the runtime told no times"
    if total[1] < low:
        return (
            "the rest may lie between the operators: the call itself, conversions of layouts that "
            "the profiler does not name, threads that wait for one another"
        )
    target = registry.known_target(m.target)
    if target is not None and isinstance(target, Profilable) and target.timed_alone:
        return (
            "each operator was timed alone, in a file of its own: each takes a call, which wakes "
            "threads anew, and may lack what it shares with its neighbours in the network"
        )
    return (
        "the profiler's own cost may be in the times of the operators, which grows with their "
        "number, or several ran at the same time"
    )
