"""The plots of a search: accuracy against cost, predictions, where the time went.

Nothing is written inside the axes: points of a search lie close together, and names would hide
them. What a mark means stands below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from edgekit.core import printable
from edgekit.report import svg
from edgekit.report.text import plain

_LEFT, _TOP, _HEIGHT = 58, 26, 214
_AXIS = 48  # height of the numbers and the name below the axes
_LINE = 19  # of the legend
_LEAST_SPAN = 0.01  # of an axis of accuracies: less would make noise look like a trend


@dataclass(frozen=True, slots=True)
class Spot:
    """A network.

    Attributes:
        interval: of its cost.
        figure_ci95: interval of its figure; empty where none is known.
    """

    cost: float
    interval: tuple[float, float] | None
    figure: float
    figure_ci95: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """Networks of one method."""

    label: str
    spots: Sequence[Spot]


_Style = dict[str, Any]
"""Keywords of `Axes.plot`."""


@dataclass(frozen=True, slots=True)
class _Key:
    """A line of a legend: how something is drawn, and what it means."""

    text: str
    style: _Style


# Told apart without colour as well.
_MARKS = ("o", "s", "^", "D", "v", "P", "X")


def tradeoff(
    lines: Sequence[Line],
    *,
    start: Spot,
    end: Spot | None,
    bound: float | None,
    bound_label: str,
    cost_label: str,
    ident: str,
    title: str,
    description: str,
    quality: str = "top-1",
) -> str:
    """How good networks are against cost, all methods on the same axes.

    Args:
        quality: what the figure is called that says how good they are.
        end: the search's result, which gets a ring.
        bound: what the budget allows.
    """
    styles: list[_Style] = [
        {
            "color": svg.KINDS[i % len(svg.KINDS)],
            "marker": _MARKS[i % len(_MARKS)],
            "ls": "-" if i == 0 else "none",
            "lw": 1.4,
            "ms": 6 if i == 0 else 7,
            "mec": svg.PAPER,
            "mew": 0.6,
        }
        for i in range(len(lines))
    ]
    star: _Style = {
        "marker": "*",
        "ms": 13,
        "color": svg.INK,
        "mec": svg.PAPER,
        "mew": 0.8,
        "ls": "none",
    }
    ring: _Style = {
        "marker": "o",
        "ms": 12,
        "mfc": "none",
        "mec": svg.INK,
        "mew": 1.4,
        "ls": "none",
    }
    dashes: _Style = {"color": svg.SECOND, "ls": "--", "lw": 1.4}
    keys = [_Key(line.label, style) for line, style in zip(lines, styles, strict=True)]
    keys += [_Key("start", star)]
    keys += [] if end is None else [_Key("result", ring)]
    keys += [] if bound is None else [_Key(bound_label, dashes)]

    def paint(figure: Figure) -> None:
        axes = _axes(figure)
        for i, (line, style) in reversed(list(enumerate(zip(lines, styles, strict=True)))):
            for spot in line.spots:
                if spot.interval is not None:
                    axes.plot(spot.interval, [spot.figure] * 2, color=style["color"], lw=1)
                if spot.figure_ci95:
                    axes.plot([spot.cost] * 2, spot.figure_ci95, color=style["color"], lw=1)
            points = [spot.cost for spot in line.spots], [spot.figure for spot in line.spots]
            axes.plot(*points, **style, zorder=4 if i == 0 else 3)
        if start.figure_ci95:
            axes.plot([start.cost] * 2, start.figure_ci95, color=svg.INK, lw=1)
        axes.plot([start.cost], [start.figure], **star, zorder=6)
        if end is not None:
            axes.plot([end.cost], [end.figure], **ring, zorder=5)
        if bound is not None:
            axes.axvline(bound, **dashes, zorder=2)
        spots = [start, *(spot for line in lines for spot in line.spots)]
        _cost_axis(axes, [spot.cost for spot in spots])
        _share_axis(axes, [v for spot in spots for v in (spot.figure, *spot.figure_ci95)])
        svg.spread_ticks(axes, "x")
        svg.spread_ticks(axes, "y")
        axes.set_xlabel(f"{cost_label} (left is better)", labelpad=7)
        _heading(axes, f"{quality} (up is better)")
        _legend(figure, keys)

    return _drawn(paint, keys, ident, title, description)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a step was predicted to cost, and what it cost."""

    step: int
    predicted: float
    measured: float
    interval: tuple[float, float] | None


