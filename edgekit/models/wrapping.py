"""State dicts inside something else, as training scripts leave them: what it is, and the way out.

The only state dict of a file is taken. Of several, the trained and the averaged weights for
example, only the owner knows which is meant, and has to save that alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from edgekit.core.names import shown

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


def nested_states(data: Mapping[Any, Any]) -> list[Any]:
    """Keys of the values of a file that are state dicts themselves."""
    return [key for key, value in data.items() if _is_state(value)]


def nested_hint(keys: Iterable[Any]) -> str:
    """What to do about several state dicts of a file, by their keys."""
    first, *others = map(shown, map(str, keys))
    return (
        f"its state dict lies under '{first}' (and others under {', '.join(map(repr, others))}): "
        f"save that alone, as torch.save(checkpoint['{first}'], 'weights.pth')"
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )
