"""An agent that starts in a folder with files of other people."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from edgekit.devices import bootstrap
from edgekit.devices.agents import Agent
from edgekit.devices.transports.local import Local

if TYPE_CHECKING:
    from edgekit.agent.wire import Wire


class Home(Local):
    """A way to a Python that is started in a home folder, as a login does."""

    def __init__(self, home: Path, path: str) -> None:
        self._home, self._path = home, path

    def start(self, channel: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", bootstrap.LINE],
            stdin=channel,
            stdout=channel,
            stderr=stderr,
            cwd=self._home,
            env={"PATH": os.environ["PATH"], "HOME": str(self._home), "PYTHONPATH": self._path},
            start_new_session=True,
        )

    def introduce(self, wire: Wire, limit_s: float) -> None:
        bootstrap.introduce(wire, bootstrap.whole(), self.where, limit_s)


@pytest.mark.parametrize("path", ["", "{home}", ":{home}/../home"])
def test_modules_of_the_home_folder_are_not_run(tmp_path: Path, path: str) -> None:
    home, marks = tmp_path / "home", tmp_path / "marks"
    home.mkdir()
    marks.mkdir()
    for name in ("random", "hashlib", "tempfile", "json", "socket", "numpy", "array", "edgekit"):
        (home / f"{name}.py").write_text(f"open({str(marks / name)!r}, 'w').close()\n")
    with closing(Agent(Home(home, path.format(home=home)))) as agent:
        subject = {"loader": "edgekit.agent.reference:Reference", "arguments": {}}
        slot = agent.slot()
        slot.ask("import", subject=subject)
        slot.ask("open", subject=subject, cores=[])
    assert not list(marks.iterdir())
