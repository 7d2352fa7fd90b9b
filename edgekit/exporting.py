"""Export: lower, convert, verify in the real runtime, and only then give the file its name."""

from __future__ import annotations

import dataclasses
import functools
import json
import platform
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
    digest,
    embedded_text,
    finished,
    rejected_path,
)
from edgekit.core import (
    Agreement,
    Artifact,
    Quantizing,
    Rung,
    Scheme,
    Target,
    TensorSpec,
    reason,
    reason_with_layer,
    to_json,
)
from edgekit.core.names import file_name, shown
from edgekit.data.scores import check_kind
from edgekit.devices import host
from edgekit.errors import EdgekitError, GateError, ModelError, UsageError
from edgekit.lowering import lower
from edgekit.models.copying import own_copy
from edgekit.models.source import Model, open_model
from edgekit.native_output import captured
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.integers import Integers, inputs_of
from edgekit.quantize.ladder import SMALL_WEIGHTS, WEIGHTS, Built, HeldOut, climb, held_out
from edgekit.quantize.tuning import Journal, Tuned, journal_path, tune
from edgekit.staging import (
    WRITING_FAILED,
    check_space,
    hidden_folder,
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
    layers_of,
    make_reference,
    rounding_grows,
    running,
)
from edgekit.verification.divergence import Divergence, advice, most_noise, worst_layers

Notify = Callable[[str], None]

MIXED_LAYERS = 4
"""Layers that int8-mixed keeps in float where nobody names them."""


@dataclass(frozen=True, slots=True)
class Exported:
    """One verified file.

    Attributes:
        path: as given, or relative to the working folder.
        seconds: lowering, conversion and verification.
        convert_seconds: the target's own part of it.
        verified_on: where the images of the comparison come from.
        skipped: images that were left out of it as corrupt.
        warning: what tuning found to be wrong with it.
    """

    path: Path
    artifact: Artifact
    seconds: float
    convert_seconds: float
    verified_on: str
    skipped: tuple[str, ...]
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """One file that failed its gate, kept under another name.

    Attributes:
        path: of the kept file, ending in ``.rejected``.
        reason: the bounds that do not hold.
        divergence: the first layer that is wrong, where it could be found.
        undiagnosed: why it could not be looked for; ``None`` where it could.
        worst_layers: of a file of integers, by the noise that each adds, the worst one first.
    """

    path: Path
    artifact: Artifact
    agreement: Agreement
    reason: str
    divergence: Divergence | None
    undiagnosed: str | None
    verified_on: str
    skipped: tuple[str, ...]
    worst_layers: tuple[str, ...] = ()


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
    integers: Integers | None = None,
    scores: str | None = None,
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
        integers: how precisions of integers are made.
        scores: what the outputs are, of `edgekit.core.SCORES`; found from the reference's if
            ``None``.
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
    integers = integers or Integers()
    chosen, names = _chosen(targets, precisions, converter)
    for target, name in ((t, p) for t in chosen for p in names):
        integers.check(target, name)
    integers.check_used([target.schemes[name] for target in chosen for name in names])
    if isinstance(model, str):
        notify(f"building {model}")
        model = open_model(model, weights=weights, resolution=resolution)
    if scores is not None:
        check_kind(scores, model.classes, model.words)
        model = dataclasses.replace(model, scores=scores)
    folder = Path(out)
    try:
        jobs = [
            (t, p, folder / file_name(model.name, f"-{p}{t.suffix}")) for t in chosen for p in names
        ]
    except ValueError as error:
        raise ModelError(f"'{shown(model.words)}': {error}; rename the network") from error
    results: list[Result] = []
    with output_folder(folder):
        for target, _, path in jobs:
            refuse_existing([*target.files(path), contract_path(path)], overwrite)
            refuse_existing(_rejected_files(target, path), overwrite=True)
        notify("computing the reference")
        wanted = any(t.schemes[p].calibration is not None for t, p, _ in jobs)
        bounded = any(t.schemes[p].weights == "int8" for t, p, _ in jobs)
        seen = data or (integers.data if wanted and model.data is None else None)
        reference = make_reference(model, seen, skip_corrupt=skip_corrupt)
        integers.check_layers(reference.model)
        _check_disks(model, folder)
        calibration = integers.calibration(reference.model, skip_corrupt) if wanted else None
        judge = None
        if bounded and integers.max_drop is not None:
            notify("judging the float network")
            own = None if model.data else integers.data
            judge = held_out(
                reference.model, data or own, calibration=calibration, skip_corrupt=skip_corrupt
            )
        retrain = _retraining(reference.model, integers, calibration, skip_corrupt, notify)
        for target, name, path in jobs:
            notify(f"{target.name} {name}")
            scheme = integers.scheme(target, name, calibration)
            job = _Job(
                reference, target, scheme, path, integers, calibration, judge, retrain, overwrite,
                notify,
            )  # fmt: skip
            results.append(_attempt(job))
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
    first.results, first.parts, first.args = tuple(results), texts, ("\n".join(texts),)
    return first


