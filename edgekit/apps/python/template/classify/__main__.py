"""``python -m classifier IMAGE...``: what images show."""

import sys

from . import Classifier
from .command import printable, run


class Told(Classifier):
    """A classifier with lines for people."""

    def lines(self, labels):
        """One a class."""
        for label in labels:
            bar = "#" * round(30 * label.probability)
            yield f"{label.probability:7.2%}  {printable(label.name):30}  {bar}"


if __name__ == "__main__":
    sys.exit(
        run(
            lambda asked: Told(threads=asked.threads, most=asked.top),
            "classifier",
            "Says what images show.",
            [("--top", {"type": int, "default": 5, "metavar": "N", "help": "so many classes"})],
            draws=False,
        )
    )
