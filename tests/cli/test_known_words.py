"""What a contract or folder tells is not asked for again; what was meant is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from command_line import CommandLine
from torch import nn

import edgekit


def test_a_file_is_verified_against_the_network_that_it_names(
    run: CommandLine, checkpoint_of: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = checkpoint_of("synthetic", "circle", "cross", "square", "triangle")
    assert run("export", checkpoint.name, "-t", "onnx", "-o", "out").code == 0
    file = next((tmp_path / "out").glob("*.onnx"))
    found = run("verify", file)
    assert (found.code, found.out.splitlines()[-1]) == (0, "passed"), found.err
    assert f"against {checkpoint.name}, " in found.out
    assert run("verify", file, "--json").json["against"] == checkpoint.name
    # Images come from the training as well.
    scored = run("evaluate", file, "--json")
    assert (scored.code, scored.json["data"]) == (0, "synthetic")
    # Other weights under the same name, and none at all.
    other = checkpoint_of("synthetic", "circle", "cross", "square", "star", name="other.pt")
    other.replace(checkpoint)
    changed = run("verify", file)
    assert changed.code == 2
    assert "has other weights now" in changed.message
    assert "--against MODEL" in changed.message
    checkpoint.unlink()
    gone = run("verify", file)
    assert gone.code == 2
    assert f"was made from '{checkpoint.name}', which is not here" in gone.message


def test_untrained_networks_of_the_zoo_are_known_by_their_name(run: CommandLine) -> None:
    words = ("mobilenetv1@0.25", "-t", "onnx", "--resolution", "32")
    assert run("export", *words).code == 0
    assert run("verify", "mobilenetv1@0.25-fp32.onnx").code == 0
    told = run("evaluate", "mobilenetv1@0.25-fp32.onnx")
    assert told.code == 3
    assert "does not say what it was trained on: name images with --data" in told.message


def test_code_that_a_contract_names_is_not_imported(
    run: CommandLine, module: Callable[[str], str], tmp_path: Path
) -> None:
    name = module(
        "from pathlib import Path\nPath('imported').touch()\n"
        "net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(1))\n"
    )
    words = (f"{name}:net", "-t", "onnx", "--resolution", "16")
    assert run("export", *words).code == 0
    (tmp_path / "imported").unlink()
    file = next(tmp_path.glob("*.onnx"))
    told = run("verify", file)
    assert told.code == 2
    assert "name the network with --against" in told.message
    assert not (tmp_path / "imported").exists()
    assert run("verify", file, "--against", f"{name}:net").code == 0


def test_torchscript_is_named_and_what_to_do(run: CommandLine, tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    for words in (("describe", "script.pt"), ("describe", "mobilenetv2", "--weights", "script.pt")):
        told = run(*words)
        assert told.code == 3
        assert "script.pt is a TorchScript archive" in told.message
        assert "state_dict()" in told.message


def test_a_folder_of_files_is_no_run_and_the_files_are_named(
    run: CommandLine, tmp_path: Path
) -> None:
    for name, told in (("a.onnx", "such as files/a.onnx"), ("w.pth", "give files/w.pth with")):
        (tmp_path / "files").mkdir(exist_ok=True)
        for old in (tmp_path / "files").iterdir():
            old.unlink()
        (tmp_path / "files" / name).write_bytes(b"1")
        result = run("describe", "./files")
        assert result.code == 3
        assert told in result.message


def test_an_unfinished_run_says_how_it_is_finished(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "state.pt").write_bytes(b"1")
    assert "'edgekit train --resume -o 'my run''" in run("describe", "./my run").message


def test_a_run_is_called_like_its_network(tmp_path: Path) -> None:
    options = {"epochs": 1, "resolution": 32, "out": tmp_path / "run"}
    run = edgekit.train("mobilenetv1@0.25", "synthetic", **options)  # type: ignore[arg-type]
    assert run.name == run.model == "mobilenetv1@0.25"
