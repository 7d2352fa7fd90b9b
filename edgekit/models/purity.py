"""Networks as functions of one image.

A file holds one computation of one image. A network that writes into its input, draws random
numbers, remembers earlier runs, or lets images of a batch influence each other is none, and what
it gives says nothing of its file. Here it is run a few times on noise: on copies of its input or
one image at a time where that is enough, and refused with the layer and the line else.
"""

from __future__ import annotations

import dataclasses
import linecache
import random
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgekit.core import with_kind
from edgekit.errors import ModelError
from edgekit.models.copying import own_copy
from edgekit.models.zeros import fill_zero_layers, zero_layers

if TYPE_CHECKING:
    from edgekit.models.source import Model

RUNS, MORE_RUNS, RUNS_OF_DRAWS = 2, 8, 32
"""Further runs on the same images: always, where something was found to differ, and where random
numbers are drawn, which may fall the same way a few times in turn."""

# Of scores: rounding in batches of other sizes stays a hundred times below it.
_OF_SPREAD, _OF_SIZE = 1e-4, 1e-6

# Of what an operator gives, against its largest number; growing rounding makes no such jump.
_DIFFERENT, _JUMP, _ROUNDING = 1e-3, 30.0, 1e-6


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
    found = pure(model.module, model.resolution, model.words)
    return dataclasses.replace(model, module=found.module, notes=found.notes)


def pure(module: nn.Module, side: int, words: str) -> Pure:
    """Makes sure that scores depend on nothing but the image that they are of.

    Args:
        module: in eval mode, as `edgekit.models.callables.try_forward` accepts it; it stays as it
            is: copies are run.
        side: of its images, pixels.
        words: names the network in messages.

    Raises:
        ModelError: they do, and neither copies nor one image at a time help; says where.
    """
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    notes: list[str] = []
    made, module = module, _copied(module, words)
    if zero_layers(module):  # they would hide what the layers before them do
        fill_zero_layers(module)
    with _generators_kept(), torch.no_grad():
        before = _drawn()
        if _changes(module, images, words):
            notes.append("it changes its input, so it is given copies")
            module, made = (_as(_OnCopies, one, words) for one in (module, made))
        together = _scores(module, images, words)
        draws = _drawn() != before
        _check_steady(module, images, together, words, RUNS_OF_DRAWS if draws else RUNS)
        alone = torch.cat([_scores(module, image, words) for image in torch.split(images, 1)])
        if not _same(together, alone):
            # A crop that is drawn from a few may have been the same so far.
            _check_steady(module, images, together, words, MORE_RUNS)
            notes.append(_mixing(module, images, together, alone, words))
            made = _as(_OneByOne, made, words)
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


def _drawn() -> bytes:
    """How far the generators are; other bytes where numbers were drawn from one of them."""
    of_numpy = np.random.get_state(legacy=False)
    state = (random.getstate(), of_numpy["state"]["key"].tobytes(), of_numpy["state"]["pos"])
    return repr(state).encode() + torch.random.get_rng_state().numpy().tobytes()


def _check_steady(module: nn.Module, images: Tensor, before: Tensor, words: str, runs: int) -> None:
    """Refuses other scores for the same images."""
    if all(_same(before, _scores(module, images, words)) for _ in range(runs)):
        return
    for _ in range(max(runs, MORE_RUNS)):
        place = _first_difference(module, images, images, words)
        if place is not None:
            why = "it draws random numbers"
            if not place.drawn:
                why += ", or keeps some from one run to the next"
            raise ModelError(
                f"'{words}' gives other scores each time for the same images: {why}, in "
                f"{place.words}; expected a network that computes the same each time in eval mode"
            )


def _mixing(module: nn.Module, images: Tensor, together: Tensor, alone: Tensor, words: str) -> str:
    """Why images are given one at a time.

    Raises:
        ModelError: alone, they all get the same scores, or none.
    """
    place = _first_difference(module, images, images[:1], words)
    where = "" if place is None else f" ({place.words})"
    told_apart = not torch.equal(together[0], together[1])
    if torch.isfinite(alone).all() and not (told_apart and torch.equal(alone[0], alone[1])):
        return (
            f"the scores of an image depend on the others of its batch{where}, so it is given one "
            f"at a time"
        )
    raise ModelError(
        f"'{words}' gives scores that depend on the other images of a batch{where}, and scores of "
        f"no use for an image alone: expected a network that takes images one by one, as a device "
        f"does"
    )


class _OnCopies(nn.Module):
    def forward(self, x: Tensor) -> Any:
        """What the network gives for a copy of its input."""
        return super().forward(x.clone())


class _OneByOne(nn.Module):
    def forward(self, x: Tensor) -> Any:
        """What the network gives for each image alone; in training, for all."""
        whole = super().forward
        if not isinstance(x, Tensor) or self.training or x.shape[0] == 1:
            return whole(x)  # a tracer's stand-in for an image is one
        return torch.cat([whole(image) for image in torch.split(x, 1)])


def _as(way: type[nn.Module], module: nn.Module, words: str) -> nn.Module:
    """A copy of a network that is run in another way.

    Its class is derived rather than its object wrapped: layers keep their paths, which people
    name them by.
    """
    copied = _copied(module, words)
    if isinstance(copied, torch.fx.GraphModule | torch.jit.ScriptModule):
        copied = nn.Sequential(OrderedDict(network=copied)).train(copied.training)
    kind = type(copied)
    copied.__class__ = type(kind.__name__, (way, kind), {"__module__": kind.__module__})
    return copied


