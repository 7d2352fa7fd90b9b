"""``edgekit train``: recipes over the defaults, the line over recipes, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine

SMALL = "mobilenetv1@0.25"
QUICK = ["--data", "synthetic", "--resolution", 32, "--epochs", 1, "--threads", 1, "-o", "run"]


def _recorded(folder: Path) -> Any:
    return json.loads((folder / "run" / "options.json").read_text())


def test_a_recipe_takes_the_place_of_defaults_and_the_line_that_of_the_recipe(
    run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text(
        f'model = "{SMALL}"\ndata = "synthetic"\nresolution = 32\nepochs = 2\nthreads = 1\n'
        f"batch-size = 8\nema = false\nlabel-smoothing = 0.2\nrandaugment = [1, 2]\n"
    )
    # 15 and 0.1 are the defaults: given on the line, they count more than the recipe all the same.
    line = ["--epochs", 1, "--label-smoothing", 0.1]
    result = run("train", "--recipe", "own.toml", *line, "-o", "run", "--json")
    assert result.code == 0, result.err
    assert (result.json["model"], result.json["epochs"]) == (SMALL, 1)
    recorded = _recorded(tmp_path)
    assert recorded["data"] == "synthetic"
    options = recorded["options"]
    expected = {"batch_size": 8, "ema": False, "label_smoothing": 0.1, "randaugment": [1, 2]}
    assert {key: options[key] for key in expected} == expected
    again = run("train", "--recipe", "own.toml", *line, "-o", "run", "--resume", "--json")
    assert again.code == 0
    assert again.json == result.json


def test_all_new_options_arrive(run: CommandLine, tmp_path: Path) -> None:
    words = ["--optimizer", "rmsprop", "--schedule", "step", "--mixup", 0.2, "--cutmix", 1]
    more = ["--randaugment", "2,9", "--drop-path", 0.1, "--dropout", 0.3, "--accumulate", 2]
    result = run("train", "mobilenetv2@0.25", *QUICK, *words, *more)
    assert result.code == 0, result.err
    options = _recorded(tmp_path)["options"]
    expected = {
        "optimizer": "rmsprop",
        "schedule": "step",
        "mixup": 0.2,
        "cutmix": 1.0,
        "randaugment": [2, 9],
        "drop_path": 0.1,
        "dropout": 0.3,
        "accumulate": 2,
    }
    assert {key: options[key] for key in expected} == expected
    assert _recorded(tmp_path)["spec"]["drop_path"] == 0.1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epochs = 1\nbatch_size = 8\n", "own.toml, line 2: unknown key 'batch_size'"),
        ("epochs = 1\nbatch_size = 8\n", "did you mean 'batch-size'?"),
        ("\nepochs = 'many'\n", "own.toml, line 2: epochs: expected a whole number"),
        ("lr = -1\n", "own.toml, line 1: lr -1"),
        ("epochs = \n", "line 1"),
        ("model = 1\n", "own.toml, line 1: model"),
    ],
)
def test_a_wrong_recipe_is_bad_input_and_names_the_line(
    text: str, named: str, run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text(text)
    result = run("train", SMALL, "--recipe", "own.toml", *QUICK)
    assert result.code == 3
    assert named in result.message
    assert not (tmp_path / "run").exists()


def test_recipes_that_are_not_there(run: CommandLine) -> None:
    missing = run("train", SMALL, "--recipe", "missing.toml")
    assert missing.code == 3
    assert "missing.toml cannot be read" in missing.message
    unknown = run("train", "--recipe", "digit")
    assert unknown.code == 2
    assert "did you mean digits?" in unknown.message


def test_a_network_has_to_come_from_somewhere(run: CommandLine, tmp_path: Path) -> None:
    assert run("train").code == 2
    (tmp_path / "own.toml").write_text('data = "synthetic"\n')
    result = run("train", "--recipe", "own.toml")
    assert result.code == 2
    assert "Name a MODEL" in result.message


@pytest.mark.parametrize("recipe", ["cifar10-mobilenetv3-small", "own.toml"])
def test_images_have_to_come_from_somewhere_beside_a_recipe(
    recipe: str, run: CommandLine, tmp_path: Path
) -> None:
    """The default, digits, is never what a recipe that leaves them open is about."""
    (tmp_path / "own.toml").write_text(f'model = "{SMALL}"\n')
    result = run("train", "--recipe", recipe, "-o", "run")
    assert result.code == 2
    assert f"recipe '{recipe}' names no images: give them with --data" in result.message
    assert not (tmp_path / "run").exists()


def test_teachers_without_their_network_are_refused_with_what_would_do(
    run: CommandLine, trained_run: Path, tmp_path: Path, module: Callable[[str], str]
) -> None:
    state = torch.load(trained_run / "model.pt", weights_only=True)["state"]
    torch.save(state, tmp_path / "state.pth")
    for words, what in (
        ("state.pth", "is a state dict"),
        (str(own_run(run, module)), "is of 'own_"),
    ):
        result = run("train", SMALL, *QUICK, "--teacher", words)
        assert result.code == 3
        assert what in result.message
        assert "a function that loads these weights" in result.message
    assert not (tmp_path / "run").exists()


def own_run(run: CommandLine, module: Callable[[str], str]) -> str:
    """A training of code that is not edgekit's."""
    text = (
        "def net():\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), "
        "nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    result = run("train", f"{module(text)}:net", *QUICK[:-1], "own-run")
    assert result.code == 0, result.err
    return "own-run"


RAISING = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(3, 4)

    def forward(self, x):
        scores = self.scores(x.mean((2, 3)))
        if self.training:
            raise RuntimeError("only for inference")
        return scores

class Integers(Net):
    def forward(self, x):
        return self.scores(x.mean((2, 3))).long()
"""


@pytest.mark.parametrize(
    ("name", "named"),
    [("Net", "only for inference"), ("Integers", "gives int64 scores")],
)
def test_networks_that_cannot_be_trained_are_bad_input(
    name: str, named: str, run: CommandLine, module: Callable[[str], str], tmp_path: Path
) -> None:
    result = run("train", f"{module(RAISING)}:{name}", *QUICK)
    assert result.code == 3
    assert named in result.message
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_is_bad_input(
    run: CommandLine, trained_run: Path, tmp_path: Path
) -> None:
    result = run("train", SMALL, *QUICK, "--teacher", trained_run)
    assert result.code == 3
    assert "has 10 classes and the data have 4" in result.message
    assert not (tmp_path / "run").exists()


def test_init_from_other_classes_is_noted_on_standard_error(run: CommandLine) -> None:
    first = ("--data", "digits", "--resolution", 32, "--epochs", 1, "-o", "first")
    assert run("train", SMALL, *first).code == 0
    result = run("train", SMALL, *QUICK, "--init", "first")
    assert result.code == 0, result.err
    assert "the layer of the class scores starts anew" in result.err
    other = run("train", "mobilenetv3-small", *QUICK, "--overwrite", "--init", "first")
    assert other.code == 3
    assert "does not fit" in other.message


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--randaugment", "2,x"], "as in 2,9"),
        (["--randaugment", "2"], "as in 2,9"),
        (["--randaugment", "2,99"], "0 to 10"),
        (["--mixup", "-1"], "'--mixup': -1"),
        (["--schedule", "steps"], "did you mean step"),
        (["--drop-path", "0.1"], "leave the option out"),
        (["--teacher", "mobilenetv2"], "untrained"),
        (["--accumulate", "9"], "in 9 parts"),
    ],
)
def test_wrong_options_are_usage_errors(
    words: list[str], named: str, run: CommandLine, tmp_path: Path
) -> None:
    result = run("train", SMALL, *QUICK, *words)
    assert result.code == 2
    assert named in result.message
    assert not (tmp_path / "run").exists()
