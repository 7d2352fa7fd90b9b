"""The network that a training starts from: its spec as trained, and its first weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import CLASSIFY, ImageSource, ModelSpec, Preprocessing, class_count
from edgekit.data.truths import check_told
from edgekit.errors import CheckpointError, ModelError, UsageError
from edgekit.models import build
from edgekit.models.blocks import DropPath
from edgekit.models.callables import try_forward, try_training
from edgekit.models.composed import PREFIX, fill_backbone, head_of
from edgekit.models.copying import own_copy
from edgekit.models.fitting import fill, init_from
from edgekit.models.foreign import COUNTER
from edgekit.models.model import Model
from edgekit.models.purity import pure
from edgekit.models.taking import Network, model_of
from edgekit.models.weights import load_into, load_state
from edgekit.tasks import task_of
from edgekit.training.options import TrainingOptions
from edgekit.training.run_folder import Plan

SCORES = "scores."
"""Of the names of those tensors of a network without a backbone that depend on the classes."""

OWN_STRIDE = 32
"""Resolutions that are chosen for networks that are not of the zoo are a multiple of it, pixels."""


def with_regularization(spec: ModelSpec, options: TrainingOptions) -> ModelSpec:
    """The spec with the dropout and stochastic depth that the options give."""
    return dataclasses.replace(
        spec,
        drop_path=spec.drop_path if options.drop_path is None else options.drop_path,
        dropout=spec.dropout if options.dropout is None else options.dropout,
    )


def with_epsilon(spec: ModelSpec, options: TrainingOptions) -> ModelSpec:
    """The spec with the batch-norm epsilon that the weights of ``init`` were trained with.

    Raises:
        CheckpointError: they cannot be read, or do not fit.
    """
    if options.init is None:
        return spec
    filled, _ = fill(spec, load_state(Path(options.init)), options.init)
    return dataclasses.replace(spec, norm_eps=filled.norm_eps)


def open_own(network: Network, options: TrainingOptions, source: ImageSource) -> Model:
    """Opens a network that is not of the zoo.

    Args:
        network: ``timm:NAME``, ``torchvision:NAME``, ``package.module:callable`` or
            ``BACKBONE+HEAD``; or one that is there already.
        source: what it learns from.

    Raises:
        ModelError: it cannot be built or run, or gives another number of scores.
        DataError: the source does not say what the task needs to know.
        UsageError: dropout or stochastic depth, which only specs of the zoo have.
        UnavailableError: a library that is not installed.
    """
    told = network if isinstance(network, str) else "the module"
    for option, value in (("drop-path", options.drop_path), ("dropout", options.dropout)):
        if value is not None:
            raise UsageError(
                f"--{option} {value:g}: '{told}' is not of the zoo, and has what it was built "
                f"with; leave the option out"
            )
    classes, resolution = len(source.classes), options.resolution
    if isinstance(network, Model):
        model = network
    elif isinstance(network, str) and registry.is_composed(network):
        truth = registry.task(head_of(network).task).truth
        check_told(source, truth, f"'{network}'")
        model = model_of(network, resolution=resolution, classes=len(truth.classes(source)))
    else:
        model = model_of(network, resolution=resolution, classes=classes, task=CLASSIFY)
    if model.task != CLASSIFY:
        return _of_task(model, source)
    if class_count(model.classes) != classes:
        one = f"one score, which tells two classes apart, and the data have {classes}: expected"
        several = f"{model.classes} scores and the data have {classes} classes: expected"
        raise ModelError(
            f"'{model.source}' gives {one if model.classes == 1 else several} a score for each"
        )
    return model


def _of_task(model: Model, source: ImageSource) -> Model:
    """A network that is trained by the loss of its task, with the classes of the source.

    Raises:
        DataError: the source does not say what the task needs to know.
        ModelError: networks of the task have nothing to learn from a source.
    """
    task = task_of(model)
    if task.truth is None:
        raise ModelError(
            f"'{model.source}' is of the task {model.task}, whose networks have nothing to learn "
            f"from images: expected a classifier, or BACKBONE+HEAD; see 'edgekit list heads'"
        )
    check_told(source, task.truth, f"the task {model.task}")
    return dataclasses.replace(model, labels=task.labels_for(source))


def own_preprocessing(model: Model, preprocessing: Preprocessing) -> Preprocessing:
    """The source's preprocessing, normalized as the library's own weights want it."""
    if model.preprocessing is None:
        return preprocessing
    if model.task != CLASSIFY:  # it says what becomes of boxes and masks, too
        return model.preprocessing.at(preprocessing.crop)
    own = model.preprocessing
    return dataclasses.replace(preprocessing, mean=own.mean, std=own.std)


def initial(
    plan: Plan, own: nn.Module | None, note: Callable[[str], None]
) -> tuple[nn.Module, frozenset[str]]:
    """Builds the network with its first weights, from ``init`` or from the seed.

    Args:
        own: the network where it is not of the zoo, with the weights that it came with.
        note: is told when a layer keeps fresh weights.

    Returns:
        The network, and names of the tensors of one for another task than classes that are those
        of ``init``.

    Raises:
        CheckpointError: weights that cannot be read, or do not fit but for the class scores.
        ModelError: a network that is not of the zoo and cannot take images of this size, or
            cannot be trained.
        UsageError: stochastic depth or dropout for a network that has no place for it.
    """
    init = plan.options.init
    torch.manual_seed(torch_seed(plan.options.seed))
    if plan.task != CLASSIFY:
        assert own is not None
        network = own_copy(own)  # it may be somebody's
    elif plan.spec is None:
        assert own is not None
        scores = try_forward(own, torch.zeros(1, *plan.image), plan.model)
        try_training(own, plan.image, scores.shape[1], plan.model)
        images = torch.randn(2, *plan.image, generator=torch.Generator().manual_seed(0))
        found = pure(own, images, plan.model)
        network = found.module
        for text in found.notes:
            note(f"{plan.model}: {text}")
    else:
        network = build(plan.spec)
        _check_regularization(network, plan)
    if init is None:
        return network, frozenset()
    state = load_state(Path(init))
    if plan.task != CLASSIFY:
        return network, _init_composed(network, plan.model, state, init, note)
    if plan.spec is None:
        same = _init_own(network, state, init)
    else:
        same = init_from(network, plan.spec, state, init)
    if not same:
        note(
            f"{init} is of other classes than the data: the layer of the class scores starts "
            f"anew, all others with its weights"
        )
    return network, frozenset()


def _init_own(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> bool:
    """`init_from` where names have to be equal and the layer of the scores is the last one."""
    own = network.state_dict()
    layers = [k for k, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    scores = {k: v for k, v in own.items() if layers and k.rpartition(".")[0] == layers[-1]}
    other = {
        name: tensor
        for name, tensor in scores.items()
        if name in state
        and state[name].shape != tensor.shape
        and state[name].shape[1:] == tensor.shape[1:]
    }
    load_into(network, {**state, **other}, origin)
    return not other


def _init_composed(
    network: nn.Module,
    name: str,
    state: Mapping[str, Tensor],
    origin: str,
    note: Callable[[str], None],
) -> frozenset[str]:
    """Weights of a network with the same backbone, or those of a classifier for it.

    Of a network with a head all tensors of the same name and shape are taken.

    Returns:
        Their names.

    Raises:
        CheckpointError: the backbones differ.
    """
    own = network.state_dict()
    taken = {key: value for key, value in state.items()
             if key in own and own[key].shape == value.shape}  # fmt: skip
    alone = registry.stands_alone(name)
    if alone or any(key.startswith(PREFIX) for key in state):
        for key in own:
            needed = not key.startswith(SCORES) if alone else key.startswith(PREFIX)
            if needed and key not in taken and not key.endswith(COUNTER):
                raise CheckpointError(
                    f"{origin} does not fit {name}: {'it' if alone else 'its backbone'} has no "
                    f"tensor '{key}' of shape {tuple(own[key].shape)}; expected weights of the "
                    f"same {'network' if alone else 'backbone'}"
                )
        network.load_state_dict(taken, strict=False)
        fresh = [key for key in own if key not in taken and not key.endswith(COUNTER)]
        if fresh:
            note(f"{origin} is of another head or other classes: {len(fresh)} tensors of the head "
                 f"start anew, '{fresh[0]}' first, all others with its weights")  # fmt: skip
        return frozenset(taken)
    left = fill_backbone(network, name, state, origin)
    note(
        f"{origin} fills the backbone; the head starts anew"
        + (f", and {len(left)} tensors of {origin} have no place" if left else "")
    )
    return frozenset()


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
