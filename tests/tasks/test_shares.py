"""Intervals of shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.tasks.shares import share_interval


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share_and_stays_a_share(case: tuple[int, int]) -> None:
    hits, n = case
    low, high = share_interval(hits / n, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert low < high


def test_the_interval_is_wilsons() -> None:
    # Wilson score interval for 10 of 20, as statsmodels' proportion_confint(method="wilson").
    assert share_interval(0.5, 20) == pytest.approx((0.2992980, 0.7007020), abs=1e-6)
