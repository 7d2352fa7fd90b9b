"""Says what images show. Copy this folder into a product, and::

    from classifier import Classifier

    classifier = Classifier()
    for label in classifier("photo.jpg"):
        print(label.name, label.probability)

A ``Classifier`` is loaded once and used again and again, by one thread at a time. How images are
prepared and what the outputs mean stands in the contract beside the model (``model/*.json``).
"""

from .decode import Label, decode
from .network import MODEL, Network
from .preprocess import ImageError

__all__ = ["Classifier", "ImageError", "Label"]


class Classifier(Network):
    """A network that says what images show.

    Args:
        folder: with the model and its contract.
        threads: of the runtime.
        most: classes that it names.
    """

    def __init__(self, folder=MODEL, threads=1, most=5):
        super().__init__(folder, threads)
        self._most = most

    def __call__(self, image, most=None):
        """The likeliest classes of an image: a list of ``Label``.

        Args:
            image: path, bytes of a file, file object, ``PIL.Image``, or uint8 array of height x
                width x 3 (RGB).

        Raises:
            ImageError: it cannot be used; the message says why.
        """
        return self.labels(self.scores(self.prepare(image)), most)

    def labels(self, scores, most=None):
        """The likeliest classes, by the network's output."""
        return decode(scores, self.contract, self._most if most is None else most)

    def scores(self, prepared):
        """The network's output for a prepared image: one number a class."""
        (found,) = self.outputs(prepared).values()
        return found.reshape(-1)

    def decoded(self, outputs, size):
        """The likeliest classes, by the network's outputs."""
        (found,) = outputs.values()
        return self.labels(found)

    def told(self, labels):
        """Classes for JSON."""
        return {"labels": [label._asdict() for label in labels]}
