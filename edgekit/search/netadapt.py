"""NetAdapt: a trained network is made to fit a budget, group by group, by measured costs.

Yang et al. 2018, arXiv:1804.03230, with the choice of MobileNetV3, arXiv:1905.02244 section 4. At
each step every group of channels is made as narrow as the step's target needs, by itself, and all
of them together to the same share; the candidates are trained shortly and scored on images kept
apart for it, and the best one goes on.
Costs of parts propose the widths; what the whole network takes is measured at every step against
the start, and only that decides.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable, Generator, Mapping

from edgekit.core import ModelSpec, from_json
from edgekit.errors import GateError, ModelError
from edgekit.search.costs import Costs
from edgekit.search.groups import resized, widths_of
from edgekit.search.jobs import Candidate
from edgekit.search.journal import Place, Scored
from edgekit.search.records import Step
from edgekit.search.scaling import GRID, least, on_grid
from edgekit.search.workshop import DRIFT, Workshop

SERIES = "netadapt"
SMALLEST_STEP = 0.005
SMALLEST_CHANGE = 0.01
"""Share of the cost that a step takes away even where hardly anything is missing."""

TOGETHER = "every group"
"""Name of the candidate that leaves all groups at most the same share of what they had at the
start, as uniform scaling does; no group is called so. Where hardly any group can take away so much
by itself, little of each costs less accuracy than much of one (docs/benchmarks.md)."""

FACTORS = 32
"""Shares that it chooses among."""

MANY = 8
"""Groups that are enough to choose among without that candidate, which loses against them and needs
all parts of a network measured anew."""

CHOICE = 4
"""Groups that a step chooses among at least: where fewer of them can take away so much by
themselves, it takes away less. With 10 % of MobileNetV1's latency at 64 px only the first block
could, at a third of the accuracy."""

ROUNDS = (0, 1, 3)
"""Multiples of the short training that candidates have had after each round; the better half of
them goes into the next one (successive halving, arXiv:1502.07943)."""

SLACK = 0.04
"""A network that is further than this share below its budget gets channels back."""

FEWEST = 3
"""Candidates that are trained at least."""

REWARD_EXPONENT = -0.07
"""Of latency over target in MnasNet's reward (arXiv:1807.11626, section 3)."""


def adapt(shop: Workshop, report: Callable[[list[Step]], None]) -> list[Step]:
    """Networks from the start to one that keeps the budget when it is trained to the end.

    Args:
        report: is given the networks so far, whenever there is one more.

    Raises:
        GateError: no group makes the network smaller any more, and it does not keep the budget.
    """
    steps = [shop.start, *(from_json(Step, record) for record in shop.journal.steps(SERIES))]
    while not (steps[-1].kind == "finished" and shop.fits(steps[-1])):
        last = steps[-1]
        if last.kind == "widened":
            steps.append(finished(shop, last if shop.fits(last) else steps[-2], last.step + 1))
        elif last.kind != "adapted" or not shop.fits(last):
            # A finished network that misses the budget, when measured once more, goes on, too.
            steps.append(_next(shop, last))
        elif (sizes := _clipped(shop, steps[-2], last)) is not None:
            wider = _widened(shop, steps[-2], last, sizes)
            steps.append(wider or finished(shop, last, last.step + 1))
        else:
            steps.append(finished(shop, last, last.step + 1))
        report(steps)
    return steps


