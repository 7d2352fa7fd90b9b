from __future__ import annotations

from pathlib import Path

import pytest
from annotated_folders import save_image, save_yolo

from edgekit.data import open_source
from edgekit.data.truths import told
from edgekit.data.yolo import YoloFolder
from edgekit.errors import DataError

# Whose text would fill all memory.
BOMB = (
    "a: &a [1]\n"
    + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefghijkl", "bcdefghijklm", strict=True)
    )
    + "names: [*m]\n"
)
CAT = "0 0.5 0.5 0.2 0.5\n"


def test_boxes_are_shares_of_the_image(tmp_path: Path) -> None:
    labels = {
        "images/train/a": CAT + "\n1 .05 1 0.1 5e-1",
        "images/train/b": "",
        "images/val/c": None,
    }
    source = open_source(str(save_yolo(tmp_path / "d", labels)))
    assert isinstance(source, YoloFolder)
    assert told(source) == ("boxes",)
    assert source.classes == ("cat", "dog")
    assert source.splits == ("train", "validation", "all")
    boxes = source.boxes("train", 0)
    assert boxes.corners.tolist() == [[8, 3, 12, 9], [0, 9, 2, 12]]  # the last is cut off
    assert boxes.classes.tolist() == [0, 1]
    assert not boxes.crowd.any()
    for split, index in (("train", 1), ("validation", 0)):
        assert source.boxes(split, index).corners.shape == (0, 4)


@pytest.mark.parametrize(
    "description",
    [
        "train: images/train\nval: images/val\ntest: images/test\nnc: 2\nnames: ['cat', 'dog']",
        "path: ../datasets/pets\ntrain: ../images/train\nval: [images/val]\ntest: ./images/test\n"
        "names:\n  0: cat\n  1: dog\n",
        "train: /home/else/pets/images/train\nvalid: images/val\ntest: list.txt\nnames: [cat, dog]",
        "names: [cat, dog]",
    ],
)
def test_a_description_names_classes_and_splits(tmp_path: Path, description: str) -> None:
    labels = {
        f"images/{split}/{split}{i}": CAT for split in ("train", "val", "test") for i in (1, 2)
    }
    root = save_yolo(tmp_path / "pets", labels, description)
    (root / "list.txt").write_text("./images/test/test1.png\nimages/test/test2.png\n\n")
    for given in (root, root / "data.yaml"):
        source = open_source(str(given))
        assert isinstance(source, YoloFolder)
        assert source.name == str(given)
        assert source.classes == ("cat", "dog")
        assert [source.size(split) for split in source.splits] == [2, 2, 2, 6]
        assert source.keeps_test
        assert source.boxes("test", 0).corners.tolist() == [[8, 3, 12, 9]]


def test_split_folders_may_stand_outside(tmp_path: Path) -> None:
    labels = {"train/images/a": CAT, "valid/images/b": CAT}
    text = "train: ../train/images\nval: ../valid/images\nnames: [cat]\n"
    source = YoloFolder(save_yolo(tmp_path / "d", labels, text))
    assert [source.size(split) for split in source.splits] == [1, 1, 2]
    assert source.boxes("validation", 0).classes.tolist() == [0]


