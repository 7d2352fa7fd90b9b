from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from annotated_folders import save_image

from edgekit.data import open_source
from edgekit.data.pairs import PairFolder
from edgekit.data.truths import told
from edgekit.errors import DataError


def save_pairs(root: Path, **lists: str) -> Path:
    """Lists by their names, and an image for every path in them."""
    root.mkdir(exist_ok=True)
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text)
        for word in text.split():
            if word.endswith(".png") and ".." not in word:
                save_image(root / word)
    return root


def labels_of(source: Any, split: str) -> list[str]:
    return [source.classes[source.label(split, i)] for i in range(source.size(split))]


def test_what_is_the_same_is_a_class(tmp_path: Path) -> None:
    train = "b/1.png a/1.png 1\n\na/1.png a/2.png 1\nc.png a/2.png 0\nd.png c.png 1\n"
    test = "y.png\tx.png\t0\nz.png\tx.png\t1\n"
    source = open_source(str(save_pairs(tmp_path / "d", pairs_train=train, pairs_test=test)))
    assert isinstance(source, PairFolder)
    assert told(source) == ("labels",)
    assert source.classes == ("a/1.png", "c.png", "x.png", "y.png")
    assert source.keeps_test
    assert labels_of(source, "test") == ["x.png", "y.png", "x.png"]
    seen = labels_of(source, "train") + labels_of(source, "validation")
    assert sorted(seen) == ["a/1.png"] * 3 + ["c.png"] * 2


def test_a_class_is_cut_into_one_split_whatever_the_order(tmp_path: Path) -> None:
    lines = [f"p{i:02}a.png p{i:02}b.png 1" for i in range(20)]
    parts = []
    for name, text in (("d", "\n".join(lines)), ("e", "\n".join(lines[::-1]))):
        source: Any = PairFolder(save_pairs(tmp_path / name, pairs=text))
        assert [source.size(split) for split in source.splits] == [32, 4, 4, 40]
        assert not source.keeps_test
        parts.append({split: labels_of(source, split) for split in source.splits})
    assert parts[0] == parts[1]
    train, test = set(parts[0]["train"]), set(parts[0]["test"])
    assert not train & test


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"pairs": "a.png b.png"}, r"line 1 of .*pairs\.txt' is 'a\.png b\.png': expected two pat"),
        ({"pairs": "a.png b.png 1\na.png c.png 2"}, r"line 2 of .* and 1 \(the same\) or 0"),
        ({"pairs": "a.png ../b.png 1"}, r"line 1 of .* names '\.\./b\.png': expected a path below"),
        ({"pairs": "a.png a.png 1"}, r"line 1 of .* pairs 'a\.png' with itself"),
        ({"pairs": "a.png b.png 1\nb.png a.png 0"}, r"line 2 of .* are different, and other pairs"),
        ({"pairs": "a.png b.png 1"}, "has one class only"),
        (
            {"pairs": "a.png b.png 1", "pairs_test": ""},
            r"has both 'pairs\.txt' and lists of splits",
        ),
        (
            {"pairs_train": "a.png b.png 0", "pairs_test": "a.png c.png 1"},
            "is in the splits train and test",
        ),
    ],
)
def test_pairs_that_cannot_be_used_are_refused(
    tmp_path: Path, lists: dict[str, str], expected: str
) -> None:
    with pytest.raises(DataError, match=expected):
        open_source(str(save_pairs(tmp_path / "d", **lists)))


def test_a_list_in_another_form_beside_class_folders_is_passed_over(make_folder: Any) -> None:
    root = make_folder({"anna": 3, "ben": 3})
    (root / "pairs.txt").write_text("10\t300\nanna 1 2\nanna 1 ben 2\n")
    assert open_source(str(root)).classes == ("anna", "ben")


def test_missing_images_are_named(tmp_path: Path) -> None:
    root = save_pairs(tmp_path / "d", pairs="a.png b.png 1\na.png c.png 0")
    (root / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 of the 3 images .* do not exist, such as 'b\.png'"):
        PairFolder(root)
    assert PairFolder(root, skip_corrupt=True).size("all") == 2
