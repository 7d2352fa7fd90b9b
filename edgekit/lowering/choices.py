"""Which of several equal forms to write, where nobody measures: what the target says.

The fastest form depends on the runtime, the precision and the processor. Each `Choice` of a target
says what it rests on; `docs/quantize.md` has the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.core import Quantizing
from edgekit.errors import UsageError


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
