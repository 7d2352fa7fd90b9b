"""What apps for phones refuse, and what is in their folders, by what they run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts

from edgekit import apps
from edgekit.apps.app import open_app
from edgekit.tables import APPS


@pytest.mark.parametrize("platform", ["android", "ios"])
def test_what_a_phone_cannot_run_is_refused(
    platform: str, artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    path = artifacts["openvino", "fp32"]
    done = run("app", path, "--platform", platform, "-o", "made")
    assert done.code == 2
    assert done.message == (
        f"{path} cannot be in an app for {platform}: it runs files of the targets onnx, tflite: "
        f"export one of these"
    )
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("platform", "target", "dtype", "said"),
    [
        ("android", "tflite", "int8", None),
        ("android", "tflite", "int32", "it takes float32, uint8, int8, and its input is of int32"),
        ("ios", "onnx", "int8", None),
        ("ios", "tflite", "uint8", None),
        ("ios", "tflite", "int8", "of int8: export it without --io int8"),
    ],
)
def test_types_that_a_runtime_lacks_are_refused(
    platform: str, target: str, dtype: str, said: str | None, artifacts: Artifacts
) -> None:
    app = open_app(artifacts[target, "fp32"])
    (spec,) = app.contract.inputs
    contract = dataclasses.replace(app.contract, inputs=(dataclasses.replace(spec, dtype=dtype),))
    found = APPS.load(platform).why_not(dataclasses.replace(app, contract=contract))
    assert (found is None) == (said is None)
    assert said is None or said in found


def test_images_that_java_does_not_decode_are_refused(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    Image.new("RGB", (50, 50)).save(tmp_path / "own.webp")
    path = artifacts["tflite", "fp32"]
    done = run("app", path, "--platform", "android", "-o", "made", "--image", "own.webp")
    assert done.code == 2
    assert done.message.endswith("its tests decode PNG and JPEG files, and own.webp is none")


@pytest.mark.parametrize(
    ("platform", "target", "place", "other"),
    [
        ("android", "tflite", "app/src/main/kotlin/classifier/ModelRuntime.kt",
         "classifier/src/main/kotlin/classifier/ModelRuntime.kt"),
        ("android", "onnx", "classifier/src/main/kotlin/classifier/ModelRuntime.kt",
         "app/src/main/kotlin/classifier/ModelRuntime.kt"),
        ("ios", "tflite", "App/ModelRuntime.swift", "Sources/ClassifierRuntime"),
        ("ios", "onnx", "Sources/ClassifierRuntime/ModelRuntime.swift", "Podfile"),
    ],
)  # fmt: skip
def test_an_app_has_the_runtime_of_its_file_and_no_other(
    platform: str,
    target: str,
    place: str,
    other: str,
    artifacts: Artifacts,
    copied: Callable[[Path], Path],
    run: CommandLine,
    tmp_path: Path,
) -> None:
    path = copied(artifacts[target, "fp32"])
    assert run("app", path, "--platform", platform, "-o", "made").code == 0
    folder = tmp_path / "made"
    assert (folder / place).is_file()
    assert not (folder / other).exists()
    assert not list(folder.rglob("runtime.json"))
    assert Path(place).name in (folder / "README.md").read_text() or "Sources" in place


NEEDED_GRADLE = {"9.1.0": "9.3.1"}
"""Least version of Gradle by that of Android's plugin: release notes of the plugin, March 2026."""


def test_documents_ask_for_the_gradle_that_the_plugin_needs() -> None:
    template = Path(apps.__file__).parent / "android" / "template"
    script = (template / "build.gradle.kts").read_text()
    plugin = re.search(r'"com.android.application"\) version "([\d.]+)"', script)
    assert plugin is not None
    for file in (template / "README.md", Path(__file__).parents[2] / "docs" / "apps.md"):
        text = " ".join(file.read_text().split())
        assert re.findall(r"Gradle (\d+[\d.]*\d)", text) == [NEEDED_GRADLE[plugin[1]]], file
        assert f"the plugin {plugin[1]} for Android" in text
