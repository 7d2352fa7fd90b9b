"""Networks that are scaled as a whole, to the same measured budget and with the same training."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from edgekit.errors import GateError
from edgekit.search.bounds import DRIFT
from edgekit.search.budget import MEASURED
from edgekit.search.costs import CountedMacs, Remembered
from edgekit.search.jobs import Candidate
from edgekit.search.journal import Iteration
from edgekit.search.records import Step, step_of
from edgekit.search.scaling import SIZES, Scaled, scaled
from edgekit.search.workshop import Workshop

RANDOM_NETWORKS = 3
"""One draw says little about random widths."""

NEAR = 0.01
"""To which the largest network of a baseline is looked for."""

_POWER = 0.8
"""Of multiply-accumulates that costs follow, before two sizes are known."""


def baseline(
    shop: Workshop, method: str, trained_steps: int = 0, long_trainings: int = 1
) -> list[Step]:
    """Finished networks of a method, trained as long as the search has trained its own.

    Args:
        trained_steps: batches of training before the long ones.
        long_trainings: that the search's network had: more than one where it had to go on.

    Raises:
        GateError: no network of the method keeps the budget.
    """
    known = {step.step: step for step in (step_of(record) for record in shop.journal.steps(method))}
    count = RANDOM_NETWORKS if method == "random" else 1
    return [
        known.get(i) or _network(shop, Iteration(method, i), trained_steps, long_trainings)
        for i in range(count)
    ]


def _network(shop: Workshop, iteration: Iteration, trained_steps: int, long_trainings: int) -> Step:
    options = shop.options
    plan = largest_fitting(shop, iteration, plans_of(shop, iteration))
    job = Candidate(
        f"{iteration.series}: training",
        shop.first,
        sizes=plan.sizes,
        outline=plan.outline,
        criterion=options.criterion,
        steps=0 if options.scratch else trained_steps,  # which would be forgotten
        epochs=options.finish_epochs * long_trainings,
        rate=options.finish_rate,
        distill=options.distill,
        scratch=options.scratch,
        keep=True,
        weight=100.0,
        wide=True,
    )
    return shop.finished(iteration, job, trained_steps)


def largest_fitting(
    shop: Workshop,
    iteration: Iteration,
    plans: Sequence[Scaled],
    near: float = NEAR,
    trials: int | None = None,
) -> Scaled:
    """The largest network that keeps the budget when measured.

    Costs follow a power of the multiply-accumulates between two measured sizes, so a few
    measurements find it.

    Args:
        iteration: for the record.
        plans: ever smaller networks, of which the first one is the start.
        near: share of the multiply-accumulates, or of the budget, that it may be smaller.
        trials: after so many measurements, each of them made once, the largest one that has been
            found is enough.

    Raises:
        GateError: none of them keeps it.
    """
    costs = Remembered(CountedMacs())

    def macs(number: int) -> float:
        return costs.of(plans[number].spec)

    # It is measured once more when it has been trained.
    measured = not set(MEASURED).isdisjoint(shop.task.resources)
    bound = 1 / (1 + DRIFT) if measured else 1.0
    excess = {0: max(shop.bounds.excess(shop.start))}
    missing, fitting, count = 0, len(plans), 0
    while fitting - missing > 1:
        power = _POWER
        if fitting < len(plans):
            close = macs(missing) <= macs(fitting) * (1 + near) or excess[fitting] >= bound - near
            if close or (trials is not None and count >= trials):
                break
            power = math.log(excess[missing] / excess[fitting]) / math.log(
                macs(missing) / macs(fitting)
            )
        # The share of the work with which it would just keep the budget.
        wanted = macs(missing) * (excess[missing] / bound) ** (-1 / max(power, 0.1))
        inside = range(missing + 1, fitting)
        first = bisect.bisect_left(inside, -wanted, key=lambda number: -macs(number))
        guess = inside[min(first, len(inside) - 1)]
        found, count = shop.trial(iteration, plans[guess].spec, once=trials is not None), count + 1
        excess[guess] = max(shop.bounds.excess(found))
        if excess[guess] <= bound:
            fitting = guess
        else:
            missing = guess
    if fitting == len(plans):
        raise GateError("not even the smallest of its networks keeps the budget when measured")
    return plans[fitting]


def plans_of(shop: Workshop, iteration: Iteration) -> list[Scaled]:
    """A method's networks that differ from the one before, from the start to the smallest.

    Args:
        iteration: its series is the method, and its step the number of the network.
    """
    seed = (shop.options.seed, iteration.step)
    every = 8 if iteration.series == "compound" else 1  # one of them takes a tenth of a second
    plans: list[Scaled] = []
    for size in (*range(0, SIZES - 1, every), SIZES - 1):
        plan = scaled(iteration.series, shop.task.spec, shop.free, size, seed)
        if not plans or plan.spec != plans[-1].spec:
            plans.append(plan)
    return plans
