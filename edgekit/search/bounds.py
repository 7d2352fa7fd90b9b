"""Whether networks keep a budget: what they cost, measured or predicted, against its bounds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.core import ModelSpec
from edgekit.search.budget import Limit, amount
from edgekit.search.costs import Costs
from edgekit.search.records import Step

DRIFT = 0.01
"""Share by which a latency that is measured anew may differ beyond its interval; a network is
measured once more after the long training."""

USUAL_CHANGE = 0.04
"""Share of a latency that has to be told apart, where nothing says more."""

PRIOR_SHARE = 0.1
"""Change of the parts' cost, as a share of the start's, that counts as much as what is expected of
it before anything is measured. Steps are of about 5 %, measured to 1 or 2 %: one says little."""

MOST_OFF = 3.0
"""Factor by which whole networks differ more, or less, than their parts at most."""

LEAST_PREDICTED = 0.01
"""Share of a cost that is predicted at least: lines go below nothing."""

MADE = ("adapted", "widened")
"""Kinds of steps whose networks are made from the one before: rates are learned from these."""


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What a network costs; see `edgekit.search.records.Step` for the attributes."""

    costs: Mapping[str, float]
    ratio: float | None = None
    ci95: tuple[float, ...] = ()
    latency_ci95: tuple[float, ...] = ()
    energy_ci95: tuple[float, ...] = ()


class Bounds:
    """A budget in the units of `edgekit.search.budget.UNITS`, for one start.

    Args:
        start: the network that it is relative to, measured.

    Attributes:
        limits: of the budget.
        costs: by limit, what predicts it.
        values: by limit, what a network may cost.
    """

    def __init__(self, limits: Sequence[Limit], start: Step, costs: Sequence[Costs]) -> None:
        self.limits, self.costs, self._start = limits, costs, start
        self._visited: Sequence[Step] = [start]
        self._rates: dict[int, float] = {}
        self.values = [self._value(limit) for limit in limits]

    def _value(self, limit: Limit) -> float:
        bound = limit.absolute(self._start.costs[limit.resource])
        if limit.resource == "latency" and not limit.relative:
            # Milliseconds of other networks are ratios to the start's, which has an interval, too.
            bound *= self._start.costs["latency"] / self._start.latency_ci95[1]
        return bound

    def predicted(self, spec: ModelSpec, other: Step, which: int) -> float:
        """Cost of a network, by what is known of a measured one; infinite where it is not known.

        What lies between both is what their parts differ by, at the `rate`: a part has its own
        overhead besides, so that the share of its sum that a step takes away is not the network's.

        Args:
            which: number of the limit.

        Raises:
            ModelError: see `rate`.
        """
        known, costs = other.costs[self.limits[which].resource], self.costs[which]
        here, there = costs.of(other.spec), costs.of(spec)
        if math.isinf(here) or math.isinf(there):
            return math.inf
        return max(known + self.rate(which) * (there - here), LEAST_PREDICTED * known)

    def left_of_parts(self, other: Step, which: int, left: float) -> float:
        """Share of a measured network's sum of parts with which so much of its cost is left.

        Raises:
            ModelError: see `rate`.
        """
        known, costs = other.costs[self.limits[which].resource], self.costs[which]
        return 1 - (1 - left) * known / (self.rate(which) * costs.of(other.spec))

    def rate(self, which: int) -> float:
        """Cost of a whole network per cost of parts, by what the visited networks differ by.

        Before there are any, it is the start's cost over what it takes in one piece among the
        parts.

        Raises:
            ModelError: the start cannot be measured in one piece.
        """
        if which not in self._rates:
            resource, costs = self.limits[which].resource, self.costs[which]
            plain = self._start.costs[resource] / costs.whole(self._start.spec)
            pairs = [
                (costs.of(b.spec) - costs.of(a.spec), (b.costs[resource] - a.costs[resource]))
                for a, b in itertools.pairwise(self._visited)
                if b.kind in MADE
            ]
            known = [(x, y / plain) for x, y in pairs if math.isfinite(x)]
            prior = (PRIOR_SHARE * costs.of(self._start.spec)) ** 2
            slope = (prior + sum(x * y for x, y in known)) / (prior + sum(x * x for x, _ in known))
            self._rates[which] = plain * min(max(slope, 1 / MOST_OFF), MOST_OFF)
        return self._rates[which]

    def learn(self, visited: Sequence[Step]) -> None:
        """Takes note of the networks that have been measured, in order."""
        self._visited = visited
        self._rates.clear()

    def excess(self, network: Step | Appraisal) -> list[float]:
        """By limit: what a network costs over its bound; the upper end of an interval counts."""
        shares = []
        for limit, bound in zip(self.limits, self.values, strict=True):
            cost = network.costs[limit.resource]
            if limit.resource == "latency" and network.ci95:
                cost = network.ci95[1] * self._start.costs["latency"]
            elif limit.resource == "energy" and network.energy_ci95:
                cost = network.energy_ci95[1]
            shares.append(cost / bound)
        return shares

    def worst(self, network: Step) -> int:
        """Number of the limit that a network keeps least."""
        excess = self.excess(network)
        return excess.index(max(excess))

    def fits(self, network: Step | Appraisal) -> bool:
        """Whether a network keeps all bounds when measured."""
        return max(self.excess(network)) <= 1 + 1e-9

    def told(self, network: Step | Appraisal) -> str:
        """What a network costs, in words."""
        return ", ".join(
            f"{limit.resource} {amount(limit.resource, network.costs[limit.resource])}"
            for limit in self.limits
        )
