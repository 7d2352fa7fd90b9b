"""Verifies exported files against the network, in the runtime that will run them."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.arrays import array_files, read_arrays, turned
from edgekit.contract import load
from edgekit.core import CLASSIFY, Agreement, Artifact, Target, TensorSpec, reason
from edgekit.core.names import shown
from edgekit.core.reasons import PASSING
from edgekit.data.finite import check_finite
from edgekit.data.stored import real_values
from edgekit.devices.device import HOST, Device
from edgekit.devices.fitting import misfit
from edgekit.devices.runner import open_file
from edgekit.devices.simulators import interpreter
from edgekit.errors import EdgekitError, GateError, InputError, ModelError, UsageError
from edgekit.foreign import explained
from edgekit.models.model import Model
from edgekit.models.program import SUFFIX as PROGRAM
from edgekit.models.taking import Network, model_of
from edgekit.models.tensor_files import sha256
from edgekit.native_output import captured
from edgekit.plugins import needed_packages
from edgekit.registry import stands_alone, target
from edgekit.stated import NOTHING, Stated, check_contract
from edgekit.tables import FAMILIES
from edgekit.tasks.agreement import signal_of
from edgekit.verification.diagnosis import diagnose, layers_of
from edgekit.verification.divergence import Divergence, LayerAgreement, most_noise
from edgekit.verification.exactness import STEADY_DB
from edgekit.verification.reference import (
    Reference,
    inputs_of,
    make_reference,
    outputs_of,
    preparation,
)
from edgekit.verification.suppression import SameObjects, bare_form, same_objects

LEAST_STEADY = 0.1
"""Share of the images that a verdict needs at least. Those that are left are no fair sample: what
is chaotic on nine images in ten is steady where little passes through it (black images, flat
ones), and a file that is right there may be wrong wherever the network is used."""


ROUNDING_STEPS = 4
"""Steps by which rounding alone may make an output differ. It was one in seven networks
(docs/measurements/microcontrollers.md); a wrong operator made 128 of them."""


@dataclass(frozen=True, slots=True)
class KernelAgreement:
    """A file in two runtimes that compute on the same integers.

    Attributes:
        runtime: the one that is compared with.
        most_steps: of an output's scale, by which they differ at most.
        equal: share of the numbers that are.
    """

    runtime: str
    most_steps: int
    equal: float

    @property
    def differ(self) -> bool:
        """Whether that is more than rounding."""
        return self.most_steps > ROUNDING_STEPS


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `verify`.

    Attributes:
        artifact: what the file's contract says.
        divergence: where a failing artifact goes wrong; ``None`` where it passed, or where every
            layer agrees and only the whole does not.
        undiagnosed: why the divergence could not be looked for; ``None`` where it could.
        data: where the images come from.
        skipped: images of the source that were left out as corrupt.
        preparation: what was done to an untrained network; see `preparation`.
        same_weights: whether the artifact was made from the network's weights, by their digest;
            ``None`` where neither comes from a file.
        layers: each layer by itself, where that was asked for, or a file of integers failed.
        notes: of the network; see `edgekit.models.model.Model`.
        device: that ran the file, or the microcontroller whose interpreter did; ``None`` for this
            machine.
        kernels: how that compares with what its kernels were made from.
        misfit: what to say where it was written for another kind of processor.
        against: the network, as its source names it.
        objects: of a file that suppresses boxes by itself, how these are those of NumPy.
    """

    artifact: Artifact
    agreement: Agreement
    divergence: Divergence | None
    undiagnosed: str | None
    data: str
    skipped: tuple[str, ...]
    preparation: str | None
    same_weights: bool | None
    layers: tuple[LayerAgreement, ...] = ()
    notes: tuple[str, ...] = ()
    device: str | None = None
    kernels: KernelAgreement | None = None
    misfit: str | None = None
    against: str = ""
    objects: SameObjects | None = None

    @property
    def passed(self) -> bool:
        """Whether every bound of the agreement holds, and that of the objects."""
        return self.agreement.passed and (self.objects is None or self.objects.passed)


