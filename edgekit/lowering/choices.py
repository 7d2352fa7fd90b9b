"""Which of several equal forms to write, where nobody measures: a table from runs of ``--tune``.

The fastest form depends on the runtime, the precision and the processor. Each line says what it
rests on; `docs/quantize.md` has the measurements.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Choice:
    """Forms for a target and precision.

    Attributes:
        isa: the processor that it was measured on, ``x86`` or ``arm``; ``None`` for both.
        forms: values by switch of the target; a switch that is not here keeps its first value.
        because: the measurement.
    """

    target: str
    precision: str
    isa: str | None
    forms: Mapping[str, str]
    because: str


CHOICES = (
    Choice(
        "tflite",
        "int8",
        None,
        {"hardswish": "clamp"},
        "HARD_SWISH of integers has no fast kernel: MobileNetV3-Small 3.4 times as fast without",
    ),
    Choice(
        "onnx",
        "int8",
        "x86",
        {
            "activations": "uint8",
            "averages": "conv",
            "groups": "dense",
            "hardswish": "clamp",
            "mean": "pool",
            "stem": "narrow",
            "widths": "padded",
        },
        "signed activations take 2 to 3 times as long; MobileNetV3-Small 2.1 instead of 2.4 ms; "
        "ShuffleNetV1 twice as fast; the same with AVX-512 VNNI and with AVX2 alone",
    ),
    Choice(
        "onnx",
        "int8",
        "arm",
        {"activations": "int8", "hardswish": "clamp", "mean": "pool"},
        "the kernels of Arm take signed activations",
    ),
)


def isa(machine: str | None = None) -> str:
    """The family of a processor's instruction set: ``x86``, ``arm``, or its own name.

    Args:
        machine: as the operating system calls it; this one's if ``None``.
    """
    name = (machine or platform.machine()).lower()
    if name in ("x86_64", "amd64", "i686", "i386"):
        return "x86"
    return "arm" if name.startswith(("arm", "aarch")) else name


def chosen_forms(target: str, precision: str, processor: str) -> Mapping[str, str]:
    """What the table says; empty where it has no line.

    Layers of ``int8-mixed`` that do not stay in float are those of ``int8``.
    """
    precision = "int8" if precision == "int8-mixed" else precision
    for choice in CHOICES:
        if (choice.target, choice.precision) == (target, precision) and (
            choice.isa in (None, processor)
        ):
            return choice.forms
    return {}


def checked_forms(
    available: Mapping[str, tuple[str, ...]], forms: Mapping[str, str]
) -> Mapping[str, str]:
    """Forms of which a target has all.

    Raises:
        UsageError: one is not among what it has.
    """
    for name, value in forms.items():
        if value not in available.get(name, ()):
            known = [f"{key}={v}" for key, values in sorted(available.items()) for v in values]
            raise UsageError(f"form '{name}={value}': expected {', '.join(known) or 'none'}")
    return forms
