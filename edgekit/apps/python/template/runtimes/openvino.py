"""Runs the model in OpenVINO."""

import os
import platform
from pathlib import Path

PACKAGE = "openvino"

_CPUINFO = Path("/proc/cpuinfo")
if _CPUINFO.is_file() and "amx_tile" in _CPUINFO.read_text(errors="replace").split():
    # OpenVINO would multiply tiles, with which small networks of integers are slower at one image.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")

import openvino  # noqa: E402 - reads the variable


class Runtime:
    """A loaded model; one thread at a time may use it."""

    def __init__(self, path, threads=1):
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        core = openvino.Core()
        try:
            compiled = core.compile_model(str(path), "CPU", settings)
        except RuntimeError:
            if platform.machine() not in ("aarch64", "arm64"):
                raise
            # There are no kernels of integers for Arm without dot products; in float it computes
            # the same.
            settings["LP_TRANSFORMS_MODE"] = "OFF"
            compiled = core.compile_model(str(path), "CPU", settings)
        self._request = compiled.create_infer_request()

    def run(self, array):
        """The outputs for one input, with their batch axis."""
        self._request.infer([array])
        return [tensor.data.copy() for tensor in self._request.output_tensors]