def named_network(path: Path, contract: Artifact, weights: Path | str | None) -> str:
    """The network that a contract names, where it is here and has the weights of the file.

    A contract may come from anywhere. What it names is taken where it is of the zoo, or plain
    weights; code that it names is imported only where the user names it, too.

    Raises:
        UsageError: it has to be named.
        InputError: weights that cannot be read.
    """
    from edgekit.models.weights import checkpoint_file, load_checkpoint

    named = contract.model
    made = f"{path} was made from '{shown(named)}'"
    backbone = named.partition("+")[0]
    of_zoo = FAMILIES.key(backbone.partition("@")[0].lower().removeprefix("tf-")) is not None
    of_zoo = of_zoo or stands_alone(named)
    if of_zoo and not Path(named).exists():
        if contract.trained and weights is None:
            raise UsageError(
                f"{made} and a file of weights: name both with --against {shown(named)} --weights "
                f"FILE"
            )
        return named
    if not Path(named).exists():
        raise UsageError(f"{made}, which is not here: name the network with --against MODEL")
    if Path(named).suffix == PROGRAM or load_checkpoint(Path(named)).spec is None:
        raise UsageError(
            f"{made}, which holds or needs code of its own: name it with --against {shown(named)}"
        )
    if sha256(checkpoint_file(Path(named))) != contract.parent_sha256:
        raise UsageError(
            f"{made}, which has other weights now: export it again, or name the network that has "
            f"them with --against MODEL"
        )
    return named


def network_of_file(
    path: Path,
    contract: Artifact,
    against: Network,
    weights: Path | str | None,
    example: Any = None,
    data: str | None = None,
) -> Model:
    """The network that a file is held against, as its contract says.

    Args:
        path: of the file, for messages.

    Raises:
        ModelError: it has other inputs or outputs.
    """
    shapes = tuple(spec.shape for spec in contract.outputs)
    known = isinstance(against, Model)
    if contract.task != CLASSIFY:
        names = tuple(spec.name for spec in contract.outputs)
        program = isinstance(against, str | os.PathLike) and os.fspath(against).endswith(".pt2")
        given = example
        if example is None and not known:
            given = _inputs(path, contract, data, by_position=program)
        if known:
            model = model_of(against, weights=weights, example=given)
        else:
            model = model_of(
                against, weights=weights, example=given, outputs=names, task=contract.task
            )
        found = tuple(spec.shape for spec in model.interface.outputs)
        named = {spec.name: spec.shape for spec in model.interface.outputs}
        if found != shapes and named != dict(zip(names, shapes, strict=True)):
            raise ModelError(
                f"'{model.source}' gives {_listed(found)}, {path} gives {_listed(shapes)}: give "
                f"the network that it was exported from"
            )
        if contract.preprocessing is not None:
            own = dataclasses.replace(contract.preprocessing, layout="NCHW")
            model = dataclasses.replace(model, preprocessing=own)
        draws = tuple(spec.draw for spec in contract.inputs if spec.draw is not None)
        if len(draws) == len(model.interface.inputs):
            # The same noise as on export: statistics of untrained networks are set from it.
            model = dataclasses.replace(model, draws=draws)
        return model
    assert contract.preprocessing is not None
    prepared = dataclasses.replace(contract.baked or contract.preprocessing, layout="NCHW")
    height, width = prepared.size
    square = prepared.channels == 3 and height == width
    model = (
        model_of(against, weights=weights)
        if known
        else model_of(
            against,
            weights=weights,
            resolution=height if square else None,
            example=None if square else torch.zeros(prepared.shape()),
            classes=None if contract.spec is None or weights is not None else contract.spec.classes,
            task=CLASSIFY,
        )
    )
    outputs = shapes[0][-1]
    if model.classes != outputs:
        raise ModelError(
            f"'{model.source}' has {model.classes} classes, {path} has {outputs}: give the network "
            f"that it was exported from"
        )
    return dataclasses.replace(
        model,
        preprocessing=prepared,
        scores=contract.scores,
        baked=contract.baked is not None,
    )


