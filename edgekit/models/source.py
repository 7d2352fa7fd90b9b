"""MODEL as people write it.

A zoo name, a run folder, a checkpoint, an exported program (``.pt2``), ``timm:NAME``,
``torchvision:NAME``, or ``package.module:callable``; the latter three also with the file of their
weights behind ``=``.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import (
    CLASSIFY,
    Call,
    Draw,
    Interface,
    ModelSpec,
    Parameter,
    Preprocessing,
    Side,
    classifier,
    scores_fit,
)
from edgekit.core.names import shown
from edgekit.core.preprocessing import pair
from edgekit.errors import (
    CheckpointError,
    EdgekitError,
    ModelError,
    UnknownNameError,
    UsageError,
)
from edgekit.models import MAX_RESOLUTION, build, find_spec, pretrained, with_resolution
from edgekit.models.adapted import is_adapted, may_run
from edgekit.models.callables import (
    NoImageError,
    NoScoresError,
    is_fresh,
    open_callable,
    try_forward,
)
from edgekit.models.copying import own_copy
from edgekit.models.examples import as_tensors, open_example
from edgekit.models.fitting import fill
from edgekit.models.interface import (
    arguments,
    draws_in,
    draws_of,
    example_in,
    interface_of,
    leaves,
    noise_rows,
    on_rows,
    refilled,
    shaped,
)
from edgekit.models.libraries import LIBRARIES, open_library
from edgekit.models.program import SUFFIX, open_program
from edgekit.models.tensor_files import sha256
from edgekit.models.weights import (
    FILE_NAME,
    Checkpoint,
    build_with,
    checkpoint_file,
    is_checkpoint,
    load_checkpoint,
    load_into,
    load_state,
)

_CODE_WITH_FILE = re.compile(r"[\w.]+:[\w.-]+=.+", re.DOTALL)

_OWN_CODE = "which is code of your own: name it, too, as"

FILE_SUFFIXES = (".pt", ".pth", SUFFIX, ".safetensors")


@dataclass(frozen=True, slots=True)
class Model:
    """A network with what is known about it.

    Attributes:
        words: how it was named.
        name: short name for files, without folders.
        module: in eval mode, (N, C, H, W) -> (N, classes).
        resolution: side of the square input in pixels; the longer one where it is no square.
        classes: number of outputs.
        spec: ``None`` for networks that are not of the zoo, unless a search has adapted them.
        trained: whether weights were given, or a callable's network shows no sign of being new:
            batch norms that have seen no data, or layers that start at zero. One with neither
            counts as trained.
        labels: class names; ``None`` when unknown.
        preprocessing: ``None`` when unknown.
        data: image source of its training; ``None`` when unknown.
        parent_sha256: digest of the file the weights came from.
        code: what makes a network that is not of the zoo: ``timm:NAME``, ``torchvision:NAME`` or
            ``package.module:callable``.
        notes: in which other way than it was built it has to be run, to be a function of one
            image; ``None`` until `edgekit.models.purity.as_function` has looked.
        scores: what its outputs are, of `edgekit.core.SCORES`; ``None`` until somebody says so or
            they have been looked at.
        task: name of what its outputs are for, of the registry's task table.
        parameters: what the task has to know of this network besides; contracts keep it.
        signature: of networks that take or give anything else than an image and its scores; their
            ``module`` takes the tensors of it, one an argument, and ``classes`` is 0.
        example: inputs of one inference of those.
        draws: what noise for them is like; as the example is if empty.
        image: channels, height and width of the image of a classifier; ``None`` for a square of
            three channels.
        call: what its code takes and gives, as plain data; ``None`` where that is a square image
            and scores, or cannot be written down.
    """

    words: str
    name: str
    module: nn.Module
    resolution: int
    classes: int
    spec: ModelSpec | None = None
    trained: bool = False
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    data: str | None = None
    parent_sha256: str | None = None
    code: str | None = None
    notes: tuple[str, ...] | None = None
    scores: str | None = None
    task: str = "classify"
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    signature: Interface | None = None
    example: tuple[Tensor, ...] = ()
    draws: tuple[Draw, ...] = ()
    image: tuple[int, int, int] | None = None
    call: Call | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the image of a classifier."""
        return self.image or (3, self.resolution, self.resolution)

    @property
    def interface(self) -> Interface:
        """Inputs and outputs."""
        if self.signature is not None:
            return self.signature
        return classifier(*self.shape, self.classes)

    @property
    def on_rows(self) -> nn.Module:
        """The network as it takes samples: images, or rows of inputs; see `on_rows`."""
        if self.signature is None:
            return self.module
        return on_rows(self.module, self.signature, self.words)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Inputs of one inference, one an argument."""
        if self.signature is None:
            return (torch.zeros(1, *self.shape),)
        return self.example

    @property
    def row(self) -> Tensor:
        """One sample that it can be run on."""
        if self.signature is None:
            return torch.zeros(1, *self.shape)
        return torch.from_numpy(self.noise_rows(1))

    @property
    def noise(self) -> tuple[Draw, ...]:
        """What noise for each input is like."""
        return self.draws or draws_of(self.example)

    def told(self, column: int) -> str:
        """An output in messages, by its place in a row; scores have no other name."""
        return f"output {column}" if self.signature is None else self.signature.told(column)

    def noise_rows(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """Samples like its example, (count, n)."""
        return noise_rows(self.interface.inputs, self.noise, count, seed)

    @property
    def of_zoo(self) -> bool:
        """Whether edgekit's own code makes the network."""
        return self.spec is not None and not is_adapted(self.spec)


