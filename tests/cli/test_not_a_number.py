"""No figure is made of outputs that are no numbers, and no class is taken from them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image
from small_networks import network

from edgekit import registry, tables
from edgekit.data import open_source

# Of a dark image that is the logarithm of a negative number; of noise it is not.
DARK = (
    network()
    .replace("x = self.relu", "image = x; x = self.relu")
    .replace(
        "return self.scores(x)",
        "return self.scores(x) + torch.log(image.mean((1, 2, 3)) + 1.95)[:, None]",
    )
)
# OpenVINO's ReLU makes 0 of what is no number.
FAULTS = {
    "onnx": "x = x * float('nan') if torch.compiler.is_exporting() else x",
    "tflite": "x = x * float('inf') "
    "if torch.utils._python_dispatch._get_current_dispatch_mode() else x",
}


@pytest.fixture
def folder(image_folder: Callable[..., Path]) -> Path:
    """Four classes, of which the images of the second one are black."""
    path = image_folder("images", "a", "b", "c", "d", count=4)
    for file in (path / "b").iterdir():
        Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(file)
    return path


@pytest.mark.parametrize("target", [None, *tables.TARGETS])
def test_networks_and_files_are_refused_with_the_image_and_the_output(
    run: CommandLine, module: Callable[[str], str], folder: Path, target: str | None
) -> None:
    words, more = f"{module(DARK)}:Net", ["--resolution", 32]
    against = words
    if target is not None:
        assert run("export", words, "-t", target, "--resolution", 32, "-o", "out").code == 0
        words, more = f"out/Net-fp32{registry.target(target).suffix}", []
        verified = run("verify", words, "--against", against, "--data", folder)
        assert verified.code == 3
        assert re.search(rf"'{against}' gives -?nan for image \d+ \(.*output 0", verified.message)
    good, black = folder / "c" / "00.png", folder / "b" / "03.png"
    predicted = run("predict", words, good, black, *more, "--json")
    assert predicted.code == 3
    assert re.search(rf"'{words}' gives -?nan for {black}, output 0", predicted.message)
    assert len(predicted.json["predictions"]) == 1
    evaluated = run("evaluate", words, "--data", folder, "--split", "all", *more)
    assert evaluated.code == 3
    assert re.search(
        rf"'{words}' gives -?nan for '{folder}', image \d+ of split 'all', output 0",
        evaluated.message,
    )


@pytest.mark.parametrize("target", FAULTS)
def test_a_file_that_gives_no_numbers_where_the_network_does(
    run: CommandLine, module: Callable[[str], str], target: str, tmp_path: Path
) -> None:
    words = f"{module(network(FAULTS[target]))}:Net"
    result = run("export", words, "-t", target, "--resolution", 32, "-o", "out")
    assert result.code == 3
    assert re.search(r"gives -?(nan|inf) for image 0 \(noise\), output 0", result.message)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_an_export_names_the_image_for_which_the_network_gives_none(
    run: CommandLine, module: Callable[[str], str], folder: Path
) -> None:
    words = f"{module(DARK)}:Net"
    line = ["export", words, "-t", "onnx", "--resolution", 32, "-o", "out", "--data", folder]
    result = run(*line)
    assert result.code == 3
    assert re.search(rf"'{words}' gives -?nan for image \d+ \(", result.message)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_images_that_calibrate_are_named_too(
    run: CommandLine, module: Callable[[str], str], image_folder: Callable[..., Path], target: str
) -> None:
    """Their ranges would be none, on which a runtime may crash."""
    words, folder = f"{module(DARK)}:Net", image_folder("images", "a", "b", count=24)
    for i, file in enumerate((folder / "b").iterdir()):
        dark = np.random.default_rng(i).integers(0, 3, (20, 24, 3), np.uint8)
        Image.fromarray(dark).save(file)
    line = ["export", words, "-t", target, "-p", "int8", "--resolution", 32, "-o", "out"]
    result = run(*line, "--calibration", folder, "--data", "synthetic")
    assert result.code == 3
    what = rf"'{words}' gives -?nan for '{folder}', image \d+ of split 'train', output 0"
    assert re.search(what, result.message)


def test_infinity_inside_of_a_network_has_no_integers(
    run: CommandLine, module: Callable[[str], str], tmp_path: Path
) -> None:
    """The outputs are finite; LiteRT crashes on the scale."""
    swish = "x = self.first(x); x = x / (1 + torch.exp(-200 * x))"
    source = (
        network()
        .replace("x = self.relu(self.first(x))", swish)
        .replace("x = F.relu(self.second(x)).mean((2, 3))", "x = x.mean((2, 3))")
        .replace("nn.Linear(16, 4)", "nn.Linear(8, 4)")
    )
    line = ["export", f"{module(source)}:Net", "-t", "tflite", "-p", "int8"]
    result = run(*line, "--resolution", 32, "--calibration", "synthetic", "-o", "out")
    assert result.code == 3
    assert "computes is not finite for an image that calibrates" in result.message
    assert "--float-layers" in result.message


def test_a_training_that_diverges_says_at_which_step(run: CommandLine) -> None:
    line = ["train", "mobilenetv1@0.25", "--data", "digits", "--resolution", 32, "--epochs", 1]
    result = run(*line, "--lr", 1e30, "--optimizer", "sgd", "-o", "run", "--threads", 1)
    assert result.code == 3
    assert re.search(r"the training diverged at step \d+ of \d+: the loss is", result.message)


def test_a_teacher_that_gives_none_is_named_with_the_image(
    run: CommandLine, module: Callable[[str], str], folder: Path
) -> None:
    words = f"{module(DARK)}:Net"
    line = ["train", "mobilenetv1@0.25", "--data", folder, "--resolution", 32, "--teacher", words]
    for more in ([], ["--accumulate", 2]):
        result = run(*line, "--epochs", 1, "--threads", 1, "-o", f"run{len(more)}", *more)
        assert result.code == 3
        told = re.search(
            rf"teacher '{words}' gives -?nan for image (\d+) of split 'train', as it is augmented, "
            rf"output 0",
            result.message,
        )
        assert told, result.message
        assert open_source(str(folder)).label("train", int(told[1])) == 1


OUTPUTS = """
import torch
from any_networks import IMAGE, Body, settled
from torch import nn