def _inputs(
    path: Path, contract: Artifact, data: str | None, *, by_position: bool
) -> dict[str, torch.Tensor] | tuple[torch.Tensor, ...]:
    """Inputs of the file's sizes, by name: those of the first file of ``data``, or zeros.

    Args:
        by_position: whether the network's code has no names for them.

    Raises:
        UsageError: the file does not tell enough of them.
    """
    names = [spec.name for spec in contract.inputs]
    if not by_position and not all(name.isidentifier() for name in names):
        raise UsageError(
            f"{path} takes {', '.join(names)}, which are no arguments of a network by themselves: "
            f"give its inputs with --example"
        )
    files = [] if data is None else array_files(data)
    if files:
        arrays = read_arrays(files[0])
        if len(names) == len(arrays) == 1:
            arrays = {names[0]: next(iter(arrays.values()))}
        there = {
            spec.name: torch.from_numpy(_as_in(spec, arrays[spec.name]))
            for spec in contract.inputs
            if spec.name in arrays
        }
        return tuple(there.values()) if by_position else there
    tensors = {}
    for spec in contract.inputs:
        kind = np.dtype("float32" if spec.scale is not None else spec.dtype)
        values = () if spec.draw is None else spec.draw.values
        if kind.kind in "iu" and not values:
            raise UsageError(
                f"input '{spec.name}' of {path} takes {kind}, and the file does not tell which "
                f"numbers there may be: give some with --example or --data"
            )
        array = turned(np.full(spec.shape, [*values, 0][0], kind), spec.layout, "NCHW")
        tensors[spec.name] = torch.from_numpy(np.array(array, order="C"))
    if by_position or names == [f"input_{i}" for i in range(len(names))]:
        return tuple(tensors.values())
    return tensors


