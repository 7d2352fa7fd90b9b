"""Apps for iOS: a Swift package, and sources of an app around it. Text only: nobody compiled it."""

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


class Ios:
    """See `edgekit.apps.app.Platform`."""

    name = "ios"
    runs = ("open Package.swift",)
    tests = ("swift test",)
    page = False

    def why_not(self, app: App) -> str | None:
        """It runs files of targets for which there is a folder in ``template/runtimes``, whose
        input and output are of types that the runtime's library for Swift has.
        """
        if not _runtime(app).is_dir():
            known = sorted(path.name for path in (_TEMPLATE / _RUNTIMES).iterdir())
            return f"it runs files of the targets {', '.join(known)}: export one of these"
        about = _about(app)
        for what, spec in (("input", app.contract.inputs[0]), ("output", app.contract.outputs[0])):
            if spec.dtype not in about["types"]:
                to_do = about["lacks"] or "export a file of one of these"
                return (
                    f"{about['name']} for Swift takes {', '.join(about['types'])}, and its {what} "
                    f"is of {spec.dtype}: {to_do}"
                )
        return None

    def incomplete(self, folder: Path) -> str | None:
        """Nothing is to be done for a page that there is not."""
        return None

    def write(self, app: App, folder: Path) -> None:
        """Writes the package with model and contract, its tests, an app's sources, and a README."""
        about = _about(app)
        model = folder / "Sources" / "ImageClassifier" / "model"
        app.write_model(model)
        app.write_golden(folder / "Tests" / "Golden" / "golden")
        texts = {
            **template.texts(app),
            "ships": template.mb(template.bytes_of([model])),
            "runtime_name": about["name"],
            **{name: about[name] for name in ("from", "products", "place", "step", "scores")},
        }
        template.copy(_TEMPLATE, folder, texts, leave=[_RUNTIMES])
        template.copy(_runtime(app), folder, texts, leave=[_ABOUT])
        (folder / ".gitignore").write_text(".build/\n.swiftpm/\nPods/\n", encoding="utf-8")


def _runtime(app: App) -> Path:
    return _TEMPLATE / _RUNTIMES / app.target.name


def _about(app: App) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_text(_runtime(app) / _ABOUT))
    return found


PLATFORM = Ios()
