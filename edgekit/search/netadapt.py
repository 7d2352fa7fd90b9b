"""NetAdapt: a trained network is made to fit a budget, group by group, by measured costs.

Yang et al. 2018, arXiv:1804.03230, with the choice of MobileNetV3, arXiv:1905.02244 section 4. At
each step every group of channels is made as narrow as the step's target needs, by itself, and so
are the groups of every stage together, and all groups where nothing else would do. The candidates
are trained shortly and scored on images kept apart for it, and the best one goes on.

The last network has to win a contest before it is trained to the end (`edgekit.search.contest`).

Costs of parts propose the widths; what the whole network takes is measured at every step against
the start, and only that decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from edgekit.core.text import counted_words
from edgekit.errors import GateError, ModelError
from edgekit.search import contest
from edgekit.search.bounds import DRIFT, Bounds
from edgekit.search.groups import resized, widths_of
from edgekit.search.jobs import Candidate
from edgekit.search.journal import Iteration, Scored
from edgekit.search.proposals import Sizes, proposals
from edgekit.search.records import Step, step_of
from edgekit.search.scaling import GRID
from edgekit.search.workshop import Workshop

SERIES = "netadapt"

ROUNDS = (0, 1, 3)
"""Multiples of the short training that candidates have had after each round; the better half of
them goes into the next one (successive halving, arXiv:1502.07943)."""

SLACK = 0.02
"""A network that is further than this share below its budget gets channels back; the upper end of
an interval counts. It is twice the `DRIFT` that has to stay free."""

FEWEST = 3
"""Candidates that are trained at least."""

REWARD_EXPONENT = -0.07
"""Of latency over target in MnasNet's reward (arXiv:1807.11626, section 3)."""


def adapt(shop: Workshop, report: Callable[[list[Step]], None]) -> list[Step]:
    """Networks from the start to one that keeps the budget when it is trained to the end.

    Args:
        report: is given the networks so far, whenever there is one more.

    Raises:
        GateError: nothing makes the network smaller any more, and it does not keep the budget.
    """
    steps = [shop.start, *(step_of(record) for record in shop.journal.steps(SERIES))]
    fits = shop.bounds.fits
    while not (steps[-1].kind == "finished" and fits(steps[-1])):
        last = steps[-1]
        shop.bounds.learn(steps)
        if last.kind in ("start", "finished") or (last.kind == "adapted" and not fits(last)):
            # A finished network that misses the budget, when measured once more, goes on, too.
            steps.append(_next(shop, last))
        elif last.kind == "adapted" and (sizes := clipped(shop.bounds, shop.free, steps[-2], last)):
            wider = _widened(shop, steps[-2], last, sizes)
            steps.append(wider or _ended(shop, steps))
        else:
            steps.append(_ended(shop, steps))
        report(steps)
    return steps


def _ended(shop: Workshop, steps: Sequence[Step]) -> Step:
    """What follows the last network that keeps the budget: the contest, and the long training."""
    last = next(step for step in reversed(steps) if shop.bounds.fits(step))
    number = steps[-1].step + 1
    tried = [step for step in steps if step.kind == "contest"]
    over = any(step.kind == "finished" for step in steps) or any(map(shop.bounds.fits, tried))
    if shop.options.contest and shop.options.finish_epochs and not over:
        step = contest.held(shop, last, number, tried)
        if step is not None:
            return step
    return finished(shop, last, number)


def finished(shop: Workshop, last: Step, number: int) -> Step:
    """The long training of a network that keeps the budget, as a step of that number."""
    options, iteration = shop.options, Iteration(SERIES, number)
    network = shop.network(last)
    job = Candidate(
        f"training the last network for {counted_words(options.finish_epochs, 'epoch')}",
        network,
        epochs=options.finish_epochs,
        rate=options.finish_rate,
        distill=options.distill,
        scratch=options.scratch,
        recalibrate=options.scratch,
        keep=True,
        weight=100.0,
        wide=True,
    )
    return shop.finished(iteration, job, last.trained_steps)


def _next(shop: Workshop, last: Step) -> Step:
    iteration = Iteration(SERIES, last.step + 1)
    worst = shop.bounds.worst(last)
    proposed, share = proposals(shop, iteration, last, worst)
    at = Iteration(iteration.series, iteration.step, len(ROUNDS) - 1)
    for chosen in _ranked(shop, iteration, last, worst, proposed):
        spec = resized(last.spec, proposed[chosen.channels])
        predicted = shop.bounds.predicted(spec, last, 0)
        try:
            step = shop.measured(
                iteration,
                "adapted",
                shop.kept(at, chosen.channels),
                changed=(chosen.channels, chosen.width),
                predicted=predicted if math.isfinite(predicted) else None,
                scored=chosen.figure,
                trained_steps=last.trained_steps + ROUNDS[-1] * shop.options.tune_steps,
                expected_change=share,
            )
        except (GateError, ModelError) as error:
            width = "fewer" if chosen.width is None else chosen.width
            why = f"{chosen.channels} with {width} channels has no file that holds: {error}"
            shop.say(iteration, f"step {iteration.step}: {why}")
            continue
        shop.remove_candidates(iteration)
        return step
    raise GateError(f"no candidate of step {iteration.step} can be used; the last one: {why}")


