"""Networks of a user's own that end in softmax or in a sigmoid: trained, searched, used."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image
from small_searches import QUICK, steps

from edgekit.models.weights import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("inline")

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, columns, end):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16)
        self.second, self.other = nn.Conv2d(16, 32, 3, 2), nn.BatchNorm2d(32)
        self.scores, self.end = nn.Linear(32, columns), end

    def forward(self, x):
        x = self.norm(self.first(x)).relu()
        x = self.other(self.second(x)).relu().mean((2, 3))
        return self.end(self.scores(x), self.training)

def one_logit(): return Net(1, Plain())
def two_logits(): return Net(2, Plain())
def sigmoid(): return Net(1, Logistic())
def softmax(): return Net(2, Shares())
def softmax_later(): return Net(2, SharesLater())

class Plain(nn.Module):
    def forward(self, x, training): return x
class Logistic(nn.Module):
    def forward(self, x, training): return x.sigmoid()
class Shares(nn.Module):
    def forward(self, x, training): return x.softmax(1)
class SharesLater(nn.Module):
    def forward(self, x, training): return x if training else x.softmax(1)
"""

# The networks that are the same but for their ends, and what their outputs are.
ENDS = {
    "one_logit": ("one_logit", "logits"),
    "sigmoid": ("one_logit", "sigmoid"),
    "softmax": ("two_logits", "probabilities"),
    "softmax_later": ("two_logits", "probabilities"),
}


@pytest.fixture(autouse=True)
def images(tmp_path: Path) -> None:
    """Stripes that lie, and stripes that stand."""
    rng = np.random.default_rng(0)
    for kind, axis in (("lying", 1), ("standing", 0)):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(60):
            stripes = rng.integers(0, 256, (16, 1, 3)) if axis else rng.integers(0, 256, (1, 16, 3))
            pixels = np.broadcast_to(stripes, (16, 16, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / kind / f"{i:02d}.png")
    (tmp_path / "ends.py").write_text(NETWORK, encoding="utf-8")


def _losses(folder: str) -> list[float]:
    lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [record["train_loss"] for record in records if "train_loss" in record]


def _image() -> Path:
    return next(Path("images").rglob("*.png"))


LINE = ("--data", "images", "--resolution", 16, "--threads", 1)


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "softmax_later"])
def test_losses_are_those_of_the_network_that_gives_logits(name: str, run: CommandLine) -> None:
    short = ["--epochs", 1, "--lr", 1e-5, "--mixup", 0.2]
    for one in (name, ENDS[name][0]):
        assert run("train", f"ends:{one}", *LINE, *short, "-o", one).code == 0
    assert _losses(name) == pytest.approx(_losses(ENDS[name][0]), rel=1e-3)


@pytest.mark.parametrize("name", ["one_logit", "sigmoid", "softmax_later"])
def test_they_are_trained_and_searched_by_their_probabilities(name: str, run: CommandLine) -> None:
    kind = ENDS[name][1]
    more = ["--no-flip", "--no-crop", "--epochs", 10, "-o", "run", "--json"]
    trained = run("train", f"ends:{name}", *LINE, *more)
    assert trained.code == 0, trained.err
    assert trained.json["top1"] >= 0.8
    words = f"ends:{name}=run/model.pt"
    evaluated = run("evaluate", words, "--data", "images", "--json").json
    assert (evaluated["scores"], evaluated["top1"]) == (kind, trained.json["top1"])
    found = run("search", words, "--budget", "macs=0.8x", *QUICK, "-o", "s")
    assert found.code == 0, found.err
    first, last = (steps(Path("s"))[i] for i in (0, -1))
    assert float(first["top1"]) >= 0.8
    assert len(steps(Path("s"))) > 2
    contract = json.loads(Path("s", f"{last['artifact']}.json").read_text(encoding="utf-8"))
    assert (contract["scores"], contract["labels"]) == (kind, ["lying", "standing"])
    # The network that was found is one for every other command.
    again = run("evaluate", f"ends:{name}=s/model.pt", "--data", "images", "--json")
    assert again.code == 0, again.err
    assert again.json["scores"] == kind


def test_what_is_said_of_outputs_is_kept_and_used(run: CommandLine, tmp_path: Path) -> None:
    """A single column that lies between 0 and 1 by its last layer, and is a logit all the same."""
    words, short = "ends:sigmoid", [*LINE, "--epochs", 2, "--lr", 1e-5, "-o", "run"]
    found = run("train", words, *short)
    assert "outputs are taken for sigmoid" in found.err
    as_found = _losses("run")
    said = run("train", words, *short, "--scores", "logits", "--overwrite")
    assert "outputs are taken for logits" in said.err
    assert _losses("run") != pytest.approx(as_found, rel=1e-3)
    recorded = json.loads(Path("run", "options.json").read_text(encoding="utf-8"))
    assert recorded["options"]["scores"] == "logits"
    resumed = run("train", words, *short, "--scores", "sigmoid", "--resume")
    assert resumed.code == 2
    assert "run was started with scores logits, not sigmoid" in resumed.message
    for same in ([], ["--scores", "logits"]):
        assert run("train", words, *short, *same, "--resume").code == 0
    trained = f"{words}=run/model.pt"
    for more, kind in (([], "logits"), (["--scores", "sigmoid"], "sigmoid")):
        for line in (["evaluate", trained, "--data", "images"], ["predict", trained, _image()]):
            assert run(*line, *more, "--json").json["scores"] == kind
    exported = run("export", trained, "-t", "onnx", "--json")
    assert exported.json["artifacts"][0]["scores"] == "logits"


