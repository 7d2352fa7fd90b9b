"""``--size 96x160``: images that are no squares, with all commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from any_networks import unet
from command_line import CommandLine
from PIL import Image

import edgekit
from edgekit import tables
from edgekit.errors import UsageError

TARGETS = sorted(tables.TARGETS)
SMALL = "mobilenetv1@0.25"
SIZE = ("--size", "40x64")


@pytest.fixture(autouse=True)
def _paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")


def exported(run: CommandLine, *line: object) -> dict[str, str]:
    result = run("export", *line, "-t", ",".join(TARGETS), "-o", "out", "--json")
    assert result.code == 0, result.err
    return {one["target"]: one["path"] for one in result.json["artifacts"]}


def photograph(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_a_network_of_the_zoo_takes_images_that_are_no_squares(run: CommandLine) -> None:
    photograph(Path("a.png"))
    described = run("describe", SMALL, *SIZE, "--json").json
    assert described["interface"]["inputs"][0]["shape"] == [1, 3, 40, 64]
    for path in exported(run, SMALL, *SIZE).values():
        inside = run("describe", path, "--json").json
        assert inside["macs"] == described["macs"]
        assert inside["artifact"]["preprocessing"]["crop"] == [40, 64]
        checked = run("verify", path, "--against", SMALL, "--json")
        assert checked.code == 0, checked.err
        assert checked.json["agreement"]["sqnr_db"] > 80
        shown = run("predict", path, "a.png", "--json")
        assert shown.code == 0, shown.err
    files = exported(run, SMALL, *SIZE, "-p", "int8", "--calibration", "digits")
    checked = run("verify", files["onnx"], "--against", SMALL, "--data", "digits", "--json")
    assert checked.code == 0, checked.err


def test_a_trained_network_keeps_its_preprocessing(run: CommandLine, trained_run: Path) -> None:
    line = ("--data", "digits", "--json")
    square = run("evaluate", trained_run, *line).json
    wide = run("evaluate", trained_run, "--size", "32x40", *line)
    assert wide.code == 0, wide.err
    assert wide.json["n"] == square["n"]
    files = exported(run, trained_run, "--size", "32x40")
    for path in files.values():
        found = run("evaluate", path, *line)
        assert found.code == 0, found.err
        assert found.json["top1"] == pytest.approx(wide.json["top1"], abs=0.01)
        preprocessing = run("describe", path, "--json").json["artifact"]["preprocessing"]
        assert preprocessing["crop"] == [32, 40]


WIDE = ("--data", "digits", "--size", "32x64", "--epochs", 1, "--batch-size", 64, "--threads", 1)


@pytest.mark.parametrize("network", [SMALL, "any_networks:of_digits"])
def test_a_network_is_trained_on_images_that_are_no_squares(network: str, run: CommandLine) -> None:
    mixed = ("--randaugment", "2,9", "--cutmix", 1, "--mixup", 1)
    trained = run("train", network, *WIDE, *mixed, "-o", "run", "--json")
    assert trained.code == 0, trained.err
    # Code of one's own is named beside its weights.
    named = ("run",) if network == SMALL else (network, "--weights", "run")
    described = run("describe", *named, "--json").json
    assert described["interface"]["inputs"][0]["shape"] == [1, 3, 32, 64]
    found = run("evaluate", *named, "--data", "digits", "--json")
    assert found.json["top1"] == pytest.approx(trained.json["top1"], abs=0.01)
    path = exported(run, *named)["onnx"]
    of_file = run("evaluate", path, "--data", "digits", "--json")
    assert of_file.json["top1"] == pytest.approx(trained.json["top1"], abs=0.01)
    assert run("describe", path, "--json").json["artifact"]["preprocessing"]["crop"] == [32, 64]
    other = run("describe", *named, "--size", "64x32", "--json").json
    assert other["interface"]["inputs"][0]["shape"] == [1, 3, 64, 32]
    again = run("train", network, *WIDE, *mixed, "-o", "run", "--resume", "--json")
    assert again.json["top1"] == trained.json["top1"]


def test_a_teacher_sees_images_that_are_no_squares(run: CommandLine, trained_run: Path) -> None:
    trained = run("train", SMALL, *WIDE, "--teacher", trained_run, "-o", "run")
    assert trained.code == 0, trained.err


def test_sizes_that_a_training_cannot_have(run: CommandLine) -> None:
    line = ("train", SMALL, "--data", "digits", "-o", "run", "--size")
    assert "resolution 16 for mobilenetv1@0.25: expected 32" in run(*line, "16x64").message
    Path("own.toml").write_text(f'model = "{SMALL}"\ndata = "digits"\nresolution = "3x"\n')
    refused = run("train", "--recipe", "own.toml", "-o", "run")
    assert "line 3: resolution: expected a whole number or a list" in refused.message
    with pytest.raises(UsageError, match="resolution=\\(32, 40, 5\\): expected 2 values"):
        edgekit.train(SMALL, "digits", resolution=(32, 40, 5))  # type: ignore[arg-type]


def test_a_network_in_pytorch_is_measured_and_predicts_at_a_size(run: CommandLine) -> None:
    photograph(Path("a.png"))
    timed = run("profile", SMALL, *SIZE, "--seconds", "1", "--energy", "estimate", "--json")
    assert timed.code == 0, timed.err
    (one,) = timed.json["measurements"]
    assert one["environment"]["input"] == "1x3x40x64 float32"
    square = run(
        "profile", SMALL, "--size", "64", "--seconds", "1", "--energy", "estimate", "--json"
    )
    energy = [t.json["measurements"][0]["energy"]["mj_per_inference"] for t in (timed, square)]
    assert energy[0] < energy[1]
    shown = run("predict", SMALL, "a.png", *SIZE, "--json")
    assert shown.code == 0, shown.err


@pytest.mark.parametrize("name", ["grey", "embedding", "unet"])
def test_networks_of_ones_own_take_a_size(name: str, run: CommandLine) -> None:
    for path in exported(run, f"any_networks:{name}", *SIZE).values():
        checked = run("verify", path, "--against", f"any_networks:{name}", "--json")
        assert checked.code == 0, checked.err
        artifact = run("describe", path, "--json").json["artifact"]
        assert sorted(artifact["inputs"][0]["shape"])[-2:] == [40, 64]


def test_a_network_of_a_library_takes_a_size(run: CommandLine) -> None:
    pytest.importorskip("torchvision")
    network = "torchvision:shufflenet_v2_x0_5"
    (path, *_) = exported(run, network, *SIZE).values()
    checked = run("verify", path, "--against", network, "--json")
    assert checked.code == 0, checked.err
    preprocessing = run("describe", path, "--json").json["artifact"]["preprocessing"]
    assert preprocessing["crop"] == [40, 64]


def test_a_program_takes_the_sizes_that_it_leaves_open(run: CommandLine) -> None:
    sizes = ({2: 2 * torch.export.Dim("h", min=8, max=32), 3: 2 * torch.export.Dim("w", min=8)},)
    example = (torch.randn(1, 3, 48, 48),)
    torch.export.save(torch.export.export(unet(), example, dynamic_shapes=sizes), "open.pt2")
    (path, *_) = exported(run, "open.pt2", *SIZE).values()
    assert run("verify", path, "--against", "open.pt2").code == 0
    refused = run("describe", "open.pt2", "--size", "80x64")
    assert refused.code == 3
    assert "takes images whose height is from 16 to 64 px, not 80" in refused.message
    torch.export.save(torch.export.export(unet(), example), "fixed.pt2")
    refused = run("describe", "fixed.pt2", *SIZE)
    assert refused.code == 3
    assert "takes images whose height is 48 px, not 40" in refused.message


COMMANDS = {
    "describe": ("describe",),
    "export": ("export", "-t", "onnx"),
    "profile": ("profile", "--seconds", "1"),
    "predict": ("predict", "a.png"),
    "evaluate": ("evaluate", "--data", "digits"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_sizes_that_a_network_cannot_have(command: str, run: CommandLine) -> None:
    photograph(Path("a.png"))
    name, *more = COMMANDS[command]
    for size, code, message in (
        ("31x64", 2, "resolution 31 for mobilenetv1@0.25: expected 32 (the network's stride)"),
        ("64x5000", 2, "resolution 5000 for mobilenetv1@0.25: expected 32"),
        ("0x64", 2, "resolution 0 for mobilenetv1@0.25"),
        ("64x", 2, "expected pixels of a square, or height x width, as in 96x160"),
        ("8x8x8", 2, "expected pixels of a square, or height x width, as in 96x160"),
    ):
        refused = run(name, SMALL, *more, "--size", size)
        assert refused.code == code, (size, refused.err)
        assert message in refused.message
    if command in ("describe", "export", "profile"):
        refused = run(name, "any_networks:unet", *more, "--size", "25x40")  # it halves and doubles
        assert refused.code == 3
        assert "cannot take an input of shape (1, 3, 25, 40)" in refused.message
