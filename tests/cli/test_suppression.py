"""``export --nms graph``: files of detectors that suppress boxes by themselves."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
import pytest
from _pytest.mark import ParameterSet
from command_line import CommandLine
from object_networks import CELL, SIDE, UNCHANGED, cells, scene
from PIL import Image
from small_artifacts import copy_artifact, filled, once, shared_folder

from edgekit import tables
from edgekit.contract import contract_path, contract_text, load
from edgekit.core import SUPPRESSED, Suppression

PRECISIONS = ("fp32", "fp16", "int8")
OWN = ("--task", "detect", "--resolution", str(SIDE), *UNCHANGED)
NETWORK = ("object_networks:Crowds", *OWN, "--labels", "names.txt")
NOISE = ("--seconds", "1", "--precision-goal", "50", "--energy", "off")

QUICK = {(target, "fp32") for target in tables.TARGETS} | {("tflite", "int8")}
"""Files that are looked at by default; the others have the mark ``slow``."""


def each(precisions: Sequence[str], quick: Set[tuple[str, str]] = QUICK) -> list[ParameterSet]:
    """Targets and precisions."""
    return [
        pytest.param(*key, marks=() if key in quick else pytest.mark.slow)
        for key in itertools.product(sorted(tables.TARGETS), precisions)
    ]


def pictures(folder: Path, count: int = 20) -> None:
    """Noise with bright cells, and where these are, as YOLO writes it."""
    rng = np.random.default_rng(0)
    for number in range(count):
        bright = {int(cell): int(rng.integers(2)) for cell in rng.choice(16, 3, replace=False)}
        noise = rng.integers(0, 200, (SIDE, SIDE, 3), np.uint8)
        image, label = (folder / kind / "val" for kind in ("images", "labels"))
        for place in (image, label):
            place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.maximum(noise, scene(bright))).save(image / f"{number}.png")
        lines = []
        for cell, colour in bright.items():
            x, y = (cells()[cell, :2] + CELL / 2) / SIDE
            lines.append(f"{colour} {x} {y} {CELL / SIDE} {CELL / SIDE}\n")
        (label / f"{number}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text("val: images/val\nnames: [red, green]\n")


class Files:
    """Files of `Crowds` by target, precision and ``--nms``, each exported when first asked for.

    Read-only, as the images beside them, ``data``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.data = folder, folder / "data"
        with once(self.data) as mine:
            if mine:
                with filled(self.data) as part:
                    pictures(part)

    def __getitem__(self, key: tuple[str, str, str]) -> Path:
        from edgekit.api.exports import export

        target, precision, nms = key
        folder = self._folder / "-".join(key)
        with once(folder) as mine:
            if mine:
                with filled(folder) as part:
                    export(
                        "object_networks:Crowds", target, precision, out=part, data=str(self.data),
                        calibration=str(self.data), calibration_images=20, nms=nms,
                        score_threshold=0.01, task="detect", size=SIDE, mean=0.0, std=1.0,
                        scale=1 / 255, resize="none", labels=("red", "green"),
                    )  # fmt: skip
        (contract,) = folder.glob("*.json")
        return contract.with_suffix("")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = shared_folder(tmp_path_factory) / "suppression"
    folder.mkdir(exist_ok=True)
    return Files(folder)


@pytest.mark.parametrize(("target", "precision"), each(PRECISIONS))
def test_a_file_finds_what_numpy_finds(
    run: CommandLine, files: Files, target: str, precision: str
) -> None:
    both = [files[target, precision, nms] for nms in ("graph", "decode")]
    contract = load(both[0])
    assert contract.suppression == Suppression(2, 0.01, 0.5, 100, 400)
    assert tuple(one.name for one in contract.outputs) == SUPPRESSED
    assert contract.agreement is not None
    assert {one.name for one in contract.agreement.outputs} >= {"boxes", "scores"}
    assert load(both[1]).suppression is None
    found = [run("predict", path, files.data / "images/val", "--json") for path in both]
    for one in found:
        assert one.code == 0, one.err
    for own, other in zip(*(one.json["predictions"] for one in found), strict=True):
        assert 5 < len(own["boxes"]) == len(other["boxes"]) < 90  # of 96 pairs
        for a, b in zip(own["boxes"], other["boxes"], strict=True):
            assert (a["index"], a["label"]) == (b["index"], b["label"])
            np.testing.assert_allclose(a["box"], b["box"], atol=1e-3)
            assert a["probability"] == pytest.approx(b["probability"], abs=1e-5)
    figures = [run("evaluate", path, "--data", files.data, "--json").json for path in both]
    assert figures[0]["map"] == pytest.approx(figures[1]["map"], abs=1e-9)
    assert figures[0]["map50"] > 0.2


@pytest.mark.parametrize(
    ("target", "precision"), each(("fp32", "int8"), QUICK - {("tflite", "fp32")})
)
def test_every_command_takes_such_a_file(
    run: CommandLine, files: Files, target: str, precision: str, brief_sessions: None
) -> None:
    path, plain = (files[target, precision, nms] for nms in ("graph", "decode"))
    words = ("verify", path, "--against", NETWORK[0], "--data", files.data)
    for more in ((), ("--embedded", "--per-layer")):
        checked = run(*words, *more, "--json")
        assert checked.code == 0, checked.err
        assert checked.json["objects"]["match"] == 1
        assert checked.json["objects"]["objects"] > 200
        judged = [one["name"] for one in checked.json["agreement"]["outputs"]]
        assert judged == ["boxes", "scores", "objects"]
    said = run(*words)
    assert "Suppression in the file leaves the same objects as NumPy's in 100.0%" in said.out
    profiled = run("profile", path, *NOISE, "--per-op", "--json")
    assert profiled.code == 0, profiled.err
    compared = run("compare", path, plain, "--seconds", 1, "--json")
    assert compared.code == 0, compared.err
    described = run("describe", path)
    assert described.code == 0, described.err
    assert "suppression" in described.out
    other = run("verify", path, "--against", "object_networks:Cells", *words[4:])
    assert other.code == 3, other.err
    assert f"{path} gives (1, 48, 4) and (1, 48, 2)" in other.message


