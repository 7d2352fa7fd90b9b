"""What a search is asked to do, checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import registry
from edgekit.arrays import SUFFIX, array_files
from edgekit.core import (
    ImageSource,
    ModelSpec,
    Preprocessing,
    Scheme,
    Target,
)
from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.data.truths import check_told
from edgekit.devices.device import Device
from edgekit.devices.simulators import ready
from edgekit.errors import DataError, ModelError, UsageError
from edgekit.models.callables import is_given
from edgekit.models.model import Model
from edgekit.models.purity import as_function
from edgekit.models.rows import runs_batched
from edgekit.quantize.integers import Integers
from edgekit.search.budget import MEASURED, MEMORIES, Limit
from edgekit.search.discovery import discovered, makeable
from edgekit.search.inputs import (
    SELECTION,
    ImageInputs,
    Inputs,
    Running,
    check_splits,
    open_inputs,
)
from edgekit.search.measuring import Notify, check_meter
from edgekit.search.records import Conduct, SearchOptions
from edgekit.search.scaling import scaled
from edgekit.stated import assumed
from edgekit.tasks import Task as OutputsTask
from edgekit.tasks import task_of as outputs_task
from edgekit.tasks.objectives import Objective
from edgekit.verification.samples import check_takes_images

USUAL = {"arena": "tflm", "sram": "ethos-u55-128"}
"""Simulators by what they tell, where ``--device`` names none."""


@dataclass(frozen=True, slots=True)
class Task:
    """A search that can be begun.

    Attributes:
        model: trained network of the start.
        spec: of the model.
        labels: of its classes, where its outputs have such.
        preprocessing: how its images are prepared; ``None`` where its inputs are no images.
        data: SRC of the inputs.
        inputs: that it is trained on and chosen by.
        out: folder of the search.
        device: that files are measured on; times of parts are kept under its name. A simulator
            for budgets of memory.
        threads: that latencies are measured with.
        objective: what its networks learn.
        run: how they are run.
    """

    model: Model
    spec: ModelSpec
    labels: tuple[str, ...]
    preprocessing: Preprocessing | None
    data: str
    inputs: Inputs
    limits: tuple[Limit, ...]
    target: Target
    precision: str
    out: Path
    options: SearchOptions
    conduct: Conduct
    device: Device
    threads: int
    objective: Objective
    run: Running

    @property
    def meaning(self) -> OutputsTask:
        """What the outputs of its networks mean."""
        return outputs_task(self.model)

    @property
    def source(self) -> ImageSource:
        """The images of a task that learns from labels."""
        assert isinstance(self.inputs, ImageInputs)
        return self.inputs.source

    @property
    def resources(self) -> tuple[str, ...]:
        """What the budget is about, by limit."""
        return tuple(limit.resource for limit in self.limits)

    @property
    def scheme(self) -> Scheme:
        """How parts and networks of which only the costs count are written."""
        scheme = Integers(device=self.device).scheme(self.target, self.precision, None)
        return replace(scheme, interface=self.interface)

    @property
    def simulators(self) -> dict[str, str]:
        """Microcontrollers that the budget is about, by resource: `device` where it is one."""
        return {
            resource: _simulator(resource, self.device)
            for resource in self.resources
            if resource in MEMORIES
        }

    @property
    def interface(self) -> str:
        """Of its files; see `edgekit.core.Scheme`: microcontrollers have integers only."""
        return "int8" if self.simulators else "float"


def _simulator(resource: str, device: Device) -> str:
    """Which simulator tells a memory: a device that does, or the usual one."""
    chosen = device.simulator
    if chosen is not None and chosen.memory == resource:
        return chosen.name
    return USUAL[resource]


def _check_simulators(
    limits: Sequence[Limit], target: Target, precision: str, device: Device
) -> None:
    """Looks for the microcontrollers of a budget.

    Raises:
        UsageError: they do not take the files, or a clock is missing.
        UnavailableError: a package is not installed.
    """
    chosen = device.simulator
    if chosen is not None and (timed := [x.text for x in limits if x.resource in MEASURED]):
        raise UsageError(
            f"budget {timed[0]}: device '{chosen.name}' has no clock and no meter; give --device "
            f"host, or a budget of {chosen.memory}, size or macs"
        )
    for limit in limits:
        if limit.resource not in MEMORIES:
            continue
        found = ready(_simulator(limit.resource, device))
        assert found is not None
        if target.name != found.target or target.schemes[precision].calibration is None:
            raise UsageError(
                f"budget {limit.text}: device '{found.name}' takes files of {found.target} in "
                f"integers: give --target {found.target} --precision int8"
            )


def task_of(
    model: Model,
    limits: Sequence[Limit],
    target: str,
    precision: str,
    *,
    data: str | None,
    out: Path,
    options: SearchOptions,
    conduct: Conduct,
    device: Device,
    threads: int,
    scores: str | None,
    notify: Notify,
) -> Task:
    """Checks what a search is given; `edgekit.search.run.search` describes it.

    Raises:
        UsageError: options that do not go together.
        ModelError: the network cannot be adapted.
        DataError: images that cannot be used.
        UnavailableError: a budget of energy and no meter, or a network that is not of the zoo and
            no Torch-Pruning.
    """
    model = makeable(model)
    if is_given(model.code or "") and conduct.executor != "processes":
        raise UsageError(
            f"executor={conduct.executor}: '{model.source}' is a module that was given in Python, "
            f"which no other process can make: give it as package.module:callable"
        )
    meaning, chosen = outputs_task(model), data or model.data
    if not chosen and model.trained and not meaning.objective(as_function(model)).labelled:
        raise DataError(
            f"'{model.source}' is of the task {model.task}: give inputs like those that it will "
            f"see with --data, images or a folder of {SUFFIX} files; they need no labels"
        )
    if not model.trained or not chosen:
        raise ModelError(
            f"'{model.source}' is untrained, or does not say what it was trained on: expected a "
            f"run folder or checkpoint of 'edgekit train', or --weights and --data"
        )
    format_, precision = registry.target(target), registry.precision(precision)
    if precision not in format_.schemes:
        raise UsageError(
            f"target {format_.name} has no precision {precision}: expected one of "
            f"{', '.join(format_.schemes)}"
        )
    model = as_function(replace(model, scores=meaning.said(scores, model)))
    for note in model.notes or ():
        notify(f"'{model.source}': {note}")
    objective = meaning.objective(model)
    if not objective.labelled and not options.distill:
        raise UsageError(
            f"--no-distill: '{model.source}' is of the task {model.task}, whose networks have "
            f"nothing to learn from but the start network; leave it out"
        )
    labels: tuple[str, ...] = ()
    if objective.labelled:
        _check_has_labels(model, chosen)
        source = open_source(chosen)
        check_splits(source)
        check_told(source, objective.truth, f"the task {meaning.name}")
        labels = meaning.labels_for(source)
    preprocessing = _preparation(model, chosen, labelled=objective.labelled)
    inputs = open_inputs(chosen, preprocessing, model.signature, objective.truth)
    inputs.check()
    if model.signature is not None:
        model = replace(model, preprocessing=preprocessing, data=chosen)
    run = Running(model.signature, batched=True)
    if model.signature is not None:
        run = Running(model.signature, batched=_batched(model, inputs))
    if model.spec is None:
        notify("discovering groups of channels")
        model = discovered(model)
    assert model.spec is not None
    for method in (options.method, *conduct.baselines):
        if method == "compound":
            scaled(method, model.spec, {}, 0, (0,))  # refuses what it cannot take
    _check_simulators(limits, format_, precision, device)
    if any(limit.resource == "energy" for limit in limits):
        check_meter(conduct, device)
    return Task(
        model=model,
        spec=model.spec,
        labels=labels,
        preprocessing=preprocessing,
        data=chosen,
        inputs=inputs,
        limits=tuple(limits),
        target=format_,
        precision=precision,
        out=out,
        options=options,
        conduct=conduct,
        device=device,
        threads=threads,
        objective=objective,
        run=run,
    )


def _check_has_labels(model: Model, data: str) -> None:
    """Refuses arrays for networks that learn from labels.

    Raises:
        DataError: as said.
    """
    if array_files(data):
        raise DataError(
            f"'{data}' holds {SUFFIX} files, which have no labels, and networks of the task "
            f"{model.task} learn from them, as '{model.source}' does: give labelled images"
        )


def _preparation(model: Model, data: str, *, labelled: bool) -> Preprocessing | None:
    """How images become inputs; ``None`` where the inputs are arrays.

    Raises:
        DataError: images for a network that takes anything else than one.
    """
    if model.signature is not None and array_files(data):
        return None
    if model.signature is not None:
        check_takes_images(model, data)
    if model.preprocessing is not None:
        return model.preprocessing
    if model.signature is None and model.image is None:
        return for_source(open_source(data), model.resolution)
    return assumed(model, open_source(data, labelled=labelled))


def _batched(model: Model, inputs: Inputs) -> bool:
    """See `edgekit.models.rows.runs_batched`."""
    samples, _ = inputs.fetch(SELECTION, range(min(4, inputs.size(SELECTION))))
    return runs_batched(model.module, inputs.ready(samples), model.interface)
