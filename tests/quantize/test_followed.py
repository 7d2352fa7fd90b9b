"""The ladder of networks without labels: how well files follow the network."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from any_networks import SIDE
from command_line import CommandLine
from small_examples import save_images
from torch import nn

from edgekit.core import Interface, TensorSpec
from edgekit.models.model import Model
from edgekit.models.rows import one_by_one
from edgekit.models.source import open_model
from edgekit.quantize import ladder
from edgekit.quantize.calibration import calibration_rows
from edgekit.quantize.training import _quantized, fine_tune
from edgekit.tasks.agreement import followed

SIAMESE = ("export", "any_networks:siamese", "--example", "any_networks:two_images", "-p", "int8")


@pytest.fixture(autouse=True)
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "_latency_ms", lambda path, device: 1.0)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of images with gradients, as files of arrays. Read-only."""
    shape = (3, SIDE, SIDE)
    return save_images(tmp_path_factory.mktemp("pairs"), "left", "right", shape=shape, count=40)


def test_the_first_way_that_follows_closely_enough_is_taken(run: CommandLine, pairs: Path) -> None:
    line = (*SIAMESE, "-t", "tflite", "--calibration", pairs, "--calibration-images", "20")
    result = run(*line, "--max-drop", "1", "-o", "out", "--json")
    assert result.code == 0, result.err
    (artifact,) = result.json["artifacts"]
    *others, last = artifact["ladder"]
    assert last["passed"]
    assert 0 <= last["drop_points"] <= 1
    assert last["headline"] == pytest.approx(1 - last["drop_points"] / 100)
    assert last["top1"] is None
    assert others  # this network is bad at plain integers
    assert all(one["drop_points"] > 1 or one["error"] for one in others)
    shown = run(*line, "--max-drop", "20", "-o", "out", "--overwrite")
    assert shown.code == 0, shown.err
    assert " agreement   drop " in shown.out


def test_what_no_way_reaches_is_rejected_with_the_figure(run: CommandLine, pairs: Path) -> None:
    line = (*SIAMESE, "-t", "openvino", "--calibration", pairs, "--calibration-images", "20")
    result = run(*line, "--max-drop", "0.0001", "-o", "out")
    assert result.code == 4
    assert "loses at most 0.0001 points of agreement on 20 inputs of" in result.message
    assert not list(Path("out").glob("*.xml"))


def test_inputs_that_calibrated_judge_nothing(run: CommandLine, pairs: Path) -> None:
    line = (*SIAMESE, "-t", "onnx", "--max-drop", "1")
    result = run(*line, "--calibration", pairs, "--calibration-images", "30")
    assert result.code == 3
    assert "has 10 inputs that files could be judged on, besides those that" in result.message
    Path("others").mkdir()
    for i, path in enumerate(sorted(pairs.iterdir())):
        Path(f"others/{39 - i}.npz").write_bytes(path.read_bytes())  # the same by other names
    line = (*line, "--calibration", pairs, "--calibration-images", "30", "--data", "others")
    assert "has 10 inputs" in run(*line).message


def test_without_inputs_there_is_no_judge(run: CommandLine) -> None:
    result = run(*SIAMESE[:-1], "int8-dynamic", "-t", "onnx", "--max-drop", "1")
    assert result.code == 3
    assert "has no inputs that its files could be judged on" in result.message
    assert "labels are not needed" in result.message


def test_images_judge_a_network_that_takes_one(run: CommandLine) -> None:
    line = ("export", "any_networks:unet", "--resolution", str(SIDE), "-t", "onnx", "-p", "int8")
    result = run(*line, "--calibration", "digits", "--max-drop", "50", "-o", "out", "--json")
    assert result.code == 0, result.err
    (artifact,) = result.json["artifacts"]
    assert 0.5 <= artifact["ladder"][-1]["headline"] <= 1


def test_the_figure_is_that_of_the_worst_output() -> None:
    rng = np.random.default_rng(0)
    outputs = (
        TensorSpec("large", (1, 4), "float32", ""),
        TensorSpec("small", (1, 4), "float32", ""),
        TensorSpec("classes", (1, 2), "int64", ""),
        TensorSpec("zeros", (1, 1), "float32", ""),
    )
    interface = Interface((), outputs)
    right = np.zeros((50, 11))
    right[:, :4], right[:, 4:8] = 1e6 * rng.standard_normal((2, 50, 4))
    right[:, 4:8] /= 1e9
    right[:, 8:10] = rng.integers(0, 5, (50, 2))
    assert followed(right, right, interface) == 1.0
    found = right.copy()
    found[:, 4:8] += 0.1 * right[:, 4:8].std() * rng.standard_normal((50, 4))
    assert followed(right, found, interface) == pytest.approx(0.99, abs=0.003)
    found[:10, 8] = 7
    assert (
        0.8 < followed(right, found, interface) < 0.93
    )  # 10 of some 80 that are not the commonest
    found[:, 10] = 1
    assert followed(right, found, interface) == 0.0


@pytest.mark.parametrize("network", ["siamese", "unet", "words"])
def test_the_last_way_trains_on_what_the_network_gives(
    network: str, run: CommandLine, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(_: ladder.Followed, built: ladder.Built, target: object) -> float:
        return 1.0 if built.artifact.scheme.trained_epochs else 0.0

    monkeypatch.setattr(ladder.Followed, "score", score)
    monkeypatch.setattr(ladder, "FLOAT_LAYERS", ())
    about: tuple[object, ...] = ("--resolution", SIDE)
    data: object = "digits"
    if network == "siamese":
        about, data = ("--example", "any_networks:two_images"), pairs
    elif network == "words":
        about, data = ("--example", "any_networks:numbers_of_words", "--outputs", "output_1"), "ids"
        Path("ids").mkdir()
        for i in range(40):
            ids = np.random.default_rng(i).integers(0, 20, (1, 6))
            np.savez(f"ids/{i:02}.npz", ids=ids)
    line = ("export", f"any_networks:{network}", *about, "-p", "int8", "-t", "onnx", "-o", "out")
    more = ("--calibration", data, "--calibration-images", "20", "--max-drop", "1")
    result = run(*line, *more, "--qat-epochs", "1", "--json")
    if network == "words":  # its classes are integers, which have no gradient
        assert result.code == 4
        last = result.json["rejected"][0]["ladder"][-1]
        assert "only floats can be learned" in last["error"]
        return
    assert result.code == 0, result.err
    (artifact,) = result.json["artifacts"]
    assert artifact["ladder"][-1]["name"] == "quantization-aware training"
    contract = json.loads(Path(artifact["contract"]).read_text())
    assert contract["scheme"]["trained_epochs"] == 1


def test_a_network_of_any_tensors_is_trained_for_integers(pairs: Path) -> None:
    model = open_model("any_networks:siamese", example="any_networks:two_images")
    calibration = calibration_rows(str(pairs), model, 20)
    rows = torch.from_numpy(calibration.images)
    right = one_by_one(model.module, rows, model.interface)

    def noise(of: Model) -> float:
        def run(module: nn.Module, row: torch.Tensor) -> torch.Tensor:
            return one_by_one(module, row, model.interface)

        rounded = _quantized(copy.deepcopy(of.module), calibration, "it", 7, run)  # of 4 bits
        with torch.no_grad():
            return float((run(rounded, rows) - right).square().mean())

    before = copy.deepcopy(model.module.state_dict())
    tuned = fine_tune(model, str(pairs), calibration, epochs=20, limit=7)
    assert all(torch.equal(one, before[name]) for name, one in model.module.state_dict().items())
    assert noise(tuned) < 0.7 * noise(model)
