"""``edgekit predict``: labels of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import console
from edgekit.cli.options import (
    artifact_or_model,
    embedded_option,
    resolution_option,
    scores_option,
    threads_option,
    weights_option,
)
from edgekit.cli.stating import stated_options, warn_assumed
from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.inference import Prediction
    from edgekit.stated import Stated


@click.command("predict")
@artifact_or_model
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, metavar="N")
@weights_option
@resolution_option
@threads_option
@embedded_option
@scores_option
@stated_options
@console.common_options
def command(
    source: str,
    images: tuple[str, ...],
    top: int,
    weights: Path | None,
    resolution: int | None,
    threads: int | None,
    embedded: bool,
    scores: str | None,
    stated: Stated,
) -> None:
    """Classify image files; the preprocessing comes from the contract."""
    from edgekit.core import to_json
    from edgekit.inference import open_classifier, predict

    with console.status(f"loading {source}"):
        classifier = open_classifier(
            source,
            weights=weights,
            resolution=resolution,
            threads=threads,
            embedded=embedded,
            scores=scores,
            stated=stated,
        )
    console.warn_untrained(classifier)
    console.warn_notes(classifier.words, classifier.notes)
    if classifier.trained:
        warn_assumed(classifier.words, classifier.preprocessing, classifier.unsaid)
    predictions: list[Prediction] = []
    failure: EdgekitError | None = None
    try:
        for prediction in predict(classifier, [Path(image) for image in images], top):
            show([prediction])  # at once: a broken image further on must not take it away
            predictions.append(prediction)
        console.say_scores(classifier.meaning)
    except EdgekitError as error:
        failure = error
    if console.wants_json():
        document = {"predictions": to_json(predictions), "scores": classifier.meaning}
        if failure is not None:
            document["error"] = console.error_entry(failure)
        console.emit_json("edgekit.predict/1", document)
    if failure is not None:
        raise failure


def show(predictions: list[Prediction]) -> None:
    """A block per image with its likeliest classes and a bar each."""
    for prediction in predictions:
        console.say(prediction.image)
        for label in prediction.labels:
            bar = "█" * round(label.probability * 30)
            name = label.label or f"class {label.index}"
            console.say(f"  {label.probability:7.2%}  {name:20.40}  {bar}".rstrip())