@dataclass(frozen=True, slots=True)
class _Job:
    """One file that is to be made.

    Attributes:
        scheme: to begin with; a ladder may end with another one.
        judge: what its accuracy is judged on, where there is a bound.
        retrain: trains the network for a scheme; ``None`` where there is nothing to train it on.
    """

    reference: Reference
    target: Target
    scheme: Scheme
    path: Path
    integers: Integers
    calibration: Calibration | None
    judge: HeldOut | None
    retrain: Callable[[Scheme], Model] | None
    overwrite: bool
    notify: Notify


def _attempt(job: _Job) -> Result:
    """One file, or why it could not be made, which must not keep the others from being made."""
    try:
        return _export_one(job)
    except EdgekitError as error:
        message = without_staging(str(error))
        return Failed(job.path, job.target.name, job.scheme.precision, message, error)


def _export_one(job: _Job) -> Exported | Rejected:
    start = time.perf_counter()
    target, path, reference = job.target, job.path, job.reference
    with staging(path.parent) as folder:
        built, why = _chosen_file(job, folder)
        artifact, staged = built.artifact, built.path
        agreement = artifact.agreement
        assert agreement is not None
        if why is not None or not agreement.passed:
            journal_path(path).unlink(missing_ok=True)  # the report has it all
            return _rejected(reference, target, staged, path, artifact, why)
        contract_path(staged).write_text(contract_text(artifact), encoding="utf-8")
        # Companions first, so that a main file is never without them, and the contract last.
        finals = [*reversed(target.files(path)), contract_path(path)]
        publish(staged.parent, finals, overwrite=job.overwrite)
    journal_path(path).unlink(missing_ok=True)  # nothing is left to go on with
    seconds = time.perf_counter() - start
    converted = built.seconds
    return Exported(
        path, artifact, seconds, converted, reference.data, reference.skipped, built.warning
    )


def _chosen_file(job: _Job, folder: Path) -> tuple[Built, str | None]:
    """The file that is to be kept, and why it must not be, where it must not."""

    def build(name: str, scheme: Scheme, model: Model | None = None) -> Built:
        return _build(job, scheme, hidden_folder(folder) / job.path.name, model)

    scheme, integers = job.scheme, job.integers
    if scheme.precision == "int8-mixed" and not scheme.float_layers:
        plain = build("int8", scheme)
        worst = tuple(plain.worst()[:MIXED_LAYERS])
        if not worst:
            raise ModelError(
                f"no layer of '{job.reference.model.words}' stands out as one to keep in float: "
                f"name some with --float-layers, or export with --precision int8"
            )
        scheme = dataclasses.replace(scheme, float_layers=worst)
    tuned: Tuned | None = None
    if integers.tune:
        tuned = _tuned(job, scheme, build)
        scheme = tuned.built.artifact.scheme
    if integers.max_drop is None or job.judge is None or scheme.weights != "int8":
        built = build(scheme.precision, scheme) if tuned is None else tuned.built
        return _with_facts(built, tuned=tuned), None
    best, rungs = climb(
        job.target, scheme, build, job.judge, integers.max_drop, job.retrain, job.notify
    )
    if best is None:
        raise ModelError(f"none of {len(rungs)} ways could be built: {rungs[0].error}")
    best = _with_facts(best, rungs, tuned)
    if rungs[-1].passed:
        return best, None
    least = min(rung.drop_points for rung in rungs if rung.drop_points is not None)
    return best, (
        f"none of {len(rungs)} ways loses at most {integers.max_drop:g} points of top-1 on "
        f"'{job.judge.source.name}', {job.judge.split} (the best one loses {least:.2f})"
    )


def _retraining(
    model: Model,
    integers: Integers,
    calibration: Calibration | None,
    skip_corrupt: bool,
    notify: Notify,
) -> Callable[[Scheme], Model] | None:
    """Trains a network for integers, once for all files whose weights have as many bits."""
    words = model.data or integers.data
    if words is None or calibration is None or not integers.epochs or not model.trained:
        return None

    @functools.cache
    def trained(limit: int) -> Model:
        from edgekit.quantize.training import fine_tune

        try:
            return fine_tune(
                model,
                words,
                calibration,
                epochs=integers.epochs,
                limit=limit,
                skip_corrupt=skip_corrupt,
                notify=notify,
            )
        except EdgekitError:
            raise
        except Exception as error:  # networks of users raise everything there is
            raise ModelError(
                f"'{model.words}' cannot be trained for integers: {reason_with_layer(error)}"
            ) from error

    return lambda scheme: trained(63 if scheme.forms.get(WEIGHTS) == SMALL_WEIGHTS else 127)


def _tuned(job: _Job, scheme: Scheme, build: Callable[[str, Scheme], Built]) -> Tuned:
    """The fastest way to write the file.

    Raises:
        EdgekitError: it was ended early; the message says how to go on.
    """
    journal = Journal(journal_path(job.path), host.conditions(job.target))
    floats = job.target.schemes["fp32"]
    other = (lambda: build("fp32", floats)) if scheme.weights == "int8" else None
    try:
        return tune(job.target, scheme, build, other, lambda b: _unfit(job, b), journal, job.notify)
    except EdgekitError as error:
        if journal.path.exists():
            error.args = (
                f"{error}; what was measured is kept in {journal.path}: run the same command "
                f"again to go on",
            )
        raise


