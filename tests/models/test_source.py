from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from edgekit.core import Preprocessing
from edgekit.errors import CheckpointError, ModelError, UnknownNameError, UsageError
from edgekit.models import build, find_spec
from edgekit.models.source import is_path, open_model
from edgekit.models.tensor_files import sha256
from edgekit.models.weights import Checkpoint, save_checkpoint

MODEL = "mobilenetv1@0.25"
SPEC = find_spec(MODEL, classes=4, resolution=32)

NETWORKS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.norm(self.conv(x))).mean((2, 3))

READY = Net()
WARM = Net()
WARM(torch.randn(2, 3, 8, 8))

def make():
    return Net()

def number():
    return 3

def fails():
    raise RuntimeError("no weights on this disk")

def with_argument(x, y=2, *rest, z, **more):
    return Net()

def fails_at_length():
    raise RuntimeError("no weights on this disk\\nnor on any other")

class Ranks(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)).argsort(1)

class FeatureMap(nn.Module):
    def forward(self, x):
        return x

class Pair(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x

class Picky(nn.Module):
    def forward(self, x):
        assert x.shape[-1] == 64, "wants 64 px"
        return x.mean((2, 3))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    return tmp_path


@pytest.fixture
def networks(folder: Path) -> Any:
    (folder / "my_networks.py").write_text(NETWORKS)
    yield "my_networks"
    sys.modules.pop("my_networks", None)


@pytest.fixture
def run(folder: Path) -> Path:
    torch.manual_seed(5)
    (folder / "run").mkdir()
    checkpoint = Checkpoint(
        model="MobileNet-V1@0.25",
        spec=SPEC,
        state=build(SPEC).state_dict(),
        labels=("a", "b", "c", "d"),
        preprocessing=Preprocessing(resize=36, crop=32),
        data="synthetic",
    )
    save_checkpoint(folder / "run" / "model.pt", checkpoint)
    return Path("run")


def test_a_zoo_name_gives_the_published_network_untrained() -> None:
    model = open_model("MobileNet_V3_Small")
    assert (model.source, model.name) == ("MobileNet_V3_Small", "mobilenetv3-small")
    assert (model.resolution, model.classes, model.trained) == (224, 1000, False)
    assert model.spec == find_spec("mobilenetv3-small")
    assert model.labels is model.preprocessing is model.data is model.parent_sha256 is None
    assert not model.module.training


def test_fresh_weights_are_the_same_every_time_and_leave_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = open_model(MODEL).module.state_dict()
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after)
    torch.manual_seed(2)
    second = open_model(MODEL).module.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first["stem.conv.weight"].std() > 0


