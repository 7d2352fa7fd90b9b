"""Runs a file in its runtime inside the userland of `arm64_board`, for `arm.py`.

``python3 arm_subject.py FILE RUNS OUT`` runs it RUNS times, asks the counter of QEMU before and
after, and writes what the runtime made of the file to OUT.
"""

import contextlib
import json
import os
import sys

import numpy as np

ASKED = 0x6564


def ask(tag):
    """Lets the plug-in of QEMU print what it has counted."""
    with contextlib.suppress(OSError):
        os.getpriority(ASKED, tag)


def onnx(path, out):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.optimized_model_filepath = out + ".optimized.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    image = np.random.default_rng(0).standard_normal(given.shape, np.float32)
    return (lambda: session.run(None, {given.name: image})[0]), None


def tflite(path, out):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    image = np.random.default_rng(0).standard_normal(given["shape"], np.float32)

    def run():
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        return interpreter.get_tensor(made["index"])

    nodes = [
        (one["op_name"], [int(i) for i in one["inputs"]], [int(i) for i in one["outputs"]])
        for one in interpreter._get_ops_details()
    ]
    return run, nodes


def main():
    path, runs, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    run, nodes = (onnx if path.endswith(".onnx") else tflite)(path, out)
    run()
    ask(1)
    for _ in range(runs):
        found = run()
    ask(2)
    np.save(out + ".npy", found)
    with open(out + ".json", "w") as file:
        json.dump(nodes, file)


main()
