"""Networks written by ``torch.export.save`` (``.pt2``), without running code of theirs.

PyTorch's own reader unpickles some parts of such a file, evaluates the expressions of its shapes
and executes its guards. Here the archive is looked through first, and what goes beyond tensors and
a graph of PyTorch's operators is refused.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_unflatten

from edgekit.core import Side, reason
from edgekit.core.reading import check_file, open_file, parse_json
from edgekit.errors import CheckpointError, ModelError
from edgekit.models.arguments import Arguments
from edgekit.models.tensor_files import check_content, check_parts, refuse_torchscript

SUFFIX = ".pt2"

# Folders and files of an archive that hold data, behind the archive's own name.
_DATA = re.compile(
    r"[^/]+/(data/(weights|constants|sample_inputs)/|models/|\.data/|extra/|archive_|byteorder)"
)
_OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.\w+\.\w+|_operator\.\w+|torch\.sym_\w+")
# What shapes are made of: symbols, numbers, and the functions that sizes are computed with.
_EXPRESSION = re.compile(
    r"(\b(Symbol|Integer|Rational|Add|Mul|Pow|Min|Max|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|"
    r"positive|nonnegative|integer|zero|True|False)\b|'[su]\d+'|\b[su]\d+\b|[-+*/(),= \d])*"
)
_LARGEST_GRAPH_BYTES = 64 << 20
"""Of all parts of JSON; those of networks of thousands of layers take 20 MiB."""


class Program(nn.Module):
    """An exported program as a network.

    Args:
        program: what `torch.export.ExportedProgram.module` gives. (Not called a graph: a traced
            module has an attribute of that name already.)
        batch: the only batch size that it takes; ``None`` for any.
    """

    def __init__(self, program: nn.Module, batch: int | None) -> None:
        super().__init__()
        self.program = program
        self.batch = batch
        self.training = False

    def forward(self, x: Tensor) -> Tensor:
        """Whatever the program gives for images (N, 3, H, W)."""
        if self.batch is None or x.shape[0] == self.batch:
            scores: Tensor = self.program(x)
            return scores
        return torch.cat([self.program(part) for part in torch.split(x, self.batch)])

    def train(self, mode: bool = True) -> Program:
        """Does nothing: a program is in the mode that it was exported in."""
        return self


class AnyProgram(nn.Module):
    """An exported program of any inputs and outputs."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program
        self.training = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Whatever the program gives."""
        return self.program(*args, **kwargs)

    def train(self, mode: bool = True) -> AnyProgram:
        """Does nothing; see `Program.train`."""
        return self


def open_program(
    path: Path, resolution: Side | None, *, classify: bool = False
) -> tuple[nn.Module, int, Arguments | None]:
    """Reads an exported program.

    Args:
        resolution: wanted side of the image in pixels, or its height and width; the program's own
            by default, and 224 where it takes any.
        classify: whether nothing but an image will do.

    Returns:
        The network, the longer side of its image, and an example of its inputs where they are
        anything else than one image of three channels.

    Raises:
        CheckpointError: the file is missing, damaged, or holds more than tensors and operators.
        ModelError: its input is no image where that was wanted, or not of that size, or its batch
            is not 1; or it was exported in training mode.
    """
    _check_archive(path)
    logged = _Withheld()
    try:
        with _tensors_only(path), logged:
            program = torch.export.load(path)
    except Exception as error:  # the reader raises everything there is on damaged files
        cause = logged.error or error
        raise CheckpointError(
            f"{path} cannot be read as an exported program ({reason(cause)}): export it again with "
            f"torch.export.save and this PyTorch, {torch.__version__}"
        ) from error
    _check_mode(path, program)
    nodes = _inputs(program)
    shapes = [getattr(node.meta.get("val"), "shape", None) for node in nodes]
    first = shapes[0] if len(shapes) == 1 else None
    image = first is not None and len(first) == 4 and isinstance(first[1], int) and first[1] == 3
    module = program.module(check_guards=False)
    if image or classify:
        try:
            batch, side = _input(path, program, resolution)
        except ModelError:
            if classify or resolution is not None:
                raise
        else:
            return Program(module, batch), side, None
    if resolution is not None:
        raise ModelError(f"{path} takes its own inputs, of fixed sizes: leave out --resolution")
    return AnyProgram(module), 224, _example(path, program)


def _inputs(program: torch.export.ExportedProgram) -> list[Any]:
    """Placeholders of what the user gives, in order."""
    users = set(program.graph_signature.user_inputs)
    return [n for n in program.graph.nodes if n.op == "placeholder" and n.name in users]


def _kept_inputs(program: torch.export.ExportedProgram) -> list[Any]:
    """What a program was exported with, as far as its file has that."""
    try:
        found = program.example_inputs
    except (AttributeError, RuntimeError):
        return []
    return [] if found is None else tree_leaves(found)


def _example(path: Path, program: torch.export.ExportedProgram) -> Arguments:
    """Those that a program was exported with, or zeros; sizes that are open are the least ones."""
    tensors: list[Tensor] = []
    kept = _kept_inputs(program)
    for node in _inputs(program):
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            raise ModelError(
                f"{path} takes '{node.name}', which is no tensor: export a network of tensors alone"
            )
        sizes = [max(1, _bounds(program, size)[0]) for size in value.shape]
        zeros = torch.zeros(sizes, dtype=value.dtype)
        own = kept[len(tensors)] if len(tensors) < len(kept) else zeros
        alike = isinstance(own, Tensor) and (own.shape, own.dtype) == (zeros.shape, zeros.dtype)
        if not alike and not zeros.is_floating_point():
            raise ModelError(
                f"{path} takes {str(zeros.dtype).removeprefix('torch.')} as '{node.name}', and "
                f"does not tell which numbers there may be: give some with --example"
            )
        tensors.append(own if alike else zeros)
    args, kwargs = tree_unflatten(tensors, program.call_spec.in_spec)
    plain = all(isinstance(one, Tensor) for one in args)
    names = [str(node.name) for node in _inputs(program)[: len(args)]]
    return Arguments(tuple(args), kwargs, tuple(names) if plain else ())


def _check_mode(path: Path, program: torch.export.ExportedProgram) -> None:
    """Refuses operators that do in training what they do not else, which is written into them."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        names = (argument.name for argument in schema.arguments)
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        if given.get("training") is not True and given.get("train") is not True:
            continue
        # Norms without running statistics take those of the batch in every mode.
        if node.target._overloadname == "no_stats" or given.get("running_mean", ...) is None:
            continue
        operator = schema.name.removeprefix("aten::")
        raise ModelError(
            f"{path} was exported in training mode ('{operator}' in it says so): call .eval() on "
            f"the network, and export it again"
        )


