"""The section about accuracy against latency."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.text import counted_words
from edgekit.report import plots
from edgekit.report.entries import Entry
from edgekit.report.inputs import Accuracy
from edgekit.report.markup import (
    Cell,
    Section,
    badge,
    figure,
    gallery,
    items,
    joined,
    paragraph,
    small,
    table,
)
from edgekit.report.pareto import front
from edgekit.report.text import figures, percent

Rated = tuple[Entry, Accuracy]


def accuracy(entries: Sequence[Entry], unmatched: Sequence[Accuracy]) -> Section:
    """Accuracy against latency, one plot for each set of images, figure, device and batch size."""
    groups: dict[tuple[str, str, str, int], list[Rated]] = {}
    for e in entries:
        for found in e.accuracies:
            key = (found.figure, found.data, e.machine, e.measurement.batch)
            groups.setdefault(key, []).append((e, found))
    parts = [_group(i, *key, rated) for i, (key, rated) in enumerate(groups.items(), 1)]
    return Section(
        "accuracy", "Accuracy against latency", "".join(parts) + _gaps(entries, unmatched)
    )


def _group(
    index: int, name: str, data: str, device: str, batch: int, rated: Sequence[Rated]
) -> str:
    best = set(front([(e.latency.p50_ms, accuracy.value) for e, accuracy in rated]))
    points = [
        plots.Point(
            str(e.number),
            e.latency.p50_ms,
            e.latency.ci95_ms,
            accuracy.value,
            accuracy.interval,
            place in best,
        )
        for place, (e, accuracy) in enumerate(rated)
    ]
    where = f"{data} on {device}" + (f", batch {batch}" if batch != 1 else "")
    title = f"{name[:1].upper()}{name[1:]} on {where}"
    order = sorted(range(len(rated)), key=lambda i: (rated[i][0].latency.p50_ms, i))
    description = "; ".join(
        f"{rated[i][0].label}: {figures(points[i].ms)} ms, {percent(points[i].value)}"
        + (", on the Pareto front" if points[i].on_front else "")
        for i in order
    )
    drawn = plots.tradeoff(
        points, name, ident=f"accuracy-{index}", title=title, description=description
    )
    rows: list[Sequence[Cell]] = []
    for i in order:
        e, accuracy = rated[i]
        mark: Cell = badge("Pareto front", "good") if points[i].on_front else "beaten"
        value: Cell = percent(accuracy.value, 2)
        if accuracy.ci95:
            value = joined(value, small(" to ".join(percent(end) for end in accuracy.ci95)))
        rows.append([str(e.number), e.name, mark, figures(points[i].ms), value])
    columns = ["#", "network", "choice", "p50 ms", name]
    sizes = sorted({accuracy.n for _, accuracy in rated})
    images = " and ".join(counted_words(n, "image") for n in sizes)
    caption = (
        f"Of {images}. Lines and small numbers are 95 % intervals. The dotted line joins the "
        f"Pareto front: no other network is at least as fast and as accurate. It goes by the "
        f"points alone, so where intervals overlap it may be another."
    )
    return gallery([figure(title, (drawn, caption)), table(title, columns, rows, 2)])


def _gaps(entries: Sequence[Entry], unmatched: Sequence[Accuracy]) -> str:
    """What is not in the plots, and how to change that."""
    html = ""
    missing = [e for e in entries if not e.accuracies]
    if missing:
        which = "any of them" if len(missing) == len(entries) else _numbers(missing)
        html += paragraph(
            f"No accuracy is known for {which}. Measure it with 'edgekit evaluate ARTIFACT --data "
            f"SRC --json > FILE', with the artifact named as for 'edgekit profile', and give FILE "
            f"to the report as well.",
            kind="note",
        )
    if unmatched:
        html += paragraph("Accuracies of what was not measured, or under another name:")
        html += items(
            f"{accuracy.source} ({accuracy.target}): {accuracy.figure} "
            f"{percent(accuracy.value, 2)} on {accuracy.data}, {counted_words(accuracy.n, 'image')}"
            for accuracy in unmatched
        )
    return html


def _numbers(entries: Sequence[Entry]) -> str:
    one = "measurement" if len(entries) == 1 else "measurements"
    return f"{one} {', '.join(str(e.number) for e in entries)}"
