"""Sections about time: the headline, what is faster, distributions, drift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgekit.core import Energy
from edgekit.measure.statistics import counted, ratio
from edgekit.report import plots
from edgekit.report.entries import Bare, Entry
from edgekit.report.inputs import Accuracy
from edgekit.report.markup import (
    Cell,
    Html,
    Section,
    badge,
    figure,
    gallery,
    joined,
    paragraph,
    small,
    table,
    tables,
)
from edgekit.report.text import UNKNOWN, figures, percent


def headline(entries: Sequence[Entry], unmeasured: Sequence[Bare] = ()) -> Section:
    """One line for each measurement, and what is known of files without one."""
    note = paragraph(
        "The small numbers below a median are its 95 % interval. Memory is what loading and "
        "running adds to the process. The numbers in the first column stand for the measurements "
        "everywhere on this page."
    )
    body = tables([_speeds(entries), _costs(entries)]) + _unmeasured(unmeasured)
    return Section("results", "Results", body + _disturbances(entries) + note)


def _speeds(entries: Sequence[Entry]) -> str:
    rows: list[Sequence[Cell]] = []
    for e in entries:
        m, s = e.measurement, e.latency
        low, high = (figures(v) for v in s.ci95_ms)
        p50 = joined(figures(s.p50_ms), small(f"{low} to {high}"))
        state = badge("stable", "good") if m.stable else badge("unstable", "bad")
        artifact = joined(e.name, small(_how(e)), state)
        others = figures(s.p90_ms), figures(s.p99_ms), figures(e.images_per_s)
        rows.append([str(e.number), artifact, p50, *others])
    columns = ["#", "artifact", "p50 ms", "p90 ms", "p99 ms", "images/s"]
    return table("Speed", columns, rows, 4)


def _how(e: Entry) -> str:
    """Where and how a measurement was taken."""
    m = e.measurement
    parts = [m.runtime, m.device, f"{m.threads} thread{'s' * (m.threads != 1)}"]
    return ", ".join(parts + [f"batch {m.batch}"] * (m.batch != 1))


def _costs(entries: Sequence[Entry]) -> str:
    """Accuracy, memory, size and energy; what nothing is known about has no column."""
    with_accuracy = any(e.accuracies for e in entries)
    with_energy = any(e.measurement.energy.mj_per_inference is not None for e in entries)
    columns, rows = ["#", "artifact"], []
    if with_accuracy:
        known = {a.figure for e in entries for a in e.accuracies}
        columns.append(known.pop() if len(known) == 1 else "accuracy")
    columns += ["memory MiB", "size MiB"] + ["energy each"] * with_energy
    for e in entries:
        m = e.measurement
        row: list[Cell] = [str(e.number), m.artifact]
        row += [_accuracy(e.accuracies)] if with_accuracy else []
        row += [mebibytes(m.peak_rss_mib), mebibytes(size_mib(e))]
        row += [energy_cell(m.energy)] if with_energy else []
        rows.append(row)
    return table("Accuracy and cost" if with_accuracy else "Cost", columns, rows, len(columns) - 2)


def _unmeasured(artifacts: Sequence[Bare]) -> str:
    """Files without measurements, and the command that changes that."""
    if not artifacts:
        return ""
    rows = [
        [one.name, _accuracy(one.accuracies), mebibytes(one.size_bytes / 2**20)]
        for one in artifacts
    ]
    names = " ".join(one.name for one in artifacts)
    note = f"Measure them with 'edgekit profile {names}', and make the page again."
    return table("Not measured", ["artifact", "accuracy", "size MiB"], rows, 2) + paragraph(note)


def _disturbances(entries: Sequence[Entry]) -> str:
    """What made measurements unstable, and which ones."""
    reasons: dict[str, list[str]] = {}
    for e in entries:
        if not e.measurement.stable:
            for reason in e.measurement.reasons or ("no reason was kept",):
                reasons.setdefault(reason, []).append(str(e.number))
    if not reasons:
        return ""
    rows = [[reason, ", ".join(numbers)] for reason, numbers in reasons.items()]
    return table("What disturbed unstable measurements", ["reason", "measurements"], rows)


def mebibytes(value: float | None) -> str:
    """A number of MiB, or a dash."""
    return UNKNOWN if value is None else f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def size_mib(e: Entry) -> float | None:
    """Size of the artifact's files."""
    size = e.measurement.size_bytes
    return None if size is None else size / 2**20


def energy_cell(energy: Energy) -> Html:
    """Energy with its kind: an estimate is never without the word."""
    if energy.mj_per_inference is None:
        return badge("unavailable", "none")
    value = f"{figures(energy.mj_per_inference)} mJ"
    if energy.kind == "measured":
        return joined(value, Html("<br>"), badge("measured", "good"))
    return joined(f"≈ {value}", Html("<br>"), badge(energy.kind, "guess"))