def open_model(
    words: str,
    *,
    weights: Path | None = None,
    resolution: Side | None = None,
    classes: int | None = None,
    example: Any = None,
    outputs: Sequence[str] = (),
    task: str | None = None,
) -> Model:
    """Finds, builds and fills a network.

    Args:
        words: MODEL as people write it.
        weights: checkpoint or state dict for a zoo name or callable.
        resolution: input side in pixels, instead of the network's own, or height and width.
        classes: outputs of a zoo network, instead of the published number; by default those of
            ``weights`` where they say so.
        example: inputs of one inference, where an image is none: words of
            `edgekit.models.examples.open_example`, or tensors, as of
            `edgekit.models.interface.arguments`.
        outputs: names of those to keep, of a network that gives anything but scores.
        task: name of what outputs are for; ``classify`` if ``None`` where the network gives scores
            of an image, else ``tensors``.

    Raises:
        UnknownNameError: neither a network nor a file; or no such task.
        CheckpointError: weights that cannot be used.
        ModelError: a callable that gives no usable network.
        UsageError: options that exclude each other, or sizes out of range.
    """
    asked = _asked(resolution, example, outputs, task)
    given, resolution = resolution, _longer(words, resolution)
    code, _, file = words.partition("=")
    if _CODE_WITH_FILE.fullmatch(words) and not is_path(words):
        if weights is not None:
            raise UsageError(f"'{words}' names its weights: leave out --weights")
        found = open_model(
            code, weights=Path(file), resolution=given, classes=classes, example=example,
            outputs=outputs, task=task,
        )  # fmt: skip
        return dataclasses.replace(found, words=words)
    if is_path(words):
        if weights is not None:
            raise UsageError(
                f"'{words}' has its own weights: give --weights with a network's name only"
            )
        if Path(words).suffix == SUFFIX:
            return _open_program(words, resolution, asked)
        return asked.of(_open_checkpoint(words, resolution))
    if words.partition(":")[0] in LIBRARIES:
        return _open_library(words, weights, resolution, classes, asked)
    if ":" in words:
        return _open_callable(words, weights, resolution, asked)
    return asked.of(_open_zoo(words, weights, resolution, classes))


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for besides a network.

    Attributes:
        example: inputs of one inference; an image if ``None``.
        task: name; whatever suits what the network gives if ``None``.
        size: height and width of the image, where it is no square.
    """

    example: Any = None
    outputs: tuple[str, ...] = ()
    task: str | None = None
    size: tuple[int, int] | None = None

    def images(self, side: int) -> Tensor:
        """What a network is tried on where there is no example.

        Args:
            side: of the image, where no size was asked for.
        """
        return torch.zeros(1, 3, *(self.size or (side, side)))

    @property
    def for_tensors(self) -> bool:
        """Whether the network is to be taken for one of any inputs and outputs."""
        no_image = self.example is not None and not is_image(self.example)
        return self.task not in (None, CLASSIFY) or no_image or bool(self.outputs)

    def of(self, model: Model) -> Model:
        """The network, as it was asked for.

        Raises:
            ModelError: it does not take the size.
            UsageError: an image that it does not take by itself, or one that is too small.
        """
        if self.size is not None and model.call is None:
            model = self._sized(model, self.size)
        if model.call is not None and (model.signature is not None or not self.for_tensors):
            return self.kept(model)
        if self.for_tensors:
            return self.tensors(model)
        if self.example is not None:
            given = arguments(self.example)
            ((_, image),) = leaves((*given.args, given.kwargs))
            if image.shape[1] != 3:
                raise UsageError(
                    f"--example: '{model.words}' takes images of three channels, and this has "
                    f"{image.shape[1]}"
                )
            return self._sized(model, (image.shape[2], image.shape[3]))
        return model

    def kept(self, model: Model) -> Model:
        """A network whose checkpoint knows its inputs and outputs.

        Raises:
            UsageError: others were asked for.
        """
        signature = model.interface
        names = tuple(spec.name for spec in signature.outputs)
        if self.task not in (None, model.task) or self.outputs not in ((), names):
            raise UsageError(
                f"'{model.words}' is of the task {model.task} and gives {', '.join(names)}, as its "
                f"checkpoint says: leave out --task and --outputs"
            )
        if self.example is None:
            return model
        given = arguments(self.example)
        tensors = [one for _, one in leaves((*given.args, given.kwargs))]
        forms = sorted((tuple(one.shape), one.dtype) for one in tensors if isinstance(one, Tensor))
        if forms != sorted((tuple(one.shape), one.dtype) for one in model.tensors):
            listed = " and ".join(f"'{spec.name}' {spec.shape}" for spec in signature.inputs)
            raise UsageError(
                f"--example: '{model.words}' takes {listed}, as its checkpoint says: leave the "
                f"option out"
            )
        return model

    def _sized(self, model: Model, size: tuple[int, int]) -> Model:
        """A network that takes squares, at another size."""
        height, width = size
        spec = model.spec
        if spec is not None:
            with_resolution(spec, min(size))  # for its least side
            spec = with_resolution(spec, max(size))
        facts = model.preprocessing
        model = dataclasses.replace(
            model,
            spec=spec,
            resolution=max(size),
            image=None if height == width else (3, height, width),
            preprocessing=None if facts is None else facts.at((height, width)),
        )
        try_forward(model.module, torch.zeros(1, *model.shape), model.words)
        return model

    def tensors(self, model: Model) -> Model:
        """The same network as a function of tensors.

        Raises:
            ModelError: it does not take the example, or gives no tensors.
            UsageError: its outputs have other names.
        """
        example = self.example
        if example is None:
            example = torch.zeros(1, *model.shape)
        found = shaped(model.module, example, model.words, self.outputs)
        call, spec = found.call, None
        if call is not None and model.spec is not None and is_adapted(model.spec):
            spec = dataclasses.replace(
                model.spec, classes=0, call=dataclasses.replace(call, classes=model.classes)
            )
        return dataclasses.replace(
            model,
            module=found.module,
            classes=0,
            labels=None,
            scores=None,
            spec=spec,
            task=self.task or TENSORS,
            signature=found.interface,
            example=found.tensors,
            image=None,
            preprocessing=model.preprocessing if self.example is None else None,
            call=found.call,
        )


TENSORS = "tensors"
"""Name of the task of networks of which nobody has said more."""


def _longer(words: str, resolution: Side | None) -> int | None:
    """The longer side of an image.

    Raises:
        UsageError: the shorter one is none.
    """
    if resolution is None or isinstance(resolution, int):
        return resolution
    check_resolution(words, min(resolution))
    return max(resolution)


def _asked(
    resolution: Side | None, example: Any, outputs: Sequence[str], task: str | None
) -> Asked:
    """Checks what was asked for.

    Raises:
        UsageError: it contradicts itself.
    """
    if task is not None:
        task, _ = registry.TASKS.find(task)
    if example is not None and resolution is not None:
        raise UsageError("--resolution: the sizes of inputs are those of --example; leave it out")
    found = open_example(example) if isinstance(example, str) else as_tensors(example)
    size = None if resolution is None else pair(resolution)
    square = size is None or size[0] == size[1]
    asked = Asked(found, tuple(outputs), task, None if square else size)
    if task == CLASSIFY and asked.for_tensors:
        option = "--outputs" if outputs else "--example"
        raise UsageError(
            f"{option} goes with --task {TENSORS}: a classifier takes one image, and gives scores"
        )
    return asked


def is_image(example: Any) -> bool:
    """Whether an example is one image of 1, 3 or 4 channels, and nothing else."""
    given = arguments(example)
    parts = [one for _, one in leaves((*given.args, given.kwargs))]
    return (
        len(parts) == 1
        and isinstance(parts[0], Tensor)
        and parts[0].dtype == torch.float32
        and parts[0].ndim == 4
        and parts[0].shape[0] == 1
        and parts[0].shape[1] in _CHANNELS
        and all(isinstance(one, Tensor) for one in (*given.args, *given.kwargs.values()))
    )


_CHANNELS = (1, 3, 4)


def channels_of(module: nn.Module) -> int:
    """Channels of the image that a network may take: those of its first convolution, else 3."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels if layer.in_channels in _CHANNELS else 3
    return 3


