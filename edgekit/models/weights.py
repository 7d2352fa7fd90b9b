"""Checkpoints: a state dict and its spec as plain data, read without running any code."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec, Preprocessing, class_count, from_json, to_json
from edgekit.core.names import problem_of, shown
from edgekit.core.reading import check_file, open_file
from edgekit.errors import CheckpointError, InputError, UsageError
from edgekit.models import build, check, family_of
from edgekit.models.foreign import COUNTER
from edgekit.models.size import without_values
from edgekit.models.wrapping import nested_hint, prefix_hint
from edgekit.staging import replace_file

FORMAT = "edgekit.checkpoint/1"
FILE_NAME = "model.pt"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A trained network as it lies on disk.

    Attributes:
        model: the words that named the network when it was trained.
        spec: ``None`` for networks that are not of the zoo: ``model`` has to be built to hold the
            tensors.
        state: tensors by name, on the CPU.
        labels: class names by output index.
        data: the words that open the image source it was trained on.
        results: figures of the training, such as ``top1`` and ``epochs``.
    """

    model: str
    spec: ModelSpec | None
    state: Mapping[str, Tensor]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    data: str
    results: Mapping[str, float] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint under its final name only when it is complete."""
    plain = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
    plain["state"] = {k: v.detach().cpu().contiguous() for k, v in checkpoint.state.items()}
    save_plain(path, {"format": FORMAT, **{k: to_json(v) for k, v in plain.items()}})


def save_plain(path: Path, data: Mapping[str, Any]) -> None:
    """Saves plain data and tensors: never half a file.

    Raises:
        OutputError: it cannot be written.
    """
    replace_file(path, lambda file: torch.save(dict(data), file))


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
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged or from another version: {error}") from error
    problem = None if header.spec is None else problem_of(header.spec.name)
    if header.spec is not None and problem is not None:
        raise CheckpointError(
            f"{path} was not loaded: its network is named '{shown(header.spec.name)}', which files "
            f"cannot be named after ({problem}); train it again, or have its author rename it"
        )
    if header.spec is not None and len(header.labels) != class_count(header.spec.classes):
        raise CheckpointError(
            f"{path} is damaged: it has {len(header.labels)} labels for {header.spec.classes} "
            f"classes, expected one for each"
        )
    values = {f.name: getattr(header, f.name) for f in dataclasses.fields(header)}
    return Checkpoint(state=state, **values)


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


def is_safetensors(path: Path) -> bool:
    """Whether a file is of the safetensors format, by its ending or its first bytes."""
    if path.suffix == ".safetensors":
        return True
    try:
        with open_file(path) as file:
            head = file.read(9)
    except OSError:
        return False
    # The length of the header in 8 bytes, then the header, which is a JSON object.
    return head[8:] == b"{"


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a safetensors file.

    Raises:
        CheckpointError: the file is missing, empty, cut short or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        size = check_file(path)
        return load_file(path)
    except SafetensorError as error:
        what = "empty (0 bytes)" if size == 0 else f"cut short or damaged after {size:,} bytes"
        raise CheckpointError(
            f"{path} is {what}: expected a complete safetensors file ({error}); copy it again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def checkpoint_file(path: Path) -> Path:
    """The checkpoint that a path means: the file itself, or ``model.pt`` of a run folder."""
    if path.is_dir():
        if (path / FILE_NAME).is_file():
            return path / FILE_NAME
        unfinished = (path / "state.pt").exists()
        raise CheckpointError(
            f"{path} holds an unfinished training: finish it with 'edgekit train ... --resume'"
            if unfinished
            else f"{path} is no run folder: expected {FILE_NAME} in it, as 'edgekit train' writes"
        )
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: expected a checkpoint or a run folder")
    return path


def load_plain(path: Path) -> Any:
    """Reads plain data and tensors; anything that would run code is refused.

    Raises:
        CheckpointError: with what is wrong with the file.
    """
    try:
        _check_container(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
        _check_volume(path, found)
        return found
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        needs = f"import '{found.group(1)}'" if found else "run code"
        raise CheckpointError(
            f"{path} was not loaded: unpickling it would {needs}. Expected only tensors and "
            f"plain data; have its author save the state dict alone"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: it is no complete PyTorch file") from error


def _check_container(path: Path) -> None:
    """Tells apart by their first bytes what torch.load would fail on in a dozen ways."""
    with open_file(path) as file:
        head = file.read(4)
    size = path.stat().st_size
    if not head:
        raise CheckpointError(f"{path} is empty (0 bytes): expected a PyTorch checkpoint")
    if head.startswith(b"PK"):
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path} is cut short after {size:,} bytes: copy it again, or train again"
            )
        refuse_torchscript(path)
        _check_sums(path)
    elif not head.startswith(b"\x80"):  # the first opcode of every pickle since protocol 2
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint: expected a file written by torch.save"
        )


def refuse_torchscript(path: Path) -> None:
    """Names an archive of ``torch.jit.save``, whose code would have to be run to read it.

    Args:
        path: of a ZIP archive.

    Raises:
        CheckpointError: it is one; with how to take the weights out of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError):  # said by those who look at all of it
        return
    if any(name.partition("/")[2].startswith("code/") for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript archive (of torch.jit.save): expected tensors alone, or a "
            f"program of torch.export.save; take the weights out of it where you trust it, "
            f"with torch.save(torch.jit.load('{path.name}').state_dict(), 'weights.pth'), and "
            f"give them beside the network's code: package.module:callable --weights weights.pth"
        )


