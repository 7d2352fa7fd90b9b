"""The error that all targets give for a file that takes no other batch."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import InputError


def fixed_batch(path: Path, batch: int) -> InputError:
    """A file whose layers are written for one number of images."""
    return InputError(
        f"{path} cannot take {batch} images at once: its layers are fixed to the batch it was "
        f"exported with; run it with batch 1, or export the network again"
    )
