"""The ladder of networks that find objects or segment: their figures judge, their outputs teach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from object_networks import SIDE, cells, scene
from PIL import Image

from edgekit.models.source import open_model
from edgekit.quantize import ladder
from edgekit.quantize.calibration import calibration_rows
from edgekit.quantize.training import fine_tune

HEADS = {"detect": ("ssdlite", "map"), "segment": ("lraspp", "miou")}


def save_scenes(task: str) -> None:
    """Images with bright cells, as files of YOLO or with masks."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 6), ("test", 4)):
        for i in range(count):
            chosen = rng.choice(len(cells()), 3, replace=False)
            where = {int(cell): int(rng.integers(2)) for cell in chosen}
            image, name = scene(where), f"{split}-{i}"
            path = Path("data", split, "images", f"{name}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            other = Path("data", split, "labels" if task == "detect" else "masks")
            other.mkdir(exist_ok=True)
            if task == "detect":
                lines = []
                for cell, colour in where.items():
                    x0, y0, x1, y1 = cells()[cell] / SIDE
                    lines.append(f"{colour} {(x0 + x1) / 2} {(y0 + y1) / 2} {x1 - x0} {y1 - y0}\n")
                (other / f"{name}.txt").write_text("".join(lines))
            else:
                mask = image[..., 0] // 255 + image[..., 1] // 255 * 2
                Image.fromarray(mask.astype(np.uint8)).save(other / f"{name}.png")
    names = "red\ngreen\n" if task == "detect" else "dark\nred\ngreen\n"
    Path("data/classes.txt").write_text(names)


def trained(run: CommandLine, task: str) -> None:
    save_scenes(task)
    words = (f"mobilenetv3-small@0.35+{HEADS[task][0]}", "--data", "data", "--resolution", SIDE)
    made = run("train", *words, "--epochs", "1", "--batch-size", "8", "-o", "run")
    assert made.code == 0, made.err


@pytest.mark.parametrize("task", HEADS)
def test_figures_judge_and_float_outputs_teach(task: str, run: CommandLine) -> None:
    trained(run, task)
    model = open_model("run")
    calibration = calibration_rows("data", model, 20)
    judge = ladder.judge_of(model, None, calibration=calibration)
    assert isinstance(judge, ladder.HeldOut)
    assert judge.figure == HEADS[task][1]
    measured = run("evaluate", "run", "--split", "validation", "--json")
    assert judge.headline == pytest.approx(measured.json[judge.figure])

    tuned = fine_tune(model, "data", calibration, epochs=1).module.state_dict()
    moved = [
        (tuned[name] - weight).abs().max()
        for name, weight in model.module.named_parameters()
        if weight.ndim == 4
    ]
    assert 0 < max(moved) < 1e-3  # by steps of 1e-4 at most