def _judged(model: Model, asked: Asked, images: Tensor) -> Model:
    """A network from outside the zoo with what it gives.

    Args:
        model: in which the number of classes is missing.
        images: that it is tried on, where no example was given.

    Raises:
        ModelError: it cannot take them, or gives something else than was asked for.
    """
    if asked.for_tensors:
        return asked.tensors(model)
    if asked.example is not None:
        given = arguments(asked.example)
        ((_, images),) = leaves((*given.args, given.kwargs))
    channels, height, width = (int(n) for n in images.shape[1:])
    square = channels == 3 and height == width
    side, image = max(height, width), None if square else (channels, height, width)
    facts = model.preprocessing
    if facts is not None and image is not None:
        facts = facts.at((height, width))
    model = dataclasses.replace(model, resolution=side, image=image, preprocessing=facts)
    if image is not None:
        model = dataclasses.replace(model, call=Call(model.interface.inputs))
    try:
        scores = try_forward(model.module, images, model.words)
    except NoScoresError:
        if asked.task == CLASSIFY:
            raise
        return asked.tensors(model)
    except ModelError as error:
        own = channels_of(model.module)
        if asked.example is None and own != channels:
            return _judged(model, asked, torch.zeros(1, own, height, width))
        raise NoImageError(str(error)) from error
    return dataclasses.replace(model, classes=scores.shape[1])


