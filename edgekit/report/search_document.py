"""Reads the document of a search.

It may come from anybody, so names, types and ranges are checked before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgekit.core import from_json, printable
from edgekit.core.text import shortened
from edgekit.errors import InputError
from edgekit.search.document import SCHEMA, Network, SearchDocument


def read_search(document: Any, named: str = "the document") -> SearchDocument:
    """Reads the document of a search; keys of later versions are left aside.

    Args:
        named: what messages call it, such as its path.

    Raises:
        InputError: it is another one, or damaged; the message names the key.
    """
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise InputError(f"{named} is no document of a search: expected schema {SCHEMA}")
    try:
        search = from_json(SearchDocument, dict(document), more=True)
        for where, value, low, high in _ranges(search):
            if not low <= value <= high:  # NaN lies in no range
                raise ValueError(f"{where}: expected a number from {low:g} to {high:g}")
        for where, network in _networks(search):
            if network.headline is None and network.top1 is None:
                raise ValueError(f"{where}.headline: expected a name and a value")
            for name, ends in (("ci95", network.ci95), ("headline.ci95", network.figure_ci95)):
                if len(ends) not in (0, 2) or list(ends) != sorted(ends):
                    raise ValueError(f"{where}.{name}: expected two numbers, the lower one first")
    except (ValueError, OverflowError, RecursionError) as error:
        what = (
            shortened(printable(error), 300)
            .removeprefix("SearchDocument.")
            .removeprefix("SearchDocument: ")
        )
        raise InputError(
            f"{named} is damaged: {what}; expected what 'edgekit search' wrote"
        ) from error
    return search


# Beyond what any network has and any search takes; matplotlib draws nothing sensible there.
_MOST, _LEAST = 1e15, 1e-9


def _networks(document: SearchDocument) -> Iterator[tuple[str, Network]]:
    yield "baseline", document.baseline
    yield "final", document.final
    for name, networks in (("steps", document.steps), ("pareto", document.pareto)):
        yield from ((f"{name}[{i}]", network) for i, network in enumerate(networks))
    for i, series in enumerate(document.series):
        yield from ((f"series[{i}].steps[{j}]", one) for j, one in enumerate(series.steps))


def _ranges(document: SearchDocument) -> Iterator[tuple[str, float, float, float]]:
    """Every number with its name and range."""
    for where, one in _networks(document):
        yield f"{where}.step", one.step, 0, 1e6
        if one.top1 is not None:
            yield f"{where}.top1", one.top1, 0, 1
        if one.headline is not None:
            yield f"{where}.headline.value", one.headline.value, 0, 1
            yield from ((f"{where}.headline.ci95", end, 0, 1) for end in one.headline.ci95)
        for name in (
            "latency_ms",
            "latency_ratio",
            "energy_mj",
            "arena_bytes",
            "sram_bytes",
            "predicted",
        ):
            value = getattr(one, name)
            if value is not None:
                yield f"{where}.{name}", value, _LEAST, _MOST
        for name in ("macs", "size_bytes", "params"):
            yield f"{where}.{name}", getattr(one, name), 0, _MOST
        for end in one.ci95:
            yield f"{where}.ci95", end, 0, _MOST
        if one.width is not None:
            yield f"{where}.width", one.width, 0, 1e9
    for i, series in enumerate(document.series):
        if series.test_top1 is not None:
            yield f"series[{i}].test_top1", series.test_top1, 0, 1
        if series.test_headline is not None:
            yield f"series[{i}].test_headline.value", series.test_headline.value, 0, 1
    if document.test_top1 is not None:
        yield "test_top1.before", document.test_top1.before, 0, 1
        yield "test_top1.after", document.test_top1.after, 0, 1
    if document.test_headline is not None:
        yield "test_headline.before", document.test_headline.before, 0, 1
        yield "test_headline.after", document.test_headline.after, 0, 1
    for i, group in enumerate(document.groups):
        yield f"groups[{i}].before", group.before, 1, 1e9
        yield f"groups[{i}].after", group.after, 0, 1e9
    for name, seconds in document.seconds.items():
        yield f"seconds.{name}", seconds, 0, _MOST
    tried = document.candidates
    yield "candidates.scored", tried.scored, 0, _MOST
    yield "candidates.trained", tried.trained, 0, _MOST
    yield "candidates.per_hour", tried.per_hour or 0, 0, _MOST
    yield "prediction_error", document.prediction_error or 0, 0, _MOST
