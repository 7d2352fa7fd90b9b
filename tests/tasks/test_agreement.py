from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import tables
from edgekit.errors import ModelError
from edgekit.tasks.agreement import (
    IDENTICAL_DB,
    TOLERANCES,
    check_reference,
    compare,
    failures,
)

FP32 = TOLERANCES["fp32"]


def scores(n: int = 50, classes: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, classes))


def test_the_gates_are_those_of_the_issue_and_cover_every_precision() -> None:
    assert TOLERANCES == {
        "fp32": {"sqnr_db": 60.0, "top1_match": 1.0},
        "fp16": {"sqnr_db": 40.0, "top1_match": 0.99},
        "int8": {"sqnr_db": 5.0},
        "int8-dynamic": {"sqnr_db": 5.0},
        "int8-mixed": {"sqnr_db": 5.0},
        "w8a16": {"sqnr_db": 10.0},
    }
    assert set(TOLERANCES) == set(tables.PRECISIONS)


def test_known_values() -> None:
    reference = np.array([[1.0, 2.0, 4.0], [3.0, 2.0, 0.0]])
    outputs = np.array([[1.0, 2.0, 4.2], [3.0, 2.0, 0.0]])
    found = compare(reference, outputs, FP32)
    # Spread over the two samples: +-1, 0, +-2, so its mean square is 10/6; the noise's is 0.04/6.
    assert found.sqnr_db == pytest.approx(10 * math.log10(10 / 0.04))
    assert found.max_abs == pytest.approx(0.2)
    assert found.max_rel == pytest.approx(0.2 / math.sqrt(10 / 6))
    assert found.top1_match == 1.0
    assert 0.999 < found.cosine < 1
    assert (found.n, found.passed, found.tolerance) == (2, False, FP32)


def test_identical_scores_pass_with_the_highest_figures() -> None:
    found = compare(scores(), scores(), FP32)
    assert (found.sqnr_db, found.max_abs, found.max_rel) == (IDENTICAL_DB, 0.0, 0.0)
    assert (found.top1_match, found.passed, failures(found)) == (1.0, True, "")
    assert found.cosine == pytest.approx(1.0)


def test_a_constant_offset_of_the_reference_does_not_help() -> None:
    """Scores far from 0 are not easier to agree with."""
    noise = 2e-3 * scores(seed=1)
    plain = compare(scores(), scores() + noise, FP32)
    lifted = compare(scores() + 1000, scores() + 1000 + noise, FP32)
    assert lifted.sqnr_db == pytest.approx(plain.sqnr_db, abs=1e-3)
    assert not lifted.passed


def test_a_share_that_all_samples_have_in_common_does_not_count_as_signal() -> None:
    rng = np.random.default_rng(3)
    common, own = 100 * rng.normal(size=(1, 10)), rng.normal(size=(50, 10))
    found = compare(common + own, np.broadcast_to(common, (50, 10)), FP32)
    assert found.sqnr_db < 1


def test_zeros_never_agree() -> None:
    found = compare(1e-9 * scores(), np.zeros((50, 10)), FP32)
    assert found.sqnr_db < 1
    assert not found.passed
    assert found.cosine == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_fail(value: float) -> None:
    outputs = scores()
    outputs[7, 3] = value
    found = compare(scores(), outputs, FP32)
    assert not found.passed
    assert found.sqnr_db < 0
    assert all(math.isfinite(x) for x in (found.sqnr_db, found.max_abs, found.max_rel))
    assert not compare(scores(), np.full((50, 10), value), FP32).passed


def test_every_bound_is_enough_to_fail() -> None:
    reference = np.array([[1.0, 1.0 + 1e-6, -3.0], [4.0, -9.0, 2.0]])
    swapped = reference[:, [1, 0, 2]] * [[1], [0]] + reference * [[0], [1]]
    found = compare(reference, swapped, FP32)
    assert found.sqnr_db > 60
    assert (found.top1_match, found.passed) == (0.5, False)
    assert failures(found) == "50.0% of top-1 (expected at least 100%)"
    noisy = compare(reference, reference + 0.01, FP32)
    assert (noisy.top1_match, noisy.passed) == (1.0, False)
    assert failures(noisy) == f"{noisy.sqnr_db:.1f} dB (expected at least 60 dB)"


