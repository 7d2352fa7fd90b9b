"""Networks that are code of the user's own: ``package.module:callable``.

That may do anything: whatever it raises becomes one sentence. And the trial run that every network
from outside the zoo goes through, a library's and an exported program too.
"""

from __future__ import annotations

import importlib
import os
import sys

import torch
from torch import Tensor, nn

from edgekit.errors import ModelError


def open_callable(words: str) -> nn.Module:
    """Imports and calls what ``package.module:callable`` names.

    Args:
        words: a module, or a function or class that gives one without arguments; found from the
            working folder too.

    Raises:
        ModelError: it cannot be imported, raises, or gives something else.
    """
    name, _, attribute = words.partition(":")
    if not name or not attribute:
        raise ModelError(f"'{words}': expected package.module:callable, importable from here")
    folder = os.getcwd()
    if folder not in sys.path:  # console scripts, unlike 'python -m', do not search it
        sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(name), attribute)
        made = found if isinstance(found, nn.Module) else found()
    except ModuleNotFoundError as error:
        raise ModelError(
            f"'{words}': no module named '{error.name}': expected package.module:callable, "
            f"importable from here"
        ) from error
    except AttributeError as error:
        raise ModelError(f"'{words}': {error}") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ModelError(f"'{words}' raised {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"'{words}' gives a {type(made).__name__}: expected a torch.nn.Module, or a function "
            f"without arguments that returns one"
        )
    return made


def try_forward(module: nn.Module, images: Tensor, words: str) -> Tensor:
    """Runs a network once and checks the form of its output.

    Args:
        images: (N, 3, H, W).

    Returns:
        Class scores (N, classes).

    Raises:
        ModelError: it raises, or gives something other than one (N, classes) tensor.
    """
    try:
        with torch.no_grad():
            scores = module(images)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        size = tuple(images.shape)
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"'{words}' cannot take an input of shape {size}: {reason}") from error
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[0] != len(images):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"'{words}' gives {found}: expected one tensor of class scores, shape (N, classes)"
        )
    return scores


def is_fresh(module: nn.Module) -> bool:
    """Whether a network has batch norms and none has ever seen a batch."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return bool(norms) and all(
        m.running_mean is not None
        and not m.running_mean.any()
        and m.running_var is not None
        and bool((m.running_var == 1).all())
        for m in norms
    )
