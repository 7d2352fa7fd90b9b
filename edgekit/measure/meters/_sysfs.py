"""What meters read off files of the kernel: text or a number, or an error that says what helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgekit.errors import MeterError

Number = TypeVar("Number", int, float)

LEAVE_OUT = "leave it out with --energy off"


def text_of(file: Path, allow: str | None = None) -> str:
    """Content of a file.

    Args:
        allow: how a user gets permission to read it.

    Raises:
        MeterError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except PermissionError as error:
        help_ = allow or f"allow it with 'sudo chmod a+r {file}'"
        raise MeterError(f"no permission to read {file}: {help_}") from error
    except OSError as error:
        raise MeterError(f"cannot read {file}: {error.strerror}; {LEAVE_OUT}") from error


def optional_text(file: Path, allow: str | None = None) -> str | None:
    """Content of a file that need not be there.

    Raises:
        MeterError: it is there, and cannot be read.
    """
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # `text_of` tells why
    return text_of(file, allow)


def number_of(file: Path, allow: str | None = None) -> float:
    """The number in a file.

    Raises:
        MeterError: it cannot be read, or holds something else.
    """
    return _parsed(file, allow, float, "a number")


def count_of(file: Path, allow: str | None = None) -> int:
    """The whole number in a file, with all its digits.

    Raises:
        MeterError: it cannot be read, or holds something else.
    """
    return _parsed(file, allow, int, "a whole number")


def _parsed(file: Path, allow: str | None, parse: Callable[[str], Number], what: str) -> Number:
    text = text_of(file, allow)
    try:
        return parse(text)
    except ValueError as error:
        raise MeterError(f"{file} shows '{text[:40]}': expected {what}") from error
