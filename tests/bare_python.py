"""Pythons with NumPy and one runtime, as devices have them, made of those that are here."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

from edgekit.devices.transports.local import Local

RUNTIMES = {
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "tflite": ("ai_edge_litert", "tflite_runtime"),
}
"""Packages of which one runs the files of a target."""

_START = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.argv[:2] = []
runpy.run_path(sys.argv[0], run_name="__main__")
"""

_ABOUT = """
import importlib.util, json, sys, sysconfig
print(json.dumps([sys.version_info[:2], sysconfig.get_path("platlib"), [
    name for name in sys.argv[1:] if importlib.util.find_spec(name)]]))
"""


@functools.cache
def about(python: str) -> tuple[tuple[int, int], Path, tuple[str, ...]]:
    """Version of a Python, the folder of its packages, and those of NumPy and runtimes in it."""
    names = ["numpy", *(name for names in RUNTIMES.values() for name in names)]
    done = subprocess.run([python, "-c", _ABOUT, *names], capture_output=True, check=True)
    version, folder, found = json.loads(done.stdout)
    return tuple(version), Path(folder), tuple(found)


@functools.cache
def old_python() -> str | None:
    """A Python 3.8 with NumPy; ``None`` where there is none.

    The environment variable ``EDGEKIT_OLD_PYTHON`` may name one.
    """
    named = os.environ.get("EDGEKIT_OLD_PYTHON")
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    others = map(str, home.glob("versions/3.8.*/bin/python"))
    places = [named] if named else [shutil.which("python3.8"), *others]
    for python in filter(None, places):
        try:
            version, _, found = about(python)
        except (OSError, subprocess.CalledProcessError):  # a shim that leads nowhere
            continue
        if version == (3, 8) and "numpy" in found:
            return python
    return None


def runtime_of(python: str, target: str) -> str | None:
    """The package that runs files of a target there."""
    return next((name for name in RUNTIMES[target] if name in about(python)[2]), None)


class Bare(Local):
    """Agents of a bundle in a Python that has NumPy and one runtime, and nothing else.

    Args:
        folder: for the bundle, the packages and what the agent keeps.
        content: of the bundle.
        runtime: the package; ``None`` for NumPy alone.
    """

    def __init__(
        self, folder: Path, content: bytes, runtime: str | None, python: str = sys.executable
    ) -> None:
        self._python, self._folder = python, folder
        self.program, self.packages = folder / "agent.pyz", folder / "packages"
        self.program.write_bytes(content)
        self.packages.mkdir()
        _, place, _ = about(python)
        for name in filter(None, ("numpy", runtime)):
            for each in (place / name, place / f"{name}.libs", *place.glob(f"{name}-*.dist-info")):
                if each.exists():
                    (self.packages / each.name).symlink_to(each)

    def start(self, channel: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        words = [self._python, "-I", "-S", "-c", _START, self.packages, self.program]
        return subprocess.Popen(
            words,
            stdin=channel,
            stdout=channel,
            stderr=stderr,
            cwd=self._folder,
            env={"XDG_CACHE_HOME": str(self._folder / "cache"), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
