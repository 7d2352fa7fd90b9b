"""Layer by layer, a right file is never told to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo_networks
from command_line import CommandLine
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.conversion import export
from edgekit.core import FLOAT_SCHEMES, of_image
from edgekit.models.model import Model
from edgekit.models.source import open_model
from edgekit.native_output import captured
from edgekit.tasks import agreement
from edgekit.verification.diagnosis import find_divergence, layers_of
from edgekit.verification.divergence import advice
from edgekit.verification.reference import Reference, make_reference
from edgekit.verification.samples import reference_scores

LEAST_DB = 60.0


def check(name: str, target: str, resolution: int, folder: Path) -> None:
    (found,) = export(name, [target], resolution=resolution, out=folder)
    reference = make_reference(open_model(name, resolution=resolution))
    with captured():
        layers = layers_of(reference, registry.target(target), found.path)
    told = {one.layer: one.sqnr_db for one in layers if one.sqnr_db is not None}
    assert not {layer: db for layer, db in told.items() if db < LEAST_DB}
    assert len(told) >= len(layers) // 4  # something is left to be told


@pytest.mark.parametrize("name", ["mobilenetv3-small@0.25", "shufflenetv2@0.5"])
@pytest.mark.parametrize("target", tables.TARGETS)
def test_no_layer_of_a_float_file_is_below_60_db(target: str, name: str, tmp_path: Path) -> None:
    check(name, target, 32, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo_networks.NAMES)
@pytest.mark.parametrize("target", tables.TARGETS)
def test_no_layer_of_the_zoo_is_below_60_db(target: str, name: str, tmp_path: Path) -> None:
    check(zoo_networks.affordable(name), target, 64, tmp_path)


@pytest.mark.parametrize("target", ["tflite"])
def test_a_rejected_file_of_integers_names_its_worst_layers(
    run: CommandLine,
    short_network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    monkeypatch.setenv("EDGEKIT_RUNTIME_MIB", "8192")  # this process is a large one
    words = (short_network, "-t", target, "-p", "int8", "--calibration-images", 16)
    assert run("export", *words, "-o", "good").code == 0
    path = next(Path("good").glob(f"*{registry.target(target).suffix}"))
    monkeypatch.setitem(agreement.TOLERANCES, "int8", {"sqnr_db": 90.0})  # type: ignore[attr-defined]
    found = run("export", *words, "--json")
    assert found.code == 4
    (rejected,) = found.json["rejected"]
    worst = rejected["worst_layers"]
    assert rejected["divergence"]["layer"]
    assert f"--float-layers {','.join(worst[:3])}" in found.message
    report = json.loads((tmp_path / f"{rejected['path']}.json").read_text())
    assert report["worst_layers"] == worst
    found = run("verify", path, "--against", short_network)
    assert found.code == 4
    assert "--float-layers " in found.message


ADVICE = [
    (
        "onnx",
        "int8",
        (),
        "try more calibration images or --precision int8-mixed or --precision w8a16",
    ),
    ("onnx", "int8-mixed", (), "try more calibration images or --precision w8a16"),
    ("onnx", "w8a16", (), "try more calibration images or --precision int8-mixed"),
    ("onnx", "int8-dynamic", (), "try --precision int8-mixed or --precision w8a16"),
    ("openvino", "int8-mixed", (), "try more calibration images"),
    (
        "openvino",
        "int8",
        ("a", "b", "c", "d"),
        "most noise is added by a, b, c: keep them in float with --float-layers a,b,c or try more "
        "calibration images",
    ),
    (
        "tflite",
        "int8",
        ("a",),
        "most noise is added by a: keep them in float with --float-layers a or try more "
        "calibration images or try --precision w8a16",
    ),
]


@pytest.mark.parametrize(("target", "precision", "worst", "expected"), ADVICE)
def test_only_what_a_target_has_is_advised(
    target: str, precision: str, worst: tuple[str, ...], expected: str
) -> None:
    format_ = registry.target(target)
    assert advice(worst, format_, format_.schemes[precision]) == expected


class Wild(nn.Module):
    """Computes what float32 cannot tell for dark images, and plain scores else."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.wild, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        dark = (x.mean((1, 2, 3), keepdim=True) < 0).to(x.dtype)
        mixed = self.conv(x) + dark * torch.sin(1e9 * self.wild(x))
        return self.fc(mixed.relu().mean((2, 3)))


def test_layers_are_looked_at_on_images_that_float32_can_tell(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((12, 3, 8, 8)).astype(np.float32)
    level = np.where(np.arange(12) % 3 == 2, 1, -1).reshape(-1, 1, 1, 1)
    images = (images - images.mean((1, 2, 3), keepdims=True) + level).astype(np.float32)
    module = Wild().eval()
    model = Model("mine:net", "net", module, 8, 4, trained=True)
    reference = Reference(model, images, reference_scores(module, images), "noise")
    target, path = registry.target("onnx"), tmp_path / "net.onnx"
    with torch.no_grad(), captured():
        target.export(module, of_image(torch.from_numpy(images[:1])), path, FLOAT_SCHEMES["fp32"])
        layers = layers_of(reference, target, path)
    assert layers[-1].layer == "fc"
    assert (layers[-1].sqnr_db or 0) > LEAST_DB
    with captured():
        assert find_divergence(reference, target, path, "fp32") is None
