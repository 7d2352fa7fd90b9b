"""Phones that are reached by the Android Debug Bridge, with the ``adb`` that is installed here.

The agent runs in a Python of the phone. A phone is named by its serial number; without one, it is
the only one that is connected.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import IO, TYPE_CHECKING

from edgekit.devices import bootstrap
from edgekit.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from edgekit.agent.wire import Wire

_ADDRESS = re.compile(r"adb:(?P<serial>[A-Za-z0-9](?:[A-Za-z0-9._:-]*[A-Za-z0-9])?)?")
_LIST_S = 30.0
_NO_ADB = (
    "devices behind adb: need the program 'adb', which is not there: install Android's platform "
    "tools"
)

_CAUSES = (
    (
        "unauthorized",
        "{where} has not allowed this computer: unlock the phone and confirm the question on it",
    ),
    ("offline", "{where} is offline: unplug it and plug it in again"),
    (
        "not found",
        "{where} is not connected: see 'adb devices', and whether USB debugging is on",
    ),
    (
        "no devices",
        "{where} is not connected: see 'adb devices', and whether USB debugging is on",
    ),
    ("cannot connect to daemon", "the adb server cannot be started: {last}"),
)
_NO_PROGRAM = re.compile(r"(?:inaccessible or )?not found|No such file|Permission denied")


class Adb:
    """The way to a phone; see `edgekit.core.Transport`.

    Args:
        address: ``adb:SERIAL``, or ``adb:`` for the only phone.
        python: interpreter there.

    Raises:
        UsageError: the address or the interpreter cannot be.
    """

    def __init__(self, address: str, python: str | None = None) -> None:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise UsageError(
                f"'{address}' is no address of a phone: expected adb:SERIAL, with a serial number "
                f"of 'adb devices', or adb: for the only phone that is connected"
            )
        self.where, self._serial = address, match["serial"]
        self._python = "python3" if python is None else python
        self._command = bootstrap.command(self._python)

    def start(self, channel: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts ``adb shell`` without a terminal."""
        serial = self._serial or self._only()
        if shutil.which("adb") is None:
            raise UnavailableError(_NO_ADB)
        return subprocess.Popen(  # noqa: S603 - the serial was checked, the command is ours
            ["adb", "-s", serial, "shell", "-T", self._command],  # noqa: S607 - the user's own
            stdin=channel,
            stdout=channel,
            stderr=stderr,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,  # Ctrl-C is for the process that decides what is kept
        )

    def _only(self) -> str:
        """The serial number of the only phone that is connected.

        Raises:
            UnavailableError: there is none, or several are; or no ``adb``.
        """
        try:
            done = subprocess.run(
                ["adb", "devices"],  # noqa: S607 - the user's own
                capture_output=True,
                timeout=_LIST_S,
                text=True,
                errors="replace",
                check=False,
            )
        except FileNotFoundError as error:
            raise UnavailableError(_NO_ADB) from error
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                "'adb devices' does not answer: see 'adb kill-server'"
            ) from error
        rows = [line.split() for line in done.stdout.splitlines()[1:] if line.strip()]
        serials = [row[0] for row in rows if len(row) >= 2]
        if len(serials) != 1:
            named = f": give one of adb:{', adb:'.join(sorted(serials))}" if serials else ""
            raise UnavailableError(
                f"{len(serials) or 'no'} phones are connected{named or '; see adb devices'}"
            )
        return serials[0]

    def introduce(self, wire: Wire, limit_s: float) -> None:
        """Sends the agent; see `edgekit.devices.bootstrap.introduce`."""
        bootstrap.introduce(wire, bootstrap.whole(), self.where, limit_s)

    def explain(self, code: int, told: str) -> UnavailableError:
        """Why the connection has ended, picked out of what ``adb`` and the phone said."""
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if code in (126, 127) or (self._python in told and _NO_PROGRAM.search(told)):
            return UnavailableError(
                f"{self.where} has no Python called {self._python}: Termux brings one, which its "
                f"SSH server makes reachable (ssh://), or name another one with --python"
            )
        early = bootstrap.explain(code, last, self.where, self._python)
        if early is not None:
            return early
        for part, text in _CAUSES:
            if part in told:
                return UnavailableError(text.format(where=self.where, last=last))
        said = f": {last}" if last else f" (exit status {code})"
        return UnavailableError(f"the connection to {self.where} has ended{said}")


def transport(address: str, python: str | None = None) -> Adb:
    """The way to a phone; see `Adb`."""
    return Adb(address, python)
