"""Forms: ways to write the same network, of which a target has some.

A form is the value of a switch. Targets name their own switches; those that are named here mean
the same in each, and other parts of edgekit go by them.

The fastest form depends on the runtime, the precision and the processor. Each `Choice` of a target
says what it rests on; `docs/measurements/int8-forms.md` has the measurements.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def chosen_forms(choices: Iterable[Choice], precision: str, isa: str) -> Mapping[str, str]:
    """What a target takes where nobody measures; empty where it has no such choice.

    Layers of ``int8-mixed`` that do not stay in float are those of ``int8``.

    Args:
        isa: the processor that the file is for.
    """
    forms: dict[str, str] = {}
    precision = _PLAIN.get(precision, precision)
    for choice in choices:
        if choice.precision == precision and (not choice.isa or isa in choice.isa):
            forms.update(choice.forms)
    return forms


def depends_on_isa(choices: Iterable[Choice], precision: str) -> bool:
    """Whether a target writes different files for different processors."""
    precision = _PLAIN.get(precision, precision)
    return any(choice.isa for choice in choices if choice.precision == precision)


def fits(choices: Iterable[Choice], precision: str, isa: str, there: str) -> bool:
    """Whether a file that was written for one processor is what another one takes.

    Weights of fewer bits than a processor needs do no harm there.

    Args:
        isa: the processor that the file is for.
        there: the processor that it is to run on.
    """
    choices = tuple(choices)
    written, wanted = (chosen_forms(choices, precision, one) for one in (isa, there))
    if written.get(WEIGHTS) == SMALL_WEIGHTS:
        wanted = {**wanted, WEIGHTS: SMALL_WEIGHTS}
    return written == wanted


_PLAIN = {"int8-mixed": "int8"}
"""Precisions whose forms are those of another one."""
