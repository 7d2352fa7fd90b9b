"""edgekit: mobile networks from PyTorch to verified, fast, measured artifacts on devices.

What the command line can do, as functions (docs/python.md). They are imported when they are first
used, so ``import edgekit`` is instant and needs neither torch nor a runtime::

    import edgekit

    run = edgekit.train("mobilenetv3-small", "digits", epochs=5)
    files = edgekit.export(run, "onnx,tflite", out="exported")
    edgekit.evaluate(files[0], "digits").top1
    edgekit.predict(files[0], "digit.png")
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.api.apps import app, bundle
    from edgekit.api.benchmarks import benchmark
    from edgekit.api.describing import Description, describe
    from edgekit.api.explaining import explain
    from edgekit.api.exports import export
    from edgekit.api.measuring import compare, profile
    from edgekit.api.pages import Page, report
    from edgekit.api.searching import search
    from edgekit.api.simulating import estimate
    from edgekit.api.training import train
    from edgekit.api.using import evaluate, open_model, predict, verify
    from edgekit.benchmarking.results import Benchmark
    from edgekit.conversion.results import Exported, ExportReport, Failed, Rejected
    from edgekit.core import (
        Agreement,
        Artifact,
        DeviceProfile,
        Energy,
        Measurement,
        ModelSpec,
        Preprocessing,
        Scheme,
        Simulation,
        TensorSpec,
        Written,
    )
    from edgekit.errors import (
        CheckpointError,
        ContractError,
        DataError,
        EdgekitError,
        GateError,
        InputError,
        MeterError,
        ModelError,
        OutputError,
        UnavailableError,
        UnknownNameError,
        UsageError,
    )
    from edgekit.explaining import Explanation
    from edgekit.inference import Classifier, Evaluation, open_classifier
    from edgekit.measure.comparing import Comparison
    from edgekit.measure.profiling import Profile
    from edgekit.models import build
    from edgekit.models.model import Model
    from edgekit.search.records import SearchResult, Step
    from edgekit.stated import Stated
    from edgekit.tasks import Prediction
    from edgekit.tasks.classify import Label, Labels
    from edgekit.training.loop import TrainingResult
    from edgekit.training.options import TrainingOptions
    from edgekit.verification.artifact import Verification

__version__ = "0.1.0"

_HOMES = {
    "Agreement": "edgekit.core",
    "Artifact": "edgekit.core",
    "Benchmark": "edgekit.benchmarking.results",
    "CheckpointError": "edgekit.errors",
    "Classifier": "edgekit.inference",
    "Comparison": "edgekit.measure.comparing",
    "ContractError": "edgekit.errors",
    "DataError": "edgekit.errors",
    "Description": "edgekit.api.describing",
    "DeviceProfile": "edgekit.core",
    "EdgekitError": "edgekit.errors",
    "Energy": "edgekit.core",
    "Evaluation": "edgekit.inference",
    "Explanation": "edgekit.explaining",
    "ExportReport": "edgekit.conversion.results",
    "Exported": "edgekit.conversion.results",
    "Failed": "edgekit.conversion.results",
    "GateError": "edgekit.errors",
    "InputError": "edgekit.errors",
    "Label": "edgekit.tasks.classify",
    "Labels": "edgekit.tasks.classify",
    "Measurement": "edgekit.core",
    "MeterError": "edgekit.errors",
    "Model": "edgekit.models.model",
    "ModelError": "edgekit.errors",
    "ModelSpec": "edgekit.core",
    "OutputError": "edgekit.errors",
    "Page": "edgekit.api.pages",
    "Prediction": "edgekit.tasks",
    "Preprocessing": "edgekit.core",
    "Profile": "edgekit.measure.profiling",
    "Rejected": "edgekit.conversion.results",
    "Scheme": "edgekit.core",
    "SearchResult": "edgekit.search.records",
    "Simulation": "edgekit.core",
    "Stated": "edgekit.stated",
    "Step": "edgekit.search.records",
    "TensorSpec": "edgekit.core",
    "TrainingOptions": "edgekit.training.options",
    "TrainingResult": "edgekit.training.loop",
    "UnavailableError": "edgekit.errors",
    "UnknownNameError": "edgekit.errors",
    "UsageError": "edgekit.errors",
    "Verification": "edgekit.verification.artifact",
    "Written": "edgekit.core",
    "app": "edgekit.api.apps",
    "benchmark": "edgekit.api.benchmarks",
    "build": "edgekit.models",
    "bundle": "edgekit.api.apps",
    "compare": "edgekit.api.measuring",
    "describe": "edgekit.api.describing",
    "estimate": "edgekit.api.simulating",
    "evaluate": "edgekit.api.using",
    "explain": "edgekit.api.explaining",
    "export": "edgekit.api.exports",
    "open_classifier": "edgekit.inference",
    "open_model": "edgekit.api.using",
    "predict": "edgekit.api.using",
    "profile": "edgekit.api.measuring",
    "report": "edgekit.api.pages",
    "search": "edgekit.api.searching",
    "train": "edgekit.api.training",
    "verify": "edgekit.api.using",
}

__all__ = [
    "Agreement",
    "Artifact",
    "Benchmark",
    "CheckpointError",
    "Classifier",
    "Comparison",
    "ContractError",
    "DataError",
    "Description",
    "DeviceProfile",
    "EdgekitError",
    "Energy",
    "Evaluation",
    "Explanation",
    "ExportReport",
    "Exported",
    "Failed",
    "GateError",
    "InputError",
    "Label",
    "Labels",
    "Measurement",
    "MeterError",
    "Model",
    "ModelError",
    "ModelSpec",
    "OutputError",
    "Page",
    "Prediction",
    "Preprocessing",
    "Profile",
    "Rejected",
    "Scheme",
    "SearchResult",
    "Simulation",
    "Stated",
    "Step",
    "TensorSpec",
    "TrainingOptions",
    "TrainingResult",
    "UnavailableError",
    "UnknownNameError",
    "UsageError",
    "Verification",
    "Written",
    "app",
    "benchmark",
    "build",
    "bundle",
    "compare",
    "describe",
    "estimate",
    "evaluate",
    "explain",
    "export",
    "open_classifier",
    "open_model",
    "predict",
    "profile",
    "report",
    "search",
    "train",
    "verify",
]


def _public(name: str) -> Any:
    return getattr(importlib.import_module(_HOMES[name]), name)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute '{name}'")
    return _public(name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Callable(types.ModuleType):
    """A package of the name of a public function, such as ``edgekit.search``; it can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _public(self.__name__.rpartition(".")[2])(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(_public(self.__name__.rpartition(".")[2]))


class _Package(types.ModuleType):
    """edgekit. Importing a package of it puts the package in the place of a function's name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOMES and type(value) is types.ModuleType:
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
