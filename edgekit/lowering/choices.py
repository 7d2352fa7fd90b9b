"""Which of several equal forms to write, where nobody measures: what the target says.

The fastest form depends on the runtime, the precision and the processor. Each `Choice` of a target
says what it rests on; `docs/quantize.md` has the measurements.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping

from edgekit.core import Quantizing
from edgekit.devices.host import detect
from edgekit.errors import UsageError

_DOT_PRODUCTS = {"avx_vnni", "avx512_vnni"}


def isa(machine: str | None = None, extensions: Collection[str] | None = None) -> str:
    """The family of a processor's instruction set: of `edgekit.core.PROCESSORS`, or its own name.

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


def chosen_forms(target: Quantizing, precision: str, processor: str) -> Mapping[str, str]:
    """What the target takes where nobody measures; empty where it has no such choice.

    Layers of ``int8-mixed`` that do not stay in float are those of ``int8``.
    """
    precision = "int8" if precision == "int8-mixed" else precision
    forms: dict[str, str] = {}
    for choice in target.choices:
        if choice.precision == precision and (not choice.isa or processor in choice.isa):
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
