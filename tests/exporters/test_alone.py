"""Foreign programs in processes of their own: bounds, and what is said of how they end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from edgekit.errors import InputError
from exporters.tflite.alone import run_alone

PATH = Path("some.tflite")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "foreign_program.py"


def test_what_it_prints_comes_back_and_nothing_is_shown(
    program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program.write_text(
        "import sys\nprint(sys.argv[1:])\nprint('more', file=sys.stderr)\nsys.exit(3)\n"
    )
    found = run_alone(PATH, "A", "foreign_program", ["a b", "$HOME"])
    assert found == (3, "['a b', '$HOME']\n", "more\n")
    assert capfd.readouterr() == ("", "")


def test_one_that_does_not_end_is_ended(program: Path) -> None:
    program.write_text("import time\ntime.sleep(100)\n")
    began = time.monotonic()
    with pytest.raises(InputError, match=r"^some\.tflite cannot be used by A: .* end in 0\.5 s$"):
        run_alone(PATH, "A", "foreign_program", [], limit_s=0.5)
    assert time.monotonic() - began < 50


def test_a_crash_is_told(program: Path) -> None:
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    with pytest.raises(InputError, match=r"^some\.tflite crashes A \(SIGSEGV\)"):
        run_alone(PATH, "A", "foreign_program", [])


@pytest.mark.skipif(sys.platform != "linux", reason="bounds of memory are those of Linux")
def test_memory_is_bounded(program: Path) -> None:
    program.write_text(
        "import time\ntime.sleep(0.3)\ntry:\n    bytearray(2**36)\nexcept MemoryError:\n"
        "    print('refused')\n"
    )
    assert run_alone(PATH, "A", "foreign_program", [])[1] == "refused\n"
