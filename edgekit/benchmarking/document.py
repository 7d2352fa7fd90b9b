"""A benchmark as plain data; the keys are those of ``edgekit benchmark --json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.benchmarking.results import Benchmark, Row
from edgekit.core import to_json

if TYPE_CHECKING:
    from edgekit.inference import Evaluation

SCHEMA = "edgekit.benchmark/1"


def document(result: Benchmark) -> dict[str, Any]:
    """All but the schema."""
    taken = result.choice.row
    return {
        "source": result.source,
        "device": result.device,
        "folder": str(result.folder),
        "network": None if result.network is None else _figures(result.network),
        "max_drop": result.max_drop,
        "rows": [_entry(row) for row in result.rows],
        "stock": None if result.stock is None else _entry(result.stock),
        "choice": None if taken is None else str(taken.path),
        "why": result.choice.why,
        "alike": [str(row.path) for row in result.choice.alike],
        "page": None if result.page is None else str(result.page),
        "warnings": list(result.warnings),
        "interrupted": result.interrupted,
    }


def _entry(row: Row) -> dict[str, Any]:
    measured, latency, speedup = row.measurement, row.latency, row.speedup
    return {
        "artifact": str(row.path),
        "target": row.target,
        "precision": row.precision,
        "model": row.model,
        "state": row.state,
        "rejected": row.reason,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "headline": None if row.evaluation is None else to_json(row.evaluation.headline),
        "evaluation": None if row.evaluation is None else _figures(row.evaluation),
        "agreement": to_json(row.agreement),
        "latency_ms": None if latency is None else latency.p50_ms,
        "ci95": None if latency is None else list(latency.ci95_ms),
        "peak_rss_mib": None if measured is None else measured.peak_rss_mib,
        "runtime": None if measured is None else measured.runtime,
        "threads": None if measured is None else measured.threads,
        "stable": None if measured is None else measured.stable,
        "reasons": [] if measured is None else list(measured.reasons),
        "speedup": None if speedup is None else speedup.ratio,
        "speedup_ci95": None if speedup is None else list(speedup.ci95),
    }


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "task": evaluation.task,
        "headline": to_json(evaluation.headline),
        **evaluation.figures,
        "n": evaluation.n,
        "data": evaluation.data,
        "split": evaluation.split,
    }
