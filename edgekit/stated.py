"""What somebody says of a network of their own: how images are prepared, what classes are called.

It goes before what the network, its checkpoint or its library say. An artifact's contract is not
overruled: what was verified is what it says.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core import CLASSIFY, TENSORS, Artifact, ImageSource, Preprocessing, Side
from edgekit.core.interface import OF_WHOLE_IMAGES
from edgekit.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgekit.models.model import Model

OPTIONS = {
    "mean": "--mean",
    "std": "--std",
    "scale": "--scale",
    "resize": "--resize",
    "fit": "--fit",
    "pad": "--pad",
    "interpolation": "--interpolation",
    "channel_order": "--channel-order",
    "labels": "--labels",
}
"""How the command line calls each field of `Stated`."""

NO_RESIZE = "none"


@dataclass(frozen=True, slots=True)
class Stated:
    """What was said; ``None`` for what was not. Fields are those of `Preprocessing`.

    Attributes:
        mean: one number for all channels, or one for each; so is ``std``.
        resize: `NO_RESIZE` for images that are only cropped.
        labels: class names by output index.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    resize: Side | str | None = None
    fit: str | None = None
    pad: int | None = None
    interpolation: str | None = None
    channel_order: str | None = None
    labels: tuple[str, ...] | None = None

    @property
    def of_images(self) -> dict[str, Any]:
        """What was said of images, by field."""
        said = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: v for k, v in said.items() if k != "labels" and v is not None}


NOTHING = Stated()


def unsaid(model: Model, stated: Stated) -> tuple[str, ...]:
    """What nobody says of how images are prepared: ``size``, ``values``, both or nothing."""
    if model.preprocessing is not None:
        return ()
    size = () if stated.resize is not None or stated.fit is not None else ("size",)
    return size if stated.mean is not None else (*size, "values")


def assumption(source: str, prepared: Preprocessing, missing: tuple[str, ...]) -> str | None:
    """What was assumed of how a network's images are prepared; ``None`` where all was said.

    Args:
        prepared: as they are prepared now.
        missing: of `unsaid`.
    """
    parts = {
        "size": f"{prepared.describe()} (--resize, --fit)",
        "values": f"ImageNet's mean {_shown(prepared.mean)} and std {_shown(prepared.std)} of "
        f"pixels from 0 to 1 (--mean, --std, --scale)",
    }
    if not missing:
        return None
    return (
        f"nobody said how images are prepared for '{source}'; assumed: "
        f"{'; '.join(parts[part] for part in missing)}"
    )


def as_stated(model: Model, stated: Stated, data: str | ImageSource | None = None) -> Model:
    """The network with what was said of it.

    Args:
        data: SRC or source, whose images say how large photographs are where nobody does.

    Raises:
        UsageError: what was said cannot be, or does not go together.
        DataError: names of classes that are not as many as the network tells apart; a source that
            cannot be used.
    """
    if stated.labels is not None:
        if model.task == TENSORS:
            raise UsageError(
                f"--labels goes with scores of classes: '{model.source}' is of the task "
                f"{model.task}"
            )
        count = model.classes
        if model.task != CLASSIFY:  # whose code was made with a number of them
            count = len(stated.labels) if model.call is None else model.call.classes
        if model.task == CLASSIFY or count:
            _check_count(stated.labels, count, f"'{model.source}'")
        model = dataclasses.replace(model, labels=stated.labels)
    if not stated.of_images:
        return model
    base = model.preprocessing
    if base is None:
        if (stated.mean is None) != (stated.std is None):
            given, missing = ("mean", "std") if stated.std is None else ("std", "mean")
            raise UsageError(
                f"--{given} without --{missing}: nobody says the other one of '{model.source}'; "
                f"give both"
            )
        from edgekit.data import open_source

        classifies = model.task == CLASSIFY
        source = open_source(data, labelled=classifies) if isinstance(data, str) else data
        base = assumed(model, source)
    return dataclasses.replace(model, preprocessing=prepared_as(base, stated))


def assumed(model: Model, source: ImageSource | None) -> Preprocessing:
    """How images are prepared for a network of which nobody says it.

    Args:
        source: of images, whose size tells photographs from small images.

    Raises:
        UsageError: its input is no image, or it has several inputs.
    """
    from edgekit.data import preprocess

    specs = model.interface.inputs
    if len(specs) != 1 or specs[0].layout != "NCHW":
        listed = " and ".join(f"'{spec.name}' {spec.shape}" for spec in specs)
        raise UsageError(
            f"'{model.source}' takes {listed}: how images are prepared can be said of networks "
            f"whose only input is one"
        )
    _, channels, *size = specs[0].shape
    side = (size[0], size[1])
    if source is not None:
        found = preprocess.for_source(source, side, model.task)
    elif model.task in OF_WHOLE_IMAGES:
        found = preprocess.whole(side)
    else:
        found = preprocess.default(side)
    return preprocess.of_channels(found, channels)


