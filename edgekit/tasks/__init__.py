"""What the outputs of a network mean: one file a task, found by the registry's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit import registry
from edgekit.core import Agreement
from edgekit.models.source import Model

Rows = NDArray[Any]
"""Outputs of inferences, (n, numbers); see `edgekit.core.interface`."""


class Task(Protocol):
    """What the outputs of one network mean, and what has to agree of them.

    Attributes:
        name: key of the registry's task table.
    """

    name: str

    def check_reference(self, rows: Rows, what: str, zeros: Sequence[str] = ()) -> None:
        """Refuses outputs of a network that nothing could be compared with.

        Args:
            rows: what it gives for the samples.
            what: names it in the message.
            zeros: layers and parameters that are all zero, which may explain it.

        Raises:
            ModelError: as said.
        """

    def agreement(self, reference: Rows, outputs: Rows, precision: str) -> Agreement:
        """How closely the outputs of a file follow those of the network.

        Args:
            reference: as `check_reference` accepts them.
            outputs: for the same samples.
            precision: of the file, which says how closely they have to.
        """

    def decided_alike(self, a: Rows, b: Rows) -> NDArray[np.bool_]:
        """For which samples both mean the same to whoever uses them, (n,)."""

    def sqnr_db(self, reference: Rows, outputs: Rows, indices: Sequence[int]) -> NDArray[Any]:
        """Signal to noise of single samples, in dB, of the worst output; see `agreement`.

        Args:
            outputs: for the samples ``indices`` of the reference.
        """


def task_of(model: Model) -> Task:
    """The task of a network, with what is known of its outputs."""
    made: Any = registry.task(model.task)
    task: Task = made(model)
    return task
