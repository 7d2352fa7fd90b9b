"""Which of the ways to write a file is kept: the fastest one, or one within a bound."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from edgekit.conversion.building import Job, Notify, build
from edgekit.core import Rung, Scheme
from edgekit.core.forms import SMALL_WEIGHTS, WEIGHTS
from edgekit.errors import ModelError
from edgekit.foreign import explained
from edgekit.models.model import Model
from edgekit.quantize.calibration import Calibration
from edgekit.quantize.integers import Integers
from edgekit.quantize.ladder import Built, climb, drop_points
from edgekit.quantize.tuning import Tuned, TuningJournal, journal_path, tune
from edgekit.staging import hidden_folder

MIXED_LAYERS = 4
"""Layers that int8-mixed keeps in float where nobody names them."""


def chosen_file(job: Job, folder: Path) -> tuple[Built, str | None]:
    """The file that is to be kept, and why it must not be, where it must not."""

    def made(name: str, scheme: Scheme, model: Model | None = None) -> Built:
        return build(job, scheme, hidden_folder(folder) / job.path.name, model)

    scheme, integers = job.scheme, job.integers
    if scheme.precision == "int8-mixed" and not scheme.float_layers:
        plain = made("int8", scheme)
        worst = tuple(plain.worst()[:MIXED_LAYERS])
        if not worst:
            raise ModelError(
                f"no layer of '{job.reference.model.source}' stands out as one to keep in float: "
                f"name some with --float-layers, or export with --precision int8"
            )
        scheme = dataclasses.replace(scheme, float_layers=worst)
    tuned: Tuned | None = None
    if integers.tune:
        tuned = _tuned(job, scheme, made)
        scheme = tuned.built.scheme
    if integers.max_drop is None or job.judge is None or scheme.weights != "int8":
        built = made(scheme.precision, scheme) if tuned is None else tuned.built
        return _with_tried(built, tuned=tuned), None
    best, rungs = climb(
        job.target, scheme, made, job.judge, integers.max_drop, job.retrain, job.notify
    )
    if best is None:
        raise ModelError(f"none of {len(rungs)} ways could be built: {rungs[0].error}")
    best = _with_tried(best, rungs, tuned)
    if rungs[-1].passed:
        return best, None
    least = min(rung.drop_points for rung in rungs if rung.drop_points is not None)
    points = f"{integers.max_drop:g} points of {job.judge.title}"
    return best, (
        f"none of {len(rungs)} ways loses at most {points} on {job.judge.where} (the best one "
        f"loses {least:.2f})"
    )


def retraining(
    model: Model,
    integers: Integers,
    calibration: Calibration | None,
    skip_corrupt: bool,
    notify: Notify,
) -> Callable[[Scheme], Model] | None:
    """Trains a network for integers, once for all files whose weights have as many bits."""
    data = model.data or integers.data
    if data is None or calibration is None or not integers.epochs or not model.trained:
        return None

    @functools.cache
    def trained(limit: int) -> Model:
        from edgekit.quantize.training import fine_tune

        with explained(f"'{model.source}' cannot be trained for integers: ".__add__):
            return fine_tune(
                model,
                data,
                calibration,
                epochs=integers.epochs,
                limit=limit,
                skip_corrupt=skip_corrupt,
                notify=notify,
            )

    return lambda scheme: trained(63 if scheme.forms.get(WEIGHTS) == SMALL_WEIGHTS else 127)


def _tuned(job: Job, scheme: Scheme, made: Callable[[str, Scheme], Built]) -> Tuned:
    """The fastest way to write the file."""
    journal = TuningJournal(journal_path(job.path), job.integers.device.conditions(job.target))
    floats = job.target.schemes["fp32"]
    other = (lambda: made("fp32", floats)) if scheme.weights == "int8" else None
    return tune(
        job.target,
        scheme,
        made,
        other,
        lambda b: _unfit(job, b),
        journal,
        job.notify,
        job.integers.device,
    )


def how_to_go_on(job: Job) -> str:
    """What a file that failed has left to go on with, as the end of a message; empty for none."""
    journal = journal_path(job.path)
    if not (job.integers.tune and journal.exists()):
        return ""
    return f"; what was measured is kept in {journal}: run the same command again to go on"


def _unfit(job: Job, built: Built) -> str | None:
    """Why a file must not be taken; ``None`` where it may be."""
    agreement = built.artifact.agreement
    if agreement is None or not agreement.passed:
        return "failed verification"
    bound = job.integers.max_drop
    if job.judge is None or bound is None or built.artifact.scheme.weights != "int8":
        return None
    drop = drop_points(job.judge, job.judge.score(built, job.target))
    return f"loses {drop:.2f} points of {job.judge.title}" if drop > bound + 1e-9 else None


def _with_tried(built: Built, rungs: tuple[Rung, ...] = (), tuned: Tuned | None = None) -> Built:
    """The same file with what was tried for it in the contract beside it."""
    candidates = () if tuned is None else tuned.candidates
    artifact = dataclasses.replace(built.artifact, ladder=rungs, tuning=candidates)
    warning = None if tuned is None else tuned.warning
    return dataclasses.replace(built, artifact=artifact, warning=warning)
