"""What is measured: an artifact in its runtime, or a network in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.arrays import SUFFIX, read_arrays
from edgekit.contract import check_files, is_artifact, load, target_by_suffix
from edgekit.core import Side
from edgekit.devices.files import file_request
from edgekit.devices.fitting import misfit
from edgekit.errors import ContractError, UsageError
from edgekit.measure.inputs import example_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core import TensorSpec
    from edgekit.devices.agents import Agent
    from edgekit.devices.device import Device

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
    def files(self) -> tuple[Path, ...] | None:
        """Its files, the main one first; ``None`` for networks."""
        path = Path(self.source)
        target = target_by_suffix(path)
        return None if target is None else target.files(path)

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


def check(subject: Subject) -> None:
    """Refuses what can be refused before it is loaded.

    Raises:
        InputError: the file does not exist, or was rejected.
        ContractError: the contract beside it is not that of the file.
        UsageError: options that do not go with it.
    """
    source = subject.source
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


def misfit_of(subject: Subject, device: Device, agent: Agent) -> str | None:
    """What to say of a file that was written for another kind of processor than the device's.

    Args:
        agent: on the device.
    """
    if not is_artifact(subject.source):
        return None
    path = Path(subject.source)
    try:
        return misfit(path, load(path), device, agent)
    except ContractError:  # a file of others
        return None


def check_threads(subject: Subject, cores: int, where: str) -> None:
    """Refuses more threads than there are cores.

    ONNX Runtime hangs with ten thousand of them, OpenVINO takes fewer and does not say so.

    Args:
        cores: of the device.
        where: the device, for people.

    Raises:
        UsageError: there are fewer.
    """
    if not 1 <= subject.threads <= cores:
        raise UsageError(
            f"{subject.threads} threads: expected 1 to {cores}, as many as {where} has cores"
        )


def request(
    subject: Subject, files: Sequence[str] | None = None, inputs: str | None = None
) -> dict[str, Any]:
    """A subject as an agent takes it; see `edgekit.agent.worker.Subject`.

    Args:
        files: paths of its files on the device, the main one first; where they are here if
            ``None``.
        inputs: path there of the inputs that it is timed with; see `edgekit.agent.files.File`.
    """
    if not is_artifact(subject.source):
        return {"loader": "edgekit.measure.networks:Network", "arguments": asdict(subject)}
    path = Path(subject.source)
    target = target_by_suffix(path)
    assert target is not None
    return file_request(
        target,
        path,
        threads=subject.threads,
        batch=None if subject.batch == 1 else subject.batch,
        shapes=subject.shapes,
        images=subject.images,
        files=files,
        inputs=inputs,
    )


def example_of(subject: Subject, specs: Sequence[TensorSpec]) -> list[NDArray[Any]]:
    """The inputs that a file is timed with which is not timed with noise.

    Args:
        specs: its inputs, with sizes.

    Raises:
        DataError: the example does not fit.
    """
    assert subject.example is not None
    path = Path(subject.source)
    target = target_by_suffix(path)
    assert target is not None
    try:
        layouts = {spec.name: spec.layout for spec in load(path).inputs}
    except ContractError:  # a file of others
        layouts = {}
    return example_arrays(Path(subject.example), specs, layouts, target.layout)
