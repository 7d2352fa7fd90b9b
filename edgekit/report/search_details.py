"""Sections about how a search went: steps, widths, time, failures, settings."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core import printable
from edgekit.core.text import counted_words, shortened
from edgekit.report import plots, search_plots
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
    tables,
)
from edgekit.report.text import UNKNOWN, figures, percent
from edgekit.search.budget import MEMORIES
from edgekit.search.document import TOP1, Network, SearchDocument

LABEL_WIDTH = 24  # characters that fit into half a legend
_TALLEST = 10  # bars, before a second column is better than a longer one

UNITS = {
    "latency": ("latency", "ms", 1.0),
    "energy": ("energy", "mJ", 1.0),
    "size": ("size", "MB", 1e6),
    "arena": ("arena", "KiB", 2.0**10),
    "sram": ("SRAM", "KiB", 2.0**10),
    "macs": ("operations", "M MACs", 1e6),
}
"""What the resources of budgets are called, their unit, and how many of theirs it is."""


def between(ci95: Sequence[float]) -> str:
    """An interval of ratios, or nothing."""
    return f"{ci95[0]:.3f} to {ci95[1]:.3f}" if ci95 else ""


def amount(network: Network, resource: str) -> str:
    """A cost without its unit."""
    value = network.cost(resource)
    return UNKNOWN if value is None else figures(value / UNITS[resource][2])


def steps(s: SearchDocument) -> Section:
    """One line for each network on the way."""
    networks = s.steps or (s.baseline,)
    with_latency = any(n.latency_ms is not None for n in networks)
    with_energy = any(n.energy_mj is not None for n in networks)
    columns = ["step", "change", s.title] + ["latency ms", "ratio"] * with_latency
    memories = [one for one in MEMORIES if any(n.cost(one) is not None for n in networks)]
    cost_columns = ["step"] + ["energy mJ"] * with_energy
    cost_columns += [" ".join(UNITS[one][:2]) for one in memories]
    cost_columns += ["size MB", "M MACs", "M params"]
    best = {(n.step, n.artifact) for n in s.pareto}
    rows: list[list[Cell]] = []
    costs: list[list[Cell]] = []
    for n in networks:
        change: Cell = _change(s, n)
        if (n.step, n.artifact) in best:
            change = joined(change, " ", badge("Pareto front", "good"))
        quality: Cell = percent(n.figure, 2)
        if n.figure_ci95:
            quality = joined(quality, small(" to ".join(percent(end) for end in n.figure_ci95)))
        row: list[Cell] = [str(n.step), change, quality]
        if with_latency:
            row += [amount(n, "latency"), _ratio(n)]
        rows.append(row)
        cost: list[Cell] = [str(n.step)]
        cost += [amount(n, "energy")] if with_energy else []
        cost += [amount(n, one) for one in memories]
        costs.append([*cost, amount(n, "size"), amount(n, "macs"), figures(n.params / 1e6)])
    note = f"{s.title[:1].upper()}{s.title[1:]} is on the selection {s.inputs}"
    note += ", with its 95 % interval." if any(n.figure_ci95 for n in networks) else "."
    if with_latency:
        note += " Ratios are over the start's latency, with 95 % intervals below them."
    if best:
        good = "accurate" if s.headline.name == TOP1 else "good"
        note += f" No other network is at least as {good} and as cheap as one on the Pareto front."
    both = [
        table("Networks on the way", columns, rows, len(columns) - 2),
        table("What they take", cost_columns, costs, len(cost_columns) - 1),
    ]
    return Section("steps", "Steps", tables(both) + paragraph(note))


def _change(s: SearchDocument, n: Network) -> str:
    if n.changed is not None:
        return n.changed if n.width is None else f"{n.changed} to {n.width}"
    return "start" if n.step == s.baseline.step else "trained to the end"


def _ratio(n: Network) -> Cell:
    if n.latency_ratio is None:
        return UNKNOWN
    share = f"{n.latency_ratio:.3f}"
    return joined(share, small(between(n.ci95))) if n.ci95 else share


def widths(s: SearchDocument) -> Section | None:
    """Channels of each group before and after, and the groups that were left alone."""
    if not s.groups and not s.frozen:
        return None
    rows = [
        plots.Bar(
            shortened(printable(group.name), 28),
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
        description = "; ".join(f"{bar.label}: {bar.shown}" for bar in part)
        caption = "Light: before; full: after. In the order of the network, all on one scale."
        svg_text = plots.bars(
            part, ident=f"widths-{i}", title=title, description=description, longest=longest
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


def time(s: SearchDocument) -> Section:
    """What the time was spent on, and how much was tried."""
    whole = sum(s.seconds.values())
    parts = [(name, seconds) for name, seconds in s.seconds.items() if seconds > 0]
    tried = s.candidates
    drawn = []
    if parts:
        labelled = [
            (shortened(f"{printable(name)}, {percent(seconds / whole, 0)}", LABEL_WIDTH), seconds)
            for name, seconds in parts
        ]
        title = f"Time spent: {_duration(whole)}"
        description = "; ".join(f"{name}: {_duration(seconds)}" for name, seconds in parts)
        svg_text = search_plots.stack(labelled, ident="time", title=title, description=description)
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


def failures(s: SearchDocument) -> Section | None:
    """Candidates that could not be tried."""
    failed = s.candidates.failed
    if not failed:
        return None
    rows = [
        [str(one.step), one.channels, UNKNOWN if one.width is None else str(one.width), one.error]
        for one in failed
    ]
    columns = ["step", "channels", "width", "error"]
    return Section("failures", "Failed candidates", table("What could not be tried", columns, rows))


def conditions(s: SearchDocument) -> Section:
    """How the search was started."""
    rows: list[Sequence[Cell]] = [
        ["network", s.network if s.words == s.network else f"{s.network} ({s.words})"],
        ["target", f"{s.target}, {s.precision}"],
        ["device", s.device if s.processor is None else f"{s.device}, {s.processor}"],
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
