"""NetAdapt: a trained network is made to fit a budget, group by group, by measured costs.

Yang et al. 2018, arXiv:1804.03230, with the choice of MobileNetV3, arXiv:1905.02244 section 4. At
each step every group of channels is made as narrow as the step's target needs, by itself; the
candidates are trained shortly and scored on images kept apart for it, and the best one goes on.
Costs of parts propose the widths; what the whole network takes is measured at every step against
the start, and only that decides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import edgekit
from edgekit import registry
from edgekit.core import ModelSpec, canonical_json, from_json, to_json
from edgekit.data import open_source
from edgekit.errors import GateError, ModelError, OutputError, UnavailableError, UsageError
from edgekit.exporting import Exported, export
from edgekit.inference import evaluate, open_classifier
from edgekit.measure.comparing import compare
from edgekit.measure.session import Effort
from edgekit.measure.store import data_folder
from edgekit.measure.subjects import Subject
from edgekit.models.source import Model
from edgekit.models.weights import Checkpoint, load_checkpoint, save_checkpoint
from edgekit.quantize.integers import Integers
from edgekit.search.budget import Limit
from edgekit.search.costs import (
    Costs,
    CostTable,
    CountedMacs,
    CountedSize,
    MeasuredLatency,
    Remembered,
    cost_file,
    search_scheme,
)
from edgekit.search.groups import (
    Group,
    checked,
    importances,
    most_important,
    resized,
    shrunk,
    widths_of,
)
from edgekit.search.journal import Journal, Scored
from edgekit.search.learning import Learner
from edgekit.search.timing import Timer

GRID = 8
"""Candidate widths are multiples of it: runtimes are fast there, and up to four times slower
between (docs/search.md)."""

LEAST_SHARE = 0.125
"""No group gets narrower than this share of what it was."""

SMALLEST_STEP = 0.005
RULES = ("ratio", "accuracy")
MEASURING_SECONDS = 6.0

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a search goes.

    Attributes:
        reduction: share of the cost that the first step takes away.
        decay: factor of that share from step to step.
        tune_steps: batches that a candidate is trained for.
        rate: learning rate of that.
        rule: ``ratio`` takes the candidate that loses least accuracy per cost, ``accuracy`` the
            most accurate one.
        criterion: which channels stay; one of `edgekit.search.groups.CRITERIA`.
        finish_epochs: that the last network is trained for.
        distill: whether trainings learn from the start network's scores, too.
        seed: of everything random.
    """

    reduction: float = 0.1
    decay: float = 0.97
    tune_steps: int = 10
    rate: float = 3e-4
    rule: str = "ratio"
    criterion: str = "l2"
    finish_epochs: int = 10
    distill: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A network on the way, the first one being the start.

    Attributes:
        changed: name of the group that was made narrower; ``None`` for the start and the end.
        width: what is left of it.
        costs: by resource: ms, bytes, multiply-accumulates.
        ratio: latency over that of the start, measured in turns; ``None`` where it was not asked
            for.
        predicted: what was predicted for the first resource of the budget.
        top1: on the images that candidates are chosen by.
        checkpoint: of the network, relative to the search's folder.
        artifact: its exported file.
    """

    step: int
    spec: ModelSpec
    changed: str | None
    width: int | None
    costs: Mapping[str, float]
    ratio: float | None
    ci95: tuple[float, ...]
    predicted: float | None
    top1: float
    params: int
    checkpoint: str
    artifact: str


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A finished search.

    Attributes:
        steps: the start, then one network per step; the last one was trained to the end.
        test_top1: of the start and of the end, on test images, in the target's runtime; ``None``
            where there are no test images.
        frozen: groups that were left alone, with the reason.
    """

    steps: tuple[Step, ...]
    test_top1: tuple[float, float] | None
    frozen: tuple[Group, ...]
    model: Path