def _as_in(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    """An array with the type and the axes of the network, where it has as many numbers."""
    if spec.scale is not None or np.dtype(spec.dtype).kind == "f":
        array = array.astype(np.float32 if spec.scale is not None else spec.dtype)
    shape = turned(np.empty(spec.shape), spec.layout, "NCHW").shape
    return np.array(array.reshape(shape) if array.size == math.prod(shape) else array, order="C")


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(map(str, shapes))


@contextmanager
def running(path: Path, format_: Target) -> Iterator[None]:
    """Turns whatever a runtime raises on a file into one sentence that names the file.

    Raises:
        ModelError: the runtime cannot run it.
        UnavailableError: the runtime is not installed.
    """
    told = f"{path} cannot be run by {format_.runtime}: "
    with (
        explained(lambda reason: f"{told}{reason} (-v shows all)"),
        needed_packages(f"target {format_.name}"),
    ):
        yield


def agreement_with(
    reference: Reference, target: Target, path: Path, precision: str, device: Device = HOST
) -> Agreement:
    """Runs an artifact on the reference's images, one by one, and compares.

    Args:
        device: that it runs on.
    """
    return held_against(reference, rows_of_file(reference, target, path, device), precision)


def rows_of_file(
    reference: Reference,
    target: Target,
    path: Path,
    device: Device = HOST,
    done: Callable[[int, int], None] = lambda count, of: None,
) -> NDArray[np.float32]:
    """What an artifact gives for the reference's images, one by one: rows of outputs.

    Args:
        device: that it runs on.
        done: told how many of how many images have been run.

    Raises:
        ModelError: a number that is not finite; or it has other inputs or outputs.
    """
    with captured():
        threads = torch.get_num_threads() if device.here else None
        runner = open_file(target, path, threads, device=device)
        given, got = runner.tensors()
        model, outputs = reference.model, []
        for i in range(len(reference.images)):
            inputs = inputs_of(model, reference.images[i : i + 1], target.layout, given)
            outputs.append(outputs_of(model, runner.run(inputs), got))
            done(i + 1, len(reference.images))
    found = np.concatenate(outputs)
    what = "image" if model.signature is None else "input"
    check_finite(found, str(path), lambda i: f"{what} {i} ({reference.data})", model.told)
    return found


BATCH = 3
"""Samples at once that a file of any batch is tried with."""

LEAST_ALIKE_DB = {"fp32": 60.0, "fp16": 60.0}
"""How closely it has to give what it gives one by one: kernels for several samples may add up in
another order."""

LEAST_ALIKE_OF_INTEGERS = 40.0
"""The same where that may change what is rounded to an integer."""


def check_batch(
    reference: Reference, target: Target, path: Path, precision: str, device: Device = HOST
) -> float:
    """Runs a file of any batch on several samples at once and one by one.

    Args:
        precision: of the file.
        device: that it runs on.

    Returns:
        Signal to noise of the first against the second, in dB, of the worst output.

    Raises:
        GateError: it takes one sample only, or gives something else.
    """
    rows, model = reference.images[:BATCH], reference.model
    one_by_one = rows_of_file(dataclasses.replace(reference, images=rows), target, path, device)
    told = f"{path} does not take {BATCH} samples at once: "
    with captured(), explained(lambda why: f"{told}{why}", GateError):
        try:
            threads = torch.get_num_threads() if device.here else None
            runner = open_file(target, path, threads, batch=BATCH, device=device)
        except InputError as error:
            raise GateError(f"{told}the network's layers are fixed to one") from error
        given, got = runner.tensors()
        singles = [
            inputs_of(model, rows[i : i + 1], target.layout, [_single(spec) for spec in given])
            for i in range(len(rows))
        ]
        found = runner.run([np.concatenate(parts) for parts in zip(*singles, strict=True)])
        values = [real_values(one, spec) for one, spec in zip(found, got, strict=True)]
        together = np.concatenate([value.reshape(BATCH, -1) for value in values], axis=1)
    worst = math.inf
    for columns in model.interface.columns.values():
        off = together[:, columns] - one_by_one[:, columns]
        noise = float(np.square(off, dtype=np.float64).mean())
        if not math.isfinite(noise):
            worst = -math.inf
        elif noise > 0:
            power = float(np.square(signal_of(reference.scores[:, columns])).mean())
            worst = min(worst, 10 * math.log10(max(power, 1e-300) / noise))
    least = LEAST_ALIKE_DB.get(precision, LEAST_ALIKE_OF_INTEGERS)
    if not worst >= least:
        raise GateError(
            f"{path} gives other outputs for {BATCH} samples at once than one by one ({worst:.1f} "
            f"dB, expected {least:g}): its layers mix samples, or are fixed to one"
        )
    return worst


def _single(spec: TensorSpec) -> TensorSpec:
    return dataclasses.replace(spec, shape=(1, *spec.shape[1:]))


def held_against(reference: Reference, outputs: NDArray[np.float32], precision: str) -> Agreement:
    """Compares; where that fails, on those images only on which float32 is reproducible.

    Raises:
        ModelError: they are too few, or the network gives the same scores for them.
    """
    task = reference.task
    agreement = task.agreement(reference.scores, outputs, precision)
    if agreement.passed:
        return agreement
    n = len(outputs)
    close = task.sqnr_db(reference.scores, outputs, range(n)) >= STEADY_DB
    close &= task.decided_alike(reference.scores, outputs)
    exactness, kept = reference.exactness, np.ones(n, bool)
    if not exactness.steady(np.flatnonzero(~close).tolist()).all():
        kept = exactness.steady(range(n))  # of such, some agree by chance
    left_out = int(n - kept.sum())
    if left_out:
        steady = reference.scores[kept]
        if len(steady) < max(2, LEAST_STEADY * n):
            _refuse_unsteady(reference, left_out, "are too few for a verdict")
        try:
            task.check_reference(steady, f"'{reference.model.source}'")
        except ModelError:
            _refuse_unsteady(reference, left_out, "get (nearly) the same scores")
        agreement = task.agreement(steady, outputs[kept], precision)
    return dataclasses.replace(agreement, left_out=left_out, inexact=exactness.fallback)


def _refuse_unsteady(reference: Reference, left_out: int, others: str) -> NoReturn:
    """Says on how many images a network is not reproducible, and what the others lack."""
    model, exactness, n = reference.model, reference.exactness, len(reference.images)
    median = float(np.median(exactness.sqnr_db(range(n))))
    other = "float64" if exactness.fallback is None else "float32 with other last bits"
    rest = "" if left_out == n else f"; the other {n - left_out} {others}"
    cure = "train it first, or give" if not model.trained else "give"
    raise ModelError(
        f"PyTorch itself computes '{model.source}' in float32 otherwise than in {other} on "
        f"{left_out} of {n} images ({reference.data}; {median:.0f} dB, "
        f"expected {STEADY_DB:g}), and no file can be held against that{rest}: {cure} images like "
        f"those that it is for, with --data SRC"
    )


def verify(
    artifact: str | os.PathLike[str],
    against: Network | None,
    *,
    data: str | None = None,
    weights: Path | str | None = None,
    embedded: bool = False,
    skip_corrupt: bool = False,
    per_layer: bool = False,
    stated: Stated = NOTHING,
    example: Any = None,
    device: Device = HOST,
    notify: Callable[[str], None] = lambda stage: None,
) -> Verification:
    """Compares an artifact with the network it was exported from.

    Args:
        artifact: the exported file.
        against: any form of its network; the artifact's resolution is used. ``None``: the one
            that the contract names; see `named_network`.
        data: SRC of real images; see `make_reference`.
        weights: for a zoo name or callable.
        embedded: trust the contract inside the file; see `edgekit.contract.load`.
        skip_corrupt: leave out images that cannot be decoded, instead of failing.
        per_layer: look at each layer, too.
        stated: what the contract is to say of images and classes.
        example: inputs of the network, as for `edgekit.models.taking.model_of`.
        device: that the file runs on; its layers are looked at here.
        notify: told what is being done.

    Raises:
        ContractError: artifact and contract do not belong together.
        UsageError: the contract says something else than ``stated``.
        InputError: artifact, network or data cannot be used.
        ModelError: the network has another number of classes.
    """
    path = Path(artifact)
    contract = check_contract(load(path, embedded=embedded), stated, str(path))
    simulator = interpreter(device, path)
    if against is None:
        against = named_network(path, contract, weights)
    format_, precision = target(contract.target), contract.scheme.precision
    with bare_form(path, contract, format_) as (file, plain):
        model = network_of_file(path, plain, against, weights, example, data)
        notify(f"running '{model.source}' in PyTorch")
        reference = make_reference(model, data, skip_corrupt=skip_corrupt)
        kernels: KernelAgreement | None = None
        objects: SameObjects | None = None
        if simulator is not None and simulator.runtime is not None:
            format_ = simulator.runtime
        with running(path, format_):
            rows = rows_of_file(
                reference, format_, file, device,
                lambda count, of: notify(f"running {path.name} on images, {count} of {of}"),
            )  # fmt: skip
            agreement = held_against(reference, rows, precision)
            if simulator is not None and simulator.reference is not None:
                kernels = _kernels(reference, rows, simulator.reference, path, contract.outputs)
            if contract.suppression is not None:
                objects = same_objects(reference, rows, format_, path, contract.suppression, device)
            if contract.dynamic_batch:
                check_batch(reference, format_, path, contract.scheme.precision, device)
        if per_layer or not agreement.passed:
            notify(f"looking at the layers of {path.name}")
        divergence, undiagnosed = None, None
        if not agreement.passed:
            divergence, undiagnosed = diagnose(reference, format_, file, precision, path)
        layers: Sequence[LayerAgreement] = ()
        noisy = contract.scheme.weights == "int8" and not agreement.passed
        if per_layer or noisy:
            try:
                layers = layers_of(reference, format_, file)
            except EdgekitError as error:
                if per_layer:
                    raise
                undiagnosed = str(error).replace(str(file), str(path))
            except PASSING:
                raise
            except BaseException as error:  # see `diagnose`
                undiagnosed = reason(error).replace(str(file), str(path))
            if noisy and divergence is None:
                divergence = most_noise(layers)
    from_files = contract.parent_sha256 is not None or model.parent_sha256 is not None
    unchanged = (
        contract.parent_sha256 == model.parent_sha256 and contract.scheme.trained_epochs is None
    )
    return Verification(
        contract,
        agreement,
        divergence,
        undiagnosed,
        reference.data,
        reference.skipped,
        preparation(model),
        unchanged if from_files else None,
        tuple(layers),
        reference.model.notes or (),
        None if device.name == HOST.name else device.name,
        kernels,
        misfit(path, contract, device),
        model.source,
        objects,
    )


def _kernels(
    reference: Reference,
    rows: NDArray[np.float32],
    target: Target,
    path: Path,
    outputs: Sequence[TensorSpec],
) -> KernelAgreement:
    """Compares what a runtime gives with what another one does, in steps of the outputs' scales."""
    others = rows_of_file(reference, target, path)
    columns = reference.model.interface.columns.values()
    steps = np.concatenate(
        [
            np.rint((rows[:, where] - others[:, where]) / (spec.scale or 1.0))
            for where, spec in zip(columns, outputs, strict=True)
        ],
        axis=1,
    )
    return KernelAgreement(target.runtime, int(np.abs(steps).max()), float(np.mean(steps == 0)))
