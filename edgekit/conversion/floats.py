"""What files of integers are made from: the same network, converted and left in float32.

Integers may miss the network by so much that an operator which is converted a little wrong does
not show among them. In float32 it does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from edgekit.conversion.building import Job, build
from edgekit.core import Agreement
from edgekit.staging import hidden_folder
from edgekit.tasks.agreement import TOLERANCES
from edgekit.verification.diagnosis import diagnose
from edgekit.verification.divergence import Divergence

PRECISION = "fp32"


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong before there are integers.

    Attributes:
        reason: a clause for a message.
        divergence: the first layer that is wrong, where it could be found.
        undiagnosed: why it could not be looked for; ``None`` where it could.
    """

    reason: str
    divergence: Divergence | None
    undiagnosed: str | None


class FloatForms:
    """How far the forms in float32 follow the network, each target's looked at once an export."""

    def __init__(self) -> None:
        self._sound: set[str] = set()

    def note(self, target: str, agreement: Agreement) -> None:
        """Remembers a file in float32 that was exported for itself."""
        if _follows(agreement):
            self._sound.add(target)

    def flaw(self, job: Job, folder: Path) -> Flaw | None:
        """Makes the form in float32 of a file of integers and runs it.

        Args:
            folder: for what is made on the way.

        Raises:
            ModelError: it cannot be converted or run, or PyTorch's own scores are not reproducible.
        """
        target, reference = job.target, job.reference
        if target.name in self._sound:
            return None
        staged = hidden_folder(folder) / job.path.name
        floats = dataclasses.replace(job, scheme=target.schemes[PRECISION])
        agreement = build(floats, floats.scheme, staged).artifact.agreement
        assert agreement is not None
        self.note(target.name, agreement)
        if target.name in self._sound:
            return None
        divergence, undiagnosed = diagnose(reference, target, staged, PRECISION, job.path)
        least = TOLERANCES[PRECISION]["sqnr_db"]
        return Flaw(
            f"its form in float32, which integers are made from, has {agreement.sqnr_db:.1f} dB "
            f"(expected at least {least:g} dB)",
            divergence,
            undiagnosed,
        )


def _follows(agreement: Agreement) -> bool:
    """Whether no operator is wrong; classes of nearly one score may still change places."""
    return agreement.sqnr_db >= TOLERANCES[PRECISION]["sqnr_db"]