class Two(nn.Module):
    at_least = 0.0

    def __init__(self):
        super().__init__()
        self.body, self.map, self.number = Body(), nn.Conv2d(16, 3, 1), nn.Linear(16, 1)

    def forward(self, x):
        y = self.body(x)
        brightness = x.mean((1, 2, 3)) + self.at_least
        return {"map": self.map(y), "number": self.number(y.mean((2, 3))) + brightness.sqrt()}

class Always(Two):
    at_least = 100.0

def two():
    return settled(Two, IMAGE)

def always():
    return settled(Always, IMAGE)
"""


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network whose second output of dark images is the root of a negative number.

    Beside it are folders of inputs: of ``dark`` ones every fifth is so.
    """
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "outputs_of.py").write_text(OUTPUTS, encoding="utf-8")
    for folder in ("bright", "dark"):
        Path(folder).mkdir()
        for i in range(100):
            image = np.random.default_rng(i).random((1, 3, 32, 32), np.float32) + 0.1
            np.savez(f"{folder}/{i:03}.npz", x=-image if folder == "dark" and i % 5 == 3 else image)
    return "outputs_of:two"


NAN = r"gives -?nan for {where}, output 'number': expected finite numbers"


def test_one_of_several_outputs_is_no_number(run: CommandLine, two: str) -> None:
    line = ("export", two, "--resolution", 32, "-t", ",".join(tables.TARGETS), "-o", "out")
    assert run(*line, "--data", "bright").code == 0
    refused = run(*line, "--data", "dark", "--overwrite")
    assert refused.code == 3
    assert re.search(f"'{two}' " + NAN.format(where=r"input 3 \(dark\)"), refused.message)
    for name in tables.TARGETS:
        path = f"out/two-fp32{registry.target(name).suffix}"
        for more in ((), ("--per-layer",)):
            for against, culprit in ((two, f"'{two}'"), ("outputs_of:always", path)):
                checked = run("verify", path, "--against", against, "--data", "dark", *more)
                assert checked.code == 3
                told = f"{culprit} " + NAN.format(where=r"input 3 \(dark\)")
                assert re.search(told, checked.message), checked.message


@pytest.mark.parametrize(
    ("calibration", "data", "where"),
    [("dark", "bright", r"dark/\d+[38]\.npz"), ("bright", "dark", r"input 3 \(dark\)")],
)
@pytest.mark.parametrize("more", [(), ("--max-drop", 5), ("--tune",)])
def test_integers_of_such_a_network(
    run: CommandLine, two: str, calibration: str, data: str, where: str, more: tuple[object, ...]
) -> None:
    line = ("export", two, "--resolution", 32, "-t", "onnx", "-p", "int8", "-o", "out", *more)
    chosen = ("--calibration", calibration, "--data", data, "--calibration-images", 20)
    refused = run(*line, *chosen)
    assert refused.code == 3
    assert re.search(f"'{two}' " + NAN.format(where=where), refused.message), refused.message
    assert not list(Path("out").glob("two*"))
