"""Entry point of ``edgekit`` and ``python -m edgekit``."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Runs the command line and exits with its code."""
    try:
        # OpenMP threads that spin while they wait for one another cost nothing on an idle machine
        # and nearly everything on a busy one: with three other processes on 2 cores, training
        # MobileNetV3-Small ran at 22 to 170 images/s spinning and at 240 to 400 sleeping.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names of files need not be valid text
                stream.reconfigure(errors="backslashreplace")
        # So that what is half done is cleaned up after `kill`, as it is after Ctrl-C.
        signal.signal(signal.SIGTERM, _terminate)
        from edgekit.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line was there to say more
        code = 130
    sys.exit(code)


def _terminate(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
