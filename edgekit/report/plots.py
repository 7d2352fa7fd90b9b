"""The plots of a report, each a function from numbers to an ``<svg>`` element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from edgekit.core import printable
from edgekit.report import svg
from edgekit.report.text import figures, plain

Values = NDArray[np.float64]

_BINS = 80
_POINTS = 150
_GAP = 10  # between texts of one line
_NEAR = 12  # marks of points that are nearer would hide each other
_ROW, _LAST = 58, 40  # height of a row of small multiples, and of the axis below
_RIGHT = svg.WIDTH - 12


@dataclass(frozen=True, slots=True)
class Bar:
    """A line of a bar chart.

    Attributes:
        value: its length; ``None`` where it is not known.
        shown: the value in words.
        interval: where it lies with 95 %.
        colour: one of `edgekit.report.svg`.
        dashed: whether it is only an outline, for what was not measured.
        before: an earlier value, drawn lighter behind it.
    """

    label: str
    value: float | None
    shown: str
    interval: tuple[float, float] | None = None
    colour: str = svg.ACCENT
    dashed: bool = False
    before: float | None = None


def bars(
    rows: Sequence[Bar], *, ident: str, title: str, description: str, longest: float = 0.0
) -> str:
    """Horizontal bars from zero, each below its label and value.

    Args:
        longest: what the axis reaches at least, for several pictures of one scale.
    """
    step = 34

    def paint(figure: Figure) -> None:
        axes = svg.panel(figure, 2, 4, svg.WIDTH - 4, step * len(rows))
        axes.set_axis_off()
        drawn = [v for row in rows for v in (row.value, row.before, *(row.interval or ()))]
        ends = [v for v in drawn if v is not None]
        low, high = min([0.0, *ends]), max([longest, *ends])
        axes.set_xlim(low, high if high > low else low + 1)
        axes.set_ylim(step * len(rows), 0)
        for index, row in enumerate(rows):
            top = step * index
            _line_of_text(axes, top + 12, row.label, row.shown)
            if row.before is not None:
                axes.barh(top + 22, row.before, 8, color=svg.ACCENT_SOFT)
            if row.value is None:
                continue
            axes.barh(
                top + 22,
                row.value,
                8,
                facecolor="none" if row.dashed else row.colour,
                edgecolor=row.colour,
                linestyle="--",
                linewidth=1.2 if row.dashed else 0,
            )
            if row.interval is not None:
                axes.plot(row.interval, [top + 22] * 2, color=svg.INK, lw=1.2)
                axes.plot(row.interval, [top + 22] * 2, "|", color=svg.INK, ms=6, mew=1.2)

    return svg.draw(step * len(rows) + 6, paint, ident=ident, title=title, description=description)


def _line_of_text(axes: Axes, y: float, left: str, right: str) -> None:
    """A label and, at the other end, its value."""
    at = axes.get_yaxis_transform()
    right = printable(right)
    room = svg.WIDTH - 4 - svg.width_of(right) - _GAP
    axes.text(0, y, svg.fitted(left, room), transform=at, color=svg.INK, va="baseline")
    axes.text(1, y, right, transform=at, color=svg.MUTED, va="baseline", ha="right")


@dataclass(frozen=True, slots=True)
class Samples:
    """A row of `distributions`: all counted samples, and what they are summed up to."""

    label: str
    samples_ms: Values
    p50_ms: float
    p90_ms: float
    p99_ms: float


def distributions(rows: Sequence[Samples], *, ident: str, title: str, description: str) -> str:
    """Histograms below each other on one axis of time; the last one per cent may lie outside."""
    low = min(float(row.samples_ms.min()) for row in rows)
    high = max(row.p99_ms for row in rows)
    low, high, log = _limits(low, high)
    edges = np.geomspace(low, high, _BINS + 1) if log else np.linspace(low, high, _BINS + 1)

    def paint(figure: Figure) -> None:
        for index, row in enumerate(rows):
            axes = svg.panel(figure, 8, _ROW * index + 20, _RIGHT - 8, _ROW - 24)
            counts, _ = np.histogram(row.samples_ms, edges)
            axes.stairs(counts / max(1, counts.max()), edges, fill=True, color=svg.ACCENT_SOFT)
            axes.vlines(row.p50_ms, 0, 1, color=svg.ACCENT, lw=2)
            axes.vlines([row.p90_ms, row.p99_ms], 0, [0.55, 0.3], color=svg.INK, lw=1)
            axes.set_ylim(0, 1.05)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            _time_axis(axes, low, high, log, index == len(rows) - 1, "ms per inference")
            _heading(axes, row.label, f"p50 {figures(row.p50_ms)} ms")

    height = _ROW * len(rows) + _LAST
    return svg.draw(height, paint, ident=ident, title=title, description=description)


@dataclass(frozen=True, slots=True)
class Course:
    """A row of `courses`: medians of blocks, over the median of all of them.

    Attributes:
        reference: of the reference network; empty without one.
    """

    label: str
    seconds: Values
    relative: Values
    reference_seconds: Values
    reference: Values


def courses(rows: Sequence[Course], *, ident: str, title: str, description: str) -> str:
    """Latency over time, the reference network's behind it, on the same axes for all."""
    everything = np.concatenate([v for row in rows for v in (row.relative, row.reference)])
    low, high = (float(v) for v in np.percentile(everything, [1, 99]))
    low, high, log = _limits(min(low, 0.95), max(high, 1.05))
    end = max(float(row.seconds[-1]) for row in rows) or 1.0

    def paint(figure: Figure) -> None:
        for index, row in enumerate(rows):
            axes = svg.panel(figure, 44, 74 * index + 22, _RIGHT - 44, 46)
            axes.axhline(1, color=svg.LINE, lw=1)
            axes.plot(*_condensed(row.reference_seconds, row.reference), color=svg.REFERENCE, lw=1)
            mark = "." if len(row.seconds) < 2 else None
            points = _condensed(row.seconds, row.relative)
            axes.plot(*points, color=svg.ACCENT, lw=1.5, marker=mark)
            axes.set_xlim(0, end)
            if log:
                axes.set_yscale("log")
            axes.set_ylim(low, high)
            axes.set_yticks(sorted({_round_up(low), 1.0, _round_down(high)}))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{plain(v, 3)}x"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.minorticks_off()
            svg.spread_ticks(axes, "y", first=1.0)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: plain(v)))
            svg.spread_ticks(axes, "x")
            axes.tick_params(labelbottom=index == len(rows) - 1, length=2)
            if index == len(rows) - 1:
                axes.set_xlabel("seconds since the first block")
            _heading(axes, row.label, "")

    height = 74 * len(rows) + _LAST - 4
    return svg.draw(height, paint, ident=ident, title=title, description=description)


