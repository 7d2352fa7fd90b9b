"""The section about operators: where the time goes, in the same colours everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgekit.core import printable
from edgekit.core.text import shortened
from edgekit.report import plots, svg
from edgekit.report.entries import Entry
from edgekit.report.markup import Section, figure, gallery, paragraph
from edgekit.report.text import figures, percent

_SHOWN = 20

# What runtimes call one thing, the first that is in a name counts: CONV_2D, QLinearConv and
# Convolution are convolutions.
_FAMILIES = (
    ("dequant", "dequantization"),
    ("quantizelinear", "quantization"),
    ("transposeconv", "transposed convolution"),
    ("convtranspose", "transposed convolution"),
    ("deconv", "transposed convolution"),
    ("backpropdata", "transposed convolution"),
    ("depthwise", "depthwise convolution"),
    ("groupconv", "depthwise convolution"),
    ("convert", "conversion"),
    ("conv", "convolution"),
    ("fullyconnected", "matrix product"),
    ("innerproduct", "matrix product"),
    ("gemm", "matrix product"),
    ("matmul", "matrix product"),
    ("swish", "activation"),
    ("sigmoid", "activation"),
    ("relu", "activation"),
    ("clip", "activation"),
    ("clamp", "activation"),
    ("gelu", "activation"),
    ("softmax", "softmax"),
    ("mean", "pooling"),
    ("pool", "pooling"),
    ("mul", "product"),
    ("add", "sum"),
    ("concat", "concatenation"),
    ("transpose", "layout"),
    ("permute", "layout"),
    ("reorder", "layout"),
    ("quantiz", "quantization"),
)


def family(kind: str) -> str:
    """What an operator does, whatever the runtime calls it; the bare name of an unknown one."""
    bare = re.sub(r"[^a-z]", "", kind.lower())
    return next((name for part, name in _FAMILIES if part in bare), bare or kind)


def operators(entries: Sequence[Entry]) -> Section | None:
    """Where the time goes, by the runtimes' own profilers."""
    timed = [e for e in entries if e.measurement.operators]
    if not timed:
        return None
    note = paragraph(
        "Profilers slow a runtime down, leave out what it does between operators, and tell fused "
        "operators as one: their sum is not the latency. Operators that do the same have the same "
        "colour in all panels, whatever a runtime calls them."
    )
    colours = _colours(timed)
    drawn = gallery(_operators(e, colours) for e in timed)
    return Section("operators", "Operators", note + drawn)


def _by_kind(e: Entry) -> dict[str, list[float]]:
    kinds: dict[str, list[float]] = {}
    for operator in e.measurement.operators or ():
        kinds.setdefault(operator.kind, []).append(operator.ms)
    return kinds


def _colours(entries: Sequence[Entry]) -> dict[str, str]:
    """A colour for each family of the page; those that take least share the last one."""
    totals: dict[str, float] = {}
    for e in entries:
        kinds = _by_kind(e)
        whole = sum(map(sum, kinds.values())) or 1.0
        for kind, times in kinds.items():
            totals[family(kind)] = totals.get(family(kind), 0.0) + sum(times) / whole
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    last = len(svg.KINDS) - 1
    return {name: svg.KINDS[min(place, last)] for place, name in enumerate(ranked)}


def _operators(e: Entry, colours: Mapping[str, str]) -> str:
    timed, kinds = e.measurement.operators or (), _by_kind(e)
    total = sum(operator.ms for operator in timed)
    unit, factor = ("ms", 1.0) if total >= 1 else ("µs", 1e3)

    def bar(label: str, ms: float, kind: str) -> plots.Bar:
        shown = f"{figures(factor * ms)} {unit}, {percent(ms / total) if total else '0 %'}"
        return plots.Bar(label, ms, shown, colour=colours[family(kind)])

    by_kind = [
        bar(f"{shortened(printable(kind), 30)} ({len(times)})", sum(times), kind)
        for kind, times in sorted(kinds.items(), key=lambda item: (-sum(item[1]), item[0]))
    ]
    ranked = sorted(timed, key=lambda operator: -operator.ms)
    each = [
        bar(printable(operator.name), operator.ms, operator.kind) for operator in ranked[:_SHOWN]
    ]
    whole = (
        f"By kind, with the number of each. All {len(timed)} operators take "
        f"{figures(factor * total)} {unit}, {percent(total / e.latency.p50_ms, 0)} of the median "
        f"{figures(factor * e.latency.p50_ms)} {unit}."
    )
    rest = ranked[_SHOWN:]
    slowest = "The slowest, in the colours of their kinds."
    if rest:
        rest_ms = sum(operator.ms for operator in rest)
        slowest += f" The other {len(rest)} take {figures(factor * rest_ms)} {unit}."
    return figure(
        e.label,
        drawn_bars(f"kinds-{e.number}", f"{e.label}: time by kind of operator", by_kind, whole),
        drawn_bars(f"slowest-{e.number}", f"{e.label}: slowest operators", each, slowest),
    )


def drawn_bars(ident: str, title: str, rows: Sequence[plots.Bar], caption: str) -> tuple[str, str]:
    """A bar chart and its caption."""
    description = "; ".join(f"{row.label}: {row.shown}" for row in rows)
    return plots.bars(rows, ident=ident, title=title, description=description), caption
