"""What became of each file of an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """

    path: Path
    target: str
    precision: str
    message: str
    error: EdgekitError


Result = Exported | Rejected | Failed


def failure(results: Sequence[Result]) -> EdgekitError | None:
    """The first error with the text of all, each with its file; ``None`` where all went well."""
    failed = [result for result in results if isinstance(result, Failed)]
    rejected = [result for result in results if isinstance(result, Rejected)]
    if not failed and not rejected:
        return None
    texts = [f"{f.path} ({f.target}, {f.precision}): {f.message}" for f in failed]
    texts += map(_why_rejected, rejected)
    first = failed[0].error if failed else GateError()
    first.results, first.parts, first.args = tuple(results), texts, ("\n".join(texts),)
    return first


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
