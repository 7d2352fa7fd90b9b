"""The record of the tutorial: what a terminal would show, and the film that is made of it."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

SITE = Path(__file__).parents[1] / "docs" / "site"


@pytest.fixture(autouse=True)
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules lie side by side, as scripts do."""
    monkeypatch.syspath_prepend(str(SITE))
    for name in ("screen", "film"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        ("one\r\ntwo\r\n", ["one", "two", ""]),
        ("10 %\r20 %\r\n", ["20 %", ""]),
        ("a" * 12 + "b", ["a" * 10, "aab"]),
        ("going\r\x1b[2Kdone", ["done"]),
        ("one\r\ntwo\x1b[A\r\x1b[Kthree", ["three", "two"]),
        ("keep\r\none\r\ntwo\x1b[1A\r\x1b[J", ["keep", ""]),
        ("\x1b]0;a title\x07\x1b[?25lseen\x1b[?25h", ["seen"]),
    ],
)
def test_what_a_terminal_shows(written: str, lines: list[str]) -> None:
    from screen import Screen

    screen = Screen(columns=10, rows=4)
    screen.write(written)
    assert screen.text() == lines


def test_styles_of_characters() -> None:
    from screen import Screen

    screen = Screen()
    screen.write("\x1b[1;32mok\x1b[0m no \x1b[31mbad")
    styles = [set(cell.style) for cell in screen.lines[0]]
    assert styles[0] == {"bold", "green"}
    assert styles[3] == set()
    assert styles[-1] == {"red"}


def test_a_film_has_every_line_once_and_what_was_written_over_while_it_was_there() -> None:
    from film import Frame, film
    from screen import Screen

    screen, frames = Screen(columns=40, rows=3), []
    for i in range(6):
        screen.write(f"\rstep {i} <&>")
        frames.append(Frame(float(i), 0, [list(line) for line in screen.window()]))
    screen.write("\r\nthe end")
    frames.append(Frame(9.0, 0, [list(line) for line in screen.window()]))
    drawn = film(frames, 40, 3, "steps")
    root = ElementTree.fromstring(drawn)
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text.startswith("step")] == [
        f"step {i} <&>" for i in range(6)
    ]
    assert texts.count("the end") == 1
    assert "script" not in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
