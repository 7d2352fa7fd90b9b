"""Entry point of ``edgekit`` and ``python -m edgekit``."""

from __future__ import annotations

import gc
import io
import os
import sys


def main() -> None:
    """Runs the command line and exits with its code."""
    # PyTorch makes a million objects that live to the end: to look through them again and again,
    # and once more on the way out, takes 0.9 s of an export of 6 s.
    gc.set_threshold(50_000, 20, 50)
    try:
        # OpenMP threads spin while they wait for one another, by default for so long that training
        # nearly stands still on a busy machine. Images/s alone and beside two busy processes:
        # default 642 and 161, 20,000 turns 614 and 251, none 216 and 245
        # (docs/measurements/training.md).
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
        if sys.stdout is None or sys.stderr is None:  # `>&-`: a result file would become stdout
            text = "standard output or error is closed: redirect it, to /dev/null for example"
            if sys.stderr is not None:
                sys.stderr.write(f"error: {text}\n")
            sys.exit(3)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # names of files need not be valid text
                stream.reconfigure(errors="backslashreplace")
        from edgekit import signals

        signals.install()
        from edgekit.cli import run
        from edgekit.core import keep_silent

        keep_silent()  # also what the user's own code imports

        code = run(sys.argv[1:], leaving=True)
    except KeyboardInterrupt as error:  # before the command line was there to say more
        code = 128 + getattr(error, "number", 2)
        from edgekit.signals import disregard

        disregard()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
