"""The ladder of networks without labels: how well files follow the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from any_networks import SIDE
from command_line import CommandLine

from edgekit.core import Interface, TensorSpec
from edgekit.quantize import ladder
from edgekit.tasks.agreement import followed

SIAMESE = ("export", "any_networks:siamese", "--example", "any_networks:two_images", "-p", "int8")


@pytest.fixture(autouse=True)
def _no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "_latency_ms", lambda path: 1.0)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of images with gradients, as files of arrays. Read-only."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    places = np.mgrid[:SIDE, :SIDE] / SIDE

    def image() -> np.ndarray:
        waves = [np.sin(6 * (rng.random(2)[:, None, None] * places).sum(0)) for _ in range(3)]
        noise = 0.2 * rng.standard_normal((3, SIDE, SIDE))
        return (np.stack(waves) + noise)[None].astype(np.float32)

    for i in range(40):
        np.savez(folder / f"{i:02}.npz", left=image(), right=image())
    return folder


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
