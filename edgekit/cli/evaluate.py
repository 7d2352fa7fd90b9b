"""``edgekit evaluate``: accuracy of an artifact or network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, keeping
from edgekit.cli.opening import opening_options
from edgekit.cli.options import SOURCES
from edgekit.core.text import counted_words
from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.inference import Evaluation
    from edgekit.tasks.details import Details


TITLES = {
    "top1": "top-1", "top5": "top-5", "map": "mAP", "map50": "mAP50", "ap": "AP", "ap50": "AP50",
    "miou": "mean IoU", "iou": "IoU", "auc": "AUC",
}  # fmt: skip
"""Names of figures as people write them."""

COUNTED = {"detect": "objects", "segment": "pixels", "embed": "images"}
"""By task what its classes are counted in."""

WORST = 5
"""Classes that are shown, those with the lowest figures."""


@click.command("evaluate")
@click.argument("sources", metavar="ARTIFACT|MODEL...", nargs=-1, required=True)
@click.option(
    "--data",
    metavar="SRC",
    help=f"{SOURCES}. [default: the data of its training]",
)
@click.option(
    "--split",
    help="test, validation, train or all. [default: what training left alone, else all]",
)
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@opening_options
@console.common_options
def command(sources: tuple[str, ...], data: str | None, device: str | None, **options: Any) -> None:
    """Measure how often a network is right on images with labels.

    The figures are those of the network's task, such as top-1, mAP or mean IoU.
    'edgekit list formats' says how images and labels lie. The test split is used
    where training left one alone, else the validation split where only that was
    kept apart, else all images. Of several
    sources, each is evaluated; a folder stands for the exported files in it.
    """
    from edgekit.folders import expanded

    every = expanded(sources)
    several = len(every) > 1 or [*sources] != every
    results: list[tuple[str, Evaluation]] = []
    errors: list[EdgekitError] = []
    for position, source in enumerate(every, 1):
        count = f" {position} of {len(every)}" if several else ""
        try:
            result = _evaluated(source, data, device, count, options)
        except EdgekitError as error:
            if not several:
                raise
            errors.append(error)
            continue
        results.append((source, result))
        _show(source, result, device)
    if several:
        _show_table(results)
    if console.wants_json() and results:
        documents = [_document(source, result, device) for source, result in results]
        whole: dict[str, Any] = documents[0]
        if several:
            failed = [console.error_entry(error) for error in errors]
            whole = {"results": documents, "failed": failed}
        console.emit_json("edgekit.evaluate/1", whole)
    keeping.finish(errors)


def _evaluated(
    source: str, data: str | None, device: str | None, count: str, options: dict[str, Any]
) -> Evaluation:
    """Evaluates one.

    Args:
        count: which of several it is, for people.
    """
    with console.progress() as display:
        bar = display.add_task(f"loading{count}", total=None)
        from edgekit.api.using import evaluate

        return evaluate(
            source,
            data,
            device=device,
            done=lambda n, total: display.update(
                bar, description=f"evaluating{count}", completed=n, total=total
            ),
            **options,
        )


def _show(source: str, result: Evaluation, device: str | None) -> None:
    for text in result.warnings:
        console.warn(text)
    console.warn_skipped(result.skipped)
    where = result.target if device is None else f"{result.target}, {device}"
    console.say(
        f"{source} ({where}): {said(result.figures)} on {counted_words(result.n, 'image')} "
        f"({result.data}, {result.split})"
    )
    console.say_scores(result.scores)
    if result.scores is None:
        _show_headline(result)
        show_classes(result.details, result.task)


def said(figures: Mapping[str, float | None]) -> str:
    """Figures in a line, those that are known."""
    return ", ".join(
        f"{_title(name)} {console.percent(value)}"
        for name, value in figures.items()
        if value is not None
    )


def _show_headline(result: Evaluation) -> None:
    """The headline with its interval, and what is no share."""
    head, details = result.headline, result.details
    if head.ci95 is not None:
        low, high = (console.percent(bound) for bound in head.ci95)
        console.say(f"95 % interval of {_title(head.name)}: {low} to {high}.")
    if details.values:
        values = (f"{name.replace('_', ' ')} {value:.4g}" for name, value in details.values.items())
        console.say(f"Of verification: {', '.join(values)}.")


def show_classes(details: Details, task: str) -> None:
    """The classes that do worst."""
    known = [one for one in details.classes if next(iter(one.figures.values())) is not None]
    if len(known) < 2:
        return
    names = [*known[0].figures]
    worst = sorted(known, key=lambda one: one.figures[names[0]] or 0.0)[:WORST]
    rows = [
        (one.label, f"{one.n:,}",
         *("" if value is None else console.percent(value) for value in one.figures.values()))
        for one in worst
    ]  # fmt: skip
    right = "right"
    titles = [(_title(name), right) for name in names]
    title = "Classes:" if len(known) <= WORST else f"The {WORST} weakest of {len(known)} classes:"
    console.say()
    console.table(["class", (COUNTED.get(task, "n"), right), *titles], rows, title)


def _show_table(results: Sequence[tuple[str, Evaluation]]) -> None:
    """Several beside each other, the best one first."""
    from edgekit import registry

    if not results:
        return
    rows = []
    for source, result in sorted(results, key=lambda one: -one[1].headline.value):
        head = result.headline
        half = "" if head.ci95 is None else f"{50 * (head.ci95[1] - head.ci95[0]):.1f}"
        rows.append((Path(source).name, result.precision, console.percent(head.value), half,
                     f"{result.n:,}"))  # fmt: skip
    titles = dict.fromkeys(registry.task(result.task).title for _, result in results)
    right = "right"
    console.say()
    console.table(
        ["file", "precision", ("/".join(titles), right), ("± points", right), ("images", right)],
        rows,
    )


def _document(source: str, result: Evaluation, device: str | None) -> dict[str, Any]:
    from edgekit.core import to_json

    return {
        "task": result.task,
        "headline": to_json(result.headline),
        **result.figures,
        **result.details.values,
        "n": result.n,
        "classes": to_json(result.details.classes),
        "confusion": to_json(result.details.confusion),
        "source": source,
        "target": result.target,
        "device": device,
        "scores": result.scores,
        "data": result.data,
        "split": result.split,
        "skipped": list(result.skipped),
        "warnings": list(result.warnings),
    }


def _title(name: str) -> str:
    """A figure's name as people write it."""
    return TITLES.get(name, name.replace("_", " "))
