"""The redirection is of the whole process, so each test looks at a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import edgekit
from edgekit.native_output import KEPT_CHARACTERS, captured

PRELUDE = """
import ctypes, logging, os, subprocess, sys, warnings
from edgekit.native_output import captured

def print_everywhere():
    print("python out")
    print("python err", file=sys.stderr)
    os.write(1, b"descriptor out\\n")
    os.write(2, b"descriptor err\\n")
    native = ctypes.CDLL(None)
    native.puts(b"native out")
    native.fflush(None)
    logging.warning("logged")
    warnings.warn("a warning")
    subprocess.run([sys.executable, "-c", "print('child')"], check=True)

"""
KINDS = (
    "python out",
    "python err",
    "descriptor out",
    "descriptor err",
    "native out",
    "logged",
    "child",
)


def output_of(code: str) -> tuple[str, str]:
    """What a new process writes to its standard streams."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code],
        cwd=Path(edgekit.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_without_it_everything_comes_through() -> None:
    out, err = output_of("print_everywhere()")
    assert [kind for kind in KINDS if kind not in out + err] == []


def test_nothing_comes_through_from_python_or_below() -> None:
    assert output_of("with captured(): print_everywhere()") == ("", "")


def test_what_is_printed_around_it_comes_through_in_order() -> None:
    code = """
print("before")
sys.stdout.write("unfinished, ")
with captured():
    print_everywhere()
    sys.stdout.write("unfinished inside")
print("after")
os.write(2, b"after as well\\n")
"""
    assert output_of(code) == ("before\nunfinished, after\n", "after as well\n")


def test_an_exception_carries_what_was_printed() -> None:
    code = """
try:
    with captured():
        print_everywhere()
        1 / 0
except ZeroDivisionError as error:
    print(*error.__notes__)
"""
    out, err = output_of(code)
    assert out.startswith("printed before that:\n")
    assert [kind for kind in KINDS if kind not in out] == []
    assert err == ""


def test_a_note_holds_the_end_of_long_output() -> None:
    code = f"""
try:
    with captured():
        print("x" * {3 * KEPT_CHARACTERS})
        print("the end")
        raise ValueError
except ValueError as error:
    print(*error.__notes__)
"""
    out, _ = output_of(code)
    assert out.endswith("x\nthe end\n")
    assert KEPT_CHARACTERS / 2 < len(out) < KEPT_CHARACTERS + 100


def test_blocks_may_be_nested() -> None:
    code = """
try:
    with captured():
        print("outer before")
        with captured():
            print("inner")
        print("outer after")
        raise ValueError
except ValueError as error:
    print(error.__notes__)
"""
    assert output_of(code) == ("['printed before that:\\nouter before\\nouter after']\n", "")


def fail(block: Any, error: BaseException, text: bytes = b"") -> None:
    with block:
        os.write(1, text)
        raise error


def test_bytes_that_are_no_text_do_not_hide_the_exception() -> None:
    with pytest.raises(ValueError, match="oops") as caught:
        fail(captured(), ValueError("oops"), b"\xff\xfe \xc3")
    assert "\ufffd" in caught.value.__notes__[0]


def test_an_exception_after_silence_has_no_note() -> None:
    with pytest.raises(ValueError, match="oops") as caught:
        fail(captured(), ValueError("oops"))
    assert not hasattr(caught.value, "__notes__")


def descriptors() -> list[str]:
    return [str(Path("/dev/fd", name).readlink()) for name in ("1", "2")]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_descriptors_are_restored_and_none_is_left_open(kind: type[BaseException]) -> None:
    before, opened = descriptors(), len(os.listdir("/dev/fd"))
    with captured():
        assert descriptors() != before
    with pytest.raises(kind):
        fail(captured(), kind("oops"))
    assert descriptors() == before
    assert len(os.listdir("/dev/fd")) == opened


def test_lines_of_loggers_that_were_there_before_do_not_come_through_either() -> None:
    """A handler that was made while progress was shown writes into that."""
    code = """
import io
progress = io.StringIO()
handler = logging.StreamHandler(progress)
logging.getLogger("torch.some").addHandler(handler)
with captured():
    logging.getLogger("torch.some").warning("inside")
logging.getLogger("torch.some").warning("after")
print(progress.getvalue().split())
"""
    assert output_of(code)[0] == "['after']\n"


def test_handlers_whose_stream_is_closed_do_no_harm() -> None:
    """One that is made while output is captured gets the stream that is there afterwards."""
    code = """
import io
closed = io.StringIO()
closed.close()
logging.getLogger("torch.closed").addHandler(logging.StreamHandler(closed))
with captured():
    handler = logging.StreamHandler()
    logging.getLogger("torch.some").addHandler(handler)
    logging.getLogger("torch.closed").warning("inside")
print(handler.stream is sys.stderr)
with captured():
    logging.getLogger("torch.some").warning("inside")
logging.getLogger("torch.some").warning("after")
"""
    assert output_of(code) == ("True\n", "after\n")
