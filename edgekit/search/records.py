"""What a search is asked, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core import ModelSpec, from_json
from edgekit.core.names import inside
from edgekit.core.plain import named
from edgekit.errors import InputError

if TYPE_CHECKING:  # it needs torch, which reading a search does not
    from edgekit.search.groups import Group

METHODS = ("netadapt", "uniform", "random", "compound")
"""Ways to make a network smaller; all but the first ones scale it as a whole."""

BASELINES = ("uniform", "random", "compound")
"""Methods that can run beside another one, for comparison."""

RULES = ("ratio", "accuracy", "reward")
"""How the candidate of a step is chosen: least accuracy lost per cost saved (arXiv:1905.02244),
highest accuracy (arXiv:1804.03230), or highest accuracy times a power of latency over target
(arXiv:1807.11626)."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What decides what a search finds.

    Attributes:
        method: one of `METHODS`.
        reduction: share of the cost that the first step takes away.
        decay: factor of that share from step to step.
        tune_steps: batches that a candidate is trained for at first; what is left of them at the
            end of a step has been trained for three times as many.
        tune_rate: learning rate of that; 0.0003 and 0.0025 brought back less.
        rule: one of `RULES`.
        criterion: which channels stay; one of `edgekit.search.groups.CRITERIA`.
        contest: whether scaled networks compete for the long training; see
            `edgekit.search.contest`.
        finish_epochs: that the last network is trained for.
        finish_rate: learning rate of that; a third of it brought back less.
        scratch: train it from fresh weights instead of from those that it inherited.
        distill: whether trainings learn from the start network's scores, too.
        selection_images: that candidates are scored on, at most; contests take all there are.
        seed: of everything random.
    """

    method: str = "netadapt"
    reduction: float = 0.1
    decay: float = 0.97
    tune_steps: int = 10
    tune_rate: float = 1e-3
    rule: str = "ratio"
    criterion: str = "l2"
    contest: bool = True
    finish_epochs: int = 10
    finish_rate: float = 2.5e-3
    scratch: bool = False
    distill: bool = True
    selection_images: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a search is carried out, which changes nothing of what it finds.

    Attributes:
        baselines: methods of `BASELINES` that run beside it, to the same budget.
        workers: processes that train candidates.
        executor: key of the registry's table of executors.
        time_limit_s: after which a candidate is given up; long trainings get as many times more as
            they are longer.
        patience_s: how long to wait for a device that is gone.
        meter: for budgets of energy; see `edgekit.measure.metering.metering`.
        root: of the file system in which meters are looked for.
        command: what was typed, for messages and records.
    """

    baselines: tuple[str, ...] = ()
    workers: int = 1
    executor: str = "processes"
    time_limit_s: float = 900.0
    patience_s: float = 300.0
    meter: str = "auto"
    root: Path = Path("/")
    command: str = "edgekit search"


@dataclass(frozen=True, slots=True)
class Step:
    """A network of a search, complete with its weights and its verified file.

    Attributes:
        series: the method that found it.
        step: its number in the series; the start is 0.
        kind: ``start``, ``adapted``, ``widened`` where a step went too far and was made again,
            ``contest`` for the network that won it, or ``finished`` after the long training.
        changed: name of the group or stage that was made narrower, or ``every group``; of a
            contest which network has won.
        width: what is left of it, where it is one group.
        costs: by resource: ms, bytes, multiply-accumulates, mJ.
        ratio: latency over that of the start, measured in turns; ``None`` where it was not asked
            for.
        ci95: interval of ``ratio``.
        latency_ci95: interval of the latency in ms; of all but the start that of ``ratio``.
        energy_ci95: interval of the energy in mJ.
        predicted: what was predicted for the first resource of the budget.
        figure: headline figure of the task, such as top-1, of the exported file in its runtime, on
            the inputs that candidates are chosen by; ``top1`` in journals, whatever the task.
        network_figure: of the network in PyTorch on those that candidates are scored on; of one
            from a contest on all of the split.
        test_figure: of the exported file on test inputs, for finished networks and the start;
            known at the end only.
        figure_ci95: 95 % interval of ``figure``; empty where none is known.
        trained_steps: batches that it was trained for since the start.
        checkpoint: of the network, relative to the search's folder.
        artifact: its exported file.
    """

    series: str
    step: int
    kind: str
    spec: ModelSpec
    changed: str | None
    width: int | None
    costs: Mapping[str, float]
    ratio: float | None
    ci95: tuple[float, ...]
    latency_ci95: tuple[float, ...]
    energy_ci95: tuple[float, ...]
    predicted: float | None
    figure: float = field(metadata=named("top1"))
    network_figure: float = field(metadata=named("network_top1"))
    params: int
    trained_steps: int
    checkpoint: str
    artifact: str
    test_figure: float | None = field(default=None, metadata=named("test_top1"))
    figure_ci95: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A candidate that could not be scored."""

    step: int
    channels: str
    width: int | None
    error: str


def step_of(record: Mapping[str, Any]) -> Step:
    """A step from a journal or document, which anybody may have written.

    Raises:
        InputError: it is damaged, or its files lie outside the search's folder.
    """
    try:
        step = from_json(Step, record)
        for path in (step.series, step.checkpoint, step.artifact):
            inside(Path(), path)
    except ValueError as error:
        raise InputError(
            f"the search's journal is damaged ({error}): begin anew in another folder with -o"
        ) from error
    return step


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search has found, finished or so far.

    Attributes:
        steps: the start, one network per step, and the finished one.
        final: the last one so far; at the end the best of those that keep the budget.
        within: how many keep it.
        baselines: networks of other methods, in the order in which they were asked for.
        groups: channels by name, before and after.
        frozen: groups that were left alone, with the reason.
        seconds: wall time by what it was spent on, of all sittings together.
        scored: candidates of the method itself that were scored, and how many of them were trained.
        candidate_hours: that the workers took for them, as wall time.
        notes: what was said on the way: noise, waiting, crashes.
        model: the finished network; ``None`` before there is one.
    """

    steps: tuple[Step, ...]
    final: Step
    within: int
    baselines: Mapping[str, tuple[Step, ...]]
    groups: Mapping[str, tuple[int, int]]
    frozen: tuple[Group, ...]
    seconds: Mapping[str, float]
    scored: int
    trained: int
    candidate_hours: float
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    model: Path | None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the headline figure of its networks is called."""
        return self.settings["title"]

    @property
    def prediction_error(self) -> float | None:
        """Mean of absolute differences between predicted and measured costs, relative to these."""
        resource = self.settings.get("resource", "latency")
        off = [
            abs(step.predicted / step.costs[resource] - 1)
            for step in self.steps
            if step.predicted is not None and step.kind == "adapted"
        ]
        return sum(off) / len(off) if off else None
