"""Which of several equal forms to write, where nobody measures: a table from runs of ``--tune``.

The fastest form depends on the runtime, the precision and the processor. Each line says what it
rests on; `docs/quantize.md` has the measurements.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edgekit.devices.host import detect
from edgekit.errors import UsageError

PROCESSORS = ("x86", "x86-vnni", "arm")
"""Families of instruction sets that the table knows; ``x86-vnni`` adds up products of integers in
32 bits, plain ``x86`` two of them in 16 bits first."""

_DOT_PRODUCTS = {"avx_vnni", "avx512_vnni"}


@dataclass(frozen=True, slots=True)
class Choice:
    """Forms for a target and precision.

    Attributes:
        isa: the processors that it is for, some of `PROCESSORS`; empty for all.
        forms: values by switch of the target; a switch that is not here keeps its first value.
        because: the measurement.
    """

    target: str
    precision: str
    isa: tuple[str, ...]
    forms: Mapping[str, str]
    because: str


SATURATION = (
    "sums of 16 bits overflow: MobileNetV3-Small on CIFAR-10 agrees with float by 18.7 dB (ONNX) "
    "and 15.6 dB (OpenVINO) with 8 bits, by 23.2 dB with 7; untrained networks are lost with 8"
)

CHOICES = (
    Choice(
        "tflite",
        "int8",
        (),
        {"hardswish": "clamp"},
        "HARD_SWISH of integers has no fast kernel: MobileNetV3-Small 3.4 times as fast without",
    ),
    Choice(
        "tflite",
        "int8",
        ("x86", "x86-vnni"),
        {"stem": "narrow"},
        "few channels fill no vectors of integers: six networks 1.15 to 1.4 times as fast",
    ),
    Choice(
        "onnx",
        "int8",
        ("x86", "x86-vnni"),
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
        ("arm",),
        {"activations": "int8", "hardswish": "clamp", "mean": "pool"},
        "the kernels of Arm take signed activations",
    ),
    Choice("onnx", "int8", ("x86",), {"weights": "7bit"}, SATURATION),
    Choice("onnx", "int8-dynamic", ("x86",), {"weights": "7bit"}, SATURATION),
    Choice("openvino", "int8", ("x86",), {"weights": "7bit"}, SATURATION),
)


def isa(machine: str | None = None, extensions: Collection[str] | None = None) -> str:
    """The family of a processor's instruction set: one of `PROCESSORS`, or its own name.

    Args:
        machine: as the operating system calls it; this one's if ``None``.
        extensions: as ``/proc/cpuinfo`` names them; this machine's if ``None``. Where they are not
            known, dot products of integers count as missing: what is exact without them is exact
            with them.
    """
    name = (machine or platform.machine()).lower()
    if name in ("x86_64", "amd64", "i686", "i386"):
        there = detect().isa if extensions is None else extensions
        return "x86" if _DOT_PRODUCTS.isdisjoint(there) else "x86-vnni"
    return "arm" if name.startswith(("arm", "aarch")) else name


def chosen_forms(target: str, precision: str, processor: str) -> Mapping[str, str]:
    """What the table says; empty where it has no line.

    Layers of ``int8-mixed`` that do not stay in float are those of ``int8``.
    """
    precision = "int8" if precision == "int8-mixed" else precision
    forms: dict[str, str] = {}
    for choice in CHOICES:
        fits = not choice.isa or processor in choice.isa
        if fits and (choice.target, choice.precision) == (target, precision):
            forms.update(choice.forms)
    return forms


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
