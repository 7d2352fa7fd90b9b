"""Files as an agent takes them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.agent.bounds import allowed_for
from edgekit.agent.hardware import versions
from edgekit.core import Target
from edgekit.tables import TARGETS

_OPENING = {"environment", "start", "open", "operators", "activations"}
"""Methods of openers."""


def opener_of(target: Target) -> str:
    """``module:attribute`` of what opens files of a target; see `edgekit.core.Target`.

    A class that opens files in another way than the one that it derives from does not have the
    opener of that one.
    """
    kinds = [vars(target), *map(vars, type(target).__mro__)]
    named = next((i for i, kind in enumerate(kinds) if "opener" in kind), len(kinds))
    opens = next((i for i, kind in enumerate(kinds) if _OPENING & {*kind}), len(kinds))
    inherited = target.opener if named <= opens else ""
    return inherited or TARGETS[target.name].where


@functools.lru_cache(64)
def _engine(names: tuple[str, ...]) -> list[str]:
    """The first of some distributions that is installed here, and its version."""
    return next(([name, found] for name, found in versions(names).items()), [])


def file_request(
    target: Target,
    path: Path,
    *,
    threads: int | None,
    batch: int | None = None,
    shapes: Sequence[tuple[str, tuple[int, ...]]] | None = None,
    images: int = 1,
    files: Sequence[str] | None = None,
    inputs: str | None = None,
) -> dict[str, Any]:
    """A file as an agent takes it; see `edgekit.agent.worker.Subject`.

    Args:
        batch: see `edgekit.core.Target.open`.
        shapes: as well.
        images: that go into an inference.
        files: paths of its files on the device, the main one first; where they are here if
            ``None``.
        inputs: path there of the inputs that it is timed with; see `edgekit.agent.files.File`.
    """
    here = target.files(path)
    allowed = allowed_for(here, images)
    # An agent that stays has the working folder that this process had.
    places = [str(file.absolute()) for file in here] if files is None else list(files)
    return {
        "loader": "edgekit.agent.files:File",
        "arguments": {
            "path": places[0],
            "name": str(path),
            "opener": opener_of(target),
            "runtime": target.runtime,
            "files": places,
            "allowed": (allowed.mib, allowed.seconds),
            "threads": threads,
            "batch": batch,
            "shapes": None if shapes is None else [[name, list(shape)] for name, shape in shapes],
            "inputs": inputs,
            "packages": list(target.packages),
            "engines": list(target.engines),
            "here": _engine(tuple(target.engines)),
        },
    }
