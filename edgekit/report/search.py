"""The page about a search: what came of it, on the way to what, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit.core import printable
from edgekit.core.text import counted_words, shortened
from edgekit.report import search_plots, svg
from edgekit.report.markup import (
    Cell,
    Section,
    badge,
    figure,
    gallery,
    joined,
    paragraph,
    small,
    table,
)
from edgekit.report.page import assembled
from edgekit.report.search_details import (
    LABEL_WIDTH,
    UNITS,
    amount,
    between,
    conditions,
    failures,
    steps,
    time,
    widths,
)
from edgekit.report.search_document import read_search
from edgekit.report.text import UNKNOWN, figures, percent
from edgekit.search.document import TOP1, Network, SearchDocument, Series

_METHODS = {
    "netadapt": "NetAdapt",
    "uniform": "uniform widths",
    "random": "random widths",
    "compound": "compound scaling",
}


def render(document: Any, named: str = "the document") -> str:
    """The page about a search; the same document gives the same text.

    Args:
        document: what ``edgekit search`` writes, of schema ``edgekit.search/1``.
        named: what messages call it.

    Raises:
        InputError: it is another document, or damaged; the message names the key.
    """
    search = read_search(document, named)
    sections = (
        _result(search),
        _comparison(search),
        steps(search),
        widths(search),
        time(search),
        failures(search),
        conditions(search),
    )
    title = f"Search: {printable(search.network)} on {printable(search.device)}"
    present = [section for section in sections if section is not None]
    return assembled(title, _verdict(search), present)


def plot(document: Any, named: str = "the document") -> str:
    """Accuracy against cost alone, as an SVG file.

    Raises:
        InputError: as `render` does.
    """
    return svg.standalone(_tradeoff(read_search(document, named)))


def _verdict(s: SearchDocument) -> str:
    parts: list[Cell] = []
    end = s.final
    name, _, _ = UNITS[s.resource]
    start, last = s.baseline.cost(s.resource), end.cost(s.resource)
    if end.latency_ratio is not None and s.resource == "latency":
        interval = f" (95 % interval {between(end.ci95)})" if end.ci95 else ""
        parts.append(f"{end.latency_ratio:.3f} of the start's latency{interval}; ")
    elif start and last is not None:
        parts.append(f"{last / start:.3f} of the start's {name}; ")
    if s.tested is not None:
        before, after, which = s.tested.before, s.tested.after, "test"
    else:
        before, after, which = s.baseline.figure, end.figure, "selection"
    parts.append(f"{which} {s.title} {percent(before, 2)} before, {percent(after, 2)} after.")
    over = badge("over the budget", "bad") if s.finished else badge("not there yet", "guess")
    marks = {True: badge("keeps the budget", "good"), False: over, None: None}
    if s.choice is not None and s.choice.within > 1:
        parts.append(
            f" It is network {end.step}, which has the highest selection {s.title} of the "
            f"{s.choice.within} that keep the budget."
        )
    mark = marks[s.keeps(end)] or badge("budget not checked", "none")
    html = paragraph(*parts, mark, kind="verdict")
    html += paragraph(f"For {s.target}, {s.precision}, within {s.budget}; {s.date}, seed {s.seed}.")
    if s.emulated:
        html += paragraph(
            f"The processor of {printable(s.device)} is emulated: the times below mean nothing, "
            f"and are no measure of a real one.",
            kind="note",
        )
    if not s.finished:
        html += paragraph(
            "This search has not finished: what follows is the way so far, and the last network "
            "still lacks its long training. Go on with 'edgekit search ... --resume'.",
            kind="note",
        )
    return html


def _result(s: SearchDocument) -> Section:
    rows: list[Sequence[Cell]] = []
    for resource, (name, unit, _) in UNITS.items():
        before, after = s.baseline.cost(resource), s.final.cost(resource)
        if before is None and after is None:
            continue
        share: Cell = UNKNOWN if not before or after is None else f"{after / before:.3f}"
        if resource == "latency" and s.final.latency_ratio is not None:
            share = f"{s.final.latency_ratio:.3f}"
            if s.final.ci95:
                share = joined(share, small(between(s.final.ci95)))
        bound = s.bound(resource)
        allowed = UNKNOWN if bound is None else figures(bound / UNITS[resource][2])
        amounts = amount(s.baseline, resource), amount(s.final, resource)
        rows.append([f"{name}, {unit}", *amounts, share, allowed])
    before, after = s.baseline.params, s.final.params
    share = f"{after / before:.3f}" if before else UNKNOWN
    rows.append(["parameters, M", figures(before / 1e6), figures(after / 1e6), share, UNKNOWN])
    rows.append(_accuracies(f"selection {s.title}", s.baseline.figure, s.final.figure))
    if s.tested is not None:
        rows.append(_accuracies(f"test {s.title}", s.tested.before, s.tested.after))
    columns = ["quantity", "before", "after", "ratio", "budget"]
    of = "accuracy" if s.headline.name == TOP1 else s.title
    note = f"Networks were chosen by the selection {s.inputs}, so their {of} there flatters them"
    note += "." if s.tested is None else f"; the test {s.inputs} were looked at once, at the end."
    if s.final.ci95:
        note += " Below the ratio of latencies is its 95 % interval, measured in turns."
    body = table("Before and after", columns, rows, 4) + paragraph(note)
    return Section("result", "Result", body)


def _accuracies(name: str, before: float, after: float) -> list[Cell]:
    points = f"{100 * (after - before):+.2f} points"
    return [name, percent(before, 2), percent(after, 2), points, UNKNOWN]


def _comparison(s: SearchDocument) -> Section:
    name, unit, _ = UNITS[s.resource]
    missing = sum(n.cost(s.resource) is None for series in s.methods for n in series.steps)
    caption = "The star is the start, the ring the result."
    if any(n.figure_ci95 for n in s.steps):
        caption += f" Upright lines are 95 % intervals of {s.title}."
    if s.resource == "latency":
        caption += " Level lines are 95 % intervals of latency, measured against the start, at the "
        caption += "start's speed."
    if missing:
        which = counted_words(missing, "network")
        caption += f" {which} without a measured {name} cannot be drawn."
    drawn = [figure(f"{_capital(s.title)} against {name}", (_tradeoff(s), caption))]
    predicted = _predicted(s)
    if predicted is not None:
        drawn.append(predicted)
    rows = [_method(s, series) for series in s.methods]
    columns = ["method", unit, "over the start", f"selection {s.title}", f"test {s.title}"]
    body = gallery(drawn) + table("Best in the budget, by method", columns, rows, 4)
    of = "Accuracy" if s.headline.name == TOP1 else _capital(s.title)
    return Section("comparison", f"{of} against {name}", body)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _tradeoff(s: SearchDocument) -> str:
    name, unit, factor = UNITS[s.resource]
    lines = [
        search_plots.Line(
            _named(series),
            [spot for n in series.steps if (spot := _spot(n, s.resource)) is not None],
        )
        for series in s.methods
    ]
    start, bound = _spot(s.baseline, s.resource), s.bound(s.resource)
    assert start is not None  # the resource was chosen for that
    end = None if s.final.step == s.baseline.step else _spot(s.final, s.resource)
    told = [
        f"{_named(series)}: "
        + (
            "; ".join(
                f"{amount(n, s.resource)} {unit}, {percent(n.figure, 2)}" for n in series.steps
            )
        )
        for series in s.methods
    ]
    told.append(f"start: {amount(s.baseline, s.resource)} {unit}, {percent(s.baseline.figure, 2)}")
    told.append(f"result: {amount(s.final, s.resource)} {unit}, {percent(s.final.figure, 2)}")
    if bound is not None:
        told.append(f"budget: {figures(bound / factor)} {unit}")
    return search_plots.tradeoff(
        lines,
        start=start,
        end=end,
        bound=None if bound is None else bound / factor,
        bound_label="" if bound is None else f"budget, {figures(bound / factor)} {unit}",
        cost_label=f"{name} in {unit}",
        ident="tradeoff",
        title=f"{_capital(s.title)} on the selection {s.inputs} against {name}",
        quality=s.title,
        description=". ".join(told),
    )


def _named(series: Series) -> str:
    return shortened(printable(_METHODS.get(series.method, series.method)), LABEL_WIDTH)


def _spot(network: Network, resource: str) -> search_plots.Spot | None:
    cost, interval, factor = network.cost(resource), network.interval(resource), UNITS[resource][2]
    if cost is None:
        return None
    scaled = None if interval is None else (interval[0] / factor, interval[1] / factor)
    return search_plots.Spot(cost / factor, scaled, network.figure, network.figure_ci95)


def _method(s: SearchDocument, series: Series) -> list[Cell]:
    """What a method reached within the budget: its most accurate network, or the result."""
    test = UNKNOWN if series.tested is None else percent(series.tested, 2)
    within = [n for n in series.steps if s.keeps(n)]
    tried = counted_words(len(series.steps), "network")
    if not within:
        none = joined(_named(series), small(f"{tried}, none keeps the budget"))
        return [none, UNKNOWN, UNKNOWN, UNKNOWN, test]
    best = s.final if s.final in within else max(within, key=lambda n: n.figure)
    cost, start = best.cost(s.resource), s.baseline.cost(s.resource)
    share: Cell = UNKNOWN if not start or cost is None else f"{cost / start:.3f}"
    if s.resource == "latency" and best.ci95:
        share = joined(share, small(between(best.ci95)))
    which = joined(_named(series), small(f"{tried}; the best: network {best.step}"))
    return [which, amount(best, s.resource), share, percent(best.figure, 2), test]


def _predicted(s: SearchDocument) -> str | None:
    """Predictions of the first resource, but for operations, which are counted both times."""
    if s.steered == "macs":
        return None
    name, unit, factor = UNITS[s.steered]
    rows = []
    for n in s.steps:
        measured, interval = n.cost(s.steered), n.interval(s.steered)
        if n.predicted is not None and measured is not None:
            scaled = None if interval is None else (interval[0] / factor, interval[1] / factor)
            rows.append(
                search_plots.Prediction(n.step, n.predicted / factor, measured / factor, scaled)
            )
    if not rows:
        return None
    title = f"Predicted and measured {name}"
    description = "; ".join(
        f"step {row.step}: predicted {figures(row.predicted)}, measured {figures(row.measured)} "
        f"{unit}"
        for row in rows
    )
    drawn = search_plots.predictions(
        rows,
        cost_label=f"{name} in {unit}",
        ident="predictions",
        title=title,
        description=description,
    )
    caption = "Costs of parts predict, and only the whole network's measurement decides."
    if s.prediction_error is not None:
        caption += f" Predictions are off by {percent(s.prediction_error)} on average."
    return figure(title, (drawn, caption))
