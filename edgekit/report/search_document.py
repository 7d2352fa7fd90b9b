"""The document of a search, as a report reads it.

It may come from anybody, so names, types and ranges are checked before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgekit.core import Scalar, from_json, printable
from edgekit.errors import InputError, UsageError
from edgekit.report.text import shortened
from edgekit.search.budget import Limit, parse_budget
from edgekit.search.document import SCHEMA, TOP1
from edgekit.search.records import Failure


@dataclass(frozen=True, slots=True)
class Headline:
    """The figure that speaks for a network; higher is better, and 1 is the most there is."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Network:
    """A network that was exported and measured.

    Attributes:
        changed: the group or stage that was made narrower, or ``every group``; ``None`` for the
            start and the end.
        width: what is left of it, where it is one group.
        top1: of a classifier on the images that a search chooses by.
        headline: of any network on the inputs that a search chooses by; documents of earlier
            versions have ``top1`` alone.
        latency_ratio: over the start's, measured in turns with it.
        ci95: interval of the ratio; empty where there is none.
        predicted: of the first resource of the budget, before it was measured.
    """

    step: int
    changed: str | None
    width: int | None
    top1: float | None
    latency_ms: float | None
    latency_ratio: float | None
    ci95: tuple[float, ...]
    predicted: float | None
    macs: float
    size_bytes: float
    params: float
    artifact: str
    energy_mj: float | None = None
    headline: Headline | None = None

    @property
    def figure(self) -> float:
        """The headline figure."""
        found = self.top1 if self.headline is None else self.headline.value
        assert found is not None, "looked at when it was read"
        return found

    def cost(self, resource: str) -> float | None:
        """In the units of budgets; ``None`` where it is not known."""
        return {
            "latency": self.latency_ms,
            "energy": self.energy_mj,
            "size": self.size_bytes,
            "macs": self.macs,
        }[resource]

    def interval(self, resource: str) -> tuple[float, float] | None:
        """Where a cost lies with 95 %; ``None`` where nothing says so."""
        if resource != "latency" or not self.ci95 or not self.latency_ratio or not self.latency_ms:
            return None
        scale = self.latency_ms / self.latency_ratio
        return self.ci95[0] * scale, self.ci95[1] * scale


RESOURCES = ("latency", "energy", "size", "macs")


@dataclass(frozen=True, slots=True)
class Series:
    """Networks that one method found.

    Attributes:
        test_top1: of its last network.
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


@dataclass(frozen=True, slots=True)
class Tested:
    """The headline figure on test inputs."""

    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Titled:
    """What the headline figure is called, in documents and by people."""

    name: str
    title: str


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


@dataclass(frozen=True, slots=True)
class SearchDocument:
    """A search, finished or not.

    Attributes:
        words: the network as it was given.
        series: that of the search itself first, then baselines.
        groups: in the order of the network.
        frozen: groups that were left alone, and why.
        seconds: by what they were spent on.
        prediction_error: mean of the absolute differences, relative to what was measured.
    """

    words: str
    network: str
    target: str
    precision: str
    device: str
    budget: str
    method: str
    rule: str | None
    seed: int
    date: str
    finished: bool
    baseline: Network
    final: Network
    steps: tuple[Network, ...]
    pareto: tuple[Network, ...]
    series: tuple[Series, ...]
    test_top1: Tested | None
    groups: tuple[Width, ...]
    frozen: Mapping[str, str]
    seconds: Mapping[str, float]
    candidates: Candidates
    prediction_error: float | None
    model: str | None
    options: Mapping[str, Scalar] | None = None
    command: str | None = None
    headline: Titled = Titled(TOP1, "top-1")
    test_headline: Tested | None = None

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


def read_search(document: Any, named: str = "the document") -> SearchDocument:
    """Reads the document of a search; keys of later versions are left aside.

    Args:
        named: what messages call it, such as its path.

    Raises:
        InputError: it is another one, or damaged; the message names the key.
    """
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise InputError(f"{named} is no document of a search: expected schema {SCHEMA}")
    try:
        found = from_json(SearchDocument, dict(document), more=True)
        for where, value, low, high in _ranges(found):
            if not low <= value <= high:  # NaN lies in no range
                raise ValueError(f"{where}: expected a number from {low:g} to {high:g}")
        for where, network in _networks(found):
            if network.headline is None and network.top1 is None:
                raise ValueError(f"{where}.headline: expected a name and a value")
            if len(network.ci95) not in (0, 2) or list(network.ci95) != sorted(network.ci95):
                raise ValueError(f"{where}.ci95: expected two numbers, the lower one first")
    except (ValueError, OverflowError, RecursionError) as error:
        what = (
            shortened(printable(error), 300)
            .removeprefix("SearchDocument.")
            .removeprefix("SearchDocument: ")
        )
        raise InputError(
            f"{named} is damaged: {what}; expected what 'edgekit search' wrote"
        ) from error
    return found


# Beyond what any network has and any search takes; matplotlib draws nothing sensible there.
_MOST, _LEAST = 1e15, 1e-9


def _networks(found: SearchDocument) -> Iterator[tuple[str, Network]]:
    yield "baseline", found.baseline
    yield "final", found.final
    for name, networks in (("steps", found.steps), ("pareto", found.pareto)):
        yield from ((f"{name}[{i}]", network) for i, network in enumerate(networks))
    for i, series in enumerate(found.series):
        yield from ((f"series[{i}].steps[{j}]", one) for j, one in enumerate(series.steps))


def _ranges(found: SearchDocument) -> Iterator[tuple[str, float, float, float]]:
    """Every number with its name and range."""
    for where, one in _networks(found):
        yield f"{where}.step", one.step, 0, 1e6
        if one.top1 is not None:
            yield f"{where}.top1", one.top1, 0, 1
        if one.headline is not None:
            yield f"{where}.headline.value", one.headline.value, 0, 1
        for name in ("latency_ms", "latency_ratio", "energy_mj", "predicted"):
            value = getattr(one, name)
            if value is not None:
                yield f"{where}.{name}", value, _LEAST, _MOST
        for name in ("macs", "size_bytes", "params"):
            yield f"{where}.{name}", getattr(one, name), 0, _MOST
        for end in one.ci95:
            yield f"{where}.ci95", end, 0, _MOST
        if one.width is not None:
            yield f"{where}.width", one.width, 0, 1e9
    for i, series in enumerate(found.series):
        if series.test_top1 is not None:
            yield f"series[{i}].test_top1", series.test_top1, 0, 1
        if series.test_headline is not None:
            yield f"series[{i}].test_headline.value", series.test_headline.value, 0, 1
    if found.test_top1 is not None:
        yield "test_top1.before", found.test_top1.before, 0, 1
        yield "test_top1.after", found.test_top1.after, 0, 1
    if found.test_headline is not None:
        yield "test_headline.before", found.test_headline.before, 0, 1
        yield "test_headline.after", found.test_headline.after, 0, 1
    for i, group in enumerate(found.groups):
        yield f"groups[{i}].before", group.before, 1, 1e9
        yield f"groups[{i}].after", group.after, 0, 1e9
    for name, seconds in found.seconds.items():
        yield f"seconds.{name}", seconds, 0, _MOST
    tried = found.candidates
    yield "candidates.scored", tried.scored, 0, _MOST
    yield "candidates.trained", tried.trained, 0, _MOST
    yield "candidates.per_hour", tried.per_hour or 0, 0, _MOST
    yield "prediction_error", found.prediction_error or 0, 0, _MOST
