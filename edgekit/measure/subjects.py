"""What a measuring process runs: an artifact in its runtime, or a network in PyTorch.

Also the reference network that every block of inferences is followed by, and the machine state
that all of them are measured in.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import math
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from edgekit import plugins, registry
from edgekit.arrays import SUFFIX, read_arrays
from edgekit.contract import check_files, digest, is_artifact, load, target_by_suffix
from edgekit.core import OperatorTime, Profilable, Side
from edgekit.errors import ContractError, InputError, UnavailableError, UsageError
from edgekit.isolation.bounds import Allowed, allowed_for, explained
from edgekit.measure.inputs import example_arrays, noise_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core import Array, Runner, TensorSpec
    from edgekit.models.model import Model

MODES = ("eager", "compiled")
PROCESSORS = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, as plain data.

    Attributes:
        source: ARTIFACT or MODEL.
        threads: of the runtime.
        batch: images of one inference.
        weights: checkpoint for a network's name.
        resolution: input side for networks, or height and width.
        mode: how PyTorch runs a network: ``eager`` or ``compiled``.
        processor: where PyTorch runs it: ``cpu`` or ``cuda``.
        shapes: of inputs whose sizes a file leaves open, by name; see `edgekit.core.Target.open`.
        example: inputs that it is timed with, where noise is none; a ``.npz`` file for files, and
            see `edgekit.models.source.open_model` for networks, as for the following.
        outputs: of a network, those that are computed; all if empty.
        task: of a network.
        name: what messages and records call it, where its source is not how it was given.
    """

    source: str
    threads: int = 1
    batch: int = 1
    weights: str | None = None
    resolution: Side | None = None
    mode: str = "eager"
    processor: str = "cpu"
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    example: str | None = None
    outputs: tuple[str, ...] = ()
    task: str | None = None
    name: str | None = None

    @property
    def called(self) -> str:
        """What messages and records call it."""
        return self.name or self.source

    @property
    def images(self) -> int:
        """What goes into an inference, in images of 224 x 224: memory and time go by that."""
        numbers = sum(math.prod(shape) for _, shape in self.shapes)
        return max(self.batch, math.ceil(numbers / (3 * 224 * 224)))

    @property
    def target(self) -> str:
        """Name of the file's format; ``pytorch`` for networks."""
        target = target_by_suffix(Path(self.source))
        return "pytorch" if target is None else target.name


