"""Apps in Python: NumPy, Pillow and the runtime, a module and a command."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.apps import template
from edgekit.apps.app import App
from edgekit.core.reading import read_text

_TEMPLATE = Path(__file__).parent / "template"
_RUNTIMES = "runtimes"
_PACKAGE = re.compile(r'^PACKAGE = "([a-z0-9-]+)"$', re.MULTILINE)
"""In a runtime's file: the distribution that it needs."""


class Python:
    """See `edgekit.apps.app.Platform`."""

    name = "python"
    runs = ("python -m pip install -r requirements.txt", "python -m classifier IMAGE")
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
        app.write_model(folder / "classifier" / "model")
        app.write_golden(folder / "golden")
        model = template.bytes_of([folder / "classifier" / "model"])
        sizes.insert(0, f"| model and contract | {template.mb(model)} |")
        table = "\n".join(["| what | size |", "|---|---|", *sizes])
        texts = {**template.texts(app), "ships": table, "python": template.needed_python(packages)}
        template.copy(_TEMPLATE, folder, texts, leave=[_RUNTIMES])
        (folder / "classifier" / "runtime.py").write_text(source, encoding="utf-8")


def _runtime(app: App) -> Path:
    return _TEMPLATE / _RUNTIMES / f"{app.target.name}.py"


PLATFORM = Python()
