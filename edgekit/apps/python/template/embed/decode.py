"""What the output of the network means: a vector, near to those of images of the same thing."""

from typing import Any, NamedTuple, Optional

import numpy as np


class Neighbour(NamedTuple):
    """A known image, what it shows, and how far it is: 0 for the same, 1 for an unrelated one."""

    image: str
    label: str
    distance: float


class Embedding(NamedTuple):
    """A vector of length 1, what the image shows (None: nothing of the gallery), how far the
    nearest known image is, and the nearest ones, the nearest first.
    """

    embedding: Any
    label: Optional[str] = None
    distance: Optional[float] = None
    neighbours: tuple[Neighbour, ...] = ()


class Gallery(NamedTuple):
    """Known images: names of files, what they show, vectors (n, numbers), and from which distance
    on an image shows none of that (None: it always shows what the nearest one does).
    """

    images: list[str]
    labels: list[str]
    embeddings: Any
    distance: Optional[float] = None


def unit(vector):
    """The vector with the length 1; zeros stay."""
    vector = np.asarray(vector, np.float64).reshape(-1)
    length = np.linalg.norm(vector)
    return (vector / length if length > 0 else vector).astype(np.float32)


def among(vector, gallery=None, most=5):
    """An image among known ones.

    Args:
        vector: of length 1.
        most: neighbours.
    """
    if gallery is None:
        return Embedding(vector)
    distances = np.clip(1 - np.asarray(gallery.embeddings, np.float32) @ vector, 0, 2)
    order = np.argsort(distances, kind="stable")[:most]
    near = [Neighbour(gallery.images[i], gallery.labels[i], float(distances[i])) for i in order]
    known = gallery.distance is None or near[0].distance < gallery.distance
    return Embedding(vector, near[0].label if known else None, near[0].distance, tuple(near))