def batch_of(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> int:
    """Images of an inference with inputs of some shapes: what they begin with, where all do."""
    first = {shape[0] for _, shape in shapes}
    return first.pop() if len(first) == 1 else 1


def as_subject(source: Subject | str | Path) -> Subject:
    """A subject with its defaults, where its source stands for one."""
    return source if isinstance(source, Subject) else Subject(str(source))


class Loaded(Protocol):
    """A subject that can be run.

    Attributes:
        runtime: what runs it, for people.
        tools: versions.
        input: shape and type of what it takes, known once it was loaded.
        inputs: names of that, of files.
    """

    runtime: str
    tools: dict[str, str]
    input: str
    inputs: tuple[str, ...]

    def load(self) -> Any:
        """Loads the subject anew."""

    def prepare(self, loaded: Any) -> Callable[[], object]:
        """Gives what was loaded an input; each call of the result is one inference."""

    def operators(self, runs: int) -> tuple[OperatorTime, ...]:
        """Times its operators."""


def check(subject: Subject) -> None:
    """Refuses what can be refused before a process is started.

    Raises:
        InputError: the file does not exist, or was rejected.
        ContractError: the contract beside it is not that of the file.
        UsageError: options that do not go with it, or more threads than cores: ONNX Runtime
            hangs with ten thousand of them, OpenVINO takes fewer and does not say so.
    """
    source, cores = subject.source, os.cpu_count() or 1
    if not 1 <= subject.threads <= cores:
        raise UsageError(
            f"{subject.threads} threads: expected 1 to {cores}, as many as this machine has cores"
        )
    if not is_artifact(source):
        if subject.shapes:
            raise UsageError(
                f"'{subject.called}' is a network: --input-shape goes with exported files only, "
                f"and --resolution with networks"
            )
        return
    if subject.shapes and subject.batch not in (1, batch_of(subject.shapes)):
        raise UsageError(
            f"--batch {subject.batch} contradicts --input-shape, whose first size is the batch: "
            f"leave --batch out"
        )
    if subject.weights is not None or subject.resolution is not None:
        raise UsageError(
            f"'{source}' is an artifact: --weights and --resolution go with networks only"
        )
    if subject.mode != "eager" or subject.processor != "cpu":
        raise UsageError(
            f"'{source}' is an artifact: --torch and --processor go with networks only"
        )
    if subject.outputs or subject.task is not None:
        raise UsageError(f"'{source}' is an artifact: --outputs and --task go with networks only")
    path = Path(source)
    if subject.example is not None:
        if Path(subject.example).suffix != SUFFIX:
            raise UsageError(
                f"--example {subject.example}: '{source}' is an exported file, which is timed "
                f"without PyTorch: expected a {SUFFIX} file of its inputs"
            )
        read_arrays(Path(subject.example))
    target = target_by_suffix(path)
    if target is not None:
        check_files(path, target)
    try:
        load(path)
    except ContractError:
        # Anyone's file can be measured; only one that says it is an export must be that export.
        if path.with_name(path.name + ".json").exists():
            raise


def open_subject(subject: Subject) -> Loaded:
    """Imports what the subject needs; loads nothing yet."""
    if is_artifact(subject.source):
        return _File(subject)
    return _Network(subject)


class _File:
    """An artifact, or any file of a format that edgekit knows."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self._path, self.input = subject, Path(subject.source), ""
        self.inputs: tuple[str, ...] = ()
        # Through JSON, tuples are lists.
        self._shapes = {name: tuple(shape) for name, shape in subject.shapes}
        target = target_by_suffix(self._path)
        assert target is not None
        self._target = target
        registry.start(target)
        self.tools = versions(target.packages)
        version = next((self.tools[name] for name in target.engines if name in self.tools), "")
        self.runtime = f"{target.runtime} {version}".strip()
        self._files = self._target.files(self._path)

    def load(self) -> Runner:
        return self._open(self._subject.threads)

    def _open(self, threads: int) -> Runner:
        return self._target.open(self._path, threads, batch=self._batch, shapes=self._shapes)

    @property
    def _batch(self) -> int | None:
        return None if self._subject.batch == 1 else self._subject.batch

    def prepare(self, loaded: Runner) -> Callable[[], object]:
        tensors, _ = loaded.tensors()
        self.inputs = tuple(tensor.name for tensor in tensors)
        inputs = self._inputs(tensors)
        self.input = ", ".join(f"{'x'.join(map(str, x.shape))} {x.dtype}" for x in inputs)
        return loaded.prepare(inputs)

    def _inputs(self, tensors: Sequence[TensorSpec]) -> list[Array]:
        if self._subject.example is None:
            return [noise_of(tensor) for tensor in tensors]
        try:
            layouts = {spec.name: spec.layout for spec in load(self._path).inputs}
        except ContractError:  # a file of others
            layouts = {}
        example = Path(self._subject.example)
        return list(example_arrays(example, tensors, layouts, self._target.layout))

    def operators(self, runs: int) -> tuple[OperatorTime, ...]:
        if not isinstance(self._target, Profilable):
            raise UnavailableError(f"{self._target.runtime} has no profiler of operators")
        inputs = self._inputs(self._open(1).tensors()[0])
        return self._target.operators(
            self._path,
            inputs,
            threads=self._subject.threads,
            runs=runs,
            batch=self._batch,
            shapes=self._shapes,
        )

    def size(self) -> tuple[int, str]:
        """Bytes and digest of its files."""
        return sum(file.stat().st_size for file in self._files), digest(self._files)

    def bounds(self) -> Allowed:
        """What its runtime may take until its first inference is done."""
        return allowed_for(self._files, self._subject.images)

    def explained(self) -> AbstractContextManager[None]:
        """Turns what the runtime raises into a sentence that names the file."""
        return explained(self._path, self._target.runtime, self.bounds())

    def state(self) -> list[list[int]]:
        """What changes when one of the files does.

        Raises:
            InputError: one is gone.
        """
        try:
            found = [file.stat() for file in self._files]
        except FileNotFoundError as error:
            raise InputError(
                f"{error.filename} is gone: expected it to stay while it is measured"
            ) from error
        return [[f.st_dev, f.st_ino, f.st_size, f.st_mtime_ns] for f in found]


class _Network:
    """A network in PyTorch."""

    def __init__(self, subject: Subject) -> None:
        with plugins.needed_packages("PyTorch"):
            import torch
        self._subject, self.input = subject, ""
        self.inputs: tuple[str, ...] = ()
        torch.set_num_threads(subject.threads)
        if subject.processor == "cuda" and not torch.cuda.is_available():
            raise UnavailableError(
                "--processor cuda: PyTorch sees no CUDA device here; see 'edgekit doctor'"
            )
        self.tools = versions(("torch",))
        where = "" if subject.processor == "cpu" else f" on {torch.cuda.get_device_name()}"
        self.runtime = f"PyTorch {self.tools['torch']} {subject.mode}{where}"

    def load(self) -> Model:
        import torch

        s = self._subject
        model = network_of(s)
        model.module.eval().to(torch.device(s.processor))
        return model

    def prepare(self, loaded: Model) -> Callable[[], object]:
        import torch

        s, module = self._subject, loaded.module
        device = torch.device(s.processor)
        generator = torch.Generator().manual_seed(0)
        if loaded.signature is None:
            given = [torch.randn(s.batch, *loaded.shape, generator=generator).to(device)]
        else:
            given = [one.to(device) for one in loaded.example]
            if s.batch != 1:
                raise UsageError(
                    f"'{s.source}' takes {len(given)} inputs of fixed sizes: leave out --batch"
                )
        self.input = " and ".join(
            f"{'x'.join(map(str, one.shape))} {str(one.dtype).removeprefix('torch.')}"
            for one in given
        )
        kept, seen = [one.clone() for one in given], [one._version for one in given]
        if s.mode == "compiled":
            torch._dynamo.reset()
            module = cast("torch.nn.Module", torch.compile(module))

        def run() -> object:
            with torch.inference_mode():
                scores = module(*given)
            # A network that changes its input would get another one each time, and numbers that
            # grow or vanish take other times. An app has to give it copies, too.
            for i, one in enumerate(given):
                if one._version != seen[i]:
                    one.copy_(kept[i])
                    seen[i] = one._version
            if s.processor == "cuda":  # the call only queues the work
                torch.cuda.synchronize()
            return scores

        return run

    def peak_gpu_mib(self) -> float | None:
        """Most memory on the GPU so far."""
        import torch

        if self._subject.processor != "cuda":
            return None
        return torch.cuda.max_memory_allocated() / 2**20

    def operators(self, runs: int) -> tuple[OperatorTime, ...]:
        raise UnavailableError(
            f"'{self._subject.called}' runs in PyTorch: --per-op takes exported files only"
        )


def network_of(subject: Subject) -> Model:
    """The network of a subject, as it was asked for.

    Raises:
        EdgekitError: see `edgekit.models.source.open_model`.
    """
    from edgekit.models.callables import NoImageError
    from edgekit.models.source import open_model

    side: Any = subject.resolution
    try:
        model = open_model(
            subject.source,
            weights=None if subject.weights is None else Path(subject.weights),
            # Through JSON, tuples are lists.
            resolution=tuple(side) if isinstance(side, list) else side,
            example=subject.example,
            outputs=subject.outputs,
            task=subject.task,
        )
        return replace(model, source=subject.called)
    except NoImageError as error:  # between processes it would be any other error
        raise error.with_advice from error


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of the packages that are installed."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def reference() -> Callable[[], object]:
    """The fixed network whose speed tells how the machine is doing.

    Two 1x1 convolutions of 192 channels over 14 x 14 pixels with ReLU, written as matrix products
    in NumPy, in one thread: 14.5 million MACs, of the size of a block of a mobile network, and
    there wherever a runtime is.
    """
    rng = np.random.default_rng(0)
    pixels: NDArray[np.float32] = rng.standard_normal((196, 192), np.float32)
    weights: list[NDArray[np.float32]] = [
        rng.standard_normal((192, 192), np.float32) / np.float32(14) for _ in range(2)
    ]

    def run() -> object:
        x = pixels
        for weight in weights:
            x = np.maximum(x @ weight, 0)
        return x

    return run


def flush_denormals() -> bool:
    """Makes this thread, and those it starts, take denormal numbers for 0, where that is possible.

    Random weights make activations so small that processors compute them in microcode, up to a
    hundred times more slowly; a trained network has none. The runtimes' own switches do the same,
    but each has another, and LiteRT none.

    Returns:
        Whether it was done.
    """
    machine = platform.machine().lower()
    # Where the control register lies in C's fenv_t, and its bits: flush results, and take operands
    # for 0 (x86-64: MXCSR, Intel SDM volume 1, 10.2.3; AArch64: FPCR.FZ, Arm ARM C5.2.8).
    places: dict[str, tuple[int, int]] = {
        "x86_64": (28, 0x8040),
        "amd64": (28, 0x8040),
        "aarch64": (0, 1 << 24),
    }
    if sys.platform != "linux" or machine not in places:
        return False
    offset, bits = places[machine]
    environment = (ctypes.c_uint32 * 16)()
    library: Any = ctypes.CDLL("libm.so.6")
    if library.fegetenv(environment) != 0:
        return False
    environment[offset // 4] |= bits
    return bool(library.fesetenv(environment) == 0)
