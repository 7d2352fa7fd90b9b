"""The network with what belongs to it: images in, outputs out."""

import json
from pathlib import Path

import numpy as np

from .preprocess import decoded, finished_pixels, values
from .runtime import Runtime

MODEL = Path(__file__).parent / "model"


class Network:
    """A loaded network. It is used again and again, by one thread at a time.

    Args:
        folder: with the model and its contract.
        threads: of the runtime.
    """

    def __init__(self, folder=MODEL, threads=1):
        (path,) = Path(folder).glob("*.json")
        self.contract = json.loads(path.read_text(encoding="utf-8"))
        self._how = self.contract["preprocessing"]
        self._runtime = Runtime(path.with_suffix(""), threads)  # the file's name, and .json

    def pixels(self, image):
        """Decoded and turned: uint8, height x width x 3 or 4.

        Args:
            image: path, bytes of a file, file object, ``PIL.Image``, or such an array in RGB.

        Raises:
            ImageError: it cannot be used; the message says why.
        """
        return decoded(image, self._how)

    def prepare(self, image):
        """An image as the network takes it, in float32, without a batch axis; see ``pixels``."""
        return self.values(self.finished_pixels(image))

    def finished_pixels(self, image):
        """An image in the network's size, before its values change: for tests."""
        return finished_pixels(image, self._how)

    def values(self, pixels):
        """Finished pixels as the network takes them."""
        return values(pixels, self._how)

    def outputs(self, prepared):
        """The network's outputs for a prepared image, by what they mean, without a batch axis."""
        found = self._runtime.run(_stored(prepared[np.newaxis], self.contract["inputs"][0]))
        return {
            spec["role"] or spec["name"]: _real(array, spec).reshape(spec["shape"][1:])
            for array, spec in zip(found, self.contract["outputs"])
        }


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
