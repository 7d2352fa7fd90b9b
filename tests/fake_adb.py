"""A program ``adb`` for tests: its one phone is this machine, with a folder of the test's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

SERIAL = "emulator-5554"

_PROGRAM = """#!{python}
import os, shutil, subprocess, sys
words, folder, state = sys.argv[1:], {folder!r}, open({state!r}).read().split()
with open({log!r}, "a") as log:
    print(" ".join(words)[:2000].replace(chr(10), " "), file=log)
if words == ["devices"]:
    print("List of devices attached")
    for one in state:
        print(one.replace("=", chr(9)))
    sys.exit(0)
assert words[0] == "-s", words
known = dict(one.split("=") for one in state)
if words[1] not in known:
    sys.exit("adb: device '" + words[1] + "' not found")
if known[words[1]] == "unauthorized":
    sys.exit("adb: device unauthorized." + chr(10) + "This server's $ADB_VENDOR_KEYS is not set")
if known[words[1]] == "offline":
    sys.exit("adb: device offline")
there = lambda text: text.replace("/data/local/tmp", folder)
if words[2] == "push":
    assert "/" + words[4].strip("/") == words[4], words
    os.makedirs(os.path.dirname(words[4]), exist_ok=True)
    shutil.copyfile(words[3], words[4])
    print("1 file pushed")
else:
    assert words[2:4] == ["shell", "-T"], words
    os.chdir("/")
    os.execvp("sh", ["sh", "-c", there(words[4])])
"""


class FakeAdb:
    """Stands before the real one on the path.

    Args:
        folder: of the test.

    Attributes:
        phone: what the phone has in the place of ``/data/local/tmp``.
    """

    def __init__(self, folder: Path, patch: Any) -> None:
        self.phone, self._log = folder / "phone", folder / "adb.log"
        self._state = folder / "adb.state"
        self.phone.mkdir()
        self._log.touch()
        self.connect(f"{SERIAL}=device")
        program = folder / "adb-bin" / "adb"
        program.parent.mkdir()
        program.write_text(
            _PROGRAM.format(
                python=sys.executable,
                folder=str(self.phone),
                state=str(self._state),
                log=str(self._log),
            )
        )
        program.chmod(0o755)
        patch.setenv("PATH", str(program.parent), prepend=":")

    def connect(self, *states: str) -> None:
        """Has other phones, such as ``123=offline``."""
        self._state.write_text("\n".join(states))

    @property
    def pushed(self) -> list[str]:
        """Paths on the phone of all that was sent."""
        words = [line.split() for line in self._log.read_text().splitlines()]
        return [line[4] for line in words if line[2:3] == ["push"]]
