"""The network that a training starts from: its spec as trained, and its first weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekit.core import ModelSpec
from edgekit.errors import UsageError
from edgekit.models import build
from edgekit.models.blocks import DropPath
from edgekit.models.fitting import init_from
from edgekit.models.weights import load_state
from edgekit.training.options import TrainingOptions
from edgekit.training.run_folder import Plan


def with_regularization(spec: ModelSpec, options: TrainingOptions) -> ModelSpec:
    """The spec with the dropout and stochastic depth that the options give."""
    return dataclasses.replace(
        spec,
        drop_path=spec.drop_path if options.drop_path is None else options.drop_path,
        dropout=spec.dropout if options.dropout is None else options.dropout,
    )


def initial(plan: Plan, note: Callable[[str], None]) -> nn.Module:
    """Builds the network with its first weights, from ``init`` or from the seed.

    Args:
        note: is told when a layer keeps fresh weights.

    Raises:
        CheckpointError: weights that cannot be read, or do not fit but for the class scores.
        UsageError: stochastic depth or dropout for a network that has no place for it.
    """
    options = plan.options
    torch.manual_seed(torch_seed(options.seed))
    network = build(plan.spec)
    _check_regularization(network, plan)
    if options.init is not None:
        state = load_state(Path(options.init))
        if not init_from(network, plan.spec, state, options.init):
            note(
                f"{options.init} is of other classes than the data: the layer of the class scores "
                f"starts anew, all others with its weights"
            )
    return network


def _check_regularization(network: nn.Module, plan: Plan) -> None:
    places = (
        ("drop-path", plan.options.drop_path, DropPath),
        ("dropout", plan.options.dropout, nn.Dropout),
    )
    for option, value, kind in places:
        if value and not any(isinstance(module, kind) for module in network.modules()):
            raise UsageError(
                f"--{option} {value:g}: {plan.model} has no layer that it would act on; leave the "
                f"option out"
            )


def torch_seed(*parts: int) -> int:
    """A seed for torch's generators that depends on all parts."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
