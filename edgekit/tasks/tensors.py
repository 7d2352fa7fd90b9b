"""The task of a network that nobody has described: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Agreement
from edgekit.errors import ModelError, UsageError
from edgekit.tasks import Described, Frame, Metric, Prediction, agreement
from edgekit.tasks.raw import RawOutputs

if TYPE_CHECKING:
    from edgekit.core import ImageSource, Pixels
    from edgekit.models.model import Model
    from edgekit.tasks.objectives import OfTensors


class Tensors:
    """Outputs of any number, shape and type; each has to agree by itself."""

    name = "tensors"
    headline, title, labelled, truth = "agreement", "agreement", False, None

    def __init__(self, described: Described) -> None:
        self._interface, self._source = described.interface, described.source
        self._parts = described.parts
        self._raw = RawOutputs(described.interface, described.parts)

    def roles(self) -> tuple[str, ...]:
        """Nobody said more than which are images."""
        return tuple("image" if s.layout == "NCHW" else "" for s in self._interface.outputs)

    def check_meaning(self) -> NoReturn:
        """Nobody knows what they mean."""
        raise ModelError(
            f"'{self._source}' is of the task {self.name}: what its outputs mean is known to "
            f"nobody but its user, so that there is nothing to predict or evaluate; 'edgekit "
            f"verify' says how closely a file follows its network, 'edgekit profile' how fast it is"
        )

    def metric(self, source: ImageSource) -> Metric:
        """See `check_meaning`."""
        self.check_meaning()

    def decode(self, rows: NDArray[Any], image: str, frame: Frame, most: int) -> Prediction:
        """See `check_meaning`."""
        self.check_meaning()

    def shown(self, prediction: Prediction) -> list[str]:
        """Nothing is known but the image."""
        return [prediction.image]

    def draw(self, pixels: Pixels, prediction: Prediction) -> Pixels:
        """The image as it is."""
        return pixels

    def objective(self, model: Model) -> OfTensors:
        """What the network gives now, each output in units of its own."""
        from edgekit.tasks.objectives import OfTensors

        if not any(map(agreement.is_float, self._interface.outputs)):
            listed = ", ".join(f"'{spec.name}' {spec.dtype}" for spec in self._interface.outputs)
            raise ModelError(
                f"'{model.source}' gives {listed}: only floats can be learned; let it give the "
                f"scores that these come from, too"
            )
        return OfTensors(self._interface, parts=tuple(self._parts()))

    def said(self, scores: str | None, model: Model) -> None:
        """Nothing: they are no scores.

        Raises:
            UsageError: somebody says that they are.
        """
        if scores is not None:
            raise UsageError(
                f"--scores goes with scores of classes: '{self._source}' is of the task {self.name}"
            )

    def labels_for(self, source: ImageSource) -> tuple[str, ...]:
        """Outputs have no classes."""
        return ()

    def check_reference(self, rows: NDArray[Any], what: str, zeros: Sequence[str] = ()) -> None:
        """See `edgekit.tasks.raw.RawOutputs`, as for the others."""
        self._raw.check_reference(rows, what, zeros)

    def agreement(
        self, reference: NDArray[Any], outputs: NDArray[Any], precision: str
    ) -> Agreement:
        """Of each output by itself; the worst one counts."""
        return self._raw.agreement(reference, outputs, precision)

    def followed(self, reference: NDArray[Any], outputs: NDArray[Any]) -> float:
        """That of the worst output."""
        return self._raw.followed(reference, outputs)

    def decided_alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Nobody knows what is decided by them."""
        return np.ones(len(a), bool)

    def sqnr_db(
        self, reference: NDArray[Any], outputs: NDArray[Any], indices: Sequence[int]
    ) -> NDArray[Any]:
        """That of the worst output of floats, or part of one."""
        return self._raw.sqnr_db(reference, outputs, indices)
