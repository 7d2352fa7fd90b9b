"""Networks that are code of the user's own: ``package.module:callable``.

That may do anything: whatever it raises becomes one sentence. And the trial run that every network
from outside the zoo goes through, a library's and an exported program too.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from edgekit.core import reason, reason_with_layer, with_kind
from edgekit.core.reasons import PASSING
from edgekit.errors import ModelError
from edgekit.models.copying import own_copy
from edgekit.models.zeros import hiding_zeros

_named: set[str] = set()

GIVEN = "module:"
"""What the names of modules begin with that were given in Python, and have none of their own."""

_given: dict[str, nn.Module] = {}


class NoImageError(ModelError):
    """A network that does not take the image that stands for an example of its inputs."""

    @property
    def with_advice(self) -> ModelError:
        """The same for commands that take an example."""
        return ModelError(
            f"{self}; where it takes something else than one image, give an example of its inputs "
            f"with --example FILE.npz or --example package.module:callable"
        )


class NoScoresError(ModelError):
    """A network that takes an image and gives something other than scores of classes."""


def was_named(source: str) -> bool:
    """Whether `open_callable` has been asked for this: only then may a file name it."""
    return source in _named


def note_named(source: str) -> None:
    """Tells a process that the user has named this to the one that started it."""
    _named.add(source)


def is_given(source: str) -> bool:
    """Whether a name is that of a module that this process was given; no other can make it."""
    return source in _given


def note_given(source: str, module: nn.Module) -> None:
    """Lets a name stand for a module in this process; it stays as it is."""
    _given[source] = module
    note_named(source)


def open_callable(source: str) -> nn.Module:
    """Imports and calls what ``package.module:callable`` names.

    Args:
        source: as the user gave them, never out of a file. A module, or a function or class that
            gives one without arguments; found from the working folder too.

    Returns:
        A copy: it may be the one object that a module of the user's own holds.

    Raises:
        ModelError: it cannot be imported, raises, or gives something else.
    """
    note_named(source)
    if source in _given:
        return own_copy(_given[source])
    target = named_object(source)
    made = target if isinstance(target, nn.Module) else called(target, source, "a torch.nn.Module")
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"'{source}' gives a {type(made).__name__}: expected a torch.nn.Module, or a function "
            f"without arguments that returns one"
        )
    return own_copy(made)


def named_object(source: str) -> Any:
    """Imports what ``package.module:name`` names.

    Raises:
        ModelError: it cannot be imported, or raises.
    """
    name, _, attribute = source.partition(":")
    if not name or not attribute:
        raise ModelError(f"'{source}': expected package.module:callable, importable from here")
    folder = os.getcwd()
    if folder not in sys.path:  # console scripts, unlike 'python -m', do not search it
        sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(name), attribute)
    except ModuleNotFoundError as error:
        if source.startswith(GIVEN) and error.name == name:
            raise ModelError(
                f"'{source}' is a module that was given in Python, which has no other name: give "
                f"that module again"
            ) from error
        if error.name is not None and not f"{name}.".startswith(f"{error.name}."):
            raise ModelError(
                f"'{source}' imports '{error.name}', which is not installed: pip install "
                f"{error.name}"
            ) from error
        raise ModelError(
            f"'{source}': no module named '{error.name}': expected package.module:callable, "
            f"importable from here"
        ) from error
    except AttributeError as error:
        raise ModelError(f"'{source}': {reason(error)}") from error
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        raise ModelError(f"'{source}' raised {with_kind(error)}") from error


def called(target: Any, source: str, wanted: str) -> Any:
    """What a function without arguments gives.

    Args:
        wanted: what is expected of it, for messages.

    Raises:
        ModelError: it is none, or raises.
    """
    if not callable(target):
        raise ModelError(
            f"'{source}' is a {type(target).__name__}: expected {wanted}, or a function "
            f"without arguments that returns one"
        )
    needed = _arguments(target)
    if needed:
        raise ModelError(
            f"'{source}' needs arguments ({', '.join(needed)}): expected a function without "
            f"arguments; wrap it in one that gives them"
        )
    try:
        return target()
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        raise ModelError(f"'{source}' raised {with_kind(error)}") from error


def _arguments(target: Any) -> list[str]:
    """Names of the arguments that a callable cannot be called without."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):  # one written in C, which need not say
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in optional]


def try_forward(module: nn.Module, images: Tensor, source: str) -> Tensor:
    """Runs a copy of a network once, in its mode, and checks the form of its output.

    Lazy layers get their weights from the first input, the same ones every time: a network with
    some is run itself.

    Args:
        images: (N, 3, H, W).

    Returns:
        Class scores (N, classes).

    Raises:
        ModelError: it raises, or gives something other than one (N, classes) tensor of floats.
    """
    mode = " in training" if module.training else ""
    try:
        lazy = any(map(is_lazy, (*module.parameters(), *module.buffers())))
        trial = module if lazy else own_copy(module)
        with torch.set_grad_enabled(module.training), torch.random.fork_rng([], enabled=lazy):
            if lazy:
                torch.manual_seed(0)
            scores = trial(images)
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        size = tuple(images.shape)
        raise ModelError(
            f"'{source}' cannot take an input of shape {size}{mode}: {reason_with_layer(error)}"
        ) from error
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[0] != len(images):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise NoScoresError(
            f"'{source}' gives {found}{mode}: expected one tensor of class scores, shape "
            f"(N, classes)"
        )
    if not scores.is_floating_point():
        kind = str(scores.dtype).removeprefix("torch.")
        raise NoScoresError(f"'{source}' gives {kind} scores{mode}: expected floating point")
    return scores


def try_training(module: nn.Module, image: tuple[int, int, int], classes: int, source: str) -> None:
    """Runs a copy of a network once as training does; the network stays as it is.

    Args:
        image: channels, height and width.
        classes: scores that it gives in eval mode.

    Raises:
        ModelError: it cannot be copied, raises in training mode, gives other scores there, or
            scores that no parameter has a part in.
    """
    try:
        trial = copy.deepcopy(module).train()
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        raise ModelError(
            f"'{source}' cannot be copied, which training needs: {with_kind(error)}"
        ) from error
    # Two images, since a batch norm of single values takes no single one.
    with torch.random.fork_rng(devices=[]):
        scores = try_forward(trial, torch.zeros(2, *image), source)
    if scores.shape[1] != classes:
        raise ModelError(
            f"'{source}' gives {scores.shape[1]} scores in training and {classes} else: expected "
            f"the same"
        )
    if not scores.requires_grad:
        raise ModelError(
            f"'{source}' cannot be trained: no parameter that takes a gradient has a part in its "
            f"scores"
        )


def is_fresh(module: nn.Module, image: Tensor) -> bool:
    """Whether a network has batch norms and none has ever seen a batch.

    One without batch norms is fresh where weights that its scores pass are as they started, at
    zero.

    Args:
        image: that it can be run on, (1, 3, H, W).
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return bool(hiding_zeros(module, image))
    return all(
        m.running_mean is not None
        and not m.running_mean.any()
        and m.running_var is not None
        and bool((m.running_var == 1).all())
        for m in norms
    )
