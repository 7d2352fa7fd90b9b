"""Runs the model in OpenVINO."""

import openvino

PACKAGE = "openvino"


class Runtime:
    """A loaded model; one thread at a time may use it."""

    def __init__(self, path, threads=1):
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._request = core.compile_model(str(path), "CPU", settings).create_infer_request()

    def run(self, array):
        """The output for one input, with its batch axis."""
        self._request.infer([array])
        return self._request.get_output_tensor(0).data.copy()
