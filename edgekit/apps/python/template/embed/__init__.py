"""Recognises what it was shown once. Copy this folder into a product, and::

    from embedder import Embedder

    embedder = Embedder()
    gallery = embedder.gallery("known")  # known/NAME.jpg, or known/NAME/1.jpg
    found = embedder("photo.jpg", gallery)
    print(found.label, found.distance)

An ``Embedder`` is loaded once and used again and again, by one thread at a time. How images are
prepared and what the outputs mean stands in the contract beside the model (``model/*.json``).
"""

import re
from pathlib import Path

import numpy as np

from .decode import Embedding, Gallery, Neighbour, among, unit
from .network import MODEL, Network
from .preprocess import ImageError

__all__ = ["Embedder", "Embedding", "Gallery", "ImageError", "Neighbour"]

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")


class Embedder(Network):
    """A network that says what an image is like.

    Args:
        folder: with the model and its contract.
        threads: of the runtime.
        known: a folder of known images, which ``decoded`` compares with.
        distance: from where on an image is none of the gallery; that of the contract by default,
            and none where it has none.
    """

    def __init__(self, folder=MODEL, threads=1, known=None, distance=None):
        super().__init__(folder, threads)
        own = self.contract["parameters"].get("distance")
        self.distance = own if distance is None else distance
        self._known = None if known is None else self.gallery(known)

    def __call__(self, image, gallery=None):
        """An image among known ones: an ``Embedding``.

        Args:
            image: path, bytes of a file, file object, ``PIL.Image``, or uint8 array of height x
                width x 3 (RGB).

        Raises:
            ImageError: it cannot be used; the message says why.
        """
        return among(self.embedding(image), gallery or self._known)

    def embedding(self, image):
        """A vector of length 1."""
        return unit(self.outputs(self.prepare(image))["embedding"])

    def gallery(self, folder):
        """Known images: of a folder for each thing, or called as their thing (``anna-2.jpg``).

        Raises:
            ImageError: there are none, or one cannot be used.
        """
        folder = Path(folder)
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        if not files:
            raise ImageError(
                f"{folder} has no images: expected {folder}/NAME.jpg, or a folder each"
            )
        rows = []
        for path in files:
            try:
                rows.append(self.embedding(path))
            except ImageError as error:
                raise ImageError(f"{path}: {error}") from error
        labels = [name_of(path.relative_to(folder)) for path in files]
        return Gallery([str(path) for path in files], labels, np.array(rows), self.distance)

    def decoded(self, outputs, size):
        """The image among known ones, by the network's outputs."""
        return among(unit(outputs["embedding"]), self._known)

    def told(self, found):
        """The same for JSON."""
        return {
            "embedding": [float(value) for value in found.embedding],
            "label": found.label,
            "distance": found.distance,
            "neighbours": [one._asdict() for one in found.neighbours],
        }


def name_of(place):
    """What an image of a gallery shows: its folder says it, else its name without a number."""
    if len(place.parts) > 1:
        return place.parts[0]
    return re.sub(r"[-_ .]+\d+$", "", place.stem) or place.stem
