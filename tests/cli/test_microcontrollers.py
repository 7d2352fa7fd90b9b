"""``--device`` with microcontrollers: an interpreter and an estimator, for real."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts, once, shared_folder

from edgekit.contract import contract_path
from exporters.tflite.flatbuffer import pack, schema, unpack

needs_micro = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="tflite-micro is not installed"
)
needs_vela = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None, reason="ethos-u-vela is not installed"
)
ETHOS = "ethos-u55-128"


@pytest.fixture(scope="module")
def integers(short_network: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained file with integers at both ends. Read-only."""
    from edgekit.conversion import export
    from edgekit.quantize.integers import Integers

    folder = shared_folder(tmp_path_factory) / "integers"
    with once(folder) as mine:
        if mine:
            staged = folder.with_name("integers.part")
            chosen = Integers(interface="int8", images=64)
            export(
                str(short_network), ["tflite"], ["int8"], out=staged, integers=chosen,
                overwrite=True,
            )  # fmt: skip
            staged.rename(folder)
    return next(folder.glob("*.tflite"))


def with_operators(path: Path, out: Path, *names: str) -> Path:
    """The same file with further operators behind its output."""
    flat, builtin = unpack(path.read_bytes()), schema().BuiltinOperator
    graph = flat.subgraphs[0]
    for name in names:
        code = schema().OperatorCodeT()
        code.builtinCode, code.version = getattr(builtin, name), 1
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        flat.operatorCodes.append(code)
        tensor = copy.deepcopy(graph.tensors[graph.outputs[0]])
        tensor.name = f"behind {name}"
        graph.tensors.append(tensor)
        operator = schema().OperatorT()
        operator.opcodeIndex = len(flat.operatorCodes) - 1
        operator.inputs = [graph.outputs[0], graph.outputs[0]]
        operator.outputs = [len(graph.tensors) - 1]
        graph.operators.append(operator)
        graph.outputs = operator.outputs
    flat.signatureDefs[0].outputs[0].tensorIndex = int(graph.outputs[0])
    out.write_bytes(pack(flat))
    return out


@needs_micro
def test_a_file_agrees_with_its_network_and_with_the_plain_kernels(
    run: CommandLine, integers: Path, short_network: Path
) -> None:
    arguments = ("verify", integers, "--against", short_network, "--device", "tflm")
    shown, found = run(*arguments), run(*arguments, "--json").json
    assert (shown.code, shown.out.splitlines()[-1]) == (0, "passed")
    assert "steps from LiteRT's reference kernels" in shown.out
    assert found["device"] == "tflm"
    assert found["kernels"]["most_steps"] <= 1
    assert found["kernels"]["equal"] > 0.9
    here = run("verify", integers, "--against", short_network, "--device", "host", "--json").json
    assert (here["device"], here["kernels"]) == (None, None)
    assert here["agreement"]["n"] == found["agreement"]["n"]


@needs_micro
def test_memory_is_told_by_part_and_never_a_latency(run: CommandLine, integers: Path) -> None:
    shown = run("profile", integers, "--device", "TFLM")
    assert shown.code == 0
    assert "No latency can be told" in shown.out
    assert " ms" not in shown.out
    (found,) = run("profile", integers, "--device", "tflm", "--json").json["simulations"]
    assert found["kind"] == "interpreter"
    assert found["arena_bytes"] == sum(found["arena"].values())
    # The first layer's input and output have to be there at once.
    assert found["arena"]["activations"] >= 32 * 32 * 3 + 16 * 16 * 16
    assert not [key for key in found if "latency" in key]


@needs_micro
def test_images_are_recognized_there(run: CommandLine, integers: Path, tmp_path: Path) -> None:
    from edgekit.data import open_source

    there, here = (
        run("evaluate", integers, "--data", "digits", *device, "--json").json
        for device in (("--device", "tflm"), ())
    )
    assert there["n"] == here["n"]
    assert there["top1"] == pytest.approx(here["top1"], abs=0.02)
    assert there["device"] == "tflm"
    digits = open_source("digits")
    Image.fromarray(np.asarray(digits.image("test", 0))).save(tmp_path / "one.png")
    found = run("predict", integers, "one.png", "--device", "tflm", "--json").json
    assert found["predictions"][0]["labels"][0]["label"] in digits.classes


