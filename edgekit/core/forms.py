"""Forms: ways to write the same network, of which a target has some.

A form is the value of a switch. Targets name their own switches; those that are named here mean
the same in each, and other parts of edgekit go by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PROCESSORS = ("x86", "x86-vnni", "arm")
"""Families of instruction sets that forms are chosen by; ``x86-vnni`` adds up products of integers
in 32 bits, plain ``x86`` two of them in 16 bits first."""

CORRECTION = "bias"
"""The switch whose values take longer to make a file, and no longer to run it."""

WEIGHTS = "weights"
"""The switch that bounds weights, so that no sum of products overflows."""

SMALL_WEIGHTS = "7bit"
"""Its value for processors whose sums would overflow."""

STEM = "stem"
"""The switch of what stays in float at the beginning of a network of integers."""

NARROW_STEM = "narrow"
"""Its value for all up to the first tensor of more than `edgekit.core.NARROW` channels."""

INTEGER_STEM = "int8"
"""Its value for nothing."""


@dataclass(frozen=True)
class Choice:
    """Forms that a target takes where nobody measures, from runs of ``--tune``.

    Attributes:
        precision: that they are for.
        isa: the processors that they are for, some of `PROCESSORS`; empty for all.
        forms: values by switch of the target; a switch that is not here keeps its first value.
        because: the measurement.
    """

    precision: str
    isa: tuple[str, ...]
    forms: Mapping[str, str]
    because: str
