"""What has to agree of outputs, whatever they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Agreement, Interface, OutputAgreement, TensorSpec
from edgekit.core.text import counted_words
from edgekit.data.scores import check_goes
from edgekit.errors import ModelError
from edgekit.tasks import Described, agreement, classes

if TYPE_CHECKING:
    from edgekit.core import ImageSource
    from edgekit.data.truths import Truth
    from edgekit.models.model import Model

LEAST_ALIKE: Mapping[str, float] = {"fp32": 1.0, "fp16": 0.99}
"""Least share of samples that mean the same, by precision: as that of images with the same class.
Of integers it is a matter of ``--max-drop``."""


class RawOutputs:
    """Outputs of any number, shape and type; each has to agree by itself.

    Tasks add what the outputs mean.

    Args:
        described: its parts are those of `edgekit.models.parts`.
    """

    name: str

    def __init__(self, described: Described) -> None:
        self._source, self._interface = described.source, described.interface
        self._parts = described.parts

    def roles(self) -> tuple[str, ...]:
        """The names of the outputs say them."""
        return tuple(spec.role or spec.name for spec in self._interface.outputs)

    def said(self, scores: str | None, model: Model) -> None:
        """Nothing: they are no scores of classes of images.

        Raises:
            UsageError: somebody says that they are.
        """
        check_goes(scores, self._source, self.name)

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


class OutputsOfClasses(RawOutputs):
    """Outputs that tell classes apart, of parts of an image.

    Args:
        described: its labels are the names of the classes.
    """

    truth: Truth
    gradients = True

    def __init__(self, described: Described) -> None:
        super().__init__(described)
        self._labels = described.labels

    @property
    def _classes(self) -> int:
        """How many the network tells apart; 0 where neither outputs nor names tell it."""
        raise NotImplementedError

    def labels_for(self, source: ImageSource) -> tuple[str, ...]:
        """The network's, or those of the source where it has none."""
        of_source = self.truth.classes(source)
        count = self._classes or len(of_source)
        return classes.labels_for(self._labels, count, of_source, self._source, source.name)

    def _outputs_of(self, source: ImageSource) -> Sequence[int]:
        """For each class of a source that of the network."""
        of_source = self.truth.classes(source)
        count = self._classes or len(of_source)
        return classes.outputs_of(self._labels, count, of_source, self._source, source.name)

    def _names(self, source: ImageSource) -> tuple[str, ...]:
        """A name for each class of the network."""
        return self._labels or self.truth.classes(source)


def with_meaning(
    found: Agreement,
    name: str,
    alike: float,
    precision: str,
    bounds: Mapping[str, float] = LEAST_ALIKE,
) -> Agreement:
    """An agreement of raw outputs, and of what they come to.

    Args:
        name: of what they come to, for people.
        alike: share of it that is the same.
        bounds: least shares by precision.
    """
    least = bounds.get(precision)
    passed = least is None or alike >= least
    tolerance = dict(found.tolerance)
    if least is not None:
        tolerance["match"] = least
    return replace(
        found,
        outputs=(*found.outputs, OutputAgreement(name, None, alike, passed)),
        passed=found.passed and passed,
        tolerance=tolerance,
    )


def output_of(interface: Interface, role: str) -> TensorSpec | None:
    """The output of a role, which is called so where no contract says roles."""
    for spec in interface.outputs:
        if (spec.role or spec.name) == role:
            return spec
    return None


def told(interface: Interface) -> str:
    """Outputs in messages."""
    return ", ".join(
        f"'{spec.name}' ({', '.join(map(str, spec.shape))})" for spec in interface.outputs
    )
