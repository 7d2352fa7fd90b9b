"""How large pictures of predictions are."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.tasks import drawing

SIZES = {  # of an image, and of its picture, height and width
    (1, 1): (240, 240),
    (30, 50): (150, 250),
    (300, 400): (300, 400),
    (3000, 1): (2048, 1),
    (1, 3000): (1, 2048),
    (3000, 6000): (1024, 2048),
}


@pytest.mark.parametrize("size", SIZES)
def test_pictures_are_large_enough_to_be_read_and_no_larger(size: tuple[int, int]) -> None:
    pixels = np.full((*size, 3), 90, np.uint8)
    height, width = SIZES[size]
    assert drawing.framed(pixels, [(0, 0, size[1], size[0])], ["one"], [0]).shape[:2] == (
        height,
        width,
    )
    for below in (
        drawing.captioned(pixels, ["one"], [0.5]),
        drawing.coloured(pixels, np.zeros(size, np.uint8), ["one"], [0]),
    ):
        assert height < below.shape[0] < height + 200
        assert below.shape[1] == max(240, width)


def test_frames_lie_where_their_objects_are() -> None:
    pixels = np.zeros((3000, 6000, 3), np.uint8)
    drawn = drawing.framed(pixels, [(3000, 1500, 6000, 3000)], ["one"], [0])
    rows, columns = np.nonzero(drawn.any(axis=2))
    assert columns.min() == 1024
    assert rows.max() == 1023
    assert not drawn[600:1000, 1100:2000].any()
