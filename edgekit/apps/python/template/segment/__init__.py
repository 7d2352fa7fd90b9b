"""Says of each pixel what it shows. Copy this folder into a product, and::

    from segmenter import Segmenter

    segmenter = Segmenter()
    found = segmenter("photo.jpg")
    found.mask  # a class for each pixel of the photograph
    for area in found.classes:
        print(area.name, area.share)

A ``Segmenter`` is loaded once and used again and again, by one thread at a time. How images are
prepared and what the outputs mean stands in the contract beside the model (``model/*.json``).
"""

from .decode import Area, Segmentation, classes_of, decode
from .network import Network
from .preprocess import ImageError

__all__ = ["Area", "ImageError", "Segmentation", "Segmenter"]


class Segmenter(Network):
    """A network that says of each pixel what it shows; see ``Network``."""

    def __call__(self, image):
        """What an image consists of: a ``Segmentation``.

        Args:
            image: path, bytes of a file, file object, ``PIL.Image``, or uint8 array of height x
                width x 3 (RGB).

        Raises:
            ImageError: it cannot be used; the message says why.
        """
        pixels = self.pixels(image)
        return self.decoded(self.outputs(self.prepare(pixels)), pixels.shape[:2])

    def decoded(self, outputs, size):
        """What the image consists of, by the network's outputs.

        Args:
            size: height and width of the image.
        """
        return decode(classes_of(outputs), self.contract, size)

    def told(self, found):
        """Shares for JSON."""
        return {"classes": [area._asdict() for area in found.classes]}
