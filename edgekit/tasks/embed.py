"""What an image is like: a vector of length 1, near to those of images of the same thing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Agreement
from edgekit.core.names import shown
from edgekit.data.truths import CLASS_LABELS
from edgekit.errors import ModelError, UsageError
from edgekit.tasks import Aim, Described, Frame, Prediction, drawing
from edgekit.tasks.raw import RawOutputs, output_of, told, with_meaning

if TYPE_CHECKING:
    from edgekit.core import ImageSource, Pixels
    from edgekit.models.model import Model
    from edgekit.tasks.embed_figures import Neighbourhoods
    from edgekit.tasks.objectives import Objective

NEAREST = 5
"""Images of a gallery that a prediction names, unless somebody says another number."""

LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999}
"""Least mean cosine of the embeddings of a file and of the network, by precision."""

ALIKE = 0.99
"""Cosine from where on two embeddings of one image are taken for the same."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An image of a gallery.

    Attributes:
        image: its file.
        label: what it shows.
        distance: 1 less the cosine of both embeddings: 0 for equal ones, 1 for unrelated ones.
    """

    image: str
    label: str
    distance: float


@dataclass(frozen=True, slots=True)
class Embedding(Prediction):
    """One image among others.

    Attributes:
        embedding: of length 1.
        label: of the nearest image of the gallery; ``None`` without one, or where that is too far.
        distance: of the nearest image; see `Neighbour`.
        neighbours: the nearest first.
    """

    embedding: tuple[float, ...]
    label: str | None = None
    distance: float | None = None
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, slots=True)
class Gallery:
    """Images that are known.

    Attributes:
        images: their files.
        labels: what they show, as many.
        embeddings: of length 1, (n, numbers).
        distance: from where on an image shows none of that; ``None`` where the nearest one counts
            however far it is.
    """

    images: tuple[str, ...]
    labels: tuple[str, ...]
    embeddings: NDArray[np.float32]
    distance: float | None = None


class Embed(RawOutputs):
    """The task of networks with an embedding.

    The output ``embedding`` (numbers) has the length 1; others are brought to it.

    Args:
        described: its parameter ``distance`` is that of `Gallery`.
    """

    name = "embed"
    headline, title, labelled, truth = "recall_at_1", "recall at 1", True, CLASS_LABELS
    gradients = False  # of a cosine of 1

    def __init__(self, described: Described) -> None:
        super().__init__(described)
        self._embedding = output_of(described.interface, "embedding")
        distance = described.parameters.get("distance")
        if isinstance(distance, str | tuple) or not (distance is None or 0 <= distance <= 1):
            raise ModelError(
                f"parameter 'distance' of '{self._source}' is {distance!r}: expected a number "
                f"from 0 to 1"
            )
        self.distance: float | None = distance

    def check_meaning(self) -> None:
        """Refuses outputs without an embedding."""
        if self._embedding is None or len(self._embedding.shape) != 2:
            raise ModelError(
                f"'{self._source}' gives {told(self._interface)}: a network of the task "
                f"{self.name} gives 'embedding' (1, numbers); name its output so, or open it with "
                f"--task tensors"
            )

    def embeddings(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Embeddings of length 1, (n, numbers); zeros stay."""
        assert self._embedding is not None
        own = rows[:, self._interface.columns[self._embedding.name]].astype(np.float64)
        lengths = np.linalg.norm(own, axis=1, keepdims=True)
        unit = np.divide(own, lengths, out=np.zeros_like(own), where=lengths > 0)
        found: NDArray[np.float32] = unit.astype(np.float32)
        return found

    def metric(self, source: ImageSource) -> Neighbourhoods:
        """Recall at 1, and verification; classes need not be those of its training."""
        from edgekit.tasks.embed_figures import Neighbourhoods

        return Neighbourhoods(self, self.truth.classes(source))

    def decode(self, rows: NDArray[Any], image: str, frame: Frame, most: int) -> Embedding:
        """The embedding; see `among` for what it is near to."""
        return Embedding(image, tuple(float(value) for value in self.embeddings(rows)[0]))

    def among(self, found: Embedding, gallery: Gallery, most: int = NEAREST) -> Embedding:
        """The same with its neighbours in a gallery.

        Args:
            most: neighbours.
        """
        distances = 1 - gallery.embeddings @ np.array(found.embedding, np.float32)
        distances = np.clip(distances, 0, 2)
        order = np.argsort(distances, kind="stable")
        near = tuple(
            Neighbour(gallery.images[i], gallery.labels[i], float(distances[i]))
            for i in order[:most]
        )
        first = near[0]
        known = gallery.distance is None or first.distance < gallery.distance
        return replace(
            found,
            label=first.label if known else None,
            distance=first.distance,
            neighbours=near,
        )

    def aim(self, rows: NDArray[Any], frame: Frame, wanted: str | None) -> Aim:
        """The cosine with the embedding of the image itself: 1, less where something is covered.

        Raises:
            UsageError: a class is named.
        """
        if wanted is not None:
            raise UsageError(
                f"'{self._source}' gives an embedding, which has no classes: leave --class out"
            )
        assert self._embedding is not None
        weights = np.zeros(rows.shape[1], np.float32)
        weights[self._interface.columns[self._embedding.name]] = self.embeddings(rows)[0]
        return Aim(weights, 0, "the embedding", None)

    def shown(self, prediction: Embedding) -> list[str]:
        """The image, and a line for each neighbour."""
        lines = [prediction.image]
        if prediction.neighbours:
            verdict = shown(prediction.label) if prediction.label else "(none of the gallery)"
            lines.append(f"  {verdict:.60}")
            for one in prediction.neighbours:
                name = Path(one.image).name
                lines.append(f"  {one.distance:7.4f}  {one.label:26.26}  {name:.36}")
            return lines
        numbers = ", ".join(f"{value:.3f}" for value in prediction.embedding[:4])
        count = len(prediction.embedding)
        lines.append(f"  {count} numbers: {numbers}{', ...' if count > 4 else ''}")
        return lines

    def draw(self, pixels: Pixels, prediction: Embedding) -> Pixels:
        """The image and its neighbours side by side."""
        from edgekit.data.decode import load_image

        others = [load_image(Path(one.image)) for one in prediction.neighbours]
        names = [f"{one.label}  {one.distance:.3f}" for one in prediction.neighbours]
        own = prediction.label or Path(prediction.image).name
        return drawing.side_by_side([pixels, *others], [own, *names])

    def objective(self, model: Model) -> Objective:
        """Classes, by what is near to what."""
        from edgekit.tasks.embedding_losses import OfEmbeddings

        self.check_meaning()
        assert self._embedding is not None
        return OfEmbeddings(self._embedding.shape[1])

    def labels_for(self, source: ImageSource) -> tuple[str, ...]:
        """Classes that it learns from: outputs have none, and tell others apart, too."""
        return tuple(self.truth.classes(source))

    def agreement(
        self, reference: NDArray[Any], outputs: NDArray[Any], precision: str
    ) -> Agreement:
        """Signal to noise, and the mean cosine of embeddings."""
        found = super().agreement(reference, outputs, precision)
        if self._embedding is None:
            return found
        alike = float(self._cosines(reference, outputs).mean())
        found = replace(found, cosine=alike)
        return with_meaning(found, "cosine", alike, precision, LEAST_COSINE)

    def decided_alike(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether both embeddings of an image are next to each other; see `ALIKE`."""
        found: NDArray[np.bool_] = self._cosines(a, b) >= ALIKE
        return found

    def followed(self, reference: NDArray[Any], outputs: NDArray[Any]) -> float:
        """The mean cosine of embeddings, 0 where it is below."""
        return max(0.0, float(self._cosines(reference, outputs).mean()))

    def _cosines(self, a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
        """By image, (n,)."""
        x, y = (self.embeddings(np.nan_to_num(rows)).astype(np.float64) for rows in (a, b))
        both_zero = ~x.any(axis=1) & ~y.any(axis=1)
        return np.where(both_zero, 1.0, np.clip((x * y).sum(axis=1), -1, 1))
