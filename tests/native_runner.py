"""The native runner, built here, and the libraries of the runtimes that are installed."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from edgekit.errors import UnavailableError

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "edgekit" / "agent" / "native"
BUILD = ROOT / "build"
ARM64 = ROOT / ".arm64"
CROSS = "aarch64-linux-gnu-g++"
CHECKED = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover"


@functools.cache
def built(*, checked: bool = False, machine: str | None = None) -> Path | None:
    """The runner; ``None`` where there is no compiler for it.

    Args:
        checked: with what finds errors of memory at run time.
        machine: that it is for, as ``uname -m`` calls it; this one by default.
    """
    own = platform.machine()
    compiler = "g++" if machine in (None, own) else CROSS
    if shutil.which(compiler) is None or shutil.which("make") is None:
        return None
    folder = BUILD / ("native-checked" if checked else "native")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"edgekit-runner-{machine or own}"
    words = ["make", "-s", "-j2", "-C", str(SOURCES), f"OUT={folder}", str(path)]
    if checked:
        words.append(f"EXTRA={CHECKED}")
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(words, check=True, timeout=600)
    return path


def libraries(site: Path | None = None) -> list[Path]:
    """Those of LiteRT and ONNX Runtime.

    Args:
        site: folder with the packages; those of this Python by default.
    """
    found = []
    for name, pattern in (
        ("ai_edge_litert", "libLiteRt.so"),
        ("onnxruntime", "capi/libonnxruntime.so.1*"),
    ):
        if site is None:
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.submodule_search_locations
            package = Path(spec.submodule_search_locations[0])
        else:
            package = site / name
        found += list(package.glob(pattern))
    assert len(found) == 2
    return found


def arm64_board() -> Path | None:
    """Folder with an emulator and a userland for arm64; see `tests/arm64_board.py`."""
    return ARM64 if (ARM64 / "stamp").exists() else None


class Direct:
    """A runner as a process of this machine, on whose standard input and output it is asked.

    Args:
        folder: that it keeps files in.
        before: words of what starts it, such as an emulator.
    """

    where = "the native runner"

    def __init__(
        self, runner: Path, folder: Path, given: Sequence[Path] = (), before: Sequence[str] = ()
    ) -> None:
        self.words = [*before, str(runner), "--folder", str(folder)]
        for library in given:
            self.words += ["--library", str(library), f"{library.name} 1a2b3c4d"]
        self.ended: list[tuple[int, str]] = []

    def start(self, channel: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.words, stdin=channel, stdout=channel, stderr=stderr, start_new_session=True
        )

    def introduce(self, wire: Any, limit_s: float) -> None:
        """It is here."""

    def explain(self, code: int, told: str) -> UnavailableError:
        self.ended.append((code, told))
        return UnavailableError(f"{self.where} has ended ({code}): {told}")
