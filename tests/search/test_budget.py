"""Budgets as people write them."""

from __future__ import annotations

import pytest

from edgekit.errors import UsageError
from edgekit.search.budget import parse_budget


def test_shares_and_units() -> None:
    latency, size, macs = parse_budget("latency=0.6x, size=2.5MB,macs=50M")
    assert (latency.resource, latency.relative, latency.absolute(10)) == ("latency", True, 6)
    assert (size.relative, size.absolute(10)) == (False, 2.5e6)
    assert macs.absolute(1e9) == 50e6
    assert parse_budget("latency=250us")[0].absolute(1) == 0.25
    assert parse_budget("size=1MiB")[0].value == 2**20
    assert parse_budget("energy=2J")[0].value == 2000


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("latency", "expected such as latency=0.6x"),
        ("", "expected such as latency=0.6x"),
        ("speed=0.5x", "expected such as latency=0.6x"),
        ("latency=1x", "above 0 and below 1"),
        ("latency=0x", "above 0 and below 1"),
        ("latency=-1ms", "expected such as latency=0.6x"),
        ("latency=1.2.3ms", "expected a number above 0"),
        ("latency=4", "expected x or one of 'ms', 'us', 's'"),
        ("size=4ms", "expected x or one of 'B', 'kB'"),
        ("latency=4ms,latency=0.5x", "two bounds of latency"),
        ("energy=4ms", "expected x or one of 'mJ', 'uJ', 'J'"),
        ("macs=nan", "expected such as latency=0.6x"),
    ],
)
def test_what_is_no_budget_is_refused(words: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        parse_budget(words)
