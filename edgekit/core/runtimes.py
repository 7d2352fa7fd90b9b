"""How foreign packages are imported: in a process in which none tells its makers about its use.

PyTorch, converters and runtimes read their switches from the environment when they are imported,
and what a process starts inherits them.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

SILENCE = {
    "DO_NOT_TRACK": "1",  # consoledonottrack.com; huggingface_hub, behind litert-torch, heeds it
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime, which also keeps a number of this machine
    "RAY_USAGE_STATS_ENABLED": "0",
}


def keep_silent() -> None:
    """Turns off, for this process and those that it starts, whatever would call home.

    What the environment says otherwise does not count. OpenVINO and NNCF have no such switch: they
    take a dummy of their own where the package that sends cannot be imported.
    """
    os.environ.update(SILENCE)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    loaded = sys.modules.get("onnxruntime")  # by somebody else, who may have left it on
    if loaded is not None:
        loaded.disable_telemetry_events()


def silent_import(module: str, environment: Mapping[str, str] | None = None) -> Any:
    """Imports a module of a foreign package, kept silent.

    Args:
        environment: what the package should find there; what is there already comes first.
    """
    keep_silent()
    for name, value in (environment or {}).items():
        os.environ.setdefault(name, value)
    return importlib.import_module(module)