def search(
    model: Model,
    limits: Sequence[Limit],
    target: str,
    precision: str = "fp32",
    *,
    data: str | None = None,
    out: Path,
    options: SearchOptions | None = None,
    threads: int = 1,
    resume: bool = False,
    notify: Notify = lambda text: None,
) -> SearchResult:
    """Adapts a trained network of the zoo to a budget.

    Args:
        limits: of `edgekit.search.budget.parse_budget`.
        data: SRC; that of the training if ``None``.
        out: folder of the search.
        threads: that latencies are measured with.
        resume: go on with the search in ``out``.

    Raises:
        UsageError: options that do not go together, or a budget out of reach.
        ModelError: the network cannot be adapted.
        DataError: images that cannot be used.
        GateError: no network of the search keeps the budget.
    """
    return _Search(
        model, limits, target, precision, data, out, options or SearchOptions(), threads, resume,
        notify,
    ).run()  # fmt: skip


class _Search:
    """A search under way."""

    def __init__(
        self,
        model: Model,
        limits: Sequence[Limit],
        target: str,
        precision: str,
        data: str | None,
        out: Path,
        options: SearchOptions,
        threads: int,
        resume: bool,
        notify: Notify,
    ) -> None:
        words = data or model.data
        if model.spec is None:
            raise ModelError(
                f"'{model.words}' is not of the zoo: expected one of 'edgekit list models', "
                f"trained; groups of channels of other networks are not known"
            )
        if not model.trained or model.preprocessing is None or model.labels is None or not words:
            raise ModelError(
                f"'{model.words}' is untrained, or does not say what it was trained on: expected a "
                f"run folder or checkpoint of 'edgekit train'"
            )
        self.model, self.spec, self.limits, self.options = model, model.spec, limits, options
        self.target, self.out, self.threads, self.notify = (
            registry.target(target), out, threads, notify,
        )  # fmt: skip
        self.precision = registry.precision(precision)
        if self.precision not in self.target.schemes:
            raise UsageError(f"target {target} has no precision {self.precision}")
        self.words = words
        self.facts = model.preprocessing
        self.source = open_source(words)
        self.timer: Timer | None = None
        journal = out / "journal.sqlite"
        if journal.exists() and not resume:
            raise UsageError(f"{out} holds a search: go on with --resume, or give another -o")
        if resume and not journal.exists():
            raise UsageError(f"{out} holds no search to go on with")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {out}: {error.strerror}") from error
        self.journal = Journal(journal, self._identity())

    def _identity(self) -> dict[str, str]:
        weights = hashlib.sha256()
        for name, value in self.model.module.state_dict().items():
            weights.update(name.encode())
            weights.update(value.cpu().numpy().tobytes())
        return {
            "version of edgekit": edgekit.__version__,
            "network": f"{self.spec.name} ({weights.hexdigest()[:12]})",
            "data": self.words,
            "target": self.target.name,
            "precision": self.precision,
            "budget": ",".join(limit.words for limit in self.limits),
            "threads": str(self.threads),
            "options": canonical_json(to_json(self.options)),
        }

    def run(self) -> SearchResult:
        try:
            return self._run()
        except UnavailableError as error:
            error.args = (
                f"{error}; all that was done is kept in {self.out}: give the same command with "
                f"--resume to go on",
            )
            raise
        finally:
            self.journal.close()
            if self.timer is not None:
                self.timer.close()

    def _run(self) -> SearchResult:
        options = self.options
        teacher = self.model.module.eval()
        self.learner = Learner(
            self.source, self.facts, options.seed, teacher if options.distill else None
        )
        self.notify("checking groups of channels")
        images = self.learner.inputs(next(self.learner.batches(0))[0][:2])
        groups = checked(self.spec, self.model.module, images)
        self.free = [group for group in groups if group.frozen is None]
        frozen = tuple(group for group in groups if group.frozen is not None)
        if not self.free:
            raise ModelError(
                f"no channels of '{self.model.words}' can be taken out: {groups[0].name}: "
                f"{groups[0].frozen}"
            )
        steps = [_step(record) for record in self.journal.steps()]
        if not steps:
            steps.append(self._measured(0, self.spec, self.model.module, None, None, None))
        self.start = steps[0]
        self.costs: list[Costs] = [Remembered(self._costs(limit.resource)) for limit in self.limits]
        self.bounds = [limit.absolute(self.start.costs[limit.resource]) for limit in self.limits]
        self._check_reachable()
        while steps[-1].changed is not None or len(steps) == 1:
            if self._fits(steps[-1]):
                steps.append(self._finish(steps[-1]))
                break
            steps.append(self._next(steps[-1]))
        last = steps[-1]
        if not self._fits(last):
            raise GateError(
                f"the network was adapted, but does not keep the budget when measured at last "
                f"({self._told(last)}); it is kept in {self.out}"
            )
        save_checkpoint(self.out / "model.pt", self._checkpoint(last.checkpoint))
        return SearchResult(tuple(steps), self._test(last), frozen, self.out / "model.pt")

    # Costs

    def _costs(self, resource: str) -> Costs:
        if resource == "macs":
            return CountedMacs()
        if resource == "size":
            return CountedSize()
        scheme = search_scheme(Integers().scheme(self.target, self.precision, None))
        versions = {name: _version(name) for name in self.target.packages}
        conditions: dict[str, object] = {
            "device": "host",
            "target": self.target.name,
            "versions": versions,
            "scheme": to_json(scheme),
            "threads": self.threads,
        }
        table = CostTable(cost_file(data_folder()), conditions)
        return MeasuredLatency(self.target, scheme, table, self._timer, self.notify)

    def _timer(self) -> Timer:
        if self.timer is None:
            self.timer = Timer(self.target.name, self.out / self.start.artifact, self.threads)
        return self.timer

    def _check_reachable(self) -> None:
        """Refuses budgets that not even the narrowest network keeps, before any training."""
        least = resized(self.spec, {group.name: self._least(group) for group in self.free})
        for limit, costs, bound in zip(self.limits, self.costs, self.bounds, strict=True):
            start = self.start.costs[limit.resource]
            if start <= bound:
                raise UsageError(
                    f"budget {limit.words}: the network keeps it already "
                    f"({_amount(limit.resource, start)})"
                )
            reachable = start * costs.of(least) / costs.of(self.spec)
            if reachable > bound:
                raise UsageError(
                    f"budget {limit.words} is out of reach: with all groups at an eighth of their "
                    f"channels the network has about {_amount(limit.resource, reachable)} "
                    f"({reachable / start:.2f}x); expected more than that"
                )

    def _least(self, group: Group) -> int:
        share = max(GRID, round(group.channels * LEAST_SHARE / GRID) * GRID)
        return min(group.channels, share)

    def _fits(self, step: Step) -> bool:
        """Whether a network keeps all bounds, latency with the upper end of its interval."""
        for limit, bound in zip(self.limits, self.bounds, strict=True):
            found = step.costs[limit.resource]
            if limit.resource == "latency" and step.ci95:
                found = step.ci95[1] * self.start.costs["latency"]
            if found > bound * (1 + 1e-9):
                return False
        return True

    def _told(self, step: Step) -> str:
        return ", ".join(
            f"{limit.resource} {_amount(limit.resource, step.costs[limit.resource])}"
            for limit in self.limits
        )

    # Steps

    def _next(self, last: Step) -> Step:
        number = last.step + 1
        worst = max(
            range(len(self.limits)),
            key=lambda i: last.costs[self.limits[i].resource] / self.bounds[i],
        )
        resource, bound = self.limits[worst].resource, self.bounds[worst]
        costs, current = self.costs[worst], last.costs[resource]
        share = self.options.reduction * self.options.decay**last.step
        # A measured network may lie just above the bound: the next one aims a little below it.
        aim = bound if current > 1.02 * bound else bound * 0.99
        while True:
            wanted = max(aim, current * (1 - share)) / current
            proposals = {
                group.name: width
                for group in self.free
                if (width := self._width(last.spec, group, costs, wanted)) is not None
            }
            if proposals:
                break
            share /= 2
            if share < SMALLEST_STEP:
                raise GateError(
                    f"no single group makes the network smaller any more at "
                    f"{self._told(last)}; what was found is kept in {self.out}"
                )
        module = self._load(last.checkpoint)
        spent = costs.of(last.spec)
        chosen = self._choose(number, last, module, proposals, costs, spent)
        spec, network = self._load_candidate(number, chosen.channels)
        predicted = current * costs.of(spec) / spent
        step = self._measured(number, spec, network, chosen, predicted, chosen.top1)
        shutil.rmtree(self._candidates(number))
        return step

    def _width(self, spec: ModelSpec, group: Group, costs: Costs, wanted: float) -> int | None:
        """The largest width on the grid with which a network costs ``wanted`` of what it costs now.

        Costs are nearly straight lines of one width, so a few are enough to find it.
        """
        now = widths_of(spec)[group.name]
        least = self._least(group)
        widths = [n for n in range(GRID, now, GRID) if n >= least]
        if not widths:
            return None
        whole = costs.of(spec)

        def share(width: int) -> float:
            return costs.of(resized(spec, {group.name: width})) / whole

        lowest = share(widths[0])
        if lowest > wanted:
            return None
        guess = widths[0] + (now - widths[0]) * (wanted - lowest) / max(1 - lowest, 1e-9)
        at = max(i for i, n in enumerate(widths) if n <= max(guess, widths[0]))
        while at > 0 and share(widths[at]) > wanted:
            at -= 1
        while at + 1 < len(widths) and share(widths[at + 1]) <= wanted:
            at += 1
        return widths[at]

    def _choose(
        self,
        number: int,
        last: Step,
        module: nn.Module,
        proposals: Mapping[str, int],
        costs: Costs,
        spent: float,
    ) -> Scored:
        batch = None
        if self.options.criterion == "taylor":
            pixels, labels = next(self.learner.batches(0))
            batch = (self.learner.inputs(pixels), labels)
        ranks = importances(module, self.options.criterion, batch)
        rough = [
            self._scored(number, last, module, name, width, ranks, tuned=False)
            for name, width in proposals.items()
        ]
        rough = sorted(
            (one for one in rough if one.top1 is not None),
            key=lambda one: self._merit(one, last, costs, spent),
            reverse=True,
        )
        if not rough:
            raise ModelError("every candidate failed")
        # Half of them are out without a training: successive halving.
        kept = rough[: max(3, len(rough) // 2)]
        tuned = [
            self._scored(number, last, module, one.channels, one.width, ranks, tuned=True)
            for one in kept
        ]
        alive = [one for one in tuned if one.top1 is not None]
        if not alive:
            raise ModelError("every candidate failed")
        return max(alive, key=lambda one: self._merit(one, last, costs, spent))

    def _merit(self, one: Scored, last: Step, costs: Costs, spent: float) -> tuple[float, float]:
        assert one.top1 is not None
        assert one.loss is not None
        if self.options.rule == "accuracy":
            return one.top1, -one.loss
        smaller = resized(last.spec, {one.channels: one.width})
        saved = 1 - costs.of(smaller) / spent
        return (one.top1 - last.top1) / max(saved, 1e-9), -one.loss

    def _scored(
        self,
        number: int,
        last: Step,
        module: nn.Module,
        name: str,
        width: int,
        ranks: Mapping[str, torch.Tensor],
        *,
        tuned: bool,
    ) -> Scored:
        known = self.journal.candidate(number, name, tuned)
        file = self._candidates(number) / f"{name}.pt"
        if known is not None and known.width == width and (file.exists() or not tuned):
            return known
        what = "training" if tuned else "scoring"
        self.notify(f"step {number}: {what} {name} with {width} channels")
        begin = time.perf_counter()
        try:
            kept = {name: most_important(ranks[name], width)}
            spec, network = shrunk(last.spec, module, kept)
            self.learner.recalibrate(network)
            if tuned:
                self.learner.tune(network, self.options.tune_steps, self.options.rate)
                self._save(file, spec, network)
            top1, loss = self.learner.score(network)
            found = Scored(name, width, top1, loss, time.perf_counter() - begin)
        except ModelError as error:
            found = Scored(name, width, None, None, time.perf_counter() - begin, str(error))
        self.journal.add(number, tuned, found)
        return found

    def _finish(self, last: Step) -> Step:
        """The long training of the network that keeps the budget."""
        self.notify(f"training the last network for {self.options.finish_epochs} epochs")
        network = self._load(last.checkpoint)
        steps = self.options.finish_epochs * self.learner.epoch_steps
        if steps:
            self.learner.tune(network, steps, self.options.rate * 3)
        return self._measured(last.step + 1, last.spec, network, None, None, None)

    def _measured(
        self,
        number: int,
        spec: ModelSpec,
        module: nn.Module,
        chosen: Scored | None,
        predicted: float | None,
        top1: float | None,
    ) -> Step:
        """Writes, exports, verifies and measures a network, and notes it."""
        folder = self.out / f"step-{number:02d}"
        folder.mkdir(exist_ok=True)
        file = folder / "model.pt"
        self._save(file, spec, module)
        self.notify(f"step {number}: exporting")
        scheme = self.target.schemes[self.precision]
        (exported,) = export(
            str(file), [self.target.name], [self.precision], out=folder, overwrite=True,
            integers=Integers(self.words) if scheme.calibration is not None else None,
        )  # fmt: skip
        costs = {
            "macs": CountedMacs().of(spec),
            "size": float(exported.artifact.size_bytes or 0),
        }
        ratio: float | None = None
        ci95: tuple[float, ...] = ()
        if any(limit.resource == "latency" for limit in self.limits):
            self.notify(f"step {number}: measuring against the start")
            ratio, ci95, costs["latency"] = self._latency(number, exported)
        if top1 is None:
            top1, _ = self.learner.score(module)
        step = Step(
            step=number,
            spec=spec,
            changed=None if chosen is None else chosen.channels,
            width=None if chosen is None else chosen.width,
            costs=costs,
            ratio=ratio,
            ci95=ci95,
            predicted=predicted,
            top1=top1,
            params=sum(p.numel() for p in module.parameters()),
            checkpoint=str(file.relative_to(self.out)),
            artifact=str(exported.path.relative_to(self.out)),
        )
        self.journal.finish(number, to_json(step))
        return step

    def _latency(self, number: int, exported: Exported) -> tuple[float, tuple[float, ...], float]:
        """Latency over the start's, its interval, and milliseconds at the start's speed."""
        first = exported.path if number == 0 else self.out / self.start.artifact
        found = compare(
            Subject(str(exported.path), threads=self.threads),
            Subject(str(first), threads=self.threads),
            Effort(MEASURING_SECONDS, 0.005),
        )
        if found.interrupted:
            raise KeyboardInterrupt
        if number == 0:
            from edgekit.measure.statistics import summary

            return 1.0, (), summary(found.b.blocks).p50_ms
        ratio = found.ratio
        return ratio.ratio, ratio.ci95, ratio.ratio * self.start.costs["latency"]

    # Files

    def _candidates(self, number: int) -> Path:
        folder = self.out / f"step-{number:02d}" / "candidates"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _save(self, file: Path, spec: ModelSpec, module: nn.Module) -> None:
        assert self.model.labels is not None
        name = f"{self.spec.name}-adapted"
        save_checkpoint(
            file,
            Checkpoint(
                model=name,
                spec=dataclasses.replace(spec, name=name),
                state=module.state_dict(),
                labels=self.model.labels,
                preprocessing=self.facts,
                data=self.words,
            ),
        )

    def _checkpoint(self, file: str) -> Checkpoint:
        return load_checkpoint(self.out / file)

    def _load(self, file: str) -> nn.Module:
        from edgekit.models.weights import build_with

        found = self._checkpoint(file)
        assert found.spec is not None
        return build_with(found.spec, found.state, file).eval()

    def _load_candidate(self, number: int, name: str) -> tuple[ModelSpec, nn.Module]:
        file = f"step-{number:02d}/candidates/{name}.pt"
        found = self._checkpoint(file)
        assert found.spec is not None
        return found.spec, self._load(file)

    def _test(self, last: Step) -> tuple[float, float] | None:
        if "test" not in self.source.splits:
            return None
        self.notify("testing")
        first, end = (
            evaluate(open_classifier(self.out / step.artifact), self.source, split="test").top1
            for step in (self.start, last)
        )
        return first, end


def _step(record: Mapping[str, Any]) -> Step:
    return from_json(Step, json.loads(json.dumps(record)))


def _version(package: str) -> str:
    from importlib import metadata

    return metadata.version(package)


def _amount(resource: str, value: float) -> str:
    if resource == "latency":
        return f"{value:.3f} ms"
    if resource == "size":
        return f"{value / 2**20:.2f} MiB"
    return f"{value / 1e6:.1f}M MACs"
