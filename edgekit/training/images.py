"""Images for training: read once and kept where they fit, then batched and augmented."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from edgekit.agent.kernel import usable_cores
from edgekit.core import ImageSource, Preprocessing
from edgekit.data import decoded_for
from edgekit.data.preprocess import BLUE_FIRST, resize_and_crop
from edgekit.data.truths import Truth
from edgekit.errors import EdgekitError

CACHE_BYTES = 2 * 1024**3
"""Memory that images and masks may take; 50,000 at 64 px take 0.6 GB, beyond they are decoded on
access."""

MAX_SHIFT = 1 / 8
"""Largest shift as a share of the side: the 4 of 32 px usual since arXiv:1512.03385."""

MAX_ZOOM = 0.15
"""Largest change of scale."""

_CHUNK = 256

Batch = tuple[Tensor, Tensor]
"""Pixels, uint8 (N, height, width, channels), and labels (N, ...), as the task stacks them."""


class SplitImages(Dataset[Batch]):
    """The images of a split at the network's resolution, fetched by the batch.

    Args:
        cache: keep the images in memory after `load`.
        truth: makes the labels; zeros where nobody asks for any.
    """

    def __init__(
        self,
        source: ImageSource,
        split: str,
        preprocessing: Preprocessing,
        cache: bool,
        truth: Truth | None = None,
    ) -> None:
        self.source = decoded_for(source, preprocessing)
        self.split, self.preprocessing, self.truth = split, preprocessing, truth
        self._count = source.size(split)
        shape = (len(self), *preprocessing.size, preprocessing.channels)
        self.cached = torch.empty(shape, dtype=torch.uint8) if cache else None
        self._labels: list[NDArray[Any]] | None = None

    def __len__(self) -> int:
        return self._count

    def load(self, report: Callable[[int], None]) -> None:
        """Fills the cache, and keeps the labels; large ones only beside their images.

        Args:
            report: is given the number of images each time that many more are there.

        Raises:
            DataError: an image that cannot be decoded.
        """
        labels: list[NDArray[Any]] | None = None
        if self.truth is not None and (self.cached is not None or not self.truth.large):
            labels = []
        with ThreadPoolExecutor(usable_cores()) as pool:
            # In chunks, so that an error or Ctrl-C leaves little work behind to wait for.
            for start in range(0, len(self), _CHUNK):
                indices = range(start, min(start + _CHUNK, len(self)))
                if labels is not None:
                    labels += pool.map(self._label, indices)
                if self.cached is not None:
                    pixels = np.stack(list(pool.map(self._pixels, indices)))
                    self.cached[start : start + len(indices)] = torch.from_numpy(pixels)
                    report(len(indices))
        self._labels = labels

    def counts(self, classes: int) -> list[int] | None:
        """How often each class is there, see `Truth.seen`; ``None`` where no labels are kept."""
        if self.truth is None or self._labels is None:
            return None
        found = np.zeros(classes, np.int64)
        for label in self._labels:
            seen = self.truth.seen(label)
            np.add.at(found, seen[seen < classes], 1)
        counts: list[int] = found.tolist()
        return counts

    def teaches(self, classes: int) -> bool:
        """Whether any image has one of the classes; looks no further than at the first that has."""
        truth, kept = self.truth, self._labels
        if truth is None:
            return False
        labels = map(self._label, range(len(self))) if kept is None else kept
        return any((truth.seen(label) < classes).any() for label in labels)

    def labels(self) -> Sequence[NDArray[Any]]:
        """What is right of each image; only where `load` has kept it."""
        assert self._labels is not None, "no labels are kept"
        return self._labels

    def fetch(self, indices: Sequence[int]) -> Batch:
        """Pixels and labels of some images."""
        if self.cached is not None:
            return self.cached[torch.as_tensor(indices)], self._stacked(indices)
        pixels = np.stack([self._pixels(int(i)) for i in indices])
        return torch.from_numpy(pixels), self._stacked(indices)

    def __getitems__(self, indices: Sequence[int]) -> Batch | EdgekitError:
        try:
            return self.fetch(indices)
        except EdgekitError as error:  # as a value: raised, a worker wraps it in a traceback
            return error

    def _stacked(self, indices: Sequence[int]) -> Tensor:
        """Labels of some images; zeros where nobody asks for any."""
        if self.truth is None:
            return torch.zeros(len(indices), dtype=torch.int64)
        kept = self._labels
        labels = [self._label(int(i)) if kept is None else kept[int(i)] for i in indices]
        return torch.from_numpy(self.truth.stacked(labels))

    def _label(self, index: int) -> NDArray[Any]:
        assert self.truth is not None
        return self.truth.label(self.source, self.split, index, self.preprocessing)

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        return resize_and_crop(self.source.image(self.split, index), self.preprocessing)


class Batches(Sampler[list[int]]):
    """Batches of indices, in a random order that is new for each value of `epoch`.

    Batches differ by at most one image in size and none is smaller than asked for, so that no
    image is left out and batch norm never meets a batch of one.

    Args:
        images: how many there are.
        seed: of the order; without one they come as they are.
        limit: take no more than that many.
        share: number of this process and how many there are; it takes its part of each batch.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int | None = None,
        limit: int | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.share = share
        self.all, self.seed, self.epoch = images, seed, 0
        self.images = images if limit is None else min(images, limit)
        self.count = max(1, self.images // batch_size)

    def __len__(self) -> int:
        return self.count

    def size(self, step: int) -> int:
        """Images in a batch, of all processes together."""
        return self.images // self.count + (step < self.images % self.count)

    def step(self, number: int) -> list[int]:
        """The batch of a step of the epoch, counted from 0."""
        return next(itertools.islice(self, number, None))

    def __iter__(self) -> Iterator[list[int]]:
        rank, processes = self.share
        order = np.arange(self.all)
        if self.seed is not None:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.all)
        for part in np.array_split(order[: self.images], self.count):
            if len(own := part[rank::processes]):
                yield own.tolist()


