"""Apps in Python: NumPy, Pillow and the runtime, a module and a command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import edgekit
from edgekit.apps import template
from edgekit.apps.app import App
from edgekit.core import CLASSIFY
from edgekit.core.reading import read_text

_TEMPLATE = Path(__file__).parent / "template"
_RUNTIMES, _COMMON, _OUTPUTS = "runtimes", "package", "outputs"
"""Folders of the template: a file for each target, what each app's package has, and the test of
outputs that are no scores of classes. Beside them is one for each task."""

_ABOUT = "about.json"

_OF_EDGEKIT = {
    "from edgekit.boxes.": "from .",
    "from edgekit.core import IGNORE": "IGNORE = 255",
    "from edgekit.core import Pixels": "Pixels = Any",
}
"""What stands in edgekit's own files that apps have a copy of, and what stands there instead."""

_PACKAGE = re.compile(r'^PACKAGE = "([a-z0-9-]+)"$', re.MULTILINE)
"""In a runtime's file: the distribution that it needs."""


class Python:
    """See `edgekit.apps.app.Platform`."""

    name = "python"
    runs = ("python -m pip install -r requirements.txt", "python -m {package} IMAGE")
    tests = ("python -m pip install pytest", "python -m pytest")
    page = False

    def why_not(self, app: App) -> str | None:
        """It runs the files of targets for which there is a file in ``template/runtimes``."""
        if _runtime(app).is_file():
            return None
        known = sorted(path.stem for path in (_TEMPLATE / _RUNTIMES).glob("*.py"))
        return f"it runs files of the targets {', '.join(known)}: export one of these"

    def incomplete(self, folder: Path) -> str | None:
        """Nothing is to be done for a page that there is not."""
        return None

    def write(self, app: App, folder: Path) -> None:
        """Writes the module with model and contract, its test, and a README."""
        source = read_text(_runtime(app))
        runtime = _PACKAGE.search(source)
        assert runtime is not None
        lines, sizes = [], []
        packages = ("numpy", "pillow", runtime[1])
        for name in packages:
            version, size = template.installed(name)
            lines.append(f"{name}=={version}")
            sizes.append(f"| {name} {version} | {template.mb(size)} |")
        (folder / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        task = app.contract.task
        about = json.loads(read_text(_TEMPLATE / task / _ABOUT))
        code = folder / about["package"]
        app.write_model(code / "model")
        app.write_golden(folder / "golden")
        model = template.bytes_of([code / "model"])
        sizes.insert(0, f"| model and contract | {template.mb(model)} |")
        texts = {
            **template.texts(app),
            "ships": "\n".join(["| what | size |", "|---|---|", *sizes]),
            "python": template.needed_python(packages),
            **{name: about[name] for name in ("title", "package", "network", "usage", "command")},
            "rows": "\n".join(about["rows"]),
        }
        own = [path.name for path in _TEMPLATE.iterdir() if path.name != "tests" and path.is_dir()]
        template.copy(_TEMPLATE, folder, texts, leave=own)
        template.copy(_TEMPLATE / _COMMON, code, texts)
        results = "test_results.py"
        template.copy(_TEMPLATE / task, code, texts, leave=[_ABOUT, results])
        tests = [_TEMPLATE / task / results]
        if task != CLASSIFY:
            tests += (_TEMPLATE / _OUTPUTS).glob("*.py")
        for file in tests:
            (folder / "tests" / file.name).write_text(read_text(file), encoding="utf-8")
        for name in about["shares"]:
            (code / Path(name).name).write_text(_shared(name), encoding="utf-8")
        (code / "runtime.py").write_text(source, encoding="utf-8")
        made = (
            "# What the tests are of. Written by `edgekit app`.\n"
            f"from {about['package']} import ImageError  # noqa: F401\n"
            f"from {about['package']} import {about['network']} as Network  # noqa: F401\n"
        )
        (folder / "tests" / "made.py").write_text(made, encoding="utf-8")


def _shared(name: str) -> str:
    """A file of edgekit's own that apps have a copy of.

    Args:
        name: its place in the package.
    """
    text = read_text(Path(edgekit.__file__).parent / name)
    for own, other in _OF_EDGEKIT.items():
        text = text.replace(own, other)
    assert "import edgekit" not in text
    assert "from edgekit" not in text
    return text


def _runtime(app: App) -> Path:
    return _TEMPLATE / _RUNTIMES / f"{app.target.name}.py"


PLATFORM = Python()
