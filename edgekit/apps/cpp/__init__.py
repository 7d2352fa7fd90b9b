"""Apps in C++: a CMake project around the runtime's library, for Linux on x86-64 and arm64."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

from edgekit.apps import template
from edgekit.apps.app import App
from edgekit.apps.cpp import literals
from edgekit.apps.expected import vectors
from edgekit.core.reading import read_text

TEMPLATE = Path(__file__).parent / "template"
"""Files of every app; other platforms have some of them, too."""

_RUNTIMES = "runtimes"
_IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
"""How image files begin that the app decodes."""


class Cpp:
    """See `edgekit.apps.app.Platform`."""

    name = "cpp"
    runs = ("cmake -S . -B build", "cmake --build build", "build/classify IMAGE")
    tests = ("ctest --test-dir build",)
    page = False

    def why_not(self, app: App) -> str | None:
        """It runs files of targets for which there is a folder in ``template/runtimes``, whose
        input and output are of types that the app has, on images that it decodes.
        """
        if not _runtime(app).is_dir():
            known = sorted(path.name for path in (TEMPLATE / _RUNTIMES).iterdir())
            return f"it runs files of the targets {', '.join(known)}: export one of these"
        for what, spec in (("input", app.contract.inputs[0]), ("output", app.contract.outputs[0])):
            if spec.dtype not in literals.TYPES:
                return (
                    f"it takes {', '.join(literals.TYPES)}, and its {what} is of {spec.dtype}: "
                    f"export a file of one of these"
                )
        for each in app.golden:
            if not each.picture.content.startswith(_IMAGES):
                return f"it decodes PNG and JPEG files, and {each.picture.file} is none: convert it"
        return None

    def incomplete(self, folder: Path) -> str | None:
        """Nothing is to be done for a page that there is not."""
        return None

    def write(self, app: App, folder: Path) -> None:
        """Writes the project with model and contract, its tests, and a README."""
        about = _about(app)
        app.write_model(folder / "classifier" / "model")
        app.write_golden(folder / "golden")
        rows = (
            ("model and contract", template.bytes_of([folder / "classifier" / "model"])),
            (_version(about), _library_bytes(about)),
        )
        sizes = [f"| {what} | {template.mb(size)} |" for what, size in rows]
        texts = {
            **template.texts(app),
            "ships": "\n".join(["| what | size |", "|---|---|", *sizes]),
            "package": about["package"],
            "module": about["module"],
            "libraries": ", ".join(f"`{Path(each).name}`" for each in about["libraries"]),
        }
        template.copy(TEMPLATE, folder, texts, leave=[_RUNTIMES])
        code = folder / "classifier"
        for file in ("runtime.cc", "runtime.cmake"):
            (code / file).write_text(read_text(_runtime(app) / file), encoding="utf-8")
        size = template.bytes_of([code / "model" / app.path.name])
        entries = [each.entry() for each in app.golden]
        golden_code = literals.golden(entries, vectors(app.contract), app.processors() or ())
        for place, text in (
            (code / "model.cc", literals.model(app.contract, os.fsencode(app.path.name), size)),
            (folder / "golden" / "golden.cc", golden_code),
            (folder / ".gitignore", "/build*/\n"),
        ):
            place.write_text(text, encoding="utf-8")


def _runtime(app: App) -> Path:
    return TEMPLATE / _RUNTIMES / app.target.name


def _about(app: App) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_text(_runtime(app) / "runtime.json"))
    return found


def _version(about: dict[str, Any]) -> str:
    return f"{about['name']} {metadata.version(about['package'])}, its libraries"


def _library_bytes(about: dict[str, Any]) -> int:
    """Size of the libraries in the package that is installed here."""
    found = metadata.distribution(about["package"])
    wanted = [
        Path(str(found.locate_file(file)))
        for file in found.files or ()
        if any(file.match(pattern) for pattern in about["libraries"])
    ]
    return template.bytes_of(wanted)


PLATFORM = Cpp()
