from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from annotated_folders import HEIGHT, WIDTH, save_image, save_mask, save_masks
from PIL import Image

from edgekit.core import IGNORE
from edgekit.data import open_source
from edgekit.data.mask_folders import MaskFolder
from edgekit.data.truths import told
from edgekit.errors import DataError

MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[:, 10:] = 1
MASK[0] = IGNORE


def test_masks_are_the_values_of_their_files(tmp_path: Path) -> None:
    names = ("train/images/a", "train/images/b", "val/images/c", "test/images/d")
    source = open_source(str(save_masks(tmp_path / "d", dict.fromkeys(names, MASK))))
    assert isinstance(source, MaskFolder)
    assert told(source) == ("masks",)
    assert source.classes == source.mask_classes == ("sky", "road")
    assert [source.size(split) for split in source.splits] == [2, 1, 1, 4]
    assert source.keeps_test
    mask = source.mask("test", 0)
    assert mask.dtype == np.uint8
    assert (mask == MASK).all()


@pytest.mark.parametrize("name", ["images/{}", "images/train/{}"])
def test_what_has_no_splits_is_cut(tmp_path: Path, name: str) -> None:
    root = save_masks(tmp_path / "d", {name.format(i): MASK for i in range(20)})
    sizes = {"images/{}": [16, 2, 2, 20], "images/train/{}": [18, 2, 20]}[name]
    source = MaskFolder(root)
    assert [source.size(split) for split in source.splits] == sizes


def test_another_value_may_be_ignored(tmp_path: Path) -> None:
    root = save_masks(tmp_path / "d", {"images/a": MASK % 255 + 1}, None)
    listed = {"classes": ["void", "sky", "road"], "ignore": 1}
    (root / "classes.json").write_text(json.dumps(listed))
    source = MaskFolder(root)
    assert source.classes == ("void", "sky", "road")
    assert set(np.unique(source.mask("all", 0))) == {2, IGNORE}
    (root / "classes.json").write_text(json.dumps(["a", "b", "c"]))
    assert set(np.unique(MaskFolder(root).mask("all", 0))) == {1, 2}


@pytest.mark.parametrize("mode", ["P", "1", "I;16"])
def test_pixels_are_indices_in_every_mode(tmp_path: Path, mode: str) -> None:
    root = save_masks(tmp_path / "d", {"images/a": MASK})
    values = np.indices((HEIGHT, WIDTH)).sum(0) % 2
    image = Image.fromarray((values * 255 if mode == "1" else values).astype(np.uint8))
    if mode == "P":
        image.putpalette([255, 0, 0, 0, 255, 0])
    elif mode == "1":
        image = image.convert("1")
    else:
        image = Image.fromarray(values.astype(np.uint16))
    image.save(root / "masks" / "a.png")
    assert (MaskFolder(root).mask("all", 0) == values).all()


def test_a_mask_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    root = save_masks(tmp_path / "d", {"images/a": MASK, "images/b": MASK})
    place = root / "masks" / "a.png"
    save_mask(place, MASK[:5])
    with pytest.raises(DataError, match="has 20 x 12 px, and its annotation was made for 20 x 5"):
        MaskFolder(root).mask("all", 0)
    save_mask(place, MASK + 3)
    with pytest.raises(
        DataError, match=r"a\.png' has the value 4: expected 0 to 1, since there ar"
    ):
        MaskFolder(root).mask("all", 0)
    save_image(place)
    with pytest.raises(DataError, match=r"mask '.*a\.png' has colours \(mode RGB\)"):
        MaskFolder(root).mask("all", 0)
    place.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png' is not an image"):
        MaskFolder(root).mask("all", 0)
    assert MaskFolder(root, skip_corrupt=True).skipped == (str(root / "images" / "a.png"),)
    place.unlink()
    with pytest.raises(DataError, match=r"1 of the 2 images .* no mask, .*expected 'masks/a.png'"):
        MaskFolder(root)
    assert MaskFolder(root, skip_corrupt=True).size("all") == 1


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("none", "", r"neither of classes\.txt and classes\.json: expected one"),
        ("classes.txt", "sky\n\nroad\n", r"classes\.txt, line 2 is empty"),
        ("classes.txt", "sky\nsky\n", r"classes\.txt, line 2 is 'sky', as line 1 is"),
        ("classes.txt", "", r"classes\.txt holds no names"),
        ("classes.txt", "\n".join(map(str, range(300))), "has 300 names: expected at most 255"),
        ("classes.json", "{", "is no JSON"),
        ("classes.json", '{"classes": "sky"}', "is no list"),
        ("classes.json", '{"classes": ["sky"], "ignore": 256}', "'ignore' of .* is 256"),
    ],
)
def test_a_list_of_classes_that_cannot_be_used_is_refused(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    root = save_masks(tmp_path / "d", {"images/a": MASK}, None)
    (root / name).write_text(text)
    with pytest.raises(DataError, match=expected):
        open_source(str(root))


def test_masks_turn_with_their_image(tmp_path: Path) -> None:
    values = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 2
    root = save_masks(tmp_path / "d", {"images/a": values, "images/b": np.rot90(values, -1)})
    for name in "ab":
        save_image(root / "images" / f"{name}.png", orientation=6)
    source = MaskFolder(root)
    for index in (0, 1):
        assert (source.mask("all", index) == np.rot90(values, -1)).all()
        stored = source.decoded("ignore", "black")
        assert (stored.mask("all", index) == values).all()
        assert stored.image("all", index).shape[:2] == values.shape
