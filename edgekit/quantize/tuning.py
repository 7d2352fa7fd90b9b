"""Choosing forms by measuring: every candidate against the fastest one so far, in turns.

The switches of a target are turned one after the other, from what the table says
(`edgekit.lowering.choices`). What is measured is noted in a file beside the artifact, so that a
tuning that was interrupted goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.core import Candidate, Profilable, Quantizing, Scheme, Target
from edgekit.errors import EdgekitError
from edgekit.measure.comparing import compare
from edgekit.measure.session import Effort
from edgekit.quantize.ladder import Built

SECONDS = 6.0
GOAL = 0.01

SCHEMA = "edgekit.tuning/1"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found.

    Attributes:
        built: the fastest file.
        candidates: in the order in which they were tried.
        warning: that the float file is faster, and why; ``None`` where it is not.
    """

    built: Built
    candidates: tuple[Candidate, ...]
    warning: str | None


class Journal:
    """Comparisons that were made, in a file.

    A file that cannot be read is of no use, and is begun anew.

    Attributes:
        path: of the file; there once something was measured.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, list[float]] = {}
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["schema"] == SCHEMA:
                self._found = {str(k): [float(x) for x in v] for k, v in data["ratios"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass

    def ratio(
        self, one: Built, other: Built, measure: Callable[[], tuple[float, float, float]]
    ) -> tuple[float, float, float]:
        """Ratio and its interval, of this time or of one before."""
        key = f"{one.artifact.sha256}/{other.artifact.sha256}"
        if key not in self._found:
            self._found[key] = list(measure())
            data = {"schema": SCHEMA, "ratios": self._found}
            beside = self.path.with_name(f"{self.path.name}.new")
            beside.write_text(json.dumps(data), encoding="utf-8")
            beside.replace(self.path)
        ratio, low, high = self._found[key]
        return ratio, low, high

    def close(self) -> None:
        """Takes the file away: all is done."""
        self.path.unlink(missing_ok=True)


def journal_path(path: Path) -> Path:
    """Where the comparisons for an artifact are noted."""
    return path.with_name(f"{path.name}.tuning.json")


def tune(
    target: Target,
    scheme: Scheme,
    build: Callable[[str, Scheme], Built],
    build_float: Callable[[], Built] | None,
    journal: Journal,
    notify: Callable[[str], None],
) -> Tuned:
    """Tries the values of each switch.

    Args:
        scheme: with the forms to begin with.
        build: makes the file of a scheme.
        build_float: makes the float file to compare with; ``None`` for float schemes.

    Raises:
        EdgekitError: the first file cannot be made, or the device is gone; what was measured is
            in the journal.
    """
    switches: Mapping[str, tuple[str, ...]] = target.forms if isinstance(target, Quantizing) else {}
    forms = {name: values[0] for name, values in switches.items()} | dict(scheme.forms)
    best = build("first", dataclasses.replace(scheme, forms=forms))
    seen = {best.artifact.sha256}
    candidates = [Candidate(scheme.precision, forms, best.artifact.sha256, "first")]
    for switch, values in switches.items():
        for value in values:
            tried = {**forms, switch: value}
            if value == forms[switch]:
                continue
            notify(f"{target.name} {scheme.precision}: {switch}={value}")
            found, kept = _try(dataclasses.replace(scheme, forms=tried), build, best, seen, journal)
            if found is not None:
                candidates.append(found)
            if kept is not None:
                best, forms = kept, tried
    warning = None
    if build_float is not None:
        notify(f"{target.name}: against fp32")
        other = build_float()
        ratio, low, high = journal.ratio(other, best, lambda: _measured(other, best))
        verdict = _verdict(low, high)
        candidates.append(Candidate("fp32", {}, other.artifact.sha256, verdict, ratio, (low, high)))
        if verdict == "faster":
            warning = (
                f"fp32 is faster than {scheme.precision} on {target.runtime} here: "
                f"{ratio:.2f} times its latency ({low:.2f} to {high:.2f}); "
                f"{_slow_operators(target, best)}"
            )
    journal.close()
    return Tuned(best, tuple(candidates), warning)


def _try(
    scheme: Scheme,
    build: Callable[[str, Scheme], Built],
    best: Built,
    seen: set[str | None],
    journal: Journal,
) -> tuple[Candidate | None, Built | None]:
    """A candidate, unless its file is one that was tried; and its file, where it is faster."""
    forms = scheme.forms
    try:
        built = build("candidate", scheme)
    except EdgekitError as error:
        return Candidate(scheme.precision, forms, None, f"dropped: {error}"), None
    digest = built.artifact.sha256
    if digest in seen:
        return None, None
    seen.add(digest)
    agreement = built.artifact.agreement
    if agreement is None or not agreement.passed:
        return Candidate(scheme.precision, forms, digest, "dropped: failed verification"), None
    ratio, low, high = journal.ratio(built, best, lambda: _measured(built, best))
    verdict = _verdict(low, high)
    found = Candidate(scheme.precision, forms, digest, verdict, ratio, (low, high))
    return found, built if verdict == "faster" else None


def _measured(one: Built, other: Built) -> tuple[float, float, float]:
    ratio = compare(str(one.path), str(other.path), Effort(SECONDS, GOAL)).ratio
    return (ratio.ratio, *ratio.ci95)


def _verdict(low: float, high: float) -> str:
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "indistinguishable"


def _slow_operators(target: Target, built: Built) -> str:
    """The kinds of operators that take most of the time, in words."""
    if not isinstance(target, Profilable):
        return "its runtime does not tell which operators take the time"
    inputs = [np.zeros(spec.shape, spec.dtype) for spec in built.artifact.inputs]
    totals: dict[str, float] = {}
    for operator in target.operators(built.path, inputs, threads=1, runs=20):
        totals[operator.kind] = totals.get(operator.kind, 0.0) + operator.ms
    most = sorted(totals.items(), key=lambda item: -item[1])[:3]
    return "most time goes to " + ", ".join(f"{kind} ({ms:.2f} ms)" for kind, ms in most)
