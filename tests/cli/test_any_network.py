"""Networks of any inputs and outputs through the commands that need no meaning of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from any_networks import EXAMPLES, SIDE, two_images
from command_line import CommandLine
from small_examples import save_images

from edgekit import registry, tables

TARGETS = sorted(tables.TARGETS)
FIGURES = ("sqnr_db", "max_abs", "cosine", "passed")


def words(name: str) -> list[str]:
    example = EXAMPLES[name]
    given = [] if example is None else ["--example", f"any_networks:{example}"]
    return [f"any_networks:{name}", *given]


def export(run: CommandLine, name: str, *more: str) -> dict[str, dict[str, object]]:
    """Contracts of a network's files, by target."""
    side = [] if EXAMPLES[name] else ["--resolution", str(SIDE)]
    arguments = ("export", *words(name), *side, "-t", ",".join(TARGETS), "-o", "out", *more)
    result = run(*arguments, "--json")
    assert result.code == 0, result.err
    return {one["target"]: one for one in result.json["artifacts"]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_of_every_target_computes_every_output(name: str, run: CommandLine) -> None:
    for artifact in export(run, name).values():
        agreement = artifact["agreement"]
        assert isinstance(agreement, dict)
        assert agreement["passed"]
        assert agreement["sqnr_db"] > 80
        for one in agreement["outputs"]:
            assert one["sqnr_db"] is None or one["sqnr_db"] > 80
            assert one["match"] in (None, 1.0)
        # One row of numbers for an image counts as scores.
        scores = name in ("embedding", "grey", "four")
        assert scores == (agreement["top1_match"] is not None) == (not agreement["outputs"])


def contract(run: CommandLine, path: str) -> dict[str, object]:
    import json

    found: dict[str, object] = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    return found


def test_names_and_axes_are_those_of_the_network(run: CommandLine) -> None:
    artifacts = export(run, "keypoints")
    for target, artifact in artifacts.items():
        found = contract(run, str(artifact["path"]))
        assert found["schema"] == "edgekit.artifact/2"
        assert found["task"] == "tensors"
        assert found["scores"] is None
        (image,) = found["inputs"]  # type: ignore[misc]
        layout = registry.target(target).layout
        assert image["name"] == "x"
        assert image["layout"] == layout
        assert image["shape"] == ([1, 3, SIDE, SIDE] if layout == "NCHW" else [1, SIDE, SIDE, 3])
        outputs = {one["name"]: one["shape"] for one in found["outputs"]}  # type: ignore[attr-defined]
        side = SIDE // 4
        assert outputs == {"heat": [1, 5, side, side], "of.mean": [1, 5], "of.most": [1, 5]}
        assert list(outputs) == ["heat", "of.mean", "of.most"]


def test_outputs_can_be_left_out(run: CommandLine) -> None:
    for artifact in export(run, "keypoints", "--outputs", "of.most,heat").values():
        found = contract(run, str(artifact["path"]))
        assert [one["name"] for one in found["outputs"]] == ["of.most", "heat"]  # type: ignore[attr-defined]
    result = run("export", "any_networks:keypoints", "-t", "onnx", "--outputs", "heat,best")
    assert result.code == 2
    assert "has no such output; it has heat, of.mean, of.most" in result.message


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of images with edges and gradients, as files of arrays. Read-only."""
    shape = (3, SIDE, SIDE)
    return save_images(tmp_path_factory.mktemp("pairs"), "left", "right", shape=shape, count=20)


def test_integers_and_all_that_follows_on_two_inputs(run: CommandLine, pairs: Path) -> None:
    artifacts = export(
        run, "siamese", "-p", "int8", "--calibration", str(pairs), "--data", str(pairs)
    )
    for artifact in artifacts.values():
        path = str(artifact["path"])
        assert artifact["agreement"]["sqnr_db"] > 10  # type: ignore[index]
        checked = run("verify", path, "--against", *words("siamese"), "--data", pairs, "--json")
        assert checked.code == 0, checked.err
        assert checked.json["agreement"]["n"] == 100
        assert checked.json["agreement"]["outputs"][0]["name"] == "output"
        by_layer = run("verify", path, "--against", *words("siamese"), "--per-layer", "--json")
        assert by_layer.code == 0, by_layer.err
        assert any(one["layer"] == "of_one.body.0.0" for one in by_layer.json["layers"])
        for command in ("predict", "evaluate"):
            more = ["--data", "digits"] if command == "evaluate" else ["x.png"]
            refused = run(command, path, *more)
            assert refused.code == 3
            assert "is of the task tensors" in refused.message
        refused = run("evaluate", path, "--data", pairs)
        assert "is of the task tensors" in refused.message
        shown = run("describe", path)
        assert shown.code == 0, shown.err
        assert "left float32" in shown.out
    files = [str(artifact["path"]) for artifact in artifacts.values()]
    timed = run("profile", *files, "--seconds", "1", "--no-store", "--json")
    assert timed.code == 0, timed.err
    assert len(timed.json["measurements"]) == len(files)


def test_a_file_is_held_against_its_network_without_an_example(run: CommandLine) -> None:
    """The contract knows the sizes."""
    path = str(export(run, "features")["onnx"]["path"])
    result = run("verify", path, "--against", "any_networks:features", "--json")
    assert result.code == 0, result.err
    assert result.json["agreement"]["sqnr_db"] > 80


def test_the_integers_of_an_input_are_those_of_the_contract(run: CommandLine) -> None:
    path = str(export(run, "words")["tflite"]["path"])
    (ids,) = contract(run, path)["inputs"]  # type: ignore[misc]
    assert ids["draw"]["values"] == [0, 3, 7, 12, 19]
    line = ("verify", path, "--against", "any_networks:words")
    np.savez("ids.npz", ids=np.array([[1, 2, 3, 4, 5, 6]]))
    for more in ((), ("--data", "ids.npz"), ("--example", "any_networks:numbers_of_words")):
        result = run(*line, *more, "--json")
        assert result.code == 0, result.err
        outputs = {one["name"]: one for one in result.json["agreement"]["outputs"]}
        assert outputs["output_1"]["match"] == 1.0


def test_a_program_tells_its_own_inputs(run: CommandLine) -> None:
    from any_networks import siamese

    torch.export.save(torch.export.export(siamese(), two_images()), "siamese.pt2")
    result = run("export", "siamese.pt2", "-t", ",".join(TARGETS), "-o", "out", "--json")
    assert result.code == 0, result.err
    for artifact in result.json["artifacts"]:
        found = contract(run, artifact["path"])
        assert [one["name"] for one in found["inputs"]] == ["left", "right"]  # type: ignore[attr-defined]
        assert artifact["agreement"]["sqnr_db"] > 80


def test_two_outputs_of_a_network_are_described(run: CommandLine) -> None:
    result = run("describe", "any_networks:detector", "--resolution", SIDE, "--json")
    assert result.code == 0, result.err
    assert {"boxes", "scores"} <= {layer["name"] for layer in result.json["layers"]}
    assert [one["name"] for one in result.json["interface"]["outputs"]] == ["output_0", "output_1"]


NETWORKS = """
import torch
from torch import nn

class Chooses(nn.Module):
    def forward(self, x):
        return x[x > 0.5], x.mean((2, 3))

class Alike(nn.Module):
    def forward(self, x):
        y = x.mean((2, 3))
        return {"a/b": y, "a b": 2 * y}

class Words(nn.Module):
    def forward(self, x):
        return {"mean": x.mean((2, 3)), "why": "so"}

class Divides(nn.Module):
    def forward(self, x):
        y = x.mean((2, 3))
        return y, y.sum(1, keepdim=True) / (y[:, :1] - y[:, :1])

class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 3, 2, 2)
    def forward(self, x):
        return x + self.up(self.down(x)), x.mean()

