"""What is wrong with boxes and masks, by the command line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotated_folders import (
    coco,
    save_coco,
    save_image,
    save_masks,
    save_voc,
    save_yolo,
    voc_object,
)
from command_line import CommandLine
from object_networks import UNCHANGED

TRAIN = ("mobilenetv3-small@0.35", "--epochs", "1", "--resolution", "32", "--batch-size", "2")
GOOD = "0 .5 .5 .2 .2\n"
IMAGES = ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
PLAIN = [[0] * 20] * 12


def yolo(lines: str, description: str = "names: [cat, dog]\n") -> Callable[[Path], object]:
    """A folder of which the first image has these lines."""
    labels: dict[str, str | None] = {
        "images/train/a": lines, "images/train/b": GOOD, "images/val/c": GOOD, "images/test/d": GOOD
    }  # fmt: skip
    return lambda root: save_yolo(root, labels, description)


def annotated(*annotations: dict[str, Any], **changes: Any) -> Callable[[Path], object]:
    return lambda root: save_coco(root, {"all.json": coco(IMAGES, annotations, **changes)})


def voc(inner: str) -> Callable[[Path], object]:
    good = voc_object("cat", (2, 3, 10, 9))
    objects = {"a": inner, "b": good, "c": good, "d": good}
    return lambda root: save_voc(root, objects, {"train": "ab", "val": "c", "test": "d"})


def masks(first: Any, names: str = "cat\ndog\n") -> Callable[[Path], object]:
    every = {f"{part}/images/{name}": PLAIN for part, name in zip(
        ("train", "train", "val", "test"), "abcd", strict=True)}  # fmt: skip
    return lambda root: save_masks(root, {**every, "train/images/a": first}, names)


def same_ids(kind: str) -> Callable[[Path], object]:
    document = coco(IMAGES, [{}, {}])
    for item in document[kind][:2]:
        item["id"] = 3
    return lambda root: save_coco(root, {"all.json": document})


def without(name: str) -> Callable[[Path], object]:
    def save(root: Path) -> None:
        save_coco(root, {"all.json": coco(IMAGES, [{}])})
        (root / "images" / name).unlink()

    return save


NO_BOX = "correct or remove it"
FAR, FLAT, BACK, NAN = (50, 3, 60, 8), (3, 4, 3, 9), (9, 3, 2, 8), ("nan", 3, 2, 8)

REFUSED: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    # Boxes outside of the image, from right to left, and of no numbers.
    "yolo-outside": (yolo("0 1.5 .5 .2 .2\n"), ("line 1 of", "a.txt", "1.5 for middle x", NO_BOX)),
    "coco-outside": (annotated({"bbox": [50, 3, 4, 5]}),
                     ("annotation 1 of", "all.json", "outside of image", "a.png", NO_BOX)),
    "voc-outside": (voc(voc_object("cat", FAR)),
                    ("object 1 of", "a.xml", "outside of image", "a.png", NO_BOX)),
    "yolo-back": (yolo(f"{GOOD}0 .5 .5 -.2 .2\n"), ("line 2 of", "-0.2 for width", NO_BOX)),
    "coco-back": (annotated({}, {"bbox": [5, 5, -2, 3]}),
                  ("annotation 2 of", "all.json", "ends before it begins", NO_BOX)),
    "voc-back": (voc(voc_object("cat", BACK)),
                 ("object 1 of", "a.xml", "ends before it begins", "left < right", NO_BOX)),
    "yolo-nan": (yolo("0 nan .5 .2 .2\n"), ("line 1 of", "nan for middle x", NO_BOX)),
    "coco-nan": (annotated({"bbox": [math.nan, 5, 2, 3]}, {"image_id": 2}),
                 ("annotation 1 of", "all.json", "not finite", NO_BOX)),
    "voc-nan": (voc(voc_object("cat", NAN)), ("object 1 of", "a.xml", "not finite", NO_BOX)),
    # Classes without a name.
    "yolo-unnamed": (yolo(GOOD, "names: [cat, '']\n"), ("class 1 in 'names' of", "data.yaml",
                                                       "no name", "name it there")),
    "coco-unnamed": (annotated({}, categories=[{"id": 3, "name": ""}]),
                     ("class 0 in 'categories' of", "all.json", "no name", "name it there")),
    "coco-category": (annotated({"category_id": 9}),
                      ("annotation 1 of", "all.json", "category 9", "add that one, or remove")),
    "voc-unnamed": (voc(voc_object("", (2, 3, 10, 9))),
                    ("object 1 of", "a.xml", "no name", "<name>", "add or remove it")),
    "masks-unnamed": (masks(PLAIN, "cat\n\ndog\n"), ("classes.txt, line 2 is empty",
                                                     "expected one name on each line")),
    # What else there is in COCO and YOLO.
    "coco-missing": (without("b.png"), ("1 of the 6 images", "'b.png'", "--skip-corrupt")),
    "coco-images": (same_ids("images"), ("id 3", "twice among the images", "number them anew")),
    "coco-objects": (same_ids("annotations"), ("id 3", "twice among the annotations", "all.json")),
    "yolo-six": (yolo("0 .5 .5 .2 .2 .9\n"), ("line 1 of", "6 numbers", "confidence", NO_BOX)),
    "yolo-commas": (yolo("0,.5,.5,.2,.2\n"), ("line 1 of", "has commas", "spaces", NO_BOX)),
    "yolo-semicolons": (yolo("0;.5;.5;.2;.2\n"), ("line 1 of", "has semicolons", NO_BOX)),
    "yolo-class": (yolo("7 .5 .5 .2 .2\n"), ("line 1 of", "class 7", "2 names", "remove the line")),
    # Masks of another size, and with values beyond the classes.
    "masks-size": (masks([[0] * 10] * 6), ("a.png' has 20 x 12 px", "10 x 6 px", "annotate")),
    "masks-beyond": (masks([[7] * 20] * 12), ("masks/a.png' has the value 7", "expected 0 to 1",
                                              "name more classes")),
}  # fmt: skip


OF = {"detect": ("Cells", "cat\ndog\n"), "segment": ("Pixels", "cat\ndog\nnone\n")}


def network(task: str) -> tuple[str, ...]:
    """One that needs no training, with names of classes."""
    name, names = OF[task]
    Path("names.txt").write_text(names, encoding="utf-8")
    said = (*UNCHANGED[:-2], "--resolution", "32", "--labels", "names.txt")
    return (f"object_networks:{name}", "--task", task, *said)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_wherever_it_enters(
    run: CommandLine, tmp_path: Path, name: str
) -> None:
    save, named = REFUSED[name]
    save(tmp_path / "data")
    task = "segment" if name.startswith("masks") else "detect"
    for words in (
        ("train", *TRAIN, "--task", task, "-o", "run"),
        ("evaluate", *network(task), "--split", "all"),
    ):
        result = run(*words, "--data", "data")
        assert (result.code, result.out) == (3, ""), result.err
        for text in named:
            assert text in result.message
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "n"),
    [("yolo-six", 3), ("coco-nan", 5), ("voc-outside", 3), ("coco-missing", 5), ("masks-size", 3)],
)
def test_what_cannot_be_used_is_left_out_on_demand(
    run: CommandLine, tmp_path: Path, name: str, n: int
) -> None:
    REFUSED[name][0](tmp_path / "data")
    task = "segment" if name.startswith("masks") else "detect"
    words = ("--data", "data", "--split", "all", "--skip-corrupt", "--json")
    result = run("evaluate", *network(task), *words)
    assert result.code == 0, result.err
    assert (result.json["n"], len(result.json["skipped"])) == (n, 1)


def test_what_is_odd_but_right_is_learned_from(run: CommandLine, tmp_path: Path) -> None:
    """Images without objects, a box without area, a thousand boxes, crowds."""
    lines = {"images/train/a": "", "images/train/b": GOOD, "images/train/c": GOOD * 1000,
             "images/train/d": " \n0 .5 .5 0 .2\n", "images/train/e": None,
             "images/val/f": "", "images/test/g": GOOD}  # fmt: skip
    save_yolo(tmp_path / "yolo", lines)
    found = run("train", *TRAIN, "--task", "detect", "--data", "yolo", "-o", "run", "--json")
    assert found.code == 0, found.err
    told = " ".join(found.err.split())
    assert "1 box without area was left out: line 2 of 'yolo/labels/train/d.txt'" in told
    assert "'cat', has 1,001 for training" in told
    assert "of 1 validation image of 'yolo' none has a box that counts: mAP is not known" in told
    assert "validation mAP not known" in told
    whole = run("evaluate", "run", "--data", "yolo", "--split", "all", "--json")
    assert (whole.code, whole.json["n"]) == (0, 7), whole.err

    crowd = {"iscrowd": 1, "segmentation": {"counts": [0, 240], "size": [12, 20]}}
    of_images = [one for i in range(1, 7) for one in (
        {"image_id": i}, {"image_id": i}, {"image_id": i, "category_id": 7, **crowd})]  # fmt: skip
    save_coco(tmp_path / "coco", {"all.json": coco(IMAGES, of_images)})
    found = run("train", *TRAIN, "--task", "detect", "--data", "coco", "-o", "second")
    assert found.code == 0, found.err
    assert "the smallest class, 'cat', has 8 for training" in " ".join(found.err.split())


@pytest.mark.parametrize("kind", ["boxes", "masks", "masks on access"])
def test_data_that_teach_nothing_are_refused(
    run: CommandLine, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "masks on access":  # as where they do not fit into memory
        monkeypatch.setattr("edgekit.training.images.CACHE_BYTES", 0)
    if kind == "boxes":
        yolo("")(tmp_path / "data")
        for label in (tmp_path / "data" / "labels" / "train").iterdir():
            label.write_text("")
        task, lacking = "detect", "a box that counts"
    else:
        nothing = [[255] * 20] * 12
        save_masks(tmp_path / "data", {
            "train/images/a": nothing, "train/images/b": nothing,
            "val/images/c": PLAIN, "test/images/d": PLAIN,
        })  # fmt: skip
        task, lacking = "segment", "a pixel of a class"
    found = run("train", *TRAIN, "--task", task, "--data", "data", "-o", "run")
    assert (found.code, found.out) == (3, "")
    assert f"of 2 training images of 'data' none has {lacking}" in found.message
    assert f"give images with {kind.split()[0]}" in found.message
    assert not (tmp_path / "run").exists()
    if kind == "boxes":
        (tmp_path / "data" / "labels" / "test" / "d.txt").unlink()
        found = run("evaluate", *network(task), "--data", "data", "--split", "test")
        assert found.code == 3
        assert "nothing that mAP could be measured on" in found.message


def test_classes_that_no_image_teaches_are_told(run: CommandLine, tmp_path: Path) -> None:
    """Masks of 0 and 255 are a slip of many: the second one is ignored."""
    shape = [[0] * 10 + [255] * 10] * 12
    names = [f"{part}/images/{name}" for part in ("train", "val", "test") for name in "ab"]
    save_masks(tmp_path / "masks", dict.fromkeys(names, shape), "cat\ndog\n")
    found = run("train", *TRAIN, "--task", "segment", "--data", "masks", "-o", "run")
    assert found.code == 0, found.err
    told = " ".join(found.err.split())
    assert "no training image has 'dog', which cannot be learned; pixels of an ignored" in told
    (tmp_path / "masks" / "classes.txt").write_text("cat\n")
    found = run("train", *TRAIN, "--task", "segment", "--data", "masks", "-o", "second")
    assert found.code == 3
    assert "have one class, 'cat': expected two or more to tell apart" in found.message


def test_names_that_yaml_takes_for_truth_values_are_asked_for(
    run: CommandLine, tmp_path: Path
) -> None:
    yolo(GOOD, "names: [no, yes]\n")(tmp_path / "data")
    found = run("train", *TRAIN, "--task", "detect", "--data", "data", "-o", "run")
    assert found.code == 3
    assert "class 0 in 'names' of 'data/data.yaml' is false, as YAML reads no" in found.message
    assert "put the name in quotes" in found.message


def test_options_of_another_task_are_refused(
    run: CommandLine, short_network: Path, tmp_path: Path
) -> None:
    save_image(tmp_path / "a.png")
    others = {"detect": network("detect"), "segment": ("object_networks:Pixels", "--task",
              "segment", "--resolution", "32"), "classify": (str(short_network),)}  # fmt: skip
    options = {"--gallery": ("embed", "."), "--score-threshold": ("detect", "0.5"),
               "--nms-iou": ("detect", "0.5"), "--scores": ("classify", "logits")}  # fmt: skip
    for task, words in others.items():
        for option, (goes, value) in options.items():
            if task == goes:
                continue
            found = run("predict", words[0], "a.png", *words[1:], option, value)
            assert (found.code, found.out) == (2, ""), found.err
            with_ = "scores of classes" if option == "--scores" else f"networks of the task {goes}"
            assert found.message.startswith(f"{option} goes with {with_}")
            assert f"is of the task {task}" in found.message
    for option in ("--score-threshold", "--nms-iou", "--distance"):
        for value in ("-0.1", "1.1", "nan", "inf", "half"):
            words = network("detect")
            found = run("predict", words[0], "a.png", *words[1:], option, value)
            assert (found.code, found.out) == (2, "")
            assert f"'{option}': {value}: expected a number" in found.message
    found = run("predict", short_network, "a.png", "--task", "detect")
    assert found.code == 3
    assert "a network of the task detect gives 'boxes' (1, n, 4)" in found.message
    for command in ("evaluate", "explain", "export"):
        words = network("detect")
        last = {"evaluate": ("--data", "digit-scenes"), "explain": ("a.png",),
                "export": ("-t", "onnx")}[command]  # fmt: skip
        found = run(command, words[0], *last, *words[1:], "--scores", "logits")
        assert found.code == 2
        assert found.message.startswith("--scores goes with scores of classes")
