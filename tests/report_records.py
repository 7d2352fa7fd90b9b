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


def network(step: int, ratio: float = 1.0, top1: float = 0.99, **changes: Any) -> dict[str, Any]:
    """A network of a search, as its document has it."""
    values: dict[str, Any] = {
        "spec": {"name": "mobilenetv3-small-adapted"},
        "step": step,
        "changed": None,
        "width": None,
        "top1": top1,
        "latency_ms": 0.441 * ratio,
        "latency_ratio": ratio,
        "ci95": [0.985 * ratio, 1.012 * ratio] if step else [],
        "predicted": None,
        "energy_mj": None,
        "macs": 2.17e6 * ratio,
        "size_bytes": 6.1e6 * ratio,
        "params": 1.53e6 * ratio,
        "artifact": f"runs/small/step-{step:02d}/model.onnx",
        "checkpoint": f"runs/small/step-{step:02d}/model.pt",
    }
    return {**values, **changes}


def search_document(count: int = 4, **changes: Any) -> dict[str, Any]:
    """The document of a finished search of so many steps, and its two baselines."""
    names = ["stem", "stage0.out", "block1.expand", "block2.expand", "stage2.out", "hidden"]
    names += [f"block{i}.expand" for i in range(3, max(3, count - 3))]
    steps = [network(0, top1=0.9926)]
    for i in range(1, count + 1):
        ratio = 1 - 0.43 * i / count
        steps.append(
            network(
                i,
                ratio,
                0.9926 - 0.0037 * (i % 3),
                changed=names[i % len(names)],
                width=8 * (i % 9 + 2),
                predicted=0.441 * ratio * (1 + 0.04 * (-1) ** i),
            )
        )
    steps.append(network(count + 1, 0.57, 0.9888))
    uniform = [network(i, 1 - 0.12 * i, 0.99 - 0.011 * i) for i in range(1, 6)]
    drawn = [network(i, 0.9 - 0.07 * i, 0.985 - 0.009 * i - 0.01 * (i % 2)) for i in range(1, 7)]
    values: dict[str, Any] = {
        "schema": "edgekit.search/1",
        "words": "runs/digits",
        "network": "mobilenetv3-small",
        "target": "onnx",
        "precision": "fp32",
        "device": "host",
        "budget": "latency=0.6x",
        "method": "netadapt",
        "rule": "ratio",
        "seed": 0,
        "date": "2026-11-23",
        "finished": True,
        "baseline": steps[0],
        "final": steps[-1],
        "steps": steps,
        "pareto": [steps[0], steps[-1]],
        "series": [
            {"method": "netadapt", "steps": steps, "test_top1": 0.9851},
            {"method": "uniform", "steps": uniform, "test_top1": 0.9405},
            {"method": "random", "steps": drawn, "test_top1": None},
        ],
        "test_top1": {"before": 0.9777, "after": 0.9851},
        "groups": [
            {"name": name, "before": 16 * (i + 1), "after": 16 * (i + 1) - 8 * (i % 3)}
            for i, name in enumerate(names)
        ],
        "frozen": {"stage1.out": "a channel shuffle mixes its channels by position"},
        "seconds": {
            "training": 300.1, "scoring": 40.0, "measuring": 100.0, "exporting": 50.0, "other": 5.0,
        },
        "candidates": {
            "scored": 120,
            "trained": 55,
            "per_hour": 700.0,
            "failed": [{"step": 3, "channels": "head", "width": 64, "error": "no place for it"}],
        },
        "prediction_error": 0.031,
        "model": "runs/small/model.pt",
    }  # fmt: skip
    return {**values, **changes}