def _accuracy(accuracies: Sequence[Accuracy]) -> Cell:
    if not accuracies:
        return UNKNOWN
    return joined(*(joined(percent(a.value, 2), small(a.data)) for a in accuracies))


def speed(entries: Sequence[Entry]) -> Section | None:
    """Who is faster, for those that were measured in turns."""
    sessions: dict[tuple[object, ...], list[Entry]] = {}
    for e in entries:
        m = e.measurement
        sessions.setdefault((m.device, m.started, m.command, m.batch), []).append(e)
    rows: list[Sequence[Cell]] = []
    for group in sessions.values():
        if len(group) < 2:
            continue
        fastest = min(group, key=lambda e: e.latency.p50_ms)
        for e in sorted(group, key=lambda e: e.latency.p50_ms):
            rows.append(_against(e, fastest))
    if not rows:
        return None
    columns = ["#", "measurement", "verdict", "ratio"]
    note = paragraph(
        "A ratio is the time of a measurement over that of the fastest of its session, with the "
        "95 % interval below. Ratios are medians over neighbouring blocks of the same session, "
        "which is surer than the medians themselves: what slowed the machine down slowed both. "
        "Measurements of different sessions are not ranked here; 'edgekit compare' measures two "
        "in turns."
    )
    return Section("speed", "Against the fastest", table("Ratios", columns, rows, 1) + note)


def _against(e: Entry, fastest: Entry) -> list[Cell]:
    name: list[Cell] = [str(e.number), e.name]
    if e is fastest:
        return [*name, "lowest median of its session", "1"]
    compared = ratio(e.measurement.blocks, fastest.measurement.blocks)
    verdict = {
        "a_faster": f"faster than {fastest.number}, in spite of its median",
        "b_faster": f"slower than {fastest.number}",
        "indistinguishable": f"cannot be told from {fastest.number}",
    }[compared.verdict]
    low, high = compared.ci95
    between = small(f"{low:.3f} to {high:.3f}")
    return [*name, verdict, joined(f"{compared.ratio:.3f}", between)]


def distribution(entries: Sequence[Entry]) -> Section:
    """Histograms of all samples, and how speed went over time."""
    return Section(
        "latency",
        "Latency",
        gallery([_histograms(entries), _courses(entries)]),
    )


def _histograms(entries: Sequence[Entry]) -> str:
    rows = [
        plots.Samples(
            e.label,
            np.array([ms for b in e.measurement.blocks for ms in counted(b.samples_ms)]),
            e.latency.p50_ms,
            e.latency.p90_ms,
            e.latency.p99_ms,
        )
        for e in entries
    ]
    title = "Distribution of latencies"
    description = "; ".join(
        f"{e.label}: {e.latency.n} samples, minimum {figures(e.latency.min_ms)}, p50 "
        f"{figures(e.latency.p50_ms)}, p90 {figures(e.latency.p90_ms)}, p99 "
        f"{figures(e.latency.p99_ms)} ms"
        for e in entries
    )
    drawn = plots.distributions(rows, ident="latency-plot", title=title, description=description)
    caption = (
        "All counted samples on one axis. The thick line is the median, the shorter ones are p90 "
        "and p99; the axis ends behind the largest p99."
    )
    return figure(title, (drawn, caption))


def _courses(entries: Sequence[Entry]) -> str:
    rows = [_course(e) for e in entries]
    title = "Latency over time"
    description = "; ".join(
        f"{row.label}: blocks from {row.relative.min():.2f} to {row.relative.max():.2f} times "
        f"their median"
        + (
            f", the reference network from {row.reference.min():.2f} to {row.reference.max():.2f}"
            if len(row.reference)
            else ", without a reference network"
        )
        for row in rows
    )
    drawn = plots.courses(rows, ident="drift-plot", title=title, description=description)
    caption = (
        "Medians of blocks over the median of all blocks. The grey line is the reference network, "
        "run behind each block: where both rise together the machine slowed down, not the "
        "artifact. The outermost per cent may lie outside."
    )
    return figure(title, (drawn, caption))


def _course(e: Entry) -> plots.Course:
    blocks = sorted(e.measurement.blocks, key=lambda b: b.start_s)
    medians = np.array([np.median(counted(b.samples_ms)) for b in blocks])
    behind = [b for b in blocks if b.reference_ms]
    reference = np.array([np.median(counted(b.reference_ms)) for b in behind])
    return plots.Course(
        e.label,
        np.array([b.start_s for b in blocks]) - blocks[0].start_s,
        medians / np.median(medians),
        np.array([b.start_s for b in behind]) - blocks[0].start_s,
        reference / np.median(reference) if len(reference) else reference,
    )
