"""Names that become file names: data that somebody else wrote, never paths."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePosixPath

from edgekit.core.text import printable

LONGEST = 120
"""Most bytes of a name; file systems take 255, with what edgekit writes around it."""

_LONGEST_FILE = 255

# What Windows opens as a device, whatever the ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.I)
_SEPARATORS = frozenset('/\\:<>"|?*')


def problem_of(name: str, most_bytes: int = LONGEST) -> str | None:
    """Why a name cannot be that of a file on every system; ``None`` where it can."""
    if not name or name.strip(". ") == "":
        return "it is empty or only dots"
    if len(name.encode(errors="surrogatepass")) > most_bytes:
        return f"it is longer than {most_bytes} bytes"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in name):
        return "it has a control character"
    found = next((letter for letter in name if letter in _SEPARATORS), None)
    if found is not None:
        return f"it has a '{found}'"
    if name != name.strip() or name.endswith("."):
        return "it begins or ends with a space, or ends with a dot"
    if _DEVICES.fullmatch(name):
        return "it is the name of a device on Windows"
    return None


def problem_on_device(name: str) -> str | None:
    """Why a file of that name cannot be sent to a device; ``None`` where it can.

    All that takes files there lets the names pass that pass here, and keeps files of its own whose
    names begin with a dot.
    """
    return "it begins with a dot" if name.startswith(".") else problem_of(name)


def file_name(name: str, ending: str = "") -> str:
    """The name of a file that is named after something: the same name, where that can be.

    Args:
        ending: what follows it, such as ``-fp32.onnx``; ours.

    Raises:
        ValueError: it cannot be a file name, and why.
    """
    _refuse(name, LONGEST)
    return name + ending


def _refuse(name: str, most_bytes: int) -> None:
    problem = problem_of(name, most_bytes)
    if problem is not None:
        raise ValueError(f"'{shown(name)}' cannot be the name of a file: {problem}")


def shown(name: str) -> str:
    """A name for messages: short, and without control characters."""
    return printable(name if len(name) <= 40 else f"{name[:40]}...")


def inside(folder: Path, path: str) -> Path:
    """A file in a folder, from a relative path that stands in a document.

    Raises:
        ValueError: it leads elsewhere, or a part of it cannot be the name of a file.
    """
    parts = PurePosixPath(path).parts
    if not parts:
        raise ValueError("'' cannot be the name of a file: it is empty or only dots")
    for part in parts:  # with what was written around its name
        _refuse(part, _LONGEST_FILE)
    return folder.joinpath(*parts)