def finished(shop: Workshop, last: Step, number: int) -> Step:
    """The long training of a network that keeps the budget, as a step of that number."""
    options, place = shop.options, Place(SERIES, number)
    shop.notify(f"training the last network for {options.finish_epochs} epochs")
    network = (shop.out / last.checkpoint).read_bytes()
    job = Candidate(
        "training the last network",
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
    return shop.finished(place, job, last.trained_steps)


def _next(shop: Workshop, last: Step) -> Step:
    place = Place(SERIES, last.step + 1)
    excess = shop.excess(last)
    worst = excess.index(max(excess))
    proposals, share = _proposals(shop, place, last, worst)
    at = Place(place.series, place.step, len(ROUNDS) - 1)
    for chosen in _ranked(shop, place, last, worst, proposals):
        spec = resized(last.spec, proposals[chosen.channels])
        predicted = shop.relative(spec, last, 0)
        try:
            step = shop.measured(
                place,
                "adapted",
                shop.kept(at, chosen.channels).read_bytes(),
                changed=(chosen.channels, chosen.width),
                predicted=predicted if math.isfinite(predicted) else None,
                scored=chosen.top1,
                trained_steps=last.trained_steps + ROUNDS[-1] * shop.options.tune_steps,
                expected_change=share,
            )
        except (GateError, ModelError) as error:
            narrower = _told(chosen.channels, chosen.width)
            why = f"{narrower} has no file that holds: {error}"
            shop.say(place, f"step {place.step}: {why}")
            continue
        shutil.rmtree(shop.folder(place) / "candidates")
        return step
    raise GateError(f"no candidate of step {place.step} can be used; the last one: {why}")


def _told(name: str, width: int | None) -> str:
    return f"{name} with fewer channels" if width is None else f"{name} with {width} channels"


def _clipped(shop: Workshop, before: Step, last: Step) -> dict[str, int] | None:
    """Larger widths for the last step, where that went far below the budget.

    Predictions are a few percent off; with both networks measured the line between them is better.
    """
    excess = shop.excess(last)
    worst = excess.index(max(excess))
    if excess[worst] > 1 - SLACK:
        return None
    resource = shop.limits[worst].resource
    low, high = last.costs[resource], before.costs[resource]
    share = (shop.bounds[worst] * (1 - SLACK / 2) - low) / max(high - low, 1e-12)
    now, then = widths_of(last.spec), widths_of(before.spec)
    changed = [name for name in shop.free if now[name] < then[name]]
    sizes = {
        name: min(then[name], (now[name] + round((then[name] - now[name]) * share)) // GRID * GRID)
        for name in changed
    }
    wider = {name: max(now[name], n) for name, n in sizes.items()}
    return wider if wider not in ({n: w[n] for n in changed} for w in (now, then)) else None


def _widened(shop: Workshop, before: Step, last: Step, sizes: Mapping[str, int]) -> Step | None:
    """The last step once more with larger widths; ``None`` where that fails."""
    name, place = last.changed, Place(SERIES, last.step + 1)
    assert name is not None
    width = sizes.get(name)
    job = Candidate(
        f"step {place.step}: training {_told(name, width)} instead of {last.width or 'fewer'}",
        (shop.out / before.checkpoint).read_bytes(),
        sizes=sizes,
        criterion=shop.options.criterion,
        steps=ROUNDS[-1] * shop.options.tune_steps,
        epoch=len(ROUNDS) * place.step,
        rate=shop.options.rate,
        distill=shop.options.distill,
        keep=True,
        weight=max(1.0, shop.options.tune_steps / 100),
    )
    (found,) = shop.candidates(place, {name: job}, {name: width})
    if found.error is not None:
        return None
    try:
        step = shop.measured(
            place,
            "widened",
            shop.kept(place, name).read_bytes(),
            changed=(name, width),
            scored=found.top1,
            trained_steps=last.trained_steps,
        )
    except (GateError, ModelError) as error:
        shop.say(place, f"step {place.step}: {_told(name, width)} is left: {error}")
        return None
    shutil.rmtree(shop.folder(place) / "candidates")
    return step


# Widths


Sizes = Mapping[str, int]
"""Channels that stay, by group."""


def _proposals(
    shop: Workshop, place: Place, last: Step, worst: int
) -> tuple[dict[str, Sizes], float]:
    """By candidate the largest widths with which the network costs what the step is to reach.

    Returns:
        The widths, and the share of the cost that the step is to take away.
    """
    options, resource = shop.options, shop.limits[worst].resource
    bound, current = shop.bounds[worst], last.costs[resource]
    share = options.reduction * options.decay**last.step
    noise = 0.0
    interval = {"latency": last.latency_ci95, "energy": last.energy_ci95}.get(resource)
    if interval and last.kind != "start":
        noise = (interval[1] - interval[0]) / 2 / current
    if share < 2 * noise:
        shop.say(
            place,
            f"step {place.step}: measurements are only good to +-{noise:.1%}: it takes "
            f"{2 * noise:.1%} away instead of {share:.1%}",
        )
        share = 2 * noise
    # The last step is clipped to the bound, below which the end of the interval has to lie.
    aim = bound if resource in ("macs", "size") else bound / (1 + noise + DRIFT)
    shop.check_known(shop.costs[worst], last.spec)
    alone = ladders(last.spec, shop.free)
    every = {TOGETHER: alone.pop(TOGETHER)} if TOGETHER in alone else {}
    while True:
        wanted = min(max(aim / current, 1 - share), 1 - SMALLEST_CHANGE)
        found = _largest(last.spec, alone, shop.costs[worst], wanted)
        smaller = share / 2 >= max(2 * noise, SMALLEST_CHANGE)
        if len(found) >= min(CHOICE, len(shop.free)) or not smaller:
            if len(found) < MANY:
                found |= _largest(last.spec, every, shop.costs[worst], wanted)
            if found:
                record = {"share": share, "wanted": wanted, "resource": resource, "sizes": found}
                shop.journal.note("proposals", place, record)
                return found, 1 - wanted
        share /= 2
        if share < SMALLEST_STEP:
            raise GateError(
                f"nothing makes the network smaller any more at {shop.told(last)}; what was found "
                f"is kept in {shop.out}"
            )


def ladders(spec: ModelSpec, free: Mapping[str, int]) -> dict[str, dict[int, Sizes]]:
    """By candidate the widths to choose from, each under a number that costs rise with.

    The last ones are those that there are.

    Args:
        free: channels at the start of the groups that may be made narrower.
    """
    now = widths_of(spec)
    found: dict[str, dict[int, Sizes]] = {
        name: {
            **{n: {name: n} for n in range(GRID, now[name], GRID) if n >= least(channels)},
            now[name]: {},
        }
        for name, channels in free.items()
    }
    if len(free) > 1:
        found[TOGETHER] = {**together(now, free), FACTORS: {}}
    return found


def together(now: Mapping[str, int], free: Mapping[str, int]) -> dict[int, Sizes]:
    """All groups with at most the same share of their channels, under the number of the share.

    The share is one of `FACTORS`, of the channels at the start: rounded anew at every step, narrow
    groups would lose nothing and wide ones all.
    """
    found: dict[int, Sizes] = {}
    for i in range(1, FACTORS):
        sizes = {name: on_grid(n, i / FACTORS) for name, n in free.items()}
        sizes = {name: n for name, n in sizes.items() if n < now[name]}
        if sizes and sizes not in found.values():
            found[i] = sizes
    return found


Asking = Generator[list[ModelSpec], None, int | None]
"""Yields networks whose costs it needs next, and returns the number of one."""


def _largest(
    spec: ModelSpec, choices: Mapping[str, Mapping[int, Sizes]], costs: Costs, wanted: float
) -> dict[str, Sizes]:
    asking: dict[str, Asking] = {
        name: largest({n: resized(spec, sizes) for n, sizes in ladder.items()}, costs, wanted)
        for name, ladder in choices.items()
    }
    found: dict[str, Sizes] = {}
    while asking:
        # All ask at once, so that parts of networks are written in parallel.
        needed = []
        for name, generator in list(asking.items()):
            try:
                needed += next(generator)
            except StopIteration as stop:
                del asking[name]
                if stop.value is not None:
                    found[name] = choices[name][stop.value]
        costs.prepare(needed)
    return {name: found[name] for name in choices if name in found}


def largest(ladder: Mapping[int, ModelSpec], costs: Costs, wanted: float) -> Asking:
    """The largest measured network with at most ``wanted`` of the last one's cost.

    Costs are nearly straight lines of one width, with stairs: the line through what is measured
    says where to measure next, until that is nothing new.

    Args:
        ladder: networks by numbers that costs rise with.
    """
    *grid, now = sorted(ladder)
    spec, shares = ladder[now], {now: 1.0}
    yield [spec]
    if grid and costs.at_least(ladder[grid[0]]) > wanted * costs.of(spec):
        return None  # whatever its own parts may take: the others take too much
    while grid:  # from the narrowest one that can be written
        yield [ladder[grid[0]]]
        share = costs.of(ladder[grid[0]]) / costs.of(spec)
        if math.isfinite(share):
            break
        del grid[0]
    if not grid or share > wanted:
        return None
    shares[grid[0]] = share
    while True:
        guess = max(n for n in grid if _between(shares, n) <= wanted or n == grid[0])
        if guess in shares:
            # Costs go up in stairs: the next one may be on the same one.
            wider = min((n for n in grid if n > guess), default=guess)
            if wider in shares:
                return guess
            guess = wider
        yield [ladder[guess]]
        share = costs.of(ladder[guess]) / costs.of(spec)
        if math.isfinite(share):
            shares[guess] = share
        else:
            grid.remove(guess)


def _between(shares: Mapping[int, float], width: int) -> float:
    """A cost, on the line between the nearest measured widths."""
    for a, b in itertools.pairwise(sorted(shares)):
        if a <= width <= b:
            return shares[a] + (shares[b] - shares[a]) * (width - a) / (b - a)
    raise AssertionError


# Candidates


def _ranked(
    shop: Workshop, place: Place, last: Step, worst: int, proposals: Mapping[str, Sizes]
) -> list[Scored]:
    """The best candidates, best first; they get fewer and better from round to round."""
    options = shop.options
    network = (shop.out / last.checkpoint).read_bytes()
    alive = list(proposals)
    widths = {name: sizes.get(name) for name, sizes in proposals.items()}
    for number, multiple in enumerate(ROUNDS):
        at = Place(place.series, place.step, number)
        before = Place(place.series, place.step, number - 1)
        jobs = {}
        for name in alive:
            fresh = number <= 1  # the first training is that of the first kept network
            jobs[name] = Candidate(
                f"step {place.step}: {'training' if multiple else 'scoring'} candidates",
                network if fresh else shop.kept(before, name).read_bytes(),
                sizes=proposals[name] if fresh else {},
                criterion=options.criterion,
                steps=(multiple - ROUNDS[max(0, number - 1)]) * options.tune_steps,
                rate=options.rate,
                distill=options.distill,
                recalibrate=fresh,
                epoch=len(ROUNDS) * place.step + number,  # other images each time
                keep=number > 0,
                weight=max(1.0, options.tune_steps / 100),
            )
        found = shop.candidates(at, jobs, widths)
        ranked = sorted(
            (one for one in found if one.top1 is not None),
            key=lambda one: _merit(shop, one, last, worst, proposals),
            reverse=True,
        )
        if not ranked:
            shop.journal.forget_failures(at)
            raise ModelError(f"every candidate of step {place.step} failed: {found[0].error}")
        alive = [one.channels for one in ranked[: max(FEWEST, len(ranked) // 2)]]
    record = {one.channels: _merit(shop, one, last, worst, proposals)[0] for one in ranked}
    shop.journal.note("decision", place, {"chosen": alive[0], "merits": record})
    return ranked


def _merit(
    shop: Workshop, one: Scored, last: Step, worst: int, proposals: Mapping[str, Sizes]
) -> tuple[float, float]:
    assert one.top1 is not None
    assert one.loss is not None
    predicted = shop.relative(resized(last.spec, proposals[one.channels]), last, worst)
    current = last.costs[shop.limits[worst].resource]
    if shop.options.rule == "accuracy":
        merit = one.top1
    elif shop.options.rule == "reward":
        merit = one.top1 * (predicted / shop.bounds[worst]) ** REWARD_EXPONENT
    else:
        merit = (one.top1 - last.network_top1) / max(1 - predicted / current, 1e-9)
    return merit, -one.loss
