"""A network is never changed by what is made of it, whatever its code keeps while it runs."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
import untouched
from command_line import CommandLine
from torch import nn

from edgekit import registry, tables
from edgekit.conversion import export
from edgekit.inference import ModelClassifier, evaluate
from edgekit.lowering import lower
from edgekit.models.copying import own_copy
from edgekit.models.count import layers
from edgekit.models.model import Model
from edgekit.models.source import open_model
from edgekit.native_output import captured
from edgekit.quantize.calibration import calibration_images
from edgekit.quantize.integers import Integers
from edgekit.quantize.training import fine_tune
from edgekit.verification.reference import make_reference

SIDE = 16


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The one object that ``keepnet:NET`` is."""
    (tmp_path / "keepnet.py").write_text(untouched.SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("keepnet", None)
    import keepnet  # type: ignore[import-not-found]

    module: nn.Module = keepnet.NET
    return module


def own(net: nn.Module) -> Model:
    """The object itself, as users of the Python API give it."""
    return dataclasses.replace(open_model("keepnet:NET", resolution=SIDE), module=net)


@pytest.mark.parametrize("name", tables.TARGETS)
def test_exports_in_floats_and_integers_leave_it_as_it_was(net: nn.Module, name: str) -> None:
    before = untouched.everything(net)
    export(own(net), [name], ["fp32", "int8"], data="digits", integers=Integers("digits", 16))
    assert untouched.everything(net) == before


def test_targets_do_not_get_what_one_left_behind(net: nn.Module) -> None:
    model = own(net)
    for order in (("onnx", "openvino", "tflite"), ("tflite", "openvino", "onnx")):
        found = export(model, order, overwrite=True)
        assert all(result.artifact.agreement.sqnr_db > 100 for result in found)  # type: ignore[union-attr]


@pytest.mark.parametrize("lowering", registry.lowerings(), ids=lambda one: one.name)
def test_every_rewrite_leaves_it_as_it_was(net: nn.Module, lowering: object) -> None:
    before = untouched.everything(net)
    lowering.rewrite(net, (torch.rand(1, 3, SIDE, SIDE),))  # type: ignore[attr-defined]
    for name in tables.TARGETS:
        target = registry.target(name)
        lower(net, (torch.rand(1, 3, SIDE, SIDE),), target, target.schemes["fp32"])
    assert untouched.everything(net) == before


def test_scoring_counting_and_retraining_leave_it_as_it_was(net: nn.Module) -> None:
    before = untouched.everything(net)
    model = own(net)
    evaluate(ModelClassifier(model), "digits", split="validation")
    layers(net, SIDE)
    preprocessing = export(model, data="digits")[0].artifact.preprocessing
    trained = dataclasses.replace(
        model, preprocessing=dataclasses.replace(preprocessing, layout="NCHW")
    )
    images = calibration_images("digits", preprocessing, 16)
    fine_tune(trained, "digits", images, epochs=1)
    assert untouched.everything(net) == before


@pytest.mark.parametrize("narrow", [False, True])
def test_asking_how_exact_it_is_leaves_it_as_it_was(net: nn.Module, narrow: bool) -> None:
    """In float64, and in float32 where it cannot be computed in that."""
    if narrow:
        net.stem.register_forward_pre_hook(lambda layer, inputs: (inputs[0].float(),))
    before = untouched.everything(net)
    reference = make_reference(own(net))
    exactness = reference.exactness
    assert exactness.steady(range(len(reference.images))).all()
    assert (exactness.fallback is not None) is narrow
    assert untouched.everything(net) == before


def test_commands_leave_it_as_it_was(run: CommandLine, net: nn.Module) -> None:
    before = untouched.everything(net)
    words = ("keepnet:NET", "--resolution", SIDE)
    assert run("describe", *words).code == 0
    assert run("evaluate", *words, "--data", "digits").code == 0
    assert run("export", *words, "-t", "onnx").code == 0
    assert run("verify", "NET-fp32.onnx", "--against", "keepnet:NET", "--per-layer").code == 0
    assert run("profile", *words, "--seconds", 1, "--no-store").code == 0
    assert untouched.everything(net) == before


def test_the_start_of_a_search_leaves_it_as_it_was(net: nn.Module) -> None:
    pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed")
    from edgekit.search.discovery import discovered
    from edgekit.search.groups import checked

    before = untouched.everything(net)
    with captured():
        found = discovered(own(net))
    assert found.spec is not None
    checked(found.spec, found.module, torch.rand(2, 3, SIDE, SIDE))
    assert untouched.everything(net) == before


class Awkward(nn.Module):
    """Holds what PyTorch copies no more than Python does."""

    def __init__(self) -> None:
        super().__init__()
        import threading

        self.fc = torch.nn.utils.weight_norm(nn.Linear(4, 2))
        self.lock = threading.Lock()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.lock:
            found: torch.Tensor = self.fc(x)
        return found


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_what_has_no_copy_is_shared_and_all_else_is_copied() -> None:
    net = Awkward()
    net(torch.ones(1, 4))
    copied = own_copy(net)
    assert copied.lock is net.lock
    assert copied.fc is not net.fc
    assert torch.equal(copied(torch.ones(1, 4)), net(torch.ones(1, 4)))
    with torch.no_grad():
        copied.fc.weight_v.add_(1)  # type: ignore[union-attr, operator]
    assert not torch.equal(copied(torch.ones(1, 4)), net(torch.ones(1, 4)))
