"""Detectors and segmenters where files are measured: in benchmarks, and on devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from object_networks import CELL, SIDE, UNCHANGED, cells, scene
from PIL import Image

SCENES = [{0: 0, 5: 1}, {3: 1, 9: 0}, {7: 0, 8: 0, 10: 1}, {12: 1, 1: 0}] * 4
QUICK = ("--seconds", "1", "--no-store")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brief_sessions: None) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def detector() -> tuple[str, ...]:
    """A network and its images in ``boxes``, which keep some for validation only."""
    for number, where in enumerate(SCENES):
        image, label = (Path("boxes", kind, "val") for kind in ("images", "labels"))
        image.mkdir(parents=True, exist_ok=True)
        label.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(where)).save(image / f"{number}.png")
        middles = (cells()[[*where], :2] + CELL / 2) / SIDE
        rows = zip(where.values(), middles, strict=True)
        side = CELL / SIDE
        text = "".join(f"{k} {x} {y} {side} {side}\n" for k, (x, y) in rows)
        (label / f"{number}.txt").write_text(text)
    Path("boxes/data.yaml").write_text("val: images/val\nnames: [red, green]\n")
    Path("names.txt").write_text("red\ngreen\n")
    own = ("--task", "detect", "--resolution", str(SIDE), *UNCHANGED, "--labels", "names.txt")
    return ("object_networks:Cells", *own)


@pytest.fixture
def segmenter() -> tuple[str, ...]:
    """A network and its images in ``masks``."""
    for number, where in enumerate(SCENES):
        image = scene(where)
        mask = (image[..., 0] // 255 + image[..., 1] // 255 * 2).astype(np.uint8)
        for kind, pixels in (("images", image), ("masks", mask)):
            path = Path("masks/test", kind, f"{number}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    Path("masks/classes.txt").write_text("dark\nred\ngreen\n")
    own = ("--task", "segment", "--resolution", str(SIDE), *UNCHANGED)
    return ("object_networks:Pixels", *own, "--labels", "masks/classes.txt")


@pytest.mark.parametrize(("task", "title"), [("detector", "mAP %"), ("segmenter", "mean IoU %")])
def test_a_benchmark_has_the_figure_of_the_task(
    run: CommandLine, request: pytest.FixtureRequest, task: str, title: str
) -> None:
    network = request.getfixturevalue(task)
    data = "boxes" if task == "detector" else "masks"
    words = ("benchmark", *network, "--data", data, "-t", "tflite", "-p", "fp32", *QUICK)
    found = run(*words, "-o", "out")
    assert found.code == 0, found.err
    assert title in found.out
    assert "top-1" not in found.out + found.err
    assert "100.00" in found.out
    assert all(len(line.rstrip()) <= 80 for line in found.out.splitlines()), found.out


def test_a_detector_runs_on_a_device(run: CommandLine, detector: tuple[str, ...]) -> None:
    assert run("devices", "add", "desk", "--transport", "local:").code == 0
    made = run("export", *detector, "-t", "tflite", "--nms", "graph", "-o", "out", "--json")
    assert made.code == 0, made.err
    path = made.json["artifacts"][0]["path"]
    there = ("--device", "desk", "--json")
    predicted = run("predict", path, "boxes/images/val/0.png", *there)
    assert predicted.code == 0, predicted.err
    (one,) = predicted.json["predictions"]
    assert [box["label"] for box in one["boxes"]] == ["red", "green"]
    evaluated = run("evaluate", path, "--data", "boxes", *there)
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["map"] == pytest.approx(1)
    verified = run("verify", path, "--against", detector[0], "--data", "boxes", *there)
    assert verified.code == 0, verified.err
    assert verified.json["objects"]["match"] == 1
    assert verified.json["objects"]["objects"] > 30
    profiled = run("profile", path, "--seconds", "1", *there)
    assert profiled.code == 0, profiled.err
    assert profiled.json["measurements"][0]["device"] == "desk"
