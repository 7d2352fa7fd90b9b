"""The public functions with what notebooks have: modules, arrays, paths, single names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from any_networks import SIDE, detector, siamese, two_images
from PIL import Image
from torch import nn

import edgekit
from edgekit.contract import load
from edgekit.errors import UsageError
from edgekit.training.loop import TrainingResult

pytestmark = pytest.mark.usefixtures("brief_sessions")


def test_a_module_is_exported_as_it_is(tmp_path: Path) -> None:
    network = siamese().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = tuple(one.numpy() for one in two_images())
    (file,) = edgekit.export(network, "tflite", out=tmp_path, example=images, name="pair")
    assert file.path == tmp_path / "pair-fp32.tflite"
    contract = load(file.path)
    assert [one.name for one in contract.inputs] == ["left", "right"]
    assert contract.task == "tensors"
    assert contract.trained
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_names_may_stand_alone_or_with_commas(tmp_path: Path) -> None:
    files = edgekit.export(
        detector(), "onnx,tflite", "fp32", out=str(tmp_path), resolution=SIDE, outputs="output_1"
    )
    assert [file.path.name for file in files] == ["detector-fp32.onnx", "detector-fp32.tflite"]
    assert [one.name for one in load(files[0].path).outputs] == ["output_1"]


def test_a_classifier_in_a_module_has_scores(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    (file,) = edgekit.export(network, "tflite", out=tmp_path, resolution=SIDE)
    contract = load(file.path)
    assert (contract.task, contract.scores) == ("classify", "logits")
    assert edgekit.open_classifier(file.path).classes == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": 3}, "targets=3: expected a name, or several of them in a list"),
        ({"targets": ["onnx", 3]}, "expected a name, or several of them in a list"),
        ({"precisions": []}, r"precisions=\[\]: expected a name"),
        ({"model": 3}, "model=3: expected a name, a path, a torch.nn.Module"),
        ({"weights": 3}, "weights=3: expected a name or a path"),
        ({"scores": "logits"}, "--scores goes with scores of classes: 'detector' is of the task"),
        ({"example": np.ones((1, 3, 8, 8), np.float32)}, "--resolution: the sizes of inputs are"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given = {"model": detector(), "targets": "onnx", "resolution": SIDE, "out": tmp_path}
    with pytest.raises(UsageError, match=message):
        edgekit.export(**{**given, **arguments})
    assert not list(tmp_path.iterdir())


def small(classes: int = 10) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, classes),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Sequential, TrainingResult]:
    network = small()
    before = network[0].weight.detach().clone()
    out = tmp_path_factory.mktemp("run")
    run = edgekit.train(network, "digits", epochs=1, resolution=8, out=out / "run")
    assert not torch.equal(before, network[0].weight)
    return network, run


Trained = tuple[nn.Sequential, TrainingResult]


def test_a_module_goes_all_the_way(trained: Trained, tmp_path: Path) -> None:
    network, run = trained
    said: list[str] = []
    report = edgekit.export(
        network, "onnx,tflite", out=tmp_path, weights=run, name="small", say=said.append
    )
    first, second = report
    assert [one.path.name for one in report.files] == ["small-fp32.onnx", "small-fp32.tflite"]
    assert first.artifact.labels == tuple("0123456789")
    assert report.warnings == tuple(said) == ()
    assert edgekit.verify(first, network, weights=run).passed
    found = edgekit.evaluate(first)
    assert found.top1 == edgekit.evaluate(network, weights=run).top1 == pytest.approx(run.top1)
    assert (found.sha256, found.target) == (first.artifact.sha256, "onnx")
    both = edgekit.profile(report, seconds=1, precision_goal=50, energy="off").measurements
    assert [one.artifact for one in both] == [str(first.path), str(second.path)]
    with pytest.raises(
        UsageError, match=r"^model=ExportReport\(.*give one of those that it holds"
    ) as no:
        edgekit.evaluate(report)
    assert len(str(no.value)) < 400
    measured = edgekit.profile([first, network], weights=run, seconds=1, energy="off")
    assert [one.artifact for one in measured.measurements] == [str(first.path), "sequential"]
    assert measured.measurements[0].sha256 == found.sha256
    page = edgekit.report([measured, found], tmp_path / "page.html")
    assert (page.measurements, page.accuracies) == (2, 1)
    assert edgekit.compare(first, second, seconds=1).ratio.rounds > 1
    described = edgekit.describe(network, resolution=8)
    assert described.params == sum(one.numel() for one in network.parameters())
    assert [layer.name for layer in described.layers][-1] == "4"


def test_a_function_that_makes_a_network_is_one(tmp_path: Path) -> None:
    (file,) = edgekit.export(small, "tflite", out=tmp_path, size=(16, 24))
    assert file.path.name == "small-fp32.tflite"
    assert file.artifact.inputs[0].shape == (1, 16, 24, 3)


def test_what_is_said_may_stand_in_a_record_or_alone(tmp_path: Path) -> None:
    loose: Any = edgekit.Stated(mean=0.5, std=0.5, labels=list("abcd"))
    (file,) = edgekit.export(
        small(4), "tflite", out=tmp_path, stated=loose, std=[0.25] * 3, scale=np.float32(1)
    )
    prepared = file.artifact.preprocessing
    assert prepared is not None
    assert (prepared.mean, prepared.std, prepared.scale) == ((0.5,) * 3, (0.25,) * 3, 1.0)
    assert file.artifact.labels == tuple("abcd")


def test_published_weights_are_asked_for_by_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_WEIGHTS_URL", (tmp_path / "server").as_uri())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = {"weights": "pretrained"}
    asked: list[Callable[[], object]] = [
        lambda: edgekit.export("mobilenetv2", "onnx", out=tmp_path, **given),
        lambda: edgekit.evaluate("mobilenetv2", "digits", **given),
        lambda: edgekit.describe("mobilenetv2", **given),
        lambda: edgekit.profile("mobilenetv2", **given),
        lambda: edgekit.train("mobilenetv2", "digits", pretrained=True, out=tmp_path / "run"),
    ]
    for ask in asked:
        with pytest.raises(edgekit.UnavailableError, match="cannot be downloaded"):
            ask()


def test_images_of_every_kind_give_the_same(trained: Trained, tmp_path: Path) -> None:
    network, run = trained
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    classifier = edgekit.open_classifier(network, weights=run)
    several = edgekit.predict(classifier, [path, str(path), pixels, Image.fromarray(pixels)])
    assert isinstance(several, list)
    one = edgekit.predict(network, pixels, weights=run)
    for other in several:
        assert isinstance(one, edgekit.Labels)
        assert isinstance(other, edgekit.Labels)
        assert other.labels == one.labels
    grey = edgekit.predict(classifier, Image.fromarray(pixels).convert("L"))
    assert grey.image == "image 0"


def picture(*shape: int, kind: Any = np.uint8) -> np.ndarray:
    return np.zeros(shape, kind)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (picture(4, 4), r"image 0 has the shape \(4, 4\).*expected height x width x 3, uint8 RGB"),
        (picture(4, 4, 3, kind=np.float32), "type float32: expected height x width x 3, uint8"),
        (picture(2, 4, 4, 3), "give several images in a list"),
        (picture(4, 4, 4), "expected height x width x 3, uint8 RGB"),
        (picture(0, 4, 3), "expected 1 pixel or more"),
        (Image.new("F", (4, 4)), "is in mode F: expected an image of 8 bits, such as RGB"),
        (Image.new("RGB", (0, 4)), "expected 1 or more"),
        (3, "images=3: expected a path, a PIL.Image, an array of height x width x 3, uint8 RGB"),
        ([3], "image 0 is a int: expected a path, a PIL.Image, or an array of height x width"),
        ("nowhere.png", "image 'nowhere.png' does not exist"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(
    image: Any, message: str, trained: Trained
) -> None:
    with pytest.raises((UsageError, edgekit.DataError), match=message):
        edgekit.predict(trained[0], image, weights=trained[1])


WRONG: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (edgekit.export, {"precisions": 8}, "precisions=8: expected a name, or several of them"),
    (edgekit.export, {"resolution": "a"}, "resolution='a': expected a whole number"),
    (edgekit.export, {"lables": ["a"]}, "unknown argument 'lables': did you mean labels"),
    (edgekit.export, {"mean": "x"}, "mean='x': expected a number, or one for each channel"),
    (edgekit.export, {"std": [1, "x"]}, "expected a number, or one for each channel in a list"),
    (edgekit.export, {"labels": 3}, "labels=3: expected several, in a list"),
    (edgekit.export, {"resize": "96x96"}, "resize='96x96': expected pixels, height and width"),
    (edgekit.export, {"stated": 3}, "stated=3: expected an edgekit.Stated"),
    (edgekit.export, {"stated": edgekit.Stated(mean="x")}, "mean='x': expected a number, or one"),
    (edgekit.export, {"stated": edgekit.Stated(pad="x"), "fit": "letterbox"}, "pad='x': expected"),
    (edgekit.export, {"max_drop": "x"}, "max_drop='x': expected a number"),
    (edgekit.export, {"calibration_images": "8"}, "calibration_images='8': expected a whole"),
    (edgekit.export, {"overwrite": 1}, "overwrite=1: expected True or False"),
    (edgekit.export, {"out": 3}, "out=3: expected a name or a path"),
    (edgekit.export, {"size": "5xb"}, "size='5xb': expected pixels of a square, or height and"),
    (edgekit.export, {"size": (8, 8), "resolution": 8}, "size and resolution both say"),
    (edgekit.train, {"epochs": "5"}, "epochs='5': expected a whole number"),
    (edgekit.train, {"epoch": 5}, "unknown argument 'epoch': did you mean epochs"),
    (edgekit.train, {"lr": -1}, "lr -1.0: expected a number above 0"),
    (edgekit.train, {"recipe": "digits", "options": edgekit.TrainingOptions()}, "recipe and opt"),
    (edgekit.profile, {"threads": 0}, "--threads 0: expected 1 to"),
    (edgekit.profile, {"seconds": 0.1}, "seconds=0.1: expected 1 to 86400"),
    (edgekit.profile, {"torch": "fast"}, "--torch fast: expected eager or compiled"),
    (edgekit.profile, {"batch": 2}, "batch goes with exported files and networks that have a name"),
    (edgekit.profile, {"input_shape": 3}, "input_shape=3: expected sizes, such as"),
    (edgekit.describe, {"embedded": True}, "'Sequential' is no artifact"),
    (
        edgekit.evaluate,
        {},
        "'sequential' does not say what it was trained on: name images with --data",
    ),
    (edgekit.evaluate, {"data": 3}, "data=3: expected a name or a path"),
]


@pytest.mark.parametrize(("function", "arguments", "message"), WRONG)
def test_wrong_arguments_are_refused_in_a_sentence(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, edgekit.DataError)) as found:
        function(small(), **arguments)
    assert re.search(message, str(found.value)), found.value
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"budget": "fast"}, "budget 'fast': expected such as latency=0.6x"),
        ({"method": "magic"}, "method='magic': expected netadapt, uniform"),
        ({"reduction": 0.9}, "reduction=0.9: expected"),
        ({"finish_epoch": 1}, "unknown argument 'finish_epoch': did you mean finish_epochs"),
        ({"workers": 0}, "workers=0: expected 1 to 256"),
    ],
)
def test_wrong_arguments_of_a_search_are_refused(
    arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    given = {"budget": "latency=0.6x", "out": tmp_path / "searched", **arguments}
    with pytest.raises(UsageError, match=message):
        edgekit.search("mobilenetv3-small", **given)
    assert not (tmp_path / "searched").exists()


def test_a_report_says_what_became_of_each_file(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(image.mean(1))

    given: dict[str, Any] = {"example": torch.randn(1, 3, 8, 8), "task": "tensors"}
    report = edgekit.export(Odd(), "onnx,tflite", out=tmp_path, strict=False, **given)
    assert len(report) + len(report.failed) + len(report.rejected) == 2
    assert report.failure is not None
    with pytest.raises(type(report.failure)) as raised:
        edgekit.export(Odd(), "onnx,tflite", out=tmp_path / "x", **given)
    assert len(raised.value.results) == 2
    assert raised.value.__cause__ is raised.value.results[0].error


SCRIPT = """
from pathlib import Path