@pytest.mark.parametrize("precision", TOLERANCES)
def test_a_value_at_its_bound_passes(precision: str) -> None:
    """And just beyond it fails."""
    reference = scores(2, 4)
    spread = reference - reference.mean(0)
    for bound, passes in ((0.01, True), (-0.01, False)):
        target_db = TOLERANCES[precision]["sqnr_db"] + bound
        noise = np.sqrt((spread**2).mean()) * 10 ** (-target_db / 20)
        assert compare(reference, reference + noise, TOLERANCES[precision]).passed == passes


def test_top1_follows_the_share_of_swapped_samples() -> None:
    reference = np.eye(10)[np.arange(200) % 10] * 5 + scores(200) * 0.01
    outputs = reference.copy()
    outputs[:2] = np.roll(outputs[:2], 1, axis=1)
    assert compare(reference, outputs, FP32).top1_match == 0.99
    outputs[:3] = np.roll(reference[:3], 1, axis=1)
    assert compare(reference, outputs, FP32).top1_match == 0.985


def test_one_sample_has_no_spread_to_be_held_against() -> None:
    reference = np.array([[1.0, 2.0, 3.0]])
    with pytest.raises(ModelError, match="'net' was run on 1 image: expected at least two"):
        check_reference(reference, "'net'")
    with pytest.raises(AssertionError, match="one sample has no spread"):
        compare(reference, reference, FP32)


@settings(deadline=None)
@given(
    factor=st.floats(1e-6, 1e6),
    noise=st.floats(1e-5, 10),
    seed=st.integers(0, 1000),
    n=st.integers(2, 40),
    classes=st.integers(2, 20),
)
def test_a_common_factor_changes_nothing_relative(
    factor: float, noise: float, seed: int, n: int, classes: int
) -> None:
    reference = scores(n, classes, seed)
    outputs = reference + noise * scores(n, classes, seed + 1)
    plain = compare(reference, outputs, FP32)
    scaled = compare(reference * factor, outputs * factor, FP32)
    assert scaled.sqnr_db == pytest.approx(plain.sqnr_db, abs=1e-6)
    assert scaled.max_rel == pytest.approx(plain.max_rel, rel=1e-6)
    assert scaled.cosine == pytest.approx(plain.cosine, abs=1e-9)
    assert scaled.max_abs == pytest.approx(plain.max_abs * factor, rel=1e-6)
    assert (scaled.top1_match, scaled.passed) == (plain.top1_match, plain.passed)


@settings(deadline=None)
@given(level_db=st.floats(-20, 100), seed=st.integers(0, 1000), n=st.integers(2, 60))
def test_noise_of_known_power_gives_the_expected_decibels(
    level_db: float, seed: int, n: int
) -> None:
    reference = scores(n, 8, seed)
    spread = reference - reference.mean(0)
    noise = scores(n, 8, seed + 1)
    noise *= np.sqrt((spread**2).mean() / (noise**2).mean()) * 10 ** (-level_db / 20)
    found = compare(reference, reference + noise, FP32)
    assert found.sqnr_db == pytest.approx(level_db, abs=1e-3)
    assert found.max_abs == pytest.approx(np.abs(noise).max(), rel=1e-4)


def test_a_usable_reference_is_accepted_whatever_its_size() -> None:
    for size in (1e-12, 1.0, 1e12):
        check_reference(size * scores(), "'net'")


@pytest.mark.parametrize(
    "reference",
    [
        np.zeros((8, 4)),
        np.full((8, 4), 3.0),
        np.tile([[1.0, 2.0, 3.0, 4.0]], (8, 1)),
        np.tile([[1.0, 2.0, 3.0, 4.0]], (8, 1)) + 1e-6 * scores(8, 4),
    ],
    ids=["zeros", "constant", "the same for all", "nearly the same"],
)
def test_a_reference_without_spread_is_refused(reference: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"^'net' gives \(nearly\) the same scores.*statistics"):
        check_reference(reference, "'net'")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_that_is_not_finite_is_refused(value: float) -> None:
    reference = scores()
    reference[3, 2] = value
    with pytest.raises(ModelError, match="'net' gives scores that are not finite"):
        check_reference(reference, "'net'")
