"""Where in an image the evidence for a class lies, as a map over what the network saw of it.

================  =========================================================  ==================
``grad-cam``      activations of a layer, weighted by their gradients        networks
``saliency``      size of the gradient at each pixel                         networks
``occlusion``     what the score loses where a window is covered             networks and files
================  =========================================================  ==================

Sources: Selvaraju et al., arXiv:1610.02391; Simonyan et al., arXiv:1312.6034; Zeiler and Fergus,
arXiv:1311.2901. The first two come from Captum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from edgekit.boxes import Geometry
from edgekit.data import preprocess
from edgekit.data.decode import Picture
from edgekit.errors import ModelError, UnknownNameError, UsageError
from edgekit.explaining.occlusion import Windows, occlusion
from edgekit.inference import Classifier, ModelClassifier, check_row, seen
from edgekit.tasks import Aim, Aiming

if TYPE_CHECKING:
    from edgekit.core import Pixels, Side
    from edgekit.explaining.gradients import Layer

METHODS = ("grad-cam", "saliency", "occlusion")
OF_NETWORKS = METHODS[:2]
"""Methods that take gradients, which files do not have."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Of files that explanations are written as."""

Done = Callable[[int, int], None]
"""Told how many of how many runs of an image are done."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What speaks for a class in one image.

    Attributes:
        image: names it.
        method: of `METHODS`.
        index: of the class.
        label: its name; ``None`` where it has none.
        probability: that the network gives it, from 0 to 1; ``None`` of outputs without any.
        score: the output that is explained, as the network gives it.
        map: (height, width) of what the network saw: what speaks for the class is above 0, and,
            of occlusion, what speaks against it below. Its unit is that of the score for
            occlusion, and none else.
        place: which part of the image that is.
        pixels: the image, (height, width, 3 or 4).
        layer: that Grad-CAM took, by its path; ``None`` of other methods.
        layer_size: (height, width) of its map.
        box: x0, y0, x1, y1 in pixels of the image, where the class is told of a part of it.
    """

    image: str
    method: str
    index: int
    label: str | None
    probability: float | None
    score: float
    map: NDArray[np.float32] = field(repr=False)
    place: Geometry
    pixels: Pixels = field(repr=False)
    layer: str | None = None
    layer_size: tuple[int, int] | None = None
    box: tuple[float, float, float, float] | None = None

    @property
    def name(self) -> str:
        """The class as people call it."""
        return self.label or f"class {self.index}"

    @property
    def evidence(self) -> NDArray[np.float32]:
        """What speaks for the class: the map without what is below 0."""
        return np.maximum(self.map, 0)

    @property
    def peak(self) -> tuple[float, float] | None:
        """Where most of it is, x and y in pixels of the image; ``None`` where there is none.

        It is looked for where the network saw the image, not in the padding around it.
        """
        shown = self._shown
        if not shown.max(initial=0) > 0:
            return None
        # Of several with the largest value, as in windows, the one nearest to the middle of all.
        places = np.argwhere(shown == shown.max())
        row, column = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
        return self.place.to_image(column + self.place.left + 0.5, row + self.place.top + 0.5)

    @property
    def share_on_image(self) -> float | None:
        """Share of it on the image rather than on padding; ``None`` where there is none."""
        total = float(self.evidence.sum())
        return float(self._shown.sum()) / total if total > 0 else None

    @property
    def share_in_box(self) -> float | None:
        """Share of it in the `box`; ``None`` without a box."""
        return None if self.box is None else self.share_in(self.box)

    def share_in(self, box: tuple[float, float, float, float]) -> float | None:
        """Share of it in a part of the image; ``None`` where nothing speaks for the class.

        Args:
            box: x0, y0, x1, y1 in pixels of the image.
        """
        total = float(self.evidence.sum())
        if not total > 0:
            return None
        height, width = self.map.shape
        (x, _), (_, y) = (
            np.array([self.place.to_image(i + 0.5, i + 0.5) for i in range(side)]).T
            for side in (width, height)
        )
        x0, y0, x1, y1 = box
        inside = ((y >= y0) & (y <= y1))[:, None] & ((x >= x0) & (x <= x1))[None]
        return float(self.evidence[inside].sum()) / total

    @property
    def on_image(self) -> NDArray[np.float32]:
        """The evidence as large as the image, (height, width), 0 where the network saw nothing."""
        from edgekit.explaining.drawing import laid_out

        return laid_out(self, (self.pixels.shape[0], self.pixels.shape[1]))

    @property
    def drawn(self) -> Pixels:
        """The map over the image, with a scale and a caption, 8-bit RGB."""
        from edgekit.explaining.drawing import draw

        return draw(self)

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Writes the drawn map.

        Args:
            path: ends in one of `SUFFIXES`.

        Raises:
            UsageError: it ends otherwise.
            OutputError: the file is there already, or cannot be written.
        """
        from PIL import Image

        from edgekit.staging import write_file

        path = Path(path)
        check_suffix(path)
        write_file(path, Image.fromarray(self.drawn).save, overwrite=overwrite)
        return path

    @property
    def _shown(self) -> NDArray[np.float32]:
        """The part of the evidence that lies on the image."""
        place = self.place
        return self.evidence[
            place.top : place.top + place.height, place.left : place.left + place.width
        ]


def check_suffix(path: Path) -> None:
    """Refuses names of files that no picture is written as.

    Raises:
        UsageError: as said.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: expected a file ending in {', '.join(SUFFIXES)}, or a folder")


