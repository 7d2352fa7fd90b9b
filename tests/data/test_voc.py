from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated_folders import save_image, save_voc, voc_object

from edgekit.data import open_source
from edgekit.data.truths import told
from edgekit.data.voc import VocFolder
from edgekit.errors import DataError

CAT = voc_object("cat", (2, 3, 10, 9))


def test_boxes_are_those_of_the_annotations(tmp_path: Path) -> None:
    dog = voc_object("dog", (0.5, 0, 20, 12), difficult=1)
    root = save_voc(tmp_path / "d", {"a": CAT + dog, "b": ""}, {"train": ["a"], "val": ["b"]})
    source = open_source(str(root))
    assert isinstance(source, VocFolder)
    assert told(source) == ("boxes",)
    assert source.classes == ("cat", "dog")
    assert source.splits == ("train", "validation", "all")
    assert not source.keeps_test
    boxes = source.boxes("train", 0)
    assert boxes.corners.tolist() == [[2, 3, 10, 9], [0.5, 0, 20, 12]]
    assert boxes.classes.tolist() == [0, 1]
    assert boxes.crowd.tolist() == [False, True]
    assert boxes.size == source.image("train", 0).shape[:2]
    assert source.boxes("validation", 0).corners.shape == (0, 4)


def test_lists_are_the_splits_and_others_are_left_out(tmp_path: Path) -> None:
    names = dict.fromkeys("abcdefg", CAT)
    lists = {"trainval": ["a", "b", "c 1", "d -1", "e"], "test": ["f"], "cat_train": ["a -1"]}
    source = VocFolder(save_voc(tmp_path / "d", names, lists))
    assert [source.size(split) for split in ("train", "validation", "test", "all")] == [4, 1, 1, 6]
    assert source.keeps_test


def test_without_lists_all_images_are_cut(tmp_path: Path) -> None:
    source = VocFolder(save_voc(tmp_path / "d", {f"{i:02}": CAT for i in range(20)}))
    assert [source.size(split) for split in source.splits] == [16, 2, 2, 20]
    assert not source.keeps_test


def test_pixels_of_the_challenge_count_from_one(tmp_path: Path) -> None:
    said = "<source><database>The VOC2007 Database</database></source>"
    source = VocFolder(save_voc(tmp_path / "d", {"a": said + voc_object("cat", (1, 1, 20, 12))}))
    assert source.boxes("all", 0).corners.tolist() == [[0, 0, 20, 12]]


def test_what_reaches_out_is_cut_off(tmp_path: Path) -> None:
    root = save_voc(tmp_path / "d", {"a": voc_object("cat", (-3, 2, 25, 12.5))})
    assert VocFolder(root).boxes("all", 0).corners.tolist() == [[0, 2, 20, 12]]