import numpy as np
import torch

import edgekit
from edgekit import EdgekitError, ExportReport, Stated


def main(network: torch.nn.Module) -> ExportReport:
    run = edgekit.train(network, Path("photos"), epochs=5, lr=0.01)
    files = edgekit.export(
        network, targets="onnx", precisions=["fp32", "int8"], weights=run, labels=["a", "b"],
        mean=0.5, calibration="photos", max_drop=0.5,
    )
    one = edgekit.predict(files[0], np.zeros((8, 8, 3), np.uint8))
    many = edgekit.predict(files[0].path, ["a.png", Path("b.png")])
    assert isinstance(one, edgekit.Labels)
    print(one.labels[0].probability, len(many), many[0].image)
    measured = edgekit.profile([files[0], network], threads=[1, 2], seconds=2)
    print(measured.measurements[0].artifact, edgekit.evaluate(files[0], "photos").top1)
    print(edgekit.compare(files[0], files[1]).ratio.verdict, edgekit.describe(network).macs)
    print(edgekit.verify(files[0], network, stated=Stated(resize=8)).passed)
    edgekit.report([measured, files[0]], "page.html")
    try:
        print(edgekit.search(run, budget="latency=0.6x", out="searched", seed=1).model)
    except EdgekitError as error:
        print(error.exit_code)
    return files