def clipped(
    bounds: Bounds, free: Mapping[str, int], before: Step, last: Step
) -> dict[str, int] | None:
    """Larger widths for the last step, where that went further below the budget than it has to.

    Predictions are a few percent off; with both networks measured the line between them is better.

    Args:
        free: channels of each group that may be made narrower, as in the start.
        before: the network that the last one was made from.

    Returns:
        ``None`` where there are none.
    """
    excess = bounds.excess(last)
    if max(excess) > 1 - SLACK:
        return None
    share = 1.0
    for limit, over in zip(bounds.limits, excess, strict=True):
        low, high = last.costs[limit.resource], before.costs[limit.resource]
        wanted = low / over / (1 + DRIFT)  # its interval will be about as wide
        if high > wanted:
            share = min(share, (wanted - low) / (high - low))
    now, then = widths_of(last.spec), widths_of(before.spec)
    taken = {name: (now[name], then[name]) for name in free if now[name] < then[name]}
    sizes = between(taken, share)
    ends = ({name: ends[i] for name, ends in taken.items()} for i in (0, 1))
    return None if sizes in ends else sizes


def between(ends: Mapping[str, tuple[int, int]], share: float) -> dict[str, int]:
    """Widths that far from the first to the second ones of each group, in whole `GRID` from these.

    What rounding takes from one group goes to the next: where many groups lost `GRID` each, some
    get them back.
    """
    sizes, left = {}, 0.0
    for name, (low, high) in ends.items():
        wanted = (high - low) * share + left
        given = min(math.floor(wanted / GRID) * GRID, high - low)
        sizes[name], left = low + given, wanted - given
    return sizes


def _widened(shop: Workshop, before: Step, last: Step, sizes: Mapping[str, int]) -> Step | None:
    """The last step once more with larger widths; ``None`` where that fails."""
    name, iteration = last.changed, Iteration(SERIES, last.step + 1)
    assert name is not None
    width = None if last.width is None else sizes[name]
    told = f"{name} with {'more channels' if width is None else f'{width} channels'} again"
    job = Candidate(
        f"step {iteration.step}: training {told}",
        shop.network(before),
        sizes=sizes,
        criterion=shop.options.criterion,
        steps=ROUNDS[-1] * shop.options.tune_steps,
        epoch=len(ROUNDS) * iteration.step,
        rate=shop.options.tune_rate,
        distill=shop.options.distill,
        keep=True,
        weight=max(1.0, shop.options.tune_steps / 100),
    )
    (found,) = shop.candidates(iteration, {name: job}, {name: width})
    if found.error is not None:
        return None
    try:
        step = shop.measured(
            iteration,
            "widened",
            shop.kept(iteration, name),
            changed=(name, width),
            scored=found.figure,
            trained_steps=last.trained_steps,
        )
    except (GateError, ModelError) as error:
        shop.say(iteration, f"step {iteration.step}: {told} is left: {error}")
        return None
    shop.remove_candidates(iteration)
    return step


# Candidates


def _ranked(
    shop: Workshop, iteration: Iteration, last: Step, worst: int, proposed: Mapping[str, Sizes]
) -> list[Scored]:
    """The best candidates, best first; they get fewer and better from round to round."""
    options = shop.options
    network = shop.network(last)
    alive = list(proposed)
    widths = {name: sizes.get(name) for name, sizes in proposed.items()}
    for number, multiple in enumerate(ROUNDS):
        at = Iteration(iteration.series, iteration.step, number)
        before = Iteration(iteration.series, iteration.step, number - 1)
        jobs = {}
        for name in alive:
            fresh = number <= 1  # the first training is that of the first kept network
            jobs[name] = Candidate(
                f"step {iteration.step}: {'training' if multiple else 'scoring'} candidates",
                network if fresh else shop.kept(before, name),
                sizes=proposed[name] if fresh else {},
                criterion=options.criterion,
                steps=(multiple - ROUNDS[max(0, number - 1)]) * options.tune_steps,
                rate=options.tune_rate,
                distill=options.distill,
                recalibrate=fresh,
                epoch=len(ROUNDS) * iteration.step + number,  # other images each time
                keep=number > 0,
                weight=max(1.0, options.tune_steps / 100),
            )
        found = shop.candidates(at, jobs, widths)
        ranked = sorted(
            (one for one in found if one.figure is not None),
            key=lambda one: _merit(shop, one, last, worst, proposed),
            reverse=True,
        )
        if not ranked:
            shop.journal.forget_failures(at)
            raise ModelError(f"every candidate of step {iteration.step} failed: {found[0].error}")
        alive = [one.channels for one in ranked[: max(FEWEST, len(ranked) // 2)]]
    record = {one.channels: _merit(shop, one, last, worst, proposed)[0] for one in ranked}
    shop.journal.note("decision", iteration, {"chosen": alive[0], "merits": record})
    return ranked


def _merit(
    shop: Workshop, one: Scored, last: Step, worst: int, proposed: Mapping[str, Sizes]
) -> tuple[float, float]:
    assert one.figure is not None
    assert one.loss is not None
    predicted = shop.bounds.predicted(resized(last.spec, proposed[one.channels]), last, worst)
    current = last.costs[shop.task.resources[worst]]
    if shop.options.rule == "accuracy":
        merit = one.figure
    elif shop.options.rule == "reward":
        merit = one.figure
        if merit > 0:  # less than nothing would get better by costing more
            merit *= (predicted / shop.bounds.values[worst]) ** REWARD_EXPONENT
    else:
        merit = (one.figure - last.network_figure) / max(1 - predicted / current, 1e-9)
    return merit, -one.loss
