"""What networks of a search are trained and scored on: images of a source, or files of arrays."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn

from edgekit.arrays import SUFFIX, array_files, rows_of
from edgekit.core import ImageSource, Interface, Preprocessing
from edgekit.core.names import shown
from edgekit.core.text import counted_words
from edgekit.data import open_source
from edgekit.data.truths import CLASS_LABELS, Truth, told, truth_bytes
from edgekit.errors import DataError
from edgekit.models.rows import at_once, one_by_one, together
from edgekit.training.augmentation import augmented
from edgekit.training.images import (
    CACHE_BYTES,
    Batches,
    Loader,
    SplitImages,
    changed_image,
    normalize,
    open_splits,
)

SELECTION = "validation"
"""The split that candidates are chosen by: nothing is trained or tested on it."""

SAMPLED = 32
"""Inputs of a split whose numbers are compared, spread over it, besides the number of all."""

LEAST_FILES, LEAST_HELD_OUT, HELD_OUT = 16, 4, 0.1
"""Files of arrays that a search needs, how many of them each held-out split has at least, and the
share that it has where that is more: as of folders of images."""

LEAST_UNLABELLED = 2
"""Inputs of a held-out split where outputs are followed: one has no spread."""


def check_splits(source: ImageSource) -> None:
    """Refuses images that cannot be searched with.

    Raises:
        DataError: a split is missing.
    """
    for split in ("train", SELECTION):
        if split not in source.splits:
            raise DataError(
                f"'{source.name}' has no split '{split}': a search trains on one part and chooses "
                f"by another"
            )


class Inputs(Protocol):
    """Samples in splits, with or without labels.

    Attributes:
        name: where they come from.
        splits: names; ``train`` and `SELECTION` are among them.
    """

    name: str

    @property
    def splits(self) -> tuple[str, ...]: ...

    def size(self, split: str) -> int:
        """Number of samples in a split."""

    def check(self) -> None:
        """Looks at all that can be looked at in little time.

        Raises:
            DataError: some of it cannot be used.
        """

    def load(self) -> None:
        """Reads what is trained on and chosen by into memory, where it fits.

        Raises:
            DataError: some of it cannot be used.
        """

    def fetch(self, split: str, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Some samples as they lie in memory, and their labels, zeros where there are none.

        Raises:
            DataError: one cannot be used.
        """

    def batches(self, order: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """The same of the training, batch by batch."""

    def changed(
        self, samples: Tensor, labels: Tensor, seed: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Samples as a training takes them, with chance in them where that makes sense."""

    def ready(self, samples: Tensor) -> Tensor:
        """Samples as the network takes them: images, or rows of inputs."""

    def named(self, split: str, index: int, *, changed: bool = False) -> str:
        """A sample in messages."""

    def fingerprint(self) -> str:
        """What is trained on and chosen by: numbers of samples, and what some of them are."""


class ImageInputs:
    """Images of a source.

    Args:
        preprocessing: how images become inputs.
        truth: makes the labels; ``None`` where there are none.
        as_rows: whether the network takes rows of inputs, see `edgekit.core.interface`.

    Raises:
        DataError: a split is missing.
    """

    def __init__(
        self,
        source: ImageSource,
        preprocessing: Preprocessing,
        truth: Truth | None = CLASS_LABELS,
        *,
        as_rows: bool = False,
    ) -> None:
        check_splits(source)
        self.name, self.source, self._preprocessing, self._truth, self._as_rows = (
            source.name,
            source,
            preprocessing,
            truth,
            as_rows,
        )
        self._images: dict[str, SplitImages] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the source."""
        return self.source.splits

    def size(self, split: str) -> int:
        """See `Inputs`."""
        return self.source.size(split)

    def check(self) -> None:
        """Nothing: to decode all images takes long."""

    def load(self) -> None:
        """See `Inputs`."""
        splits = ["train", SELECTION]
        self._images = open_splits(
            self.source, splits, self._preprocessing, lambda done, of: None, self._truth
        )

    def _of(self, split: str) -> SplitImages:
        if split not in self._images:
            self._images[split] = SplitImages(
                self.source, split, self._preprocessing, False, self._truth
            )
        return self._images[split]

    def fetch(self, split: str, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Pixels, uint8 (n, height, width, channels), and labels."""
        return self._of(split).fetch(indices)

    def batches(self, order: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Inputs`."""
        yield from Loader(self._of("train"), order, torch.device("cpu"))

    def changed(
        self, samples: Tensor, labels: Tensor, seed: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Shifted, zoomed and mirrored images, with their boxes or masks."""
        flip = self.source.flippable
        return augmented(self._truth, samples, labels, seed, flip=flip, crop=True)

    def ready(self, samples: Tensor) -> Tensor:
        """Normalized images, or rows of them."""
        images = normalize(samples, self._preprocessing)
        return images.flatten(1) if self._as_rows else images

    def named(self, split: str, index: int, *, changed: bool = False) -> str:
        """See `Inputs`."""
        return changed_image([index], 0) if changed else f"image {index} of split '{split}'"

    def fingerprint(self) -> str:
        """Numbers of images, labels, and pixels and masks of some of them."""
        source, digest, sizes = self.source, hashlib.sha256(), []
        for split in ("train", SELECTION):
            size = source.size(split)
            sizes.append(f"{size} in {split}")
            if told(source) == (CLASS_LABELS.needs,):
                labels = [int(CLASS_LABELS.label(source, split, i, self._preprocessing))
                          for i in range(size)]  # fmt: skip
                digest.update(bytes(str(labels), "ascii"))
            else:  # masks are as long to decode as images are
                few = "masks" in told(source)
                for i in range(0, size, max(1, size // SAMPLED) if few else 1):
                    digest.update(truth_bytes(source, split, i))
            for i in range(0, size, max(1, size // SAMPLED)):
                with contextlib.suppress(DataError):  # one that cannot be decoded is told of later
                    digest.update(source.image(split, i).tobytes())
        return f"{', '.join(sizes)} ({digest.hexdigest()[:12]})"


class ArrayInputs:
    """Files of arrays, one an inference; see `edgekit.arrays`.

    They are cut as folders of images are: by a hash of their names.

    Args:
        data: a folder of them.

    Raises:
        DataError: too few, or not what the network takes.
    """

    def __init__(self, data: str, interface: Interface) -> None:
        self.name, self._interface = data, interface
        files = array_files(data)
        if len(files) < LEAST_FILES:
            raise DataError(
                f"'{data}' has {counted_words(len(files), f'{SUFFIX} file')}, one an inference: "
                f"a search needs "
                f"{LEAST_FILES} at least, as it trains on some, chooses by {LEAST_HELD_OUT} others "
                f"and tests on {LEAST_HELD_OUT} more; some hundred are better"
            )
        files.sort(key=lambda file: hashlib.sha256(file.name.encode(errors="replace")).digest())
        held_out = max(LEAST_HELD_OUT, round(HELD_OUT * len(files)))
        self._files = {
            SELECTION: sorted(files[:held_out]),
            "test": sorted(files[held_out : 2 * held_out]),
            "train": sorted(files[2 * held_out :]),
        }
        numbers = sum(prod(spec.shape) for spec in interface.inputs)
        self._fits = 4 * numbers * len(files) <= CACHE_BYTES
        self._rows: dict[str, Tensor] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """All three."""
        return ("train", SELECTION, "test")

    def size(self, split: str) -> int:
        """See `Inputs`."""
        return len(self._files[split])

    def check(self) -> None:
        """Reads every file."""
        for split in self.splits:
            for file in self._files[split]:
                rows_of([file], self._interface)

    def load(self) -> None:
        """See `Inputs`."""
        if self._fits:
            for split in ("train", SELECTION):
                self._rows[split] = torch.from_numpy(rows_of(self._files[split], self._interface))

    def fetch(self, split: str, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Rows of inputs, float32 (n, numbers)."""
        if split in self._rows:
            rows = self._rows[split][list(indices)]
        else:
            files = [self._files[split][i] for i in indices]
            rows = torch.from_numpy(rows_of(files, self._interface))
        return rows, torch.zeros(len(rows), dtype=torch.int64)

    def batches(self, order: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Inputs`."""
        for indices in order:
            yield self.fetch("train", indices)

    def changed(
        self, samples: Tensor, labels: Tensor, seed: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """As they are: nobody knows what may be changed of them."""
        return samples, labels

    def ready(self, samples: Tensor) -> Tensor:
        """As they are."""
        return samples

    def named(self, split: str, index: int, *, changed: bool = False) -> str:
        """The file."""
        return shown(str(self._files[split][index]))

    def fingerprint(self) -> str:
        """Numbers of files, their names, and the arrays of some of them."""
        digest, sizes = hashlib.sha256(), []
        for split in ("train", SELECTION):
            files = self._files[split]
            sizes.append(f"{len(files)} in {split}")
            digest.update(str([file.name for file in files]).encode(errors="replace"))
            some = files[:: max(1, len(files) // SAMPLED)]
            digest.update(rows_of(some, self._interface).tobytes())
        return f"{', '.join(sizes)} ({digest.hexdigest()[:12]})"


def open_inputs(
    data: str,
    preprocessing: Preprocessing | None,
    interface: Interface | None,
    truth: Truth | None,
) -> Inputs:
    """Samples of a search; nothing but their number is looked at yet.

    Args:
        data: SRC, or a folder of files of arrays for networks of any tensors.
        preprocessing: how images become inputs; ``None`` where there are none.
        interface: of a network of any tensors; ``None`` of classifiers.
        truth: makes the labels; ``None`` where none are needed.

    Raises:
        DataError: they cannot be used, or are too few.
    """
    if interface is not None and array_files(data):
        return ArrayInputs(data, interface)
    assert preprocessing is not None
    source = open_source(data, labelled=truth is not None)
    inputs = ImageInputs(source, preprocessing, truth, as_rows=interface is not None)
    if truth is None and inputs.size(SELECTION) < LEAST_UNLABELLED:
        raise DataError(
            f"'{data}' has {inputs.size(SELECTION)} image to choose by (split '{SELECTION}'): "
            f"expected {LEAST_UNLABELLED} at least, and some hundred are better"
        )
    return inputs


@dataclass(frozen=True, slots=True)
class Running:
    """How networks of a search are run on samples.

    Attributes:
        interface: of a network of any tensors; ``None`` of classifiers, which take images.
        batched: whether inferences of one may be computed at once; see
            `edgekit.models.rows.runs_batched`.
    """

    interface: Interface | None = None
    batched: bool = True

    def __call__(self, module: nn.Module, samples: Tensor) -> Tensor:
        """Outputs, (n, numbers)."""
        if self.interface is None:
            found: Tensor = module(samples)
            return found
        way = together if self.batched else one_by_one
        return way(module, samples, self.interface)

    def at_once(self, most: int) -> int:
        """Samples that are computed at once: of large maps fewer, as memory has an end."""
        if self.interface is None:
            return most
        return at_once(most, self.interface)

    def output(self, column: int) -> str:
        """An output in messages, by the place of one of its numbers."""
        if self.interface is None:
            return f"output {column}"
        return self.interface.told(column)


ON_IMAGES = Running()
"""How classifiers are run."""
