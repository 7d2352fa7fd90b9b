"""Choosing forms by measuring: every candidate against the fastest one so far, in turns.

The switches of a target are turned one after the other, from what the table says
(`edgekit.core.forms`). What is measured is noted in a file beside the artifact, so that a
tuning that was interrupted goes on where it was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.core import (
    Candidate,
    Profilable,
    Quantizing,
    Scheme,
    Target,
    canonical_json,
    to_json,
)
from edgekit.core.forms import CORRECTION, WEIGHTS
from edgekit.core.reading import parse_json, read_text
from edgekit.devices.device import HOST, Device
from edgekit.errors import EdgekitError, OutputError, UnavailableError
from edgekit.measure.comparing import compare
from edgekit.measure.session import Effort
from edgekit.quantize.ladder import Built
from edgekit.staging import replace_file

SECONDS = 6.0
GOAL = 0.01

SHARE_TOLD = 0.01
"""Of a file's time; what takes longer by less is not told."""

SCHEMA = "edgekit.tuning/2"


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


class TuningJournal:
    """Comparisons that were made, in a file.

    A file that cannot be read, or was written under other conditions, is of no use, and is begun
    anew.

    Args:
        conditions: that measurements depend on, as plain data.

    Attributes:
        path: of the file; there once something was measured.
    """

    def __init__(self, path: Path, conditions: Mapping[str, object]) -> None:
        self.path, self._conditions = path, canonical_json(to_json(conditions))
        self._found: dict[str, list[float]] = {}
        try:
            data = parse_json(read_text(path))
            if (data["schema"], data["conditions"]) == (SCHEMA, self._conditions):
                ratios = {str(k): [float(x) for x in v] for k, v in data["ratios"].items()}
                self._found = {k: v for k, v in ratios.items() if len(v) == 3}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass

    def ratio(
        self, one: Built, other: Built, measure: Callable[[], tuple[float, float, float]]
    ) -> tuple[float, float, float]:
        """Ratio and its interval, of this time or of one before."""
        key = f"{one.content_sha256}/{other.content_sha256}"
        if key not in self._found:
            self._found[key] = list(measure())
            data = {"schema": SCHEMA, "conditions": self._conditions, "ratios": self._found}
            replace_file(self.path, lambda file: file.write(json.dumps(data).encode()))
        ratio, low, high = self._found[key]
        return ratio, low, high


def journal_path(path: Path) -> Path:
    """Where the comparisons for an artifact are noted."""
    return path.with_name(f"{path.name}.tuning.json")


def tune(
    target: Target,
    scheme: Scheme,
    build: Callable[[str, Scheme], Built],
    build_float: Callable[[], Built] | None,
    accepts: Callable[[Built], str | None],
    journal: TuningJournal,
    notify: Callable[[str], None],
    device: Device = HOST,
) -> Tuned:
    """Tries the values of each switch that changes the speed.

    Args:
        scheme: with the forms to begin with.
        build: makes the file of a scheme.
        build_float: makes the float file to compare with; ``None`` for float schemes.
        accepts: why a file must not be taken, however fast it is; ``None`` where it may be.
        device: that measures.

    Raises:
        EdgekitError: the first file cannot be made, or the device is gone; what was measured is
            in the journal.
    """
    switches: Mapping[str, tuple[str, ...]] = target.forms if isinstance(target, Quantizing) else {}
    forms = {name: values[0] for name, values in switches.items()} | dict(scheme.forms)
    best = build("first", dataclasses.replace(scheme, forms=forms))
    seen, why = {best.content_sha256}, accepts(best)
    first = "first" if why is None else f"first, but {why}"
    candidates = [Candidate(scheme.precision, forms, best.content_sha256, first)]
    turned = {name: v for name, v in switches.items() if name not in (CORRECTION, WEIGHTS)}
    total = sum(len(values) - 1 for values in turned.values()) + (build_float is not None)
    what, done = f"measuring forms of {target.name} {scheme.precision}", 0
    for switch, values in turned.items():
        others = [value for value in values if value != forms[switch]]
        for value in others:
            tried = {**forms, switch: value}
            notify(f"{what}, {switch}={value}, {done} of {total}")
            done += 1
            trial = _Trial(
                dataclasses.replace(scheme, forms=tried), build, accepts, seen, journal, device
            )
            found, kept = trial.against(best, beaten=why is not None)
            if found is not None:
                candidates.append(found)
            if kept is not None:
                best, forms, why = kept, tried, None
    warning = None
    if build_float is not None:
        notify(f"{what}, against fp32, {done} of {total}")
        other = build_float()
        ratio, low, high = journal.ratio(other, best, lambda: _measured(other, best, device))
        verdict = _verdict(low, high)
        candidates.append(Candidate("fp32", {}, other.content_sha256, verdict, ratio, (low, high)))
        if verdict == "faster":
            warning = (
                f"fp32 is faster than {scheme.precision} on {target.runtime} "
                f"{'here' if device.here else f'on {device.name}'}: "
                f"{ratio:.2f} times its latency ({low:.2f} to {high:.2f}); "
                f"{_slow_operators(target, best, other) if device.here else _ELSEWHERE}"
            )
    return Tuned(best, tuple(candidates), warning)


