"""Sections about what a network takes: operators, memory, size, energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edgekit.core import Energy, printable
from edgekit.core.text import shortened
from edgekit.report import plots, svg
from edgekit.report.entries import Entry
from edgekit.report.latency import mebibytes, size_mib
from edgekit.report.markup import Cell, Section, figure, gallery, paragraph, table
from edgekit.report.text import UNKNOWN, figures, percent

_SHOWN_OPERATORS = 20
_OPERATOR_WIDTH = 46


def operators(entries: Sequence[Entry]) -> Section | None:
    """Where the time goes, by the runtimes' own profilers."""
    timed = [e for e in entries if e.measurement.operators]
    if not timed:
        return None
    note = paragraph(
        "Profilers slow a runtime down, leave out what it does between operators, and tell fused "
        "operators as one: their sum is not the latency."
    )
    runtimes: dict[str, list[Entry]] = {}
    for e in timed:
        runtimes.setdefault(e.measurement.runtime, []).append(e)
    colours = {runtime: _colours(group) for runtime, group in runtimes.items()}
    drawn = gallery(_operators(e, colours[e.measurement.runtime]) for e in timed)
    return Section("operators", "Operators", note + drawn)


def _by_kind(e: Entry) -> dict[str, list[float]]:
    kinds: dict[str, list[float]] = {}
    for operator in e.measurement.operators or ():
        kinds.setdefault(operator.kind, []).append(operator.ms)
    return kinds


def _colours(entries: Sequence[Entry]) -> dict[str, str]:
    """A colour for each kind that a runtime names; those that take least share the last one."""
    totals: dict[str, float] = {}
    for e in entries:
        kinds = _by_kind(e)
        whole = sum(map(sum, kinds.values())) or 1.0
        for kind, times in kinds.items():
            totals[kind] = totals.get(kind, 0.0) + sum(times) / whole
    ranked = sorted(totals, key=lambda kind: (-totals[kind], kind))
    last = len(svg.KINDS) - 1
    return {kind: svg.KINDS[min(place, last)] for place, kind in enumerate(ranked)}


def _operators(e: Entry, colours: Mapping[str, str]) -> str:
    timed, kinds = e.measurement.operators or (), _by_kind(e)
    total = sum(operator.ms for operator in timed)

    def bar(label: str, ms: float, kind: str) -> plots.Bar:
        share = percent(ms / total) if total else "0 %"
        return plots.Bar(label, ms, f"{figures(ms)} ms, {share}", colour=colours[kind])

    by_kind = [
        bar(f"{shortened(printable(kind), 30)} ({len(times)})", sum(times), kind)
        for kind, times in sorted(kinds.items(), key=lambda item: (-sum(item[1]), item[0]))
    ]
    ranked = sorted(timed, key=lambda operator: -operator.ms)
    each = [
        bar(shortened(printable(operator.name), _OPERATOR_WIDTH), operator.ms, operator.kind)
        for operator in ranked[:_SHOWN_OPERATORS]
    ]
    whole = (
        f"By kind, with the number of each. All {len(timed)} operators take {figures(total)} ms, "
        f"{percent(total / e.latency.p50_ms, 0)} of the median {figures(e.latency.p50_ms)} ms."
    )
    rest = ranked[_SHOWN_OPERATORS:]
    slowest = "The slowest, in the colours of their kinds."
    if rest:
        rest_ms = sum(operator.ms for operator in rest)
        slowest += f" The other {len(rest)} take {figures(rest_ms)} ms."
    return figure(
        e.label,
        _drawn(f"kinds-{e.number}", f"{e.label}: time by kind of operator", by_kind, whole),
        _drawn(f"slowest-{e.number}", f"{e.label}: slowest operators", each, slowest),
    )


def _drawn(ident: str, title: str, rows: Sequence[plots.Bar], caption: str) -> tuple[str, str]:
    """A bar chart and its caption."""
    description = "; ".join(f"{row.label}: {row.shown}" for row in rows)
    return plots.bars(rows, ident=ident, title=title, description=description), caption


def _bars(ident: str, title: str, rows: Sequence[plots.Bar], caption: str) -> str:
    return figure(title, _drawn(ident, title, rows, caption))


