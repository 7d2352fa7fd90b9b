"""Recipes: the options of a training in a TOML file.

::

    model = "mobilenetv3-small"   # these two may be left out
    data = "digits"

    epochs = 15                   # any option of a training, called as on the command line
    batch-size = 32
    flip = false
    randaugment = [2, 9]

Those that edgekit brings lie in ``edgekit/training/recipes`` and are found by their name.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from edgekit.core import FormError, from_json
from edgekit.core.reading import open_file
from edgekit.errors import InputError, UnknownNameError, UsageError
from edgekit.plugins import normalize
from edgekit.training.options import TrainingOptions, check

SUFFIX = ".toml"
_WORDS = ("model", "data")
# Of one run rather than of a way to train.
_LINE_ONLY = ("recipe", "out", "resume", "overwrite", "skip-corrupt", "pretrained")

# Options that have a --no- form on the command line.
_SWITCHES = ("ema", "flip", "crop")

# What the types of the fields are called in TOML's terms.
_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "a list": "a list of whole numbers",
}

# Far beyond any recipe; what is longer was given by mistake.
_MAX_BYTES = 100_000

# No option has a dot in its key, and TOML's reader takes minutes for a key of thousands of parts.
_MOST_DOTS = 100

# Bytes that are read in search of a line, where a statement of one line is read once.
_MOST_SEARCHED = 300_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a recipe says.

    Attributes:
        origin: its name or path, as it was given.
        model: source of the network; ``None``: to be given beside it.
        data: the image source; ``None``: to be given beside it.
        options: fields of `TrainingOptions` that it sets; the others keep their defaults.
    """

    origin: str
    model: str | None = None
    data: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def training_options(self, **changes: Any) -> TrainingOptions:
        """The options for `edgekit.training.train`; ``changes`` take the place of the recipe's."""
        return TrainingOptions(**{**self.options, **changes})


def recipe_names() -> tuple[str, ...]:
    """Names of the recipes that edgekit brings, sorted."""
    files = resources.files("edgekit.training").joinpath("recipes").iterdir()
    return tuple(sorted(f.name.removesuffix(SUFFIX) for f in files if f.name.endswith(SUFFIX)))


def load_recipe(name_or_path: str) -> Recipe:
    """Reads a recipe.

    Args:
        name_or_path: name of a recipe that edgekit brings (case, ``-``, ``_`` and ``.`` do not
            matter), or the path of a TOML file.

    Raises:
        UnknownNameError: neither a name nor a file.
        InputError: a file that cannot be read, is no TOML, or has an unknown key or a value that
            the option cannot have; names the file, the line and the nearest key.
    """
    if not (
        os.sep in name_or_path or name_or_path.endswith(SUFFIX) or Path(name_or_path).is_file()
    ):
        for name in recipe_names():
            if normalize(name) == normalize(name_or_path):
                folder = resources.files("edgekit.training").joinpath("recipes")
                return parse_recipe(folder.joinpath(name + SUFFIX).read_bytes(), name)
        known = recipe_names()
        hint = f"expected {', '.join(known)} or the path of a TOML file"
        raise UnknownNameError("recipe", name_or_path, known, hint)
    try:
        with open_file(name_or_path) as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"recipe {name_or_path} cannot be read: {error.strerror}; expected a TOML file"
        ) from error
    return parse_recipe(content, name_or_path)


def parse_recipe(content: bytes, origin: str) -> Recipe:
    """Reads the content of a recipe.

    Args:
        content: TOML in UTF-8.
        origin: its name or path, for messages.

    Raises:
        InputError: see `load_recipe`.
    """
    if len(content) > _MAX_BYTES:
        raise InputError(f"{origin} is no recipe: it is longer than {_MAX_BYTES:,} bytes")
    for number, row in enumerate(content.split(b"\n"), 1):
        if row.count(b".") > _MOST_DOTS:
            raise InputError(
                f"{origin} is no recipe: line {number} has over {_MOST_DOTS} dots; expected one "
                f"option a line"
            )
    try:
        text = content.decode("utf-8-sig")
        table = tomllib.loads(text + "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{origin}, line {line}: no text in UTF-8; expected TOML") from error
    except (ValueError, RecursionError) as error:  # TOML's own, and absurd numbers and nesting
        end = f"at line {len(text.splitlines())}"
        reason = str(error).replace("at end of document", end)
        raise InputError(f"{origin} is no TOML: {reason}") from error
    fields = {f.name.replace("_", "-"): f.name for f in dataclasses.fields(TrainingOptions)}
    options = {}
    for key, value in table.items():
        if key in _WORDS:
            problem = None if isinstance(value, str) and value else f"{key}: expected text"
        elif key not in fields:
            problem = f"unknown key '{key}': {_advice(key, (*_WORDS, *fields))}"
        else:
            options[fields[key]], problem = _checked(fields[key], value)
        if problem is not None:
            begin = _line_of(key, text)
            place = origin if begin is None else f"{origin}, line {begin}"
            raise InputError(f"{place}: {problem}")
    return Recipe(origin, table.get("model"), table.get("data"), options)


def _checked(name: str, value: Any) -> tuple[Any, str | None]:
    """The value of an option as its field has it, and what is wrong with it."""
    try:
        options = from_json(TrainingOptions, {name: value})
        check(options)
    except UsageError as error:
        return None, str(error)
    except OverflowError:
        return None, f"{name.replace('_', '-')}: expected a number that a float can hold"
    except FormError as error:
        expected = error.wanted(_KINDS)
        return None, f"{error.key.replace('_', '-')}: expected {expected}, found {error.found}"
    return getattr(options, name), None


def _advice(key: str, known: tuple[str, ...]) -> str:
    written = key.lower().replace("_", "-")
    if written in _LINE_ONLY:
        return f"--{written} is given on the command line only"
    positive = written.removeprefix("no-")
    if written != positive and positive in _SWITCHES:
        return f"write {positive} = false"
    near = difflib.get_close_matches(written, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return "expected 'model', 'data' or an option of 'edgekit train' without its dashes"


def _line_of(key: str, text: str) -> int | None:
    """The line, from 1, on which the statement that sets a key of the document begins.

    TOML's reader does not say it. A statement begins behind the one before, and ends on the first
    line up to which it can be read.

    Returns:
        ``None`` where a statement of hundreds of lines stands before it, or is it.
    """
    lines, begin, left = text.split("\n"), 0, _MOST_SEARCHED
    for end in range(1, len(lines) + 1):
        statement = "\n".join(lines[begin:end])
        left -= len(statement)
        if left < 0:
            return None
        try:
            found = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if key in found:
            return begin + 1
        begin = end
    return None
