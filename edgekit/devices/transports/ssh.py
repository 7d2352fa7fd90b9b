"""Devices that are reached by SSH, with the user's own ``ssh``: its configuration, its agent, jump
hosts and host keys count. It never asks for anything, and what it needs once is kept for the next
call: one connection carries all.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edgekit.devices import bootstrap
from edgekit.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from edgekit.agent.wire import Wire

_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_.][A-Za-z0-9_.+-]*\$?)@)?"
    r"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
_CONNECT_S = 10
_ALIVE_S, _ALIVE_COUNT = 5, 3
_KEPT_S = 120

_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": f"{_CONNECT_S}",
    "ServerAliveInterval": f"{_ALIVE_S}",
    "ServerAliveCountMax": f"{_ALIVE_COUNT}",
    "ControlMaster": "auto",
    "ControlPersist": f"{_KEPT_S}",
    "ForwardX11": "no",
    "ForwardAgent": "no",
    "PermitLocalCommand": "no",
    "ClearAllForwardings": "yes",
    "LogLevel": "ERROR",
}

# What a configuration may set that would put something else in the place of the command, by the
# version of OpenSSH that first knows it: older ones refuse options that they do not know.
_OPTIONS_SINCE = {
    (7, 6): {"RemoteCommand": "none"},
    (8, 7): {"SessionType": "default", "StdinNull": "no", "ForkAfterAuthentication": "no"},
}
_VERSION = re.compile(r"OpenSSH_(?:[A-Za-z_]+_)?(\d+)\.(\d+)")


class Ssh:
    """The way to a device; see `edgekit.core.Transport`.

    Args:
        address: ``ssh://[user@]host[:port]``; a host may be a name of the user's ssh_config.
        python: interpreter there.

    Attributes:
        identity: the same for all ways to write the address.

    Raises:
        UsageError: the address or the interpreter cannot be.
    """

    def __init__(self, address: str, python: str | None = None) -> None:
        match = _ADDRESS.fullmatch(address)
        if match is None or not 0 <= int(match["port"] or 22) < 65536:
            raise UsageError(
                f"'{address}' is no address of a device: expected ssh://host, with user@ before "
                f"the host and :port behind it where they are needed"
            )
        self.where = address.rstrip("/")
        user = f"{match['user']}@" if match["user"] else ""
        self.identity = f"ssh://{user}{match['host'].lower()}:{int(match['port'] or 22)}"
        self._python = "python3" if python is None else python
        self._command = bootstrap.command(self._python)

    def start(self, channel: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts ``ssh``."""
        options = {**_OPTIONS, "ControlPath": f"{_sockets()}/%C"}
        try:
            options |= _newer_options(os.environ.get("PATH", ""))
            words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
            return subprocess.Popen(  # noqa: S603 - the address was checked, the command is ours
                ["ssh", "-T", *words, self.where, self._command],  # noqa: S607 - the user's own
                stdin=channel,
                stdout=channel,
                stderr=stderr,
                env={**os.environ, "LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"},
                start_new_session=True,  # Ctrl-C is for the process that decides what is kept
            )
        except FileNotFoundError as error:
            raise UnavailableError(
                "devices behind ssh:// need the program 'ssh', which is not there: install "
                "OpenSSH's client"
            ) from error

    def introduce(self, wire: Wire, limit_s: float) -> None:
        """Sends the agent; see `edgekit.devices.bootstrap.introduce`."""
        bootstrap.introduce(wire, bootstrap.whole(), self.where, limit_s)

    def explain(self, code: int, told: str) -> UnavailableError:
        """Why the connection has ended, picked out of what ``ssh`` and the device said."""
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        for part, text in _CAUSES if code == _OWN else ():
            if part in told:
                return UnavailableError(text.format(where=self.where, last=last))
        early = bootstrap.explain(code, last, self.where, self._python)
        if early is not None:
            return early
        if code in (126, 127):
            return UnavailableError(
                f"{self.where} has no Python called {self._python}: install python3 there, or name "
                f"the one that it has with 'edgekit devices add ... --python PATH'"
            )
        if code == _OWN and not last:
            return UnavailableError(
                f"the connection to {self.where} has ended without a word: it was cut, or the "
                f"program there was killed, perhaps for want of memory; try again"
            )
        said = f": {last}" if last else f" (exit status {code})"
        return UnavailableError(f"the connection to {self.where} has ended{said}")


