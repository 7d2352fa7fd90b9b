"""What networks are predicted to cost, by their parts and by networks that were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.core import ModelSpec
from edgekit.models import find_spec
from edgekit.search.bounds import LEAST_PREDICTED, MOST_OFF, Bounds
from edgekit.search.costs import CountedMacs
from edgekit.search.groups import resized, widths_of
from edgekit.search.records import Step

NAME = "block3.out"
SPEC = find_spec("mobilenetv1", classes=10, resolution=32)
START = widths_of(SPEC)[NAME]


def narrow(width: int) -> ModelSpec:
    return resized(SPEC, {NAME: width})


class Parts:
    """Parts that take as many units as a group has channels, and some that are always there.

    Args:
        whole: of the start in one piece.
    """

    resource = "latency"

    def __init__(self, others: float, whole: float) -> None:
        self._others, self._whole = others, whole

    def whole(self, spec: ModelSpec) -> float:
        assert spec == SPEC
        return self._whole

    def of(self, spec: ModelSpec) -> float:
        return self._others + widths_of(spec)[NAME]


def step(width: int, costs: Mapping[str, float], kind: str = "adapted") -> Step:
    found: Any = SimpleNamespace(spec=narrow(width), costs=costs, kind=kind)
    step: Step = found
    return step


def bounds(costs: Any, start: Step) -> Bounds:
    limit: Any = SimpleNamespace(
        resource=costs.resource, relative=True, absolute=lambda cost: cost / 2
    )
    return Bounds([limit], start, [costs])


def test_what_is_counted_is_exact() -> None:
    macs = CountedMacs()
    start = step(START, {"macs": macs.of(SPEC)}, "start")
    found = bounds(macs, start)
    found.learn([start, step(64, {"macs": macs.of(narrow(64))})])
    assert found.predicted(narrow(32), start, 0) == pytest.approx(macs.of(narrow(32)))


def test_overhead_of_parts_is_not_taken_away_with_channels() -> None:
    """The network takes 100 at the start; its parts have an overhead of 200 in all."""
    start = step(START, {"latency": 100.0}, "start")
    found = bounds(Parts(200.0, 100.0), start)
    assert found.predicted(narrow(START - 32), start, 0) == pytest.approx(68.0)
    share = found.left_of_parts(start, 0, 0.68)
    assert share * (200 + START) == pytest.approx(200 + START - 32)


def test_the_machine_may_be_faster_than_when_its_parts_were_measured() -> None:
    start = step(START, {"latency": 50.0}, "start")
    found = bounds(Parts(0.0, 100.0), start)
    assert found.predicted(narrow(START - 32), start, 0) == pytest.approx(50 - 16)


def test_visited_networks_correct_the_rate() -> None:
    """Each channel takes half as much again as in the parts."""
    start = step(START, {"latency": 300.0}, "start")
    found = bounds(Parts(44.0, 300.0), start)
    visited, errors = [start], []
    for width in range(START - 32, 32, -32):
        now = 300 - 1.5 * (START - width)
        errors.append(abs(found.predicted(narrow(width), visited[-1], 0) - now))
        visited.append(step(width, {"latency": now}))
        found.learn(visited)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 4
    # One that is not made from the last one says nothing, and what is made from that does.
    rate = found.rate(0)
    other = step(128, {"latency": 1.0}, "contest")
    found.learn([*visited, other])
    assert found.rate(0) == rate
    found.learn([*visited, other, step(120, {"latency": 1.0 - 8 * rate})])
    assert found.rate(0) == pytest.approx(rate)


def test_what_is_not_known_is_infinite() -> None:
    start = step(START, {"latency": 300.0}, "start")
    found = bounds(Parts(math.inf, 300.0), start)
    assert math.isinf(found.predicted(narrow(64), start, 0))


@pytest.mark.parametrize("after", [0.0, 500.0])
def test_noise_does_not_turn_it_over(after: float) -> None:
    start = step(START, {"latency": 300.0}, "start")
    found = bounds(Parts(0.0, 300.0), start)
    found.learn([start, step(64, {"latency": after})])
    assert 1 / MOST_OFF <= found.rate(0) <= MOST_OFF
    assert found.predicted(narrow(8), step(64, {"latency": 10.0}), 0) == 10 * LEAST_PREDICTED