def from_module(
    module: nn.Module,
    name: str,
    *,
    weights: Path | None = None,
    example: Any = None,
    resolution: Side | None = None,
    outputs: Sequence[str] = (),
    task: str | None = None,
) -> Model:
    """A network that is there already.

    Args:
        module: it stays as it is, in whatever mode: a copy in eval mode is used.
        name: for files.
        weights: checkpoint or state dict in place of those that it has; what a checkpoint says of
            images and classes counts, too.
        example: inputs of one inference; see `edgekit.models.interface.arguments`.
        resolution: side of the image that it takes where there is no example, or height and width.
        outputs: see `open_model`.
        task: as well.

    Raises:
        ModelError: it gives nothing that can be used.
    """
    asked, longer = _asked(resolution, example, outputs, task), _longer(name, resolution)
    side = _side_of(weights) or 224 if longer is None else longer
    check_resolution(name, side)
    return _filled(Model(name, name, own_copy(module).eval(), side, 0), weights, asked)


def _filled(model: Model, weights: Path | None, asked: Asked) -> Model:
    """A network of the user's own code with the weights that were given, and what it gives.

    Args:
        model: in which the number of classes is missing.
    """
    if weights is not None:
        load_into(model.module, load_state(weights), str(weights))
        digest = sha256(checkpoint_file(weights))
        model = dataclasses.replace(model, trained=True, parent_sha256=digest)
    model = _judged(model, asked, asked.images(model.resolution))
    if weights is None:
        model = dataclasses.replace(model, trained=not is_fresh(model.on_rows, model.row))
    return _with_training(model, weights)


