"""Apps for browsers: a page of plain files around the runtime's WebAssembly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.apps import template
from edgekit.apps.app import App
from edgekit.core.reading import read_text

_TEMPLATE = Path(__file__).parent / "template"
_RUNTIMES, _TASKS = "runtimes", "tasks"
_PLACES = {"shown.js": "", "results.test.mjs": "tests"}
"""Where files of a task go that are not of its network."""

_TEXTS = {
    "classify": {
        "title": "What an image shows",
        "usage": "for (const label of await network.classify(file)) {\n"
        "  console.log(label.name, label.probability);\n}",
        "results": "`labels`, `vectors of scores`",
    },
    "detect": {
        "title": "Which objects are where in an image",
        "usage": "for (const found of await network.detect(file)) {\n"
        "  console.log(found.name, found.probability, found.box); // in pixels of the image\n}",
        "results": "`objects`",
    },
    "segment": {
        "title": "What each pixel of an image shows",
        "usage": "const { mask, classes } = await network.segment(file);\n"
        "for (const area of classes) console.log(area.name, area.share);",
        "results": "`masks`",
    },
}
"""What the README says of each task."""

_NODE_TESTS = "node --test tests/golden.test.mjs tests/results.test.mjs"
_BROWSER_TESTS = {"playwright-core": "1.65.1"}


class Web:
    """See `edgekit.apps.app.Platform`."""

    name = "web"
    runs = ("npm install", "npm run vendor", "npm start")
    tests = ("npm test",)
    page = True

    def why_not(self, app: App) -> str | None:
        """It runs files of targets for which there is a folder in ``template/runtimes``, whose
        inputs are of the types that the runtime takes.
        """
        if not _runtime(app).is_dir():
            known = sorted(path.name for path in (_TEMPLATE / _RUNTIMES).iterdir())
            return f"it runs files of the targets {', '.join(known)}: export one of these"
        about = _about(app)
        dtype = app.contract.inputs[0].dtype
        if dtype in about["inputs"]:
            return None
        return (
            f"{about['name']} takes inputs of {', '.join(about['inputs'])}, and this one is of "
            f"{dtype}: export it without --io int8"
        )

    def incomplete(self, folder: Path) -> str | None:
        """The runtime comes from npm."""
        if (folder / "classifier" / "vendor" / "versions.json").is_file():
            return None
        return f"type '{self.runs[0]}' and '{self.runs[1]}' in {folder} to get the runtime"

    def write(self, app: App, folder: Path) -> None:
        """Writes the page with model and contract, its tests, and a README."""
        about = _about(app)
        model = folder / "classifier" / "model"
        app.write_model(model)
        (model / "files.js").write_text(_files(app), encoding="utf-8")
        app.write_golden(folder / "golden")
        page = [path for path in _TEMPLATE.glob("*.*") if path.suffix in (".html", ".css", ".js")]
        page += (_TEMPLATE / "classifier").glob("*.js")
        page += (_TEMPLATE / _TASKS / app.contract.task).glob("*.js")
        rows = (
            ("model and contract", template.bytes_of([model])),
            ("the page", template.bytes_of([*page, _runtime(app) / "runtime.js"])),
        )
        sizes = [f"| {what} | {template.mb(size)} |" for what, size in rows]
        table = "\n".join(["| what | size |", "|---|---|", *sizes])
        texts = {
            **template.texts(app),
            **_TEXTS[app.contract.task],
            "ships": table,
            "runtime_name": about["name"],
        }
        template.copy(_TEMPLATE, folder, texts, leave=[_RUNTIMES, _TASKS])
        for own in (_TEMPLATE / _TASKS / app.contract.task).iterdir():
            made = folder / _PLACES.get(own.name, "classifier") / own.name
            made.write_text(read_text(own), encoding="utf-8")
        for file, place in (("runtime.js", folder / "classifier"), ("runtime.json", folder)):
            text = read_text(_runtime(app) / file)
            (place / file).write_text(text, encoding="utf-8")
        (folder / "package.json").write_text(_package(about), encoding="utf-8")
        (folder / ".gitignore").write_text("node_modules/\n", encoding="utf-8")


def _runtime(app: App) -> Path:
    return _TEMPLATE / _RUNTIMES / app.target.name


def _about(app: App) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_text(_runtime(app) / "runtime.json"))
    return found


def _files(app: App) -> str:
    """Names of files, for a page that cannot look into folders."""
    beside = [file.relative_to(app.path.parent).as_posix() for file in app.files()[1:]]
    return (
        "// The model, whose contract has its name with .json behind it, and other files that it\n"
        "// is stored in.\n"
        f"export const MODEL = {json.dumps(app.path.name)};\n"
        f"export const EXTERNAL = {json.dumps(beside)};\n"
    )


def _package(about: dict[str, Any]) -> str:
    package = {
        "name": "classifier",
        "version": "1.0.0",
        "private": True,
        "type": "module",
        "scripts": {
            "vendor": "node vendor.mjs",
            "start": "node serve.mjs",
            "test": f"{_NODE_TESTS} tests/browser.test.mjs",
            "test:images": _NODE_TESTS,
        },
        "dependencies": about["packages"],
        "devDependencies": _BROWSER_TESTS,
    }
    return json.dumps(package, indent=2) + "\n"


PLATFORM = Web()
