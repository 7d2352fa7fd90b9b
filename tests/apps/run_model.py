"""Runs an exported file for programs in other languages: ``python run_model.py ARTIFACT``.

Reads inputs from standard input, one behind the other, and writes the outputs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from edgekit.contract import open_artifact


def main() -> None:
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # runtimes may print
    opened = open_artifact(Path(sys.argv[1]))
    spec = opened.contract.inputs[0]
    size = int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
    while len(given := sys.stdin.buffer.read(size)) == size:
        made = opened.runner.run([np.frombuffer(given, spec.dtype).reshape(spec.shape)])
        out.write(made[0].tobytes())
        out.flush()


if __name__ == "__main__":
    main()
