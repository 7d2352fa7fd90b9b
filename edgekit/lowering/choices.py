"""Forms that are asked for by name.

What a target takes where nobody asks and nobody measures, `edgekit.core.forms.chosen_forms` tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.errors import UsageError


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
