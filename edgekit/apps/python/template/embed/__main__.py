"""``python -m embedder IMAGE... --gallery DIR``: which known images these are like."""

import sys
from pathlib import Path

import numpy as np

from . import Embedder
from .command import printable, run
from .drawing import side_by_side


class Told(Embedder):
    """An embedder with lines for people."""

    def lines(self, found):
        """What the image shows, and a line for each neighbour."""
        if not found.neighbours:
            numbers = ", ".join(f"{value:.3f}" for value in found.embedding[:4])
            yield f"{len(found.embedding)} numbers: {numbers}, ..."
            return
        yield printable(found.label) if found.label is not None else "(none of the gallery)"
        for one in found.neighbours:
            yield f"{one.distance:7.4f}  {printable(one.label):26}  {Path(one.image).name}"

    def drawn(self, pixels, found):
        """The image and its neighbours side by side."""
        others = [np.asarray(self.pixels(one.image)) for one in found.neighbours]
        names = [f"{printable(one.label)}  {one.distance:.3f}" for one in found.neighbours]
        return side_by_side([pixels, *others], [printable(found.label or "?"), *names])


def make(asked):
    """The embedder that was asked for."""
    return Told(threads=asked.threads, known=asked.gallery, distance=asked.distance)


if __name__ == "__main__":
    about = "Says which known images these are like."
    options = [
        ("--gallery", {"type": Path, "metavar": "DIR", "help": "known images, as DIR/NAME.jpg"}),
        (
            "--distance",
            {"type": float, "metavar": "TAU", "help": "from here on it is none of the gallery"},
        ),
    ]
    sys.exit(run(make, "embedder", about, options))
