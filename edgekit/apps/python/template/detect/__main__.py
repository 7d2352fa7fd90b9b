"""``python -m detector IMAGE...``: which objects images show, and where."""

import sys

from . import Detector
from .command import printable, run
from .drawing import framed


class Told(Detector):
    """A detector with lines for people."""

    def lines(self, objects):
        """One an object."""
        for found in objects:
            x0, y0, x1, y1 = found.box
            place = f"{x0:.0f}, {y0:.0f} to {x1:.0f}, {y1:.0f} px"
            yield f"{found.probability:7.2%}  {printable(found.name):30}  {place}"
        if not objects:
            yield "nothing that is sure enough"

    def drawn(self, pixels, objects):
        """The image with a frame around each object."""
        names = [f"{printable(found.name)} {found.probability:.0%}" for found in objects]
        boxes, classes = [found.box for found in objects], [found.index for found in objects]
        return framed(pixels, boxes, names, classes)


if __name__ == "__main__":
    about = "Finds objects in images; boxes are in pixels of the image."
    sys.exit(run(lambda asked: Told(threads=asked.threads), "detector", about))
