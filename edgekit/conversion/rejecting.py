"""Files that fail their gate: kept under another name, with a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from edgekit.contract import contract_path, rejected_path
from edgekit.conversion.floats import Flaw
from edgekit.conversion.results import Rejected
from edgekit.core import Artifact, Target, reason, to_json
from edgekit.core.reasons import PASSING
from edgekit.staging import publish
from edgekit.tasks import agreement as agreements
from edgekit.verification.diagnosis import diagnose, layers_of
from edgekit.verification.divergence import most_noise, worst_layers
from edgekit.verification.reference import Reference


def rejected(
    reference: Reference,
    target: Target,
    staged: Path,
    path: Path,
    artifact: Artifact,
    why: str | None = None,
    flaw: Flaw | None = None,
) -> Rejected:
    """Keeps a failed file under a name that nothing opens, with a report instead of a contract.

    What an earlier export left under that name is replaced: it had failed as well.

    Args:
        why: the gate that it failed, where that is not its agreement.
        flaw: what is wrong without integers already.
    """
    agreement = artifact.agreement
    assert agreement is not None
    divergence, undiagnosed = None, None
    if flaw is not None:
        divergence, undiagnosed = flaw.divergence, flaw.undiagnosed
    elif not agreement.passed:
        precision = artifact.scheme.precision
        divergence, undiagnosed = diagnose(reference, target, staged, precision, path)
    worst: tuple[str, ...] = ()
    if artifact.scheme.weights == "int8" and flaw is None:
        try:
            layers = layers_of(reference, target, staged)
        except PASSING:
            raise
        except BaseException as error:  # see `diagnose`
            undiagnosed = undiagnosed or reason(error).replace(str(staged), str(path))
        else:
            worst = tuple(worst_layers(layers))
            divergence = divergence or most_noise(layers)
    result = Rejected(
        rejected_path(path),
        artifact,
        agreement,
        flaw.reason if flaw is not None else agreements.failures(agreement) or why or "",
        divergence,
        undiagnosed,
        reference.data,
        reference.skipped,
        worst,
        flaw is not None,
    )
    report = {
        "schema": "edgekit.rejected/1",
        "reason": result.reason,
        "artifact": to_json(artifact),
        "divergence": to_json(divergence),
        "undiagnosed": undiagnosed,
        "worst_layers": list(worst),
    }
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    contract_path(rejected_path(staged)).write_text(text, encoding="utf-8")
    for file in target.written(staged):
        file.rename(rejected_path(file))
    publish(staged.parent, rejected_files(target.written(path)), overwrite=True)
    return result


def rejected_files(files: Sequence[Path]) -> list[Path]:
    """What is kept of a failed artifact, in the order in which it gets its names."""
    return [*map(rejected_path, reversed(files)), contract_path(rejected_path(files[0]))]
