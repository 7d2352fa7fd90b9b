"""What a measurement can be: files and records of them come from anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from edgekit.core import Measurement

# Beyond what any clock tells and anybody waits for; NaN lies in no range either.
_SHORTEST_MS, _LONGEST_MS, _LARGEST = 1e-6, 1e9, 1e18


def started_at(measurement: Measurement) -> datetime:
    """When a measurement was taken, in UTC."""
    moment = datetime.fromisoformat(measurement.started)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def check_numbers(measurement: Measurement) -> None:
    """Refuses numbers that no measurement gives.

    Raises:
        ValueError: a time or another number is not finite, or absurd; or a block has no samples.
    """
    m = measurement
    right = all(b.samples_ms for b in m.blocks)
    right = right and all(_are_times(b.samples_ms) and _are_times(b.reference_ms) for b in m.blocks)
    right = right and all(abs(value) <= _LARGEST for value in _numbers(m))
    if not right or m.batch < 1 or m.threads < 0 or not _has_begun(m):
        raise ValueError(
            f"the measurement of {m.artifact} holds times or numbers that cannot be: measure again"
        )


def _are_times(values_ms: tuple[float, ...]) -> bool:
    if not values_ms:
        return True
    # A sum is NaN where one of them is, wherever it stands.
    known = math.isfinite(sum(values_ms))
    return known and min(values_ms) >= _SHORTEST_MS and max(values_ms) <= _LONGEST_MS


def _has_begun(m: Measurement) -> bool:
    try:
        started_at(m)
    except (ValueError, OverflowError):
        return False
    return True


def _numbers(m: Measurement) -> Iterator[float]:
    energy = m.energy
    yield from (b.start_s for b in m.blocks)
    yield from (operator.ms for operator in m.operators or ())
    yield from energy.ci95 or ()
    yield from (energy.coefficients or {}).values()
    for value in (m.load_ms, m.first_ms, m.peak_rss_mib, m.size_bytes, energy.idle_mw):
        yield 0 if value is None else value
    for value in (energy.mj_per_inference, energy.gross_mj_per_inference):
        yield 0 if value is None else value
