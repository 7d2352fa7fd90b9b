"""Folders of boxes and masks on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from annotated_folders import coco, save_coco, save_masks, save_voc, save_yolo, voc_object
from command_line import CommandLine

TRAIN = ("train", "mobilenetv1@0.25", "--epochs", "1", "--resolution", "32", "-o", "run", "--data")


def test_what_cannot_be_used_is_named_with_its_place(run: CommandLine, tmp_path: Path) -> None:
    save_yolo(tmp_path / "yolo", {"images/a": "0 .5 .5 .2 .2 .9\n"})
    save_coco(tmp_path / "coco", {"all.json": coco(annotations=[{"bbox": [5, 5, -2, 3]}])})
    save_voc(tmp_path / "voc", {"a": voc_object("cat", ("nan", 3, 2, 8))})
    save_masks(tmp_path / "masks", {"images/a": [[0]]}, "")
    for data, named in {
        "yolo": ("line 1 of", "a.txt", "6 numbers", "expected five"),
        "coco": ("annotation 1 of", "all.json", "ends before it begins", "correct or remove it"),
        "voc": ("object 1 of", "a.xml", "not finite"),
        "masks": ("classes.txt", "holds no names"),
    }.items():
        result = run(*TRAIN, data)
        assert (result.code, result.out) == (3, "")
        assert all(text in result.message for text in named), result.message
        assert not (tmp_path / "run").exists()


def test_formats_and_sources_are_listed(run: CommandLine) -> None:
    for what, names in {
        "formats": {"class-folders", "coco", "masks", "pairs", "voc", "yolo"},
        "data": {"digit-scenes", "digits"},
    }.items():
        result = run("list", what, "--json")
        assert names <= {one["name"] for one in json.loads(result.out)[what]}


@pytest.mark.parametrize("command", ["evaluate", "train"])
def test_boxes_are_nothing_for_a_classifier(
    run: CommandLine, trained_run: Path, command: str
) -> None:
    words = TRAIN if command == "train" else ("evaluate", trained_run, "--data")
    result = run(*words, "digit-scenes")
    assert result.code == 3
    assert "'digit-scenes' has boxes and masks, and " in result.message
    ways = {
        "evaluate": "give data with labels; see 'edgekit list formats'",
        "train": "add --task detect or --task segment to train it on them",
    }
    assert f"needs labels: {ways[command]}" in result.message


def test_what_was_left_out_is_told(run: CommandLine, tmp_path: Path) -> None:
    flat = voc_object("cat", (3, 4, 3, 9)) + voc_object("cat", (2, 3, 10, 9))
    save_voc(tmp_path / "voc", {"a": flat, "b": flat})
    result = run(*TRAIN, "voc")
    assert "'voc': 2 boxes without area were left out: object 1 of " in result.err
