"""Follows the tutorial on a clean machine and writes down what was seen.

``python docs/site/record.py`` clones the repository into a new folder, with a new home and nothing
of this environment but a PATH, and types every command of ``docs/tutorial.md`` into a shell in a
terminal of 80x24. It puts what the terminal showed below each command in the page, makes the film
``docs/tutorial.svg`` of it and takes the pictures of ``docs/gallery/``. It ends with an error where
a command does.

A comment ``<!-- shown: 3-9 -->`` above a block keeps these lines of the output of its last command
in the page, ``<!-- shown: none -->`` none.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

from film import Frame, film
from gallery import take
from screen import Screen

ROOT = Path(__file__).parents[2]
PAGE, FILM = ROOT / "docs" / "tutorial.md", ROOT / "docs" / "tutorial.svg"
COLUMNS, ROWS = 80, 24
PROMPT = "$ "
INSTALLING = "python3 -m venv"
_READY = re.compile(r"\x1b\]0;ready (\d+)\x07")
FIRST_S, SLOWER = 1.0, 0.5
"""Seconds to the first frame of a command, and the share of its time so far to each other one."""

LONGEST_S = 1200.0

BLOCK = re.compile(
    r"(?P<head>(?:<!-- shown: (?P<shown>[^ ]+) -->\n)?```console\n)(?P<body>.*?)```", re.DOTALL
)


class Terminal:
    """A shell in a terminal, which commands are typed into.

    Attributes:
        frames: what was seen.
    """

    def __init__(self, folder: Path, home: Path, environment: Path | None) -> None:
        self.screen, self.frames = Screen(COLUMNS, ROWS), list[Frame]()
        self._begin, self._drawn = time.monotonic(), -1e9
        path = [str(environment / "bin")] if environment else []
        path.append(os.environ["PATH"])
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            variables = {
                "HOME": str(home), "PATH": os.pathsep.join(path), "TERM": "xterm-256color",
                "LANG": "C.UTF-8", "PS1": "", "PS2": "",
                "PROMPT_COMMAND": r"printf '\033]0;ready %d\007' $?",
            }  # fmt: skip
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], variables)
        ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._until_ready()
        settings = termios.tcgetattr(self._terminal)
        settings[3] &= ~termios.ECHO  # the command is shown by hand, with a prompt
        termios.tcsetattr(self._terminal, termios.TCSANOW, settings)

    def type(self, command: str) -> list[str]:
        """The lines that a command has shown.

        Raises:
            SystemExit: it fails.
        """
        self.screen.write(PROMPT)
        for i in range(0, len(command), 20):  # as it is typed
            self.screen.write(command[i : i + 20])
            self._frame(0.2)
        self.screen.write("\r\n")
        before = len(self.screen.lines) - 1
        os.write(self._terminal, (command + "\n").encode())
        code = self._until_ready()
        self._frame(2.5)
        if code:
            print("\n".join(self.screen.text()[-40:]), file=sys.stderr)
            raise SystemExit(f"exit code {code} of: {command}")
        lines = self.screen.text()[before:]
        while lines and not lines[-1]:
            lines.pop()
        while lines and not lines[0]:
            lines.pop(0)
        return lines

    def _frame(self, hold_s: float = 0.0) -> None:
        now = time.monotonic()
        self._drawn = now
        lines = [list(line) for line in self.screen.window()]
        if hold_s or not self.frames or self.frames[-1].lines != lines:
            first = len(self.screen.lines) - len(lines)
            self.frames.append(Frame(now - self._begin, first, lines, hold_s))

    def _until_ready(self) -> int:
        """The exit code of what was typed."""
        text, begun = "", time.monotonic()
        limit = begun + LONGEST_S
        while time.monotonic() < limit:
            if select.select([self._terminal], [], [], 0.2)[0]:
                text += os.read(self._terminal, 65536).decode("utf-8", "replace")
                found = _READY.search(text)
                whole = text if found is None else text[: found.start()]
                cut = whole.rfind("\x1b") if found is None else -1
                if cut >= 0 and len(whole) - cut < 40:  # perhaps half of a sequence
                    self.screen.write(whole[:cut])
                    text = whole[cut:]
                else:
                    self.screen.write(whole)
                    text = ""
                if found is not None:
                    return int(found[1])
            now = time.monotonic()
            if now - self._drawn > max(FIRST_S, SLOWER * (self._drawn - begun)):
                self._frame()
        os.kill(self._process, signal.SIGKILL)
        raise SystemExit("the shell does not come back")


def commands(body: str) -> Iterator[str]:
    """Those of a block, continued lines as one."""
    joined = re.sub(r" *\\\n\s*", " ", body)
    yield from (line[2:] for line in joined.splitlines() if line.startswith(PROMPT))


def shown(lines: list[str], which: str | None) -> list[str]:
    """The lines of an output that stay in the page."""
    if which == "none":
        return []
    if which is None:
        return lines
    first, last = (int(number) for number in which.split("-"))
    kept = lines[first - 1 : last]
    before = ["..."] if first > 1 else []
    return [*before, *kept, *(["..."] if last < len(lines) else [])]


def main() -> None:
    """Follows it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--environment", type=Path, metavar="DIR", help="use this one; nothing is installed"
    )
    arguments = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="tutorial-") as name:
        folder, home = Path(name) / "work", Path(name) / "home"
        folder.mkdir()
        home.mkdir()
        clone = ("git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", "edgekit")
        subprocess.run(clone, cwd=folder, check=True)
        terminal = Terminal(folder / "edgekit", home, arguments.environment)

        def followed(block: re.Match[str]) -> str:
            typed = [*commands(block["body"])]
            if arguments.environment and typed[0].startswith(INSTALLING):
                return block[0]
            told: list[str] = []
            for command in typed:
                print(command, file=sys.stderr, flush=True)
                lines = terminal.type(command)
                last = command is typed[-1]
                kept = shown(lines, block["shown"]) if last else lines
                told += [*_folded(command), *kept]
            return block["head"] + "\n".join(line.rstrip() for line in told) + "\n```"

        page = BLOCK.sub(followed, page)
        PAGE.write_text(page, encoding="utf-8")
        words = "A terminal in which the commands of the tutorial run one after the other."
        FILM.write_text(film(terminal.frames, COLUMNS, ROWS, words), encoding="utf-8")
        take(folder / "edgekit")
    seconds = terminal.frames[-1].begin_s
    print(f"{len(terminal.frames)} frames, {FILM.stat().st_size} bytes, {seconds:.0f} s")


def _folded(command: str) -> Iterator[str]:
    """A command as the page shows it, with long ones on several lines."""
    line = PROMPT + command
    while len(line) > 100:
        cut = line.rfind(" ", 0, 96)
        yield line[:cut] + " \\"
        line = "    " + line[cut + 1 :]
    yield line


if __name__ == "__main__":
    main()