def test_the_mode_in_which_outputs_are_others_keeps_what_was_found(run: CommandLine) -> None:
    short = [*LINE, "--epochs", 1, "-o", "run"]
    result = run("train", "ends:softmax_later", *short, "--scores", "probabilities")
    assert "outputs are taken for probabilities, and logits in training mode" in result.err


def test_searches_take_a_word_for_it(run: CommandLine) -> None:
    assert run("train", "ends:sigmoid", *LINE, "--epochs", 1, "-o", "run").code == 0
    line = ["search", "ends:sigmoid=run/model.pt", "--budget", "macs=0.8x", *QUICK, "-o", "s"]
    result = run(*line, "--scores", "logits")
    assert result.code == 0, result.err
    for step in steps(Path("s")):
        contract = json.loads(Path("s", f"{step['artifact']}.json").read_text(encoding="utf-8"))
        assert contract["scores"] == "logits"
    found = "ends:sigmoid=s/model.pt"
    assert run("evaluate", found, "--data", "images", "--json").json["scores"] == "logits"
    other = run(*line, "--resume")
    assert other.code == 2
    assert "its kind of scores is logits, now it is as they look" in other.message
    assert run(*line, "--scores", "logits", "--resume").code == 0


@pytest.mark.parametrize(
    ("words", "said", "message"),
    [
        ("ends:sigmoid", "probabilities", "'ends:sigmoid' has 1 output: expected logits or"),
        ("mobilenetv1@0.25", "probabilities", "is of the zoo, whose networks give logits"),
        ("ends:softmax", "wise", "'wise' is not one of"),
    ],
)
def test_what_outputs_cannot_be_is_refused(
    words: str, said: str, message: str, run: CommandLine, tmp_path: Path
) -> None:
    result = run("train", words, *LINE, "--scores", said, "-o", "run")
    assert (result.code, result.out) == (2, "")
    assert message in result.message
    assert not Path("run", "options.json").exists()
    size = ["--resolution", 32] if ":" not in words else LINE[2:4]
    assert run("train", words, *LINE[:2], *size, "--epochs", 1, "-o", "run").code == 0
    trained = f"{words}=run/model.pt" if ":" in words else "run"
    result = run("search", trained, "--budget", "macs=0.8x", *QUICK, "--scores", said, "-o", "s")
    assert (result.code, result.out) == (2, "")
    assert message.replace(words, trained) in result.message
    assert not Path("s").exists()


def test_recipes_say_it_too(run: CommandLine) -> None:
    Path("own.toml").write_text(
        'model = "ends:sigmoid"\nscores = "probabilities"\n', encoding="utf-8"
    )
    result = run("train", "--recipe", "own.toml", *LINE, "-o", "run")
    assert result.code == 2
    assert "'ends:sigmoid' has 1 output" in result.message
    Path("own.toml").write_text('scores = "wise"\n', encoding="utf-8")
    result = run("train", "ends:softmax", "--recipe", "own.toml", *LINE, "-o", "run")
    assert result.code == 3, result.err
    assert "unknown kind of scores 'wise'" in result.message


def test_checkpoints_that_say_what_cannot_be_are_refused(run: CommandLine) -> None:
    assert run("train", "ends:sigmoid", *LINE, "--epochs", 1, "-o", "run").code == 0
    path = Path("run", "model.pt")
    for kind, shown in (("wise", "wise"), ("probabilities",) * 2, ("\x1b[31m", "\\x1b[31m")):
        save_checkpoint(path, dataclasses.replace(load_checkpoint(path), scores=kind))
        for command in (["evaluate", "--data", "images"], ["export", "-t", "onnx"], ["describe"]):
            result = run(command[0], f"ends:sigmoid={path}", *command[1:])
            assert result.code == 3
            assert f"{path} is damaged or from another version: it says" in result.message
            assert f"of which there are 1, are '{shown}'" in result.message


def test_a_teacher_may_end_otherwise_than_its_pupil(run: CommandLine) -> None:
    line = [*LINE, "--epochs", 1]
    assert run("train", "ends:softmax", *line, "-o", "teacher").code == 0
    more = ["--teacher", "ends:softmax=teacher/model.pt", "-o", "pupil"]
    result = run("train", "ends:sigmoid", *line, *more)
    assert result.code == 0, result.err


def test_one_score_is_for_two_classes(run: CommandLine) -> None:
    line = ["--data", "synthetic", "--resolution", 16, "--epochs", 1]
    result = run("train", "ends:sigmoid", *line, "-o", "run")
    assert result.code == 3
    assert "gives one score, which tells two classes apart, and the data have 4" in result.message
