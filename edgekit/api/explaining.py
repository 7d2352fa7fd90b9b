"""``edgekit.explain``: what in an image speaks for a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack, overload

from edgekit.api.checking import typed
from edgekit.api.using import OpeningKeywords, of_each, opened_by

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
    from edgekit import explaining

    classifier = opened_by(source, keywords)
    return of_each(
        images,
        lambda some: explaining.explain(
            classifier,
            some,
            method=method,
            wanted=None if class_ is None else str(class_),
            layer=layer,
            window=window,
            stride=stride,
            done=done,
        ),
    )