def _check_sums(path: Path) -> None:
    """Compares every part of an archive with its checksum, which torch.load does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_parts(path, archive)
            altered = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise CheckpointError(f"{path} is damaged: {error}; copy it again") from error
    if altered is not None:
        raise CheckpointError(
            f"{path} is damaged: the checksum of its part '{altered}' differs; copy it again"
        )


def check_parts(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuses parts that take more memory than the archive has bytes.

    PyTorch packs nothing, so that it can map tensors into memory.

    Raises:
        CheckpointError: a part is packed, or parts overlap.
    """
    parts = archive.infolist()
    packed = next((part for part in parts if part.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise CheckpointError(
            f"{path} was not loaded: its part '{packed.filename}' is compressed, and would take "
            f"{packed.file_size:,} bytes; save it again with torch.save"
        )
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise CheckpointError(
            f"{path} is damaged: its parts are longer than the file; copy it again"
        )


# Tensors may share their numbers, as tied weights do; these are few.
_SHARED, _SHARED_BYTES = 4, 64 << 20


def _check_volume(path: Path, data: Any) -> None:
    """Refuses tensors that stand for far more numbers than the file holds, as with a stride of 0.

    Raises:
        CheckpointError: names the largest.
    """
    volume = [(name, t.numel() * t.element_size()) for name, t in _tensors_in(data)]
    if sum(size for _, size in volume) > _SHARED * path.stat().st_size + _SHARED_BYTES:
        name, size = max(volume, key=lambda found: found[1])
        raise CheckpointError(
            f"{path} was not loaded: its tensor '{name}' stands for {size:,} bytes, and the file "
            f"has {path.stat().st_size:,}; save contiguous tensors"
        )


def _tensors_in(data: Any) -> Iterator[tuple[str, Tensor]]:
    """All tensors at any depth, by the last name on the way to them; each container once."""
    stack, seen = [("", data)], set()
    while stack:
        name, item = stack.pop()
        if isinstance(item, Tensor):
            yield name, item
        if not isinstance(item, (Mapping, list, tuple)) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Mapping):
            stack.extend((str(key), value) for key, value in item.items())
        else:
            stack.extend((name, value) for value in item)


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


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class _Header:
    model: str
    spec: ModelSpec | None
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    data: str
    results: Mapping[str, float] = field(default_factory=dict)


def _tensors(path: Path, data: Any) -> dict[str, Tensor]:
    if not isinstance(data, dict) or not data:
        raise CheckpointError(f"{path} holds no state dict: expected tensors by name")
    hint = nested_hint(data)
    if hint is not None:
        raise CheckpointError(f"{path} holds more than a state dict: {hint}")
    for name, value in data.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} holds no state dict: entry '{name}' is a {type(value).__name__}, "
                f"expected a tensor"
            )
    return data


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(str(n) for n in tensor.shape) + ")"
