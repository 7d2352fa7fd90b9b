"""An SVG that plays what a terminal has shown: text and animations, no script and no font.

Every line of the terminal is drawn once, below the one before it, and the whole is moved so that
the last line that there is at a moment lies at the bottom. Lines that were written over, such as
progress, are drawn once for each content, and shown while they had it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from xml.sax.saxutils import escape

from screen import Cell

_WIDTH, _HEIGHT, _MARGIN = 8.4, 17, 12  # of a character, of a line, around the screen
_LONGEST_S, _LEAST_S, _END_S = 1.2, 0.08, 6.0
"""A frame is shown for so long, however long it was there; the last one longer."""

_COLOURS = {
    "black": "#5c6370", "red": "#ff7b72", "green": "#7ee787", "yellow": "#e3b341",
    "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#76e3ea", "white": "#f0f6fc",
}  # fmt: skip
_FONT = "14px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"


@dataclass(frozen=True)
class Frame:
    """What the screen shows from some moment on.

    Attributes:
        begin_s: since the beginning.
        first: number of the first line that can be seen, of all that were written.
        lines: those that can be seen.
        hold_s: how long it has to be seen, whatever follows; 0: as long as it was there.
    """

    begin_s: float
    first: int
    lines: Sequence[Sequence[Cell]]
    hold_s: float = 0.0


@dataclass
class _Line:
    """What a line had in it, from when to when, in seconds of the film."""

    contents: list[tuple[str, float, float]] = field(default_factory=list)
    _now: str = ""
    _since: float = 0.0

    def has(self, drawn: str, at: float) -> None:
        if drawn != self._now:
            if self._now:
                self.contents.append((self._now, self._since, at))
            self._now, self._since = drawn, at


def film(frames: Sequence[Frame], columns: int, rows: int, title: str) -> str:
    """The text of an SVG file.

    Args:
        title: for those who cannot see it.
    """
    begins = [frame.begin_s for frame in frames]
    shown_s = [
        frame.hold_s or min(max(after - frame.begin_s, _LEAST_S), _LONGEST_S)
        for frame, after in zip(frames, [*begins[1:], begins[-1]], strict=True)
    ]
    shown_s[-1] = _END_S
    whole, at = sum(shown_s), 0.0
    lines: dict[int, _Line] = {}
    moves: list[tuple[float, int]] = []
    clock = _Line()
    for frame, seconds in zip(frames, shown_s, strict=True):
        count = frame.first + len(frame.lines)
        for number, cells in enumerate(frame.lines, frame.first):
            lines.setdefault(number, _Line()).has(_drawn(cells), at)
        for number, line in lines.items():
            if number >= count:
                line.has("", at)
        if not moves or moves[-1][1] != count:
            moves.append((at, count))
        clock.has(f"{int(frame.begin_s // 60)} min", at)
        at += seconds
    body = []
    for number, line in lines.items():
        line.has("", whole)
        y = number * _HEIGHT
        for drawn, begin, end in line.contents:
            # Before its time a line that stays lies below what is shown.
            always = end >= whole and len(line.contents) == 1
            body.append(_text(drawn, _MARGIN, y, whole, None if always else (begin, end)))
    clock.has("", whole)
    width, height = round(columns * _WIDTH + 2 * _MARGIN), (rows + 1) * _HEIGHT + 2 * _MARGIN
    minutes = "".join(
        _text(text, width - 70, height - 10, whole, (begin, end), "dim")
        for text, begin, end in clock.contents
    )
    bottom = _MARGIN + (rows - 1) * _HEIGHT + 13
    values = ";".join(f"0 {bottom - (count - 1) * _HEIGHT}" for _, count in moves)
    times = ";".join(f"{begin / whole:.4f}" for begin, _ in moves)
    style = "".join(f".{name}{{fill:{value}}}" for name, value in _COLOURS.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title><style>text{{font:{_FONT};fill:#e6edf3;white-space:pre}}"
        f".bold{{font-weight:bold}}.dim{{fill:#8b949e}}{style}</style>"
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>'
        f'<clipPath id="c"><rect width="{width}" height="{bottom + 5}"/></clipPath>'
        f'{minutes}<g clip-path="url(#c)"><g><animateTransform attributeName="transform" '
        f'type="translate" calcMode="discrete" dur="{whole:.1f}s" repeatCount="indefinite" '
        f'values="{values}" keyTimes="{times}"/>{"".join(body)}</g></g></svg>\n'
    )


def _text(
    drawn: str, x: int, y: int, whole: float, span: tuple[float, float] | None, style: str = ""
) -> str:
    """A text that is seen in a span of the film, or always."""
    words = f' class="{style}"' if style else ""
    if span is None:
        return f'<text x="{x}" y="{y}"{words}>{drawn}</text>'
    begin, end = span
    states = [("hidden", 0.0)] if begin > 0 else []
    states += [("visible", begin), *([("hidden", end)] if end < whole else [])]
    values = ";".join(value for value, _ in states)
    times = ";".join(f"{at / whole:.4f}" for _, at in states)
    return (
        f'<text x="{x}" y="{y}"{words} visibility="hidden">{drawn}<animate '
        f'attributeName="visibility" calcMode="discrete" dur="{whole:.1f}s" '
        f'repeatCount="indefinite" values="{values}" keyTimes="{times}"/></text>'
    )


def _drawn(cells: Sequence[Cell]) -> str:
    """Characters as markup, empty where there are none."""
    if not "".join(cell.character for cell in cells).strip():
        return ""
    parts = []
    for style, run in groupby(cells, key=lambda cell: cell.style):
        text = escape("".join(cell.character for cell in run))
        parts.append(f'<tspan class="{" ".join(sorted(style))}">{text}</tspan>' if style else text)
    return "".join(parts).rstrip()