def _copied(module: nn.Module, words: str) -> nn.Module:
    try:
        return own_copy(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ModelError(f"'{words}' cannot be copied: {with_kind(error)}") from error


def _changes(module: nn.Module, images: Tensor, words: str) -> bool:
    """Whether a network writes into its input, by whatever name."""
    given = images.clone()
    version = given._version
    _scores(module, given, words)
    return given._version != version or not torch.equal(given, images)


def _scores(module: nn.Module, images: Tensor, words: str) -> Tensor:
    try:
        scores = module(images)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ModelError(
            f"'{words}' cannot take an input of shape {tuple(images.shape)}, which it took before: "
            f"{with_kind(error)}"
        ) from error
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(images):
        found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ModelError(
            f"'{words}' gives {found} for {len(images)} images: expected class scores, shape "
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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where two runs begin to differ.

    Attributes:
        words: the layer, the file, the line and what it says.
        drawn: whether random numbers are drawn there.
    """

    words: str
    drawn: bool


def _first_difference(
    module: nn.Module, first: Tensor, second: Tensor, words: str
) -> _Place | None:
    """Where runs on a batch and on the same or fewer images of it part; ``None``: at rounding."""
    recorder = _Recorder()
    with recorder:
        _scores(module, first.clone(), words)
    comparer = _Comparer(recorder.calls, module, alike=len(first) == len(second))
    with comparer:
        _scores(module, second.clone(), words)
    return comparer.place


Call = tuple[str, str, tuple[Tensor, ...]]
"""Of an operator: its name, its arguments that are no tensors, and what it gave."""


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or PyTorch imports all of its compiler, to keep that from compiling this

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        self.calls.append(_call(func, args, kwargs or {}, found))
        return found


class _Comparer(TorchDispatchMode):
    """Holds a run against a recorded one.

    Args:
        alike: whether both are on the same images, so that arguments have to be equal, too.

    Attributes:
        place: where they part.
    """

    def __init__(self, calls: Sequence[Call], module: nn.Module, *, alike: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.place: _Place | None = None
        self._calls: Iterator[Call] | None = iter(calls)
        self._paths = {id(layer): path for path, layer in module.named_modules()}
        self._alike, self._most = alike, _ROUNDING

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # see `_Recorder`

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        found = func(*args, **(kwargs or {}))
        drawn = torch.Tag.nondeterministic_seeded in func.tags
        call = _call(func, args, kwargs or {}, found)
        if self._calls is not None and self._parts(call, drawn):
            # What draws explains more than a memory that was passed on the way to it.
            if self.place is None or drawn:
                self.place = _Place(_where(sys._getframe(1), self._paths), drawn)
            if drawn or not self._alike:
                self._calls = None
        return found

    def _parts(self, call: Call, drawn: bool) -> bool:
        assert self._calls is not None
        name, arguments, outputs = call
        before = next(self._calls, None)
        if before is None or before[0] != name or (self._alike and before[1] != arguments):
            self._calls = None  # from here on, nothing can be compared
            return self._alike
        parts = False
        for old, new in zip(before[2], outputs, strict=False):
            if not (drawn or new.is_floating_point()):
                continue  # counters
            difference = _difference(_part_of(old, new), new)
            parts |= difference > max(_DIFFERENT, _JUMP * self._most)
            self._most = max(self._most, min(difference, _DIFFERENT))
        return parts


def _call(func: Any, args: Any, kwargs: Any, found: Any) -> Call:
    name = str(func)
    plain = [arg for arg in (*args, *kwargs.values()) if not isinstance(arg, Tensor | list | tuple)]
    lists = [arg for arg in args if isinstance(arg, list | tuple)]
    plain += [one for some in lists for one in some if not isinstance(one, Tensor)]
    if "empty" in name:  # whatever was there before
        return name, repr(plain), ()
    outputs = found if isinstance(found, list | tuple) else [found]
    return name, repr(plain), tuple(one.clone() for one in outputs if isinstance(one, Tensor))


def _part_of(batch: Tensor, alone: Tensor) -> Tensor | None:
    """The first image's part of a tensor of two, by its shape; ``None`` where that does not say."""
    if batch.shape == alone.shape:
        return batch
    if batch.ndim != alone.ndim:
        return None
    axes = [i for i in range(batch.ndim) if batch.shape[i] != alone.shape[i]]
    if len(axes) != 1 or batch.shape[axes[0]] != 2 * alone.shape[axes[0]]:
        return None
    return batch.narrow(axes[0], 0, alone.shape[axes[0]])


def _difference(a: Tensor | None, b: Tensor) -> float:
    """The largest difference over the largest number; 0 where nothing can be said."""
    if a is None or not b.numel() or b.is_complex() or b.is_quantized:
        return 0.0
    a, b = a.double().nan_to_num(), b.double().nan_to_num()
    size = float(torch.maximum(a.abs().max(), b.abs().max()))
    return float((a - b).abs().max()) / size if size > 0 else 0.0


_NOT_THEIRS = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))


def _where(frame: FrameType | None, paths: dict[int, str]) -> str:
    """The innermost layer that runs, and the innermost line that is of the network's own code."""
    layer, line = "", ""
    while frame is not None and not (layer and line):
        owner, file = frame.f_locals.get("self"), frame.f_code.co_filename
        if not layer and isinstance(owner, nn.Module) and id(owner) in paths:
            path, kind = paths[id(owner)], type(owner).__name__
            layer = f"layer '{path}' ({kind})" if path else f"the network itself ({kind})"
        if not line and not file.startswith((*_NOT_THEIRS, "<")):
            said = linecache.getline(file, frame.f_lineno).strip()
            line = f"{_short(file)}, line {frame.f_lineno}" + (f" ({said})" if said else "")
        frame = frame.f_back
    return ", ".join(filter(None, (layer, line)))


def _short(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