def predictions(
    rows: Sequence[Prediction], *, cost_label: str, ident: str, title: str, description: str
) -> str:
    """Predicted and measured costs, step by step."""
    solid: _Style = {"color": svg.KINDS[0], "marker": "o", "ms": 6, "lw": 1.4}
    hollow: _Style = {
        "marker": "D",
        "ms": 6,
        "mfc": "none",
        "mec": svg.SECOND,
        "mew": 1.5,
        "ls": "none",
    }
    keys = [_Key("measured", solid), _Key("predicted", hollow)]

    def paint(figure: Figure) -> None:
        axes = _axes(figure)
        steps = [row.step for row in rows]
        for row in rows:
            if row.interval is not None:
                axes.plot([row.step] * 2, row.interval, color=svg.KINDS[0], lw=1)
        axes.plot(steps, [row.measured for row in rows], **solid)
        axes.plot(steps, [row.predicted for row in rows], **hollow)
        axes.set_xlim(min(steps) - 0.6, max(steps) + 0.6)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: plain(v, 4)))
        axes.margins(y=0.1)
        svg.spread_ticks(axes, "x")
        svg.spread_ticks(axes, "y")
        axes.set_xlabel("step", labelpad=7)
        _heading(axes, cost_label)
        _legend(figure, keys)

    return _drawn(paint, keys, ident, title, description)


def stack(parts: Sequence[tuple[str, float]], *, ident: str, title: str, description: str) -> str:
    """Shares of a whole in one bar, each with its name below."""
    colours = [svg.KINDS[i % len(svg.KINDS)] for i in range(len(parts))]
    keys = [
        _Key(label, {"marker": "s", "ms": 9, "color": colour, "ls": "none"})
        for (label, _), colour in zip(parts, colours, strict=True)
    ]
    height = 34

    def paint(figure: Figure) -> None:
        axes = svg.panel(figure, 2, 4, svg.WIDTH - 4, height - 8)
        axes.set_axis_off()
        begin = 0.0
        for (_, value), colour in zip(parts, colours, strict=True):
            axes.barh(0, value, 1, begin, color=colour, edgecolor=svg.PAPER, linewidth=1)
            begin += value
        axes.set_xlim(0, begin or 1)
        axes.set_ylim(-0.5, 0.5)
        _legend(figure, keys)

    return svg.draw(
        height + _legend_height(keys), paint, ident=ident, title=title, description=description
    )


def _drawn(
    paint: Callable[[Figure], None],
    keys: Sequence[_Key],
    ident: str,
    title: str,
    description: str,
) -> str:
    height = _TOP + _HEIGHT + _AXIS + _legend_height(keys)
    return svg.draw(height, paint, ident=ident, title=title, description=description)


def _axes(figure: Figure) -> Axes:
    axes = svg.panel(figure, _LEFT, _TOP, svg.WIDTH - _LEFT - 16, _HEIGHT)
    axes.grid(lw=0.5)
    axes.set_axisbelow(True)
    return axes


def _heading(axes: Axes, text: str) -> None:
    """The name of the vertical axis, where it can be read without turning the head."""
    above = (4 - _LEFT, _HEIGHT + 9)
    axes.annotate(svg.fitted(text, svg.WIDTH - 8), above, xycoords="axes pixels", color=svg.MUTED)


def _cost_axis(axes: Axes, costs: Iterable[float]) -> None:
    values = list(costs)
    axes.margins(x=0.07)
    if max(values) > 8 * min(values) > 0:
        axes.set_xscale("log")
        wide = max(values) > 100 * min(values)
        axes.xaxis.set_major_locator(LogLocator(10, (1.0,) if wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: plain(v)))


def _share_axis(axes: Axes, shares: Iterable[float]) -> None:
    values = list(shares)
    low, high = min(values), max(values)
    room = max(0.08 * (high - low), (_LEAST_SPAN - (high - low)) / 2)
    axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    # Room above the best network is room, not more than everything.
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda v, _: f"{plain(100 * v, 4)} %" if v <= 1 else "")
    )


_MARK = 36  # what a mark takes of a line of the legend


def _columns(keys: Sequence[_Key]) -> int:
    """Two, where all texts fit into half the width."""
    room = svg.WIDTH / 2 - _MARK - 6
    return 2 if all(svg.width_of(printable(key.text)) <= room for key in keys) else 1


def _legend_height(keys: Sequence[_Key]) -> int:
    return _LINE * -(-len(keys) // _columns(keys)) + 4


def _legend(figure: Figure, keys: Sequence[_Key]) -> None:
    """What marks mean, at the lower end of a picture."""
    height, columns = _legend_height(keys), _columns(keys)
    top = figure.get_figheight() * 72 - height
    axes = svg.panel(figure, 0, top, svg.WIDTH, height)
    axes.set_axis_off()
    axes.set_xlim(0, svg.WIDTH)
    axes.set_ylim(height, 0)
    for i, key in enumerate(keys):
        left = svg.WIDTH / columns * (i % columns)
        y = _LINE * (i // columns) + _LINE / 2
        axes.plot([left + 4, left + 16, left + 28], [y] * 3, **{**key.style, "markevery": [1]})
        text = svg.fitted(key.text, svg.WIDTH / columns - _MARK)
        axes.text(left + _MARK, y + 4, text, color=svg.INK, va="baseline")
