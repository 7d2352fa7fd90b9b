from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.data import decoded_for, open_source
from edgekit.data.preprocess import default
from edgekit.data.truths import told
from edgekit.errors import DataError, UnknownNameError, UsageError


def labels_of(source: Any, split: str) -> list[int]:
    return [source.label(split, i) for i in range(source.size(split))]


def test_training_sees_the_other_classes_only() -> None:
    whole: Any = open_source("digits")
    source: Any = open_source("digits:hold-out=8,7,2")
    assert source.name == "digits:hold-out=2,7,8"
    assert source.classes == ("0", "1", "3", "4", "5", "6", "9", "2", "7", "8")
    assert source.splits == ("train", "validation", "test")
    assert source.keeps_test
    assert told(source) == ("labels",)
    assert set(labels_of(source, "train")) == set(labels_of(source, "validation")) == set(range(7))
    assert set(labels_of(source, "test")) == {7, 8, 9}
    own = [i for i, label in enumerate(labels_of(whole, "test")) if label in (2, 7, 8)]
    assert source.size("test") == len(own)
    for i in (0, 5):
        assert (source.image("test", i) == whole.image("test", own[i])).all()
        name = source.classes[source.label("test", i)]
        assert name == whole.classes[whole.label("test", own[i])]


def test_classes_of_folders_are_held_out(make_folder: Callable[..., Path]) -> None:
    root = make_folder({f"{part}/{kind}": 4 for part in ("train", "val") for kind in "abcd"})
    source: Any = open_source(f"{root}:hold-out=a,d")
    assert source.classes == ("b", "c", "a", "d")
    # Without a test split all images of the held-out classes are one.
    assert [source.size(split) for split in source.splits] == [8, 8, 16]
    kept = decoded_for(source, default(32))
    assert kept.size("test") == 16
    assert (kept.image("test", 3) == source.image("test", 3)).all()
    assert np.unique(labels_of(kept, "test")).tolist() == [2, 3]


def test_what_cannot_be_held_out_is_refused(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(UnknownNameError, match=r"class '10'.*expected some of 0, 1, 2"):
        open_source("digits:hold-out=10,1")
    for held, count in (("3", 1), ("0,1,2,3,4,5,6,7,8", 9)):
        with pytest.raises(UsageError, match=f"holds out {count} of 10 classes: expected at least"):
            open_source(f"digits:hold-out={held}")
    with pytest.raises(DataError, match="has boxes and masks, and holding classes out needs labe"):
        open_source("digit-scenes:hold-out=1,2")
    with pytest.raises(DataError, match="does not exist"):
        open_source("nowhere:hold-out=1,2")
    root = make_folder({f"train/{kind}": 3 for kind in "abcd"}, name="odd:hold-out=a,b")
    assert open_source(str(root)).classes == ("a", "b", "c", "d")