class Same(nn.Module):
    def forward(self, x):
        return torch.ones(1, 3, 2, 2), 0 * x.mean()

class Twice(nn.Module):
    def forward(self, x):
        y = nn.functional.avg_pool2d(x, 2)
        return {"a": y, "b": y, "as it came": x}

class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (nn.Conv2d(n, 8, 3) for n in (3, 8, 8))
    def forward(self, x):
        a = self.a(x).relu()
        b = self.b(a).relu()
        return {"one": a, "two": b, "three": self.c(b)}

class Scaled(nn.Module):
    def forward(self, row, scale):
        return row * scale

class Named(nn.Module):
    def forward(self, x):
        return {"x": 2 * x}

class Empty(nn.Module):
    def forward(self, x):
        return x, x[:, :0]

def text():
    return "image"

def row_and_scale():
    return {"scale": torch.tensor(2.5), "row": torch.randn(1, 4)}
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"odd_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(NETWORKS, encoding="utf-8")
    return name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("Chooses", "--resolution", "32"), "output 'output_0' of .* has the shape .* for one"),
        (("Alike", "--resolution", "32"), "two outputs .* would be called 'a_b' in a file"),
        (("Words", "--resolution", "32"), "gives a str as 'why': expected tensors"),
        (("Divides", "--resolution", "32"), "gives (nan|-?inf) for input 0"),
        (("Halves", "--resolution", "33"), "cannot take an input of shape .*33, 33.*: "),
        (("Same", "--resolution", "32"), r"gives \(nearly\) the same outputs for all"),
        (("Named", "--resolution", "32"), "an input and an output that would both be called 'x'"),
        (("Empty", "--resolution", "32"), "output 'output_1' of .* is empty"),
        (("Twice", "--resolution", "32", "--outputs", "a,a"), "expected each name once"),
        (("Twice", "--resolution", "32", "--scores", "logits"), "--scores goes with scores of"),
        (("Twice", "--resolution", "32", "--example", "{odd}:row_and_scale"), "--resolution: the"),
        (("Halves", "--example", "{odd}:text"), "--example .* gives a str: expected tensors"),
        (("Halves", "--example", "missing.npz"), "missing.npz does not exist"),
        (("Halves", "--example", "image.png"), "--example image.png: expected a .npz file, or"),
    ],
)
def test_what_is_no_function_of_tensors_is_refused(
    words: tuple[str, ...], message: str, odd: str, run: CommandLine
) -> None:
    network, *more = (word.replace("{odd}", odd) for word in words)
    result = run("export", f"{odd}:{network}", *more, "-t", "onnx", "-o", "out")
    assert result.code in (2, 3)
    import re

    assert re.search(message, result.message), result.message
    assert not list(Path("out").glob("*.onnx"))