def _input(
    path: Path, program: torch.export.ExportedProgram, resolution: Side | None
) -> tuple[int | None, int]:
    """Batch size, where it is fixed, and longer side of the image."""
    nodes = _inputs(program)
    shapes = [getattr(node.meta.get("val"), "shape", None) for node in nodes]
    if len(shapes) != 1 or shapes[0] is None or len(shapes[0]) != 4:
        found = " and ".join(str(tuple(s)) if s is not None else "no tensor" for s in shapes)
        raise ModelError(f"{path} takes {found or 'nothing'}: expected one input (N, 3, H, W)")
    kind = str(nodes[0].meta["val"].dtype).removeprefix("torch.")
    if kind != "float32":
        raise ModelError(f"{path} takes {kind} input: expected float32; export it with that")
    batch, channels, height, width = shapes[0]
    if not (isinstance(channels, int) and channels == 3):
        raise ModelError(f"{path} takes {channels} channels: expected images (N, 3, H, W)")
    if isinstance(batch, int) and batch != 1:
        raise ModelError(
            f"{path} takes batches of {batch} only: export it with batch 1 or a dynamic batch, "
            f"since files for devices have batch 1"
        )
    side = _side(path, _bounds(program, height), _bounds(program, width), resolution)
    if isinstance(batch, int):
        return batch, side
    low, high = _bounds(program, batch)
    if low > 1:
        raise ModelError(
            f"{path} takes batches from {low} to {high}: export it with batch 1 or a dynamic "
            f"batch that includes 1"
        )
    return None if high is None or high >= 256 else 1, side


def _side(
    path: Path,
    height: tuple[int, int | None],
    width: tuple[int, int | None],
    resolution: Side | None,
) -> int:
    """The longer side of the image that is wanted.

    Raises:
        ModelError: the program does not take it.
    """
    if isinstance(resolution, tuple):
        for wanted, (low, high), what in zip(
            resolution, (height, width), ("height", "width"), strict=True
        ):
            if wanted < low or (high is not None and wanted > high):
                raise ModelError(
                    f"{path} takes images whose {what} is {_range(low, high)} px, not {wanted}: "
                    f"leave out --resolution, or export it anew"
                )
        return max(resolution)
    least, most = _sides(path, height, width)
    side = resolution
    if side is None:
        side = max(least, 224 if most is None else min(224, most))
    if side < least or (most is not None and side > most):
        fixed = f"{least} x {least} px only" if least == most else f"{least} to {most} px"
        raise ModelError(
            f"{path} takes {fixed}, not {side}: leave out --resolution, or export it anew"
        )
    return side


