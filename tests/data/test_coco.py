from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotated_folders import HEIGHT, WIDTH, coco, save_coco, save_image

from edgekit.core import IGNORE
from edgekit.data import open_source
from edgekit.data.coco import CocoFolder, filled
from edgekit.data.truths import told
from edgekit.errors import DataError

SQUARE = [[2, 3, 6, 3, 6, 8, 2, 8]]


def test_boxes_are_those_of_the_annotations(tmp_path: Path) -> None:
    objects = [{}, {"category_id": 7, "bbox": [0.5, 0, 30, 2], "iscrowd": 1}, {"image_id": 2}]
    source = open_source(str(save_coco(tmp_path / "d", {"labels.json": coco(annotations=objects)})))
    assert isinstance(source, CocoFolder)
    assert told(source) == ("boxes",)
    assert source.classes == ("cat", "dog")
    assert not source.keeps_test
    boxes = source.boxes("all", 0)
    assert boxes.corners.tolist() == [[2, 3, 6, 8], [0.5, 0, 20, 2]]  # the last is cut off
    assert boxes.classes.tolist() == [0, 1]
    assert boxes.crowd.tolist() == [False, True]
    assert boxes.size == source.image("all", 0).shape[:2]


@pytest.mark.parametrize(
    "names",
    [
        ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
        ("train.json", "valid.json"),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json"),
    ],
)
def test_names_of_files_tell_the_splits(tmp_path: Path, names: tuple[str, str]) -> None:
    first, second = coco(["a.png", "b.png"], [{}]), coco(["c.png"], [{}])
    root = save_coco(tmp_path / "d", dict(zip(names, (first, second), strict=True)))
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "captions_train2017.json").write_text("{}")
    source = open_source(str(root))
    assert [source.size(split) for split in source.splits] == [2, 1, 3]
    assert source.splits == ("train", "validation", "all")


@pytest.mark.parametrize("place", ["", "images", "train2017", "images/train2017", "train/images"])
def test_images_are_found_where_they_usually_lie(tmp_path: Path, place: str) -> None:
    path = tmp_path / "d" / "annotations" / "instances_train2017.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(coco(["a.png"], [{}])))
    save_image(tmp_path / "d" / place / "a.png")
    for given in (tmp_path / "d", path):
        source = open_source(str(given))
        assert source.name == str(given)
        assert source.image("all", 0).shape == (HEIGHT, WIDTH, 3)


def test_outlines_are_masks_where_all_objects_have_some(tmp_path: Path) -> None:
    whole = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    objects: list[dict[str, Any]] = [
        {"segmentation": SQUARE},
        {"segmentation": [[4, 3, 20, 3, 20, 12, 4, 12]], "category_id": 7},
        {"segmentation": whole, "iscrowd": 1},
    ]
    root = save_coco(tmp_path / "d", {"all.json": coco(annotations=objects)})
    source: Any = open_source(str(root))
    assert told(source) == ("boxes", "masks")
    assert source.mask_classes == ("background", "cat", "dog")
    expected = np.full((HEIGHT, WIDTH), IGNORE, np.uint8)
    expected[3:, 4:] = 2
    expected[3:8, 2:6] = 1  # the smaller one is in front
    assert (source.mask("all", 0) == expected).all()
    assert not source.mask("all", 1).any()


def test_codes_of_runs_are_columns(tmp_path: Path) -> None:
    assert tmp_path
    size, runs = (4, 3), [1, 2, 3, 2, 4]
    expected = np.repeat([0, 1, 0, 1, 0], runs).reshape(3, 4).T == 1
    for counts in (runs, _compressed(runs)):
        assert (filled({"size": list(size), "counts": counts}, size, "it") == expected).all()
    # Numbers of several signs, and differences below 0.
    size, runs = (100, 90), [5000, 30, 900, 3000, 0, 70]
    expected = np.repeat([0, 1, 0, 1, 0, 1], runs).reshape(90, 100).T == 1
    for counts in (runs, _compressed(runs)):
        assert (filled({"size": list(size), "counts": counts}, size, "it") == expected).all()


