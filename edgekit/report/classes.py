"""The section about single classes: the figures of each, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.text import counted_words, shortened
from edgekit.report.inputs import Accuracy
from edgekit.report.markup import Cell, Html, Section, paragraph, small, table, tables
from edgekit.report.text import escaped, percent
from edgekit.tasks.details import Confusion, OfClass

MOST_SHOWN = 24
"""Classes of a matrix that is drawn; of others there are the commonest mistakes."""

MOST_CLASSES, MOST_MISTAKES = 40, 15
"""Lines of a table: the weakest classes, and the commonest mistakes."""

MOST_FIGURES = 4
"""Columns of a table that fit on a phone beside the class and its number."""

_NAMES = {"ap": "AP", "ap50": "AP50", "iou": "IoU", "top1": "top-1", "top5": "top-5", "auc": "AUC"}


def classes(accuracies: Sequence[Accuracy]) -> Section | None:
    """Figures of each class of each file that they are known of; ``None`` without any."""
    parts = [_of(one) for one in accuracies if one.classes or one.confusion is not None]
    return Section("classes", "Class by class", "".join(parts)) if parts else None


def _of(accuracy: Accuracy) -> str:
    about = f"{accuracy.source} on {accuracy.data}"
    parts = [_figures(accuracy.classes)] if accuracy.classes else []
    matrix = accuracy.confusion
    notes = ""
    if matrix is not None:
        parts.append(_mistakes(matrix))
        if max(len(matrix.right), len(matrix.found)) <= MOST_SHOWN:
            notes = _drawn(matrix)
    return f"<h3>{escaped(about)}</h3>" + tables(filter(None, parts)) + notes


def _figures(all_classes: Sequence[OfClass]) -> str:
    """Each class, the weakest by the first figure first."""
    names = list(dict.fromkeys(name for one in all_classes for name in one.figures))[:MOST_FIGURES]
    if not names:
        return ""
    known = [one for one in all_classes if one.figures.get(names[0]) is not None]
    known.sort(key=lambda one: one.figures[names[0]] or 0.0)
    rows: list[Sequence[Cell]] = [
        [one.label, f"{one.n:,}", *(_share(one.figures.get(name)) for name in names)]
        for one in known[:MOST_CLASSES]
    ]
    left = len(all_classes) - len(rows)
    caption = "Figures of each class, the weakest first"
    if left:
        caption += f"; {counted_words(left, 'class', 'classes')} more" if left > 1 else "; one more"
    titles = [_NAMES.get(name, name.replace("_", " ")) for name in names]
    return table(caption, ["class", "n", *titles], rows, len(names) + 1)


def _share(value: float | None) -> Cell:
    return "-" if value is None else percent(value)


def _mistakes(matrix: Confusion) -> str:
    """What is taken for something else most often."""
    found = []
    for right, counts in zip(matrix.right, matrix.counts, strict=True):
        total = sum(counts)
        found += [
            (count, total, right, taken)
            for taken, count in zip(matrix.found, counts, strict=True)
            if count and taken != right
        ]
    found.sort(key=lambda one: -one[0])
    rows: list[Sequence[Cell]] = [
        [right, taken, f"{count:,}", percent(count / total)]
        for count, total, right, taken in found[:MOST_MISTAKES]
    ]
    if not rows:
        return paragraph("Nothing is taken for anything else.")
    return table("The commonest mistakes", ["what is there", "is taken for", "n", "share"], rows, 2)


def _drawn(matrix: Confusion) -> str:
    """A table of counts, the darker the larger their share of a row."""
    head = "".join(
        f'<th scope="col"><span>{escaped(shortened(name, 14))}</span></th>' for name in matrix.found
    )
    body = ""
    for right, counts in zip(matrix.right, matrix.counts, strict=True):
        total = max(1, sum(counts))
        cells = "".join(
            _cell(count, count / total, right == taken)
            for taken, count in zip(matrix.found, counts, strict=True)
        )
        body += f'<tr><th scope="row">{escaped(shortened(right, 14))}</th>{cells}</tr>'
    caption = Html(
        f"What is there (rows) and what it is taken for (columns)"
        f"{small('Colours are shares of a row: blue is right, orange is wrong.').text}"
    )
    return (
        f'<div class="wide"><table class="matrix"><caption>{caption.text}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(count: int, share: float, is_right: bool) -> str:
    if not count:
        return "<td></td>"
    colour = "--accent-soft" if is_right else "--second"
    style = f"background: color-mix(in srgb, var({colour}) {round(100 * share)}%, transparent)"
    return f'<td style="{style}">{count:,}</td>'