def _sides(
    path: Path, height: tuple[int, int | None], width: tuple[int, int | None]
) -> tuple[int, int | None]:
    """Least and largest side of a square image."""
    least = max(height[0], width[0])
    most = min((high for _, high in (height, width) if high is not None), default=None)
    if most is not None and least > most:
        raise ModelError(
            f"{path} takes no square images: its height is {_range(*height)} and its width "
            f"{_range(*width)} px"
        )
    return least, most


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f"at least {low}"
    return str(low) if low == high else f"from {low} to {high}"


def _bounds(program: torch.export.ExportedProgram, size: Any) -> tuple[int, int | None]:
    """Least and largest value of an axis; ``None`` where it has no upper bound."""
    if isinstance(size, int):
        return size, size
    bounds = program.range_constraints.get(size.node.expr)
    if bounds is None:
        return 1, None
    low, high = int(bounds.lower), bounds.upper
    # An axis without a stated bound has infinity, or something near the largest integer.
    unbounded = not high.is_Integer or int(high) >= 1 << 31
    # 0 and 1 are special to the tracer, which states 2 where nothing was said.
    return (1 if low == 2 else max(1, low)), None if unbounded else int(high)


@contextmanager
def _tensors_only(path: Path) -> Iterator[None]:
    """Makes every ``torch.load`` of the block refuse what would run code, or make too much."""
    load = torch.load

    def refusing(*arguments: Any, **options: Any) -> Any:
        file: Any = options.get("f", arguments[0] if arguments else None)
        if not isinstance(file, str | Path):  # a part in memory, as all that the reader loads
            check_content(path, file)
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    check_parts(path, archive)
            file.seek(0)
        return load(*arguments, **{**options, "weights_only": True})

    torch.load = refusing
    try:
        yield
    finally:
        torch.load = load


class _Withheld(logging.Filter):
    """Keeps the reader's log of the block from the terminal.

    It logs the traceback of what was wrong, and then raises an error that sends to that log.

    Attributes:
        error: what was logged first, if anything was.
    """

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.error is None and record.exc_info:
            self.error = record.exc_info[1]
        return False

    def __enter__(self) -> _Withheld:
        logging.getLogger("torch.export").addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("torch.export").removeFilter(self)


def _check_archive(path: Path) -> None:
    """Refuses what is no archive of tensors and a graph.

    Raises:
        CheckpointError: names the part that is too much.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: expected an exported program")
    try:
        size = check_file(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes): expected an exported program")
    try:
        with open_file(path) as file:
            if file.read(2) == b"PK":
                check_content(path, file)
        if zipfile.is_zipfile(path):
            refuse_torchscript(path)
        with zipfile.ZipFile(path) as archive:
            check_parts(path, archive)
            # The end of a part that is an archive itself looks like the end of this one.
            if min((info.header_offset for info in archive.infolist()), default=1) > 0:
                raise zipfile.BadZipFile("it does not begin where the file does")
            if (altered := archive.testzip()) is not None:
                raise CheckpointError(
                    f"{path} is damaged: the checksum of its part '{altered}' differs; copy it "
                    f"again"
                )
            left = _LARGEST_GRAPH_BYTES
            for info in archive.infolist():
                if not _DATA.match(info.filename):
                    raise CheckpointError(_refused(path, f"a part '{info.filename}'"))
                if info.filename.endswith(".json"):
                    left -= info.file_size
                    if left < 0:
                        most = f"{_LARGEST_GRAPH_BYTES >> 20} MiB"
                        raise CheckpointError(_refused(path, f"a graph of over {most}"))
                    _check_json(path, archive, info.filename)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise CheckpointError(
            f"{path} is no exported program, or is cut short after {path.stat().st_size:,} bytes"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_json(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    try:
        data = parse_json(archive.read(name))
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: its part '{name}' is no JSON: {error}"
        ) from error
    for key, value in _entries(data):
        if key == "use_pickle" and value:
            raise CheckpointError(_refused(path, "pickled tensors"))
        if key == "expr_str" and not _EXPRESSION.fullmatch(str(value)):
            raise CheckpointError(_refused(path, f"a shape written as '{value}'"))
        if key == "target" and not _OPERATOR.fullmatch(str(value)):
            raise CheckpointError(_refused(path, f"the operator '{value}'"))


def _entries(data: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, at any depth."""
    stack = [data]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield from item.items()
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _refused(path: Path, what: str) -> str:
    return (
        f"{path} was not loaded: it holds {what}. Expected only tensors and PyTorch's own "
        f"operators; export the network with torch.export.save"
    )
