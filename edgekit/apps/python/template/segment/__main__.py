"""``python -m segmenter IMAGE...``: what the pixels of images show."""

import sys

from . import Segmenter
from .command import printable, run
from .drawing import coloured


class Told(Segmenter):
    """A segmenter with lines for people."""

    def lines(self, found):
        """One a class."""
        for area in found.classes:
            yield f"{area.share:7.2%}  {printable(area.name):30}  {'#' * round(30 * area.share)}"

    def drawn(self, pixels, found):
        """The image under the colours of its classes, and which is which."""
        names = [f"{area.share:.1%}  {printable(area.name)}" for area in found.classes]
        return coloured(pixels, found.mask, names, [area.index for area in found.classes])


if __name__ == "__main__":
    about = "Says of each pixel of images what it shows."
    sys.exit(run(lambda asked: Told(threads=asked.threads), "segmenter", about))