class Loader:
    """Iterates over batches of a split, decoding ahead in workers where nothing is cached."""

    def __init__(self, images: SplitImages, batches: Batches, device: torch.device) -> None:
        self.batches, self.device = batches, device
        workers = 0 if images.cached is not None else usable_cores()
        self._loader: DataLoader[Batch] = DataLoader(
            images,
            batch_sampler=batches,
            collate_fn=_as_fetched,
            # New ones for each epoch: persistent ones hang for 10 s when an error ends the run.
            num_workers=workers,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # the order must not depend on torch's global one
        )

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """Batches on the device.

        Raises:
            DataError: an image that cannot be decoded.
        """
        for batch in self._loader:
            if isinstance(batch, EdgekitError):
                raise batch
            pixels, labels = batch
            yield (
                pixels.to(self.device, non_blocking=True),
                labels.to(self.device, non_blocking=True),
            )


def _as_fetched(batch: Any) -> Any:
    """Takes the place of torch's collation: `SplitImages` gives whole batches."""
    return batch


def open_splits(
    source: ImageSource,
    splits: Sequence[str],
    preprocessing: Preprocessing,
    report: Callable[[int, int], None],
    truth: Truth | None = None,
) -> dict[str, SplitImages]:
    """The images of some splits, read into memory if all of them fit into `CACHE_BYTES`.

    Args:
        truth: see `SplitImages`.
        report: is given the number of images in memory and of all, whenever there are more.

    Raises:
        DataError: an image that cannot be decoded.
    """
    total = sum(source.size(split) for split in splits)
    masks = math.prod(preprocessing.size) if truth is not None and truth.large else 0
    cache = total * (math.prod(preprocessing.shape()) + masks) <= CACHE_BYTES
    opened = {split: SplitImages(source, split, preprocessing, cache, truth) for split in splits}
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        report(done, total)

    for images in opened.values():
        images.load(count)
    return opened


def augment(pixels: Tensor, seed: Sequence[int], *, flip: bool, crop: bool) -> Tensor:
    """Shifts and zooms images, and mirrors half of them.

    Args:
        pixels: (N, height, width, channels).
        seed: everything that the choices depend on, such as seed, epoch and step.

    Returns:
        The same shape and type; what a shift uncovers repeats the image's edge.
    """
    if not flip and not crop:
        return pixels
    n, height, width = pixels.shape[:3]
    rng = np.random.default_rng(seed)
    reaches = [round(side * MAX_SHIFT) if crop else 0 for side in (height, width)]
    # Of squares all at once: numbers are drawn in the order that they always were.
    shifts = (
        rng.integers(-reaches[0], reaches[0] + 1, (2, n, 1))
        if height == width
        else np.stack([rng.integers(-reach, reach + 1, (n, 1)) for reach in reaches])
    )
    zoom = rng.uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM, (n, 1)) if crop else np.ones((n, 1))
    rows, columns = (
        _places(side, zoom, shift) for side, shift in zip((height, width), shifts, strict=True)
    )
    if flip:
        columns = np.where(rng.random((n, 1)) < 0.5, columns[:, ::-1], columns)
    where = (
        torch.arange(n).view(n, 1, 1),
        torch.from_numpy(rows).view(n, height, 1),
        torch.from_numpy(columns.copy()).view(n, 1, width),
    )
    return pixels[tuple(index.to(pixels.device) for index in where)]


def _places(side: int, zoom: NDArray[Any], shift: NDArray[Any]) -> NDArray[np.int64]:
    """Which pixel each one along an axis is taken from, (n, side)."""
    offsets = np.arange(side) - (side - 1) / 2
    places = np.rint(offsets * zoom + (side - 1) / 2).astype(np.int64)
    found: NDArray[np.int64] = np.clip(places + shift, 0, side - 1)
    return found


def changed_image(indices: Sequence[int], row: int) -> str:
    """Names an image of a batch of `Batches` in a message."""
    return f"image {indices[row]} of split 'train', as it is augmented"


def normalize(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """`edgekit.data.preprocess.normalize` on the device, equal to the last bit.

    Args:
        pixels: 8 bits, (N, height, width, channels).

    Returns:
        float32 (N, channels, height, width) in channels-last memory format.
    """
    assert preprocessing.layout == "NCHW"
    if preprocessing.channel_order in BLUE_FIRST:
        pixels = pixels[..., BLUE_FIRST[preprocessing.channel_order]]
    values = pixels.to(torch.float32) * preprocessing.scale
    mean, std = (
        torch.tensor(x, device=values.device) for x in (preprocessing.mean, preprocessing.std)
    )
    return ((values - mean) / std).permute(0, 3, 1, 2)
