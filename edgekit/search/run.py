"""A search from the trained network to the networks that were found."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgekit import registry
from edgekit.core import canonical_json, to_json
from edgekit.devices.device import HOST, Device
from edgekit.errors import GateError, ModelError, UnavailableError, UsageError
from edgekit.locks import one_writer
from edgekit.models.callables import is_given
from edgekit.models.model import Model
from edgekit.models.weights import load_checkpoint, save_checkpoint
from edgekit.search.baselines import baseline
from edgekit.search.bounds import Appraisal
from edgekit.search.budget import MEASURED, Limit, amount
from edgekit.search.groups import Group, checked, widths_of
from edgekit.search.identity import identity_of
from edgekit.search.inside import Inside
from edgekit.search.jobs import Bench, WorkerSetup
from edgekit.search.journal import FILE_NAME, Iteration, Journal, files_of_search
from edgekit.search.measuring import Notify
from edgekit.search.netadapt import ROUNDS, adapt
from edgekit.search.processes import Executor
from edgekit.search.records import Conduct, Failure, SearchOptions, SearchResult, Step, step_of
from edgekit.search.scaling import LEAST_SHARE
from edgekit.search.task import Task, task_of
from edgekit.search.workshop import CONTEST, FINISHING, Workshop
from edgekit.search.writing import Documents, Draw
from edgekit.staging import output_folder

Found = Callable[[SearchResult], None]


def search(
    model: Model,
    limits: Sequence[Limit],
    target: str,
    precision: str = "fp32",
    *,
    data: str | None = None,
    out: Path,
    options: SearchOptions | None = None,
    conduct: Conduct | None = None,
    device: Device = HOST,
    threads: int = 1,
    scores: str | None = None,
    resume: bool = False,
    draw: Draw = lambda document: {},
    notify: Notify = lambda text: None,
    say: Notify = lambda text: None,
    found: Found = lambda result: None,
) -> SearchResult:
    """Adapts a trained network to a budget.

    Args:
        limits: of `edgekit.search.budget.parse_budget`.
        data: SRC; that of the training if ``None``.
        out: folder of the search.
        device: that files are measured on; times of parts are kept under its name.
        threads: that latencies are measured with.
        scores: what the outputs of a network that is not of the zoo are, of
            `edgekit.core.SCORES`; ``None``: as its checkpoint says, or as they look.
        resume: go on with the search in ``out``.
        draw: makes further files of the search's document, as steps are done and at the end.
        notify: told what is being done.
        say: told what has to be known, such as measurements too coarse for a step.
        found: given the networks so far, whenever there is one more.

    Raises:
        UsageError: options that do not go together, a budget out of reach, or another process is
            at work in ``out``.
        ModelError: the network cannot be adapted.
        DataError: images that cannot be used.
        GateError: no network of the search keeps the budget.
        UnavailableError: the device is gone; what was done is kept.
    """
    device.check_able("parts")
    task = task_of(
        model, limits, target, precision, data=data, out=out, options=options or SearchOptions(),
        conduct=conduct or Conduct(), device=device, threads=threads, scores=scores, notify=notify,
    )  # fmt: skip
    with (
        output_folder(out),
        one_writer(out, "search"),
        _open_journal(out, identity_of(task), resume=resume) as journal,
    ):
        notify("checking groups of channels")
        groups = checked(task.spec, task.model.module, _two(task), task.run)
        free = {group.name: group.channels for group in groups if group.frozen is None}
        if not free:
            raise ModelError(
                f"no channels of '{model.source}' can be taken out: {groups[0].name}: "
                f"{groups[0].frozen}"
            )
        workers = functools.partial(_executor, task.conduct, say)
        shop = Workshop(task, journal, free, workers, notify, say)
        if not resume and device.emulated() and set(task.resources) & set(MEASURED):
            shop.say(
                Iteration("device", 0),
                f"the processor of {device.name} is emulated: what is measured there means nothing "
                f"for real ones",
            )
        try:
            return _run(shop, groups, draw, found)
        except UnavailableError as error:
            raise type(error)(
                f"{error}; all that was done is kept in {out}: go on with "
                f"{_resuming(task.conduct.command)}"
            ) from error
        finally:
            shop.close()


def _run(shop: Workshop, groups: Sequence[Group], draw: Draw, found: Found) -> SearchResult:
    try:
        shop.open()
        _check_budget(shop)
    except UsageError:
        _forget(shop)  # so that another budget can be tried
        raise
    result, documents = functools.partial(_result, shop, groups), Documents(shop.out, draw)

    def keep(networks: SearchResult) -> None:
        documents.keep(networks)
        found(networks)

    whole = shop.out / "model.pt"
    if not whole.exists():
        known = [step_of(record) for record in shop.journal.steps(shop.options.method)]
        keep(result((shop.start, *known), {}))
    if shop.options.method == "netadapt":
        steps = adapt(shop, lambda steps: keep(result(tuple(steps), {})))
    else:
        scaled = baseline(shop, shop.options.method)
        steps = [
            shop.start,
            *sorted(scaled, key=lambda step: (shop.bounds.fits(step), step.figure)),
        ]
    final, within = _chosen(shop, steps)
    place = steps.index(final)
    last = next(step for step in reversed(steps) if step.kind == "finished")
    steps = [_tested(shop, step) if step in (shop.start, final) else step for step in steps]
    final = steps[place]
    checkpoint = load_checkpoint(shop.journal.file(final.checkpoint))
    name = f"{shop.task.spec.name}-adapted"
    assert checkpoint.spec is not None
    save_checkpoint(
        whole, replace(checkpoint, model=name, spec=replace(checkpoint.spec, name=name))
    )
    ended = functools.partial(result, model=whole, final=final, within=within)
    others: dict[str, tuple[Step, ...]] = {}
    finished = ended(tuple(steps), others)
    keep(finished)
    for method in shop.task.conduct.baselines:
        if method == shop.options.method:
            continue
        try:
            long_trainings = sum(step.kind == "finished" for step in steps)
            scaled_ones = baseline(shop, method, last.trained_steps, long_trainings)
        except (GateError, ModelError) as error:  # the network that was found is none the worse
            shop.say(Iteration(method, 0), f"baseline {method}: {error}")
        else:
            others[method] = tuple(_tested(shop, step) for step in scaled_ones)
        finished = ended(tuple(steps), others)
        keep(finished)
    return finished


def _forget(shop: Workshop) -> None:
    """Takes away what a search has left that was refused before its first step."""
    shop.close()
    shop.journal.close()
    for path in (shop.out / name for name in _FIRST):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


_FIRST = (FILE_NAME, "start.pt", "step-00", "narrowest-00")


def _check_budget(shop: Workshop) -> None:
    """Refuses a budget that is kept already or out of reach, before any training."""
    start, iteration = shop.start.costs, Iteration("narrowest", 0)
    kept = [
        (limit, bound)
        for limit, bound in zip(shop.task.limits, shop.bounds.values, strict=True)
        if start[limit.resource] <= bound
    ]
    for limit, _ in kept:
        already = f"budget {limit.text}: the network keeps it already"
        text = f"{already} ({amount(limit.resource, start[limit.resource])})"
        if len(kept) == len(shop.task.limits):
            raise UsageError(text)
        if {"text": text} not in shop.journal.events("said"):
            shop.say(iteration, text)
    measured: list[Appraisal] = []
    for share in _NARROW:
        shop.notify(f"measuring with {share:g} of all channels")
        measured.append(shop.trial(iteration, shop.narrowed(share)))
        if shop.bounds.fits(measured[-1]):
            return
    for i, limit in enumerate(shop.task.limits):
        excess, least = min(
            ((shop.bounds.excess(found)[i], found) for found in measured), key=lambda pair: pair[0]
        )
        if excess > 1:
            cost = least.costs[limit.resource]
            raise UsageError(
                f"budget {limit.text} is out of reach: of the networks with "
                f"{', '.join(f'{share:g}' for share in _NARROW)} of the channels of all groups the "
                f"least has {amount(limit.resource, cost)} "
                f"({cost / start[limit.resource]:.2f}x{_half(least, limit)}); expected more than "
                f"that"
            )


_NARROW = (LEAST_SHARE, 0.25, 0.5)
"""Shares of all channels that are measured before a budget is refused. The narrowest network is
not always the fastest one: kernels of integers may need a number of channels to be worth it."""


def _half(appraisal: Appraisal, limit: Limit) -> str:
    if limit.resource != "latency" or not appraisal.ci95:
        return ""
    return f" +-{(appraisal.ci95[1] - appraisal.ci95[0]) / 2:.2f}"


def _chosen(shop: Workshop, steps: Sequence[Step]) -> tuple[Step, int]:
    """The best network that keeps the budget, of equal ones the last, and how many do.

    Most often that is the one with the long training; where it is not, that is said.

    Raises:
        GateError: none does.
    """
    kept = [step for step in steps[1:] if shop.bounds.fits(step)]
    if not kept:
        last = next(step for step in reversed(steps) if step.kind == "finished")
        raise GateError(
            f"the network was adapted, but does not keep the budget when measured at last "
            f"({shop.bounds.told(last)}); it is kept in {shop.out}"
        )
    best = max(reversed(kept), key=lambda step: step.figure)
    if best.kind != "finished":
        others = (step for step in reversed(kept) if step.kind == "finished")
        after = ", ".join(f"{step.figure:.2%} after the long training" for step in others)
        text = f"step {best.step} is the result, as it is better: {best.figure:.2%}, {after}"
        if {"text": text} not in shop.journal.events("said"):
            shop.say(Iteration(best.series, best.step), text)
    return best, len(kept)


def _tested(shop: Workshop, step: Step) -> Step:
    iteration = Iteration(step.series, step.step)
    for record in shop.journal.events("test"):
        if (record["series"], record["step"]) == (step.series, step.step):
            return replace(step, test_figure=record["top1"])
    figure = shop.tested(step)
    shop.journal.note("test", iteration, {"series": step.series, "step": step.step, "top1": figure})
    return replace(step, test_figure=figure)


def _result(
    shop: Workshop,
    groups: Sequence[Group],
    steps: tuple[Step, ...],
    baselines: Mapping[str, tuple[Step, ...]],
    model: Path | None = None,
    final: Step | None = None,
    within: int = 0,
) -> SearchResult:
    shop.journal.settle()
    everything = shop.journal.candidates()
    candidates = [
        (iteration, one)
        for iteration, one in everything
        if iteration.series == "netadapt" and iteration.round not in (CONTEST, FINISHING)
    ]
    worked_s = sum(one.seconds for _, one in candidates)
    final = final or steps[-1]
    after = widths_of(final.spec)
    return SearchResult(
        steps=steps,
        final=final,
        within=within,
        baselines=baselines,
        groups={
            group.name: (group.channels, after.get(group.name, group.channels)) for group in groups
        },
        frozen=tuple(group for group in groups if group.frozen is not None),
        seconds=shop.journal.seconds(),
        scored=sum(iteration.round == 0 for iteration, _ in candidates),
        trained=sum(iteration.round == len(ROUNDS) - 2 for iteration, _ in candidates),
        candidate_hours=worked_s / shop.task.conduct.workers / 3600,
        failures=tuple(
            Failure(iteration.step, one.channels, one.width, one.error)
            for iteration, one in everything
            if one.error is not None
        ),
        notes=tuple(record["text"] for record in shop.journal.events("said")),
        model=model,
        settings=_settings(shop.task),
    )


def _settings(task: Task) -> dict[str, str]:
    options = task.options
    return {
        "words": task.model.source,
        "network": task.spec.name,
        "task": task.model.task,
        "headline": task.meaning.headline,
        "title": task.meaning.title,
        "target": task.target.name,
        "precision": task.precision,
        "device": task.device.name,
        "processor": (task.device.simulator is None and task.device.hardware()["soc"]) or "",
        "emulated": "yes" if task.device.emulated() else "",
        "budget": ",".join(limit.text for limit in task.limits),
        "resource": task.resources[0],
        "method": options.method,
        "rule": options.rule,
        "seed": str(options.seed),
        "options": canonical_json(to_json(options)),
        "command": task.conduct.command,
    }


def _open_journal(out: Path, identity: Mapping[str, str], *, resume: bool) -> Journal:
    path = out / FILE_NAME
    if path.exists() and not resume:
        raise UsageError(f"{out} holds a search: go on with --resume, or give another -o")
    if resume and not path.exists():
        raise UsageError(f"{out} holds no search to go on with")
    if not resume:
        for name in files_of_search(out):
            raise UsageError(
                f"{out} holds {name} of something else: give a folder of the search's own with -o"
            )
    return Journal(path, identity)


def _executor(conduct: Conduct, notify: Notify, setup: WorkerSetup) -> Executor:
    if is_given(setup.code or ""):
        return Inside(functools.partial(_work, setup))
    make: Callable[..., Executor] = registry.executor(conduct.executor)
    return make(functools.partial(_work, setup), conduct.workers, conduct.time_limit_s, notify)


def _work(setup: WorkerSetup) -> Callable[[Any], Any]:
    """What a worker does with a job; called in its process."""
    bench = Bench(setup)
    return lambda job: job.do(bench)


def _two(task: Task) -> torch.Tensor:
    """Two samples of the training as the network takes them."""
    return task.inputs.ready(task.inputs.fetch("train", (0, 1))[0])


def _resuming(command: str) -> str:
    return command if " --resume" in command else f"{command} --resume"
