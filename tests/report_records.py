"""Measurements and documents that the tests of the report are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgekit.core import Block, Energy, Measurement

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&$x_{\u202e\n\udcff.onnx"


def blocks(level_ms: float, count: int = 12) -> tuple[Block, ...]:
    """Blocks of 20 runs around a level, and a reference network of 2 ms."""
    return tuple(
        Block(
            float(i),
            i // 3,
            tuple(level_ms * (1 + 0.01 * ((i + j) % 7)) for j in range(20)),
            tuple(2 + 0.01 * ((i + j) % 5) for j in range(8)),
        )
        for i in range(count)
    )


def measurement(level_ms: float = 1.0, **changes: Any) -> Measurement:
    """A complete measurement, but for what is changed."""
    values: dict[str, Any] = {
        "artifact": "exported/small.onnx",
        "target": "onnx",
        "device": "host",
        "runtime": "ONNX Runtime 1.31.1",
        "threads": 1,
        "batch": 1,
        "started": "2026-01-31T12:00:00+00:00",
        "blocks": blocks(level_ms),
        "energy": Energy("unavailable", reason="this machine has no meter"),
        "sha256": "ab" * 32,
        "load_ms": 12.5,
        "first_ms": 3.5,
        "peak_rss_mib": 20.25,
        "size_bytes": 3 << 20,
        "environment": {"cpu": "A Processor", "cores": 2, "governor": None, "load_1m": 0.25},
        "tools": {"onnxruntime": "1.31.1"},
        "command": "edgekit profile exported/small.onnx",
    }
    return Measurement(**{**values, **changes})


def write_accuracy(path: Path, **changes: Any) -> Path:
    """Writes a document of ``edgekit evaluate --json``."""
    data = {
        "schema": "edgekit.evaluate/1",
        "top1": 0.75,
        "top5": None,
        "n": 400,
        "source": "exported/small.onnx",
        "target": "onnx",
        "data": "digits",
        "split": "test",
        "skipped": [],
    }
    path.write_text(json.dumps({**data, **changes}), encoding="utf-8")
    return path
