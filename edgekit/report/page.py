"""A whole report: one HTML file that loads nothing, runs nothing, and reads on paper as well."""

from __future__ import annotations

from collections.abc import Sequence

import edgekit
from edgekit.core import printable
from edgekit.core.text import counted_words
from edgekit.measure.plausible import started_at
from edgekit.report.classes import classes
from edgekit.report.conditions import conditions
from edgekit.report.entries import Entry, bare, make_entries, unmatched
from edgekit.report.inputs import Material
from edgekit.report.latency import distribution, headline, speed
from edgekit.report.markup import Section, items, paragraph
from edgekit.report.operators import operators
from edgekit.report.resources import energy, memory
from edgekit.report.style import CSS
from edgekit.report.text import escaped
from edgekit.report.tradeoff import accuracy

# Should a name get through as markup all the same, the browser loads and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def render(material: Material) -> str:
    """The page about measurements and accuracies; the same input gives the same text.

    Args:
        material: with at least one measurement.
    """
    entries = make_entries(material)
    sections = [
        found
        for found in (
            headline(entries, bare(material)),
            speed(entries),
            distribution(entries),
            accuracy(entries, unmatched(material)),
            classes(material.accuracies),
            operators(entries),
            memory(entries),
            energy(entries),
            conditions(entries),
        )
        if found is not None
    ]
    return assembled(_title(entries), _introduction(entries, material.notes), sections)


def assembled(title: str, introduction: str, sections: Sequence[Section]) -> str:
    """A page around its sections.

    Args:
        introduction: HTML below the title.
    """
    links = "".join(f'<li><a href="#{s.ident}">{escaped(s.title)}</a></li>' for s in sections)
    body = "\n".join(
        f'<section id="{s.ident}"><h2>{escaped(s.title)}</h2>\n{s.body}</section>' for s in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<header><h1>{escaped(title)}</h1>{introduction}<nav><ul>{links}</ul></nav></header>\n"
        f"<main>\n{body}\n</main>\n"
        f"<footer>Written by edgekit {escaped(edgekit.__version__)}.</footer>\n</body>\n</html>\n"
    )


def _title(entries: Sequence[Entry]) -> str:
    devices = dict.fromkeys(printable(e.measurement.device) for e in entries)
    return f"{counted_words(len(entries), 'measurement')} on {', '.join(devices)}"


def _introduction(entries: Sequence[Entry], notes: Sequence[str]) -> str:
    moments = sorted(started_at(e.measurement) for e in entries)
    first, last = (f"{moment:%Y-%m-%d %H:%M}" for moment in (moments[0], moments[-1]))
    when = f"Measured {first}" + (f" to {last}" if first != last else "")
    html = paragraph(f"{when} UTC.")
    shaky = [str(e.number) for e in entries if not e.measurement.stable]
    if shaky:
        which = "All" if len(shaky) == len(entries) else f"{len(shaky)} of {len(entries)}"
        numbers = "" if len(shaky) == len(entries) else f" ({', '.join(shaky)})"
        html += paragraph(
            f"{which} measurements{numbers} were disturbed, or are known less well than asked "
            f"for: below the results stands by what.",
            kind="note",
        )
    return html + (items(notes) if notes else "")
