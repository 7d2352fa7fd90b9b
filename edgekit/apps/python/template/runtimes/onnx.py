"""Runs the model in ONNX Runtime."""

import onnxruntime

PACKAGE = "onnxruntime"


class Runtime:
    """A loaded model; one thread at a time may use it."""

    def __init__(self, path, threads=1):
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def run(self, array):
        """The outputs for one input, with their batch axis."""
        return self._session.run(None, {self._input: array})
