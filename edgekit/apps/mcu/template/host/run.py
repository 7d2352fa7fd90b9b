"""Runs what was built for this machine, with TensorFlow Lite Micro from its package for Python:

    python host/run.py build/libclassify.so

The package's library has the interpreter itself; the program's own code calls it.
"""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path


def interpreter():
    """Path of the package's library."""
    found = importlib.util.find_spec("tflite_micro")
    if found is None:
        sys.exit(f"{sys.executable} lacks the interpreter: python -m pip install tflite-micro")
    (folder,) = found.submodule_search_locations
    return str(Path(folder, "python", "tflite_micro", "_runtime.so"))


def main():
    """Calls the library's function with the words behind its name."""
    library, *words = sys.argv[1:]
    ctypes.CDLL(interpreter(), mode=ctypes.RTLD_GLOBAL)
    program = ctypes.CDLL(str(Path(library).resolve()))
    several = [os.fsencode(word) for word in [library, *words]]
    sys.exit(program.edge_main(len(several), (ctypes.c_char_p * (len(several) + 1))(*several)))


if __name__ == "__main__":
    main()
