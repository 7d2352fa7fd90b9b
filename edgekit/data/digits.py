"""The built-in data: scikit-learn's 1,797 scans of handwritten digits, 8 x 8 px.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998 (its test part, as scikit-learn ships it).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.core import ImageSource
from edgekit.errors import UnavailableError

_SPLIT_SEED = 1797
_HELD_OUT = 0.15  # of each class, once for validation and once for test


class DigitsSource:
    """Digits as an `ImageSource`.

    Args:
        pixels: shape (n, 8, 8), grey levels from 0 to 16.
        labels: shape (n,), the digits.
    """

    def __init__(self, pixels: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        self.name = "digits"
        self.classes = tuple(str(digit) for digit in range(10))
        self.flippable = False  # a mirrored 2 is no digit, a mirrored 3 no 3
        self.keeps_test = True
        self.splits: tuple[str, ...] = ("train", "validation", "test", "all")
        self._grey = np.floor(pixels * (255 / 16) + 0.5).astype(np.uint8)
        self._labels = labels
        self._indices = _split(labels) | {"all": np.arange(len(labels))}

    def size(self, split: str) -> int:
        """Number of images in a split."""
        return len(self._indices[split])

    def label(self, split: str, index: int) -> int:
        """Label of one image."""
        return int(self._labels[self._indices[split][index]])

    def image(self, split: str, index: int) -> NDArray[np.uint8]:
        """One image, shape (8, 8, 3), its three channels equal."""
        grey = self._grey[self._indices[split][index]]
        return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def open_source() -> ImageSource:
    """Opens the digits.

    Raises:
        UnavailableError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the data source 'digits' needs the package '{error.name}', which is not installed: "
            "pip install scikit-learn"
        ) from error
    digits = load_digits()
    return DigitsSource(digits.images, digits.target)


def _split(labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Indices of each split, ascending: 15 % of each class held out for validation and for test."""
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "validation": [], "test": []}
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        members = np.random.default_rng([_SPLIT_SEED, digit]).permutation(members)
        held_out = round(_HELD_OUT * len(members))
        parts["validation"].append(members[:held_out])
        parts["test"].append(members[held_out : 2 * held_out])
        parts["train"].append(members[2 * held_out :])
    return {name: np.sort(np.concatenate(part)) for name, part in parts.items()}
