"""The document of a search, ``search.json``: one description for who writes it and who reads it.

Documents of earlier versions lack keys: what has a default may be missing where one is read, and is
there in all that are written. It needs no torch, so that pages are made without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.core import Scalar, printable
from edgekit.core.plain import SPARSE
from edgekit.core.text import shortened
from edgekit.errors import UsageError
from edgekit.search.budget import Limit, parse_budget
from edgekit.search.records import Failure

SCHEMA = "edgekit.search/1"

TOP1 = "top1"
"""The headline figure that has keys of its own in documents."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The figure that speaks for a network; higher is better, and 1 is the most there is.

    Attributes:
        ci95: interval of the value; empty where none is known, and of earlier versions.
    """

    name: str
    value: float
    ci95: tuple[float, ...] = field(default=(), metadata=SPARSE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that was exported and measured.

    Attributes:
        spec: an `edgekit.core.ModelSpec`, as plain data where it was read.
        step: its number in its series; the start is 0.
        kind: see `edgekit.search.records.Step`.
        changed: the group or stage that was made narrower, or ``every group``; ``None`` for the
            start and the end.
        width: what is left of it, where it is one group.
        top1: of a classifier on the images that a search chooses by.
        test_top1: of a classifier on test inputs, where it was tested.
        headline: of any network on the inputs that a search chooses by; documents of earlier
            versions have ``top1`` alone.
        test_headline: of any network on test inputs, where it was tested.
        latency_ratio: over the start's, measured in turns with it.
        ci95: interval of the ratio; empty where there is none.
        predicted: of the first resource of the budget, before it was measured.
        artifact: path of its exported file.
        checkpoint: path of its weights.
    """

    spec: object = None
    step: int
    kind: str | None = None
    changed: str | None
    width: int | None
    top1: float | None
    test_top1: float | None = None
    headline: Headline | None = None
    test_headline: Headline | None = None
    latency_ms: float | None
    latency_ratio: float | None
    ci95: tuple[float, ...]
    predicted: float | None
    energy_mj: float | None = None
    macs: float
    size_bytes: float
    arena_bytes: float | None = field(default=None, metadata=SPARSE)
    sram_bytes: float | None = field(default=None, metadata=SPARSE)
    params: float
    artifact: str
    checkpoint: str | None = None

    @property
    def figure(self) -> float:
        """The headline figure."""
        found = self.top1 if self.headline is None else self.headline.value
        assert found is not None, "looked at when it was read"
        return found

    @property
    def figure_ci95(self) -> tuple[float, ...]:
        """Its 95 % interval; empty where none is known."""
        return () if self.headline is None else self.headline.ci95

    def cost(self, resource: str) -> float | None:
        """In the units of budgets; ``None`` where it is not known."""
        return {
            "latency": self.latency_ms,
            "energy": self.energy_mj,
            "size": self.size_bytes,
            "arena": self.arena_bytes,
            "sram": self.sram_bytes,
            "macs": self.macs,
        }[resource]

    def interval(self, resource: str) -> tuple[float, float] | None:
        """Where a cost lies with 95 %; ``None`` where nothing says so."""
        if resource != "latency" or not self.ci95 or not self.latency_ratio or not self.latency_ms:
            return None
        scale = self.latency_ms / self.latency_ratio
        return self.ci95[0] * scale, self.ci95[1] * scale


RESOURCES = ("latency", "energy", "size", "arena", "sram", "macs")


