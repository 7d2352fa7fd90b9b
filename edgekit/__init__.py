"""edgekit: mobile networks from PyTorch to verified, fast, measured artifacts on devices.

The public functions are imported when they are first used, so ``import edgekit`` is instant and
needs neither torch nor a runtime::

    import edgekit

    run = edgekit.train("mobilenetv3-small", "digits", out="runs/digits")
    files = edgekit.export("runs/digits", targets=["onnx", "tflite"], out="exported")
    edgekit.evaluate(edgekit.open_classifier(files[0].path), "digits")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.exporting import export
    from edgekit.inference import evaluate, open_classifier, predict
    from edgekit.measure.comparing import compare
    from edgekit.measure.profiling import profile
    from edgekit.models import build
    from edgekit.models.source import open_model
    from edgekit.training.loop import train
    from edgekit.verification.artifact import verify

__version__ = "0.1.0"

_HOMES = {
    "build": "edgekit.models",
    "compare": "edgekit.measure.comparing",
    "evaluate": "edgekit.inference",
    "export": "edgekit.exporting",
    "open_classifier": "edgekit.inference",
    "open_model": "edgekit.models.source",
    "predict": "edgekit.inference",
    "profile": "edgekit.measure.profiling",
    "train": "edgekit.training.loop",
    "verify": "edgekit.verification.artifact",
}

__all__ = [
    "build",
    "compare",
    "evaluate",
    "export",
    "open_classifier",
    "open_model",
    "predict",
    "profile",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