def test_resolution_and_classes_can_be_given() -> None:
    model = open_model(MODEL, resolution=64, classes=7)
    assert (model.resolution, model.classes) == (64, 7)
    assert model.module(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


@pytest.mark.parametrize("form", ["run", "./run", "run/", "run/model.pt"])
def test_runs_and_checkpoints_bring_everything_along(run: Path, form: str) -> None:
    model = open_model(form)
    assert (model.source, model.name, model.trained) == (form, "mobilenetv1@0.25", True)
    assert (model.spec, model.labels, model.data) == (SPEC, ("a", "b", "c", "d"), "synthetic")
    assert model.preprocessing == Preprocessing(resize=36, crop=32)
    assert model.parent_sha256 == sha256(run / "model.pt")
    assert not model.module.training
    expected = torch.load(run / "model.pt", weights_only=True)["state"]
    state = model.module.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_another_resolution_scales_the_preprocessing(run: Path) -> None:
    model = open_model("run", resolution=64)
    assert model.resolution == 64
    assert model.spec is not None
    assert model.spec.resolution == 64
    assert model.preprocessing == Preprocessing(resize=72, crop=64)


@pytest.mark.parametrize("resolution", [0, -1, 16, 100_000])
@pytest.mark.parametrize("words", ["run", MODEL])
def test_impossible_resolutions_are_refused(run: Path, words: str, resolution: int) -> None:
    with pytest.raises(UsageError, match=f"resolution {resolution}"):
        open_model(words, resolution=resolution)


def test_a_zoo_name_takes_weights_and_their_number_of_classes(run: Path) -> None:
    model = open_model(MODEL, weights=run)
    assert (model.classes, model.trained) == (4, True)
    assert model.parent_sha256 == sha256(run / "model.pt")
    state = build(find_spec(MODEL, classes=9)).state_dict()
    torch.save(state, "nine.pth")
    assert open_model(MODEL, weights=Path("nine.pth")).classes == 9


def test_weights_of_another_network_are_refused_with_both_shapes(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is \(8, 3, 3, 3\) in the file, expected \(16, 3"):
        open_model("mobilenetv1@0.5", weights=run)
    with pytest.raises(CheckpointError, match="does not fit the network: tensor '"):
        open_model("mobilenetv3-small", weights=run)


def saved(words: str) -> Path:
    """A checkpoint of a zoo network, as training writes it."""
    spec = find_spec(words, classes=4, resolution=32)
    preprocessing = Preprocessing(resize=None, crop=32)
    checkpoint = Checkpoint(
        words, spec, build(spec).state_dict(), tuple("abcd"), preprocessing, "synthetic"
    )
    save_checkpoint(Path("own.pt"), checkpoint)
    return Path("own.pt")


@pytest.mark.parametrize("given", ["mobilenetv3-small@0.37", "mobilenetv1@0.25"])
def test_a_checkpoint_of_another_network_says_of_which(folder: Path, given: str) -> None:
    with pytest.raises(CheckpointError, match=f"; it is a checkpoint of {given}$"):
        open_model("mobilenetv3-small", weights=saved(given))


def test_a_checkpoint_of_the_same_tensors_but_another_padding_is_refused(folder: Path) -> None:
    path = saved("tf-mobilenetv2@0.35")
    with pytest.raises(CheckpointError, match=r"a checkpoint of tf-mobilenetv2@0\.35, .* padding"):
        open_model("mobilenetv2@0.35", weights=path)
    assert open_model("tf-mobilenetv2@0.35", weights=path).trained


def test_a_checkpoint_of_other_rows_under_the_same_name_opens_by_itself(folder: Path) -> None:
    spec = dataclasses.replace(SPEC, stem=16)
    state = build(spec).state_dict()
    preprocessing = Preprocessing(resize=None, crop=32)
    save_checkpoint(
        Path("own.pt"), Checkpoint(MODEL, spec, state, tuple("abcd"), preprocessing, "synthetic")
    )
    with pytest.raises(CheckpointError, match=r"give own\.pt itself as the network"):
        open_model(MODEL, weights=Path("own.pt"))
    assert open_model("own.pt").spec == spec


def test_a_path_has_weights_of_its_own(run: Path) -> None:
    with pytest.raises(UsageError, match="'run' has its own weights"):
        open_model("run", weights=run / "model.pt")


def test_words_too_long_for_a_file_are_an_unknown_model(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown model 'xxx"):
        open_model("x" * 300)


def test_a_folder_named_like_a_network_is_ambiguous(run: Path) -> None:
    run.rename("mobilenetv2")
    with pytest.raises(UsageError, match=r"zoo network and a path here: write \./mobilenetv2"):
        open_model("mobilenetv2")
    assert open_model("./mobilenetv2").spec == SPEC


def test_a_folder_without_a_checkpoint_does_not_hide_a_network(folder: Path) -> None:
    (folder / "mobilenetv2").mkdir()
    assert not is_path("mobilenetv2")
    assert open_model("mobilenetv2").name == "mobilenetv2"


@pytest.mark.parametrize(
    ("words", "path"),
    [("a/b", True), (".", True), ("x.pt", True), ("x.pth", True), ("x", False), ("a:b", False)],
)
def test_words_that_look_like_a_path_are_one(folder: Path, words: str, path: bool) -> None:
    assert is_path(words) == path


def test_missing_paths_and_unknown_names_are_told_apart(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone/model\.pt does not exist"):
        open_model("gone/model.pt")
    with pytest.raises(UnknownNameError, match="unknown model 'mobilenetv7'"):
        open_model("mobilenetv7")


@pytest.mark.parametrize("attribute", ["make", "Net", "READY"])
def test_a_callable_gives_a_network_in_eval_mode(networks: str, attribute: str) -> None:
    model = open_model(f"{networks}:{attribute}", resolution=16)
    assert (model.name, model.resolution, model.classes) == (attribute, 16, 6)
    assert not model.module.training
    assert model.spec is None
    assert not model.trained


def test_a_callable_whose_norms_have_seen_data_is_trained(networks: str) -> None:
    assert open_model(f"{networks}:WARM").trained
    assert open_model(f"{networks}:WARM").resolution == 224


def test_a_callable_takes_weights(networks: str, folder: Path) -> None:
    module = open_model(f"{networks}:make").module
    state = {key: value + 1 for key, value in module.state_dict().items()}
    torch.save(state, "weights.pth")
    model = open_model(f"{networks}:make", weights=Path("weights.pth"))
    assert model.trained
    assert torch.equal(model.module.state_dict()["conv.weight"], state["conv.weight"])
    assert model.parent_sha256 == sha256(folder / "weights.pth")
    state["conv.weight"] = state["conv.weight"][:3]
    torch.save(state, "weights.pth")
    with pytest.raises(CheckpointError, match=r"tensor 'conv\.weight' is \(3, 3, 3, 3\)"):
        open_model(f"{networks}:make", weights=Path("weights.pth"))


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("absent", "has no attribute 'absent'"),
        ("number", "gives a int: expected a torch.nn.Module"),
        ("__name__", "is a str: expected a torch.nn.Module"),
        ("fails", "raised RuntimeError: no weights on this disk"),
        ("fails_at_length", "raised RuntimeError: no weights on this disk$"),
        (
            "with_argument",
            r"needs arguments \(x, z\): expected a function without arguments; wrap it",
        ),
        ("Ranks", "gives int64 scores: expected floating point"),
        ("FeatureMap", r"gives \(1, 3, 224, 224\): expected one tensor of class scores"),
        ("Pair", "gives tuple: expected one tensor of class scores"),
        ("Picky", r"cannot take an input of shape \(1, 3, 224, 224\): wants 64 px"),
    ],
)
def test_a_callable_that_gives_no_classifier_is_named(
    networks: str, attribute: str, message: str
) -> None:
    with pytest.raises(ModelError, match=f"'{networks}:{attribute}'.*{message}"):
        open_model(f"{networks}:{attribute}", task="classify")
    if attribute in ("Ranks", "FeatureMap", "Pair"):
        assert open_model(f"{networks}:{attribute}").task == "tensors"


def test_a_module_that_does_not_exist_is_named(folder: Path) -> None:
    with pytest.raises(ModelError, match="no module named 'nowhere_to_be_found'"):
        open_model("nowhere_to_be_found:make")


@pytest.mark.parametrize("resolution", [0, -1, 5000])
def test_a_callable_needs_a_possible_resolution(networks: str, resolution: int) -> None:
    with pytest.raises(UsageError, match=f"resolution {resolution}"):
        open_model(f"{networks}:make", resolution=resolution)
