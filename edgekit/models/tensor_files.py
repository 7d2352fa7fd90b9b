"""Files of tensors, read within bounds and without running any code."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from edgekit.core.reading import check_file, open_file
from edgekit.errors import CheckpointError
from edgekit.models.pickles import LARGEST_PICKLE, check_legacy, check_pickle
from edgekit.staging import replace_file


def save_plain(path: Path, data: Mapping[str, Any]) -> None:
    """Saves plain data and tensors: never half a file.

    Raises:
        OutputError: it cannot be written.
    """
    replace_file(path, lambda file: torch.save(dict(data), file))


def load_plain(path: Path) -> Any:
    """Reads plain data and tensors; anything that would run code is refused.

    Raises:
        CheckpointError: with what is wrong with the file.
    """
    try:
        _check_container(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
        _check_volume(path, content)
        return content
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        needs = f"import '{match.group(1)}'" if match else "run code"
        raise CheckpointError(
            f"{path} was not loaded: unpickling it would {needs}. Expected only tensors and "
            f"plain data; have its author save the state dict alone"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (RuntimeError, EOFError, ValueError, LookupError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: it is no complete PyTorch file") from error


_PICKLE = b"\x80"  # the first opcode of every pickle since protocol 2


def _check_container(path: Path) -> None:
    """Tells apart by their first bytes what torch.load would fail on in a dozen ways."""
    with open_file(path) as file:
        head = file.read(4)
        check_content(path, file)
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
    elif not head.startswith(_PICKLE):
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint: expected a file written by torch.save"
        )


def check_content(path: Path, file: BinaryIO) -> None:
    """Refuses what would take far more memory or time than it has bytes, as PyTorch reads it.

    Args:
        path: for messages.
        file: a file of torch.save, or a part of one; left at its beginning.

    Raises:
        CheckpointError: its pickle is too long or makes too much, or it has too many parts.
    """
    file.seek(0)
    head = file.read(2)
    file.seek(0)
    try:
        if head == b"PK":
            _check_directory(file)
        elif head[:1] == _PICKLE:
            check_legacy(file)
    except ValueError as error:
        raise CheckpointError(f"{path} was not loaded: {error}; {_TENSORS_ALONE}") from error
    file.seek(0)


_TENSORS_ALONE = "expected tensors and plain data of a state dict"

# Of the list of an archive's parts: 80 thousand of them. Python takes six times as much to read it.
_LARGEST_DIRECTORY = 8 << 20

# The records that end an archive: what they begin with, their bytes, and where in them the bytes
# of the list stand (PKWARE's APPNOTE, 4.3.14 to 4.3.16).
_END, _END_SIZE, _LIST_SIZE = b"PK\5\6", 22, slice(12, 16)
_END_64, _LIST_SIZE_64 = b"PK\6\6", slice(40, 48)


def _check_directory(file: BinaryIO) -> None:
    """Refuses an archive whose list of parts takes much memory by itself.

    Raises:
        ValueError: it is too long.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 200))  # behind the records is a comment of 64 KiB at most
    tail = file.read()
    lists = [0]
    for begin, sizes in ((_END, _LIST_SIZE), (_END_64, _LIST_SIZE_64)):
        at = tail.find(begin)
        while at >= 0:  # any of them may be taken for the last
            length = int.from_bytes(tail[at:][sizes], "little")
            lists += [length] if length < size else []
            at = tail.find(begin, at + 1)
    if max(lists) > _LARGEST_DIRECTORY:
        raise ValueError(f"it has a list of parts of {max(lists):,} bytes")


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
        CheckpointError: a part is packed, parts overlap, or a pickle makes too much.
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
    for part in parts:
        # PyTorch finds a part whatever the case of its name.
        if any(n.lower().endswith(".pkl") for n in (part.filename, part.orig_filename)):
            try:
                with archive.open(part) as file:
                    check_pickle(file.read(LARGEST_PICKLE + 1))
            except ValueError as error:
                raise CheckpointError(
                    f"{path} was not loaded: {error}; {_TENSORS_ALONE}"
                ) from error


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
        with open_file(path) as file:
            header = int.from_bytes(file.read(8), "little")
        if LARGEST_PICKLE < header < size:
            raise CheckpointError(
                f"{path} was not loaded: its header has {header:,} bytes: expected at most "
                f"{LARGEST_PICKLE:,}, which is enough for 40,000 tensors"
            )
        return load_file(path)
    except SafetensorError as error:
        what = "empty (0 bytes)" if size == 0 else f"cut short or damaged after {size:,} bytes"
        raise CheckpointError(
            f"{path} is {what}: expected a complete safetensors file ({error}); copy it again"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
