"""Plots as SVG inside a page: no fonts, scripts or addresses of their own, colours from the page.

matplotlib draws with the colours of `INK` and so on, which stand for variables of the page's style
sheet: one picture serves light and dark. A unit is a pixel of a phone that is 390 pixels wide;
wider screens show several pictures side by side.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from xml.etree import ElementTree

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedFormatter, FixedLocator

from edgekit.core import printable
from edgekit.core.text import shortened
from edgekit.report.style import CSS

WIDTH = 336
"""Of all plots, in the units of the SVG: what a phone of 390 pixels leaves inside a card."""

TEXT, SMALL = 12.0, 11.0
"""Sizes of letters, in the same units; nothing is written smaller."""

# Stand-ins; no colour of these is ever seen.
INK, MUTED, LINE, ACCENT, ACCENT_SOFT, SECOND, REFERENCE, PAPER = (
    f"#0101{i:02x}" for i in range(1, 9)
)
KINDS = tuple(f"#0102{i:02x}" for i in range(1, 8))
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    ACCENT: "accent",
    ACCENT_SOFT: "accent-soft",
    SECOND: "second",
    REFERENCE: "reference",
    PAPER: "card",
    **{colour: f"kind-{i}" for i, colour in enumerate(KINDS, 1)},
}
_STAND_IN = re.compile(r"#010[12]0[0-9a-f]")
_FONT = re.compile(r"font:[^;]*?([\d.]+)px[^;]*")

SETTINGS = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, found and copied
    "svg.hashsalt": "edgekit",  # the same picture is the same bytes
    "text.parse_math": False,  # names with dollars
    "font.size": TEXT,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": SMALL,
    "axes.titlesize": TEXT,
    "figure.dpi": 72.0,
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": SMALL,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": SMALL,
    "grid.color": LINE,
    "lines.solid_capstyle": "round",
}


def draw(
    height: float, paint: Callable[[Figure], None], *, ident: str, title: str, description: str
) -> str:
    """Draws a picture as an ``<svg>`` element.

    Args:
        height: in the units of `WIDTH`.
        ident: begins all its ids; one for each picture of a page.
        title: short name, for those who do not see it.
        description: what it shows, in words and numbers.
    """
    with (
        matplotlib.style.context(["default", SETTINGS], after_reset=True),
        warnings.catch_warnings(),
    ):
        # The page's fonts are not matplotlib's: what that one lacks may well be shown.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        FigureCanvasSVG(figure)
        paint(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), ident, title, description)


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in units from the upper left corner."""
    total = figure.get_figheight() * 72
    return figure.add_axes(
        (left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total)
    )


def width_of(text: str, size: float = TEXT) -> float:
    """How wide a line of text is at most, in units: as in a wide font.

    Args:
        text: printable.
    """
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        width, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(family="DejaVu Sans", size=size), False
        )
    return float(width) + 0.4 * size * wide


def fitted(text: str, room: float, size: float = TEXT) -> str:
    """Text that is shortened in its middle to so many units."""
    text, count = printable(text), len(text)
    short = text
    while count > 3 and width_of(short, size) > room:
        count = min(count - 1, max(3, int(count * room / width_of(short, size))))
        short = shortened(text, count)
    return short


_APART = 3.0  # units beside a label of an axis, on either side


@dataclass(frozen=True, slots=True)
class _Tick:
    """A label of an axis; its middle and half of its length lie along the axis, in units."""

    value: float
    name: str
    middle: float
    half: float


def spread_ticks(axes: Axes, way: str, *, first: float | None = None) -> None:
    """Leaves those labels of an axis that do not touch each other, evenly spaced where it can.

    Args:
        way: ``x`` or ``y``.
        first: a value whose label stays in any case.
    """
    axis = axes.xaxis if way == "x" else axes.yaxis
    ticks = _ticks(axes, way)
    kept: list[_Tick] = []
    for step in range(1, len(ticks) + 1):
        wanted = [tick for i, tick in enumerate(ticks) if tick.value == first or i % step == 0]
        kept = []
        for tick in sorted(wanted, key=lambda tick: tick.value != first):
            if all(abs(tick.middle - one.middle) >= tick.half + one.half for one in kept):
                kept.append(tick)
        if len(kept) == len(wanted) or first is not None:
            break
    kept.sort(key=lambda tick: tick.value)
    axis.set_major_locator(FixedLocator([tick.value for tick in kept]))
    axis.set_major_formatter(FixedFormatter([tick.name for tick in kept]))


def _ticks(axes: Axes, way: str) -> list[_Tick]:
    """The labels of an axis that lie inside the picture."""
    axis, figure = (axes.xaxis if way == "x" else axes.yaxis), axes.get_figure(root=True)
    assert figure is not None
    whole = WIDTH if way == "x" else figure.get_figheight() * 72
    box = axes.get_position()
    begin, length = (box.x0, box.width) if way == "x" else (box.y0, box.height)
    low, high = sorted(axis.get_view_interval())
    room = 1e-9 * (high - low)
    values = [float(v) for v in axis.get_majorticklocs() if low - room <= v <= high + room]
    names = axis.get_major_formatter().format_ticks(values)
    start, end, *at = (float(v) for v in axis.get_transform().transform([low, high, *values]))
    found = []
    for value, name, place in zip(values, names, at, strict=True):
        middle = whole * (begin + length * (place - start) / ((end - start) or 1.0))
        half = width_of(name, SMALL) / 2 if way == "x" else SMALL / 2
        if half <= middle <= whole - half:
            found.append(_Tick(value, name, middle, half + (_APART if way == "x" else 1.0)))
    return found


def standalone(drawn: str) -> str:
    """A picture as a file of its own, in the colours of light pages.

    Programs that show such files seldom know variables, and none the page's fonts.
    """
    light, _, _ = CSS.partition("@media")
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+)", light))
    drawn = re.sub(r"var\(--([\w-]+)\)", lambda found: colours.get(found[1], found[0]), drawn)
    head, close, rest = drawn.partition(">")
    root = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    sheet = f'<rect width="100%" height="100%" fill="{colours["card"]}"/>'
    return f'{root} font-family="system-ui, sans-serif"{close}{sheet}{rest}\n'


def _inline(drawn: bytes, ident: str, title: str, description: str) -> str:
    root = ElementTree.fromstring(drawn)  # noqa: S314 - matplotlib has just written it
    for parent in list(root.iter()):
        for child in list(parent):
            # The style is for the whole page; the metadata name addresses.
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        attributes = {
            _local(name): _value(_local(name), value, ident)
            for name, value in element.attrib.items()
        }
        element.attrib.clear()
        element.attrib.update(attributes)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib.update(
        {"role": "img", "aria-labelledby": f"{ident}-title", "aria-describedby": f"{ident}-desc"}
    )
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{ident}-{tag}"})
        element.text = printable(text)
        root.insert(place, element)
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """A name without its namespace; HTML knows what belongs to SVG."""
    return name.rpartition("}")[2]


def _value(name: str, value: str, ident: str) -> str:
    if name == "id":
        return f"{ident}-{value}"
    if name == "href":
        return value.replace("#", f"#{ident}-", 1)
    value = value.replace("url(#", f"url(#{ident}-")
    if name == "style":
        value = _FONT.sub(r"font-size: \1px", value)
    return _STAND_IN.sub(lambda found: f"var(--{_VARIABLES[found[0]]})", value)
