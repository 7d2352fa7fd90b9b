"""One file: lowered, converted, described and compared."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

import edgekit
from edgekit import plugins
from edgekit.contract import digest, embedded_text, finished
from edgekit.conversion.baking import taking_pixels
from edgekit.core import (
    CLASSIFY,
    Artifact,
    Decided,
    Draw,
    Example,
    Quantizing,
    Scheme,
    Stock,
    Suppression,
    Target,
    TensorSpec,
    Written,
)
from edgekit.errors import GateError, ModelError
from edgekit.foreign import explained
from edgekit.lowering import lower
from edgekit.models.copying import own_copy
from edgekit.models.model import Model
from edgekit.native_output import captured
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.integers import Integers, ranged_inputs
from edgekit.quantize.ladder import Built, Judge
from edgekit.tasks import described_interface
from edgekit.verification.artifact import agreement_with, check_batch, running
from edgekit.verification.diagnosis import layers_of
from edgekit.verification.divergence import worst_layers
from edgekit.verification.reference import Reference
from edgekit.verification.samples import fed

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One file that is to be made.

    Attributes:
        scheme: to begin with; a ladder may end with another one.
        judge: what its accuracy is judged on, where there is a bound.
        any_batch: whether the file is to take any batch.
        retrain: trains the network for a scheme; ``None`` where there is nothing to train it on.
        suppression: that is to be part of the file.
    """

    reference: Reference
    target: Target
    scheme: Scheme
    path: Path
    integers: Integers
    calibration: Calibration | None
    judge: Judge | None
    retrain: Callable[[Scheme], Model] | None
    overwrite: bool
    notify: Notify
    any_batch: bool = False
    suppression: Suppression | None = None


def build(job: Job, scheme: Scheme, staged: Path, model: Model | None = None) -> Built:
    """Writes a file, runs it and compares; what it says of agreement need not have passed."""
    target, reference = job.target, job.reference
    epochs = None if model is None else job.integers.epochs
    model = model or reference.model
    example = dataclasses.replace(_example(model, reference), any_batch=job.any_batch)
    network = own_copy(model.module)
    if model.baked:
        assert model.preprocessing is not None
        network = taking_pixels(network, model.preprocessing)
    with _conversion(model.source, target), captured():
        lowered, lowerings = lower(network, example.tensors, target, scheme)
        ranges = ranged_inputs(job.calibration, model, target) if scheme.calibration else None
        begin = time.perf_counter()
        decided = target.export(lowered, example, staged, scheme, ranges)
        converted = time.perf_counter() - begin
        inputs, outputs = target.open(staged).tensors()
        _check_names(example, inputs, outputs)
        written = _written(job, scheme, decided, epochs)
        artifact = _contract(model, target, written, job.path, inputs, outputs, lowerings)
        artifact = dataclasses.replace(artifact, dynamic_batch=job.any_batch)
        if isinstance(target, Quantizing) and scheme.calibration is not None:
            left = target.float_operators(staged)
            artifact = dataclasses.replace(artifact, float_operators=left)
        content = digest(target.files(staged))
        target.embed(staged, embedded_text(artifact))
    with running(job.path, target):
        agreement = agreement_with(reference, target, staged, scheme.precision)
        if job.any_batch:
            try:
                check_batch(reference, target, staged, scheme.precision)
            except GateError as error:  # of the network, as of all others that one cannot have
                raise ModelError(f"{error}; export it without --dynamic batch") from error
    artifact = finished(artifact, target.files(staged), agreement=agreement)

    def worst() -> list[str]:
        with running(job.path, target):
            return worst_layers(layers_of(reference, target, staged))

    return Built(staged, scheme, artifact, content, converted, worst)


