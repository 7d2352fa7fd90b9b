"""Phones that are reached by the Android Debug Bridge, with the ``adb`` that is installed here.

The agent runs in a Python of the phone, or is the native runner. A phone is named by its serial
number; without one, it is the only one that is connected.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgekit.devices import bootstrap
from edgekit.devices.benchmarking import BenchmarkModel
from edgekit.devices.native import NativeRunner, adb_push
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
        native: what runs there in place of a Python.

    Attributes:
        lacks: see `edgekit.devices.device.Device.check_able`.

    Raises:
        UsageError: the address or the interpreter cannot be.
    """

    def __init__(
        self,
        address: str,
        python: str | None = None,
        native: NativeRunner | BenchmarkModel | None = None,
    ) -> None:
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise UsageError(
                f"'{address}' is no address of a phone: expected adb:SERIAL, with a serial number "
                f"of 'adb devices', or adb: for the only phone that is connected"
            )
        self.where, self._serial, self._native = address, match["serial"], native
        self.lacks = native.lacks if isinstance(native, BenchmarkModel) else {}
        self._python = "python3" if python is None else python
        self._command = bootstrap.command(self._python)

    def start(self, channel: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts ``adb shell`` without a terminal."""
        if isinstance(self._native, BenchmarkModel):
            return self._native.start(self._adb(), self.where, channel, stderr)
        command = self._command if self._native is None else self._native.command()
        return subprocess.Popen(  # noqa: S603 - the serial was checked, the command is ours
            [*self._adb(), "shell", "-T", command],
            stdin=channel,
            stdout=channel,
            stderr=stderr,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,  # Ctrl-C is for the process that decides what is kept
        )

    def _adb(self) -> list[str]:
        """What a command for this phone begins with.

        Raises:
            UnavailableError: as `_only`.
        """
        self._serial = self._serial or self._only()
        if shutil.which("adb") is None:
            raise UnavailableError(_NO_ADB)
        return ["adb", "-s", self._serial]

    def _push(self, path: Path, there: str) -> None:
        adb_push(self._adb(), path, there, self.where)

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
        """Sends the agent; see `edgekit.devices.bootstrap.introduce`, and `NativeRunner`."""
        if self._native is None:
            bootstrap.introduce(wire, bootstrap.whole(), self.where, limit_s)
        elif isinstance(self._native, NativeRunner):
            self._native.introduce(wire, self.where, limit_s, self._push)

    def explain(self, code: int, told: str) -> UnavailableError:
        """Why the connection has ended, picked out of what ``adb`` and the phone said."""
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        early = self._explain_start(code, told, last)
        if early is not None:
            return early
        for part, text in _CAUSES:
            if part in told:
                return UnavailableError(text.format(where=self.where, last=last))
        said = f": {last}" if last else f" (exit status {code})"
        return UnavailableError(f"the connection to {self.where} has ended{said}")

    def _explain_start(self, code: int, told: str, last: str) -> UnavailableError | None:
        """What to say where the agent could not be started."""
        if isinstance(self._native, NativeRunner):
            return self._native.explain(code, last, self.where)
        if self._native is not None:
            return None
        if code in (126, 127) or (self._python in told and _NO_PROGRAM.search(told)):
            return UnavailableError(
                f"{self.where} has no Python called {self._python}: Termux brings one, which its "
                f"SSH server makes reachable (ssh://); name another one with --python, or a native "
                f"runner, which needs none, with 'edgekit devices add NAME --transport "
                f"{self.where} --runner PATH --library PATH'"
            )
        return bootstrap.explain(code, last, self.where, self._python)


def transport(
    address: str, python: str | None = None, native: NativeRunner | BenchmarkModel | None = None
) -> Adb:
    """The way to a phone; see `Adb`."""
    return Adb(address, python, native)
