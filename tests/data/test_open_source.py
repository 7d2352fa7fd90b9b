from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import tables
from edgekit.core import IGNORE
from edgekit.data import open_source, split_for
from edgekit.data.truths import told
from edgekit.errors import DataError, UnknownNameError, UsageError

MakeFolder = Callable[..., Path]


def check_told_of_all(what: str, source: Any, split: str) -> None:
    """Every class occurs, and what is told is of the image that it is told of."""
    some = range(0, source.size(split), max(1, source.size(split) // 30))
    found: set[int] = set()
    if what == "labels":
        found = {source.label(split, index) for index in range(source.size(split))}
    for index in () if what == "labels" else some:
        shape = source.image(split, index).shape[:2]
        if what == "masks":
            mask = source.mask(split, index)
            assert (mask.shape, mask.dtype) == (shape, np.uint8)
            found |= set(np.unique(mask).tolist()) - {IGNORE}
            continue
        boxes = source.boxes(split, index)
        assert boxes.size == shape
        assert boxes.corners.dtype == np.float32
        assert boxes.corners.shape == (len(boxes.classes), 4)
        assert boxes.classes.dtype == np.int64
        assert boxes.crowd.dtype == bool
        x0, y0, x1, y1 = boxes.corners.T
        assert ((x0 >= 0) & (x0 < x1) & (x1 <= shape[1])).all()
        assert ((y0 >= 0) & (y0 < y1) & (y1 <= shape[0])).all()
        found |= set(boxes.classes.tolist())
    names = source.mask_classes if what == "masks" else source.classes
    assert found == set(range(len(names)))


@pytest.mark.parametrize("words", sorted(tables.SOURCES))
def test_every_registered_source_keeps_the_contract(words: str) -> None:
    source = open_source(words)
    assert source.name == words
    assert "train" in source.splits
    for split in source.splits:
        size = source.size(split)
        assert size > 0
        assert told(source)
        for what in told(source):
            check_told_of_all(what, source, split)
        image = source.image(split, size - 1)
        assert image.dtype == "uint8"
        assert image.ndim == 3
        assert image.shape[2] == 3


def test_case_and_separators_of_a_name_do_not_matter() -> None:
    assert open_source("Digits").name == "digits"


def test_a_folder_is_opened_by_its_path(make_folder: MakeFolder) -> None:
    root = make_folder({"cat": 3, "dog": 3})
    source = open_source(str(root))
    assert source.name == str(root)
    assert source.classes == ("cat", "dog")


def test_a_folder_named_like_a_source_opens_with_a_leading_dot(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder({"cat": 3, "dog": 3}, name="digits")
    monkeypatch.chdir(root.parent)
    assert open_source("digits").classes[0] == "0"
    assert open_source("./digits").classes == ("cat", "dog")


def test_a_folder_that_nobody_may_look_into_is_named(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    root = make_folder({"cat": 3, "dog": 3})
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\): check its permiss"):
        open_source(str(root))


def test_a_misspelt_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean digits") as caught:
        open_source("digit")
    assert "folder of class folders" in str(caught.value)


@pytest.mark.parametrize("words", ["some/missing/folder", "qqq", ""])
def test_a_missing_folder_is_named(words: str) -> None:
    with pytest.raises(DataError, match=f"'{words}' does not exist.*digits.*class folders"):
        open_source(words)


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("x")
    with pytest.raises(DataError, match=r"list\.txt' is a file"):
        open_source(str(path))


def test_split_for_returns_a_split_that_is_there() -> None:
    assert split_for(open_source("synthetic"), "validation") == "validation"


def test_split_for_names_the_splits_when_there_is_no_such() -> None:
    with pytest.raises(
        UsageError, match="'synthetic' has no split 'val': expected train, validation, test, all"
    ):
        split_for(open_source("synthetic"), "val")


def test_importing_the_package_loads_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys, edgekit.data, edgekit.data.preprocess, edgekit.data.digits, "
        "edgekit.data.folder, edgekit.data.synthetic; "
        "print([m for m in ('torch', 'sklearn', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
