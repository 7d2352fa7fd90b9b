"""Runs the model in LiteRT."""

from ai_edge_litert.interpreter import Interpreter

PACKAGE = "ai-edge-litert"


class Runtime:
    """A loaded model; one thread at a time may use it."""

    def __init__(self, path, threads=1):
        self._interpreter = Interpreter(str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [each["index"] for each in self._interpreter.get_output_details()]

    def run(self, array):
        """The outputs for one input, with their batch axis."""
        self._interpreter.set_tensor(self._input, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
