"""What works: results of every command as text and as JSON, on every target and on checkpoints."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from PIL import Image
from small_artifacts import PRECISIONS, Artifacts

from edgekit import registry, tables
from edgekit.contract import contract_path, digest, load

SMALL = "mobilenetv1@0.25"
TARGETS = tuple(tables.TARGETS)
Png = Callable[..., Path]

AGREEMENT = {"n", "sqnr_db", "max_abs", "max_rel", "cosine", "top1_match", "passed"}
EXPORT_ENTRY = {
    "path", "contract", "target", "precision", "size_bytes", "sha256", "lowerings", "seconds",
    "agreement",
}  # fmt: skip


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", TARGETS)
def test_artifacts_are_as_accurate_as_the_network(
    target: str, precision: str, artifacts: Artifacts, run: CommandLine, trained_run: Path
) -> None:
    network = run("evaluate", trained_run, "--data", "digits", "--json").json
    exported = run("evaluate", artifacts[target, precision], "--data", "digits", "--json").json
    assert network["target"] == "pytorch"
    assert exported["target"] == target
    assert network["top1"] > 0.8
    assert exported["n"] == network["n"] == 269
    if precision == "fp32":
        assert exported["top1"] == network["top1"]
        assert exported["top5"] == network["top5"]
    else:
        assert exported["top1"] == pytest.approx(network["top1"], abs=0.005)


def test_evaluate_gives_the_figures_of_the_training(run: CommandLine, trained_run: Path) -> None:
    last = json.loads((trained_run / "metrics.jsonl").read_text().splitlines()[-1])
    for words in (trained_run, trained_run / "model.pt"):
        result = run("evaluate", words, "--data", "digits", "--json")
        assert result.json["schema"] == "edgekit.evaluate/1"
        assert result.json["top1"] == pytest.approx(last["top1"])
        assert result.json["split"] == "test"


def test_evaluate_says_it_in_words_as_well(artifacts: Artifacts, run: CommandLine) -> None:
    path = artifacts["onnx", "fp32"]
    text = run("evaluate", path, "--data", "digits", "--split", "validation")
    assert text.code == 0
    document = run("evaluate", path, "--data", "digits", "--split", "validation", "--json").json
    assert f"top-1 {100 * document['top1']:.2f} %" in text.out
    assert f"{document['n']} images (digits, validation)" in text.out
    assert text.err == ""


@pytest.mark.parametrize("target", [*TARGETS, "pytorch"])
def test_predict_tells_digits_apart(
    target: str, artifacts: Artifacts, run: CommandLine, trained_run: Path, tmp_path: Path
) -> None:
    from PIL import Image

    from edgekit.data import open_source

    source, truth, names = open_source("digits"), [], []
    for index in range(0, 60, 3):
        names.append(f"digit-{index}.png")
        truth.append(source.label("test", index))
        Image.fromarray(source.image("test", index)).save(tmp_path / names[-1])
    words = trained_run if target == "pytorch" else artifacts[target, "fp16"]
    result = run("predict", words, *names, "--json", "--top", "3")
    assert (result.code, result.err) == (0, "")
    assert set(result.json) == {"schema", "predictions", "scores", "warnings"}
    assert result.json["schema"] == "edgekit.predict/1"
    predictions = result.json["predictions"]
    assert [p["image"] for p in predictions] == names
    assert all(len(p["labels"]) == 3 for p in predictions)
    first = [p["labels"][0] for p in predictions]
    assert all(set(label) == {"index", "label", "probability"} for label in first)
    assert sum(label["index"] == t for label, t in zip(first, truth, strict=True)) > 15
    assert all(label["label"] == str(label["index"]) for label in first)
    for prediction in predictions:
        shares = [label["probability"] for label in prediction["labels"]]
        assert shares == sorted(shares, reverse=True)
        assert 0 <= shares[-1] <= shares[0] <= 1
    text = run("predict", words, names[0], "--top", "3").out
    assert text.splitlines()[0] == names[0]
    assert len(text.splitlines()) == 5
    assert text.splitlines()[4] == "Scores: logits."


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("target", TARGETS)
def test_verify_passes_what_was_exported(
    target: str, precision: str, artifacts: Artifacts, run: CommandLine, trained_run: Path
) -> None:
    path = artifacts[target, precision]
    result = run("verify", path, "--against", trained_run, "--json")
    assert (result.code, result.err) == (0, "")
    assert {"schema", "artifact", "against", "agreement"} <= set(result.json)
    agreement = result.json["agreement"]
    assert set(agreement) >= AGREEMENT
    assert agreement["passed"] is True
    assert agreement["n"] == 256
    assert agreement["sqnr_db"] > (60 if precision == "fp32" else 40)
    assert result.json["data"] == "digits"
    recorded = load(path).agreement
    assert recorded is not None
    assert recorded.sqnr_db == pytest.approx(agreement["sqnr_db"], abs=1)


def test_verify_says_it_in_words_as_well(
    artifacts: Artifacts, run: CommandLine, trained_run: Path
) -> None:
    result = run("verify", artifacts["onnx", "fp32"], "--against", trained_run)
    assert result.code == 0
    assert result.out.splitlines()[-1] == "passed"
    assert "256 images (digits)" in result.out


@pytest.mark.parametrize("target", TARGETS)
def test_describe_shows_network_and_contract_of_an_artifact(
    target: str, artifacts: Artifacts, run: CommandLine, trained_run: Path
) -> None:
    path = artifacts[target, "fp32"]
    network, exported = run("describe", trained_run, "--json"), run("describe", path, "--json")
    assert exported.json["schema"] == "edgekit.describe/1"
    for key in ("name", "params", "macs", "layers"):
        assert exported.json[key] == network.json[key]
    assert exported.json["artifact"]["target"] == target
    assert exported.json["artifact"]["sha256"] == load(path).sha256
    text = run("describe", path).out
    assert target in text
    assert f"{network.json['params']:,} parameters" in text


def test_describe_gives_the_published_size(run: CommandLine) -> None:
    result = run("describe", "mobilenetv2", "--json")
    assert (result.code, result.err) == (0, "")
    assert set(result.json) >= {"schema", "name", "params", "macs", "layers"}
    assert result.json["params"] == 3_504_872  # of torchvision's weights, which are the paper's
    layers = result.json["layers"]
    assert all(set(x) >= {"name", "op", "output_shape", "params", "macs"} for x in layers)
    assert sum(layer["params"] for layer in layers) == result.json["params"]
    assert sum(layer["macs"] for layer in layers) == result.json["macs"]
    text = run("describe", "mobilenetv2", "--resolution", "96").out
    assert "mobilenetv2 at 96 px: 3,504,872 parameters" in text


def test_describe_takes_networks_of_ones_own(
    run: CommandLine, module: Callable[[str], str]
) -> None:
    name = module("net = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Flatten(1), nn.Linear(5 * 64, 3))\n")
    result = run("describe", f"{name}:net", "--resolution", "8", "--json")
    assert result.code == 0
    assert result.json["params"] == 3 * 5 + 5 + 320 * 3 + 3
    assert result.json["macs"] == 64 * 15 + 960


def test_train_reports_what_it_wrote(run: CommandLine, tmp_path: Path) -> None:
    arguments = ("train", SMALL, "--data", "synthetic", "--epochs", "2", "--resolution", "32")
    result = run(*arguments, "-o", "run", "--json")
    assert result.code == 0
    document = result.json
    assert document["schema"] == "edgekit.train/1"
    assert set(document) >= {"model", "run", "checkpoint", "epochs", "top1", "top5", "seconds"}
    assert (document["model"], document["run"], document["epochs"]) == (SMALL, "run", 2)
    assert document["checkpoint"] == "run/model.pt"
    assert 0 <= document["top1"] <= 1
    assert document["top5"] is None  # of four classes
    names = {"model.pt", "metrics.jsonl", "curves.png", "confusions.png", "options.json"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    assert [one["label"] for one in document["classes"]] == [
        "circle",
        "cross",
        "square",
        "triangle",
    ]
    assert sum(one["n"] for one in document["classes"]) == document["n"] == 16
    for text in ("4 classes, images:", "the smallest class", "16 test images are few", "epoch   2"):
        assert text in result.err
    assert "next:" not in result.err  # of use to people only
    again = run(*arguments, "-o", "run", "--resume")
    assert again.code == 0
    assert re.search(rf"{SMALL}: top-1 [\d.]+ % on 16 test images", again.out)
    assert "epoch" not in again.err


def test_train_without_a_folder_makes_one(run: CommandLine, tmp_path: Path) -> None:
    result = run("train", "MobileNet_V1@0.25", "--data", "synthetic", "--epochs", "1", "--json")
    assert result.code == 0
    assert (tmp_path / result.json["run"] / "model.pt").is_file()
    assert result.json["run"] == "runs/mobilenetv1@0.25-synthetic"


def test_export_reports_what_it_wrote(run: CommandLine, tmp_path: Path, trained_run: Path) -> None:
    result = run(
        "export", trained_run, "-t", "openvino,onnx", "-p", "fp32,fp16", "-o", "out", "--json"
    )
    assert (result.code, result.err) == (0, "")
    document = result.json
    assert document["schema"] == "edgekit.export/1"
    entries = document["artifacts"]
    found = [(entry["target"], entry["precision"]) for entry in entries]
    assert found == [(t, p) for t in ("openvino", "onnx") for p in ("fp32", "fp16")]
    for entry in entries:
        path = tmp_path / entry["path"]
        assert set(entry) >= EXPORT_ENTRY
        assert set(entry["agreement"]) >= AGREEMENT
        assert entry["agreement"]["passed"] is True
        assert entry["verified_on"] == "digits"
        assert entry["contract"] == str(contract_path(Path(entry["path"])))
        files = registry.target(entry["target"]).files(path)
        assert entry["size_bytes"] == sum(file.stat().st_size for file in files)
        assert entry["sha256"] == digest(files) == load(path).sha256
        assert entry["lowerings"] == ["fold-batchnorm"]
        assert load(path).trained
        assert load(path).labels == tuple("0123456789")
    assert not list((tmp_path / "out").glob(".*"))


def test_export_says_it_in_words_as_well(run: CommandLine, trained_run: Path) -> None:
    result = run("export", trained_run / "model.pt", "-t", "onnx")
    assert result.code == 0
    assert re.fullmatch(r"next: edgekit evaluate \S+-fp32\.onnx\n", result.err)
    assert "mobilenetv3-small-fp32.onnx" in result.out
    assert "dB" in result.out


def test_export_to_tflite_from_an_empty_folder_in_a_process_of_its_own(
    cli: CommandLine, tmp_path: Path
) -> None:
    result = cli("export", SMALL, "--target", "tflite", "--resolution", "32", "--json")
    assert result.code == 0, result.err
    # What the converter prints reaches neither stream.
    assert [line.split(":")[0] for line in result.err.splitlines()] == ["warning"]
    (entry,) = result.json["artifacts"]
    names = {entry["path"], entry["contract"]}
    assert names == {f"{SMALL}-fp32.tflite", f"{SMALL}-fp32.tflite.json"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_artifacts_can_be_moved(
    artifacts: Artifacts, run: CommandLine, png: Png, tmp_path: Path
) -> None:
    path = artifacts["openvino", "fp32"]
    (tmp_path / "elsewhere").mkdir()
    for file in (path, path.with_suffix(".bin"), contract_path(path)):
        shutil.copy(file, tmp_path / "elsewhere")
    assert run("predict", f"elsewhere/{path.name}", png()).code == 0


def test_threads_change_no_result(artifacts: Artifacts, run: CommandLine, png: Png) -> None:
    path, image = artifacts["onnx", "fp32"], png()
    one = run("predict", path, image, "--json", "--threads", "1").json
    two = run("predict", path, image, "--json", "--threads", "2").json
    assert [label["index"] for label in one["predictions"][0]["labels"]] == [
        label["index"] for label in two["predictions"][0]["labels"]
    ]


def test_weights_beside_a_name_are_those_of_the_run(run: CommandLine) -> None:
    name, data = "mobilenetv1@0.25", ("--data", "digits", "--resolution", "32")
    assert run("train", name, *data, "--epochs", "1", "-o", "run").code == 0
    named = run("evaluate", name, "--weights", "run", *data, "--json")
    assert named.code == 0
    assert named.json["n"] == 269
    assert named.json["top1"] == run("evaluate", "run", "--data", "digits", "--json").json["top1"]


def test_doctor_finds_that_all_targets_work(run: CommandLine) -> None:
    result = run("doctor", "--json")
    assert result.code == 0, result.err
    assert result.json["schema"] == "edgekit.doctor/1"
    works = {check["name"]: check["works"] for check in result.json["checks"]}
    assert all(works[f"target {target}"] for target in TARGETS)
    assert works["PyTorch"]


FAILING = {
    "train": ["train", "nonsense"],
    "export": ["export", "nonsense", "-t", "onnx"],
    "evaluate": ["evaluate", "nonsense", "--data", "digits"],
    "predict": ["predict", "missing.onnx", "missing.png"],
    "verify": ["verify", "missing.onnx", "--against", "mobilenetv1"],
    "describe": ["describe", "missing.pt"],
    "list": ["list", "nonsense"],
    "doctor": ["doctor", "--nonsense"],
    "demo": ["demo", "--epochs", "0"],
}


@pytest.mark.parametrize("command", FAILING)
def test_an_error_is_one_document_with_json_and_one_message_without(
    command: str, run: CommandLine
) -> None:
    text, document = run(*FAILING[command]), run(*FAILING[command], "--json")
    assert text.code == document.code
    assert text.code == (3 if "missing" in str(FAILING[command]) else 2)
    assert text.out == ""
    assert text.message == document.message
    assert set(document.json) == {"schema", "error"}
    assert document.json["schema"] == "edgekit.error/1"
    error = document.json["error"]
    assert set(error) == {"type", "message", "exit_code"}
    assert error["exit_code"] == document.code
    assert error["message"] == document.message


@pytest.mark.parametrize("command", [name for name in FAILING if name not in ("doctor", "list")])
def test_a_traceback_is_shown_on_demand_only(command: str, run: CommandLine) -> None:
    assert "Traceback" not in run(*FAILING[command]).err
    shown = run(*FAILING[command], "-v")
    assert "Traceback (most recent call last)" in shown.err
    assert "error: " in shown.err.splitlines()[-1]
    assert shown.out == ""


@pytest.mark.parametrize("name", ["model.pt", "state.pt"])
def test_a_second_demo_names_only_what_it_can_do(
    name: str, run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "demo" / "run").mkdir(parents=True)
    (tmp_path / "demo" / "run" / name).write_text("precious")
    result = run("demo", "-o", "demo")
    assert (result.code, result.out) == (3, "")
    assert result.message == (
        "demo holds an earlier demo: give --overwrite to replace it, or another folder with -o"
    )
    assert (tmp_path / "demo" / "run" / name).read_text() == "precious"


@pytest.mark.slow
def test_the_demo_goes_all_the_way(cli: CommandLine, tmp_path: Path) -> None:
    result = cli("demo", "--epochs", "2", "-o", "demo", timeout=600)
    assert result.code == 0, result.err
    for words in (*TARGETS, "PyTorch", "stock fp32", "Take demo/", "edgekit app demo/"):
        assert words in result.out
    for precision in PRECISIONS:
        for target in TARGETS:
            suffix = registry.target(target).suffix
            assert load(tmp_path / f"demo/mobilenetv3-small-{precision}{suffix}").trained
    assert (tmp_path / "demo" / "digit.png").is_file()
    assert (tmp_path / "demo" / "run" / "curves.png").is_file()
    again = cli("demo", "--epochs", "2", "-o", "demo")
    assert again.code == 3
    assert "--overwrite" in again.message


def test_predictions_are_drawn_on_images(
    artifacts: Artifacts, run: CommandLine, png: Png, tmp_path: Path
) -> None:
    path, image = artifacts["onnx", "fp32"], png()
    out = tmp_path / "drawn"
    result = run("predict", path, image, image, "-o", out, "--top", "2")
    assert result.code == 0
    names = [image.stem, f"{image.stem}-2"]
    assert {one.name for one in out.iterdir()} == {f"{name}.png" for name in names}
    with Image.open(out / f"{image.stem}.png") as drawn, Image.open(image) as given:
        assert drawn.height > given.height
    again = run("predict", path, image, "-o", out)
    assert again.code == 3
    assert "exists already: give --overwrite" in again.message
    assert run("predict", path, image, "-o", out, "--overwrite").code == 0
    alone = run("predict", path, image, "--overwrite")
    assert alone.code == 2
    assert "--overwrite goes with -o DIR" in alone.message


def test_evaluate_names_the_figure_that_counts(artifacts: Artifacts, run: CommandLine) -> None:
    found = run("evaluate", artifacts["onnx", "fp32"], "--data", "digits", "--json").json
    assert found["task"] == "classify"
    headline = found["headline"]
    assert (headline["name"], headline["value"]) == ("top1", found["top1"])
    low, high = headline["ci95"]
    assert low < found["top1"] < high
