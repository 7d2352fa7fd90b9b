"""What outputs are, from the network to its files, their contracts and what is said of images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import CommandLine
from PIL import Image
from small_networks import network

from edgekit import tables
from edgekit.contract import contract_path, contract_text, load
from edgekit.core import Agreement, Artifact, from_json, to_json
from edgekit.data.decode import load_image
from edgekit.data.preprocess import default, prepare
from edgekit.data.scores import kind_of, likeliest, probabilities
from edgekit.models.model import Model
from edgekit.tasks import agreement
from edgekit.tasks.agreement import compare
from edgekit.verification.artifact import held_against
from edgekit.verification.reference import Reference

ENDS = {
    "logits": "return self.scores(x) * 9",
    "probabilities": "return (self.scores(x) * 9).softmax(1)",
    "sigmoid": "return (self.scores(x)[:, :1] * 9).sigmoid()",
    "sigmoids": "return (self.scores(x) * 9).sigmoid()",
}


@pytest.fixture(params=ENDS)
def end(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(end: str) -> str:
    return end.removesuffix("s") if end == "sigmoids" else end


@pytest.fixture
def words(end: str, module: Callable[[str], str]) -> str:
    return f"{module(network().replace('return self.scores(x)', ENDS[end]))}:Net"


def test_files_and_networks_show_the_probabilities_that_were_computed(
    run: CommandLine, words: str, end: str, kind: str, png: Callable[..., Path]
) -> None:
    exported = run("export", words, "-t", "all", "--resolution", 32, "-o", "out", "--json")
    assert exported.code == 0, exported.err
    assert {entry["scores"] for entry in exported.json["artifacts"]} == {kind}
    files = [entry["path"] for entry in exported.json["artifacts"]]
    assert len(files) == len(tables.TARGETS)
    image = png()
    answers = [run("predict", words, image, "--resolution", 32, "--json").json]
    answers += [run("predict", file, image, "--json").json for file in files]
    answers.append(run("predict", files[0], image, "--embedded", "--json").json)
    found = [
        {label["index"]: label["probability"] for label in answer["predictions"][0]["labels"]}
        for answer in answers
    ]
    assert len(found[0]) == (2 if end == "sigmoid" else 4)
    assert (sum(found[0].values()) == pytest.approx(1, abs=1e-5)) is (end != "sigmoids")
    if end == "sigmoids":
        net = vars(__import__(words.partition(":")[0]))["Net"]().eval()
        pixels = prepare(load_image(image), default(32))
        with torch.no_grad():
            expected = net(torch.from_numpy(pixels)[None])[0].tolist()
        assert [found[0][i] for i in range(4)] == pytest.approx(expected, abs=1e-5)
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=1e-4)
    shown = run("describe", files[0])
    assert kind in shown.out
    # Logits, had softmax been applied once more, would say something else.
    wrong = run("predict", words, image, "--resolution", 32, "--json", "--scores", "logits").json
    same = wrong["predictions"] == answers[0]["predictions"]
    assert same is (kind == "logits")


def test_what_outputs_are_is_shown(
    run: CommandLine,
    words: str,
    end: str,
    kind: str,
    png: Callable[..., Path],
    image_folder: Callable[..., Path],
) -> None:
    image_folder("images", *"abcd"[: 2 if end == "sigmoid" else 4], count=4)
    export = ["export", words, "-t", "onnx", "--resolution", 32]
    assert run(*export, "--json").json["artifacts"][0]["scores"] == kind
    shown = [run(*export, "-o", "out")]
    for source in ("Net-fp32.onnx", words):
        size = ["--resolution", 32] if source == words else []
        for line in (["predict", source, png().name], ["evaluate", source, "--data", "images"]):
            assert run(*line, *size, "--json").json["scores"] == kind
            shown.append(run(*line, *size))
    for result in shown:
        assert result.code == 0, result.err
        assert f"Scores: {kind}.\n" in result.out
        assert max(map(len, result.out.splitlines())) <= 80


def test_a_small_logit_is_no_probability(
    run: CommandLine, module: Callable[[str], str], png: Callable[..., Path]
) -> None:
    """One column that lies between 0 and 1, as that of an untrained network may."""
    small = "return self.scores(x)[:, :1] * 0.01 + 0.5"
    words = f"{module(network().replace('return self.scores(x)', small))}:Net"
    assert run("predict", words, png(), "--resolution", 32, "--json").json["scores"] == "logits"
    assert run("export", words, "-t", "onnx", "--resolution", 32).code == 0
    assert load(Path("Net-fp32.onnx")).scores == "logits"


def test_what_a_contract_says_is_not_contradicted(
    run: CommandLine, words: str, kind: str, png: Callable[..., Path]
) -> None:
    assert run("export", words, "-t", "onnx", "--resolution", 32).code == 0
    path = Path("Net-fp32.onnx")
    assert run("predict", path, png(), "--scores", kind).code == 0
    other = "logits" if kind != "logits" else "probabilities"
    for line in (["predict", path, png()], ["evaluate", path, "--data", "digits"]):
        result = run(*line, "--scores", other)
        assert result.code == 2
        assert f"its outputs are {kind}" in result.message


def test_a_meaning_that_so_many_outputs_cannot_have(
    run: CommandLine, module: Callable[[str], str], png: Callable[..., Path]
) -> None:
    words = f"{module(network().replace('return self.scores(x)', ENDS['sigmoid']))}:Net"
    for line in (
        ["export", words, "-t", "onnx"],
        ["predict", words, png()],
        ["evaluate", words, "--data", "digits"],
    ):
        result = run(*line, "--resolution", 32, "--scores", "probabilities")
        assert result.code == 2
        assert "has 1 output: expected logits or sigmoid" in result.message


def test_export_takes_a_word_for_it(run: CommandLine, module: Callable[[str], str]) -> None:
    name = module(network().replace("return self.scores(x)", ENDS["sigmoid"]))
    line = ["export", f"{name}:Net", "-t", "onnx", "--resolution", 32]
    assert run(*line, "--scores", "logits").code == 0
    assert load(Path("Net-fp32.onnx")).scores == "logits"


def test_verify_goes_by_the_contract(
    run: CommandLine, module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the same file would have other classes in `export` and in `verify`."""
    words = f"{module(network().replace('return self.scores(x)', ENDS['sigmoid']))}:Net"
    line = ["export", words, "-t", "onnx", "--resolution", 32, "--scores", "logits"]
    assert run(*line).code == 0
    kinds = []

    def compared(*given: Any) -> Agreement:
        kinds.append(given[3])
        return compare(*given)

    monkeypatch.setattr(agreement, "compare", compared)
    assert run("verify", "Net-fp32.onnx", "--against", words).code == 0
    assert kinds == ["logits"]


