"""Agreement of two sets of outputs, relative to what there is to agree on.

An absolute tolerance proves nothing: the scores of an untrained network are often so small that
zeros would pass. Here the difference is held against the *spread* of the reference over the
samples, and a reference without spread is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import Agreement, Interface, OutputAgreement, TensorSpec
from edgekit.core.text import counted_words
from edgekit.data.scores import likeliest
from edgekit.errors import ModelError

TOLERANCES: Mapping[str, Mapping[str, float]] = {
    "fp32": {"sqnr_db": 60.0, "top1_match": 1.0},
    "fp16": {"sqnr_db": 40.0, "top1_match": 0.99},
    # What integers cost is a matter of --max-drop; these tell a wrong file from a coarse one.
    "int8": {"sqnr_db": 5.0},
    "int8-dynamic": {"sqnr_db": 5.0},
    "int8-mixed": {"sqnr_db": 5.0},
    "w8a16": {"sqnr_db": 10.0},
}
"""Least values that pass, by precision."""

# Float32 sums round at about 1e-7 of their size. Where the spread is below 1e-4 of the scores'
# size, rounding alone eats the 60 dB that the float32 gate asks for.
LEAST_RELATIVE_SPREAD = 1e-4

# Stands for "no difference at all", where the logarithm has no value.
IDENTICAL_DB = 200.0

Scores = NDArray[np.floating[Any]]


def check_reference(reference: Scores, what: str, zeros: Sequence[str] = ()) -> None:
    """Refuses scores that nothing can be compared with.

    Args:
        reference: (n, classes).
        what: names the network in the message.
        zeros: layers and parameters that are all zero, which may explain it.

    Raises:
        ModelError: values that are not finite, or are the same for every sample; or one sample
            only, which has no spread over samples.
    """
    if len(reference) < 2:
        raise ModelError(
            f"{what} was run on {counted_words(len(reference), 'image')}: expected at least two"
        )
    if not np.isfinite(reference).all():
        raise ModelError(f"{what} gives scores that are not finite: there is nothing to verify")
    scores = reference.astype(np.float64)
    spread = _spread(scores).std()
    size = np.abs(scores).max()
    if not spread > LEAST_RELATIVE_SPREAD * size or spread == 0:
        listed = ", ".join(f"'{path}'" for path in zeros)
        why = "are its weights trained and its batch-norm statistics set?"
        if zeros:
            why = f"all weights of {listed} are zero: train it, or give others with --weights"
        raise ModelError(
            f"{what} gives (nearly) the same scores for all {len(scores)} images (spread "
            f"{spread:.2g}, size {size:.2g}): nothing can be verified; {why}"
        )


OF_INTEGERS: Mapping[str, float] = {"fp32": 0.999, "fp16": 0.99}
"""Least share of the values of an output of integers, such as classes of pixels, that are equal;
where two candidates are near to each other, rounding decides."""

LEAST_OF_INTEGERS = 0.8
"""The same for precisions of integers."""


def compare(
    reference: Scores,
    outputs: Scores,
    tolerance: Mapping[str, float],
    kind: str | None = "logits",
    relative_to: Scores | None = None,
) -> Agreement:
    """Measures how closely outputs follow a reference.

    Args:
        reference: scores of the network, (n, classes), as `check_reference` accepts them.
        outputs: scores of the artifact for the same samples.
        tolerance: least values by field name; a line of `TOLERANCES`.
        kind: what the scores are, of `edgekit.core.SCORES`; tells the class of one column.
        relative_to: what the difference is held against, as large as the scores, of outputs that
            are no scores; these have no likeliest class.
    """
    expected = reference.astype(np.float64)
    # What is not finite counts as the largest difference there is, not as none.
    worst = float(np.finfo(np.float32).max)
    finite = np.nan_to_num(outputs.astype(np.float64), nan=worst, posinf=worst, neginf=-worst)
    noise = finite - expected
    signal = _spread(expected) if relative_to is None else relative_to
    power, strength = float((noise**2).mean()), float((signal**2).mean())
    sqnr = IDENTICAL_DB
    if power > 0:
        sqnr = 10 * math.log10(strength / power) if strength > 0 else -IDENTICAL_DB
    values: dict[str, Any] = {
        "sqnr_db": min(max(sqnr, -IDENTICAL_DB), IDENTICAL_DB),
        "max_abs": float(np.abs(noise).max()),
        "max_rel": float(np.abs(noise).max() / max(signal.std(), np.finfo(np.float64).tiny)),
        "cosine": _mean_cosine(expected, finite)
        if relative_to is None
        else _cosine(expected, finite),
        "top1_match": None,
    }
    if relative_to is None and kind is not None:
        same = likeliest(expected, kind) == likeliest(finite, kind)
        values["top1_match"] = float(same.mean())
    passed = all(values[name] >= least for name, least in tolerance.items())
    return Agreement(n=len(expected), passed=passed, tolerance=dict(tolerance), **values)


def image_sqnr_db(
    reference: Scores, outputs: Scores, indices: Sequence[int], *, centred: bool = True
) -> NDArray[np.float64]:
    """Signal to noise of single images, in dB; the signal is that of all.

    Args:
        reference: (n, classes).
        outputs: for the images ``indices`` of them.
        centred: whether what all images share is no signal; else `signal_of` says what is.
    """
    expected = reference.astype(np.float64)
    signal = float(((_spread(expected) if centred else signal_of(expected)) ** 2).mean())
    worst = float(np.finfo(np.float32).max)
    found = np.nan_to_num(outputs.astype(np.float64), nan=worst, posinf=worst, neginf=-worst)
    noise = ((found - expected[list(indices)]) ** 2).mean(axis=1)
    if signal == 0:  # nothing but zeros
        return np.where(noise == 0, IDENTICAL_DB, -IDENTICAL_DB)
    least = signal * 10 ** (-IDENTICAL_DB / 10)
    found_db: NDArray[np.float64] = 10 * np.log10(signal / np.maximum(noise, least))
    return found_db


def pieces(
    interface: Interface, parts: Sequence[NDArray[np.intp] | None] = ()
) -> Iterator[tuple[TensorSpec, str, NDArray[np.intp]]]:
    """What of a row of outputs is judged by itself: each output, or each of its parts.

    Args:
        parts: see `edgekit.models.parts`; whole outputs if empty.

    Yields:
        The output, which part it is (``2 of 2``), and where its numbers stand in a row.
    """
    for spec, numbers in zip(
        interface.outputs, parts or [None] * len(interface.outputs), strict=True
    ):
        columns = interface.columns[spec.name]
        places = np.arange(columns.start, columns.stop)
        if numbers is None or not is_float(spec):
            yield spec, "", places
            continue
        there = np.unique(numbers)  # some may be empty, or cut away
        for i, number in enumerate(there, 1):
            yield spec, f"{i} of {len(there)}", places[numbers == number]


def compare_outputs(
    reference: Scores,
    outputs: Scores,
    interface: Interface,
    precision: str,
    parts: Sequence[NDArray[np.intp] | None] = (),
) -> Agreement:
    """The same for outputs of any kind, each by itself; the worst one decides.

    Args:
        reference: (n, numbers), rows of the network.
        outputs: those of the artifact.
        precision: a key of `TOLERANCES`.
        parts: see `pieces`; of an output, its worst part decides.
    """
    least_db = TOLERANCES[precision]["sqnr_db"]
    least_match = OF_INTEGERS.get(precision, LEAST_OF_INTEGERS)
    worst: dict[str, OutputAgreement] = {}
    figures: list[Agreement] = []
    for spec, part, columns in pieces(interface, parts):
        expected, own = reference[:, columns], outputs[:, columns]
        if not is_float(spec):
            match = share_alike(expected, own)
            worst[spec.name] = OutputAgreement(spec.name, None, match, match >= least_match)
            continue
        one = compare(expected, own, {"sqnr_db": least_db}, relative_to=signal_of(expected))
        figures.append(one)
        other = worst.get(spec.name)
        if other is None or one.sqnr_db < (other.sqnr_db or 0.0):
            worst[spec.name] = OutputAgreement(spec.name, one.sqnr_db, None, one.passed, part)
    agreements = list(worst.values())
    tolerance = {"sqnr_db": least_db} if figures else {}
    if any(one.match is not None for one in agreements):
        tolerance["match"] = least_match
    return Agreement(
        n=len(reference),
        sqnr_db=min((one.sqnr_db for one in figures), default=IDENTICAL_DB),
        max_abs=max((one.max_abs for one in figures), default=0.0),
        max_rel=max((one.max_rel for one in figures), default=0.0),
        cosine=min((one.cosine for one in figures), default=1.0),
        top1_match=None,
        passed=all(one.passed for one in agreements),
        tolerance=tolerance,
        outputs=tuple(agreements),
    )


def followed(
    reference: Scores,
    outputs: Scores,
    interface: Interface,
    parts: Sequence[NDArray[np.intp] | None] = (),
) -> float:
    """How well outputs of any kind follow those of the network; the worst one counts.

    Of floats it is 1 less the power of the difference over that of the signal, so that 0.99 is a
    signal to noise of 20 dB; of integers the share that is equal.

    Args:
        reference: (n, numbers).
        outputs: for the same samples.
        parts: see `pieces`.

    Returns:
        From 0 to 1.
    """
    figures = []
    for spec, _, columns in pieces(interface, parts):
        expected, found = reference[:, columns], outputs[:, columns]
        if not is_float(spec):
            figures.append(share_alike(expected, found))
            continue
        noise = float(np.square(found.astype(np.float64) - expected).mean())
        power = float(np.square(signal_of(expected)).mean())
        figures.append(float(noise == 0) if power == 0 else max(0.0, 1 - noise / power))
    return min(figures)


def share_alike(expected: Scores, outputs: Scores) -> float:
    """Share of integers that are equal, of those that are not the commonest one in both.

    Of a mask most places are background: a file that gives nothing else would be right there.
    """
    values, counts = np.unique(expected, return_counts=True)
    common = values[counts.argmax()] if len(values) > 1 else None
    told = np.ones(expected.shape, bool)
    if common is not None:
        told = (expected != common) | (outputs != common)
    return float((expected == outputs)[told].mean()) if told.any() else 1.0


def is_float(spec: TensorSpec) -> bool:
    """Whether an output holds numbers that rounding changes, rather than choices."""
    return spec.dtype.startswith("float")


def signal_of(expected: Scores) -> Scores:
    """What an output says: what differs between samples, or all of what hardly does.

    The places of anchors, say, are the same for every image, and have to be right all the same.
    """
    expected = expected.astype(np.float64)
    spread = _spread(expected)
    size = np.abs(expected).max(initial=0.0)
    return spread if spread.std() > LEAST_RELATIVE_SPREAD * size else expected


def failures(agreement: Agreement) -> str:
    """The bounds that do not hold, for a message; empty where all do."""
    if agreement.outputs:
        return ", ".join(
            f"output '{one.name}'{_part(one)} has {_figure(one)} (expected at least "
            f"{_bound(one, agreement)})"
            for one in agreement.outputs
            if not one.passed
        )
    texts = {
        "sqnr_db": f"{agreement.sqnr_db:.1f} dB",
        "top1_match": f"{agreement.top1_match or 0:.1%} of top-1",
    }
    least = {"sqnr_db": "{:g} dB", "top1_match": "{:.0%}"}
    return ", ".join(
        f"{texts[name]} (expected at least {least[name].format(bound)})"
        for name, bound in agreement.tolerance.items()
        if getattr(agreement, name) < bound
    )


def _part(one: OutputAgreement) -> str:
    return f" (part {one.part})" if one.part else ""


def _figure(one: OutputAgreement) -> str:
    return f"{one.match:.2%} equal" if one.sqnr_db is None else f"{one.sqnr_db:.1f} dB"


def _bound(one: OutputAgreement, agreement: Agreement) -> str:
    if one.sqnr_db is None:
        return f"{agreement.tolerance['match']:.1%}"
    return f"{agreement.tolerance['sqnr_db']:g} dB"


def _spread(scores: Scores) -> Scores:
    """What differs between samples."""
    assert len(scores) > 1, "one sample has no spread"
    spread: Scores = scores - scores.mean(axis=0, keepdims=True)
    return spread


def _cosine(a: Scores, b: Scores) -> float:
    """Of all numbers of all samples at once: outputs may be a single one."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / lengths) if lengths > 0 else float(not (a - b).any())


def _mean_cosine(a: Scores, b: Scores) -> float:
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = (a * b).sum(axis=1)
    return float(
        np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).mean()
    )
