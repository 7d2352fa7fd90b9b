"""``edgekit.report``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.api.checking import typed
from edgekit.api.keywords import StrPath
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core import Measurement
    from edgekit.inference import Evaluation
    from edgekit.measure.comparing import Comparison
    from edgekit.measure.profiling import Profile
    from edgekit.search.records import SearchResult

    Reportable = StrPath | Measurement | Profile | Comparison | Evaluation | SearchResult


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was written.

    Attributes:
        measurements: how many are on it.
        accuracies: as well.
        notes: what a reader should know about what was left out.
        search: the document that it shows, of a search.
    """

    path: Path
    measurements: int
    accuracies: int
    notes: tuple[str, ...]
    search: Path | None = None

    def __fspath__(self) -> str:
        """The file."""
        return str(self.path)


@typed
def report(
    things: Reportable | Sequence[Reportable] | None = None,
    out: StrPath = "report.html",
    *,
    overwrite: bool = False,
) -> Page:
    """Makes one self-contained HTML page of measurements and accuracies, or of a search.

    Args:
        things: what `profile`, `compare`, `evaluate` and `search` give; files of
            ``edgekit profile -o`` and ``edgekit evaluate --json``; exported files, whose newest
            measurements are taken from the history; or the folder of a search. One, or several in
            a list. Nothing stands for the newest measurements of the history.
        out: the page, which ends with ``.html``.
        overwrite: replace it.

    Raises:
        UsageError: something else, or a name that does not end so.
        InputError: a file is missing or damaged; nothing of it was ever measured.
    """
    from edgekit import staging
    from edgekit.report import page, search
    from edgekit.report.inputs import collect, kept, search_of

    path = Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: expected a name that ends with .html")
    staging.refuse_existing([path], overwrite)
    with staging.output_folder(path.parent):
        pass  # it takes files
    paths, measurements, evaluations = _sorted(() if things is None else things)
    found = search_of(paths)
    if found is not None and not measurements and not evaluations:
        file, document = found
        text, made = search.render(document, str(file)), Page(path, 0, 0, (), file)
    else:
        if things is None:
            material = kept()
        else:
            material = collect(paths, measurements=measurements, evaluations=evaluations)
        text = page.render(material)
        made = Page(path, len(material.measurements), len(material.accuracies), material.notes)
    staging.write_file(
        path, lambda staged: staged.write_text(text, encoding="utf-8"), overwrite=overwrite
    )
    return made


def _sorted(things: object) -> tuple[list[Path], list[Measurement], list[Evaluation]]:
    """Things by what they are.

    Raises:
        UsageError: something that no page is made of.
    """
    from edgekit.core import Measurement
    from edgekit.inference import Evaluation
    from edgekit.measure.comparing import Comparison
    from edgekit.measure.profiling import Profile
    from edgekit.search.records import SearchResult

    several = isinstance(things, Iterable) and not isinstance(things, str | os.PathLike)
    paths: list[Path] = []
    measurements: list[Measurement] = []
    evaluations: list[Evaluation] = []
    for thing in things if several else [things]:  # type: ignore[attr-defined]
        match thing:
            case str() | os.PathLike():
                paths.append(Path(thing))
            case Measurement():
                measurements.append(thing)
            case Profile():
                measurements += thing.measurements
            case Comparison():
                measurements += [thing.a, thing.b]
            case Evaluation():
                evaluations.append(thing)
            case SearchResult() if thing.model is not None:
                paths.append(thing.model.parent)
            case _:
                raise UsageError(
                    f"things: found a {type(thing).__name__}: expected what profile, compare, "
                    f"evaluate or search gives, an exported file, a path, or several of these in "
                    f"a list"
                )
    return paths, measurements, evaluations
