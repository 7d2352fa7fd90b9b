"""Export: lower, convert, verify in the real runtime, and only then give the file its name."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import edgekit
from edgekit import registry
from edgekit.contract import contract_path, contract_text, embedded_text, finished
from edgekit.core import Agreement, Artifact, Scheme, Target, TensorSpec, to_json
from edgekit.errors import EdgekitError, GateError, ModelError, UsageError
from edgekit.lowering import lower
from edgekit.models.source import Model, open_model
from edgekit.native_output import captured
from edgekit.staging import (
    WRITING_FAILED,
    check_space,
    prepare_folder,
    publish,
    refuse_existing,
    staging,
)
from edgekit.verification import agreement as agreements
from edgekit.verification.artifact import (
    Reference,
    agreement_with,
    find_divergence,
    make_reference,
)
from edgekit.verification.divergence import Divergence

REJECTED = ".rejected"

_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;]*m")

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """One verified file.

    Attributes:
        path: as given, or relative to the working folder.
        seconds: lowering, conversion and verification.
        convert_seconds: the target's own part of it.
        verified_on: where the images of the comparison come from.
    """

    path: Path
    artifact: Artifact
    seconds: float
    convert_seconds: float
    verified_on: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """One file that failed its gate, kept under another name.

    Attributes:
        path: of the kept file, ending in ``.rejected``.
        reason: the bounds that do not hold.
        divergence: the first layer that is wrong, where it could be found.
    """

    path: Path
    artifact: Artifact
    agreement: Agreement
    reason: str
    divergence: Divergence | None
    verified_on: str


def export(
    model: str | Model,
    targets: Sequence[str] = ("onnx",),
    precisions: Sequence[str] = ("fp32",),
    *,
    out: Path | str = ".",
    weights: Path | None = None,
    resolution: int | None = None,
    data: str | None = None,
    overwrite: bool = False,
    notify: Notify = lambda stage: None,
) -> list[Exported]:
    """Exports a network to every target in every precision, and verifies each file.

    One that fails does not keep the others from being made.

    Args:
        model: MODEL as people write it, or an open model.
        targets: names of the registry's target table.
        precisions: names of the registry's precision table.
        out: folder of the results; made where missing.
        weights: checkpoint or state dict, for a zoo name or callable.
        resolution: input side in pixels, instead of the network's own.
        data: SRC whose images the verification uses; by default that of the training, else noise.
        overwrite: replace files of the same name.
        notify: told what is being done.

    Returns:
        One entry per target and precision, in that order.

    Raises:
        GateError: files that failed verification; the attribute ``results`` of this and any
            other error has every `Exported` and `Rejected` there is.
        UnknownNameError: unknown model, target or precision.
        InputError: a model, weights or data that cannot be used; a folder that cannot be written.
        UnavailableError: a converter or runtime is not installed.
    """
    chosen, names = _chosen(targets, precisions)
    if isinstance(model, str):
        notify(f"building {model}")
        model = open_model(model, weights=weights, resolution=resolution)
    folder = Path(out)
    jobs = [(t, p, folder / f"{model.name}-{p}{t.suffix}") for t in chosen for p in names]
    prepare_folder(folder)
    for target, _, path in jobs:
        refuse_existing([*target.files(path), contract_path(path)], overwrite)
    notify("computing the reference")
    reference = make_reference(model, data)
    # For the file and what is staged on the way to it.
    size = 4 * sum(t.numel() * t.element_size() for t in model.module.parameters())
    for place in (folder, Path(tempfile.gettempdir())):
        check_space(place, size)
    results: list[Exported | Rejected] = []
    failures: list[EdgekitError] = []
    for target, name, path in jobs:
        notify(f"{target.name} {name}")
        try:
            results.append(_export_one(reference, target, name, path))
        except EdgekitError as error:
            failures.append(error)
    rejected = [result for result in results if isinstance(result, Rejected)]
    if rejected:
        failures.append(_gate_error(rejected))
    if failures:
        raise _joined(failures, results)
    return [result for result in results if isinstance(result, Exported)]


def _chosen(targets: Sequence[str], precisions: Sequence[str]) -> tuple[list[Target], list[str]]:
    """Targets and names of precisions, each once.

    Raises:
        UnknownNameError: one that the registry does not have.
        UsageError: a precision that a target does not have.
    """
    chosen = list({t.name: t for t in map(registry.target, targets)}.values())
    names = list(dict.fromkeys(map(registry.precision, precisions)))
    for target in chosen:
        for name in names:
            if name not in target.schemes:
                raise UsageError(
                    f"target {target.name} has no precision {name}: it has "
                    f"{', '.join(sorted(target.schemes))}"
                )
    return chosen, names


def _joined(
    failures: Sequence[EdgekitError], results: Sequence[Exported | Rejected]
) -> EdgekitError:
    """The first of several errors with the text of all, and all there is in spite of them."""
    first = failures[0]
    first.results = tuple(results)
    first.args = ("\n".join(str(failure) for failure in failures),)
    return first


def _export_one(
    reference: Reference, target: Target, precision: str, path: Path
) -> Exported | Rejected:
    start = time.perf_counter()
    model = reference.model
    scheme = target.schemes[precision]
    images = torch.from_numpy(reference.images[:1])
    with staging(path.parent) as folder:
        staged = folder / path.name
        with _conversion(model.words, target), captured():
            lowered, lowerings = lower(model.module, images, target.name, scheme)
            begin = time.perf_counter()
            scheme = target.export(lowered, images, staged, scheme)
            converted = time.perf_counter() - begin
            runner = target.open(staged)
            inputs, outputs = runner.tensors()
            artifact = _contract(model, target, scheme, path, inputs, outputs, lowerings)
            target.embed(staged, embedded_text(artifact))
        agreement = agreement_with(reference, target, staged, precision)
        artifact = finished(artifact, target.files(staged), agreement=agreement)
        contract_path(staged).write_text(contract_text(artifact), encoding="utf-8")
        if not agreement.passed:
            divergence = find_divergence(reference, target, staged, precision)
            reason = agreements.failures(agreement)
            kept = _reject(target, staged, path, to_json([reason, artifact, divergence]))
            return Rejected(kept, artifact, agreement, reason, divergence, reference.data)
        # Companions first, so that a main file is never without them, and the contract last.
        publish(folder, [*reversed(target.files(path)), contract_path(path)])
    seconds = time.perf_counter() - start
    return Exported(path, artifact, seconds, converted, reference.data)


@contextmanager
def _conversion(words: str, target: Target) -> Iterator[None]:
    """Turns whatever a converter raises into one sentence."""
    try:
        with registry.needed_packages(f"target {target.name}"):
            yield
    except EdgekitError:
        raise
    except (Exception, SystemExit) as error:  # converters and networks raise everything there is
        if isinstance(error, OSError) and error.errno in WRITING_FAILED:
            raise
        if isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM:
            raise
        raise ModelError(
            f"'{words}' cannot be converted to {target.name}: {_reason(error)} (-v shows all)"
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first; wrappers say what to report to whom instead."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _TERMINAL_CODES.sub("", str(error)).splitlines()]
    return next(filter(None, lines), type(error).__name__)


def _contract(
    model: Model,
    target: Target,
    scheme: Scheme,
    path: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    lowerings: tuple[str, ...],
) -> Artifact:
    assert model.preprocessing is not None
    return Artifact(
        path=path.name,
        target=target.name,
        scheme=scheme,
        inputs=inputs,
        outputs=outputs,
        preprocessing=dataclasses.replace(model.preprocessing, layout=target.layout),
        model=model.words,
        spec=model.spec,
        labels=model.labels,
        data=model.data,
        trained=model.trained,
        parent_sha256=model.parent_sha256,
        lowerings=lowerings,
        tools={
            "edgekit": edgekit.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in target.packages},
        },
    )


def _reject(target: Target, staged: Path, path: Path, report: list[Any]) -> Path:
    """Keeps a failed file under a name that nothing opens, with a report instead of a contract.

    What an earlier export left under that name is replaced: it had failed as well.
    """
    kept = path.with_name(path.name + REJECTED)
    names = ("reason", "artifact", "divergence")
    data = {"schema": "edgekit.rejected/1", **dict(zip(names, report, strict=True))}
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    contract_path(kept).write_text(text, encoding="utf-8")
    for file in target.files(path):
        os.replace(staged.parent / file.name, file.with_name(file.name + REJECTED))
    return kept


def _gate_error(rejected: Sequence[Rejected]) -> GateError:
    """Names each rejected file, the bounds that do not hold and the first layer that is wrong."""
    texts = []
    for result in rejected:
        text = f"{result.path} failed verification: {result.reason}"
        if result.divergence is not None:
            text += f"; {result.divergence.describe()}"
        if not result.artifact.trained and result.artifact.scheme.weights != "float32":
            text += "; random weights make rounding grow from layer to layer: train it first"
        texts.append(text)
    return GateError("\n".join(texts))