def test_outlines_are_filled_as_pycocotools_does() -> None:
    from pycocotools import mask as theirs

    rng, size, shared = np.random.default_rng(0), (100, 100), []
    for _ in range(30):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        away = rng.uniform(8, 30, 12) * np.stack([np.cos(angles), np.sin(angles)])
        outline = [(away + rng.uniform(20, 80, (2, 1))).T.ravel().tolist()]
        code = theirs.merge(theirs.frPyObjects(outline, *size))
        expected = theirs.decode(code) == 1
        text = {"size": list(size), "counts": code["counts"].decode()}
        assert (filled(text, size, "it") == expected).all()
        found = filled(outline, size, "it")
        shared.append((found & expected).sum() / (found | expected).sum())
    # Theirs rounds corners to fifths of pixels, which moves some at the edge.
    assert min(shared) > 0.96
    assert np.mean(shared) > 0.98


def _compressed(runs: list[int]) -> str:
    text = ""
    for i, run in enumerate(runs):
        value = run - (runs[i - 2] if i > 2 else 0)
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def test_a_pixel_is_inside_where_its_middle_is() -> None:
    triangle = filled([[0, 0, 6, 0, 0, 6]], (6, 6), "it")
    rows, columns = np.indices((6, 6)) + 0.5
    assert (triangle == (rows + columns < 6)).all()
    beyond = filled([[-5, -5, 50, -5, 50, 50, -5, 50]], (6, 6), "it")
    assert beyond.all()
    ring = filled(
        [[0, 0, 6, 0, 6, 6, 0, 6, 0, 0, 2, 2, 2, 4, 4, 4, 4, 2, 2, 2, 0, 0]], (6, 6), "it"
    )
    assert ring.sum() == 32


@pytest.mark.parametrize(
    "outline",
    [
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, 10**400]],
        [[1, 2, 3, 4, 5, 1.7e308]],
        [1, 2, 3, 4, 5, 6],
        {"size": [HEIGHT, WIDTH], "counts": [5]},
        {"size": [WIDTH, HEIGHT], "counts": [HEIGHT * WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": [-1]},
        {"size": [HEIGHT, WIDTH], "counts": [10**400]},
        {"size": [HEIGHT, WIDTH], "counts": "é"},
        {"size": [HEIGHT, WIDTH], "counts": "o" * 9000},
        {"counts": None},
        "text",
    ],
)
def test_outlines_that_are_none_are_refused(tmp_path: Path, outline: Any) -> None:
    document = coco(annotations=[{"segmentation": outline}])
    source: Any = open_source(str(save_coco(tmp_path / "d", {"all.json": document})))
    with pytest.raises(DataError, match=r"annotation 1 of '.*all\.json' .*correct or remove it"):
        source.mask("all", 0)


def test_the_size_that_a_file_tells_is_not_believed(tmp_path: Path) -> None:
    document = coco(annotations=[{"segmentation": SQUARE}])
    document["images"][0].update(width=10**7, height=10**7)
    source: Any = open_source(str(save_coco(tmp_path / "d", {"all.json": document})))
    with pytest.raises(DataError, match="was made for 10000000 x 10000000 px: expected the same"):
        source.mask("all", 0)


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "\ud800.png", "a\0.png"])
def test_names_that_no_file_can_have_are_missing_images(tmp_path: Path, name: str) -> None:
    root = save_coco(tmp_path / "d", {"all.json": coco(annotations=[{}])})
    (root / "all.json").write_text(json.dumps(coco(["a.png", name], [{}])))
    with pytest.raises(
        DataError, match=r"1 of the 2 images .* do not exist, such as '.*: put them"
    ):
        open_source(str(root))
    assert open_source(str(root), skip_corrupt=True).size("all") == 1


def test_only_one_is_a_crowd(tmp_path: Path) -> None:
    objects = [{"iscrowd": value} for value in (0, 1, "0", "1", None, True)]
    source: Any = open_source(str(save_coco(tmp_path / "d", {"a.json": coco(annotations=objects)})))
    assert source.boxes("all", 0).crowd.tolist() == [False, True, False, True, False, True]


def _without(key: str, kind: str) -> dict[str, Any]:
    document = coco(annotations=[{}])
    del document[kind][0][key]
    return document


