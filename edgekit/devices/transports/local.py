"""This machine: the agent is a process of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import IO, TYPE_CHECKING

from edgekit.core import ending
from edgekit.errors import EdgekitError, UnavailableError, UsageError

if TYPE_CHECKING:
    from edgekit.agent.wire import Wire

WHERE = "this machine"


class Local:
    """The way to this machine; see `edgekit.core.Transport`."""

    where = WHERE

    def start(self, channel: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts an agent, which ends when the channel does."""
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "edgekit.agent", "stay"],
            stdin=channel,
            stdout=channel,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the process that decides what is kept
        )

    def introduce(self, wire: Wire, limit_s: float) -> None:
        """The agent is here already."""

    def explain(self, code: int, told: str) -> EdgekitError:
        """Why the agent has ended."""
        last = f": {told.splitlines()[-1].strip()}" if told else ""
        return UnavailableError(f"the agent on {WHERE} ended by itself ({ending(code)}){last}")


LOCAL = Local()


def transport(address: str, python: str | None = None) -> Local:
    """The way to this machine.

    Raises:
        UsageError: something stands behind ``local:``, or another Python is named.
    """
    if address != "local:" or python is not None:
        raise UsageError(f"'{address}' is no address of a device: expected local: alone")
    return LOCAL
