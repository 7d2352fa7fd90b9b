"""Entry point of ``edgekit`` and ``python -m edgekit``."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line and exits with its code."""
    try:
        from edgekit.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line was there to say more
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
