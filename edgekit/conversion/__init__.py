"""Export: lower, convert, verify in the real runtime, and only then give the file its name."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgekit import registry, tables
from edgekit.arrays import array_files
from edgekit.contract import contract_path, contract_text
from edgekit.conversion.baking import check_bakeable
from edgekit.conversion.building import Job, Notify, build
from edgekit.conversion.choosing import chosen_file, how_to_go_on, retraining
from edgekit.conversion.floats import PRECISION, FloatForms
from edgekit.conversion.rejecting import rejected, rejected_files
from edgekit.conversion.results import Exported, ExportReport, Failed, Rejected, Result
from edgekit.conversion.suppressing import WAYS, check_suppressible, suppressed
from edgekit.core import CLASSIFY, TENSORS, Scheme, Side, Suppression, Target
from edgekit.core.names import file_name, shown
from edgekit.data import open_source
from edgekit.data.scores import check_goes, check_kind
from edgekit.errors import EdgekitError, ModelError, UsageError
from edgekit.inference import check_settings
from edgekit.models.model import Model
from edgekit.models.purity import as_function
from edgekit.models.taking import Network, Size, model_of
from edgekit.quantize.integers import Integers
from edgekit.quantize.ladder import judge_of
from edgekit.quantize.tuning import journal_path
from edgekit.staging import (
    check_space,
    hidden_folder,
    output_folder,
    publish,
    refuse_existing,
    staging,
    without_staging,
)
from edgekit.stated import NOTHING, Stated, as_stated, assumed, assumption, unsaid
from edgekit.verification.reference import make_reference, preparation

__all__ = ["ExportReport", "Exported", "Failed", "Rejected", "Result", "export"]


def export(
    model: Network,
    targets: Sequence[str] | str = (tables.DEFAULT_TARGET,),
    precisions: Sequence[str] | str = ("fp32",),
    *,
    out: Path | str = ".",
    weights: Path | str | None = None,
    resolution: Side | None = None,
    size: Size | None = None,
    example: Any = None,
    outputs: Sequence[str] | str = (),
    task: str | None = None,
    name: str | None = None,
    converter: str | None = None,
    data: str | None = None,
    skip_corrupt: bool = False,
    integers: Integers | None = None,
    scores: str | None = None,
    stated: Stated = NOTHING,
    dynamic: str | None = None,
    bake_preprocessing: bool = False,
    nms: str = "decode",
    settings: Mapping[str, float] = MappingProxyType({}),
    overwrite: bool = False,
    strict: bool = True,
    notify: Notify = lambda stage: None,
    say: Notify = lambda warning: None,
    done: Callable[[Result], None] = lambda result: None,
) -> ExportReport:
    """Exports a network to every target in every precision, and verifies each file.

    One that fails does not keep the others from being made.

    Args:
        model: MODEL as people write it, a path, a module, a finished training or an open model.
        targets: names of the registry's target table; one, or several with commas, will do.
        precisions: names of the registry's precision table; as well.
        out: folder of the results; made where missing.
        weights: checkpoint or state dict, for a zoo name or callable.
        resolution: input side in pixels, instead of the network's own.
        size: of the image, where it is no square; see `edgekit.models.taking.Size`.
        example: inputs of one inference; see `edgekit.models.taking.model_of`, as for
            ``outputs``, ``task`` and ``name``.
        converter: of targets that have several; the default one of each if ``None``.
        data: SRC whose images the verification uses; by default that of the training, else noise.
        skip_corrupt: leave out images of it that cannot be decoded, instead of failing.
        integers: how precisions of integers are made.
        scores: what the outputs are, of `edgekit.core.SCORES`; found from the reference's if
            ``None``.
        stated: how its images are prepared and what its classes are called, before what the
            network itself says.
        dynamic: ``batch`` for files that take any batch.
        bake_preprocessing: make files that take bytes of pixels, and prepare them themselves.
        nms: where boxes of a detector are suppressed: ``decode``, by whoever uses the file, or
            ``graph``, in it.
        settings: parameters of the network's task in place of its own, of
            `edgekit.inference.SETTINGS`; contracts keep them.
        overwrite: replace files of the same name.
        strict: raise where a file failed; else only the report tells.
        notify: told what is being done.
        say: told each warning as soon as it is known.
        done: told what became of a file, as soon as that is known.

    Returns:
        What became of each file; as a sequence, the verified ones.

    Raises:
        GateError: files that failed verification. Once the first file is begun, the attribute
            ``results`` of this and any other error has the `Result` of each.
        UnknownNameError: unknown model, target or precision.
        InputError: a model, weights or data that cannot be used; a folder that cannot be written.
        UnavailableError: a converter or runtime is not installed.
    """
    wanted = _wanted(targets, precisions, converter, integers or Integers(), dynamic)
    if isinstance(model, str):
        notify(f"building {model}")
    opened = as_function(
        model_of(
            model, weights=weights, resolution=resolution, size=size, example=example,
            outputs=outputs, task=task, name=name,
        )
    )  # fmt: skip
    told = _Warnings(say)
    told.of_network(opened)
    missing = unsaid(opened, stated)
    if bake_preprocessing:
        check_bakeable(opened, missing, wanted.integers.interface)
    if nms not in WAYS:
        raise UsageError(f"--nms {nms}: expected one of {', '.join(WAYS)}")
    check_settings(settings, opened.task, opened.source)
    network = _described(opened, wanted, data, scores, stated)
    network = dataclasses.replace(
        network, baked=bake_preprocessing, parameters={**network.parameters, **settings}
    )
    suppression = None
    if nms == "graph":
        interface = wanted.integers.interface
        suppression = check_suppressible(
            network, wanted.targets, interface, any_batch=wanted.any_batch
        )
    results, skipped = _written(
        network, wanted, Path(out), data, skip_corrupt, overwrite, notify, done, suppression
    )
    told.of_files(opened, missing, results)
    report = ExportReport(results, skipped, missing, tuple(told.texts))
    failure = report.failure if strict else None
    if failure is not None:
        raise failure
    return report


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files are asked for.

    Attributes:
        precisions: names, each once; every target has all of them.
        integers: how those of integers are made.
        any_batch: whether they are to take any batch.
    """

    targets: tuple[Target, ...]
    precisions: tuple[str, ...]
    integers: Integers
    any_batch: bool = False

    @property
    def schemes(self) -> list[Scheme]:
        """Of each file, target by target."""
        return [target.schemes[name] for target in self.targets for name in self.precisions]

    @property
    def calibrated(self) -> bool:
        """Whether some need ranges from images."""
        return any(scheme.calibration is not None for scheme in self.schemes)

    @property
    def judged(self) -> bool:
        """Whether some have a bound of accuracy to keep."""
        return self.integers.max_drop is not None and any(
            scheme.weights == "int8" for scheme in self.schemes
        )

    def images(self, model: Model, data: str | None) -> str | None:
        """SRC of the images for a verification, where any were named for it."""
        return data or (self.integers.data if self.calibrated and model.data is None else None)


