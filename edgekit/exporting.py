"""Export: lower, convert, verify in the real runtime, and only then give the file its name."""

from __future__ import annotations

import dataclasses
import json
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

import edgekit
from edgekit import registry
from edgekit.contract import (
    contract_path,
    contract_text,
    embedded_text,
    finished,
    rejected_path,
)
from edgekit.core import Agreement, Artifact, Scheme, Target, TensorSpec, to_json
from edgekit.errors import EdgekitError, GateError, ModelError, UsageError
from edgekit.lowering import lower
from edgekit.models.source import Model, open_model
from edgekit.native_output import captured
from edgekit.staging import (
    WRITING_FAILED,
    check_space,
    output_folder,
    publish,
    refuse_existing,
    staging,
    without_staging,
)
from edgekit.verification import agreement as agreements
from edgekit.verification.artifact import (
    Reference,
    agreement_with,
    diagnose,
    make_reference,
    reason,
    running,
)
from edgekit.verification.divergence import Divergence

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """One verified file.

    Attributes:
        path: as given, or relative to the working folder.
        seconds: lowering, conversion and verification.
        convert_seconds: the target's own part of it.
        verified_on: where the images of the comparison come from.
        skipped: images that were left out of it as corrupt.
    """

    path: Path
    artifact: Artifact
    seconds: float
    convert_seconds: float
    verified_on: str
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rejected:
    """One file that failed its gate, kept under another name.

    Attributes:
        path: of the kept file, ending in ``.rejected``.
        reason: the bounds that do not hold.
        divergence: the first layer that is wrong, where it could be found.
        undiagnosed: why it could not be looked for; ``None`` where it could.
    """

    path: Path
    artifact: Artifact
    agreement: Agreement
    reason: str
    divergence: Divergence | None
    undiagnosed: str | None
    verified_on: str
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """One file that could not be made or run.

    Attributes:
        path: that it would have got.
    """

    path: Path
    target: str
    precision: str
    message: str
    error: EdgekitError


Result = Exported | Rejected | Failed


