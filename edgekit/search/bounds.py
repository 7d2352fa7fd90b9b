"""Whether networks keep a budget: what they cost, measured or predicted, against its bounds."""

from __future__ import annotations

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
        self.values = [self._value(limit) for limit in limits]

    def _value(self, limit: Limit) -> float:
        bound = limit.absolute(self._start.costs[limit.resource])
        if limit.resource == "latency" and not limit.relative:
            # Milliseconds of other networks are ratios to the start's, which has an interval, too.
            bound *= self._start.costs["latency"] / self._start.latency_ci95[1]
        return bound

    def predicted(self, spec: ModelSpec, other: Step, which: int) -> float:
        """Cost of a network, by what is known of a measured one.

        Args:
            which: number of the limit.
        """
        known = other.costs[self.limits[which].resource]
        return known * self.costs[which].of(spec) / self.costs[which].of(other.spec)

    def excess(self, found: Step | Appraisal) -> list[float]:
        """By limit: what a network costs over its bound; the upper end of an interval counts."""
        shares = []
        for limit, bound in zip(self.limits, self.values, strict=True):
            cost = found.costs[limit.resource]
            if limit.resource == "latency" and found.ci95:
                cost = found.ci95[1] * self._start.costs["latency"]
            elif limit.resource == "energy" and found.energy_ci95:
                cost = found.energy_ci95[1]
            shares.append(cost / bound)
        return shares

    def worst(self, found: Step) -> int:
        """Number of the limit that a network keeps least."""
        excess = self.excess(found)
        return excess.index(max(excess))

    def fits(self, found: Step | Appraisal) -> bool:
        """Whether a network keeps all bounds when measured."""
        return max(self.excess(found)) <= 1 + 1e-9

    def told(self, found: Step | Appraisal) -> str:
        """What a network costs, in words."""
        return ", ".join(
            f"{limit.resource} {amount(limit.resource, found.costs[limit.resource])}"
            for limit in self.limits
        )