def is_path(words: str) -> bool:
    """Whether MODEL means a run folder or checkpoint rather than a name.

    Raises:
        UsageError: it could mean either.
    """
    if not words:  # Path("") would mean the working folder
        return False
    if _CODE_WITH_FILE.fullmatch(words) and not os.path.exists(words):  # noqa: PTH110 - see below
        return False
    path = Path(words)
    looks_like_path = os.sep in words or words in (".", "..") or path.suffix in FILE_SUFFIXES
    if looks_like_path:
        return True
    # Not of Path: its test raises where the words are too long for a name.
    if not os.path.exists(words) or (  # noqa: PTH110
        path.is_dir() and not (path / FILE_NAME).exists()
    ):
        return False
    try:
        registry.find_model(words)
    except EdgekitError:
        return True
    raise UsageError(f"'{words}' is a zoo network and a path here: write ./{words} for the path")


def _open_zoo(
    words: str, weights: Path | None, resolution: int | None, classes: int | None
) -> Model:
    try:
        registry.find_model(words)
    except UnknownNameError as error:
        if words and os.path.isdir(words):  # noqa: PTH112 - see `is_path`
            checkpoint_file(Path(words))  # says what a run folder would have
        raise error
    if weights is None:
        spec = find_spec(words, classes=classes, resolution=resolution)
        # The same fresh weights every time, so that what was exported can be verified later.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = build(spec).eval()
        return Model(words, spec.name, module, spec.resolution, spec.classes, spec)
    if is_checkpoint(weights):
        return _open_named_checkpoint(words, weights, resolution, classes)
    spec = find_spec(words, resolution=resolution)
    spec, module = fill(spec, load_state(weights), str(weights), classes)
    digest = sha256(checkpoint_file(weights))
    published = pretrained.known(digest)
    facts = None if published is None else published.preprocessing
    return Model(
        words,
        spec.name,
        module.eval(),
        spec.resolution,
        spec.classes,
        spec,
        trained=True,
        preprocessing=None if facts is None else facts.at(spec.resolution),
        parent_sha256=digest,
    )


def _open_named_checkpoint(
    words: str, weights: Path, resolution: int | None, classes: int | None
) -> Model:
    """A checkpoint beside the name of its network: all that it knows is kept.

    Raises:
        CheckpointError: it is of another network; says of which.
    """
    own = load_checkpoint(weights)
    columns = len(own.labels) if own.spec is None else own.spec.classes
    spec = find_spec(words, classes=classes or columns, resolution=resolution)
    name = own.model if own.spec is None else own.spec.name
    try:
        build_with(spec, own.state, str(weights))
    except CheckpointError as error:
        if own.spec is None or name != spec.name:
            raise CheckpointError(f"{error}; it is a checkpoint of {name}") from error
        if own.spec.classes == spec.classes:
            raise CheckpointError(
                f"{error}; it is of another {name} than this version of edgekit builds: give "
                f"{weights} itself as the network"
            ) from error
        raise
    if own.spec is not None and own.spec.padding != spec.padding:
        raise CheckpointError(
            f"{weights} does not fit {spec.name}: it is a checkpoint of {name}, which has the same "
            f"tensors and another padding; give that name"
        )
    opened = _open_checkpoint(str(weights), resolution)
    return dataclasses.replace(opened, words=words)


