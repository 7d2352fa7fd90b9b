"""The agent as one file that a device's Python runs, with what it imports of edgekit.

It is a zip archive with a ``__main__.py``. Which modules belong into it is read off their source:
those of the agent, of all kinds of meters, and of what opens files there. All else that they
import has to be on the device: NumPy, a runtime, the library of a meter.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from io import BytesIO
from typing import Any

from edgekit.tables import METERS, TARGETS

AGENT = "edgekit.agent.__main__"

# The oldest Python tells what is wrong, too.
_MAIN = b"""\
import sys

if sys.version_info < (3, 8):
    sys.exit("edgekit's agent needs Python 3.8 or later, this one is %s" % sys.version.split()[0])
from edgekit.agent.__main__ import main

main()
"""
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A program for ``python3 FILE``.

    Attributes:
        content: of the file; the same for the same modules.
        sha256: its digest.
        modules: that are in it, sorted.
    """

    content: bytes
    sha256: str
    modules: tuple[str, ...]


def bundle(openers: Iterable[str]) -> Bundle:
    """The agent with all kinds of meters, and with what opens files.

    Args:
        openers: ``module:attribute``; see `edgekit.devices.files.opener_of`. Of the package that
            one lies in, the modules that it imports come along.

    A module that cannot be found is left out: who asks for what it holds is told then.
    """
    openers = sorted({*openers})
    meters = [METERS[name].where for name in METERS]
    built_in = [entry.where for entry in (*TARGETS.built_in.values(), *METERS.built_in.values())]
    own = {_top(where) for where in (*openers, *meters, *built_in)}
    roots = [_module(where) for where in (*openers, *meters)]
    return _packed(_closure([AGENT, "edgekit.agent.files", *roots], own))


def _module(where: str) -> str:
    return where.partition(":")[0]


def _top(where: str) -> str:
    return _module(where).partition(".")[0]


@dataclass(frozen=True, slots=True)
class _Source:
    """A module as a file of the archive."""

    place: str
    content: bytes


def _closure(roots: Iterable[str], own: set[str]) -> dict[str, _Source]:
    """Modules of some packages that others import, directly or not, by name; those included."""
    specs: dict[str, ModuleSpec | None] = {}
    found: dict[str, _Source] = {}
    waiting = [*roots]
    while waiting:
        name = waiting.pop()
        if name in specs or _top(name) not in own:
            continue
        above = name.rpartition(".")[0]
        if above and above not in specs:  # it is imported first
            waiting += [name, above]
            continue
        specs[name] = spec = _spec(name, specs.get(above))
        source = None if spec is None else _source(spec)
        if spec is not None and source is not None:
            found[name] = source
            waiting += _imports(source.content, str(spec.parent))
    return found


def _spec(name: str, package: ModuleSpec | None) -> ModuleSpec | None:
    """Where a module lies; `importlib.util.find_spec` would import the packages around it.

    Args:
        package: that it lies in, if that was found.
    """
    places = None
    if "." in name:
        if package is None or package.submodule_search_locations is None:
            return None
        places = list(package.submodule_search_locations)
    specs = (finder.find_spec(name, places) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _source(spec: ModuleSpec) -> _Source | None:
    """The source of a module; ``None`` where there is none, as of one that is compiled."""
    loader: Any = spec.loader
    if spec.origin is None or not spec.origin.endswith(".py") or not hasattr(loader, "get_data"):
        return None
    inner = "" if spec.submodule_search_locations is None else "/__init__"
    return _Source(f"{spec.name.replace('.', '/')}{inner}.py", loader.get_data(spec.origin))


@functools.lru_cache(1024)
def _imports(content: bytes, package: str) -> tuple[str, ...]:
    """Names of modules that a module imports, now or later, of which some may be none.

    Args:
        content: its source.
        package: that it lies in.
    """
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return ()
    return tuple(dict.fromkeys(_imported(tree, package)))


def _imported(node: Any, package: str) -> Iterator[str]:
    """What a statement imports, or those within it, but for types."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")
        above = above[: len(above) + 1 - node.level] if node.level else []
        base = ".".join([*above, *filter(None, [node.module])])
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    for part in ("orelse",) if types else ("body", "orelse", "handlers", "finalbody", "cases"):
        within = getattr(node, part, ())
        for statement in within if isinstance(within, list) else ():  # that of a lambda is none
            yield from _imported(statement, package)


def _packed(modules: dict[str, _Source]) -> Bundle:
    stream = BytesIO()
    files = sorted(modules.values(), key=lambda source: source.place)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for source in (_Source("__main__.py", _MAIN), *files):
            about = zipfile.ZipInfo(source.place, _DATE)
            about.create_system, about.external_attr = 3, 0o644 << 16  # whatever writes it
            about.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(about, source.content)
    content = stream.getvalue()
    return Bundle(content, hashlib.sha256(content).hexdigest(), tuple(sorted(modules)))
