"""What a search leaves beside its networks: `search.json`, `pareto.csv`, and drawings of it."""

from __future__ import annotations

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
from edgekit.search.records import SearchResult, Step
from edgekit.staging import replace_file

SCHEMA = "edgekit.search/1"


def pareto(result: SearchResult) -> list[Step]:
    """The steps that no other one beats in accuracy and the budget's first resource at once."""

    def cost(step: Step) -> float:
        return step.costs[result.facts["resource"]]

    return [
        step
        for step in result.steps
        if not any(
            other.top1 >= step.top1
            and cost(other) <= cost(step)
            and (other.top1, -cost(other)) != (step.top1, -cost(step))
            for other in result.steps
        )
    ]


def document(out: Path, result: SearchResult) -> dict[str, Any]:
    """A search as plain data, without its schema."""
    facts, first, last = result.facts, result.steps[0], result.steps[-1]
    tested = first.test_top1 is not None and last.test_top1 is not None
    of_test = {"before": first.test_top1, "after": last.test_top1} if tested else None
    figure = functools.partial(_figure, facts)
    entry = functools.partial(_entry, out, facts)
    hours = result.candidate_hours
    return {
        **{name: facts[name] for name in _FACTS},
        "seed": int(facts["seed"]),
        "options": json.loads(facts["options"]),
        "date": datetime.now(UTC).date().isoformat(),
        "finished": result.model is not None,
        "task": facts["task"],
        "headline": {**figure(last.top1), "title": facts["title"]},
        "baseline": entry(first),
        "final": entry(last),
        "steps": [entry(step) for step in result.steps],
        "pareto": [entry(step) for step in pareto(result)],
        "series": [
            _series(out, facts, facts["method"], result.steps[1:]),
            *(_series(out, facts, name, steps) for name, steps in result.baselines.items()),
        ],
        "test_top1": of_test if _is_top1(facts) else None,
        "test_headline": of_test and {"name": facts["headline"], **of_test},
        "groups": [
            {"name": name, "before": before, "after": after}
            for name, (before, after) in result.groups.items()
        ],
        "frozen": {group.name: group.frozen for group in result.frozen},
        "seconds": dict(result.seconds),
        "candidates": {
            "scored": result.scored,
            "trained": result.trained,
            "per_hour": result.scored / hours if hours else None,
            "failed": [to_json(failure) for failure in result.failures],
        },
        "notes": list(result.notes),
        "prediction_error": result.prediction_error,
        "model": None if result.model is None else str(result.model),
    }


_FACTS = (
    "words", "network", "target", "precision", "device", "budget", "method", "rule", "command",
)  # fmt: skip


TOP1 = "top1"
"""The headline figure that has keys of its own in documents."""


def _is_top1(facts: Mapping[str, str]) -> bool:
    return facts["headline"] == TOP1


def _figure(facts: Mapping[str, str], value: float) -> dict[str, Any]:
    """The headline figure of a network."""
    return {"name": facts["headline"], "value": value}


def _series(
    out: Path, facts: Mapping[str, str], method: str, steps: tuple[Step, ...]
) -> dict[str, Any]:
    tested = [step.test_top1 for step in steps if step.test_top1 is not None]
    mean = sum(tested) / len(tested) if tested else None
    return {
        "method": method,
        "steps": [_entry(out, facts, step) for step in steps],
        "test_top1": mean if _is_top1(facts) else None,
        "test_headline": None if mean is None else _figure(facts, mean),
    }


def _entry(out: Path, facts: Mapping[str, str], step: Step) -> dict[str, Any]:
    tested, of_classes = step.test_top1, _is_top1(facts)
    return {
        "spec": to_json(step.spec),
        "step": step.step,
        "kind": step.kind,
        "changed": step.changed,
        "width": step.width,
        "top1": step.top1 if of_classes else None,
        "test_top1": tested if of_classes else None,
        "headline": _figure(facts, step.top1),
        "test_headline": None if tested is None else _figure(facts, tested),
        "latency_ms": step.costs.get("latency"),
        "latency_ratio": step.ratio,
        "ci95": list(step.ci95),
        "predicted": step.predicted,
        "energy_mj": step.costs.get("energy"),
        "macs": step.costs["macs"],
        "size_bytes": step.costs["size"],
        "params": step.params,
        "artifact": str(out / step.artifact),
        "checkpoint": str(out / step.checkpoint),
    }


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
        found = {"schema": SCHEMA, **document(self._out, result)}
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
    best, figure = pareto(result), result.facts["headline"]
    text = io.StringIO()
    rows: list[list[object]] = [
        ["method", "step", "kind", "changed", "width", figure, f"test_{figure}", "latency_ms",
         "latency_ratio", "low", "high", "energy_mj", "macs", "params", "size_bytes", "pareto",
         "artifact"]
    ]  # fmt: skip
    networks: Mapping[str, tuple[Step, ...]] = {
        result.facts["method"]: result.steps, **result.baselines,
    }  # fmt: skip
    for method, steps in networks.items():
        for step in steps:
            low, high = step.ci95 or ("", "")
            rows.append(
                [method, step.step, step.kind, step.changed, step.width, step.top1, step.test_top1,
                 step.costs.get("latency"), step.ratio, low, high, step.costs.get("energy"),
                 step.costs["macs"], step.params, step.costs["size"], step in best, step.artifact]
            )  # fmt: skip
    write_csv(text, rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    replace_file(path, lambda file: file.write(text.encode()))
