"""The section about how it was measured: differing conditions, environments, tools, commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgekit.core import Scalar
from edgekit.measure.plausible import started_at
from edgekit.report.entries import Entry
from edgekit.report.markup import Cell, Section, command, paragraph, table
from edgekit.report.text import escaped, plain

# Conditions that stay for a while; those that change from second to second differ always.
_LASTING = ("system", "cpu", "cores", "governor", "input", "denormals_flushed")


def conditions(entries: Sequence[Entry]) -> Section:
    """How everything was measured, session by session."""
    body = _differences(entries)
    sessions: dict[tuple[object, ...], list[Entry]] = {}
    for e in entries:
        m = e.measurement
        sessions.setdefault((m.started, m.device, m.command), []).append(e)
    for group in sessions.values():
        body += _session(group)
    return Section("conditions", "Conditions", body)


def differing(entries: Sequence[Entry]) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """Conditions that are not the same for all: their name, and which numbers have which value."""
    lines: dict[str, dict[str, list[int]]] = {}
    for e in entries:
        for name, value in _conditions(e):
            lines.setdefault(name, {}).setdefault(value, []).append(e.number)
    for name, values in lines.items():
        # A tool that only some runtimes need is no difference.
        told = sum(len(numbers) for numbers in values.values())
        if len(values) > 1 or (told < len(entries) and not name.startswith("version of ")):
            yield name, values


def _conditions(e: Entry) -> Iterator[tuple[str, str]]:
    m = e.measurement
    for name in ("device", "runtime", "threads", "batch"):
        yield name, str(getattr(m, name))
    yield "session", f"{started_at(m):%Y-%m-%d %H:%M:%S} UTC"
    for key in _LASTING:
        yield key.replace("_", " "), _shown(m.environment.get(key))
    for tool, version in m.tools.items():
        yield f"version of {tool}", version


def _shown(value: Scalar) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(value, 4) if isinstance(value, float) else str(value)


def _differences(entries: Sequence[Entry]) -> str:
    if len(entries) < 2:
        return ""
    rows: list[Sequence[Cell]] = [
        [name, value, ", ".join(map(str, numbers))]
        for name, values in differing(entries)
        for value, numbers in values.items()
    ]
    if not rows:
        return paragraph("All were measured under the same conditions, in one session.")
    return table("Conditions that differ", ["condition", "value", "measurements"], rows)


def _session(group: Sequence[Entry]) -> str:
    first = group[0].measurement
    numbers = ", ".join(str(e.number) for e in group)
    which = f"measurement{'s' * (len(group) > 1)} {numbers}"
    title = f"{started_at(first):%Y-%m-%d %H:%M:%S} UTC: {which}"
    html = f'<div class="session"><h3>{escaped(title)}</h3>'
    html += command(first.command) if first.command else paragraph("No command was kept for it.")
    shared = _common(e.measurement.environment.items() for e in group)
    rows: list[Sequence[Cell]] = [["device", first.device]]
    rows += [[key.replace("_", " "), _shown(value)] for key, value in sorted(shared.items())]
    tools: dict[str, None] = {}
    for e in group:
        tools |= dict.fromkeys(f"{name} {v}" for name, v in e.measurement.tools.items())
    rows.append(["tools", ", ".join(sorted(tools)) or "unknown"])
    for e in group:
        identity = e.measurement.sha256
        if identity is not None:
            rows.append([f"sha256 of {e.number}", identity])
    return html + table("Environment", ["fact", "value"], rows) + "</div>"


def _common(environments: Iterable[Iterable[tuple[str, Scalar]]]) -> dict[str, Scalar]:
    """What all have in common; the rest is among the differences."""
    first, *others = (dict(environment) for environment in environments)
    return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}
