"""What became of each file of an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from edgekit import registry
from edgekit.core import Agreement, Artifact
from edgekit.errors import EdgekitError, GateError
from edgekit.verification.divergence import Divergence, advice
from edgekit.verification.reference import rounding_grows


@dataclass(frozen=True, slots=True)
class Exported:
    """One verified file.

    Attributes:
        path: as given, or relative to the working folder.
        seconds: lowering, conversion and verification.
        convert_seconds: the target's own part of it.
        verified_on: where the images of the comparison come from.
        skipped: images that were left out of it as corrupt.
        warning: what tuning found to be wrong with it.
    """

    path: Path
    artifact: Artifact
    seconds: float
    convert_seconds: float
    verified_on: str
    skipped: tuple[str, ...]
    warning: str | None = None

    def __fspath__(self) -> str:
        """The file, which is an ARTIFACT."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class Rejected:
    """One file that failed its gate, kept under another name.

    Attributes:
        path: of the kept file, ending in ``.rejected``.
        reason: the bounds that do not hold.
        divergence: the first layer that is wrong, where it could be found.
        undiagnosed: why it could not be looked for; ``None`` where it could.
        worst_layers: of a file of integers, by the noise that each adds, the worst one first.
        without_integers: whether it is wrong before there are integers.
    """

    path: Path
    artifact: Artifact
    agreement: Agreement
    reason: str
    divergence: Divergence | None
    undiagnosed: str | None
    verified_on: str
    skipped: tuple[str, ...]
    worst_layers: tuple[str, ...] = ()
    without_integers: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """One file that could not be made or run.

    Attributes:
        path: that it would have got.
        message: why, and what there is to go on with.
    """

    path: Path
    target: str
    precision: str
    message: str
    error: EdgekitError


Result = Exported | Rejected | Failed


@dataclass(frozen=True, slots=True, eq=False)
class ExportReport(Sequence[Exported]):
    """What became of an export; as a sequence, its verified files.

    Attributes:
        results: what became of each file, in the order asked for: by target, then by precision.
        skipped: images of the verification that were left out as corrupt.
        assumed: what nobody said of how images are prepared; see `edgekit.stated.unsaid`.
        warnings: what has to be known of the network and its files, one sentence each.
    """

    results: tuple[Result, ...]
    skipped: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Exported, ...]:
        """The verified ones."""
        return tuple(one for one in self.results if isinstance(one, Exported))

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """Those that failed their gate."""
        return tuple(one for one in self.results if isinstance(one, Rejected))

    @property
    def failed(self) -> tuple[Failed, ...]:
        """Those that could not be made."""
        return tuple(one for one in self.results if isinstance(one, Failed))

    @property
    def written(self) -> tuple[Exported | Rejected, ...]:
        """What there is, be it good or not."""
        return tuple(one for one in self.results if not isinstance(one, Failed))

    @overload
    def __getitem__(self, index: int) -> Exported: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Exported, ...]: ...
    def __getitem__(self, index: int | slice) -> Exported | tuple[Exported, ...]:
        return self.files[index]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def failure(self) -> EdgekitError | None:
        """One error with the text of all, each with its file; ``None`` where all went well.

        It is of the class of the first one, and has ``results``.
        """
        texts = [f"{f.path} ({f.target}, {f.precision}): {f.message}" for f in self.failed]
        texts += map(_why_rejected, self.rejected)
        if not texts:
            return None
        first = self.failed[0].error if self.failed else None
        error = (GateError if first is None else type(first)).of_parts(texts, self.results)
        error.__cause__ = first
        return error


def _why_rejected(result: Rejected) -> str:
    """Names the file, the bounds that do not hold and the first layer that is wrong."""
    text = f"{result.path} failed verification: {result.reason}"
    if result.divergence is not None:
        text += f"; {result.divergence.describe()}"
    elif result.undiagnosed is not None:
        text += f"; the first diverging layer cannot be looked for: {result.undiagnosed}"
    about = result.artifact
    if about.scheme.weights == "int8" and not result.without_integers:
        text += f"; {advice(result.worst_layers, registry.target(about.target), about.scheme)}"
    return text + rounding_grows(result.artifact.trained)