def export(
    model: str | Model,
    targets: Sequence[str] = ("onnx",),
    precisions: Sequence[str] = ("fp32",),
    *,
    out: Path | str = ".",
    weights: Path | None = None,
    resolution: int | None = None,
    converter: str | None = None,
    data: str | None = None,
    skip_corrupt: bool = False,
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
        converter: of targets that have several; the default one of each if ``None``.
        data: SRC whose images the verification uses; by default that of the training, else noise.
        skip_corrupt: leave out images of it that cannot be decoded, instead of failing.
        overwrite: replace files of the same name.
        notify: told what is being done.

    Returns:
        One entry per target and precision, in that order.

    Raises:
        GateError: files that failed verification. Once the first file is begun, the attribute
            ``results`` of this and any other error has the `Result` of each.
        UnknownNameError: unknown model, target or precision.
        InputError: a model, weights or data that cannot be used; a folder that cannot be written.
        UnavailableError: a converter or runtime is not installed.
    """
    chosen, names = _chosen(targets, precisions, converter)
    if isinstance(model, str):
        notify(f"building {model}")
        model = open_model(model, weights=weights, resolution=resolution)
    folder = Path(out)
    jobs = [(t, p, folder / f"{model.name}-{p}{t.suffix}") for t in chosen for p in names]
    results: list[Result] = []
    with output_folder(folder):
        for target, _, path in jobs:
            refuse_existing([*target.files(path), contract_path(path)], overwrite)
            refuse_existing(_rejected_files(target, path), overwrite=True)
        notify("computing the reference")
        reference = make_reference(model, data, skip_corrupt=skip_corrupt)
        _check_disks(model, folder)
        for target, name, path in jobs:
            notify(f"{target.name} {name}")
            results.append(_attempt(reference, target, name, path))
    failure = _failure(results)
    if failure is not None:
        raise failure
    return [result for result in results if isinstance(result, Exported)]


def _chosen(
    targets: Sequence[str], precisions: Sequence[str], converter: str | None
) -> tuple[list[Target], list[str]]:
    """Targets and names of precisions, each once.

    Raises:
        UnknownNameError: one that the registry does not have.
        UsageError: a precision that a target does not have, or a converter that none has.
    """
    chosen = list({t.name: t for t in map(registry.target, targets)}.values())
    if converter is not None:
        chosen = registry.by_converter(chosen, converter)
    names = list(dict.fromkeys(map(registry.precision, precisions)))
    for target in chosen:
        for name in names:
            if name not in target.schemes:
                raise UsageError(
                    f"target {target.name} has no precision {name}: it has "
                    f"{', '.join(sorted(target.schemes))}"
                )
    return chosen, names


def _check_disks(model: Model, folder: Path) -> None:
    """Refuses disks without room for a file and for what is staged on the way to it."""
    size = 4 * sum(t.numel() * t.element_size() for t in model.module.parameters())
    for place in (folder, Path(tempfile.gettempdir())):
        check_space(place, size)


def _failure(results: Sequence[Result]) -> EdgekitError | None:
    """The first error with the text of all, each with its file; ``None`` where all went well."""
    failed = [result for result in results if isinstance(result, Failed)]
    rejected = [result for result in results if isinstance(result, Rejected)]
    if not failed and not rejected:
        return None
    texts = [f"{f.path} ({f.target}, {f.precision}): {f.message}" for f in failed]
    texts += map(_why_rejected, rejected)
    first = failed[0].error if failed else GateError()
    first.results, first.args = tuple(results), ("\n".join(texts),)
    return first


def _attempt(reference: Reference, target: Target, precision: str, path: Path) -> Result:
    """One file, or why it could not be made, which must not keep the others from being made."""
    try:
        return _export_one(reference, target, precision, path)
    except EdgekitError as error:
        return Failed(path, target.name, precision, without_staging(str(error)), error)


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
        with running(path, target):
            agreement = agreement_with(reference, target, staged, precision)
        artifact = finished(artifact, target.files(staged), agreement=agreement)
        if not agreement.passed:
            return _rejected(reference, target, staged, path, artifact)
        contract_path(staged).write_text(contract_text(artifact), encoding="utf-8")
        # Companions first, so that a main file is never without them, and the contract last.
        publish(folder, [*reversed(target.files(path)), contract_path(path)])
    seconds = time.perf_counter() - start
    return Exported(path, artifact, seconds, converted, reference.data, reference.skipped)


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
            f"'{words}' cannot be converted to {target.name}: {reason(error)} (-v shows all)"
        ) from error


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


def _rejected(
    reference: Reference, target: Target, staged: Path, path: Path, artifact: Artifact
) -> Rejected:
    """Keeps a failed file under a name that nothing opens, with a report instead of a contract.

    What an earlier export left under that name is replaced: it had failed as well.
    """
    agreement = artifact.agreement
    assert agreement is not None
    divergence, undiagnosed = diagnose(reference, target, staged, artifact.scheme.precision)
    result = Rejected(
        rejected_path(path),
        artifact,
        agreement,
        agreements.failures(agreement),
        divergence,
        undiagnosed,
        reference.data,
        reference.skipped,
    )
    report = {
        "schema": "edgekit.rejected/1",
        "reason": result.reason,
        "artifact": to_json(artifact),
        "divergence": to_json(divergence),
        "undiagnosed": undiagnosed,
    }
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    contract_path(rejected_path(staged)).write_text(text, encoding="utf-8")
    for file in target.files(staged):
        file.rename(rejected_path(file))
    publish(staged.parent, _rejected_files(target, path))
    return result


def _rejected_files(target: Target, path: Path) -> list[Path]:
    """What is kept of a failed file, in the order in which it gets its names."""
    files = [rejected_path(file) for file in reversed(target.files(path))]
    return [*files, contract_path(rejected_path(path))]


def _why_rejected(result: Rejected) -> str:
    """Names the file, the bounds that do not hold and the first layer that is wrong."""
    text = f"{result.path} failed verification: {result.reason}"
    if result.divergence is not None:
        text += f"; {result.divergence.describe()}"
    elif result.undiagnosed is not None:
        text += f"; the first diverging layer cannot be looked for: {result.undiagnosed}"
    if not result.artifact.trained and result.artifact.scheme.weights != "float32":
        text += "; random weights make rounding grow from layer to layer: train it first"
    return text
