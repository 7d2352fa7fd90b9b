"""The contest for the long training: the search's network against scaled ones of the same cost.

A search changes a little at a time and goes by short trainings: where that leads can be worse than
plain scaling (docs/measurements/search.md). So it does not rely on its own way: the start
scaled uniformly to the budget, and what lies halfway between both, are trained as long as its
network has been, and all of them for a part of the long training. The best one goes on. They are
few and close to each other, so all images of the selection split tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgekit.errors import GateError, ModelError
from edgekit.search.baselines import largest_fitting, plans_of
from edgekit.search.groups import resized, widths_of
from edgekit.search.jobs import Candidate
from edgekit.search.journal import Iteration, Scored
from edgekit.search.learning import epoch_steps
from edgekit.search.records import Step
from edgekit.search.scaling import Scaled, on_grid
from edgekit.search.workshop import CONTEST, Workshop

PART = 4
"""A contest takes one in so many epochs of the long training, which follows it whole; a choice, as
networks of 120 batches were in the order of those of 350 already."""

NEAR = 0.04
"""To which the largest rivals are looked for; to 1 % that took 220 s of a search of 700."""

TRIALS = 3
"""Measurements after which the largest rival is good enough: on a noisy machine 4 % took six."""

ITSELF, UNIFORM, HALFWAY = "as it was", "uniform widths", "halfway to uniform"


def held(shop: Workshop, last: Step, number: int, tried: Sequence[Step]) -> Step | None:
    """The best network of a contest, trained a while and measured, as a step of that number.

    Args:
        last: the search's own network that keeps the budget.
        tried: better ones of the same contest that did not keep it when measured.

    Returns:
        ``None`` where there is nothing to choose from, or nothing left.
    """
    iteration = Iteration(last.series, tried[0].step if tried else number, CONTEST)
    if any(one["step"] == iteration.step for one in shop.journal.events("contest over")):
        return None
    plans = {ITSELF: None, **_rivals(shop, iteration, last)}
    if len(plans) > 1:
        names = {step.changed for step in tried}
        for one in _ranked(shop, iteration, last, plans):
            changed = f"contest: {one.channels}"
            if changed in names:
                continue
            step = _measured(shop, Iteration(last.series, number), changed, iteration, one, last)
            if step is not None:
                if shop.bounds.fits(step):
                    shop.remove_candidates(iteration)
                return step
    shop.journal.note("contest over", iteration, {"step": iteration.step})
    shop.remove_candidates(iteration)
    return None


def _ranked(
    shop: Workshop, iteration: Iteration, last: Step, plans: Mapping[str, Scaled | None]
) -> list[Scored]:
    """Networks of a contest after their training, best first."""
    options = shop.options
    jobs = {}
    for name, plan in plans.items():
        itself = plan is None
        jobs[name] = Candidate(
            f"step {iteration.step}: training for the contest, {name}",
            shop.network(last) if plan is None else shop.first,
            sizes={} if plan is None else plan.sizes,
            criterion=options.criterion,
            steps=0 if itself or options.scratch else last.trained_steps,
            epochs=_epochs(shop),
            rate=options.finish_rate,
            distill=options.distill,
            scratch=options.scratch,
            recalibrate=not itself or options.scratch,
            keep=True,
            thorough=True,
            weight=100.0,
            wide=shop.task.conduct.workers == 1,
        )
    found = shop.candidates(iteration, jobs, dict.fromkeys(jobs))
    scored = [(one.figure, -(one.loss or 0.0), one) for one in found if one.figure is not None]
    scored.sort(key=lambda entry: entry[:2], reverse=True)
    merits = {one.channels: figure for figure, _, one in scored}
    if merits:
        shop.journal.note("decision", iteration, {"chosen": next(iter(merits)), "merits": merits})
    return [one for *_, one in scored]


def _epochs(shop: Workshop) -> int:
    return math.ceil(shop.options.finish_epochs / PART)


def _measured(
    shop: Workshop, at: Iteration, changed: str, iteration: Iteration, one: Scored, last: Step
) -> Step | None:
    """A network of a contest as a step; ``None`` where it has no file that holds.

    Args:
        at: of the step.
        iteration: of the contest.
    """
    batches = _epochs(shop) * epoch_steps(shop.task.inputs.size("train"), shop.task.run)
    try:
        return shop.measured(
            at,
            "contest",
            shop.kept(iteration, one.channels),
            changed=(changed, None),
            scored=one.figure,
            trained_steps=last.trained_steps + batches,
            expected_change=math.inf,  # it only has to keep the budget
        )
    except (GateError, ModelError) as error:
        shop.say(at, f"step {at.step}: {changed} has no file that holds: {error}")
        return None


def _rivals(shop: Workshop, iteration: Iteration, last: Step) -> dict[str, Scaled]:
    """Scaled networks that keep the budget when measured, other than the search's own."""
    uniform = plans_of(shop, Iteration("uniform", 0))
    own = widths_of(last.spec)
    halfway = [uniform[0], *(_between(shop, own, plan) for plan in uniform)]
    rivals: dict[str, Scaled] = {}
    for name, plans in ((UNIFORM, uniform), (HALFWAY, halfway)):
        try:
            plan = largest_fitting(shop, iteration, plans, NEAR, TRIALS)
        except (GateError, ModelError) as error:
            text = f"step {iteration.step}: no network with {name} is in the contest: {error}"
            if {"text": text} not in shop.journal.events("said"):
                shop.say(iteration, text)
            continue
        if plan.spec not in (last.spec, *(other.spec for other in rivals.values())):
            rivals[name] = plan
    return rivals


def _between(shop: Workshop, own: Mapping[str, int], plan: Scaled) -> Scaled:
    """Widths that are the geometric means of two networks' ones."""
    sizes = {
        name: on_grid(n, math.sqrt(own[name] / n * plan.sizes.get(name, n) / n))
        for name, n in shop.free.items()
    }
    sizes = {name: n for name, n in sizes.items() if n != shop.free[name]}
    return Scaled(resized(shop.task.spec, sizes), sizes, None)