def method_for(classifier: Classifier, method: str | None) -> str:
    """The method that is meant; by default Grad-CAM of networks, and occlusion of what has no
    gradients: files, and the likeness of an embedding with itself.

    Raises:
        UnknownNameError: there is no such method.
        UsageError: gradients of what has none.
    """
    of_network = isinstance(classifier, ModelClassifier)
    gradients = of_network and _aiming(classifier).gradients
    if method is None:
        return "grad-cam" if gradients else "occlusion"
    name = method.lower().replace("_", "-").replace("gradcam", "grad-cam")
    if name not in METHODS:
        raise UnknownNameError("method", method, METHODS, f"expected {', '.join(METHODS)}")
    if name in OF_NETWORKS and not of_network:
        raise UsageError(
            f"'{classifier.source}' is an exported file, which has no gradients: give its network, "
            f"or --method occlusion"
        )
    if name in OF_NETWORKS and not gradients:
        raise UsageError(
            f"'{classifier.source}' gives an embedding, whose likeness with itself has no "
            f"gradient: give --method occlusion"
        )
    return name


def explain(
    classifier: Classifier,
    images: Iterable[Picture],
    *,
    method: str | None = None,
    wanted: str | None = None,
    layer: str | None = None,
    window: Side | None = None,
    stride: Side | None = None,
    done: Done | None = None,
) -> Iterator[Explanation]:
    """What speaks for a class in images, one after the other.

    Args:
        images: files, images of Pillow's or pixels; see `edgekit.data.decode.Picture`.
        method: see `method_for`.
        wanted: the class by name or place; the likeliest one of each image if ``None``.
        layer: of Grad-CAM, by its path in the network; see `edgekit.explaining.gradients`.
        window: of occlusion, in pixels of the network's image, or (height, width); see `Windows`.
        stride: from one window to the next.
        done: told of the runs of occlusion, image by image.

    Raises:
        UsageError: options that do not go with the method or the network.
        DataError: a file is no image, or cannot be prepared as the network needs it.
        ModelError: an output is not a finite number, the network has no gradients, or no layer
            that Grad-CAM could take.
    """
    method = method_for(classifier, method)
    if layer is not None and method != "grad-cam":
        raise UsageError(f"--layer goes with --method grad-cam only, not with {method}")
    for name, value in (("--window", window), ("--stride", stride)):
        if value is not None and method != "occlusion":
            raise UsageError(f"{name} goes with --method occlusion only, not with {method}")
    preprocessing = classifier.preprocessing
    windows = Windows.of(preprocessing.size, window, stride)
    for image in seen(images, preprocessing):
        prepared = image.prepared
        place = preprocess.geometry(*image.frame.size, preprocessing)
        rows = classifier.rows(prepared[None])
        check_row(classifier, rows, image.name)
        aim = _aiming(classifier).aim(rows, image.frame, wanted)
        taken: Layer | None = None
        if method == "occlusion":
            score = float(rows[0].astype(np.float64) @ aim.weights)
            found = occlusion(classifier, prepared, aim, score, place, windows, done)
        else:
            found, taken = _by_gradients(classifier, prepared, aim, method, layer)
            score = float(rows[0].astype(np.float64) @ aim.weights)
        yield Explanation(
            image.name,
            method,
            aim.index,
            aim.label,
            aim.probability,
            score,
            found,
            place,
            image.pixels,
            layer=None if taken is None else taken.path,
            layer_size=None if taken is None else taken.size,
            box=aim.box,
        )


def _by_gradients(
    classifier: Classifier,
    prepared: NDArray[np.float32],
    aim: Aim,
    method: str,
    layer: str | None,
) -> tuple[NDArray[np.float32], Layer | None]:
    from edgekit.explaining import gradients

    assert isinstance(classifier, ModelClassifier)
    if method == "saliency":
        return gradients.saliency(classifier, prepared, aim), None
    return gradients.grad_cam(classifier, prepared, aim, layer)


def _aiming(classifier: Classifier) -> Aiming:
    """The task, which knows what to explain.

    Raises:
        ModelError: it does not.
    """
    task = classifier.task
    if not hasattr(task, "aim"):
        raise ModelError(
            f"'{classifier.source}' has outputs of the task {task.name}, which has no class that "
            f"could be explained: expected a network of classes"
        )
    return cast(Aiming, task)
