"""Widths that a step proposes: the largest ones that cost little enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from edgekit.core import ModelSpec
from edgekit.models import find_spec
from edgekit.search.groups import widths_of
from edgekit.search.netadapt import largest_width, told_apart
from edgekit.search.scaling import GRID, least

NAME = "block3.expand"


class Priced:
    """Costs by a function of one width; counts what it is asked for."""

    resource = "latency"

    def __init__(self, price: Callable[[int], float]) -> None:
        self._price = price
        self.least = 0.0
        self.asked: set[int] = set()

    def of(self, spec: ModelSpec) -> float:
        width = widths_of(spec)[NAME]
        assert width in self.asked
        return self._price(width)

    def at_least(self, spec: ModelSpec) -> float:
        return self.least

    def prepare(self, specs: Sequence[ModelSpec]) -> None:
        self.asked |= {widths_of(spec)[NAME] for spec in specs}


def found(costs: Priced, wanted: float) -> int | None:
    spec = find_spec("mobilenetv2", classes=10, resolution=32)
    now = widths_of(spec)[NAME]
    asking = largest_width(spec, NAME, now, least(now), costs, wanted)
    while True:
        try:
            costs.prepare(next(asking))
        except StopIteration as stop:
            width: int | None = stop.value
            return width


def expected(price: Callable[[int], float], wanted: float) -> int | None:
    now = widths_of(find_spec("mobilenetv2"))[NAME]
    good = [n for n in range(least(now), now, GRID) if price(n) <= wanted * price(now)]
    return max(good, default=None)


def stairs(width: int) -> float:
    return 1.0 + math.ceil(width / 16)


def line(width: int) -> float:
    return 3.0 + width / 50


@pytest.mark.parametrize("wanted", [0.97, 0.9, 0.8, 0.6, 0.5])
@pytest.mark.parametrize("price", [line, stairs])
def test_it_is_the_largest_one(price: Callable[[int], float], wanted: float) -> None:
    costs = Priced(price)
    assert found(costs, wanted) == expected(price, wanted)
    assert len(costs.asked) <= 6


def test_there_may_be_none() -> None:
    assert found(Priced(line), 0.2) is None


def test_a_group_that_cannot_take_so_much_is_not_measured() -> None:
    now = widths_of(find_spec("mobilenetv2"))[NAME]
    costs = Priced(line)
    costs.least = 0.85 * line(now)
    assert found(costs, 0.8) is None
    assert costs.asked == {now}
    assert found(costs, 0.9) == expected(line, 0.9)


def test_widths_that_cannot_be_measured_are_not_proposed() -> None:
    def price(width: int) -> float:
        return math.inf if width in (24, 32, 72, 80) else line(width)

    for wanted in (0.9, 0.8):
        assert found(Priced(price), wanted) == expected(price, wanted)


def test_a_group_of_which_nothing_can_be_measured_is_left_alone() -> None:
    now = widths_of(find_spec("mobilenetv2"))[NAME]
    assert found(Priced(lambda width: 1.0 if width == now else math.inf), 0.9) is None


def test_steps_may_be_finer_where_every_group_would_lose_half_of_its_channels() -> None:
    spec = find_spec("mobilenetv2", classes=10, resolution=32)
    now = widths_of(spec)
    drastic = {NAME: now[NAME] // 2, "block5.expand": 16}
    assert told_apart(spec, drastic) == 1
    assert told_apart(spec, {**drastic, "head": now["head"] - 8}) == 2