TWO = [{"id": 3, "name": "cat"}, {"id": 3, "name": "dog"}]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (coco(annotations=[{"bbox": [5, 5, -2, 3]}]), "annotation 1 of .* ends before it begins"),
        (coco(annotations=[{"bbox": [5, 5, float("nan"), 3]}]), "annotation 1 of .* not finite"),
        (coco(annotations=[{"bbox": [5, 5, 10**400, 3]}]), "annotation 1 .* the bbox"),
        (coco(annotations=[{"bbox": [5, 5, 3]}]), r"annotation 1 .* the bbox \[5, 5, 3\]: expect"),
        (coco(annotations=[{"bbox": ["a", 5, 3, 4]}]), "expected four numbers, left, top, width"),
        (_without("bbox", "annotations"), "annotation 1 .* the bbox None"),
        (coco(annotations=[{}, {"id": 1}]), "the id 1 is there twice among the annotations"),
        (coco(images=["a.png", "a.png"]), "images 1 and 2 of .* are the same file"),
        (coco(categories=TWO), "the id 3 is there twice among the categories"),
        (coco(categories=[{"id": 3}]), "class 0 in 'categories' of .* has no name: None"),
        (coco(categories=[{"id": 3, "name": " "}]), "has no name: ' '"),
        (coco(categories=[{"name": "cat"}]), r"categories\[0\] of .* has no id"),
        (coco(annotations=[{"category_id": 9}]), "annotation 1 of .* the category 9, which has no"),
        (coco(annotations=[{"image_id": 9}]), "annotation 1 of .* is of image 9, which is not the"),
        (coco(images=[]), "has no images"),
        ({**coco(), "annotations": {}}, "has no list of annotations"),
        (_without("file_name", "images"), "image 1 of .* has no 'file_name'"),
        (coco(images=["../a.png"]), r"image 1 of .* is '\.\./a\.png': expected a path below"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, document: Any, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        open_source(str(save_coco(tmp_path / "d", {"all.json": document})))


def test_duplicate_ids_of_images_are_refused(tmp_path: Path) -> None:
    document = coco()
    document["images"][1]["id"] = 1
    with pytest.raises(DataError, match="the id 1 is there twice among the images"):
        open_source(str(save_coco(tmp_path / "d", {"all.json": document})))


def test_boxes_without_area_are_left_out_and_told(tmp_path: Path) -> None:
    document = coco(annotations=[{"bbox": [5, 5, 0, 3]}, {}])
    source: Any = open_source(str(save_coco(tmp_path / "d", {"all.json": document})))
    assert len(source.boxes("all", 0).classes) == 1
    assert source.remarks[0].startswith("1 box without area was left out: annotation 1 of '")


def test_a_box_outside_is_refused_where_it_is_used(tmp_path: Path) -> None:
    document = coco(annotations=[{"bbox": [25, 5, 5, 3]}])
    root = save_coco(tmp_path / "d", {"all.json": document})
    source: Any = open_source(str(root))
    with pytest.raises(DataError, match=r"annotation 1 of .* is a box outside of image '.*a\.png'"):
        source.boxes("all", 0)
    assert open_source(str(root), skip_corrupt=True).size("all") == 1


def test_missing_images_are_counted(tmp_path: Path) -> None:
    root = save_coco(tmp_path / "d", {"all.json": coco(annotations=[{}])})
    (root / "images" / "a.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 images .* do not exist, such as 'a.png': put"):
        open_source(str(root))
    source: Any = open_source(str(root), skip_corrupt=True)
    assert source.size("all") == 1
    assert source.skipped == (str(root / "a.png"),)


def test_files_that_nobody_can_tell_apart_are_refused(tmp_path: Path) -> None:
    root = save_coco(tmp_path / "d", {"one.json": coco(["a.png"]), "two.json": coco(["b.png"])})
    with pytest.raises(DataError, match=r"nobody can tell the split of .*instances_train"):
        open_source(str(root))
    root = save_coco(tmp_path / "e", {"train.json": coco(["a.png"]), "val.json": coco(["a.png"])})
    with pytest.raises(DataError, match="is in the splits train and validation"):
        open_source(str(root))
    other = coco(["b.png"], categories=[{"id": 3, "name": "cow"}])
    root = save_coco(tmp_path / "f", {"train.json": coco(["a.png"]), "val.json": other})
    with pytest.raises(DataError, match=r"other categories than .*: cow and cat, dog; expected"):
        open_source(str(root))


@pytest.mark.parametrize("text", ["{", "[1]", "\x00", "[" * 200 + "]" * 200])
def test_a_file_that_is_no_such_document_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "all.json").write_text(text)
    with pytest.raises(DataError, match=r"all\.json' (has no list of|are no JSON)"):
        open_source(str(tmp_path / "all.json"))


def test_class_folders_may_have_notes_beside_them(make_folder: Any) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    (root / "notes.json").write_text('{"images": [], "by": "me"}')
    assert told(open_source(str(root))) == ("labels",)
