"""Checkpoints: a state dict and its spec as plain data, read without running any code."""

from __future__ import annotations

import dataclasses
import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import (
    CLASSIFY,
    ModelSpec,
    Parameter,
    Preprocessing,
    class_count,
    from_json,
    to_json,
)
from edgekit.core.names import problem_of, shown
from edgekit.errors import CheckpointError, InputError, PassedOverWarning, UsageError
from edgekit.models import build, check, family_of
from edgekit.models.calls import check_call
from edgekit.models.foreign import COUNTER
from edgekit.models.size import without_values
from edgekit.models.tensor_files import (
    is_safetensors,
    load_plain,
    load_safetensors,
    save_plain,
)
from edgekit.models.wrapping import nested_hint, nested_states, prefix_hint

FORMAT = "edgekit.checkpoint/1"
FILE_NAME = "model.pt"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained network as it lies on disk.

    Attributes:
        model: the source of the network, as it was given when it was trained.
        spec: ``None`` for networks that are not of the zoo: ``model`` has to be built to hold the
            tensors.
        state: tensors by name, on the CPU.
        labels: class names by output index; none of networks of other tasks.
        preprocessing: how images become inputs; ``None`` where inputs are no images.
        data: what opens the inputs that it was trained on.
        results: figures of the training, such as ``top1`` and ``epochs``.
        scores: what its outputs are, of `edgekit.core.SCORES`, where somebody said so.
        task: what the outputs are for; key of the registry's task table.
        parameters: what the task has to know of this network besides, where that is not what its
            head says.
    """

    model: str
    spec: ModelSpec | None
    state: Mapping[str, Tensor]
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    data: str
    results: Mapping[str, float] = field(default_factory=dict)
    scores: str | None = None
    task: str = CLASSIFY
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint under its final name only when it is complete."""
    plain = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
    plain["state"] = {k: v.detach().cpu().contiguous() for k, v in checkpoint.state.items()}
    if checkpoint.task == CLASSIFY:  # whose checkpoints are as they always were
        del plain["task"]
    if not checkpoint.parameters:
        del plain["parameters"]
    save_plain(path, {"format": FORMAT, **{k: to_json(v) for k, v in plain.items()}})


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint or the checkpoint of a run folder.

    Raises:
        CheckpointError: the file is missing, damaged, no edgekit checkpoint, or would run code.
    """
    path = checkpoint_file(path)
    data = load_plain(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} is no edgekit checkpoint (no key format='{FORMAT}'): give one written by "
            f"'edgekit train', or a plain state dict as --weights FILE beside the network's name"
        )
    state = _tensors(path, data.get("state"))
    plain = {key: value for key, value in data.items() if key not in ("format", "state")}
    try:
        header = from_json(_Header, plain)
        _check_call(header)
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged or from another version: {error}") from error
    problem = None if header.spec is None else problem_of(header.spec.name)
    if header.spec is not None and problem is not None:
        raise CheckpointError(
            f"{path} was not loaded: its network is named '{shown(header.spec.name)}', which files "
            f"cannot be named after ({problem}); train it again, or have its author rename it"
        )
    classifies = header.task == CLASSIFY
    if (
        header.spec is not None
        and classifies
        and len(header.labels) != class_count(header.spec.classes)
    ):
        raise CheckpointError(
            f"{path} is damaged: it has {len(header.labels)} labels for {header.spec.classes} "
            f"classes, expected one for each"
        )
    values = {f.name: getattr(header, f.name) for f in dataclasses.fields(header)}
    return Checkpoint(state=state, **values)


def _check_call(header: _Header) -> None:
    """Refuses what a checkpoint says of inputs and outputs where that cannot be.

    Raises:
        ValueError: says why.
    """
    call = None if header.spec is None else header.spec.call
    if call is not None:
        check_call(call)
    # Without a spec, whatever makes the network says what its outputs are.
    known = header.spec is not None
    if known and (header.task == CLASSIFY) != (call is None or not call.outputs):
        raise ValueError(f"a network of the task '{shown(header.task)}' has other outputs")
    if header.task == CLASSIFY and header.preprocessing is None:
        raise ValueError(
            "_Header.preprocessing: expected an object, which says how images are prepared"
        )


def is_checkpoint(path: Path) -> bool:
    """Whether a file is an edgekit checkpoint, rather than a plain state dict.

    Raises:
        CheckpointError: it is neither.
    """
    path = checkpoint_file(path)
    if is_safetensors(path):
        return False
    data = load_plain(path)
    return isinstance(data, dict) and data.get("format") == FORMAT


def load_state(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint or of a plain state dict.

    Raises:
        CheckpointError: the file is missing, damaged, holds no tensors, or would run code.
    """
    path = checkpoint_file(path)
    data = load_safetensors(path) if is_safetensors(path) else load_plain(path)
    if isinstance(data, dict) and data.get("format") == FORMAT:
        data = data.get("state")
    return _tensors(path, data)


