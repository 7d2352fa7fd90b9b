"""The task of a network that nobody has described: tensors in, tensors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgekit.errors import ModelError
from edgekit.tasks import Frame, Metric, Prediction, agreement
from edgekit.tasks.raw import RawOutputs

if TYPE_CHECKING:
    from edgekit.core import ImageSource, Pixels
    from edgekit.models.model import Model
    from edgekit.tasks.objectives import OfTensors


class Tensors(RawOutputs):
    """Outputs of any number, shape and type; each has to agree by itself."""

    name = "tensors"
    headline, title, labelled, truth = "agreement", "agreement", False, None

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

    def labels_for(self, source: ImageSource) -> tuple[str, ...]:
        """Outputs have no classes."""
        return ()

    def decided_alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Nobody knows what is decided by them."""
        return np.ones(len(a), bool)