def build_stock(reference: Reference, target: Target, path: Path, staged: Path) -> Artifact:
    """Writes a network as the usual exporter alone does, runs the file and compares.

    Args:
        target: a `edgekit.core.Stock`.
        path: that the file will get.
    """
    assert isinstance(target, Stock)
    model, scheme = reference.model, target.schemes["fp32"]
    example = _example(model, reference)
    with _conversion(model.source, target), captured():
        target.export_stock(own_copy(model.module), example, staged)
        inputs, outputs = target.open(staged).tensors()
        _check_names(example, inputs, outputs)
    written = Written.of(scheme, Decided(scheme.activations))
    artifact = _contract(model, target, written, path, inputs, outputs, ())
    with running(path, target):
        agreement = agreement_with(reference, target, staged, scheme.precision)
    return finished(artifact, target.files(staged), agreement=agreement)


def _example(model: Model, reference: Reference) -> Example:
    """The first sample, as the network takes it."""
    tensors = tuple(torch.from_numpy(array) for array in fed(model, reference.images[:1]))
    return Example(tensors, dataclasses.replace(model.interface, inputs=model.file_inputs))


def _check_names(
    example: Example, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> None:
    """Refuses a file whose inputs and outputs are called otherwise, or stand in another order.

    Raises:
        ModelError: as said.
    """
    names = [spec.name for spec in inputs], [spec.name for spec in outputs]
    if names != example.names:
        raise ModelError(
            f"the file has the inputs {', '.join(names[0])} and the outputs {', '.join(names[1])}: "
            f"expected {', '.join(example.names[0])} and {', '.join(example.names[1])}"
        )


@contextmanager
def _conversion(source: str, target: Target) -> Iterator[None]:
    """Turns whatever a converter raises into one sentence."""
    told = f"'{source}' cannot be converted to {target.name}: "
    with (
        explained(lambda reason: f"{told}{reason} (-v shows all)"),
        plugins.needed_packages(f"target {target.name}"),
    ):
        yield


def _described(
    specs: tuple[TensorSpec, ...],
    own: tuple[TensorSpec, ...],
    layout: str,
    draws: Sequence[Draw | None] = (),
) -> tuple[TensorSpec, ...]:
    """Tensors of a file with what the network's own say of their axes and their meaning.

    Args:
        own: see `edgekit.tasks.described_interface`.
        draws: of inputs, what noise for them is like; none of other tensors.
    """
    return tuple(
        dataclasses.replace(
            one,
            layout=layout if spec.layout == "NCHW" else spec.layout,
            role=spec.role,
            draw=draw,
        )
        for one, spec, draw in zip(specs, own, draws or [None] * len(own), strict=True)
    )


def _written(job: Job, scheme: Scheme, decided: Decided, epochs: int | None) -> Written:
    """What is in a file: the scheme, what the target decided, and the images of its ranges."""
    images = None if scheme.calibration is None else job.calibration
    return Written.of(
        scheme,
        decided,
        calibration_images=None if images is None else len(images.images),
        calibration_data=None if images is None else images.about,
        trained_epochs=epochs,
    )


def _contract(
    model: Model,
    target: Target,
    scheme: Written,
    path: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    lowerings: tuple[str, ...],
) -> Artifact:
    prepared, of_image = model.preprocessing, model.signature is None
    interface = described_interface(model)
    left = prepared and dataclasses.replace(prepared, layout=target.layout)
    if model.baked:
        assert prepared is not None
        left = prepared.of_pixels
    return Artifact(
        path=path.name,
        target=target.name,
        scheme=scheme,
        inputs=_described(inputs, interface.inputs, target.layout, () if of_image else model.noise),
        outputs=_described(outputs, interface.outputs, target.layout),
        preprocessing=left,
        model=model.source,
        spec=model.spec if model.of_zoo else None,
        labels=model.labels,
        data=model.data,
        trained=model.trained,
        scores=(model.scores or "logits") if model.task == CLASSIFY else None,
        task=model.task,
        parameters=model.parameters,
        parent_sha256=model.parent_sha256,
        lowerings=lowerings,
        tools={
            "edgekit": edgekit.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in target.packages},
        },
        baked=prepared if model.baked else None,
    )
