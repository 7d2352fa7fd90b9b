"""Which layer of a file goes wrong, on images of its reference."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.core import Inspectable, Target, reason_with_layer
from edgekit.core.reasons import PASSING
from edgekit.devices.runner import open_file
from edgekit.errors import UnavailableError
from edgekit.models.model import Model
from edgekit.native_output import captured
from edgekit.tasks.agreement import TOLERANCES
from edgekit.verification.divergence import (
    Divergence,
    LayerAgreement,
    averaged,
    comparable,
    first_divergence,
    folded_layers,
    layer_agreements,
)
from edgekit.verification.reference import Images, Reference, inputs_of


def diagnose(
    reference: Reference, target: Target, path: Path, precision: str, called: Path | None = None
) -> tuple[Divergence | None, str | None]:
    """`find_divergence`, or why it failed: a diagnosis must not take away what it is about.

    Args:
        called: what the file is called where it failed, while it has another name yet.
    """
    try:
        return find_divergence(reference, target, path, precision), None
    except PASSING:
        raise
    except (
        BaseException
    ) as error:  # runtimes raise everything there is, and on such files most of all
        return None, reason_with_layer(error).replace(str(path), str(called or path))


def find_divergence(
    reference: Reference, target: Target, path: Path, precision: str
) -> Divergence | None:
    """The first layer that misses the bound of a precision; ``None`` where none can be named."""
    if not isinstance(target, Inspectable):
        return None
    least_db = TOLERANCES[precision]["sqnr_db"]
    (image,) = _steady_images(reference, 1)
    tensors = _tensors(reference.model, image, target, path)
    return first_divergence(reference.on_rows, torch.from_numpy(image), tensors, least_db)


LAYER_IMAGES = 4
"""What layers are looked at with; each takes a run with every tensor as an output."""


def layers_of(reference: Reference, target: Target, path: Path) -> list[LayerAgreement]:
    """How closely an artifact follows each layer, on a few images of the reference.

    Raises:
        UnavailableError: the target's runtime does not show what flows between layers.
    """
    if not isinstance(target, Inspectable):
        raise UnavailableError(f"{target.runtime} does not show what flows between layers")
    images = _steady_images(reference, LAYER_IMAGES)
    module = reference.on_rows
    found = averaged(
        [
            layer_agreements(
                module,
                torch.from_numpy(image),
                _tensors(reference.model, image, target, path),
            )
            for image in images
        ]
    )
    return comparable(found, folded_layers(module, torch.from_numpy(images[0])))


def _steady_images(reference: Reference, count: int) -> list[Images]:
    """The first images on which float32 is reproducible, each (1, 3, H, W).

    On others a right file is far from every layer. Where there are none, the first of all.
    """
    n, steady = len(reference.images), []
    for start in range(0, n, count):
        some = range(start, min(start + count, n))
        steady += [
            i for i, is_so in zip(some, reference.exactness.steady(some), strict=True) if is_so
        ]
        if len(steady) >= count:
            break
    return [reference.images[i : i + 1] for i in (steady or range(n))[:count]]


def _tensors(
    model: Model, image: Images, target: Inspectable, path: Path
) -> list[tuple[str, NDArray[np.generic]]]:
    """What the file computes for an image (1, 3, H, W), or for a row of inputs."""
    format_ = cast(Target, target)
    with captured():
        threads = torch.get_num_threads()
        opened = open_file(format_, path, threads)
        given, _ = opened.tensors()
        return opened.activations(inputs_of(model, image, format_.layout, given))