@dataclass(frozen=True, slots=True)
class Series:
    """Networks that one method found.

    Attributes:
        test_top1: mean over those of its networks that were tested; of classifiers.
        test_headline: the same of any task.
    """

    method: str
    steps: tuple[Network, ...]
    test_top1: float | None = None
    test_headline: Headline | None = None

    @property
    def tested(self) -> float | None:
        """The headline figure on test inputs."""
        return self.test_top1 if self.test_headline is None else self.test_headline.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """The headline figure on test inputs, of the start and of the last network."""

    name: str | None = field(default=None, metadata=SPARSE)
    before: float
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Titled:
    """What the headline figure is called, in documents and by people.

    Attributes:
        value: of the last network.
    """

    name: str
    value: float | None = None
    title: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which network of a finished search is its result: the best one that keeps the budget.

    Attributes:
        by: name of the figure that decided, on the inputs that a search chooses by, of the file.
        within: how many networks of the search keep the budget.
        step: of the one that was taken.
        kind: of that step; another one than ``finished`` where the long training made it no better.
    """

    by: str
    within: int
    step: int
    kind: str


@dataclass(frozen=True, slots=True)
class Width:
    """Channels of a group."""

    name: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Candidates:
    """What was tried."""

    scored: int
    trained: int
    per_hour: float | None
    failed: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchDocument:
    """A search, finished or not.

    Attributes:
        words: the network as it was given.
        command: what was typed.
        options: of `edgekit.search.records.SearchOptions`.
        date: of its last change, as ISO 8601 has it.
        processor: of the device; ``None`` where nobody knows, and of earlier versions.
        emulated: whether a program imitates that processor, so that times mean nothing.
        task: of the network.
        test_top1: of a classifier.
        test_headline: the same of any task.
        final: the result, or the last network of a search that has not finished.
        choice: how the result was chosen; ``None`` before there is one, and of earlier versions.
        series: that of the search itself first, then baselines.
        groups: in the order of the network.
        frozen: groups that were left alone, and why.
        seconds: by what they were spent on.
        notes: what was said on the way.
        prediction_error: mean of the absolute differences, relative to what was measured.
        model: path of the finished network; ``None`` before there is one.
    """

    words: str
    network: str
    target: str
    precision: str
    device: str
    processor: str | None = field(default=None, metadata=SPARSE)
    emulated: bool = field(default=False, metadata=SPARSE)
    budget: str
    method: str
    rule: str | None
    command: str | None = None
    seed: int
    options: Mapping[str, Scalar] | None = None
    date: str
    finished: bool
    task: str | None = None
    headline: Titled = Titled(name=TOP1, title="top-1")
    baseline: Network
    final: Network
    choice: Choice | None = None
    steps: tuple[Network, ...]
    pareto: tuple[Network, ...]
    series: tuple[Series, ...]
    test_top1: Tested | None
    test_headline: Tested | None = None
    groups: tuple[Width, ...]
    frozen: Mapping[str, str]
    seconds: Mapping[str, float]
    candidates: Candidates
    notes: tuple[str, ...] = ()
    prediction_error: float | None
    model: str | None

    @property
    def title(self) -> str:
        """What the headline figure is called."""
        return shortened(printable(self.headline.title), 24)

    @property
    def inputs(self) -> str:
        """What networks are chosen by and tested on."""
        return "images" if self.headline.name == TOP1 else "inputs"

    @property
    def tested(self) -> Tested | None:
        """The headline figure on test inputs."""
        return self.test_headline or self.test_top1

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The budget; empty where it is written in a way that this version does not know."""
        try:
            return parse_budget(self.budget)
        except UsageError:
            return ()

    @property
    def resource(self) -> str:
        """What networks are drawn against: latency where it was measured."""
        wanted = ["latency", *(limit.resource for limit in self.limits)]
        known = (r for r in wanted if r in RESOURCES and self.baseline.cost(r) is not None)
        return next(known, "macs")

    @property
    def steered(self) -> str:
        """The first resource of the budget, which predictions are about."""
        first = next((limit.resource for limit in self.limits), "latency")
        return first if first in RESOURCES else "latency"

    def bound(self, resource: str) -> float | None:
        """What the budget allows of a resource."""
        start = self.baseline.cost(resource) if resource in RESOURCES else None
        for limit in self.limits:
            if limit.resource == resource and (start is not None or not limit.relative):
                return limit.absolute(start or 0.0)
        return None

    def keeps(self, network: Network) -> bool | None:
        """Whether a network keeps the budget; ``None`` where that is not known."""
        if not self.limits:
            return None
        for limit in self.limits:
            bound = self.bound(limit.resource)
            cost = network.cost(limit.resource) if limit.resource in RESOURCES else None
            if bound is None or cost is None:
                return None
            interval = network.interval(limit.resource)
            if (interval[1] if interval else cost) > bound * (1 + 1e-9):
                return False
        return True

    @property
    def methods(self) -> tuple[Series, ...]:
        """The series that have networks; the search's own is there in any case."""
        own = Series(self.method, self.steps or (self.baseline,))
        return tuple(one for one in self.series or (own,) if one.steps) or (own,)
