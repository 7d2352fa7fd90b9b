"""Apps for Android: a Gradle project in Kotlin around the runtime's library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.apps import template
from edgekit.apps.app import App
from edgekit.core.reading import read_text

_TEMPLATE = Path(__file__).parent / "template"
_RUNTIMES = "runtimes"
_ABOUT = "runtime.json"
_TYPES = ("float32", "uint8", "int8")
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""How image files begin that a phone and a Java both decode."""


class Android:
    """See `edgekit.apps.app.Platform`."""

    name = "android"
    runs = ("gradle :app:installDebug",)
    tests = ("gradle :classifier:test", "gradle :app:connectedDebugAndroidTest")
    page = False

    def why_not(self, app: App) -> str | None:
        """It runs files of targets for which there is a folder in ``template/runtimes``, whose
        input and output are of types that the app has, on images that its tests decode.
        """
        if not _runtime(app).is_dir():
            known = sorted(path.name for path in (_TEMPLATE / _RUNTIMES).iterdir())
            return f"it runs files of the targets {', '.join(known)}: export one of these"
        for what, spec in (("input", app.contract.inputs[0]), ("output", app.contract.outputs[0])):
            if spec.dtype not in _TYPES:
                return (
                    f"it takes {', '.join(_TYPES)}, and its {what} is of {spec.dtype}: "
                    f"export a file of one of these"
                )
        for each in app.golden:
            if not each.picture.content.startswith(_IMAGES):
                return f"its tests decode PNG and JPEG files, and {each.picture.file} is none"
        return None

    def incomplete(self, folder: Path) -> str | None:
        """Nothing is to be done for a page that there is not."""
        return None

    def write(self, app: App, folder: Path) -> None:
        """Writes the project with model and contract, its tests, and a README."""
        about: dict[str, Any] = json.loads(read_text(_runtime(app) / _ABOUT))
        model = folder / "app" / "src" / "main" / "assets" / "model"
        app.write_model(model)
        app.write_golden(folder / "app" / "src" / "androidTest" / "assets" / "golden")
        on_this_machine = about["runtimeOfThisMachine"]
        texts = {
            **template.texts(app),
            "ships": template.mb(template.bytes_of([model])),
            "runtime_name": about["name"],
            "package": about["runtimeOfPhones"],
            "place": about["place"],
            "scores_here": "the runtime, or the model, on this machine"
            if on_this_machine
            else f"none: there is no {about['name']} for Java on this machine",
        }
        template.copy(_TEMPLATE, folder, texts, leave=[_RUNTIMES])
        template.copy(_runtime(app), folder, texts, leave=[_ABOUT])
        for name, text in (
            ("gradle.properties", _properties(about)),
            (".gitignore", ".gradle/\nbuild/\nlocal.properties\n"),
        ):
            (folder / name).write_text(text, encoding="utf-8")


def _runtime(app: App) -> Path:
    return _TEMPLATE / _RUNTIMES / app.target.name


def _properties(about: dict[str, Any]) -> str:
    names = ("runtimeOfPhones", "runtimeOfThisMachine")
    told = [f"{name}={about[name]}" for name in names if about[name] is not None]
    return "\n".join(["android.useAndroidX=true", *told]) + "\n"


PLATFORM = Android()
