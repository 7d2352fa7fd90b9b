"""Which class an image is of: one row of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Agreement
from edgekit.data.scores import likeliest
from edgekit.models.source import Model
from edgekit.tasks import agreement


class Classify:
    """The task of networks with one score for each class.

    Args:
        model: what its scores are must be known by the time that outputs are compared.
    """

    name = "classify"

    def __init__(self, model: Model) -> None:
        self._kind = model.scores or "logits"

    def check_reference(self, rows: NDArray[Any], what: str, zeros: Sequence[str] = ()) -> None:
        """See `edgekit.tasks.agreement.check_reference`."""
        agreement.check_reference(rows, what, zeros)

    def agreement(
        self, reference: NDArray[Any], outputs: NDArray[Any], precision: str
    ) -> Agreement:
        """Signal to noise, and the share of images with the same likeliest class."""
        tolerance = agreement.TOLERANCES[precision]
        return agreement.compare(reference, outputs, tolerance, self._kind)

    def decided_alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the likeliest class is the same."""
        same: NDArray[np.bool_] = likeliest(a, self._kind) == likeliest(b, self._kind)
        return same

    def sqnr_db(
        self, reference: NDArray[Any], outputs: NDArray[Any], indices: Sequence[int]
    ) -> NDArray[Any]:
        """See `edgekit.tasks.agreement.image_sqnr_db`."""
        return agreement.image_sqnr_db(reference, outputs, indices)