def test_without_splits_all_images_are_cut(tmp_path: Path) -> None:
    root = save_yolo(tmp_path / "d", {f"images/{i:02}": CAT for i in range(20)}, None)
    with pytest.raises(DataError, match=r"nothing names its classes: expected 'data\.yaml'"):
        YoloFolder(root)
    (root / "classes.txt").write_text("cat\n")
    source = open_source(str(root))
    assert [source.size(split) for split in source.splits] == [16, 2, 2, 20]
    assert not source.keeps_test


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 .5 .5 .2 .2 .9", "has 6 numbers: expected five.*a sixth number is a confidence"),
        ("0 .5 .5 .2", "has 4 numbers: expected five, class, middle x"),
        ("0 .1 .1 .2 .2 .3 .3", "has 7 numbers.*outlines, which are not read"),
        ("0,.5,.5,.2,.2", "has commas: .*with spaces between"),
        ("0;.5;.5;.2;.2", "has semicolons"),
        ("cat .5 .5 .2 .2", "is 'cat .5 .5 .2 .2': expected five numbers"),
        ("0.5 .5 .5 .2 .2", "the class without a point"),
        ("2 .5 .5 .2 .2", "has the class 2: expected 0 to 1, since there are 2 names"),
        ("-1 .5 .5 .2 .2", "has the class -1"),
        ("0 10 6 4 6", "has 10 for middle x: expected a share .*; divide pixels by that side"),
        ("0 .5 .5 -.2 .2", "has -0.2 for width"),
        ("0 .5 .5 .2 nan", "has nan for height"),
    ],
)
def test_a_line_that_is_no_box_is_refused(tmp_path: Path, line: str, expected: str) -> None:
    root = save_yolo(tmp_path / "d", {"images/a": f"{CAT}\n{line}\n", "images/b": CAT})
    with pytest.raises(DataError, match=rf"line 3 of '.*labels/a\.txt' .*{expected}"):
        YoloFolder(root)
    assert YoloFolder(root, skip_corrupt=True).skipped == (str(root / "images" / "a.png"),)


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("names: [cat, '']", "class 1 in 'names' of .* has no name"),
        ("names: [cat, null]", "class 1 in 'names' of .* has no name: None"),
        ("names: [cat, cat]", "are called 'cat'"),
        ("names: {0: cat, 2: dog}", "has the numbers 0, 2: expected 0 to 1"),
        ("names: cat", "expected a list"),
        ("names: []", "there are no classes"),
        ("nc: 3\nnames: [cat, dog]", "has 2 names and says 'nc: 3'"),
        ("train: images", "has no 'names'"),
        ("names: [cat", "is no YAML"),
        (BOMB, "class 0 in 'names' of .* has no name"),
        ("names: !!python/object/apply:os.system ['true']", "is no YAML"),
        ("train: images/learn\nnames: [cat]", "names 'images/learn' for 'train', which is not in"),
        ("train: images\nval: images\nnames: [cat]", "is in the splits train and validation"),
        ("a: &a {x: 1}\nb: {<<: [*a, *a]}\nnames: [cat]", "merges mappings .*write them out"),
        (BOMB.replace("names: [*m]", "names: [cat]\nnc: *m"), r"says 'nc: \[.{0,90}: correct one"),
        ('names: {"0": cat}', "has the numbers '0': expected 0 to 0"),
        ("train: 7\nnames: [cat]", "'train' of .* is 7: expected a folder"),
        ("train: list.txt\nnames: [cat]", r"line 1 of .*list\.txt' is '\.\./x\.png'"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(
    tmp_path: Path, description: str, expected: str
) -> None:
    root = save_yolo(tmp_path / "d", {"images/a": CAT}, description)
    (root / "list.txt").write_text("../x.png\n")
    with pytest.raises(DataError, match=expected):
        open_source(str(root))


def test_numbers_are_names_and_images_without_any_label_are_refused(tmp_path: Path) -> None:
    root = save_yolo(tmp_path / "d", {"images/a": None}, "names: [0, 1]")
    with pytest.raises(DataError, match=r"has no labels: expected '.*labels/a\.txt' for '.*a\.png"):
        YoloFolder(root)
    (root / "labels" / "a.txt").write_text(CAT)
    assert YoloFolder(root).classes == ("0", "1")
    (root / "other.yaml").write_text("names: [x]")
    assert YoloFolder(root).classes == ("0", "1")  # data.yaml is the usual name
    (root / "data.yaml").rename(root / "more.yaml")
    with pytest.raises(DataError, match="has several YAML files"):
        YoloFolder(root)


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    root = save_yolo(tmp_path / "d", {"images/a": "0 .25 .5 .5 1"})
    save_image(root / "images" / "a.png", (12, 20), orientation=6)
    source = YoloFolder(root)
    assert source.boxes("all", 0).corners.tolist() == [[0, 0, 6, 20]]
    stored = source.decoded("ignore", "black").boxes("all", 0)
    assert stored.corners.tolist() == [[0, 6, 20, 12]]  # its left half is the lower one


def test_a_root_called_images_keeps_its_name(tmp_path: Path) -> None:
    root = save_yolo(tmp_path / "images" / "d", {"train/a": CAT}, "train: train\nnames: [cat]")
    assert YoloFolder(root).boxes("train", 0).classes.tolist() == [0]


def test_a_list_with_a_nul_is_refused(tmp_path: Path) -> None:
    root = save_yolo(tmp_path / "d", {"images/a": CAT}, "train: list.txt\nnames: [cat]")
    (root / "list.txt").write_text("a\0.png\n")
    with pytest.raises(DataError, match="expected the path of an image"):
        YoloFolder(root)