def _wanted(
    targets: object,
    precisions: object,
    converter: str | None,
    integers: Integers,
    dynamic: str | None = None,
) -> Wanted:
    """Checks what can be checked before there is a network.

    Raises:
        UnknownNameError: a target or precision that the registry does not have.
        UsageError: one that goes with none of the others, or no name.
    """
    chosen, names = registry.chosen(targets, precisions, converter)
    if dynamic not in (None, "batch"):
        raise UsageError(f"--dynamic {dynamic}: expected batch")
    wanted = Wanted(tuple(chosen), tuple(names), integers, dynamic is not None)
    if dynamic is not None:
        _check_dynamic(wanted)
    for target, precision in ((t, p) for t in chosen for p in names):
        integers.check(target, precision)
    integers.check_used(wanted.schemes)
    return wanted


def _check_dynamic(wanted: Wanted) -> None:
    """Refuses files that cannot take any batch.

    Raises:
        UsageError: of a target whose files have fixed sizes, or a precision whose numbers would
            depend on what else is in the batch.
    """
    for target in wanted.targets:
        if not target.dynamic_batch:
            open_ = [name for name in tables.TARGETS if registry.target(name).dynamic_batch]
            raise UsageError(
                f"--dynamic batch: files of target {target.name} have fixed sizes, as its runtime "
                f"plans memory and layouts for them: expected targets among {', '.join(open_)}"
            )
    for scheme in wanted.schemes:
        if scheme.weights == "int8" and scheme.calibration is None:
            raise UsageError(
                f"--dynamic batch: {scheme.precision} takes ranges from all images of a batch "
                f"together, so that each would change the others: expected another precision"
            )


