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
        # OpenMP threads spin while they wait for one another, by default for so long that training
        # nearly stands still on a busy machine. This many turns cost little on an idle one:
        # MobileNetV3-Small at 32 px on 2 cores, images/s idle and beside two other processes:
        # default 620 and 160, 20,000 turns 590 and 290, sleeping at once 145 and 215.
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
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
