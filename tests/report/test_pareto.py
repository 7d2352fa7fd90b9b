"""The Pareto front and the interval of shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.report.pareto import front, share_interval

POINT = st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float))
"""On a small grid, so that equal points and ties in one coordinate are frequent."""


def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] >= other[1]


@given(st.lists(POINT, max_size=12))
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    expected = {
        i for i, point in enumerate(points) if not any(beats(other, point) for other in points)
    }
    found = front(points)
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert [points[i] for i in found] == sorted(points[i] for i in found)


def test_the_front_rises_from_the_cheapest_to_the_best() -> None:
    assert front([(3, 0.9), (1, 0.5), (2, 0.4), (2, 0.7), (4, 0.8)]) == [1, 3, 0]
    assert front([]) == []


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share_and_stays_a_share(case: tuple[int, int]) -> None:
    hits, n = case
    low, high = share_interval(hits / n, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert low < high


def test_the_interval_is_wilsons() -> None:
    # Wilson score interval for 10 of 20, as statsmodels' proportion_confint(method="wilson").
    assert share_interval(0.5, 20) == pytest.approx((0.2992980, 0.7007020), abs=1e-6)