@functools.lru_cache(8)
def _newer_options(_path: str) -> dict[str, str]:
    """Options that the ``ssh`` of the path knows, but not each one.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        told = subprocess.run(
            ["ssh", "-V"],  # noqa: S607 - the user's own
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_CONNECT_S,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}
    found = _VERSION.search(told.stderr + told.stdout)
    version = (int(found[1]), int(found[2])) if found is not None else (0, 0)
    return {
        name: value
        for since, options in _OPTIONS_SINCE.items()
        if version >= since
        for name, value in options.items()
    }


_OWN = 255
"""Exit code of ssh's own errors; others are those of what runs there."""

# What ssh says, and what to say of it; the first one that fits.
_CAUSES = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host key of {where} has changed: somebody else may answer in its place, or it was set "
        "up anew. If you know that it was, forget the old key with 'ssh-keygen -R', and connect "
        "once with ssh",
    ),
    (
        "Host key verification failed",
        "the host key of {where} is not known here: connect once with 'ssh {where}' and confirm it",
    ),
    (
        "Permission denied",
        "{where} refuses the keys that it was offered, or wants a password, for which edgekit "
        "never asks: set up a key, as with 'ssh-copy-id', and try 'ssh {where}'",
    ),
    (
        "Too many authentication failures",
        "{where} refuses the keys that it was offered: name the right one in your ssh_config "
        "(IdentityFile, IdentitiesOnly), and try 'ssh {where}'",
    ),
    (
        "Could not resolve hostname",
        "there is no host of the name in {where}: give its right name or address, or one of your "
        "ssh_config",
    ),
    (
        "Connection refused",
        "{where} takes no SSH connections: see whether its SSH server runs, and on which port",
    ),
    ("Connection timed out", "{where} does not answer: see whether it is on and connected"),
    ("Operation timed out", "{where} does not answer: see whether it is on and connected"),
    ("No route to host", "{where} cannot be reached: see whether it is on and connected"),
    ("Network is unreachable", "{where} cannot be reached: there is no network to it"),
    (
        "Timeout, server",
        "the connection to {where} was cut: it did not answer any more; see whether it is on",
    ),
    (
        "Connection reset",
        "the connection to {where} was cut ({last}): see whether it is on and connected",
    ),
    (
        "Connection closed",
        "the connection to {where} was cut ({last}): see whether it is on and connected",
    ),
    (
        "Broken pipe",
        "the connection to {where} was cut ({last}): see whether it is on and connected",
    ),
    ("Bad configuration option", "ssh cannot read its configuration: {last}"),
    ("Bad owner or permissions", "ssh does not trust its configuration: {last}"),
)


# Of a socket's path, with what ssh puts behind it: a digest, and a suffix until it is there.
_MOST_PATH, _NAME = 107, 1 + 40 + 17


def _sockets() -> Path:
    """A folder of this user's for the sockets of connections, whose paths must be short.

    Raises:
        UnavailableError: there is none, or others may write to it.
    """
    bases = [Path(os.environ.get("XDG_RUNTIME_DIR", ""))]
    with contextlib.suppress(OSError):  # no folder for temporary files at all
        bases.append(Path(tempfile.gettempdir()))
    bases.append(Path("/tmp"))  # noqa: S108 - one of its own below it
    why = ""
    for base in bases:
        folder = base / f"edgekit-ssh-{os.geteuid()}"
        if not base.is_absolute() or len(str(folder)) + _NAME > _MOST_PATH:
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            about = folder.lstat()
        except OSError as error:
            why = f"{folder}: {error.strerror}"
            continue
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            why = f"{folder} is not yours alone: remove it"
        elif not os.access(folder, os.W_OK | os.X_OK):
            why = f"{folder} cannot be written to"
        else:
            return folder
    raise UnavailableError(f"there is no folder for the sockets of ssh: {why}")


def transport(address: str, python: str | None = None) -> Ssh:
    """The way to a device; see `Ssh`."""
    return Ssh(address, python)
