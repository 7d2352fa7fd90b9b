"""The page about a search: what came of it, on the way to what, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgekit.report import plots, search_plots, svg
from edgekit.report.markup import (
    Cell,
    Section,
    badge,
    command,
    figure,
    gallery,
    joined,
    paragraph,
    small,
    table,
)
from edgekit.report.page import assembled
from edgekit.report.searched import Network, Searched, Series, read_search
from edgekit.report.text import counted_words, figures, percent, plain, shortened

UNKNOWN = "-"

# What the units of budgets are called and divided by.
_UNITS = {
    "latency": ("latency", "ms", 1.0),
    "energy": ("energy", "mJ", 1.0),
    "size": ("size", "MB", 1e6),
    "macs": ("operations", "M MACs", 1e6),
}
_METHODS = {
    "netadapt": "NetAdapt",
    "uniform": "uniform widths",
    "random": "random widths",
    "compound": "compound scaling",
}
_LABEL = 24  # characters that fit into half a legend
_TALLEST = 10  # bars, before a second column is better than a longer one


def render(document: Any, named: str = "the document") -> str:
    """The page about a search; the same document gives the same text.

    Args:
        document: what ``edgekit search`` writes, of schema ``edgekit.search/1``.
        named: what messages call it.

    Raises:
        InputError: it is another document, or damaged; the message names the key.
    """
    found = read_search(document, named)
    sections = (
        _result(found),
        _comparison(found),
        _steps(found),
        _widths(found),
        _time(found),
        _failures(found),
        _conditions(found),
    )
    title = f"Search: {plain(found.network)} on {plain(found.device)}"
    present = [section for section in sections if section is not None]
    return assembled(title, _verdict(found), present)


def plot(document: Any, named: str = "the document") -> str:
    """Accuracy against cost alone, as an SVG file.

    Raises:
        InputError: as `render` does.
    """
    return svg.standalone(_tradeoff(read_search(document, named)))


# Result


def _verdict(s: Searched) -> str:
    parts: list[Cell] = []
    end = s.final
    name, _, _ = _UNITS[s.resource]
    start, last = s.baseline.cost(s.resource), end.cost(s.resource)
    if end.latency_ratio is not None and s.resource == "latency":
        between = _between(end.ci95)
        interval = f" (95 % interval {between})" if between else ""
        parts.append(f"{end.latency_ratio:.3f} of the start's latency{interval}; ")
    elif start and last is not None:
        parts.append(f"{last / start:.3f} of the start's {name}; ")
    if s.test_top1 is not None:
        before, after, images = s.test_top1.before, s.test_top1.after, "test"
    else:
        before, after, images = s.baseline.top1, end.top1, "selection"
    parts.append(f"{images} top-1 {percent(before, 2)} before, {percent(after, 2)} after.")
    mark = {
        True: badge("keeps the budget", "good"),
        False: badge("over the budget", "bad"),
        None: badge("budget not checked", "none"),
    }[s.keeps(end)]
    html = paragraph(*parts, mark, kind="verdict")
    if not s.finished:
        html += paragraph(
            "This search has not finished: what follows is the way so far, and the last network "
            "still lacks its long training. Go on with 'edgekit search ... --resume'.",
            kind="note",
        )
    return html


def _between(ci95: Sequence[float]) -> str:
    return f"{ci95[0]:.3f} to {ci95[1]:.3f}" if ci95 else ""


def _amount(network: Network, resource: str) -> str:
    """A cost without its unit."""
    value = network.cost(resource)
    return UNKNOWN if value is None else figures(value / _UNITS[resource][2])


def _result(s: Searched) -> Section:
    rows: list[Sequence[Cell]] = []
    for resource, (name, unit, _) in _UNITS.items():
        before, after = s.baseline.cost(resource), s.final.cost(resource)
        if before is None and after is None:
            continue
        share: Cell = UNKNOWN if not before or after is None else f"{after / before:.3f}"
        if resource == "latency" and s.final.latency_ratio is not None:
            share = f"{s.final.latency_ratio:.3f}"
            if s.final.ci95:
                share = joined(share, small(_between(s.final.ci95)))
        bound = s.bound(resource)
        allowed = UNKNOWN if bound is None else figures(bound / _UNITS[resource][2])
        amounts = _amount(s.baseline, resource), _amount(s.final, resource)
        rows.append([f"{name}, {unit}", *amounts, share, allowed])
    before, after = s.baseline.params, s.final.params
    share = f"{after / before:.3f}" if before else UNKNOWN
    rows.append(["parameters, M", figures(before / 1e6), figures(after / 1e6), share, UNKNOWN])
    rows.append(_accuracies("selection top-1", s.baseline.top1, s.final.top1))
    if s.test_top1 is not None:
        rows.append(_accuracies("test top-1", s.test_top1.before, s.test_top1.after))
    columns = ["quantity", "before", "after", "ratio", "budget"]
    note = paragraph(
        "The small numbers are a 95 % interval of the ratio, which was measured in turns with the "
        "start. Networks were chosen by the selection images, so their accuracy there flatters "
        "them; the test images were looked at once, at the end."
    )
    return Section("result", "Result", table("Before and after", columns, rows, 4) + note)


def _accuracies(name: str, before: float, after: float) -> list[Cell]:
    points = f"{100 * (after - before):+.2f} points"
    return [name, percent(before, 2), percent(after, 2), points, UNKNOWN]


# Accuracy against cost


def _comparison(s: Searched) -> Section:
    name, unit, _ = _UNITS[s.resource]
    missing = sum(n.cost(s.resource) is None for series in s.methods for n in series.steps)
    caption = "The star is the start, the ring the result."
    if s.resource == "latency":
        caption += " Lines through points are 95 % intervals of latency, measured against the start"
        caption += ", at the start's speed."
    if missing:
        which = counted_words(missing, "network")
        caption += f" {which} without a measured {name} cannot be drawn."
    drawn = [figure(f"Top-1 against {name}", (_tradeoff(s), caption))]
    predicted = _predicted(s)
    if predicted is not None:
        drawn.append(predicted)
    rows = [_method(s, series) for series in s.methods]
    columns = ["method", "networks", "best in budget", unit, "over the start"]
    columns += ["selection top-1", "test top-1"]
    body = gallery(drawn) + table("By method", columns, rows, 4)
    return Section("comparison", f"Accuracy against {name}", body)


def _tradeoff(s: Searched) -> str:
    name, unit, factor = _UNITS[s.resource]
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
                f"{_amount(n, s.resource)} {unit}, {percent(n.top1, 2)}" for n in series.steps
            )
        )
        for series in s.methods
    ]
    told.append(f"start: {_amount(s.baseline, s.resource)} {unit}, {percent(s.baseline.top1, 2)}")
    told.append(f"result: {_amount(s.final, s.resource)} {unit}, {percent(s.final.top1, 2)}")
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
        title=f"Top-1 on the selection images against {name}",
        description=". ".join(told),
    )


def _named(series: Series) -> str:
    return shortened(plain(_METHODS.get(series.method, series.method)), _LABEL)


def _spot(network: Network, resource: str) -> search_plots.Spot | None:
    cost, interval, factor = network.cost(resource), network.interval(resource), _UNITS[resource][2]
    if cost is None:
        return None
    scaled = None if interval is None else (interval[0] / factor, interval[1] / factor)
    return search_plots.Spot(cost / factor, scaled, network.top1)


def _method(s: Searched, series: Series) -> list[Cell]:
    """What a method reached within the budget."""
    test = UNKNOWN if series.test_top1 is None else percent(series.test_top1, 2)
    within = [n for n in series.steps if s.keeps(n)]
    row: list[Cell] = [_named(series), str(len(series.steps))]
    if not within:
        return [*row, "none", UNKNOWN, UNKNOWN, UNKNOWN, test]
    best = max(within, key=lambda n: n.top1)
    cost, start = best.cost(s.resource), s.baseline.cost(s.resource)
    share: Cell = UNKNOWN if not start or cost is None else f"{cost / start:.3f}"
    if s.resource == "latency" and best.ci95:
        share = joined(share, small(_between(best.ci95)))
    which = f"network {best.step}"
    return [*row, which, _amount(best, s.resource), share, percent(best.top1, 2), test]


def _predicted(s: Searched) -> str | None:
    """Predictions of the first resource, but for operations, which are counted both times."""
    if s.steered == "macs":
        return None
    name, unit, factor = _UNITS[s.steered]
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
    words = "; ".join(
        f"step {row.step}: predicted {figures(row.predicted)}, measured {figures(row.measured)} "
        f"{unit}"
        for row in rows
    )
    drawn = search_plots.predictions(
        rows, cost_label=f"{name} in {unit}", ident="predictions", title=title, description=words
    )
    caption = "Costs of parts predict, and only the whole network's measurement decides."
    if s.prediction_error is not None:
        caption += f" Predictions are off by {percent(s.prediction_error)} on average."
    return figure(title, (drawn, caption))


# The way


def _steps(s: Searched) -> Section:
    steps = s.steps or (s.baseline,)
    with_latency = any(n.latency_ms is not None for n in steps)
    with_energy = any(n.energy_mj is not None for n in steps)
    columns = ["step", "change", "top-1"]
    columns += ["latency ms", "ratio"] if with_latency else []
    columns += ["energy mJ"] if with_energy else []
    columns += ["size MB", "M MACs", "M params"]
    best = {(n.step, n.artifact) for n in s.pareto}
    rows = []
    for n in steps:
        change: Cell = _change(s, n)
        if (n.step, n.artifact) in best:
            change = joined(change, " ", badge("Pareto front", "good"))
        row: list[Cell] = [str(n.step), change, percent(n.top1, 2)]
        if with_latency:
            row += [_amount(n, "latency"), _ratio(n)]
        row += [_amount(n, "energy")] if with_energy else []
        row += [_amount(n, "size"), _amount(n, "macs"), figures(n.params / 1e6)]
        rows.append(row)
    note = paragraph(
        "Top-1 is on the selection images; ratios are over the start's latency, with 95 % "
        "intervals. Nothing else is at least as accurate and as cheap as a network on the Pareto "
        "front."
    )
    body = table("Networks on the way", columns, rows, len(columns) - 3) + note
    return Section("steps", "Steps", body)


def _change(s: Searched, n: Network) -> str:
    if n.changed is not None:
        return n.changed if n.width is None else f"{n.changed} to {n.width}"
    return "start" if n.step == s.baseline.step else "trained to the end"


def _ratio(n: Network) -> Cell:
    if n.latency_ratio is None:
        return UNKNOWN
    share = f"{n.latency_ratio:.3f}"
    return joined(share, small(_between(n.ci95))) if n.ci95 else share


def _widths(s: Searched) -> Section | None:
    if not s.groups and not s.frozen:
        return None
    rows = [
        plots.Bar(
            shortened(plain(group.name), 28),
            group.after,
            f"{group.before} → {group.after} ({percent(group.after / group.before, 0)})"
            if group.after != group.before
            else f"{group.before}",
            before=group.before,
        )
        for group in s.groups
    ]
    longest = float(max((group.before for group in s.groups), default=0))
    columns = 1 if len(rows) <= _TALLEST else 2
    size = -(-len(rows) // columns)
    parts = [rows[i : i + size] for i in range(0, len(rows), size)] if rows else []
    drawn = []
    for i, part in enumerate(parts, 1):
        title = "Channels" + (f", part {i} of {len(parts)}" if len(parts) > 1 else "")
        words = "; ".join(f"{bar.label}: {bar.shown}" for bar in part)
        caption = "Light: before; full: after. In the order of the network, all on one scale."
        svg_text = plots.bars(
            part, ident=f"widths-{i}", title=title, description=words, longest=longest
        )
        drawn.append(figure(title, (svg_text, caption)))
    note = paragraph(
        "A group is what has to keep the same channels: layers that are added together, or that "
        "work channel by channel."
    )
    body = (gallery(drawn) + note) if drawn else ""
    if s.frozen:
        body += table("Groups that were left alone", ["group", "reason"], list(s.frozen.items()))
    return Section("widths", "Widths", body)


# What it took


def _time(s: Searched) -> Section:
    whole = sum(s.seconds.values())
    parts = [(name, seconds) for name, seconds in s.seconds.items() if seconds > 0]
    tried = s.candidates
    drawn = []
    if parts:
        labelled = [
            (shortened(f"{plain(name)}, {percent(seconds / whole, 0)}", _LABEL), seconds)
            for name, seconds in parts
        ]
        title = f"Time spent: {_duration(whole)}"
        words = "; ".join(f"{name}: {_duration(seconds)}" for name, seconds in parts)
        svg_text = search_plots.stack(labelled, ident="time", title=title, description=words)
        rate = "" if tried.per_hour is None else f", {figures(tried.per_hour)} an hour"
        caption = (
            f"{counted_words(tried.scored, 'candidate')} scored{rate}; {tried.trained:,} of them "
            f"trained."
        )
        drawn.append(figure(title, (svg_text, caption)))
    rows: list[Sequence[Cell]] = [
        [name, _duration(seconds), percent(seconds / whole) if whole else UNKNOWN]
        for name, seconds in s.seconds.items()
    ]
    rows.append(["all", _duration(whole), "100.0 %" if whole else UNKNOWN])
    drawn.append(table("Time by kind of work", ["spent on", "time", "share"], rows, 2))
    return Section("time", "Time", gallery(drawn))


def _duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def _failures(s: Searched) -> Section | None:
    failed = s.candidates.failed
    if not failed:
        return None
    rows = [[str(one.step), one.channels, str(one.width), one.error] for one in failed]
    columns = ["step", "group", "width", "error"]
    return Section("failures", "Failed candidates", table("What could not be tried", columns, rows))


def _conditions(s: Searched) -> Section:
    rows: list[Sequence[Cell]] = [
        ["network", s.network if s.words == s.network else f"{s.network} ({s.words})"],
        ["target", f"{s.target}, {s.precision}"],
        ["device", s.device],
        ["budget", s.budget],
        ["method", s.method if s.rule is None else f"{s.method}, rule {s.rule}"],
        ["seed", str(s.seed)],
        ["date", s.date],
    ]
    rows += [[name.replace("_", " "), _shown(value)] for name, value in (s.options or {}).items()]
    if s.model is not None:
        rows.append(["result", s.model])
    rows.append(["its file", s.final.artifact])
    typed = "" if s.command is None else command(s.command)
    body = typed + table("Settings", ["setting", "value"], rows)
    return Section("conditions", "Conditions", body)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