def _described(
    model: Model, wanted: Wanted, data: str | None, scores: str | None, stated: Stated
) -> Model:
    """The network with what was said of it, and of the images that it is to see.

    Raises:
        UsageError: what was said does not go with it.
    """
    _check_options(model, wanted.integers, scores, stated)
    if scores is not None:
        check_kind(scores, model.classes, model.source)
        model = dataclasses.replace(model, scores=scores)
    model = as_stated(model, stated, wanted.images(model, data))
    given = [one for one in (data, wanted.integers.data) if one is not None]
    images = [one for one in given if not array_files(one)]
    if model.task != CLASSIFY and model.preprocessing is None and images:
        model = dataclasses.replace(
            model, preprocessing=assumed(model, open_source(images[0], labelled=False))
        )
    return model


def _written(
    model: Model,
    wanted: Wanted,
    folder: Path,
    data: str | None,
    skip_corrupt: bool,
    overwrite: bool,
    notify: Notify,
    done: Callable[[Result], None],
    suppression: Suppression | None,
) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """What becomes of each file, and the images that were left out of the verification."""
    integers = wanted.integers
    places = _places(model, wanted, folder)
    if wanted.any_batch:
        _check_first_sizes(model)
    with output_folder(folder):
        for target, _, path in places:
            refuse_existing([*target.written(path), contract_path(path)], overwrite)
            refuse_existing(rejected_files(target.written(path)), overwrite=True)
        notify("computing the reference")
        reference = make_reference(model, wanted.images(model, data), skip_corrupt=skip_corrupt)
        integers.check_layers(reference.model)
        _check_disks(model, folder)
        calibration = (
            integers.calibration(reference.model, skip_corrupt) if wanted.calibrated else None
        )
        judge = None
        if wanted.judged:
            notify("judging the float network")
            own = None if model.data else integers.data
            judge = judge_of(
                reference.model,
                data or own,
                calibration=calibration,
                skip_corrupt=skip_corrupt,
                device=integers.device,
            )
        retrain = retraining(reference.model, integers, calibration, skip_corrupt, notify)
        floats, results = FloatForms(), list[Result]()
        for target, precision, path in places:
            count = f", {len(results)} of {len(places)}" if len(places) > 1 else ""
            notify(f"{target.name} {precision}{count}")
            scheme = integers.scheme(target, precision, calibration)
            job = Job(
                reference, target, scheme, path, integers, calibration, judge, retrain, overwrite,
                notify, wanted.any_batch, suppression,
            )  # fmt: skip
            results.append(_attempt(job, floats))
            done(results[-1])
    return tuple(results), reference.skipped


def _check_first_sizes(model: Model) -> None:
    """Refuses a network some of whose tensors have no batch.

    Raises:
        ModelError: as said.
    """
    for spec in (*model.interface.inputs, *model.interface.outputs):
        if spec.shape[:1] != (1,):
            raise ModelError(
                f"--dynamic batch: '{spec.name}' of '{model.source}' has the shape {spec.shape}: "
                f"expected a first size of 1, which is that of the batch"
            )


def _places(model: Model, wanted: Wanted, folder: Path) -> list[tuple[Target, str, Path]]:
    """Target, precision and path of each file.

    Raises:
        ModelError: no file can be called like the network.
    """
    try:
        return [
            (t, p, folder / file_name(model.name, f"-{p}{t.suffix}"))
            for t in wanted.targets
            for p in wanted.precisions
        ]
    except ValueError as error:
        raise ModelError(f"'{shown(model.source)}': {error}; rename the network") from error