@pytest.mark.parametrize("name", ["Twice", "Scaled"])
def test_each_output_has_a_tensor_of_its_own(name: str, odd: str, run: CommandLine) -> None:
    """Though it is another one as well, or an input; and numbers without axes are inputs."""
    given = ["--example", f"{odd}:row_and_scale"] if name == "Scaled" else ["--resolution", "8"]
    line = ("export", f"{odd}:{name}", *given, "-t", ",".join(TARGETS), "-o", "out", "--json")
    result = run(*line)
    assert result.code == 0, result.err
    for artifact in result.json["artifacts"]:
        found = contract(run, artifact["path"])
        inputs = [one["name"] for one in found["inputs"]]  # type: ignore[attr-defined]
        outputs = [one["name"] for one in found["outputs"]]  # type: ignore[attr-defined]
        expected = {"Twice": (["x"], ["a", "b", "as_it_came"]),
                    "Scaled": (["row", "scale"], ["output"])}[name]  # fmt: skip
        assert (inputs, outputs) == expected
        assert artifact["agreement"]["sqnr_db"] > 80


def test_integers_at_the_ends_of_what_goes_on(odd: str, run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        image = rng.standard_normal((1, 3, 16, 16)).astype(np.float32)
        np.savez(tmp_path / "images" / f"{i:02}.npz", x=image)
    result = run(
        "export", f"{odd}:Chain", "--resolution", "16", "-t", ",".join(TARGETS), "-p", "int8",
        "--io", "int8", "--calibration", "images", "--data", "images", "-o", "out", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    for artifact in result.json["artifacts"]:
        found = contract(run, artifact["path"])
        ends = [*found["inputs"], *found["outputs"]]  # type: ignore[misc]
        assert all(one["scale"] for one in ends)
        assert artifact["agreement"]["sqnr_db"] > 15


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"left": (1, 3, SIDE, SIDE)}, "has no array 'right' (it has 'left')"),
        ({"left": (1, 3, SIDE, SIDE), "right": (1, 3, 8, 8)}, "has the shape (1, 3, 8, 8)"),
    ],
)
def test_files_of_other_arrays_are_named(
    arrays: dict[str, tuple[int, ...]], message: str, run: CommandLine
) -> None:
    Path("inputs").mkdir()
    np.savez("inputs/a.npz", **{k: np.ones(v, np.float32) for k, v in arrays.items()})
    for option, precision in (("--data", "fp32"), ("--calibration", "int8")):
        result = run(
            "export", *words("siamese"), "-t", "onnx", "-p", precision, option, "inputs", "-o", "o"
        )
        assert result.code == 3
        assert "inputs/a.npz" in result.message
        assert message in result.message


def test_numbers_that_are_none_in_a_file_of_arrays(run: CommandLine) -> None:
    image = np.ones((1, 3, SIDE, SIDE), np.float32)
    np.savez("bad.npz", left=image, right=np.where(image > 0, np.nan, image))
    result = run("export", *words("siamese"), "-t", "onnx", "--data", "bad.npz")
    assert result.code == 3
    assert "bad.npz: array 'right' has numbers that are not finite" in result.message
    Path("bad.npz").write_bytes(b"PK\x03\x04 no archive")
    result = run("export", *words("siamese"), "-t", "onnx", "--data", "bad.npz")
    assert result.code == 3
    assert "bad.npz is no file of arrays, or is damaged" in result.message


@pytest.mark.parametrize("name", ["grey", "four"])
def test_a_classifier_of_other_images_predicts(name: str, run: CommandLine) -> None:
    """Images of one or four channels that are no squares."""
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save("a.png")
    for artifact in export(run, name).values():
        path = str(artifact["path"])
        found = contract(run, path)
        assert (found["task"], found["scores"]) == ("classify", "logits")
        order = found["preprocessing"]["channel_order"]  # type: ignore[index]
        assert order == {"grey": "L", "four": "RGBA"}[name]
        checked = run("verify", path, "--against", f"any_networks:{name}", "--json")
        assert checked.code == 0, checked.err
        shown = run("predict", path, "a.png", "--json")
        assert shown.code == 0, shown.err
        assert len(shown.json["predictions"][0]["labels"]) == 5
