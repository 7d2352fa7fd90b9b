"""Time of augmented images with boxes, against kornia's; wants ``pip install kornia`` beside it.

``python tests/bench/augmentation.py``. Both mirror, shift and zoom 32 images of 160 px with five
boxes each and change their light, in turns, on one thread; processor time is measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from kornia.augmentation import (  # type: ignore[import-not-found]
    AugmentationSequential,
    ColorJitter,
    RandomAffine,
    RandomHorizontalFlip,
)

from edgekit.training.augmentation import CONTRAST, LIGHT, SHIFT, ZOOM, augment_boxes

IMAGES, SIDE, BOXES, ROUNDS = 32, 160, 5, 20


def seconds(step: Callable[[], object]) -> float:
    begin = time.process_time()
    step()
    return time.process_time() - begin


def main() -> None:
    torch.set_num_threads(1)
    pixels = torch.randint(0, 256, (IMAGES, SIDE, SIDE, 3), dtype=torch.uint8)
    labels = torch.zeros(IMAGES, BOXES, 6)
    labels[..., :4] = torch.tensor([20.0, 30.0, 80.0, 90.0])
    theirs = AugmentationSequential(
        RandomHorizontalFlip(p=0.5),
        RandomAffine(0, (SHIFT, SHIFT), (1 / ZOOM[1], 1 / ZOOM[0]), p=1.0),
        ColorJitter(LIGHT, CONTRAST, p=1.0),
        data_keys=["input", "bbox_xyxy"],
    )
    found: list[tuple[float, float]] = []
    for i in range(ROUNDS + 3):
        own = seconds(lambda i=i: augment_boxes(pixels, labels, (0, i), flip=True, crop=True))  # type: ignore[misc]
        other = seconds(lambda: theirs(pixels.permute(0, 3, 1, 2) / 255, labels[..., :4]))
        found.append((own, other))
    own, other = (statistics.median(times) * 1000 for times in zip(*found[3:], strict=True))
    print(f"{own:.1f} ms for {IMAGES} images, kornia {other:.1f} ms: ratio {other / own:.2f}")


if __name__ == "__main__":
    main()
