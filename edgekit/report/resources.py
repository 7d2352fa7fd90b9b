"""Sections about what a network takes: memory, size, energy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekit.core import Energy
from edgekit.report import plots, svg
from edgekit.report.entries import Entry
from edgekit.report.latency import mebibytes, size_mib
from edgekit.report.markup import Cell, Section, figure, gallery, table
from edgekit.report.operators import drawn_bars
from edgekit.report.text import UNKNOWN, figures, plain


def _bars(ident: str, title: str, rows: Sequence[plots.Bar], caption: str) -> str:
    return figure(title, drawn_bars(ident, title, rows, caption))


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
    return ", ".join(f"{k} = {plain(v)}" for k, v in sorted((energy.coefficients or {}).items()))


def _shared(conditions: Iterable[tuple[Entry, str]]) -> str:
    """What is true of all entries; where they differ, of which ones each thing is true."""
    whose: dict[str, list[str]] = {}
    for entry, fact in conditions:
        whose.setdefault(fact, []).append(str(entry.number))
    if len(whose) < 2:
        return "".join(whose)
    return "; ".join(f"{fact or 'unknown'} for {', '.join(n)}" for fact, n in whose.items())