def test_boxes_without_area_are_left_out_and_told(tmp_path: Path) -> None:
    flat = voc_object("cat", (3, 4, 3, 9))
    source = VocFolder(save_voc(tmp_path / "d", {"a": flat + CAT, "b": CAT}))
    assert len(source.boxes("all", 0).classes) == 1
    assert source.remarks[0].startswith("1 box without area was left out: object 1 of '")
    assert not VocFolder(save_voc(tmp_path / "e", {"a": CAT})).remarks


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        (voc_object("cat", (9, 3, 2, 8)), r"object 1 of .*a\.xml' is a box .* ends before it begi"),
        (CAT + voc_object("cat", ("nan", 3, 2, 8)), r"object 2 of .*not finite: left nan, top 3"),
        (
            voc_object("cat", (1, 2, 3, "wide")),
            r"object 1 of .*'wide' for <bndbox><ymax>.*a number",
        ),
        (
            voc_object(" ", (1, 2, 3, 4)) + CAT,
            r"object 1 of .*a\.xml' has no name: expected <name>",
        ),
        ("<object></annotation>", r"a\.xml' is no XML \(.*mismatched tag"),
        ("&b;</annotation>", r"a\.xml' is no XML \(undefined entity"),
        ("", r"there are no classes in '.*Annotations'"),
    ],
)
def test_what_cannot_be_a_box_is_refused(tmp_path: Path, objects: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        VocFolder(save_voc(tmp_path / "d", {"a": objects}))


def test_a_box_outside_of_its_image_is_refused_where_it_is_used(tmp_path: Path) -> None:
    root = save_voc(tmp_path / "d", {"a": CAT, "b": voc_object("cat", (20, 0, 30, 5))})
    with pytest.raises(
        DataError, match=r"object 1 of .*b\.xml' is a box outside of image .*in 20 x 12 px; expect"
    ):
        VocFolder(root).boxes("all", 1)
    source = VocFolder(root, skip_corrupt=True)
    assert source.size("all") == 1
    assert source.skipped == (str(root / "JPEGImages" / "b.png"),)


def test_an_annotation_of_another_image_is_refused(tmp_path: Path) -> None:
    source = VocFolder(save_voc(tmp_path / "d", {"a": CAT}, size=(480, 640)))
    with pytest.raises(DataError, match="has 20 x 12 px, and its annotation was made for 640 x 48"):
        source.boxes("all", 0)


@pytest.mark.parametrize("side", ["inf", "-inf", "nan", "1e300", "1e6"])
def test_a_size_that_no_image_has_is_refused(tmp_path: Path, side: Any) -> None:
    root = save_voc(tmp_path / "d", {"a": CAT, "b": CAT}, size=(12, side))
    with pytest.raises(DataError, match=r"a\.xml' has .* for <size><width>: .*below 1,000,000"):
        VocFolder(root)


def test_a_size_of_nothing_says_nothing(tmp_path: Path) -> None:
    source = VocFolder(save_voc(tmp_path / "d", {"a": CAT}, size=(0, 0)))
    assert source.boxes("all", 0).size == (12, 20)


def test_missing_images_and_annotations_are_named(tmp_path: Path) -> None:
    root = save_voc(tmp_path / "d", {"a": CAT, "b": CAT})
    (root / "JPEGImages" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 images .* not exist, such as .*b\.jpg'"):
        VocFolder(root)
    assert VocFolder(root, skip_corrupt=True).size("all") == 1
    lists = {"train": ["a"], "test": ["c"]}
    with pytest.raises(DataError, match=r"'c' of 'ImageSets/Main'.*has no annotation"):
        VocFolder(save_voc(tmp_path / "e", {"a": CAT}, lists))


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    lists = {"train": ["a", "b"], "val": ["b"]}
    with pytest.raises(DataError, match=r"b\.png' .* is in the splits train and validation"):
        VocFolder(save_voc(tmp_path / "d", {"a": CAT, "b": CAT}, lists))


def test_broken_images_are_left_out_when_asked(tmp_path: Path) -> None:
    root = save_voc(tmp_path / "d", {"a": CAT, "b": CAT})
    (root / "JPEGImages" / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="--skip-corrupt"):
        VocFolder(root).image("all", 1)
    assert VocFolder(root, skip_corrupt=True).size("all") == 1
    (root / "JPEGImages" / "a.png").unlink()
    with pytest.raises(DataError, match="no image that can be used: all 2 were left out"):
        VocFolder(root, skip_corrupt=True)


@pytest.mark.parametrize(
    ("orientation", "of_stored"),
    # Sizes tell nothing of the first four: their boxes are of the upright image.
    [*((o, False) for o in range(1, 9)), *((o, True) for o in range(5, 9))],
)
def test_boxes_turn_with_their_image(tmp_path: Path, orientation: int, of_stored: bool) -> None:
    """A box is around the same pixels, whatever the image is annotated and decoded as."""
    size = (12, 20) if of_stored or orientation <= 4 else (20, 12)
    root = save_voc(tmp_path / "d", {"a": voc_object("cat", (2, 3, 6, 10))}, size=size)
    save_image(root / "JPEGImages" / "a.png", (12, 20), orientation)
    source = VocFolder(root)
    shown = {}
    for exif in ("upright", "ignore"):
        turned = source.decoded(exif, "black")
        boxes, image = turned.boxes("all", 0), turned.image("all", 0)
        assert boxes.size == image.shape[:2]
        x0, y0, x1, y1 = boxes.corners[0].astype(int)
        shown[exif] = image[y0:y1, x0:x1]
    assert shown["upright"].size == shown["ignore"].size == 4 * 7 * 3
    pixels = [np.unique(part.reshape(-1, 3), axis=0) for part in shown.values()]
    assert (pixels[0] == pixels[1]).all()
    as_told = shown["ignore" if of_stored else "upright"]
    assert as_told.shape == (7, 4, 3)