def test_a_folder_of_them_goes_into_a_benchmark(
    run: CommandLine, files: Files, tmp_path: Path, brief_sessions: None
) -> None:
    (tmp_path / "some").mkdir()
    for target in tables.TARGETS:
        copy_artifact(files[target, "fp32", "graph"], tmp_path / "some")
    found = run("benchmark", "some", "--data", files.data, *NOISE[:2], "--json")
    assert found.code == 0, found.err
    rows = found.json["rows"]
    assert len(rows) == len(tables.TARGETS)
    assert all(row["rejected"] is None and 0 < row["headline"]["value"] < 1 for row in rows)


def test_what_comes_too_late_is_refused(run: CommandLine, files: Files) -> None:
    path, image = files["onnx", "fp32", "graph"], files.data / "images/val/0.png"
    refused = run("predict", path, image, "--nms-iou", "0.3")
    assert refused.code == 2
    assert refused.message.startswith(f"--nms-iou 0.3: suppression is part of {path}: export it")
    refused = run("predict", path, image, "--score-threshold", "0.001")
    assert refused.code == 2
    assert "the file leaves out objects below 0.01" in refused.message
    few = run("predict", path, image, "--score-threshold", "0.9", "--nms-iou", "0.5", "--json")
    assert few.code == 0, few.err
    scores = [one["probability"] for one in few.json["predictions"][0]["boxes"]]
    assert scores
    assert min(scores) >= 0.9


def test_contracts_of_other_suppressions_are_refused(
    run: CommandLine, files: Files, tmp_path: Path
) -> None:
    path = copy_artifact(files["tflite", "fp32", "graph"], tmp_path)
    good = load(path)
    assert good.suppression is not None
    changed = dataclasses.replace
    for about, told in (
        (changed(good.suppression, max_detections=50), "expected detect with boxes, scores"),
        (changed(good.suppression, nms_iou=1.5), "expected shares from 0 to 1"),
        (changed(good.suppression, classes=0), "counts from 1 on"),
    ):
        contract_path(path).write_text(contract_text(changed(good, suppression=about)))
        refused = run("predict", path, "a.png")
        assert refused.code == 3
        assert told in refused.message, refused.message
    # One that says nothing of it does not go with the file, which has other outputs.
    contract_path(path).write_text(contract_text(changed(good, suppression=None)))
    assert run("predict", path, "a.png").code == 3
    plain = copy_artifact(files["tflite", "fp32", "decode"], tmp_path)
    text = json.loads(contract_path(plain).read_text())
    assert "suppression" not in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mobilenetv1@0.25", "--resolution", "32"), "--nms graph goes with networks of the task"),
        (("object_networks:Likeness", *OWN[2:], "--task", "embed"), "is of the task embed"),
        ((*NETWORK, "--precision", "int8", "--io", "int8"), "with --io int8"),
        ((*NETWORK, "-t", "onnx", "--dynamic", "batch"), "with --dynamic batch"),
        ((*NETWORK, "--score-threshold", "1.5"), "1.5"),
        ((*NETWORK, "--nms-iou", "-0.1"), "-0.1"),
        ((*NETWORK, "--max-detections", "0"), "0"),
    ],
)
def test_what_cannot_be_is_refused(run: CommandLine, words: tuple[str, ...], told: str) -> None:
    Path("names.txt").write_text("red\ngreen\n")
    target = () if "-t" in words else ("-t", "tflite")
    refused = run("export", *words, *target, "--nms", "graph")
    assert refused.code == 2, refused.err
    assert told in refused.message
    assert not list(Path().glob("*.tflite*"))


def test_thresholds_are_kept_without_suppression(run: CommandLine) -> None:
    refused = run("export", "mobilenetv1@0.25", "-t", "onnx", "--nms-iou", "0.4")
    assert refused.code == 2
    assert refused.message.startswith("--nms-iou goes with networks of the task detect")
    Path("names.txt").write_text("red\ngreen\n")
    words = ("export", *NETWORK, "-t", "onnx", "--nms-iou", "0.4", "--max-detections", "3")
    (entry,) = run(*words, "--json").json["artifacts"]
    assert load(Path(entry["path"])).parameters == {"nms_iou": 0.4, "max_detections": 3}


def test_outputs_may_stand_in_any_order(run: CommandLine, tmp_path: Path) -> None:
    from edgekit.models.source import open_model
    from edgekit.verification.artifact import verify

    Path("names.txt").write_text("red\ngreen\n")
    network = "object_networks:Turned"
    found = run("export", network, *NETWORK[1:], "-t", "onnx", "--nms", "graph", "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["artifacts"]
    for against in (network, open_model(network, resolution=SIDE, task="detect")):
        assert verify(tmp_path / entry["path"], against).passed


def test_nothing_to_compare_is_said(run: CommandLine) -> None:
    Path("names.txt").write_text("red\ngreen\n")
    found = run("export", *NETWORK, "-t", "tflite", "--nms", "graph", "--score-threshold", "1")
    assert found.code == 0, found.err
    assert "Suppression in the file could not be compared" in " ".join(found.err.split())
