"""Training of networks that find objects, segment, or compare images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import CommandLine
from PIL import Image

from edgekit.boxes import kmeans_anchors
from edgekit.models.heads.yolo import YOLONetwork
from edgekit.models.source import open_model
from edgekit.models.weights import load_checkpoint

SIDE = 32
QUICK = ("--resolution", str(SIDE), "--epochs", "1", "--batch-size", "4")
BACKBONE = "mobilenetv3-small@0.35"


def _image(path: Path, seed: int) -> tuple[int, int, int, int]:
    """A bright rectangle on noise; gives its corners."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (SIDE, SIDE, 3), np.uint8)
    x, y = (int(n) for n in rng.integers(0, SIDE // 2, 2))
    pixels[y : y + 14, x : x + 14] = (250, 40, 40) if seed % 2 else (40, 250, 40)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return x, y, x + 14, y + 14


@pytest.fixture
def boxes() -> str:
    """Files of YOLO: an object an image, and one image without any."""
    for split, first, count in (("train", 0, 8), ("val", 8, 4), ("test", 12, 4)):
        for seed in range(first, first + count):
            x0, y0, x1, y1 = _image(Path(f"boxes/images/{split}/{seed}.png"), seed)
            label = Path(f"boxes/labels/{split}/{seed}.txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            middle = ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0)
            row = " ".join(f"{n / SIDE:.6f}" for n in middle)
            label.write_text("" if seed == 3 else f"{seed % 2} {row}\n")
    Path("boxes/data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\ntest: images/test\n"
        "names:\n  0: green\n  1: red\n"
    )
    return "boxes"


@pytest.fixture
def masks() -> str:
    """Images and masks of three classes, edges of objects ignored."""
    for split, first, count in (("train", 0, 8), ("val", 8, 4), ("test", 12, 4)):
        for seed in range(first, first + count):
            x0, y0, x1, y1 = _image(Path(f"masks/{split}/images/{seed}.png"), seed)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[y0:y1, x0:x1] = 255
            mask[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = 1 + seed % 2
            path = Path(f"masks/{split}/masks/{seed}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    Path("masks/classes.txt").write_text("ground\ngreen\nred\n")
    return "masks"


@pytest.fixture
def kinds() -> str:
    for split, first, count in (("train", 0, 8), ("val", 8, 4), ("test", 12, 4)):
        for seed in range(first, first + count):
            _image(Path(f"kinds/{split}/{'red' if seed % 2 else 'green'}/{seed}.png"), seed)
    return "kinds"


def test_anchors_are_those_of_the_boxes(run: CommandLine, boxes: str) -> None:
    """By k-means; a checkpoint keeps them, and a run that goes on does not look for others."""
    rng = np.random.default_rng(0)
    sides = {}
    for label in sorted(Path(boxes, "labels").glob("*/*.txt")):
        width, height = rng.uniform(0.2, 0.4, 2)
        label.write_text(f"0 0.5 0.5 {width:.3f} {height:.3f}\n")
        sides[label] = (width, height)
    name = f"{BACKBONE}+yolov2"
    found = run("train", name, "--data", boxes, *QUICK, "-o", "run")
    assert found.code == 0, found.err
    assert "anchors that fit the boxes" in found.err
    priors = load_checkpoint(Path("run/model.pt")).state["priors"]
    assert priors.shape == (5, 2)
    assert bool(((priors > 0.19) & (priors < 0.41)).all())
    trained = [own for label, own in sides.items() if label.parent.name == "train"]
    expected = kmeans_anchors(np.array(trained), 5)
    np.testing.assert_allclose(priors, expected, atol=2e-3)
    opened = open_model("run", resolution=64).module
    assert isinstance(opened, YOLONetwork)
    assert torch.equal(opened.priors, priors)
    assert {tuple(row) for row in opened.sides.tolist()} == {
        tuple(r) for r in (priors * 64).tolist()
    }
    for label in sides:
        label.write_text(f"0 0.5 0.5 0.{label.stem:0>2}1 0.9\n")
    again = run("train", name, "--data", boxes, *QUICK, "--epochs", 2, "-o", "run", "--resume")
    assert again.code == 0, again.err
    assert "anchors" not in again.err
    assert torch.equal(load_checkpoint(Path("run/model.pt")).state["priors"], priors)
    start = run("train", name, "--data", boxes, *QUICK, "--init", "run", "-o", "more")
    assert start.code == 0, start.err
    assert "anchors are those that came with the weights" in start.err


def test_too_few_shapes_leave_the_published_anchors(run: CommandLine, boxes: str) -> None:
    name = f"{BACKBONE}+yolov3"
    found = run("train", name, "--data", boxes, *QUICK, "-o", "run")
    assert found.code == 0, found.err
    assert "fewer than 9 shapes" in found.err
    priors = load_checkpoint(Path("run/model.pt")).state["priors"]
    for i, label in enumerate(sorted(Path(boxes, "labels").glob("*/*.txt"))):
        label.write_text("".join(f"0 0.5 0.5 0.{20 + i} 0.{k}\n" for k in (30, 45, 60)))
    more = run("train", name, "--data", boxes, *QUICK, "--init", "run", "-o", "more")
    assert more.code == 0, more.err
    assert "anchors are those that came with the weights" in more.err
    assert torch.equal(load_checkpoint(Path("more/model.pt")).state["priors"], priors)


def test_a_detector_is_trained_resumed_and_measured(run: CommandLine, boxes: str) -> None:
    name = f"{BACKBONE}+ssdlite"
    found = run("train", name, "--data", boxes, *QUICK, "-o", "run", "--json")
    assert found.code == 0, found.err
    document = found.json
    assert (document["task"], document["n"]) == ("detect", 4)
    assert document["headline"] == {"name": "map", "value": document["map"]}
    assert 0 <= document["map"] <= document["map50"] <= 1
    assert [one["label"] for one in document["details"]["classes"]] == ["green", "red"]
    assert "validation mAP" in found.err
    assert "2 classes, images: 8 train, 4 validation, 4 test" in found.err
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert {"train_loss", "validation_map"} <= set(lines[0])
    assert lines[0]["train_map"] is None
    assert lines[-1]["map"] == document["map"]
    with Image.open("run/confusions.png") as picture:
        assert picture.size[0] > 100

    # What a checkpoint knows is not asked for again.
    again = run("evaluate", "run", "--split", "test", "--json")
    assert again.code == 0, again.err
    assert again.json["map"] == pytest.approx(document["map"], abs=1e-6)

    more = run("train", "--resume", "-o", "run", "--epochs", "2", "--json")
    assert more.code == 0, more.err
    assert more.json["epochs"] == 2


def test_a_run_teaches_another_and_begins_one_of_another_head(
    run: CommandLine, boxes: str, masks: str
) -> None:
    name = f"{BACKBONE}+ssdlite"
    assert run("train", name, "--data", boxes, *QUICK, "-o", "run").code == 0
    words = ("train", name, "--data", boxes, *QUICK)
    taught = run(*words, "--teacher", "run", "-o", "second", "--json")
    assert taught.code == 0, taught.err
    other = run("train", f"{BACKBONE}+yolo", *words[2:], "--teacher", "run", "-o", "third")
    assert other.code == 3, other.err
    assert "expected the same head, classes and resolution" in other.message
    refused = run(*words, "--teacher", "run", "--teacher-weight", "0.5", "-o", "third")
    assert refused.code == 2
    assert refused.message.startswith("--teacher-weight goes with classes of images")

    words = ("train", f"{BACKBONE}+lraspp", "--data", masks, *QUICK)
    begun = run(*words, "--init", "run", "-o", "fourth")
    assert begun.code == 0, begun.err
    assert "of the head start anew" in " ".join(begun.err.split())
    misfit = run(*words, "--init", "fourth", "-o", "fifth", "--seed", "1")
    assert misfit.code == 0, misfit.err
    wide = run("train", "mobilenetv3-small@0.5+lraspp", "--data", masks, *QUICK, "--init", "run",
               "-o", "sixth")  # fmt: skip
    assert wide.code == 3
    assert "expected weights of the same backbone" in wide.message


def test_a_segmenter_is_trained_and_measured(run: CommandLine, masks: str) -> None:
    words = (BACKBONE, "--task", "segment", "--data", masks)
    found = run("train", *words, *QUICK, "-o", "run", "--json")
    assert found.code == 0, found.err
    document = found.json
    assert document["model"] == f"{BACKBONE}+lraspp"
    assert document["headline"]["name"] == "miou"
    assert {"miou", "pixel_accuracy"} <= set(document)
    again = run("evaluate", "run", "--split", "test", "--json")
    assert again.json["miou"] == pytest.approx(document["miou"], abs=1e-6)
    # A finished run that is asked to go on says again what came of it.
    shown = run("train", "--resume", "-o", "run").out
    rows = [line.split()[0] for line in shown.splitlines() if line.strip()]
    assert {"class", "ground", "green", "red"} <= set(rows)


def test_a_network_without_a_backbone_may_be_told_its_task(run: CommandLine, masks: str) -> None:
    words = ("unet@0.125", "--task", "segment", "--data", masks)
    found = run("train", *words, *QUICK, "-o", "run", "--json")
    assert found.code == 0, found.err
    assert found.json["model"] == "unet@0.125"


def test_embeddings_are_trained_and_measured(run: CommandLine, kinds: str) -> None:
    found = run("train", f"{BACKBONE}+embed", "--data", kinds, *QUICK, "-o", "run", "--json")
    assert found.code == 0, found.err
    assert found.json["headline"]["name"] == "recall_at_1"
    assert run("evaluate", "run", "--split", "test").code == 0


def test_a_classifier_s_weights_begin_the_backbone(
    run: CommandLine, kinds: str, boxes: str
) -> None:
    assert run("train", BACKBONE, "--data", kinds, *QUICK, "-o", "first").code == 0
    words = (f"{BACKBONE}+ssdlite", "--data", boxes, *QUICK)
    found = run("train", *words, "--init", "first/model.pt", "-o", "second")
    assert found.code == 0, found.err
    assert "first/model.pt fills the backbone; the head starts anew" in found.err.replace("\n", " ")


def test_a_classifier_is_told_of_classes_that_it_cannot_learn(run: CommandLine, kinds: str) -> None:
    for seed in range(20, 24):
        for split in ("train", "val", "test"):
            _image(Path(f"kinds/{split}/{'blue' if seed % 2 else 'grey'}/{seed}.png"), seed)
    found = run("train", BACKBONE, "--data", "kinds:hold-out=blue,grey", *QUICK, "-o", "run")
    assert found.code == 0, found.err
    warned = found.err.replace("\n", " ")
    assert "no training image is of 'blue', 'grey'" in warned
    assert "(--task embed)" in warned


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((BACKBONE, "--data", "boxes"), "add --task detect to train it on them"),
        ((f"{BACKBONE}+ssdlite", "--data", "digits"), "has labels"),
        ((f"{BACKBONE}+ssdlite", "--data", "boxes", "--mixup", "0.2"), "--mixup goes with classes"),
        ((f"{BACKBONE}+ssdlit", "--data", "boxes"), "ssdlite"),
        ((BACKBONE, "--task", "tensors", "--data", "boxes"), "puts a head on"),
        (("timm:resnet18", "--task", "detect", "--data", "boxes"), "puts a head on"),
        (("unet@0.125", "--task", "detect", "--data", "boxes"), "is of the task segment, not"),
    ],
)
def test_what_does_not_go_together_is_refused(
    run: CommandLine, boxes: str, words: tuple[str, ...], message: str
) -> None:
    found = run("train", *words, *QUICK, "-o", "run")
    assert found.code in (2, 3), found.err
    assert message in found.message
    assert not Path("run/model.pt").exists()


def test_the_plain_u_net_is_trained_and_goes_on(run: CommandLine, masks: str) -> None:
    found = run("train", "unet@0.05", "--data", masks, *QUICK, "-o", "run", "--json")
    assert found.code == 0, found.err
    assert (found.json["task"], found.json["model"]) == ("segment", "unet@0.05")
    again = run("train", "unet@0.05", "--data", masks, *QUICK, "--init", "run", "-o", "more")
    assert again.code == 0, again.err
    other = run("train", f"{BACKBONE}+unet", "--data", masks, *QUICK, "-o", "other")
    assert other.code == 0, other.err
    refused = run("train", "unet@0.05", "--data", masks, *QUICK, "--init", "other", "-o", "none")
    assert refused.code == 3
    assert "expected weights of the same network" in refused.message
    refused = run("train", "unet", "--data", masks, *QUICK, "--pretrained", "-o", "none")
    assert refused.code == 2
    assert "no backbone whose weights are published" in refused.message
    shown = run("describe", "run", "--json")
    assert shown.json["name"] == "unet@0.05"


@pytest.mark.slow
def test_the_plain_u_net_has_files_of_all_targets(run: CommandLine, masks: str) -> None:
    assert run("train", "unet@0.05", "--data", masks, *QUICK, "-o", "run").code == 0
    done = run("export", "run", "-t", "all", "-o", "out", "--json")
    assert done.code == 0, done.err
    assert len(done.json["artifacts"]) == 3
    for one in done.json["artifacts"]:
        measured = run("evaluate", one["path"], "--data", masks, "--json")
        assert measured.code == 0, measured.err
