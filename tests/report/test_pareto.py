"""The Pareto front and the interval of shares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgekit.report.pareto import front

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
