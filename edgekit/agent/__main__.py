"""``python -m edgekit.agent``: an agent on standard input and output.

Nobody else gets to write there: what runtimes print goes to files of their slots.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Serves until nobody asks any more.

    With the argument ``stay``, it does so however long nothing is asked: on the machine of the one
    that asks, the channel ends with that one.
    """
    # For the reference network; runtimes have thread pools of their own.
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    from edgekit.agent import supervisor

    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    for number in (signal.SIGINT, signal.SIGHUP):  # they are for the one that asks
        signal.signal(number, signal.SIG_IGN)
    supervisor.main(source, sink, None if "stay" in sys.argv[1:] else supervisor.IDLE_S)


if __name__ == "__main__":
    main()