_ELSEWHERE = "'edgekit profile --per-op' tells which operators take the time"


@dataclass(frozen=True, slots=True)
class _Trial:
    """A candidate that is to be tried."""

    scheme: Scheme
    build: Callable[[str, Scheme], Built]
    accepts: Callable[[Built], str | None]
    seen: set[str]
    journal: TuningJournal
    device: Device

    def against(self, best: Built, *, beaten: bool) -> tuple[Candidate | None, Built | None]:
        """What came of it, unless its file is one that was tried; and the file, to be kept.

        Args:
            beaten: whether ``best`` must not be taken, so that any other file is better.
        """
        precision, forms = self.scheme.precision, self.scheme.forms
        try:
            built = self.build("candidate", self.scheme)
        except (OutputError, UnavailableError):
            raise  # no other candidate would fare better
        except EdgekitError as error:
            return Candidate(precision, forms, None, f"dropped: {error}"), None
        digest = built.content_sha256
        if digest in self.seen:
            return None, None
        self.seen.add(digest)
        why = self.accepts(built)
        if why is not None:
            return Candidate(precision, forms, digest, f"dropped: {why}"), None
        if beaten:
            return Candidate(precision, forms, digest, "first to be accepted"), built
        ratio, low, high = self.journal.ratio(
            built, best, lambda: _measured(built, best, self.device)
        )
        verdict = _verdict(low, high)
        found = Candidate(precision, forms, digest, verdict, ratio, (low, high))
        return found, built if verdict == "faster" else None


def _measured(one: Built, other: Built, device: Device) -> tuple[float, float, float]:
    comparison = compare(str(one.path), str(other.path), Effort(SECONDS, GOAL), device=device)
    if comparison.interrupted:
        raise KeyboardInterrupt
    return (comparison.ratio.ratio, *comparison.ratio.ci95)


def _verdict(low: float, high: float) -> str:
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "indistinguishable"


def _slow_operators(target: Target, built: Built, floats: Built) -> str:
    """The kinds of operators that take longer than in the float file, in words."""
    if not isinstance(target, Profilable):
        return "its runtime does not tell which operators take the time"
    try:
        totals, before = (_times_by_kind(target, one) for one in (built, floats))
    except EdgekitError as error:
        return f"which operators take the time cannot be told: {error}"
    longer = {kind: ms - before.get(kind, 0.0) for kind, ms in totals.items()}
    most = sorted(longer.items(), key=lambda item: -item[1])[:3]
    told = [f"{kind} (+{ms:.2f} ms)" for kind, ms in most if ms > SHARE_TOLD * sum(totals.values())]
    if not told:
        return "no kind of operator takes longer by itself"
    return "more time goes to " + ", ".join(told)


def _times_by_kind(target: Profilable, built: Built) -> dict[str, float]:
    """Milliseconds by kind of operator, the same for integers and floats."""
    inputs = [np.zeros(spec.shape, spec.dtype) for spec in built.artifact.inputs]
    totals: dict[str, float] = {}
    for operator in target.operators(built.path, inputs, threads=1, runs=20):
        kind = target.float_kind(operator.kind)
        totals[kind] = totals.get(kind, 0.0) + operator.ms
    return totals