def _open_checkpoint(words: str, resolution: int | None) -> Model:
    path = checkpoint_file(Path(words))
    checkpoint = load_checkpoint(path)
    if checkpoint.spec is None:
        return _open_own(words, path, checkpoint, resolution)
    if is_adapted(checkpoint.spec) and not may_run(checkpoint.spec.source):
        named = checkpoint.spec.source
        raise CheckpointError(f"{path} is of '{named}', {_OWN_CODE} '{named}={path}'")
    module = build_with(checkpoint.spec, checkpoint.state, str(path)).eval()
    if checkpoint.spec.call is not None:
        return _open_called(words, path, checkpoint, checkpoint.spec.call, module, resolution)
    spec = with_resolution(checkpoint.spec, resolution)
    assert checkpoint.preprocessing is not None
    preprocessing = checkpoint.preprocessing.at(spec.resolution)
    if is_adapted(spec):
        side = spec.resolution
        try_forward(module, torch.zeros(1, 3, side, side), words)
    return Model(
        words,
        spec.name,
        module,
        spec.resolution,
        spec.classes,
        spec,
        trained=True,
        labels=checkpoint.labels,
        preprocessing=preprocessing,
        data=checkpoint.data,
        parent_sha256=sha256(path),
        code=spec.source if is_adapted(spec) else None,
        scores=_scores(checkpoint, spec.classes, path),
    )


def _open_called(
    words: str,
    path: Path,
    checkpoint: Checkpoint,
    call: Call,
    module: nn.Module,
    resolution: int | None,
) -> Model:
    """A checkpoint of a network that takes or gives anything else than a square image and scores.

    Raises:
        UsageError: another size was asked for.
    """
    spec = checkpoint.spec
    assert spec is not None
    if resolution is not None:
        raise UsageError(f"--resolution: {path} says the sizes of its inputs; leave it out")
    model = Model(
        words,
        spec.name,
        module,
        spec.resolution,
        spec.classes,
        spec,
        trained=True,
        preprocessing=checkpoint.preprocessing,
        data=checkpoint.data,
        parent_sha256=sha256(path),
        code=spec.source,
        task=checkpoint.task,
        call=call,
    )
    if not call.outputs:
        _, channels, height, width = call.inputs[0].shape
        try_forward(module, torch.zeros(1, channels, height, width), words)
        return dataclasses.replace(
            model,
            labels=checkpoint.labels,
            scores=_scores(checkpoint, spec.classes, path),
            image=(channels, height, width),
        )
    example = example_in(call)
    found = shaped(module, example, words).interface
    if [one.shape for one in found.outputs] != [one.shape for one in call.outputs]:
        raise CheckpointError(
            f"{path} does not fit '{spec.source}': its code gives other outputs than when the "
            f"checkpoint was written"
        )
    return dataclasses.replace(
        model, signature=interface_of(call), example=example, draws=draws_in(call)
    )


def _open_adapted(words: str, weights: Path | None, resolution: int | None) -> Model | None:
    """What a search has made of a network that was named; ``None`` for other weights.

    Raises:
        CheckpointError: it is of another network.
    """
    if weights is None or not is_checkpoint(weights):
        return None
    spec = load_checkpoint(weights).spec
    if spec is None or not is_adapted(spec):
        return None
    if spec.source != words:
        raise CheckpointError(
            f"{weights} does not fit '{words}': it is a checkpoint of '{spec.source}', adapted"
        )
    return dataclasses.replace(_open_checkpoint(str(weights), resolution), words=words)


def _open_own(words: str, path: Path, checkpoint: Checkpoint, resolution: int | None) -> Model:
    """A checkpoint of a network that is not of the zoo.

    A library's is built again by its name. A callable's is not: a checkpoint may come from
    anywhere, and what it names would be run.
    """
    named = checkpoint.model
    if ":" not in named:
        raise CheckpointError(
            f"{path} is damaged or from another version, as it has no spec, or '{shown(named)}' "
            f"was trained as a module in Python: give that module, or what makes it as "
            f"package.module:callable={path}"
        )
    if named.partition(":")[0] not in LIBRARIES:
        raise CheckpointError(f"{path} is of '{named}', {_OWN_CODE} '{named}={path}'")
    assert checkpoint.preprocessing is not None  # a training wrote it
    side = checkpoint.preprocessing.side if resolution is None else resolution
    opened = _open_library(named, path, side, len(checkpoint.labels))
    return dataclasses.replace(opened, words=words)


