"""What is right of an image, in pixels of the prepared one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.core import IGNORE, Boxes, Preprocessing
from edgekit.data import open_source
from edgekit.data.preprocess import resize_and_crop
from edgekit.data.truths import (
    BOX_TRUTH,
    CLASS_LABELS,
    MASK_TRUTH,
    NO_OBJECT,
    check_told,
    told,
    truth_bytes,
)
from edgekit.errors import DataError

FITS = {
    "crop": Preprocessing(48, (40, 32), interpolation="nearest"),
    "as it is": Preprocessing(None, 32, interpolation="nearest"),
    "stretch": Preprocessing(None, (40, 32), fit="stretch", interpolation="nearest"),
    "stretch and crop": Preprocessing(48, (40, 32), fit="stretch", interpolation="nearest"),
    "letterbox": Preprocessing(None, (40, 64), fit="letterbox", pad=0, interpolation="nearest"),
}
HEIGHT, WIDTH = 60, 80


class OneImage:
    """An image of one grey rectangle, as its box and as its mask tell."""

    name, classes, mask_classes = "one", ("thing",), ("background", "thing")
    flippable, keeps_test, splits = True, True, ("train",)

    def __init__(self, *corners: tuple[float, float, float, float], crowd: bool = False) -> None:
        self._corners, self._crowd = corners, crowd

    def size(self, split: str) -> int:
        return 1

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        return np.repeat(self.mask(split, index)[..., None] * np.uint8(200), 3, axis=2)

    def mask(self, split: str, index: int) -> NDArray[np.uint8]:
        found = np.zeros((HEIGHT, WIDTH), np.uint8)
        for x0, y0, x1, y1 in np.asarray(self._corners, int):
            found[y0:y1, x0:x1] = 1
        return found

    def boxes(self, split: str, index: int) -> Boxes:
        count = len(self._corners)
        corners = np.array(self._corners, np.float32).reshape(-1, 4)
        return Boxes(
            corners, np.zeros(count, np.int64), (HEIGHT, WIDTH), np.full(count, self._crowd)
        )


def shown(source: Any, preprocessing: Preprocessing) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = resize_and_crop(source.image("", 0), preprocessing)[..., 0] > 0
    return found


@pytest.mark.parametrize("preprocessing", FITS.values(), ids=FITS)
def test_boxes_and_masks_are_where_the_object_is_shown(preprocessing: Preprocessing) -> None:
    source = OneImage((30, 14, 52, 40))
    seen = shown(source, preprocessing)
    rows = BOX_TRUTH.label(source, "train", 0, preprocessing)
    assert rows.shape == (1, 6)
    ys, xs = np.nonzero(seen)
    edges = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert rows[0, :4] == pytest.approx(edges, abs=0.51)  # pixels are whole, edges are not
    assert rows[0, 4:].tolist() == [0, 0]
    mask = MASK_TRUTH.label(source, "train", 0, preprocessing)
    assert (mask.dtype, mask.shape) == (np.uint8, preprocessing.size)
    assert ((mask == 1) == seen).all()


def test_what_lies_around_a_letterboxed_image_is_ignored() -> None:
    mask = MASK_TRUTH.label(OneImage((0, 0, WIDTH, HEIGHT)), "train", 0, FITS["letterbox"])
    # 80 x 60 becomes 53 x 40 within 64 x 40: 5 columns on the left, 6 on the right.
    assert (mask[:, 5:58] == 1).all()
    assert (mask[:, :5] == IGNORE).all()
    assert (mask[:, 58:] == IGNORE).all()


def test_objects_are_cut_to_what_is_shown() -> None:
    middle = Preprocessing(None, 40)  # columns 20 to 60, rows 10 to 50
    source = OneImage(
        (0, 0, 20, 60),  # outside, edge on edge
        (10, 20, 30, 30),  # half of it
        (0, 20, 24, 30),  # a sixth
        (0, 0, 80, 60),  # reaches out on all sides; a third
    )
    rows = BOX_TRUTH.label(source, "train", 0, middle)
    assert rows.tolist() == [
        [0, 10, 10, 20, 0, 0],
        [0, 10, 4, 20, 0, 1],
        [0, 0, 40, 40, 0, 0],
    ]


def test_labels_of_several_images_are_one_array() -> None:
    middle = Preprocessing(None, 40)
    labels = [
        BOX_TRUTH.label(source, "train", 0, middle)
        for source in (OneImage(), OneImage((20, 10, 60, 50), (22, 12, 30, 30)))
    ]
    found = BOX_TRUTH.stacked(labels)
    assert (found.shape, found.dtype) == ((2, 2, 6), np.float32)
    assert (found[0, :, 4] == NO_OBJECT).all()
    assert (found[1] == labels[1]).all()
    assert BOX_TRUTH.stacked(labels[:1])[..., 4].tolist() == [[NO_OBJECT]]
    masks = [MASK_TRUTH.label(OneImage(), "train", 0, middle)] * 3
    assert MASK_TRUTH.stacked(masks).shape == (3, 40, 40)


def test_a_thousand_boxes_of_an_image_are_a_thousand_rows() -> None:
    source = OneImage(*[(i % 70, i % 50, i % 70 + 5, i % 50 + 5) for i in range(1000)])
    whole = Preprocessing(None, (60, 80), fit="stretch")
    assert BOX_TRUTH.stacked([BOX_TRUTH.label(source, "train", 0, whole)]).shape == (1, 1000, 6)


def test_crowds_teach_nothing_and_are_no_other_objects() -> None:
    plain, crowd = (OneImage((20, 10, 60, 50), crowd=crowd) for crowd in (False, True))
    assert truth_bytes(plain, "train", 0) != truth_bytes(crowd, "train", 0)
    labels = [BOX_TRUTH.label(one, "train", 0, Preprocessing(None, 40)) for one in (plain, crowd)]
    assert [BOX_TRUTH.seen(label).tolist() for label in labels] == [[0], []]
    mask = np.array([[1, 1, IGNORE]], np.uint8)
    assert MASK_TRUTH.seen(mask).tolist() == [1]


def test_names_of_classes_are_those_of_what_is_told() -> None:
    scenes = open_source("digit-scenes")
    assert told(scenes) == ("boxes", "masks")
    assert BOX_TRUTH.classes(scenes)[0] == "0"
    assert MASK_TRUTH.classes(scenes)[:2] == ("background", "0")
    digits = open_source("digits")
    assert CLASS_LABELS.classes(digits) == digits.classes
    with pytest.raises(DataError, match="'digits' has labels, and the task detect needs boxes"):
        check_told(digits, BOX_TRUTH, "the task detect")
