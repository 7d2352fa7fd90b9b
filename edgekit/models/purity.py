"""Networks as functions of one image.

A file holds one computation of one image. A network that writes into its input, draws random
numbers, remembers earlier runs, or lets images of a batch influence each other is none, and what
it gives says nothing of its file. Here it is run a few times on noise: on copies of its input or
one image at a time where that is enough, and refused with the layer and the line else.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.core import with_kind
from edgekit.core.reasons import PASSING
from edgekit.errors import ModelError
from edgekit.models.differences import Difference, first_difference
from edgekit.models.draws import Draws, drawn
from edgekit.models.precise import Precise
from edgekit.models.ways import copied, in_way
from edgekit.models.zeros import fill_zeros

if TYPE_CHECKING:
    from edgekit.models.model import Model

RUNS, MORE_RUNS, RUNS_OF_DRAWS = 2, 8, 32
"""Further runs on the same images: always, where something was found to differ, and where random
numbers are drawn, which may fall the same way a few times in turn."""

# Of scores: rounding in batches of other sizes stays a hundred times below it.
_OF_SPREAD, _OF_SIZE = 1e-4, 1e-6

_LAST_BIT, _NUDGES = 2.0**-23, 4  # of images; one nudge may round to the same scores by chance


@dataclass(frozen=True, slots=True)
class Pure:
    """A network that is a function of one image.

    Attributes:
        module: the network, or a copy of it that is run in another way.
        notes: in which other way, and why; one clause each.
    """

    module: nn.Module
    notes: tuple[str, ...] = ()


def as_function(model: Model) -> Model:
    """A network whose scores depend on nothing but the image that they are of.

    Networks of the zoo are of that kind, and are not run for it.

    Raises:
        ModelError: they do, and there is no way to run it so that they do not; says where.
    """
    if model.notes is not None or model.of_zoo:
        return model
    if model.signature is not None:
        return _as_steady(model)
    images = torch.randn(2, *model.shape, generator=torch.Generator().manual_seed(0))
    found = pure(model.module, images, model.source)
    return dataclasses.replace(model, module=found.module, notes=found.notes)


def _as_steady(model: Model) -> Model:
    """A network of any tensors: its inferences are run one by one, so that no batch mixes them."""
    found = pure(model.on_rows, torch.from_numpy(model.noise_rows(2)), model.source)
    module, call = model.module, model.call
    if found.notes:  # it changes its inputs
        module = on_copies(module, model.source)
        call = call and dataclasses.replace(call, copies=True)
    return dataclasses.replace(model, module=module, notes=found.notes, call=call)


def on_copies(module: nn.Module, source: str) -> nn.Module:
    """A copy of a network of any tensors that is given copies of them.

    Raises:
        ModelError: it cannot be copied.
    """
    return in_way(_AllOnCopies, module, source)


def pure(module: nn.Module, images: Tensor, source: str) -> Pure:
    """Makes sure that scores depend on nothing but the image that they are of.

    Args:
        module: in eval mode, as `edgekit.models.callables.try_forward` accepts it; it stays as it
            is: copies are run.
        images: two to run it on; rows of inputs, for what takes such.
        source: names the network in messages.

    Raises:
        ModelError: they do, and neither copies nor one image at a time help; says where.
    """
    notes: list[str] = []
    made, module = module, copied(module, source)
    with _generators_kept(), torch.no_grad():
        fill_zeros(module, images[:1])  # they would hide what the layers before them do
        before = drawn(module)
        if _changes(module, images, source):
            notes.append("it changes its input, so it is given copies")
            module, made = (in_way(_OnCopies, one, source) for one in (module, made))
        together = _scores(module, images, source)
        draws = drawn(module) != before
        _check_steady(module, images, together, source, RUNS_OF_DRAWS if draws else RUNS)
        if draws:
            _check_unused(module, images, together, source)
        alone = torch.cat([_scores(module, image, source) for image in torch.split(images, 1)])
        if not _same(together, alone):
            # A crop that is drawn from a few may have been the same so far.
            _check_steady(module, images, together, source, MORE_RUNS)
            if not _rounding(module, images, together, source):
                notes.append(_mixing(module, images, together, alone, source))
                made = in_way(_OneByOne, made, source)
    return Pure(made, tuple(notes))


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Random numbers are drawn as ever, but the generators are left as they were found."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def _check_steady(
    module: nn.Module, images: Tensor, before: Tensor, source: str, runs: int
) -> None:
    """Refuses other scores for the same images."""
    if all(_same(before, _scores(module, images, source)) for _ in range(runs)):
        return
    for _ in range(max(runs, MORE_RUNS)):
        difference = _first_difference(module, images, images, source)
        if difference is not None:
            why = "it draws random numbers"
            if not difference.drawn:
                why += ", or keeps some from one run to the next"
            raise ModelError(
                f"'{source}' gives other scores each time for the same images: {why}, in "
                f"{difference.location}; expected a network that computes the same each time in "
                f"eval mode"
            )


def _check_unused(module: nn.Module, images: Tensor, before: Tensor, source: str) -> None:
    """Refuses scores that depend on what is drawn, however rarely that shows."""
    draws = Draws(module)
    with draws:
        place = draws.place_of(_scores(module, images, source))
    if place is None and draws.taken is not None:
        for most in (False, True):
            with suppress(ModelError), Draws(module, most):  # such numbers may be refused
                if not _same(before, _scores(module, images, source)):
                    place = draws.taken
    if place is not None:
        raise ModelError(
            f"'{source}' gives scores that depend on random numbers, drawn in {place}; expected a "
            f"network that computes the same each time in eval mode"
        )


def _same_in_float64(module: nn.Module, images: Tensor) -> bool:
    """Whether scores are those of single images there; code of float32 alone does not tell."""
    try:
        precise = Precise(module)
        alone = torch.cat([precise.scores(image) for image in torch.split(images, 1)])
        return _same(precise.scores(images), alone)
    except PASSING:
        raise
    except BaseException:  # the user's code may raise anything
        return False


def _rounding(module: nn.Module, images: Tensor, before: Tensor, source: str) -> bool:
    """Whether it is by rounding alone that scores in batches of other sizes differ.

    Batches are computed in another order, which networks may make anything of; so they do of the
    last bits of images.
    """
    if _same_in_float64(module, images):
        return True
    generator = torch.Generator().manual_seed(0)
    for _ in range(_NUDGES):
        signs = torch.randint(2, images.shape, generator=generator) * 2 - 1
        if not _same(before, _scores(module, images * (1 + _LAST_BIT * signs), source)):
            return True
    return False


def _first_difference(
    module: nn.Module, first: Tensor, second: Tensor, source: str
) -> Difference | None:
    return first_difference(module, lambda images: _scores(module, images, source), first, second)


def _mixing(module: nn.Module, images: Tensor, together: Tensor, alone: Tensor, source: str) -> str:
    """Why images are given one at a time.

    Raises:
        ModelError: alone, they all get the same scores, or none.
    """
    difference = _first_difference(module, images, images[:1], source)
    where = "" if difference is None else f" ({difference.location})"
    told_apart = not torch.equal(together[0], together[1])
    if torch.isfinite(alone).all() and not (told_apart and torch.equal(alone[0], alone[1])):
        return (
            f"the scores of an image depend on the others of its batch{where}, so it is given one "
            f"at a time"
        )
    raise ModelError(
        f"'{source}' gives scores that depend on the other images of a batch{where}, and scores of "
        f"no use for an image alone: expected a network that takes images one by one, as a device "
        f"does"
    )


class _OnCopies(nn.Module):
    def forward(self, x: Tensor) -> Any:
        """What the network gives for a copy of its input."""
        return super().forward(x.clone())


class _AllOnCopies(nn.Module):
    def forward(self, *tensors: Tensor) -> Any:
        """What the network gives for copies of its inputs."""
        return super().forward(*(one.clone() for one in tensors))


class _OneByOne(nn.Module):
    def forward(self, x: Tensor) -> Any:
        """What the network gives for each image alone; in training, for all."""
        whole = super().forward
        if not isinstance(x, Tensor) or self.training or x.shape[0] == 1:
            return whole(x)  # a tracer's stand-in for an image is one
        return torch.cat([whole(image) for image in torch.split(x, 1)])


def _changes(module: nn.Module, images: Tensor, source: str) -> bool:
    """Whether a network writes into its input, by whatever name."""
    given = images.clone()
    version = given._version
    _scores(module, given, source)
    return given._version != version or not torch.equal(given, images)


def _scores(module: nn.Module, images: Tensor, source: str) -> Tensor:
    try:
        scores = module(images)
    except PASSING:
        raise
    except BaseException as error:  # the user's code may raise anything
        raise ModelError(
            f"'{source}' cannot take an input of shape {tuple(images.shape)}, which it took "
            f"before: {with_kind(error)}"
        ) from error
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(images):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"'{source}' gives {found} for {len(images)} images: expected class scores, shape "
            f"(N, classes), for any number of them"
        )
    return scores.detach().clone()  # a network may hand out the same memory each time


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether scores differ by no more than rounding; not finite ones are left to others."""
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    finite = torch.isfinite(a)
    if not torch.equal(finite, torch.isfinite(b)):
        return False
    a, b = a.where(finite, 0), b.where(finite, 0)
    spread = float((a - a.mean(0)).abs().max())
    return float((a - b).abs().max()) <= _OF_SPREAD * spread + _OF_SIZE * float(a.abs().max())