def checkpoint_file(path: Path) -> Path:
    """The checkpoint that a path means: the file itself, or ``model.pt`` of a run folder."""
    if path.is_dir():
        if (path / FILE_NAME).is_file():
            return path / FILE_NAME
        unfinished = (path / "state.pt").exists()
        raise CheckpointError(
            f"{path} holds an unfinished training: finish it with "
            f"'{shlex.join(['edgekit', 'train', '--resume', '-o', str(path)])}'"
            if unfinished
            else f"{path} is no run folder: expected {FILE_NAME} in it, as 'edgekit train' writes"
            f"{_instead(path)}"
        )
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: expected a checkpoint or a run folder")
    return path


def _instead(folder: Path) -> str:
    """What may have been meant by a folder that is no run, as the rest of a sentence."""
    from edgekit.models.source import FILE_SUFFIXES

    files = sorted(file for file in folder.iterdir() if file.is_file())
    exported = [file for file in files if registry.target_by_suffix(file.suffix) is not None]
    weights = [file for file in files if file.suffix in FILE_SUFFIXES]
    if exported:
        return f"; it holds exported files, and each is given by itself, such as {exported[0]}"
    if len(weights) == 1:
        return f"; it holds weights: give {weights[0]} with --weights beside the network's name"
    return ""


def load_into(
    model: nn.Module,
    state: Mapping[str, Tensor],
    origin: str,
    aliases: Mapping[str, str] | None = None,
) -> None:
    """Puts tensors into a module, all of them and nothing else.

    Counters of batches, which old files and converted ones lack and nothing reads, may be missing.

    Args:
        model: may live on the meta device; it takes the tensors over as they are.
        origin: where the tensors come from, for the message.
        aliases: what the tensors are called there, where it is not what the module calls them.

    Raises:
        CheckpointError: names the first tensor that does not fit, with both shapes.
    """
    expected = model.state_dict()
    counters = {n: torch.zeros((), dtype=torch.int64) for n in expected if n.endswith(COUNTER)}
    state = {**counters, **state}
    for name, tensor in expected.items():
        called = (aliases or {}).get(name, name)
        if name not in state:
            what = prefix_hint(state) or f"tensor '{called}' {_shape(tensor)} is missing"
            raise CheckpointError(f"{origin} does not fit the network: {what}")
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{origin} does not fit the network: tensor '{called}' is {_shape(state[name])} "
                f"in the file, expected {_shape(tensor)}"
            )
        # Nothing reads a counter of batches, so it may be of any type.
        counts = name.endswith(COUNTER) and not state[name].is_complex()
        if state[name].is_floating_point() != tensor.is_floating_point() and not counts:
            raise CheckpointError(
                f"{origin} does not fit the network: tensor '{called}' is {state[name].dtype} in "
                f"the file, expected {tensor.dtype}"
            )
    for name in state:
        if name not in expected:
            raise CheckpointError(
                f"{origin} does not fit the network: tensor '{name}' {_shape(state[name])} of the "
                f"file has no place in it"
            )
    values = {name: _cast(state[name], tensor.dtype) for name, tensor in expected.items()}
    model.load_state_dict(values, assign=True)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor of another type; a counter that was cast to half and overflowed begins anew."""
    if value.is_floating_point() and not dtype.is_floating_point:
        value = value.nan_to_num(0.0, 0.0, 0.0)
    return value.to(dtype)


def build_with(spec: ModelSpec, state: Mapping[str, Tensor], origin: str) -> nn.Module:
    """Builds the network of a spec around given tensors.

    The network is laid out on the meta device first, so a spec that claims absurd sizes fails on
    the comparison of shapes, before memory is taken.

    Raises:
        CheckpointError: spec and tensors do not belong together.
    """
    if not 0 < spec.norm_eps < 1:
        raise CheckpointError(
            f"{origin}: its spec has norm_eps {spec.norm_eps}: expected a number from 0 to 1"
        )
    try:
        check(spec, family_of(spec))
        with without_values():
            model = build(spec)
    except (InputError, UsageError) as error:
        raise CheckpointError(f"{origin}: {error}") from error
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise CheckpointError(f"{origin}: its spec cannot be built: {error}") from error
    load_into(model, state, origin)
    return model


@dataclass(frozen=True, slots=True)
class _Header:
    model: str
    spec: ModelSpec | None
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    data: str
    results: Mapping[str, float] = field(default_factory=dict)
    scores: str | None = None
    task: str = CLASSIFY
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


def _tensors(path: Path, data: Any) -> dict[str, Tensor]:
    if not isinstance(data, dict) or not data:
        raise CheckpointError(f"{path} holds no state dict: expected tensors by name")
    keys = nested_states(data)
    if len(keys) > 1:
        raise CheckpointError(f"{path} holds more than a state dict: {nested_hint(keys)}")
    if keys:
        others = [f"'{shown(str(key))}'" for key in data if key != keys[0]]
        beside = f", and nothing of {', '.join(others)}" if others else ""
        warnings.warn(
            f"{path}: its state dict was taken from under '{shown(str(keys[0]))}'{beside}",
            PassedOverWarning,
            stacklevel=2,
        )
        data = data[keys[0]]
    state: dict[str, Tensor] = {}
    for name, value in data.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} holds no state dict: entry '{name}' is a {type(value).__name__}, "
                f"expected a tensor"
            )
        state[name] = value
    return state


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(str(n) for n in tensor.shape) + ")"
