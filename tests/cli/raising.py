"""Exceptions of other people's code, and runtimes that raise them in the agents of commands."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from command_line import Result

from edgekit import registry
from edgekit.agent.files import load_object
from edgekit.core import reason
from edgekit.devices.files import opener_of
from edgekit.errors import InputError, ModelError

if TYPE_CHECKING:
    import pytest

UNCONVERTED = (
    "Check 'false' failed at src/frontends/report.cpp:151:\nFrontEnd API failed with "
    "OpConversionFailure:\n-- No conversion rule found for operations: aten::vdot\n"
)


class PanicException(BaseException):
    """What no ``except Exception`` catches."""


RAISED: dict[str, BaseException] = {
    "lines": RuntimeError(UNCONVERTED),
    "empty": ValueError(),
    "key": KeyError(0),
    "exit": SystemExit(3),
    "panic": PanicException("index out of bounds: the len is 3 but the index is 7"),
}
NO_MEMORY: dict[str, BaseException] = {
    "bad_alloc": RuntimeError("std::bad_alloc"),
    "array": MemoryError(),
    "loaded": InputError("x.onnx cannot be loaded by X: bad allocation"),
    "compiled": ModelError("x.onnx cannot be compiled by X"),
    "batch": InputError("x.onnx cannot take 2 images at once"),
}
"""As runtimes raise them, and as errors of edgekit that were raised from those."""
NO_MEMORY["loaded"].__cause__ = RuntimeError("bad allocation")
NO_MEMORY["compiled"].__cause__ = RuntimeError("Check 'x' failed at a.cpp:1:\nstd::bad_alloc\n")
NO_MEMORY["batch"].__cause__ = OSError(12, "Cannot allocate memory")


def raising(error: BaseException) -> Callable[..., object]:
    def fails(*_: object, **__: object) -> object:
        raise error

    return fails


def told(result: Result, error: BaseException, *names: str) -> None:
    """One line that says why and where, with the code of a bad input."""
    assert result.code == 3, result.err
    for words in (reason(error), *names):
        assert words in result.message
    assert len(result.message.splitlines()) == 1
    assert "Traceback" not in result.err


def breaks(target: str, seam: str, file: str, error: BaseException) -> None:
    """Makes a method of a target raise in this process, or one of its runners.

    Args:
        file: name of the only file whose runner does.
    """
    whole = registry.target(target)
    kind: Any = type(load_object(opener_of(whole)))  # what agents have of it
    if not hasattr(kind, seam) and hasattr(whole, seam):
        kind = type(whole)
    opened, fails = kind.open, raising(error)

    def broken(own: object, path: Path, *arguments: object, **options: object) -> object:
        runner = opened(own, path, *arguments, **options)
        if file not in ("", Path(path).name):
            return runner
        runner.__class__ = type("Broken", (type(runner),), {seam: fails})
        return runner

    if hasattr(kind, seam):
        setattr(kind, seam, fails)
    else:
        kind.open = broken


SITE = """
import json, os, sys
*arguments, kind = json.loads(os.environ["INJECT"])
if "edgekit.agent" in sys.orig_argv:
    import raising
    raising.breaks(*arguments, {**raising.RAISED, **raising.NO_MEMORY}[kind])
"""


def breaks_in_agents(
    patch: pytest.MonkeyPatch, folder: Path, target: str, seam: str, kind: str, file: str = ""
) -> None:
    """Does what `breaks` does in all agents that start from now on; see `runs_in_agents`.

    Args:
        folder: of the test.
        kind: key of `RAISED` or `NO_MEMORY`.
        file: see `breaks`.
    """
    runs_in_agents(patch, folder, SITE)
    patch.setenv("INJECT", json.dumps([target, seam, file, kind]))


def runs_in_agents(patch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    """Runs a module at the start of all agents, and other processes, that start from now on.

    Commands in this process start an agent, as what it would import lies elsewhere than before.

    Args:
        folder: of the test.
    """
    site = Path(tempfile.mkdtemp(prefix="site-", dir=folder))
    (site / "sitecustomize.py").write_text(text, encoding="utf-8")
    patch.syspath_prepend(str(site))
    patch.setenv("PYTHONPATH", os.pathsep.join(entry or os.getcwd() for entry in sys.path))
