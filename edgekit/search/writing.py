"""What a search leaves beside its networks: `search.json`, `pareto.csv`, and drawings of it."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekit.core import to_json, write_csv
from edgekit.search.budget import MEMORIES
from edgekit.search.document import (
    SCHEMA,
    TOP1,
    Candidates,
    Choice,
    Headline,
    Network,
    SearchDocument,
    Series,
    Tested,
    Titled,
    Width,
)
from edgekit.search.records import SearchResult, Step
from edgekit.staging import replace_file


def pareto(result: SearchResult) -> list[Step]:
    """The steps that no other one beats in accuracy and the budget's first resource at once."""

    def cost(step: Step) -> float:
        return step.costs[result.settings["resource"]]

    return [
        step
        for step in result.steps
        if not any(
            other.figure >= step.figure
            and cost(other) <= cost(step)
            and (other.figure, -cost(other)) != (step.figure, -cost(step))
            for other in result.steps
        )
    ]


def document(out: Path, result: SearchResult) -> SearchDocument:
    """A search as its document has it.

    Args:
        out: folder of the search.
    """
    settings, first, last = result.settings, result.steps[0], result.final
    entry = functools.partial(_network, out, settings)
    series = functools.partial(_series, out, settings)
    tested = None
    if first.test_figure is not None and last.test_figure is not None:
        tested = Tested(before=first.test_figure, after=last.test_figure)
    hours = result.candidate_hours
    return SearchDocument(
        **{name: settings[name] for name in _SETTINGS},
        seed=int(settings["seed"]),
        options=json.loads(settings["options"]),
        processor=settings["processor"] or None,
        emulated=bool(settings["emulated"]),
        date=datetime.now(UTC).date().isoformat(),
        finished=result.model is not None,
        headline=Titled(name=settings["headline"], value=last.figure, title=settings["title"]),
        baseline=entry(first),
        final=entry(last),
        choice=None
        if result.model is None
        else Choice(settings["headline"], result.within, last.step, last.kind),
        steps=tuple(map(entry, result.steps)),
        pareto=tuple(map(entry, pareto(result))),
        series=(
            series(settings["method"], result.steps[1:]),
            *(series(name, steps) for name, steps in result.baselines.items()),
        ),
        test_top1=tested if _is_top1(settings) else None,
        test_headline=tested and dataclasses.replace(tested, name=settings["headline"]),
        groups=tuple(Width(name, before, after) for name, (before, after) in result.groups.items()),
        frozen={g.name: g.frozen for g in result.frozen if g.frozen is not None},
        seconds=result.seconds,
        candidates=Candidates(
            scored=result.scored,
            trained=result.trained,
            per_hour=result.scored / hours if hours else None,
            failed=result.failures,
        ),
        notes=result.notes,
        prediction_error=result.prediction_error,
        model=None if result.model is None else str(result.model),
    )


_SETTINGS = (
    "words", "network", "target", "precision", "device", "budget", "method", "rule", "command",
    "task",
)  # fmt: skip


def _is_top1(settings: Mapping[str, str]) -> bool:
    return settings["headline"] == TOP1


def _series(out: Path, settings: Mapping[str, str], method: str, steps: tuple[Step, ...]) -> Series:
    tested = [step.test_figure for step in steps if step.test_figure is not None]
    mean = sum(tested) / len(tested) if tested else None
    return Series(
        method=method,
        steps=tuple(_network(out, settings, step) for step in steps),
        test_top1=mean if _is_top1(settings) else None,
        test_headline=None if mean is None else Headline(settings["headline"], mean),
    )


def _network(out: Path, settings: Mapping[str, str], step: Step) -> Network:
    tested, of_classes, name = step.test_figure, _is_top1(settings), settings["headline"]
    return Network(
        spec=step.spec,
        step=step.step,
        kind=step.kind,
        changed=step.changed,
        width=step.width,
        top1=step.figure if of_classes else None,
        test_top1=tested if of_classes else None,
        headline=Headline(name, step.figure, step.figure_ci95),
        test_headline=None if tested is None else Headline(name, tested),
        latency_ms=step.costs.get("latency"),
        latency_ratio=step.ratio,
        ci95=step.ci95,
        predicted=step.predicted,
        energy_mj=step.costs.get("energy"),
        macs=step.costs["macs"],
        size_bytes=step.costs["size"],
        arena_bytes=step.costs.get("arena"),
        sram_bytes=step.costs.get("sram"),
        params=step.params,
        artifact=str(out / step.artifact),
        checkpoint=str(out / step.checkpoint),
    )


Draw = Callable[[Any], Mapping[str, str]]
"""Makes further files of a document, such as a plot: their texts by name."""


DRAWING_SHARE = 0.05
"""Share of a search's time that drawings of unfinished searches may take."""


class Documents:
    """The files of a search's document, each written whole.

    Args:
        draw: makes further files.
    """

    def __init__(self, out: Path, draw: Draw) -> None:
        self._out, self._draw = out, draw
        self._due = -math.inf  # by time.monotonic

    def keep(self, result: SearchResult) -> None:
        """Writes all files anew; drawings where the last ones are old enough, or the search done.

        Steps of small networks take less time than a drawing of them.
        """
        found = {"schema": SCHEMA, **to_json(document(self._out, result))}
        _write(self._out / "search.json", json.dumps(found, indent=2, allow_nan=False))
        _write(self._out / "pareto.csv", _table(result))
        began = time.monotonic()
        if result.model is None and began < self._due:
            return
        for name, text in self._draw(found).items():
            _write(self._out / name, text)
        ended = time.monotonic()
        self._due = ended + (ended - began) / DRAWING_SHARE


def _table(result: SearchResult) -> str:
    best, figure = pareto(result), result.settings["headline"]
    text = io.StringIO()
    memories = [f"{name}_bytes" for name in MEMORIES if name in result.final.costs]
    rows: list[list[object]] = [
        ["method", "step", "kind", "changed", "width", figure, f"test_{figure}", "latency_ms",
         "latency_ratio", "low", "high", "energy_mj", "macs", "params", "size_bytes", *memories,
         "pareto", "artifact"]
    ]  # fmt: skip
    networks: Mapping[str, tuple[Step, ...]] = {
        result.settings["method"]: result.steps, **result.baselines,
    }  # fmt: skip
    for method, steps in networks.items():
        for step in steps:
            low, high = step.ci95 or ("", "")
            rows.append(
                [method, step.step, step.kind, step.changed, step.width, step.figure,
                 step.test_figure, step.costs.get("latency"), step.ratio, low, high,
                 step.costs.get("energy"), step.costs["macs"], step.params, step.costs["size"],
                 *(step.costs.get(one.removesuffix("_bytes")) for one in memories),
                 step in best, step.artifact]
            )  # fmt: skip
    write_csv(text, rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    replace_file(path, lambda file: file.write(text.encode()))
