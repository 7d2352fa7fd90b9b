"""Layer by layer, a right file is never told to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zoo_networks
from command_line import CommandLine

from edgekit import registry
from edgekit.exporting import export
from edgekit.models.source import open_model
from edgekit.native_output import captured
from edgekit.verification import agreement
from edgekit.verification.artifact import layers_of, make_reference

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
@pytest.mark.parametrize("target", registry.TARGETS)
def test_no_layer_of_a_float_file_is_below_60_db(target: str, name: str, tmp_path: Path) -> None:
    check(name, target, 32, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo_networks.NAMES)
@pytest.mark.parametrize("target", registry.TARGETS)
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
