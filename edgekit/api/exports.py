"""``edgekit.export``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Unpack

from edgekit import registry, tables
from edgekit.api.checking import typed
from edgekit.api.keywords import (
    ExportKeywords,
    IntegerKeywords,
    NetworkKeywords,
    StrPath,
    integers_of,
    network_of,
    refuse_unknown,
    split,
    stated_of,
    text_of,
)
from edgekit.api.measuring_options import device_of
from edgekit.stated import NOTHING, Stated

if TYPE_CHECKING:
    from edgekit.conversion import ExportReport
    from edgekit.models.taking import Network


@typed
def export(
    model: Network,
    targets: str | Sequence[str] = tables.DEFAULT_TARGET,
    precisions: str | Sequence[str] = "fp32",
    *,
    out: StrPath = ".",
    name: str | None = None,
    converter: str | None = None,
    data: StrPath | None = None,
    skip_corrupt: bool = False,
    scores: str | None = None,
    stated: Stated = NOTHING,
    dynamic: str | None = None,
    bake_preprocessing: bool = False,
    nms: str = "decode",
    score_threshold: float | None = None,
    nms_iou: float | None = None,
    max_detections: int | None = None,
    device: str = "host",
    overwrite: bool = False,
    strict: bool = True,
    notify: Callable[[str], None] = lambda stage: None,
    say: Callable[[str], None] = lambda warning: None,
    **keywords: Unpack[ExportKeywords],
) -> ExportReport:
    """Exports a network to every target in every precision, and verifies each file.

    Args:
        model: a module, which stays as it is; a function that makes one; MODEL as people write it;
            what `train` or `open_model` gives.
        targets: one, or several in a list or with commas; ``all``.
        precisions: as well.
        out: folder of the files.
        name: of the files of a module.
        converter: of targets that have several.
        data: SRC of the images for the verification; noise by default.
        skip_corrupt: leave out images that cannot be decoded.
        scores: what the outputs of a classifier are.
        stated: what is said of images and classes in one record; ``keywords`` count more.
        dynamic: ``batch`` for files that take any batch, of formats that have that.
        bake_preprocessing: files take bytes of pixels, (N, H, W, C) in RGB, and do all else
            themselves.
        nms: where boxes of a detector are suppressed: ``decode``, by whoever uses the file, or
            ``graph``, in it.
        score_threshold: least score of an object, for contracts of detectors.
        nms_iou: overlap above which two boxes are one object, as well.
        max_detections: objects of an image at most, as well.
        device: that the files are for: its processor decides on forms of integers, ``tune``
            measures there, and ``max_drop`` is judged there; see
            `edgekit.devices.device.find_device`.
        overwrite: replace files of the same name.
        strict: raise where a file failed; else only the report tells.
        notify: told what is being done.
        say: told each warning as soon as it is known.
        keywords: of the network (``weights``, ``size``, ``example``, ...), of images and classes
            (``labels``, ``mean``, ``std``, ...), and of precisions of integers (``calibration``,
            ``max_drop``, ...); see `edgekit.api.keywords`.

    Returns:
        A sequence of the verified files, with what became of the others beside.

    Raises:
        GateError: files that failed verification; ``results`` has what became of each.
        UsageError: arguments that cannot be, or do not go together.
        InputError: a network, weights or data that cannot be used; a folder that takes no files.
        UnavailableError: a converter or runtime is not installed.
    """
    registry.chosen(targets, precisions, converter)  # wrong names fail before torch is imported
    from edgekit import conversion

    refuse_unknown(keywords, [*ExportKeywords.__annotations__])
    of_network, rest = split(keywords, NetworkKeywords)
    of_integers, said = split(rest, IntegerKeywords)
    integers = dataclasses.replace(integers_of(of_integers), device=device_of(device))
    settings = {
        "score_threshold": score_threshold,
        "nms_iou": nms_iou,
        "max_detections": max_detections,
    }
    return conversion.export(
        model,
        targets,
        precisions,
        out=text_of(out, "out") or ".",
        name=name,
        converter=converter,
        data=text_of(data, "data"),
        skip_corrupt=skip_corrupt,
        integers=integers,
        scores=scores,
        stated=stated_of(said, stated),
        dynamic=dynamic,
        bake_preprocessing=bake_preprocessing,
        nms=nms,
        settings={name: value for name, value in settings.items() if value is not None},
        overwrite=overwrite,
        strict=strict,
        notify=notify,
        say=say,
        **network_of(of_network),
    )