def _with_training(model: Model, weights: Path | None) -> Model:
    """What a checkpoint knows besides its tensors, for a network that was named."""
    if weights is None or not is_checkpoint(weights):
        return model
    checkpoint = load_checkpoint(weights)
    if model.task != CLASSIFY:
        return dataclasses.replace(model, data=checkpoint.data)
    return dataclasses.replace(
        model,
        labels=checkpoint.labels,
        preprocessing=checkpoint.preprocessing and checkpoint.preprocessing.at(model.shape[1:]),
        data=checkpoint.data,
        scores=_scores(checkpoint, model.classes, weights),
    )


def _scores(checkpoint: Checkpoint, columns: int, path: Path) -> str | None:
    """What a checkpoint says of its outputs.

    Raises:
        CheckpointError: so many cannot be that.
    """
    if checkpoint.scores is not None and not scores_fit(checkpoint.scores, columns):
        raise CheckpointError(
            f"{path} is damaged or from another version: it says that its outputs, of which there "
            f"are {columns}, are '{shown(checkpoint.scores)}'"
        )
    return checkpoint.scores


def _open_program(words: str, resolution: int | None, asked: Asked) -> Model:
    path = Path(words)
    module, side, example = open_program(
        path, asked.size or resolution, classify=asked.task == CLASSIFY
    )
    if example is not None:
        given = example if asked.example is None else refilled(example, asked.example)
        asked = dataclasses.replace(asked, example=given)
    model = Model(words, path.stem, module, side, 0, trained=True, parent_sha256=sha256(path))
    return _judged(model, asked, asked.images(side))


def _open_library(
    words: str,
    weights: Path | None,
    resolution: int | None,
    classes: int | None,
    asked: Asked = Asked(),
) -> Model:
    adapted = _open_adapted(words, weights, resolution)
    if adapted is not None:
        return asked.of(adapted)
    state = None if weights is None else load_state(weights)
    if classes is None and weights is not None and is_checkpoint(weights):
        classes = len(load_checkpoint(weights).labels)
    # The same fresh weights every time, as for zoo networks.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = open_library(words, classes)
    if state is not None:
        load_into(made.module, state, str(weights))
    side = resolution
    if side is None:
        side = _side_of(weights) or made.resolution
    check_resolution(words, side)
    module = made.module.eval()
    facts = made.preprocessing
    model = Model(
        words,
        words.partition(":")[2],
        module,
        side,
        0,
        trained=state is not None,
        preprocessing=None if facts is None or asked.example is not None else facts.at(side),
        parent_sha256=None if weights is None else sha256(checkpoint_file(weights)),
        code=words,
    )
    model = _judged(model, asked, asked.images(side))
    if model.signature is not None and model.call is not None:
        model = dataclasses.replace(
            model, call=dataclasses.replace(model.call, classes=classes or 0)
        )
    return _with_training(model, weights)


def check_resolution(words: str, resolution: int) -> None:
    """Refuses a side that no image has.

    Raises:
        UsageError: out of range.
    """
    if not 1 <= resolution <= MAX_RESOLUTION:
        raise UsageError(
            f"resolution {resolution} for {words}: expected 1 to {MAX_RESOLUTION} pixels"
        )


def _side_of(weights: Path | None) -> int | None:
    """Side of the images that a checkpoint is for; ``None`` where it does not say."""
    if weights is None or not is_checkpoint(weights):
        return None
    facts = load_checkpoint(weights).preprocessing
    return None if facts is None else max(facts.size)


def _open_callable(words: str, weights: Path | None, resolution: int | None, asked: Asked) -> Model:
    side = _side_of(weights) or 224 if resolution is None else resolution
    check_resolution(words, side)
    # The same fresh weights every time, as for zoo networks.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = open_callable(words).eval()
    adapted = _open_adapted(words, weights, resolution)
    if adapted is not None:
        return asked.of(adapted)
    name = words.rpartition(":")[2]
    return _filled(Model(words, name, module, side, 0, code=words), weights, asked)
