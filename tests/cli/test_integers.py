"""``edgekit export --precision int8`` and its like, through the command line."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image
from small_artifacts import once, shared_folder
from small_networks import network

from edgekit.models.weights import load_checkpoint, save_checkpoint

Module = Callable[[str], str]

TARGETS = {"onnx": ".onnx", "openvino": ".xml", "tflite": ".tflite"}


def images(folder: Path, count: int, color: int | None = None) -> Path:
    """A folder of two classes of small images: noise, or all of one colour."""
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (40, 40, 3)) if color is None else np.full((40, 40, 3), color)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="session")
def int8_files(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 files of the trained network for all targets, float and int8 interface. Read-only."""
    from edgekit.exporting import export
    from edgekit.quantize.integers import Integers

    folder = shared_folder(tmp_path_factory) / "int8"
    staged = folder.with_name("int8.part")
    with once(folder) as mine:
        if mine:
            for interface in ("float", "int8"):
                export(
                    str(trained_run), tuple(TARGETS), ["int8"], out=staged / interface,
                    integers=Integers(images=64, interface=interface),
                )  # fmt: skip
            staged.rename(folder)
    return folder


@pytest.mark.parametrize("interface", ["float", "int8"])
@pytest.mark.parametrize("target", TARGETS)
def test_integers_work_in_every_command(
    target: str,
    interface: str,
    int8_files: Path,
    trained_run: Path,
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
    exact = run("evaluate", trained_run, "--data", "digits", "--json").json["top1"]
    assert accuracy >= exact - 0.02
    assert run("predict", path, png()).code == 0
    verified = run("verify", path, "--against", trained_run, "--per-layer", "--json")
    assert verified.code == 0
    assert verified.json["agreement"]["sqnr_db"] > 10
    layers = verified.json["layers"]
    assert layers[-1]["sqnr_db"] > 8
    if (target, interface) == ("tflite", "float"):
        text = run("verify", path, "--against", trained_run, "--per-layer")
        assert "Most noise is added by: " in text.out
    measured = run("profile", path, "--seconds", 1, "--energy", "off", "--json")
    assert measured.code == 0
    compared = run("compare", path, path, "--seconds", 1, "--json")
    assert compared.code == 0
    assert 0.5 < compared.json["ratio"] < 2


def test_a_network_without_images_needs_some(run: CommandLine) -> None:
    result = run("export", "mobilenetv3-small", "-t", "tflite", "-p", "int8", "--resolution", 32)
    assert (result.code, result.out) == (3, "")
    assert "has no images that the ranges of integers could come from" in result.message
    assert "--calibration SRC" in result.message


def calibrated(run: CommandLine, words: str, source: Path, *more: object) -> object:
    return run(
        "export", words, "-t", "tflite", "-p", "int8", "--resolution", 32, "-o", "out",
        "--calibration", source, *more,
    )  # fmt: skip


def test_too_few_images_are_refused(run: CommandLine, module: Module, tmp_path: Path) -> None:
    words = f"{module(network())}:Net"
    result = calibrated(run, words, images(tmp_path / "few", 6))
    assert result.code == 3
    assert "has 2 images: calibration needs 16 at least" in result.message


@pytest.mark.parametrize("color", [0, 120], ids=["black", "grey"])
def test_images_of_one_colour_are_refused(
    color: int, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    result = calibrated(run, words, images(tmp_path / "flat", 60, color))
    assert result.code == 3
    assert "calibration images" in result.message
    assert "are of one colour all over" in result.message


def test_images_that_are_no_numbers_once_prepared_are_refused(
    run: CommandLine, trained_run: Path, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(trained_run / "model.pt")
    assert checkpoint.preprocessing is not None
    facts = dataclasses.replace(checkpoint.preprocessing, std=(1e-39, 1.0, 1.0))
    save_checkpoint(tmp_path / "odd.pt", dataclasses.replace(checkpoint, preprocessing=facts))
    result = run("export", "odd.pt", "-t", "tflite", "-p", "int8", "--data", "synthetic", "-o", "o")
    assert (result.code, result.out) == (3, "")
    assert "'std' is (1e-39, 1.0, 1.0): expected numbers that leave pixels finite" in result.message


def test_too_small_a_number_of_images_is_refused(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    source = images(tmp_path / "enough", 60)
    result = calibrated(run, words, source, "--calibration-images", 3)
    assert result.code == 2
    assert "3 images for calibration: expected at least 16" in result.message


def test_a_precision_that_a_target_lacks_names_those_it_has(run: CommandLine) -> None:
    result = run("export", "mobilenetv3-small", "-t", "openvino", "-p", "int8-dynamic")
    assert result.code == 2
    assert "target openvino has no precision int8-dynamic: it has fp16, fp32, int8" in (
        result.message
    )


def test_ranges_that_a_target_lacks_name_those_it_has(run: CommandLine) -> None:
    words = ("export", "mobilenetv3-small", "-t", "tflite", "-p", "int8", "--ranges", "entropy")
    result = run(*words, "--calibration", "synthetic")
    assert result.code == 2
    assert "no ranges 'entropy': expected minmax or percentile or mse" in result.message


@pytest.mark.parametrize("drop", ["0", "-1", "nan", "101"])
def test_a_bound_that_is_none_is_refused(drop: str, run: CommandLine) -> None:
    words = ("export", "mobilenetv3-small", "-t", "tflite", "-p", "int8", "--max-drop", drop)
    result = run(*words, "--calibration", "synthetic")
    assert result.code == 2
    assert f"--max-drop {drop}: expected points of top-1 above 0" in result.message


def test_an_interface_of_integers_goes_with_integers(run: CommandLine) -> None:
    result = run("export", "mobilenetv3-small", "-t", "tflite", "-p", "fp32", "--io", "int8")
    assert result.code == 2
    assert "--io int8 goes with static integer precisions" in result.message


@pytest.mark.parametrize(
    ("precision", "option"),
    [("fp16", ("--float-layers", "scores")), ("int8-dynamic", ("--ranges", "percentile"))],
)
def test_options_that_a_precision_has_no_use_for_are_refused(
    precision: str, option: tuple[str, str], run: CommandLine
) -> None:
    result = run("export", "mobilenetv3-small", "-t", "tflite", "-p", precision, *option)
    assert result.code == 2
    assert option[0] in result.message
    assert precision in result.message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("int8", "--isa", "riscv"), "--isa riscv: expected x86, x86-vnni, arm"),
        (("fp16", "--isa", "arm"), "--isa goes with precisions of integers: fp16 has none"),
        (("int8", "--isa", "arm", "--tune"), "--tune measures on this machine, whose processor is"),
    ],
)
def test_a_processor_that_makes_no_sense_is_refused(
    words: tuple[str, ...], expected: str, run: CommandLine
) -> None:
    result = run(
        "export", "mobilenetv3-small", "-t", "onnx", "--calibration", "synthetic", "-p", *words
    )
    assert result.code == 2
    assert expected in result.message


def test_files_are_for_the_processor_that_is_named(
    trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    words = ("-t", "onnx", "-p", "int8", "--calibration-images", 16, "--isa", "x86", "-o", "out")
    assert run("export", trained_run, *words).code == 0
    (path,) = Path("out").glob("*.onnx.json")
    assert json.loads(path.read_text())["scheme"]["forms"]["weights"] == "7bit"


def test_a_few_images_of_one_colour_are_no_harm_and_many_are(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    source = images(tmp_path / "half", 60)
    for i, path in enumerate(sorted(source.rglob("*.png"))):
        if i % 2:
            Image.new("RGB", (40, 40)).save(path)
    result = calibrated(run, words, source)
    assert result.code == 3
    assert "are of one colour all over" in result.message


def test_layers_that_do_not_exist_are_refused(
    run: CommandLine, module: Module, tmp_path: Path
) -> None:
    words = f"{module(network())}:Net"
    source = images(tmp_path / "enough", 60)
    result = calibrated(run, words, source, "--float-layers", "secnod")
    assert result.code == 3
    assert "no layer 'secnod'" in result.message
    assert "second" in result.message


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_to_quantize_is_said(
    target: str, run: CommandLine, module: Module, tmp_path: Path
) -> None:
    text = """
class Net(nn.Module):
    def forward(self, x):
        return x.amax(dim=(2, 3))
"""
    words = f"{module(text)}:Net"
    source = images(tmp_path / "enough", 60)
    result = run(
        "export", words, "-t", target, "-p", "int8", "--resolution", 32, "-o", "out",
        "--calibration", source,
    )  # fmt: skip
    assert result.code == 3
    assert "no layer" in result.message
    assert "int8" in result.message
    kinds = {"onnx": "ReduceMax", "openvino": "ReduceMax", "tflite": "REDUCE_MAX"}
    assert re.search(rf"it has [^;]*{kinds[target]}", result.message)


def test_chosen_layers_stay_in_float(run: CommandLine, trained_run: Path, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    result = run(
        "export", trained_run, "-t", "tflite", "-p", "int8,int8-mixed,w8a16,int8-dynamic",
        "--calibration-images", 32, "--float-layers", "blocks.2", "-o", "out", "--json",
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
    assert any(name.startswith("blocks.2.") for name in floats)
    assert not any(name.startswith("blocks.3.") for name in floats)
    assert np.int16 in kinds["w8a16"].values()


def test_the_ladder_stops_at_the_first_rung_that_holds(run: CommandLine, trained_run: Path) -> None:
    words = ("export", trained_run, "-t", "tflite", "-p", "int8", "--max-drop", 50, "-o", "out")
    result = run(*words, "--json")
    assert result.code == 0
    (entry,) = result.json["artifacts"]
    (rung,) = entry["ladder"]
    assert (rung["name"], rung["passed"]) == ("int8, minmax", True)
    assert rung["size_bytes"] == entry["size_bytes"] or rung["size_bytes"] > 0
    assert rung["latency_ms"] > 0


def test_a_ladder_whose_last_rung_breaks_ends_with_a_rejected_file(
    run: CommandLine, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.quantize import ladder

    # No rung is as good as a float network that is always right and still better.
    monkeypatch.setattr(ladder, "held_out", lambda *_, **__: ladder.HeldOut(*_judge(), top1=1.5))
    monkeypatch.setattr("edgekit.exporting.held_out", ladder.held_out)
    monkeypatch.setattr(ladder, "LATENCY_SECONDS", 0.3)
    words = ("export", trained_run, "-t", "tflite", "-p", "int8", "--max-drop", 0.5, "-o", "out")
    result = run(*words, "--qat-epochs", 1, "--calibration-images", 32, "--json")
    assert result.code == 4
    assert "ways loses at most 0.5 points of top-1 on 'digits', validation" in result.message
    (entry,) = result.json["rejected"]
    names = [rung["name"] for rung in entry["ladder"]]
    assert names[:2] == ["int8, minmax", "percentile ranges"]
    assert {"2 layers in float", "4 layers in float", "8 layers in float", "w8a16"} <= set(names)
    assert not any(rung["passed"] for rung in entry["ladder"])
    (report,) = (tmp_path / "out").glob("*.rejected.json")
    assert "points of top-1" in json.loads(report.read_text())["reason"]


def test_a_network_trained_for_integers_is_published_as_such(
    run: CommandLine, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.quantize import ladder

    def score(_: ladder.HeldOut, built: ladder.Built, target: object) -> float:
        return 1.0 if built.artifact.scheme.trained_epochs else 0.0

    monkeypatch.setattr(ladder.HeldOut, "score", score)
    monkeypatch.setattr(ladder, "LATENCY_SECONDS", 0.3)
    monkeypatch.setattr(ladder, "FLOAT_LAYERS", ())
    words = ("export", trained_run, "-t", "tflite", "-p", "int8", "--max-drop", 0.5, "-o", "out")
    result = run(*words, "--qat-epochs", 1, "--calibration-images", 32, "--json")
    assert result.code == 0, result.err
    (entry,) = result.json["artifacts"]
    assert entry["ladder"][-1]["name"] == "quantization-aware training"
    assert entry["ladder"][-1]["passed"]
    contract = json.loads((tmp_path / entry["contract"]).read_text())
    assert contract["scheme"]["trained_epochs"] == 1
    verified = run("verify", entry["path"], "--against", trained_run)
    assert verified.code == 0
    assert "was made from other weights" in verified.err


def _judge() -> tuple[object, str]:
    from edgekit.data import open_source

    return open_source("digits"), "validation"


def test_tuning_records_what_it_measured(
    run: CommandLine, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.quantize import tuning

    monkeypatch.setattr(tuning, "SECONDS", 0.5)
    words = ("export", trained_run, "-t", "tflite", "-p", "int8", "--tune", "-o", "out")
    result = run(*words, "--calibration-images", 32, "--json")
    assert result.code == 0, result.err
    (entry,) = result.json["artifacts"]
    first, *others = entry["tuning"]
    assert (first["verdict"], first["forms"]["hardswish"]) == ("first", "clamp")
    assert {"faster", "slower", "indistinguishable"} >= {
        one["verdict"] for one in others if one["precision"] == "int8"
    }
    assert others[-1]["precision"] == "fp32"
    assert others[-1]["verdict"] in ("faster", "slower", "indistinguishable")
    assert ("fp32 is faster than int8" in result.err) == (others[-1]["verdict"] == "faster")
    contract = json.loads((tmp_path / entry["contract"]).read_text())
    assert contract["tuning"] == entry["tuning"]
    assert not list((tmp_path / "out").glob("*.tuning.json"))


def test_an_interrupted_tuning_goes_on_where_it_was(
    run: CommandLine, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.errors import UnavailableError
    from edgekit.quantize import tuning

    measured: list[tuple[str, str]] = []

    def gone(one: tuning.Built, other: tuning.Built) -> tuple[float, float, float]:
        measured.append((one.content_sha256, other.content_sha256))
        if len(measured) == 2:
            raise UnavailableError("the device is gone")
        return 1.1, 1.05, 1.15

    monkeypatch.setattr(tuning, "_measured", gone)
    words = ("export", trained_run, "-t", "tflite", "-p", "int8", "--tune", "-o", "out")
    result = run(*words, "--calibration-images", 32)
    assert result.code == 5
    assert "the device is gone" in result.message
    assert "run the same command again" in result.message
    (journal,) = (tmp_path / "out").glob("*.tuning.json")
    assert len(json.loads(journal.read_text())["ratios"]) == 1
    result = run(*words, "--calibration-images", 32)
    assert result.code == 0, result.err
    assert measured.count(measured[0]) == 1
    assert measured.count(measured[1]) == 2
    assert not journal.exists()


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
    from edgekit.exporting import export
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


def test_an_end_that_stays_in_float_has_no_integers(run: CommandLine, module: Module) -> None:
    words = f"{module(network())}:Net"
    for target in ("onnx", "tflite"):
        result = run(
            "export", words, "-t", target, "-p", "int8", "--resolution", 32, "--io", "int8",
            "--calibration", "digits", "--float-layers", "scores", "-o", "out",
        )  # fmt: skip
        assert result.code == 3
        assert "--io " in result.message


def test_a_bound_needs_integers(run: CommandLine, trained_run: Path) -> None:
    result = run("export", trained_run, "-t", "onnx", "-p", "fp16", "--max-drop", 0.5)
    assert result.code == 2
    assert "--max-drop goes with precisions of integers" in result.message


def test_accuracy_is_judged_on_the_data_of_the_training(
    run: CommandLine, trained_run: Path, tmp_path: Path
) -> None:
    source = images(tmp_path / "photos", 100)
    result = run(
        "export", trained_run, "-t", "tflite", "-p", "int8", "--calibration", source,
        "--max-drop", 90, "-o", "out",
    )  # fmt: skip
    assert result.code in (0, 4), result.err
    assert "is none of the" not in result.err
