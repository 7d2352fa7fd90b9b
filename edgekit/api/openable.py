"""Networks without a name as files, which other processes can open."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.api.measuring_options import MeasuringOptions

Names = Mapping[str, str]
"""The sources of what is measured, which a process can open, with what each is called:
others, where they are the file of a module."""


@contextmanager
def openable(sources: Sequence[Any], options: MeasuringOptions) -> Iterator[Names]:
    """Sources as text that a measuring process opens, with what each is called.

    Modules become files, which are there for the block.

    Raises:
        UsageError: one stands for no network.
    """
    if all(isinstance(one, str | os.PathLike) for one in sources):
        yield {os.fspath(one): os.fspath(one) for one in sources}
        return
    from edgekit.models.taking import model_of

    if options.batch != 1:
        raise UsageError("batch goes with exported files and networks that have a name")
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for i, one in enumerate(sources):
            if isinstance(one, str | os.PathLike):
                names[os.fspath(one)] = os.fspath(one)
                continue
            model = model_of(
                one, weights=options.weights, resolution=options.resolution,
                example=options.example, outputs=options.outputs, task=options.task,
            )  # fmt: skip
            path = Path(folder, str(i), f"{model.name}.pt2")
            path.parent.mkdir()
            _save_program(model, path)
            names[str(path)] = model.source
        yield names


def _save_program(model: Any, path: Path) -> None:
    """Writes a network that has no name as an exported program."""
    import torch

    from edgekit.foreign import explained
    from edgekit.models.copying import own_copy

    told = f"'{model.source}' cannot be measured by itself: torch.export: "
    with explained(lambda reason: f"{told}{reason}; export it, and measure the file"):
        program = torch.export.export(own_copy(model.module).eval(), model.tensors)
        torch.export.save(program, path)
