"""The task of a network that nobody has described: tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Agreement, TensorSpec
from edgekit.core.text import counted_words
from edgekit.errors import ModelError, UsageError
from edgekit.tasks import Described, Frame, Metric, Prediction, agreement

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
        """Refuses outputs of which none differs between samples: zeros would pass."""
        if len(rows) < 2:
            raise ModelError(
                f"{what} was run on {counted_words(len(rows), 'input')}: expected at least two"
            )
        if not any(self._differs(rows, spec) for spec in self._interface.outputs):
            listed = ", ".join(f"'{path}'" for path in zeros)
            why = f"; all weights of {listed} are zero" if zeros else ""
            raise ModelError(
                f"{what} gives (nearly) the same outputs for all {len(rows)} inputs: nothing can "
                f"be verified{why}; are its weights trained and its batch-norm statistics set?"
            )

    def _differs(self, rows: NDArray[Any], spec: TensorSpec) -> bool:
        """Whether an output has something to agree on."""
        own = rows[:, self._interface.columns[spec.name]].astype(np.float64)
        spread, size = (own - own.mean(axis=0)).std(), np.abs(own).max(initial=0.0)
        return bool(spread > agreement.LEAST_RELATIVE_SPREAD * size)

    def agreement(
        self, reference: NDArray[Any], outputs: NDArray[Any], precision: str
    ) -> Agreement:
        """Of each output signal to noise, or the share of equal integers; the worst one counts.

        Of an output that is put together from several tensors each is judged by itself.
        """
        return agreement.compare_outputs(
            reference, outputs, self._interface, precision, self._parts()
        )

    def followed(self, reference: NDArray[Any], outputs: NDArray[Any]) -> float:
        """See `edgekit.tasks.agreement.followed`."""
        return agreement.followed(reference, outputs, self._interface, self._parts())

    def decided_alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Nobody knows what is decided by them."""
        return np.ones(len(a), bool)

    def sqnr_db(
        self, reference: NDArray[Any], outputs: NDArray[Any], indices: Sequence[int]
    ) -> NDArray[Any]:
        """That of the worst output of floats, or part of one."""
        ratios = np.full(len(outputs), agreement.IDENTICAL_DB)
        for spec, _, columns in agreement.pieces(self._interface, self._parts()):
            if agreement.is_float(spec):
                own = agreement.image_sqnr_db(
                    reference[:, columns], outputs[:, columns], indices, centred=False
                )
                ratios = np.minimum(ratios, own)
        return ratios
