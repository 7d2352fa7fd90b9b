"""``edgekit evaluate``: accuracy of an artifact or network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import console
from edgekit.cli.options import (
    artifact_or_model,
    device_option,
    embedded_option,
    scores_option,
    size_option,
    task_option,
    threads_option,
    weights_option,
)
from edgekit.cli.stating import stated_options

if TYPE_CHECKING:
    from edgekit.core import Side
    from edgekit.stated import Stated


@click.command("evaluate")
@artifact_or_model
@click.option(
    "--data",
    metavar="SRC",
    help="digits, synthetic or a folder. [default: the data of its training]",
)
@click.option("--split", help="test, validation, train or all. [default: test, else all]")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@weights_option
@size_option
@threads_option
@embedded_option
@device_option
@scores_option
@task_option
@stated_options
@console.common_options
def command(
    source: str,
    data: str | None,
    split: str | None,
    skip_corrupt: bool,
    weights: Path | None,
    resolution: Side | None,
    threads: int | None,
    embedded: bool,
    device: str | None,
    scores: str | None,
    task: str | None,
    stated: Stated,
) -> None:
    """Measure how often a network is right on labelled images.

    Folders are DIR/class/image.jpg, or DIR/train/class/... with a test folder
    beside. The test split is used where there is one that training left alone,
    else all images.
    """
    from edgekit.core import to_json

    with console.progress() as display:
        bar = display.add_task("loading", total=None)
        from edgekit.api.using import evaluate

        result = evaluate(
            source,
            data,
            split=split,
            skip_corrupt=skip_corrupt,
            weights=weights,
            resolution=resolution,
            threads=threads,
            device=device,
            embedded=embedded,
            scores=scores,
            stated=stated,
            task=task,
            done=lambda n, total: display.update(
                bar, description="evaluating", completed=n, total=total
            ),
        )
    for text in result.warnings:
        console.warn(text)
    console.warn_skipped(result.skipped)
    said = ", ".join(
        f"{_title(name)} {console.percent(value)}"
        for name, value in result.figures.items()
        if value is not None
    )
    where = result.target if device is None else f"{result.target}, {device}"
    console.say(
        f"{source} ({where}): {said} on {result.n:,} images ({result.data}, {result.split})"
    )
    console.say_scores(result.scores)
    if console.wants_json():
        document = {
            "task": result.task,
            "headline": to_json(result.headline),
            **result.figures,
            "n": result.n,
            "source": source,
            "target": result.target,
            "device": device,
            "scores": result.scores,
            "data": result.data,
            "split": result.split,
            "skipped": list(result.skipped),
            "warnings": list(result.warnings),
        }
        console.emit_json("edgekit.evaluate/1", document)


def _title(name: str) -> str:
    """A figure's name as people write it."""
    return name.replace("top", "top-") if name in ("top1", "top5") else name