def test_numbers_that_lie_between_0_and_1_by_chance_are_no_sigmoids() -> None:
    close = np.random.default_rng(0).uniform(0.4, 0.6, (16, 5))
    certain = (close > 0.5).astype(float)
    assert kind_of(close, lambda: certain) == "sigmoid"
    assert kind_of(close, lambda: close * 1e6) == "logits"
    assert kind_of(close, lambda: close) == "logits"  # nothing tells
    assert kind_of(close, lambda: close * np.nan) == "logits"
    assert kind_of(close / close.sum(1, keepdims=True), lambda: certain) == "sigmoid"


def test_one_output_tells_two_classes_apart(
    run: CommandLine, module: Callable[[str], str], tmp_path: Path
) -> None:
    """Bright images are the second class."""
    name = module(
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(3, 1, 1)\n"
        "        nn.init.ones_(self.conv.weight); nn.init.zeros_(self.conv.bias)\n"
        "    def forward(self, x):\n"
        "        return self.conv(x).mean((2, 3)).sigmoid()\n"
    )
    for kind, level in (("dark", 0), ("light", 250)):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((32, 32, 3), level + i, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / kind / f"{i}.png")
    assert run("export", f"{name}:Net", "-t", "tflite", "--resolution", 32).code == 0
    for words in (f"{name}:Net", "Net-fp32.tflite"):
        more = ["--resolution", 32] if ":" in words else []
        result = run("evaluate", words, "--data", "images", "--split", "all", "--json", *more)
        assert result.code == 0, result.err
        assert result.json["top1"] == 1
        assert result.json["top5"] is None


def test_contracts_without_the_key_are_of_logits(
    run: CommandLine, module: Callable[[str], str], png: Callable[..., Path]
) -> None:
    assert run("export", f"{module(network())}:Net", "-t", "onnx", "--resolution", 32).code == 0
    path = Path("Net-fp32.onnx")
    data = to_json(load(path))
    del data["scores"]
    assert from_json(Artifact, data).scores == "logits"
    beside = contract_path(path)
    artifact = from_json(Artifact, {**data, "scores": "wise"})
    beside.write_text(contract_text(artifact))
    assert json.loads(beside.read_text())["scores"] == "wise"
    result = run("predict", path, png())
    assert result.code == 3
    assert "which this edgekit does not know" in result.message


def test_looks_and_probabilities_of_outputs() -> None:
    logits = np.random.default_rng(0).normal(0, 9, (16, 5))
    shares = probabilities(logits, "logits")
    assert kind_of(logits) == "logits"
    assert kind_of(shares) == "probabilities"
    assert kind_of(shares * 0.7) == "logits"
    assert kind_of(shares[:, :1]) == "sigmoid"
    assert np.array_equal(probabilities(shares, "probabilities"), shares)
    two = probabilities(np.array([[-800.0], [0.0], [800.0]]), "logits")
    assert np.allclose(two, [[1, 0], [0.5, 0.5], [0, 1]])


def test_agreement_on_one_output_goes_by_its_threshold() -> None:
    one = np.array([[0.2], [0.9], [0.6], [0.1]])
    other = np.array([[0.2], [0.9], [0.4], [0.1]])
    assert compare(one, other, {}, "sigmoid").top1_match == 0.75
    assert compare(one, other, {}, "logits").top1_match == 1


class Rounded(torch.nn.Module):
    """The first number of an image, rounded to about 1e-3 in float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1)[:, :1] + 1e4) - 1e4


def test_an_image_that_rounding_takes_over_the_threshold_is_left_out() -> None:
    images = np.zeros((4, 3, 1, 1), np.float32)
    images[:, 0, 0, 0] = 50, -50, 30, 0.0004
    model = Model("m", "m", Rounded(), 1, 1, scores="logits")
    scores = model.module(torch.from_numpy(images)).numpy()
    assert list(likeliest(scores, "logits")) == [1, 0, 1, 0]
    agreement = held_against(Reference(model, images, scores, "noise"), images[:, 0, 0], "fp32")
    assert (agreement.passed, agreement.n, agreement.left_out) == (True, 3, 1)