@needs_micro
def test_all_operators_that_are_missing_are_named(
    run: CommandLine, integers: Path, tmp_path: Path
) -> None:
    bad = with_operators(integers, tmp_path / "bad.tflite", "TOPK_V2", "ADD", "RFFT2D")
    result = run("profile", bad, "--device", "tflm")
    assert result.code == 3
    assert result.message == (
        f"{bad} needs operators that TensorFlow Lite Micro lacks: TOPK_V2, RFFT2D"
    )
    contract_path(bad).write_text(contract_path(integers).read_text())
    result = run("predict", bad, "one.png", "--device", "tflm", "--embedded")
    assert (result.code, "TOPK_V2, RFFT2D" in result.message) == (3, True)


@needs_micro
def test_several_files_are_told_beside_one_that_fails(
    run: CommandLine, integers: Path, artifacts: Artifacts
) -> None:
    other = artifacts["tflite", "fp32"]
    result = run("profile", integers, other, "--device", "tflm", "--json")
    assert result.code == 3
    assert [one["artifact"] for one in result.json["simulations"]] == [str(integers)]
    assert [one["artifact"] for one in result.json["failed"]] == [str(other)]


@needs_micro
@pytest.mark.parametrize("device", ["tflm", ETHOS])
def test_a_damaged_file_is_told(
    device: str, run: CommandLine, integers: Path, tmp_path: Path
) -> None:
    if device == ETHOS and importlib.util.find_spec("ethosu") is None:
        pytest.skip("ethos-u-vela is not installed")
    content = integers.read_bytes()
    for name, data in (("cut", content[: len(content) // 2]), ("text", b"x" * 200)):
        (tmp_path / f"{name}.tflite").write_bytes(data)
        result = run("profile", f"{name}.tflite", "--device", device)
        assert result.code == 3
        assert f"{name}.tflite" in result.message


@needs_vela
def test_an_estimate_is_called_one(run: CommandLine, integers: Path) -> None:
    shown = run("profile", integers, "--device", ETHOS)
    assert shown.code == 0
    assert f"estimate for {ETHOS}" in shown.out
    assert "nothing was run or measured" in " ".join(shown.out.split())
    (found,) = run("profile", integers, "--device", ETHOS, "--json").json["simulations"]
    assert (found["kind"], found["npu_share"], found["cpu_operators"]) == ("estimate", 1.0, [])
    assert found["sram_bytes"] >= 32 * 32 * 3
    assert found["cycles"] / found["clock_mhz"] / 1e3 == pytest.approx(found["estimated_ms"])
    (less,) = run("profile", integers, "--device", "ethos-u55-32", "--json").json["simulations"]
    assert less["cycles"] > found["cycles"]


@needs_vela
def test_operators_that_are_left_to_the_processor_are_named(
    run: CommandLine, integers: Path, tmp_path: Path
) -> None:
    mixed = with_operators(integers, tmp_path / "mixed.tflite", "FLOOR_MOD")
    shown = run("profile", mixed, "--device", ETHOS)
    assert "FloorMod left to the processor" in " ".join(shown.out.split())
    (found,) = run("profile", mixed, "--device", ETHOS, "--json").json["simulations"]
    assert 0.5 < found["npu_share"] < 1


@needs_vela
def test_a_program_that_crashes_is_told(run: CommandLine, integers: Path, tmp_path: Path) -> None:
    flat, builtin = unpack(integers.read_bytes()), schema().BuiltinOperator
    for code in flat.operatorCodes:
        if code.builtinCode == builtin.CONV_2D:
            code.builtinCode, code.deprecatedBuiltinCode = builtin.RFFT2D, 127
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(pack(flat))
    result = run("profile", bad, "--device", ETHOS)
    assert (result.code, "Vela" in result.message) == (3, True)


@pytest.mark.parametrize("device", ["tflm", ETHOS])
def test_files_that_it_does_not_take_are_refused_with_the_way_out(
    device: str, run: CommandLine, artifacts: Artifacts
) -> None:
    way = "'edgekit export MODEL --target tflite --precision int8 --io int8'"
    floats = run("profile", artifacts["tflite", "fp32"], "--device", device)
    assert (floats.code, way in floats.message) == (3, True)
    assert "image and scores hold floats" in floats.message
    other = run("profile", artifacts["onnx", "fp32"], "--device", device)
    assert (other.code, way in other.message) == (3, True)
    assert f"a file of target onnx, and device '{device}' takes those of tflite" in other.message
    network = run("profile", "mobilenetv2", "--device", device)
    assert (
        network.code,
        "'mobilenetv2' is a network: give the file of 'edgekit export mobilenetv2 "
        in network.message,
    ) == (2, True)
    missing = run("profile", "nothing.tflite", "--device", device)
    assert (missing.code, "nothing.tflite" in missing.message) == (3, True)


def test_floats_are_refused_before_anything_is_run(run: CommandLine, artifacts: Artifacts) -> None:
    for arguments in (
        ("verify", artifacts["tflite", "fp32"], "--against", "mobilenetv3-small"),
        ("evaluate", artifacts["tflite", "fp32"], "--data", "digits"),
        ("predict", artifacts["tflite", "fp32"], "one.png"),
    ):
        result = run(*arguments, "--device", "tflm")
        assert (result.code, "--io int8" in result.message) == (3, True)


def test_nothing_runs_on_an_estimate(run: CommandLine, artifacts: Artifacts) -> None:
    result = run("predict", artifacts["tflite", "fp32"], "one.png", "--device", ETHOS)
    assert result.code == 2
    assert f"device '{ETHOS}' is an estimate, on which nothing runs" in result.message
    result = run("predict", "mobilenetv3-small", "one.png", "--device", "tflm")
    assert (result.code, "takes exported files" in result.message) == (2, True)


@pytest.mark.parametrize("option", [("--seconds", "3"), ("--per-op",), ("--threads", "1")])
def test_options_of_measuring_are_refused(option: tuple[str, ...], run: CommandLine) -> None:
    result = run("profile", "some.tflite", "--device", "tflm", *option)
    assert result.code == 2
    assert f"{option[0]} does not go with device 'tflm'" in result.message


def test_commands_that_measure_say_that_there_is_no_clock(
    run: CommandLine, artifacts: Artifacts
) -> None:
    one = artifacts["tflite", "fp32"]
    for arguments in (("compare", one, one), ("devices", "add", "x", "--like", "tflm",
                                              "--transport", "local:")):  # fmt: skip
        options = () if arguments[0] == "devices" else ("--device", "tflm")
        result = run(*arguments, *options)
        assert (result.code, "device 'tflm' has no clock" in result.message) == (2, True)


@pytest.mark.parametrize("device", ["tflm", ETHOS])
def test_a_package_that_is_missing_is_named(
    device: str,
    run: CommandLine,
    artifacts: Artifacts,
    integers: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = {"tflm": "tflite_micro", ETHOS: "ethosu"}[device]
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name)
    )
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    result = run("profile", integers, "--device", device)
    assert result.code == 5
    assert f"device '{device}' needs " in result.message
    assert "pip install 'edgekit[micro]'" in result.message
    checks = {one["name"]: one for one in run("doctor", "--json").json["checks"]}
    name = device if device == "tflm" else "ethos-u55-128 and others"
    assert checks[f"device {name}"]["works"] is False
    assert "edgekit[micro]" in checks[f"device {name}"]["found"]


def test_they_are_listed_and_shown(run: CommandLine) -> None:
    listed = run("devices", "--json").json["simulators"]
    assert {"tflm", ETHOS, "ethos-u65-512", "ethos-u85-2048"} <= {one["name"] for one in listed}
    assert "tflm" in run("devices").out
    shown = run("devices", "show", "tflm")
    assert shown.code == 0
    assert "--io int8" in shown.out
    (one,) = run("devices", "show", ETHOS, "--json").json["simulators"]
    assert (one["kind"], one["runs"]) == ("estimate", False)
    for arguments in (("remove", "tflm"), ("add", "tflm", "--transport", "local:")):
        result = run("devices", *arguments)
        assert (result.code, "tflm" in result.message) == (2, True)
    near = run("profile", "a.tflite", "--device", "ethos-u55-65")
    assert (near.code, "did you mean" in near.message) == (2, True)
