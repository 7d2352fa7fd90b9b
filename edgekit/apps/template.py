"""Copies the files of a template, with texts filled in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from string import Template

from edgekit.apps.app import App
from edgekit.core.reading import read_bytes
from edgekit.measure.latency_text import in_markdown, latency_text

_LEAST_PYTHON = (3, 10)
"""What the sources of apps are written for."""

_FILLED = ".md"
"""Ending of files with ``$name`` in them; others are copied as they are."""


def copy(template: Path, folder: Path, texts: Mapping[str, str], leave: Sequence[str] = ()) -> None:
    """Copies a tree.

    Args:
        template: of the platform.
        texts: what stands for ``$name`` in files for people.
        leave: names of folders and files at its top that are not copied.
    """
    for file in sorted(template.rglob("*")):
        place = file.relative_to(template)
        if not file.is_file() or place.parts[0] in leave or "__pycache__" in place.parts:
            continue
        made = folder / place
        made.parent.mkdir(parents=True, exist_ok=True)
        content = read_bytes(file)
        if file.suffix == _FILLED:
            content = Template(content.decode("utf-8")).substitute(texts).encode("utf-8")
        made.write_bytes(content)


def texts(app: App) -> dict[str, str]:
    """What files for people say of the artifact."""
    contract = app.contract
    return {
        "model": app.path.name,
        "target": app.target.name,
        "precision": contract.scheme.precision,
        "runtime": app.target.runtime,
        "golden_about": _golden_about(app),
        "latency": _latency(app),
    }


def _golden_about(app: App) -> str:
    told = (
        f"`golden` has {len(app.golden)} images with the pixels and the scores that belong to "
        f"them, computed by `{app.path.name}` itself"
    )
    if app.network is None:
        return f"{told}. `edgekit app --against` adds those of the network in PyTorch."
    return f"{told} and by its network in PyTorch."


def _latency(app: App) -> str:
    measured = app.latency
    if measured is None:
        command = f"edgekit profile {shlex.quote(app.path.name)}"
        return f"Nobody has measured it on this machine yet: `{command}`."
    return (
        f"One inference, without the app around it, as `edgekit profile` measured it on "
        f"{in_markdown(measured.device)} (the median and its 95 % interval): "
        f"{latency_text(measured)}."
    )


def bytes_of(paths: Sequence[Path]) -> int:
    """Bytes of files and of all that is in folders."""
    files = [
        file
        for path in paths
        for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    ]
    return sum(file.stat().st_size for file in files)


def installed(distribution: str) -> tuple[str, int]:
    """Version of a package that is installed here, and the bytes of its files.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not.
    """
    found = metadata.distribution(distribution)
    sizes = (Path(str(found.locate_file(file))) for file in found.files or ())
    return found.version, sum(path.stat().st_size for path in sizes if path.is_file())


def needed_python(distributions: Sequence[str]) -> str:
    """The least version of Python that all of some packages run in, as they are installed here.

    Raises:
        importlib.metadata.PackageNotFoundError: one is not.
    """
    needed: tuple[int, ...] = _LEAST_PYTHON
    for name in distributions:
        told = str(metadata.metadata(name).json.get("requires_python", ""))
        for version in re.findall(r">=\s*(\d+(?:\.\d+)*)", told):
            needed = max(needed, tuple(int(part) for part in version.split(".")))
    return ".".join(map(str, needed))


def mb(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} KB"
