"""``edgekit predict``: what images show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console
from edgekit.cli.opening import opened, opening_options
from edgekit.cli.options import Number, artifact_or_model
from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from edgekit.inference import Classifier
    from edgekit.tasks import Prediction


@click.command("predict")
@artifact_or_model
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, metavar="N")
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Also write each image with its prediction drawn on it, as DIR/NAME.png.",
)
@click.option(
    "--gallery",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Known images, for networks with an embedding: DIR/class/image.jpg, or DIR/class.jpg.",
)
@click.option(
    "--distance",
    type=Number(0, 1),
    metavar="TAU",
    help="From here on an image is none of the gallery. [default: the network's, else none]",
)
@click.option(
    "--score-threshold",
    type=Number(0, 1),
    metavar="P",
    help="Least score of an object. [default: the network's, else 0.3]",
)
@click.option(
    "--nms-iou",
    type=Number(0, 1),
    metavar="P",
    help="Overlap above which two boxes are one object. [default: the network's, else 0.5]",
)
@click.option("--overwrite", is_flag=True, help="Replace images of the same name in DIR.")
@opening_options
@console.common_options
def command(
    source: str,
    images: tuple[str, ...],
    top: int,
    out: Path | None,
    gallery: Path | None,
    distance: float | None,
    score_threshold: float | None,
    nms_iou: float | None,
    overwrite: bool,
    **opening: Any,
) -> None:
    """Say what images show; the preprocessing comes from the contract.

    A folder stands for the images in it. A network that finds objects gives
    boxes in pixels of the image, one that segments shares of its pixels, one
    with an embedding the nearest images of a gallery.
    """
    from edgekit.core import to_json
    from edgekit.inference import draw, enrolled, predict

    if overwrite and out is None:
        raise UsageError("--overwrite goes with -o DIR only: nothing else is written")
    given = {"distance": distance, "score_threshold": score_threshold, "nms_iou": nms_iou}
    if distance is not None and gallery is None:
        raise UsageError("--distance goes with --gallery DIR: it is that of its nearest image")
    from edgekit.data.folder import with_folders

    images = (*with_folders(images),)
    drawn = None if out is None else drawn_in(out, images, overwrite)

    settings = {name: value for name, value in given.items() if value is not None}
    classifier, warnings = opened(source, {**opening, "settings": settings})
    known = None
    if gallery is not None:
        with console.status(f"looking at {gallery}"):
            known = enrolled(classifier, gallery)
    predictions: list[Prediction] = []
    failure: EdgekitError | None = None
    try:
        paths = [Path(name) for name in images]
        for i, prediction in enumerate(predict(classifier, paths, top, known)):
            show(classifier, prediction)  # at once: a broken image further on must not take it away
            predictions.append(prediction)
            if drawn is not None:
                draw(classifier, images[i], prediction, drawn[i], overwrite=overwrite)
        console.say_scores(classifier.meaning)
    except EdgekitError as error:
        failure = error
    document = {
        "predictions": to_json(predictions),
        "scores": classifier.meaning,
        "warnings": list(warnings),
    }
    console.end_with("edgekit.predict/1", document, failure)


def drawn_in(folder: Path, images: Sequence[str], overwrite: bool) -> list[Path]:
    """Where each image with its prediction goes; images of one name are numbered.

    Raises:
        OutputError: a file is there already.
    """
    from edgekit.staging import refuse_existing

    paths: dict[Path, None] = {}
    for image in images:
        path, number = folder / f"{Path(image).stem}.png", 1
        while path in paths:
            number += 1
            path = folder / f"{Path(image).stem}-{number}.png"
        paths[path] = None
    refuse_existing(list(paths), overwrite)
    return list(paths)


def show(classifier: Classifier, prediction: Prediction) -> None:
    """What the network says of an image."""
    for line in classifier.task.shown(prediction):
        console.say(line)