class _Warnings:
    """What has to be known of an export, said and kept."""

    def __init__(self, say: Notify) -> None:
        self._say = say
        self.texts: list[str] = []

    def _add(self, text: str | None) -> None:
        if text is not None:
            self.texts.append(text)
            self._say(text)

    def of_network(self, model: Model) -> None:
        """In which other way than it was built it is run, or what its weights are."""
        for note in model.notes or ():
            self._add(f"'{model.source}': {note}")
        done = preparation(model)
        if done is not None:
            self._add(
                f"'{model.source}' is untrained: {done}; the file is good for timing, and computes "
                f"something else than the network as it was built"
            )

    def of_files(self, model: Model, missing: tuple[str, ...], results: Sequence[Result]) -> None:
        """What was assumed of images, and what tuning found."""
        there = [one for one in results if not isinstance(one, Failed)]
        prepared = there[0].artifact.preprocessing if there else None
        # There are no images for random weights.
        if prepared is not None and (model.trained or not model.of_zoo):
            self._add(assumption(model.source, prepared, missing))
        for one in there:
            self._add(one.warning if isinstance(one, Exported) else None)


def _check_options(model: Model, integers: Integers, scores: str | None, stated: Stated) -> None:
    """Refuses what only classifiers have a use for.

    Raises:
        UsageError: an option that goes with them, for another network.
    """
    if model.task == CLASSIFY:
        return
    check_goes(scores, model.source, model.task)
    if stated.labels is not None and model.task == TENSORS:
        raise UsageError(
            f"--labels goes with scores of classes: '{model.source}' is of the task {model.task}"
        )


def _check_disks(model: Model, folder: Path) -> None:
    """Refuses disks without room for a file and for what is staged on the way to it."""
    size = 4 * sum(t.numel() * t.element_size() for t in model.module.parameters())
    for place in (folder, Path(tempfile.gettempdir())):
        check_space(place, size)


def _attempt(job: Job, floats: FloatForms) -> Result:
    """One file, or why it could not be made, which must not keep the others from being made."""
    try:
        return _export_one(job, floats)
    except EdgekitError as error:
        message = without_staging(str(error)) + how_to_go_on(job)
        return Failed(job.path, job.target.name, job.scheme.precision, message, error)


def _export_one(job: Job, floats: FloatForms) -> Exported | Rejected:
    start = time.perf_counter()
    target, path, reference = job.target, job.path, job.reference
    with staging(path.parent) as folder:
        flaw = floats.flaw(job, folder) if job.scheme.weights == "int8" else None
        if flaw is None:
            built, why = chosen_file(job, folder)
        else:
            built, why = build(job, job.scheme, hidden_folder(folder) / path.name), None
        if job.suppression is not None and flaw is None and why is None:
            agreed = built.artifact.agreement
            if agreed is not None and agreed.passed:
                built, why = suppressed(job, built, job.suppression)
        artifact, staged = built.artifact, built.path
        agreement = artifact.agreement
        assert agreement is not None
        if job.scheme.precision == PRECISION:
            floats.note(target.name, agreement)
        if flaw is not None or why is not None or not agreement.passed:
            journal_path(path).unlink(missing_ok=True)  # the report has it all
            return rejected(reference, target, staged, path, artifact, why, flaw)
        contract_path(staged).write_text(contract_text(artifact), encoding="utf-8")
        # Companions first, so that a main file is never without them, and the contract last.
        finals = [*reversed(target.written(path)), contract_path(path)]
        publish(staged.parent, finals, overwrite=job.overwrite)
    journal_path(path).unlink(missing_ok=True)  # nothing is left to go on with
    seconds = time.perf_counter() - start
    converted = built.seconds
    return Exported(
        path, artifact, seconds, converted, reference.data, reference.skipped, built.warning
    )
