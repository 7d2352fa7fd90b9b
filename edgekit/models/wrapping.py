"""State dicts inside something else, as training scripts leave them: what it is, and the way out.

Nothing is unwrapped by itself: a file often holds several state dicts, and which of them is meant,
the trained or the averaged weights, only its owner knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

# What PyTorch itself puts before all names, and what most training scripts do.
PREFIXES = {
    "module.": "DataParallel",
    "_orig_mod.": "torch.compile",
    "model.": "a network inside another module",
}


def prefix_hint(names: Iterable[str]) -> str | None:
    """What to do about a prefix of all names of a state dict; ``None`` where there is none."""
    names = list(names)
    for prefix, writer in PREFIXES.items():
        if names and all(name.startswith(prefix) for name in names):
            return (
                f"all its names begin with '{prefix}', as those of {writer} do: save it without, "
                f"as torch.save({{k.removeprefix('{prefix}'): v for k, v in state.items()}}, ...)"
            )
    return None


def nested_hint(data: Mapping[Any, Any]) -> str | None:
    """What to do about the state dicts among the values of a file; ``None``: none there."""
    keys = [str(key) for key, value in data.items() if _is_state(value)]
    if not keys:
        return None
    others = f" (and others under {', '.join(map(repr, keys[1:]))})" if keys[1:] else ""
    return (
        f"its state dict lies under '{keys[0]}'{others}: save that alone, as "
        f"torch.save(checkpoint['{keys[0]}'], 'weights.pth')"
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )
