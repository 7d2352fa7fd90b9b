"""Where the commands that measure leave what they measured: nothing of it is lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import staging
from edgekit.cli import console
from edgekit.core import with_kind
from edgekit.errors import EdgekitError, OutputError

if TYPE_CHECKING:
    from edgekit.core import Measurement


def check_places(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuses at the beginning what would fail in the end.

    Raises:
        OutputError: a file exists and may not be replaced, or its folder takes none.
    """
    staging.refuse_existing(paths, overwrite)
    for folder in dict.fromkeys(path.parent for path in paths):
        with staging.output_folder(folder):
            pass  # it takes files


def keep(
    measurements: Sequence[Measurement], *, stored: bool, out: Path | None, overwrite: bool
) -> list[OutputError]:
    """Stores measurements, and writes them into a file where one was named.

    What fails is said, and the measurements are written beside, into the working folder or that of
    temporary files.

    Args:
        overwrite: whether the file may be replaced, where one is there by now.

    Returns:
        Why the file that was named could not be written, and why there was no place beside.
    """
    from edgekit.measure.store import Store, save

    errors, said = [], []
    lost = False
    if out is not None:
        try:
            save(measurements, out, overwrite=overwrite)
        except OutputError as error:
            errors.append(error)
            lost = True
    if stored:
        try:
            Store().add(measurements)
        except Exception as error:  # a fault of the store itself must not lose them either
            said.append(str(error) if isinstance(error, EdgekitError) else _fault(error))
            lost = lost or out is None
    if lost:
        try:
            said.append(f"kept in {_save_beside(measurements)} instead")
        except OutputError as error:
            errors.append(error)
    for text in said:  # in the end, as nobody may be there to read it
        console.warn(text)
    return errors


def _fault(error: Exception) -> str:
    return f"cannot keep the measurement in the history: {with_kind(error)}"


def _save_beside(measurements: Sequence[Measurement]) -> Path:
    """Writes measurements where there is a place.

    Raises:
        OutputError: there is none.
    """
    from edgekit.measure.store import save_beside

    reason = ""
    places: tuple[Callable[[], str], ...] = (lambda: os.curdir, tempfile.gettempdir)
    for place in places:
        try:
            return save_beside(measurements, Path(place()))
        except (OutputError, OSError) as error:
            reason = str(error)
    raise OutputError(f"only what was printed is left, the samples are lost: {reason}")


def finish(errors: Iterable[EdgekitError | None]) -> None:
    """Raises the first of what went wrong; the others become warnings."""
    raised = [error for error in errors if error is not None]
    for other in raised[1:]:
        console.warn(str(other))
    if raised:
        raise raised[0]
