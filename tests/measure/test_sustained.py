"""Sustained speed: the beginning against the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from edgekit.core import Block, Energy, Measurement
from edgekit.measure.sustained import plot, sustained


def blocks(seconds: int, slower_from_s: int) -> tuple[Block, ...]:
    """A block each second, which takes 2 ms at first and then 3 ms."""
    return tuple(
        Block(float(i), 0, (2.0 if i < slower_from_s else 3.0,) * 20, (1.0,) * 8)
        for i in range(seconds + 1)
    )


@pytest.mark.parametrize(("seconds", "span_s"), [(600, 60), (100, 20)])
def test_the_first_and_last_minute_or_fifth_count(seconds: int, span_s: float) -> None:
    found = sustained(blocks(seconds, seconds // 2))
    assert (found.first_s, found.first_ms) == (span_s, 2.0)
    assert (found.last_s, found.last_ms) == (span_s, 3.0)
    assert found.change == pytest.approx(0.5)


def test_one_block_is_its_own_end() -> None:
    found = sustained(blocks(0, 1))
    assert (found.first_ms, found.last_ms, found.change) == (2.0, 2.0, 0.0)


@pytest.mark.parametrize("name", ["small.onnx", "$x_{\\.onnx", "two\nlines.onnx"])
def test_the_picture_is_drawn_whatever_the_name(name: str, tmp_path: Path) -> None:
    one = Measurement(
        name, "onnx", "host", "ONNX Runtime", 1, 1, "2026-01-31T12:00:00+00:00",
        blocks(500, 250), Energy("unavailable"),
    )  # fmt: skip
    plot(one, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (960, 480)
