"""Says what images show. Copy this folder into a product, and::

    from classifier import Classifier

    classifier = Classifier()
    for label in classifier("photo.jpg"):
        print(label.name, label.probability)

A ``Classifier`` is loaded once and used again and again, by one thread at a time. How images are
prepared and what the outputs mean stands in the contract beside the model (``model/*.json``).
"""

import json
from pathlib import Path

import numpy as np

from .decode import Label, decode
from .preprocess import ImageError, finished_pixels, prepare, values
from .runtime import Runtime

__all__ = ["Classifier", "ImageError", "Label"]

MODEL = Path(__file__).parent / "model"


class Classifier:
    """A network that says what images show.

    Args:
        folder: with the model and its contract.
        threads: of the runtime.
    """

    def __init__(self, folder=MODEL, threads=1):
        (path,) = Path(folder).glob("*.json")
        self.contract = json.loads(path.read_text(encoding="utf-8"))
        self._input, self._outputs = self.contract["inputs"][0], self.contract["outputs"]
        self._runtime = Runtime(path.with_suffix(""), threads)  # the file's name, and .json

    def __call__(self, image, most=5):
        """The likeliest classes of an image: a list of ``Label``.

        Args:
            image: path, bytes of a file, file object, ``PIL.Image``, or uint8 array of height x
                width x 3 (RGB).

        Raises:
            ImageError: it cannot be used; the message says why.
        """
        return self.labels(self.scores(self.prepare(image)), most)

    def labels(self, scores, most=5):
        """The likeliest classes, by the network's output."""
        return decode(scores, self.contract, most)

    def prepare(self, image):
        """An image as the network takes it, in float32, without a batch axis."""
        return prepare(image, self.contract["preprocessing"])

    def scores(self, prepared):
        """The network's output for a prepared image: one number a class."""
        given = _stored(prepared[np.newaxis], self._input)
        return _real(self._runtime.run(given), self._outputs[0]).reshape(-1)

    def finished_pixels(self, image):
        """An image in the network's size, before its values change: for tests."""
        return finished_pixels(image, self.contract["preprocessing"])

    def values(self, pixels):
        """Finished pixels as the network takes them."""
        return values(pixels, self.contract["preprocessing"])


def _stored(array, spec):
    """Real values as the file takes them, which may be integers with a scale."""
    if spec["scale"] is None:
        return array.astype(spec["dtype"], copy=False)
    kind = np.iinfo(spec["dtype"])
    steps = np.rint(array / np.float32(spec["scale"])) + (spec["zero_point"] or 0)
    return np.clip(steps, kind.min, kind.max).astype(spec["dtype"])


def _real(array, spec):
    """What the file computed, as real values."""
    if spec["scale"] is None:
        return array.astype(np.float32, copy=False)
    steps = array.astype(np.float32) - np.float32(spec["zero_point"] or 0)
    return steps * np.float32(spec["scale"])
