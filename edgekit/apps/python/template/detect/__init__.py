"""Finds objects in images. Copy this folder into a product, and::

    from detector import Detector

    detector = Detector()
    for found in detector("photo.jpg"):
        print(found.name, found.probability, found.box)

A ``Detector`` is loaded once and used again and again, by one thread at a time. How images are
prepared and what the outputs mean stands in the contract beside the model (``model/*.json``).
"""

from .decode import Detection, decode
from .network import Network
from .preprocess import ImageError

__all__ = ["Detection", "Detector", "ImageError"]


class Detector(Network):
    """A network that finds objects; see ``Network``."""

    def __call__(self, image):
        """The objects in an image, the surest first: a list of ``Detection``.

        Args:
            image: path, bytes of a file, file object, ``PIL.Image``, or uint8 array of height x
                width x 3 (RGB).

        Raises:
            ImageError: it cannot be used; the message says why.
        """
        pixels = self.pixels(image)
        return self.decoded(self.outputs(self.prepare(pixels)), pixels.shape[:2])

    def decoded(self, outputs, size):
        """The objects, by the network's outputs.

        Args:
            size: height and width of the image, whose pixels boxes are in.
        """
        return decode(outputs, self.contract, size)

    def told(self, objects):
        """Objects for JSON."""
        return {"boxes": [found._asdict() for found in objects]}