@dataclass(frozen=True, slots=True)
class Point:
    """A network in `tradeoff`.

    Attributes:
        on_front: whether no other beats it.
    """

    mark: str
    ms: float
    ms_interval: tuple[float, float]
    value: float
    interval: tuple[float, float]
    on_front: bool


def tradeoff(
    points: Sequence[Point], name: str, *, ident: str, title: str, description: str
) -> str:
    """Accuracy against latency, with intervals and the front.

    Args:
        name: of the figure that accuracy is.
    """

    def paint(figure: Figure) -> None:
        axes = svg.panel(figure, 54, 24, _RIGHT - 58, 218)
        front = sorted((p.ms, p.value) for p in points if p.on_front)
        axes.step(*zip(*front, strict=True), where="post", color=svg.ACCENT, lw=1.2, ls=":")
        for p in points:
            colour = svg.ACCENT if p.on_front else svg.MUTED
            axes.plot(p.ms_interval, [p.value] * 2, color=colour, lw=1)
            axes.plot([p.ms] * 2, p.interval, color=colour, lw=1)
            face = colour if p.on_front else svg.PAPER
            axes.plot([p.ms], [p.value], "o", ms=7, mfc=face, mec=colour, mew=1.4)
        axes.margins(0.08)
        axes.grid(lw=0.5)
        axes.set_axisbelow(True)
        if max(p.ms for p in points) > 8 * min(p.ms for p in points):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: plain(v)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{plain(100 * v, 4)} %"))
        svg.spread_ticks(axes, "x")
        svg.spread_ticks(axes, "y")
        _marks(axes, points)
        axes.set_xlabel("p50 in ms (left is better)")
        above = svg.fitted(f"{name} (up is better)", svg.WIDTH - 8)
        axes.annotate(above, (4 - 54, 225), xycoords="axes pixels", color=svg.MUTED)

    return svg.draw(288, paint, ident=ident, title=title, description=description)


def _marks(axes: Axes, points: Sequence[Point]) -> None:
    """Writes marks beside points, once where several lie on each other."""
    shared: list[tuple[Values, list[Point]]] = []
    for p in points:
        at = np.asarray(axes.transData.transform((p.ms, p.value)))
        near = [group for place, group in shared if np.abs(place - at).max() < _NEAR]
        if near:
            near[0].append(p)
        else:
            shared.append((at, [p]))
    for _, group in shared:
        text, first = ", ".join(p.mark for p in group), (group[0].ms, group[0].value)
        axes.annotate(text, first, (6, 5), textcoords="offset points", fontweight="bold")


def _heading(axes: Axes, left: str, right: str) -> None:
    box, right = axes.get_position(), printable(right)
    room = box.width * svg.WIDTH - (svg.width_of(right) + _GAP if right else 0)
    axes.set_title(svg.fitted(left, room), loc="left", color=svg.INK, pad=3)
    axes.set_title(right, loc="right", color=svg.MUTED, pad=3)


def _limits(low: float, high: float) -> tuple[float, float, bool]:
    """Ends of an axis with a little room, and whether it needs a logarithmic scale."""
    if high > 4 * low:
        return low / 1.05, high * 1.05, True
    room = 0.04 * (high - low) or 0.02 * high
    return low - room, high + room, False


def _time_axis(axes: Axes, low: float, high: float, log: bool, last: bool, name: str) -> None:
    if log:
        axes.set_xscale("log")
        axes.set_xticks(_round_steps(low, high))
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: plain(v)))
    axes.set_xlim(low, high)
    svg.spread_ticks(axes, "x")
    axes.tick_params(axis="x", labelbottom=last, length=2)
    if last:
        axes.set_xlabel(name + (" (logarithmic)" if log else ""))


def _round_steps(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... between two ends."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [v for p in powers for step in (1, 2, 5) if low <= (v := step * 10.0**p) <= high]


def _round_up(value: float) -> float:
    """To one decimal that lies inside an axis beginning there, below 1."""
    return min(1.0, float(np.ceil(value * 20) / 20))


def _round_down(value: float) -> float:
    """To one decimal that lies inside an axis ending there, above 1."""
    return max(1.0, float(np.floor(value * 20) / 20) if value < 3 else float(np.floor(value)))


def _condensed(x: Values, y: Values) -> tuple[Values, Values]:
    """At most so many points: medians of neighbours."""
    if len(x) <= _POINTS:
        return x, y
    parts = zip(np.array_split(x, _POINTS), np.array_split(y, _POINTS), strict=True)
    medians = np.array([(np.median(a), np.median(b)) for a, b in parts])
    return medians[:, 0], medians[:, 1]