"""


SETTINGS = """
[mypy]
strict = true
[mypy-torch.*]
follow_imports = skip
"""


def test_a_script_is_typed(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    (tmp_path / "script.py").write_text(SCRIPT)
    wrong = ["import edgekit", "edgekit.export('x', epochs=3)", "edgekit.train(epochs='3')"]
    (tmp_path / "wrong.py").write_text("\n".join(wrong))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "script.py", "wrong.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(edgekit.__file__).parents[1])},
    )
    assert "script.py" not in done.stdout, done.stdout
    assert "wrong.py:2" in done.stdout
    assert "wrong.py:3" in done.stdout


def test_a_network_that_is_opened_once_takes_what_the_functions_take(tmp_path: Path) -> None:
    opened = edgekit.open_model(detector(), size=SIDE, outputs="output_1,output_0", name="found")
    assert [one.name for one in opened.interface.outputs] == ["output_1", "output_0"]
    (file,) = edgekit.export(opened, "tflite", out=tmp_path)
    assert file.path.name == "found-fp32.tflite"
    with pytest.raises(UsageError, match="weights=3: expected a name or a path"):
        edgekit.open_model("mobilenetv1@0.25", weights=3)  # type: ignore[arg-type]
    fast = edgekit.profile("mobilenetv1@0.25", size=(32, 48), seconds=1, energy="off")
    assert fast.measurements[0].input == "1x3x32x48 float32"


def test_arguments_beside_what_is_open_are_refused(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    (file,) = edgekit.export(network, "tflite", out=tmp_path, resolution=SIDE)
    opened, image = edgekit.open_classifier(file.path), np.zeros((40, 40, 3), np.uint8)
    assert edgekit.predict(opened, image).image == "image 0"
    for words in ({"weights": "nope.pt"}, {"mean": 9.0}, {"threads": 1}, {"task": "tensors"}):
        with pytest.raises(UsageError, match="is open already; give that to open_classifier"):
            edgekit.predict(opened, image, **words)  # type: ignore[call-overload]
