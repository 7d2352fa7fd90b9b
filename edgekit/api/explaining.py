"""``edgekit.explain``: what in an image speaks for a class."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Unpack, overload

from edgekit.api.checking import typed
from edgekit.api.using import OpeningKeywords, opened_by
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core import Side
    from edgekit.data.decode import Picture
    from edgekit.explaining import Explanation
    from edgekit.inference import Classifier
    from edgekit.models.taking import Network


@overload
def explain(
    source: Network | Classifier,
    images: Picture,
    *,
    method: str | None = None,
    class_: str | int | None = None,
    layer: str | None = None,
    window: Side | None = None,
    stride: Side | None = None,
    done: Callable[[int, int], None] | None = None,
    **keywords: Unpack[OpeningKeywords],
) -> Explanation: ...
@overload
def explain(
    source: Network | Classifier,
    images: list[Any] | tuple[Any, ...],
    *,
    method: str | None = None,
    class_: str | int | None = None,
    layer: str | None = None,
    window: Side | None = None,
    stride: Side | None = None,
    done: Callable[[int, int], None] | None = None,
    **keywords: Unpack[OpeningKeywords],
) -> list[Explanation]: ...
@typed
def explain(
    source: Network | Classifier,
    images: Any,
    *,
    method: str | None = None,
    class_: str | int | None = None,
    layer: str | None = None,
    window: Side | None = None,
    stride: Side | None = None,
    done: Callable[[int, int], None] | None = None,
    **keywords: Unpack[OpeningKeywords],
) -> Any:
    """What in images speaks for a class.

    Args:
        source: an exported file, a network in any form, or what `open_classifier` gave.
        images: a path, an image of Pillow's, or pixels (height x width x 3, uint8 RGB); or
            several of these.
        method: ``grad-cam`` or ``saliency`` of networks, ``occlusion`` of anything; Grad-CAM of
            networks and occlusion of files by default.
        class_: name or place of the class; the likeliest one of each image by default.
        layer: whose map Grad-CAM takes, by its path.
        window: what occlusion covers at once, in pixels of the network's image.
        stride: from one window to the next.
        done: told how many of how many windows of an image are done.
        keywords: how the source is opened; see `edgekit.api.using.evaluate`.

    Returns:
        An explanation for one image, a list of them for several.

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        InputError: the file, network or an image cannot be used.
    """
    import numpy as np
    from PIL import Image

    from edgekit import explaining

    classifier = opened_by(source, keywords)
    one = isinstance(images, str | os.PathLike | Image.Image | np.ndarray)
    if not one and not isinstance(images, Iterable):
        raise UsageError(
            f"images={images!r}: expected a path, a PIL.Image, an array of height x width x 3, "
            f"uint8 RGB, or several of these in a list"
        )
    found = explaining.explain(
        classifier,
        [images] if one else images,
        method=method,
        wanted=None if class_ is None else str(class_),
        layer=layer,
        window=window,
        stride=stride,
        done=done,
    )
    return next(found) if one else list(found)
