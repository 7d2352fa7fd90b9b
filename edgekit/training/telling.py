"""What a training has to learn from, and what is too little of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit import registry
from edgekit.core import CLASSIFY
from edgekit.core.names import shown
from edgekit.core.text import counted_words
from edgekit.data.truths import COUNTED
from edgekit.errors import DataError
from edgekit.tasks.shares import share_interval
from edgekit.training.images import SplitImages
from edgekit.training.progress import Progress

if TYPE_CHECKING:
    from edgekit.training.run_folder import Plan

TOO_WIDE = 0.1
"""Width of an interval of 95 % from which on an accuracy says little."""

_NAMED = 3
"""Classes that a message names."""


def tell_images(plan: Plan, images: Mapping[str, SplitImages], progress: Progress) -> None:
    """Says what a training has to learn from, and where that is too little to tell anything.

    Raises:
        DataError: no training image has what the task learns from.
    """
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in images.items())
    told = f"{plan.data}: {counted_words(len(plan.labels), 'class', 'classes')}, images: {sizes}"
    _check_taught(plan, images["train"])
    counts = images["train"].counts(len(plan.labels))
    if counts is None:  # masks that are decoded on access
        progress.images(told)
        return
    # Classes that are held out of the training are not there to be learned.
    seen = [i for i, count in enumerate(counts) if count or plan.task == CLASSIFY]
    least = min(seen, key=counts.__getitem__)
    progress.images(
        f"{told}; the smallest class, '{plan.labels[least]}', has {counts[least]:,} for training"
    )
    _tell_unseen(plan, images["train"], counts, progress)
    for split, own in list(images.items())[1:]:
        _tell_unmeasured(plan, split, own, progress)
    if plan.task == CLASSIFY:
        _tell_few(*list(images.items())[-1], progress)


def _check_taught(plan: Plan, images: SplitImages) -> None:
    if images.truth is not None and not images.teaches(len(plan.labels)):
        needs = images.truth.needs
        raise DataError(
            f"of {counted_words(len(images), 'training image')} of '{plan.data}' none has "
            f"{COUNTED[needs]}: expected some to learn from; give images with {needs}"
        )


def _tell_unseen(plan: Plan, images: SplitImages, counts: list[int], progress: Progress) -> None:
    """Classes that cannot be learned; others than a network's own are what embeddings are for."""
    unseen = [name for name, count in zip(plan.labels, counts, strict=True) if not count]
    needs = "" if images.truth is None else images.truth.needs
    if not unseen or (needs == "labels" and plan.task != CLASSIFY):
        return
    listed = ", ".join(f"'{shown(name)}'" for name in unseen[:_NAMED])
    listed += "" if len(unseen) <= _NAMED else f" and {len(unseen) - _NAMED} more"
    if needs == "labels":
        progress.warn(
            f"no training image is of {listed}: a classifier cannot learn them; held-out classes "
            f"are for networks that embed (--task embed)"
        )
        return
    why = "; pixels of an ignored value are of no class" if needs == "masks" else ""
    progress.warn(f"no training image has {listed}, which cannot be learned{why}")


def _tell_unmeasured(plan: Plan, split: str, images: SplitImages, progress: Progress) -> None:
    """Images that do not tell the headline figure."""
    counts = images.counts(len(plan.labels))
    if counts is None or images.truth is None or plan.task == CLASSIFY:
        return
    needs = images.truth.needs
    if max(counts) < (2 if needs == "labels" else 1):
        progress.warn(
            f"of {counted_words(len(images), f'{split} image')} of '{plan.data}' none has "
            f"{COUNTED[needs]}: {registry.task(plan.task).title} is not known of them"
        )


def _tell_few(split: str, images: SplitImages, progress: Progress) -> None:
    low, high = share_interval(0.9, len(images))
    if high - low > TOO_WIDE:
        progress.warn(
            f"{len(images)} {split} images are few: an accuracy of 90 % may be anything "
            f"from {low:.0%} to {high:.0%}"
        )