def prepared_as(base: Preprocessing, stated: Stated) -> Preprocessing:
    """A preprocessing with what was said in its place.

    Raises:
        UsageError: what was said cannot be, or does not go together.
    """
    from edgekit.data import preprocess

    said = stated.of_images
    order = stated.channel_order or base.channel_order
    if stated.channel_order is not None:
        alpha = {True: "keep", False: "black"}
        if ("A" in order) != (base.alpha == "keep"):
            said["alpha"] = alpha["A" in order]
    for name in ("mean", "std"):
        said[name] = _per_channel(name, said.get(name, getattr(base, name)), order)
    _check_units(base, stated)
    fit = stated.fit or base.fit
    if stated.resize == NO_RESIZE:
        said["resize"] = None
    if fit == "letterbox" and stated.resize not in (None, NO_RESIZE):
        raise UsageError("--resize goes with --fit crop or stretch: a letterbox needs none")
    if stated.fit not in (None, base.fit) and stated.resize is None:
        said["resize"] = preprocess.default(base.crop).resize if fit == "crop" else None
    if stated.pad is not None and fit != "letterbox":
        raise UsageError(f"--pad goes with --fit letterbox: a {fit} is not padded")
    found = dataclasses.replace(base, **said)
    wrong = preprocess.impossible(found)
    if wrong is not None:
        option = OPTIONS.get(wrong.field, wrong.field)
        expected = wrong.expected.replace("null", NO_RESIZE)
        raise UsageError(f"{option} {_shown(wrong.value)}: expected {expected}")
    return found


def check_contract(artifact: Artifact, stated: Stated, source: str) -> Artifact:
    """An artifact with what was said, where its contract does not say it.

    Raises:
        UsageError: the contract says something else.
        DataError: names of classes that are not as many as the network tells apart.
    """
    preprocessing = artifact.preprocessing
    if stated.labels is not None and artifact.task != CLASSIFY:
        raise UsageError(
            f"--labels goes with scores of classes: {source} is of the task {artifact.task}"
        )
    if preprocessing is None and stated.of_images:
        raise UsageError(
            f"the contract of {source} says that it takes no images: leave out {_given(stated)}"
        )
    if preprocessing is None:
        return artifact
    other = prepared_as(preprocessing, stated) if stated.of_images else preprocessing
    for name in stated.of_images:
        if getattr(other, name) != getattr(preprocessing, name):
            _refuse(name, getattr(other, name), getattr(preprocessing, name), source)
    if stated.labels is None or stated.labels == artifact.labels:
        return artifact
    _check_count(stated.labels, artifact.outputs[0].shape[-1], source)
    if artifact.labels is not None:
        first = next(
            (
                pair
                for pair in zip(stated.labels, artifact.labels, strict=False)
                if len(set(pair)) == 2
            ),
            (f"{len(stated.labels)} names", f"{len(artifact.labels)} names"),
        )
        _refuse("labels", *first, source)
    return dataclasses.replace(artifact, labels=stated.labels)


def _given(stated: Stated) -> str:
    return ", ".join(OPTIONS[name] for name in stated.of_images)


def _refuse(name: str, said: object, own: object, source: str) -> None:
    raise UsageError(
        f"{OPTIONS[name]} {_shown(said)}: the contract of {source} says {_shown(own)}; leave the "
        f"option out, or export the network again with it"
    )


def _per_channel(name: str, values: tuple[float, ...], order: str) -> tuple[float, ...]:
    """One number for each channel."""
    count = len(order)
    if len(values) not in (1, count):
        numbers = "1 number" if count == 1 else f"1 or {count} numbers"
        raise UsageError(f"--{name} {_shown(values)}: expected {numbers} for images in {order}")
    return values * count if len(values) == 1 else values


def _check_units(base: Preprocessing, stated: Stated) -> None:
    """Refuses a mean in other units than the scale, which would be believed silently."""
    if stated.scale is None:
        brightest = 255 * abs(base.scale)
        if stated.mean is not None and max(map(abs, stated.mean)) > brightest:
            raise UsageError(
                f"--mean {_shown(stated.mean)}: pixels are 0 to {brightest:g} after the scale "
                f"{base.scale:.6g}; give --scale, too (1 for pixels from 0 to 255)"
            )
    elif stated.scale != base.scale and None in (stated.mean, stated.std):
        raise UsageError(
            f"--scale {stated.scale:g}: mean and std are in its units; give --mean and --std, too"
        )


def _check_count(labels: tuple[str, ...], columns: int, source: str) -> None:
    if len(labels) not in ((1, 2) if columns == 1 else (columns,)):
        expected = "1 or 2 names" if columns == 1 else f"{columns} names"
        raise DataError(
            f"--labels: {len(labels)} names for {source}, which gives {columns} scores: expected "
            f"{expected}"
        )


def _shown(value: object) -> str:
    """A value as one would give it."""
    if isinstance(value, tuple):
        return ",".join(_shown(one) for one in value)
    if value is None:
        return NO_RESIZE
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"
