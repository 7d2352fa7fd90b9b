"""The largest scaled network that keeps a budget is found with few measurements."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.errors import GateError
from edgekit.models import find_spec
from edgekit.search.baselines import NEAR, largest_fitting, plans_of
from edgekit.search.bounds import DRIFT
from edgekit.search.costs import CountedMacs, Remembered
from edgekit.search.groups import widths_of
from edgekit.search.journal import Iteration
from edgekit.search.scaling import Scaled

MACS = Remembered(CountedMacs())


class Shop:
    """Networks cost a power of their multiply-accumulates; keeps what it is asked."""

    def __init__(self, budget: float, power: float = 0.7) -> None:
        spec = find_spec("mobilenetv1@0.5", classes=10, resolution=32)
        self.power, self.budget = power, budget
        self.free = {name: n for name, n in widths_of(spec).items() if name != "stem"}
        self.task = SimpleNamespace(spec=spec, resources=("latency",))
        self.options = SimpleNamespace(seed=0)
        self.start, self.bounds = spec, SimpleNamespace(excess=lambda spec: [self.cost(spec)])
        self.trials: list[bool] = []

    def cost(self, spec: Any) -> float:
        share = MACS.of(spec) / MACS.of(self.task.spec)
        return float(share**self.power) / self.budget

    def trial(self, iteration: Iteration, spec: Any, *, once: bool) -> Any:
        self.trials.append(once)
        return spec


@pytest.fixture(scope="module")
def plans() -> list[Scaled]:
    shop: Any = Shop(0.5)
    return plans_of(shop, Iteration("uniform", 0))


@pytest.mark.parametrize(("near", "trials"), [(NEAR, None), (0.04, 3)])
@pytest.mark.parametrize("budget", [0.8, 0.5])
def test_it_keeps_the_budget_and_hardly_less(
    budget: float, near: float, trials: int | None, plans: list[Scaled]
) -> None:
    shop: Any = Shop(budget)
    found = largest_fitting(shop, Iteration("uniform", 0), plans, near, trials)
    bound = 1 / (1 + DRIFT)
    assert shop.cost(found.spec) <= bound
    larger = [plan for plan in plans if shop.cost(found.spec) < shop.cost(plan.spec) <= bound]
    assert not larger or shop.cost(found.spec) >= bound - 2 * near
    assert len(shop.trials) <= (trials or 5)
    assert set(shop.trials) == {trials is not None}


def test_a_few_trials_may_be_enough(plans: list[Scaled]) -> None:
    shop: Any = Shop(0.5, power=2.5)  # the first guess is far smaller than it has to be
    iteration = Iteration("uniform", 0)
    first, best = (largest_fitting(shop, iteration, plans, 0.0, trials) for trials in (1, None))
    assert shop.cost(first.spec) < shop.cost(best.spec) <= 1 / (1 + DRIFT)
    assert shop.trials[:2] == [True, False]


def test_none_may_be_small_enough(plans: list[Scaled]) -> None:
    shop: Any = Shop(0.001)
    with pytest.raises(GateError, match="not even the smallest"):
        largest_fitting(shop, Iteration("uniform", 0), plans)
