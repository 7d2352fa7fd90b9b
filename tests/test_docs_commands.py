"""Commands that the documentation shows run as they are shown.

Those that only look something up run in the default suite, all others with ``-m slow``, in a copy
of the folder that the pages talk about. A comment ``<!-- not run: REASON -->`` above a block says
why its commands do not.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import CommandLine
from docs_workplace import build, edgekit

from edgekit.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n)?(?P<fence>```+)(?P<language>[a-z]*)\n"
    r"(?P<body>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
LINE = re.compile(r"^(?:\$ )?(edgekit(?: .*)?)$")

QUICK = ("list", "describe", "history")
"""Commands that look something up, in a second or two."""

SMALLER = {
    "train": ("--epochs", "1"),
    "search": (
        "--tune-steps", "1", "--finish-epochs", "0", "--reduction", "0.4", "--workers", "1",
        "--selection-images", "50", "--budget", "macs=0.8x",
    ),
    "profile": ("--seconds", "1"),
    "compare": ("--seconds", "1"),
    "benchmark": ("--seconds", "1", "--target", "tflite"),
    "demo": ("--epochs", "1"),
}  # fmt: skip
"""Options that make a command short; the last one of an option counts."""

AGAIN = (
    "train",
    "export",
    "benchmark",
    "profile",
    "report",
    "app",
    "bundle",
    "export-profiles",
    "demo",
)
"""Commands whose result may be there from the line before: they are told to replace it."""

CODES = {
    "benchmark": {0, 4},
    "compare": {0, 4},
    "devices": {0, 5},
    "export": {0, 4},
    "search": {0, 4},
    "verify": {0, 4},
}
"""Exit codes besides 0 of gates, which the small networks of this test may not pass."""


@dataclass(frozen=True)
class Shown:
    """The commands of a block.

    Attributes:
        reason: why they do not run.
        lines: words behind ``edgekit``.
    """

    page: str
    number: int
    lines: tuple[tuple[str, ...], ...]
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.number}"


def shown() -> Iterator[Shown]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            if block["language"] not in ("", "sh", "console"):
                continue
            joined = re.sub(r" *\\\n\s*", " ", block["body"])
            typed = [found[1] for line in joined.splitlines() if (found := LINE.match(line))]
            lines = tuple(tuple(shlex.split(line, comments=True)[1:]) for line in typed)
            if lines:
                number = text.count("\n", 0, block.start("fence")) + 1
                yield Shown(page.name, number, lines, block["reason"])


ALL = list(shown())
RUN = [block for block in ALL if block.reason is None]


def is_quick(block: Shown) -> bool:
    return all(line and line[0] in QUICK for line in block.lines)


def test_few_blocks_are_not_run() -> None:
    assert len(RUN) > 25
    assert len(RUN) > 2 * (len(ALL) - len(RUN))
    named = {line[0] for block in RUN for line in block.lines if line}
    assert named >= set(COMMANDS) - {"demo"}  # which make demo stands for


@pytest.mark.parametrize("block", [b for b in RUN if is_quick(b)], ids=str)
def test_looking_up(block: Shown, run: CommandLine) -> None:
    for line in block.lines:
        done = run(*redirected(line)[0])
        assert done.code == 0, done.err


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "workplace"
    folder.mkdir()
    build(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({b.page for b in RUN if not is_quick(b)}))
def test_a_page(page: str, workplace: Path, tmp_path: Path) -> None:
    """One block after the other, as a reader would."""
    folder = tmp_path / "work"
    shutil.copytree(workplace, folder)
    for block in RUN:
        if block.page == page:
            follow(block, folder)


def follow(block: Shown, folder: Path) -> None:
    for line in block.lines:
        arguments, file = redirected(line)
        if arguments[:1] == ("search",) and "--resume" not in arguments:  # one of another block
            shutil.rmtree(folder / arguments[arguments.index("-o") + 1], ignore_errors=True)
        done = edgekit(folder, *smaller(arguments))
        told = f"{block}: edgekit {shlex.join(line)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        name = line[0] if line else ""
        assert done.returncode in CODES.get(name, {0}), told
        if file is not None:
            (folder / file).write_text(done.stdout, encoding="utf-8")


def redirected(line: tuple[str, ...]) -> tuple[tuple[str, ...], str | None]:
    """The words before ``> FILE``, and the file."""
    if ">" in line:
        place = line.index(">")
        return line[:place], line[place + 1]
    return line, None


def smaller(arguments: tuple[str, ...]) -> tuple[str, ...]:
    name = arguments[0] if arguments else ""
    again: tuple[str, ...] = ("--overwrite",) if name in AGAIN else ()
    if {"--overwrite", "--resume", "--serve"} & {*arguments}:
        again = ()
    simulated = any(word.startswith(("tflm", "ethos-")) for word in arguments)
    if name == "profile" and simulated:  # nothing is timed there
        return arguments
    return (*arguments, *SMALLER.get(name, ()), *again)
