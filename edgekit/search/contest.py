"""The contest for the long training: the search's network against scaled ones of the same cost.

A search goes by short trainings, after which late layers seem to be worth little; what they were
worth shows in the long one (docs/benchmarks.md). So it does not rely on its own way: the start
scaled uniformly to the budget, and what lies halfway between both, are trained as long as its
network has been, and all of them for a part of the long training. The best one goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgekit.errors import GateError, ModelError
from edgekit.search.baselines import largest_fitting, plans_of
from edgekit.search.groups import resized, widths_of
from edgekit.search.jobs import Candidate
from edgekit.search.journal import Place
from edgekit.search.learning import epoch_steps
from edgekit.search.records import Step
from edgekit.search.scaling import Scaled, on_grid
from edgekit.search.workshop import CONTEST, Workshop

PART = 4
"""A contest takes one in so many epochs of the long training, which follows it whole."""

ITSELF, UNIFORM, HALFWAY = "as it was", "uniform widths", "halfway to uniform"


def contest(shop: Workshop, last: Step, number: int) -> Step:
    """The best of the networks that keep the budget, trained a while, as a step of that number.

    Args:
        last: the search's own, which keeps it.

    Raises:
        ModelError: every training fails.
        GateError: no file agrees with its network.
    """
    options, place = shop.options, Place(last.series, number, CONTEST)
    epochs, images = math.ceil(options.finish_epochs / PART), shop.task.source.size("train")
    plans: dict[str, Scaled | None] = {ITSELF: None, **_rivals(shop, place, last)}
    jobs = {}
    for name, plan in plans.items():
        itself = plan is None
        jobs[name] = Candidate(
            f"step {number}: training {len(plans)} networks for the contest",
            (shop.out / last.checkpoint).read_bytes() if plan is None else shop.first,
            sizes={} if plan is None else plan.sizes,
            criterion=options.criterion,
            steps=0 if itself else last.trained_steps,
            epochs=epochs,
            rate=options.finish_rate,
            distill=options.distill,
            scratch=options.scratch,
            recalibrate=not itself or options.scratch,
            keep=True,
            weight=100.0,
        )
    found = shop.candidates(place, jobs, dict.fromkeys(jobs))
    scored = [one for one in found if one.top1 is not None and one.loss is not None]
    if not scored:
        shop.journal.forget_failures(place)
        raise ModelError(f"every network of the contest failed: {found[0].error}")
    scored.sort(key=lambda one: (one.top1 or 0.0, -(one.loss or 0.0)), reverse=True)
    scores = {one.channels: one.top1 for one in scored}
    shop.journal.note("decision", place, {"chosen": scored[0].channels, "merits": scores})
    for best in scored:
        try:
            step = shop.measured(
                Place(place.series, place.step),
                "contest",
                shop.kept(place, best.channels).read_bytes(),
                changed=(best.channels, None),
                scored=best.top1,
                trained_steps=last.trained_steps + epochs * epoch_steps(images),
            )
        except (GateError, ModelError) as error:
            why = f"the network of the contest {best.channels} has no file that holds: {error}"
            shop.say(place, f"step {number}: {why}")
            continue
        shop.remove_candidates(place)
        return step
    raise GateError(f"no network of the contest can be used; the last one: {why}")


def _rivals(shop: Workshop, place: Place, last: Step) -> dict[str, Scaled]:
    """Scaled networks that keep the budget when measured, other than the search's own."""
    uniform = plans_of(shop, Place("uniform", 0))
    own = widths_of(last.spec)
    halfway = [uniform[0], *(_between(shop, own, plan) for plan in uniform)]
    found: dict[str, Scaled] = {}
    for name, plans in ((UNIFORM, uniform), (HALFWAY, halfway)):
        try:
            plan = largest_fitting(shop, place, plans)
        except GateError as error:
            shop.say(place, f"step {place.step}: no network with {name} is in the contest: {error}")
            continue
        if plan.spec not in (last.spec, *(other.spec for other in found.values())):
            found[name] = plan
    return found


def _between(shop: Workshop, own: Mapping[str, int], plan: Scaled) -> Scaled:
    """Widths that are the geometric means of two networks' ones."""
    sizes = {
        name: on_grid(n, math.sqrt(own[name] / n * plan.sizes.get(name, n) / n))
        for name, n in shop.free.items()
    }
    sizes = {name: n for name, n in sizes.items() if n != shop.free[name]}
    return Scaled(resized(shop.task.spec, sizes), sizes, None)