def _unfit(job: _Job, built: Built) -> str | None:
    """Why a file must not be taken; ``None`` where it may be."""
    agreement = built.artifact.agreement
    if agreement is None or not agreement.passed:
        return "failed verification"
    bound = job.integers.max_drop
    if job.judge is None or bound is None or built.artifact.scheme.weights != "int8":
        return None
    drop = 100 * (job.judge.top1 - job.judge.score(built, job.target))
    return f"loses {drop:.2f} points of top-1" if drop > bound + 1e-9 else None


def _with_facts(built: Built, rungs: tuple[Rung, ...] = (), tuned: Tuned | None = None) -> Built:
    """The same file with what was tried for it in the contract beside it."""
    candidates = () if tuned is None else tuned.candidates
    artifact = dataclasses.replace(built.artifact, ladder=rungs, tuning=candidates)
    warning = None if tuned is None else tuned.warning
    return dataclasses.replace(built, artifact=artifact, warning=warning)


def _build(job: _Job, scheme: Scheme, staged: Path, model: Model | None = None) -> Built:
    """Writes a file, runs it and compares; what it says of agreement need not have passed."""
    target, reference = job.target, job.reference
    if model is not None:
        scheme = dataclasses.replace(scheme, trained_epochs=job.integers.epochs)
    model = model or reference.model
    images = torch.from_numpy(reference.images[:1])
    with _conversion(model.words, target), captured():
        lowered, lowerings = lower(own_copy(model.module), images, target.name, scheme)
        ranges = inputs_of(job.calibration, target) if scheme.calibration else None
        begin = time.perf_counter()
        scheme = target.export(lowered, images, staged, scheme, ranges)
        converted = time.perf_counter() - begin
        inputs, outputs = target.open(staged).tensors()
        artifact = _contract(model, target, scheme, job.path, inputs, outputs, lowerings)
        if isinstance(target, Quantizing) and scheme.calibration is not None:
            left = target.float_operators(staged)
            artifact = dataclasses.replace(artifact, float_operators=left)
        content = digest(target.files(staged))
        target.embed(staged, embedded_text(artifact))
    with running(job.path, target):
        agreement = agreement_with(reference, target, staged, scheme.precision)
    artifact = finished(artifact, target.files(staged), agreement=agreement)

    def worst() -> list[str]:
        with running(job.path, target):
            return worst_layers(layers_of(reference, target, staged))

    return Built(staged, artifact, content, converted, worst)


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
        raise ModelError(
            f"'{words}' cannot be converted to {target.name}: {reason_with_layer(error)} "
            f"(-v shows all)"
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
        spec=model.spec if model.of_zoo else None,
        labels=model.labels,
        data=model.data,
        trained=model.trained,
        scores=model.scores or "logits",
        parent_sha256=model.parent_sha256,
        lowerings=lowerings,
        tools={
            "edgekit": edgekit.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in target.packages},
        },
    )


def _rejected(
    reference: Reference,
    target: Target,
    staged: Path,
    path: Path,
    artifact: Artifact,
    why: str | None = None,
) -> Rejected:
    """Keeps a failed file under a name that nothing opens, with a report instead of a contract.

    What an earlier export left under that name is replaced: it had failed as well.

    Args:
        why: the gate that it failed, where that is not its agreement.
    """
    agreement = artifact.agreement
    assert agreement is not None
    divergence, undiagnosed = (
        (None, None)
        if agreement.passed
        else diagnose(reference, target, staged, artifact.scheme.precision)
    )
    worst: tuple[str, ...] = ()
    if artifact.scheme.weights == "int8":
        try:
            layers = layers_of(reference, target, staged)
        except Exception as error:  # see `diagnose`
            undiagnosed = undiagnosed or reason(error)
        else:
            worst = tuple(worst_layers(layers))
            divergence = divergence or most_noise(layers)
    result = Rejected(
        rejected_path(path),
        artifact,
        agreement,
        agreements.failures(agreement) or why or "",
        divergence,
        undiagnosed,
        reference.data,
        reference.skipped,
        worst,
    )
    report = {
        "schema": "edgekit.rejected/1",
        "reason": result.reason,
        "artifact": to_json(artifact),
        "divergence": to_json(divergence),
        "undiagnosed": undiagnosed,
        "worst_layers": list(worst),
    }
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    contract_path(rejected_path(staged)).write_text(text, encoding="utf-8")
    for file in target.files(staged):
        file.rename(rejected_path(file))
    publish(staged.parent, _rejected_files(target, path), overwrite=True)
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
    if result.artifact.scheme.weights == "int8":
        text += f"; {advice(result.worst_layers)}"
    return text + rounding_grows(result.artifact.trained)
