"""Inputs of networks that take one tensor, as targets take them of networks with several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def singly(inputs: Iterable[Any] | None) -> list[list[Any]] | None:
    """Each inference as a list of its one input."""
    return None if inputs is None else [[one] for one in inputs]
