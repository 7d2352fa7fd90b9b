"""``edgekit export --precision int8`` and its like, through the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from small_networks import network

Module = Callable[[str], str]

TARGETS = {"onnx": ".onnx", "openvino": ".xml", "tflite": ".tflite"}


@pytest.mark.parametrize("interface", ["float", "int8"])
@pytest.mark.parametrize("target", TARGETS)
def test_integers_work_in_every_command(
    target: str,
    interface: str,
    int8_files: Path,
    short_network: Path,
    run: CommandLine,
    png: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    (path,) = (int8_files / interface).glob(f"*{TARGETS[target]}")
    contract = json.loads((path.parent / f"{path.name}.json").read_text())
    scheme = contract["scheme"]
    assert (scheme["precision"], scheme["weights"], scheme["interface"]) == (
        "int8", "int8", interface
    )  # fmt: skip
    assert (scheme["calibration"], scheme["calibration_images"]) == ("minmax", 64)
    assert scheme["calibration_data"] == "digits, train"
    ends = contract["inputs"] + contract["outputs"]
    assert all((end["dtype"] == "float32") == (interface == "float") for end in ends)
    assert all((end["scale"] is None) == (interface == "float") for end in ends)

    accuracy = run("evaluate", path, "--data", "digits", "--json").json["top1"]
    exact = run("evaluate", short_network, "--data", "digits", "--json").json["top1"]
    assert accuracy >= exact - 0.02
    assert run("predict", path, png()).code == 0
    verified = run("verify", path, "--against", short_network, "--per-layer", "--json")
    assert verified.code == 0
    assert verified.json["agreement"]["sqnr_db"] > 10
    layers = verified.json["layers"]
    assert layers[-1]["sqnr_db"] > 8
    if (target, interface) == ("tflite", "float"):
        text = run("verify", path, "--against", short_network, "--per-layer")
        assert "Most noise is added by: " in text.out
    measured = run("profile", path, "--seconds", 1, "--energy", "off", "--json")
    assert measured.code == 0
    compared = run("compare", path, path, "--seconds", 1, "--json")
    assert compared.code == 0
    low, high = compared.json["ci95"]
    assert 0 < low <= compared.json["ratio"] <= high


def test_files_are_for_the_processor_that_is_named(
    short_network: Path, run: CommandLine, tmp_path: Path
) -> None:
    words = ("-t", "onnx", "-p", "int8", "--calibration-images", 16, "--isa", "x86", "-o", "out")
    assert run("export", short_network, *words).code == 0
    (path,) = Path("out").glob("*.onnx.json")
    assert json.loads(path.read_text())["scheme"]["forms"]["weights"] == "7bit"


def test_chosen_layers_stay_in_float(run: CommandLine, short_network: Path, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    result = run(
        "export", short_network, "-t", "tflite", "-p", "int8,int8-mixed,w8a16,int8-dynamic",
        "--calibration-images", 32, "--float-layers", "blocks.1", "-o", "out", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    kinds = {}
    for entry in result.json["artifacts"]:
        interpreter = Interpreter(str(tmp_path / entry["path"]))
        interpreter.allocate_tensors()
        kinds[entry["precision"]] = {
            t["name"]: t["dtype"] for t in interpreter.get_tensor_details()
        }
    floats = [n for n, kind in kinds["int8"].items() if kind is np.float32]
    assert any(name.startswith("blocks.1.") for name in floats)
    assert not any(name.startswith("blocks.2.") for name in floats)
    assert np.int16 in kinds["w8a16"].values()


def test_what_stays_in_float_is_named(run: CommandLine, module: Module) -> None:
    # Few channels at the beginning stay in float on x86.
    text = network("x = F.elu(x)").replace("(3, 8,", "(3, 40,").replace("(8, 16,", "(40, 16,")
    words = f"{module(text)}:Net"
    options = (
        "-t",
        "all",
        "-p",
        "int8",
        "--calibration",
        "digits",
        "-o",
        "out",
        "--resolution",
        32,
    )
    result = run("export", words, *options)
    assert result.code == 0
    assert "Net-int8.tflite computes in float: 1 ELU." in result.out
    again = run("export", words, *options, "--overwrite", "--json").json["artifacts"]
    kinds = {entry["target"]: entry["float_operators"] for entry in again}
    assert "Elu" in kinds["onnx"]
    assert kinds["tflite"] == ["ELU"]
    contract = json.loads(Path("out/Net-int8.tflite.json").read_text())
    assert contract["float_operators"] == ["ELU"]


def float_weights(run: CommandLine, words: str, target: str, layer: str) -> set[str]:
    """Layers whose weights are of 32 bits in a file of integers with one chosen layer in float."""
    from edgekit import registry
    from edgekit.conversion import export
    from edgekit.quantize.integers import Integers

    (found,) = export(
        words, [target], ["int8"], out="out", resolution=32, overwrite=True,
        integers=Integers("digits", 32, float_layers=(layer,)),
    )  # fmt: skip
    (path, *_) = registry.target(target).files(found.path)
    if target == "openvino":
        import openvino

        constants = openvino.Core().read_model(path).get_ordered_ops()
        names = [
            op.get_friendly_name()
            for op in constants
            if op.get_type_name() == "Constant"
            and op.get_output_element_type(0).get_type_name() == "f32"
            and len(op.get_output_shape(0)) == 4
            and max(op.get_output_shape(0)[:2]) > 1
        ]
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path))
        interpreter.allocate_tensors()
        names = [
            t["name"]
            for t in interpreter.get_tensor_details()
            if t["dtype"] is np.float32 and len(t["shape"]) == 4 and t["shape"][1:3].max() == 3
        ]
    return {
        part
        for name in names
        for part in ("conv", "conv_next")
        if re.search(rf"\b{part}[.#]", name)
    }


@pytest.mark.parametrize("target", ["openvino", "tflite"])
def test_chosen_layers_and_no_others_keep_weights_of_32_bits(
    target: str, run: CommandLine, module: Module
) -> None:
    text = network().replace("self.first", "self.conv").replace("self.second", "self.conv_next")
    assert float_weights(run, f"{module(text)}:Net", target, "conv") == {"conv"}