def memory(entries: Sequence[Entry]) -> Section:
    """Memory, sizes and times to load."""
    memories = [
        plots.Bar(e.label, value, "not known" if value is None else f"{mebibytes(value)} MiB")
        for e in entries
        for value in (e.measurement.peak_rss_mib,)
    ]
    files: dict[object, Entry] = {}
    for e in entries:
        files.setdefault(e.measurement.sha256 or (e.measurement.artifact, e.measurement.target), e)
    sizes = [
        plots.Bar(e.label, value, "no file" if value is None else f"{mebibytes(value)} MiB")
        for e in files.values()
        for value in (size_mib(e),)
    ]
    drawn = [
        _bars(
            "memory-plot",
            "Peak memory",
            memories,
            "Most memory of a fresh process over what it had before it loaded the artifact.",
        ),
        _bars("size-plot", "Size", sizes, "Of the artifact's files, each artifact once."),
    ]
    rows: list[Sequence[Cell]] = [
        [
            str(e.number),
            e.name,
            *(
                UNKNOWN if ms is None else figures(ms)
                for ms in (e.measurement.load_ms, e.measurement.first_ms)
            ),
            figures(e.latency.p50_ms),
        ]
        for e in entries
    ]
    columns = ["#", "measurement", "load ms", "first inference ms", "p50 ms"]
    start = table("From the file to the first answer", columns, rows, 3)
    return Section("memory", "Memory, size and start", gallery(drawn) + start)


def energy(entries: Sequence[Entry]) -> Section:
    """Energies, each kind and scope on axes of its own: they cannot be compared."""
    groups: dict[tuple[str, str, str, int], list[Entry]] = {}
    for e in entries:
        energy, m = e.measurement.energy, e.measurement
        if energy.mj_per_inference is not None:
            about = energy.model if energy.kind != "measured" else energy.scope
            key = (energy.kind, about or "unknown scope", e.machine, m.batch)
            groups.setdefault(key, []).append(e)
    drawn = []
    for index, ((kind, about, device, batch), group) in enumerate(sorted(groups.items()), 1):
        at = f"{device}, batch {batch}" if batch != 1 else device
        name = "Measured" if kind == "measured" else f"{kind.capitalize()}, not measured"
        title = f"{name}: energy per inference on {at}"
        rows = [_energy_bar(e, kind == "measured") for e in group]
        drawn.append(_bars(f"energy-{index}", title, rows, _energy_caption(kind, about, group)))
    body = gallery(drawn) if drawn else ""
    without = [e for e in entries if e.measurement.energy.mj_per_inference is None]
    if without:
        reasons: dict[str, list[str]] = {}
        for e in without:
            reason = e.measurement.energy.reason or "no reason was kept"
            reasons.setdefault(reason, []).append(str(e.number))
        lines = [[", ".join(numbers), reason] for reason, numbers in reasons.items()]
        body += table("Energy is unavailable", ["measurements", "reason"], lines)
    return Section("energy", "Energy", body)


def _energy_bar(e: Entry, measured: bool) -> plots.Bar:
    energy = e.measurement.energy
    assert energy.mj_per_inference is not None
    between = energy.ci95 if energy.ci95 is not None and len(energy.ci95) == 2 else None
    return plots.Bar(
        e.label,
        energy.mj_per_inference,
        f"{'' if measured else '≈ '}{figures(energy.mj_per_inference)} mJ",
        None if between is None else (between[0], between[1]),
        svg.ACCENT if measured else svg.SECOND,
        dashed=not measured,
    )


def _energy_caption(kind: str, about: str, group: Sequence[Entry]) -> str:
    if kind == "measured":
        meters = _shared(
            (e, ", ".join(filter(None, (e.measurement.energy.meter, e.measurement.energy.detail))))
            for e in group
        )
        return (
            f"What an inference adds to idling, of the {about} ({meters}). Lines are 95 % "
            f"intervals over windows."
        )
    numbers = _shared((e, _coefficients(e.measurement.energy)) for e in group)
    return (
        f"Estimated by {about}{f' with {numbers}' if numbers else ''}. Nothing was metered: such "
        f"numbers stand neither beside measured ones nor in a ranking with them."
    )


def _coefficients(energy: Energy) -> str:
    return ", ".join(f"{k} = {v:g}" for k, v in sorted((energy.coefficients or {}).items()))


def _shared(conditions: Iterable[tuple[Entry, str]]) -> str:
    """What is true of all entries; where they differ, of which ones each thing is true."""
    whose: dict[str, list[str]] = {}
    for entry, fact in conditions:
        whose.setdefault(fact, []).append(str(entry.number))
    if len(whose) < 2:
        return "".join(whose)
    return "; ".join(f"{fact or 'unknown'} for {', '.join(n)}" for fact, n in whose.items())
