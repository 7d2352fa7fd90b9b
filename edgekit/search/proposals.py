"""Which widths a step proposes: of every group by itself, of stages, and of all groups together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from edgekit.core import ModelSpec
from edgekit.errors import GateError
from edgekit.models import family_of
from edgekit.models.size import laid_out
from edgekit.search.bounds import DRIFT, USUAL_CHANGE
from edgekit.search.budget import MEASURED
from edgekit.search.costs import Costs
from edgekit.search.groups import groups_of, resized, widths_of
from edgekit.search.journal import Iteration
from edgekit.search.parts import sides_of
from edgekit.search.records import Step
from edgekit.search.scaling import GRID, least, on_grid
from edgekit.search.workshop import Workshop

SMALLEST_STEP = 0.005
SMALLEST_CHANGE = 0.01
"""Share of the cost that a step takes away even where hardly anything is missing."""

CHOICE = 4
"""Candidates that a step chooses among at least: where fewer groups and stages can take away so
much, it takes away less. With 10 % of MobileNetV1's latency at 64 px only the first block could by
itself, at a third of the accuracy."""

TOGETHER = "every group"
"""Name of the candidate that leaves all groups at most the same share of what they had at the
start, as uniform scaling does; no group is called so. It is for steps that nothing else can take
without losing half of the channels of a group; where something could, it was sieved out untrained
(MobileNetV1@0.5 in int8, eight steps)."""

SHARES = 128
"""Shares that it chooses among: neighbours differ by what rounding to `GRID` makes of them."""

Sizes = Mapping[str, int]
"""Channels that stay, by group."""


def proposals(
    shop: Workshop, iteration: Iteration, last: Step, worst: int
) -> tuple[Mapping[str, Sizes], float]:
    """By candidate the largest widths with which the network costs what the step is to reach.

    Args:
        worst: number of the limit that the step is for.

    Returns:
        The widths, and the share of the cost that the step is to take away.

    Raises:
        GateError: nothing makes the network smaller any more.
    """
    for record in shop.journal.events("proposals"):
        if record["step"] == iteration.step:  # its candidates may be in the journal already
            return record["sizes"], 1 - record["wanted"]
    reach = _reach(shop, iteration, last, worst)
    costs, share = shop.bounds.costs[worst], reach.share
    shop.check_known(worst, last.spec)
    now = widths_of(last.spec)
    choices = ladders(now, shop.free)
    for name, free in stages(shop.task.spec, shop.free).items():
        choices[name] = {**together(now, free), SHARES: {}}

    def largest_at(sizes: Mapping[str, Mapping[int, Sizes]], left: float) -> dict[str, Sizes]:
        return _largest(last.spec, sizes, costs, shop.bounds.left_of_parts(last, worst, left))

    while True:
        found = largest_at(choices, reach.left(share))
        if len(found) >= min(CHOICE, len(shop.free)) or (found and share / 2 < reach.least):
            break
        share /= 2
        if share < SMALLEST_STEP:
            share = reach.share
            break
    wanted = reach.left(share)
    if all(is_drastic(now, sizes) for sizes in found.values()):
        every = {**together(now, shop.free), SHARES: {}}
        found |= largest_at({TOGETHER: every}, wanted)
    if not found:
        raise GateError(
            f"nothing makes the network smaller any more at {shop.bounds.told(last)}; what was "
            f"found is kept in {shop.out}"
        )
    record = {
        "step": iteration.step, "share": share, "wanted": wanted,
        "resource": shop.task.resources[worst], "sizes": found,
    }  # fmt: skip
    shop.journal.note("proposals", iteration, record)
    return found, 1 - wanted


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far a step is to go.

    Attributes:
        share: of the cost that it is to take away; less where few candidates can.
        least: share below which it is not made smaller once a candidate can take it away.
        enough: what is left of the cost where the budget is kept.
    """

    share: float
    least: float
    enough: float

    def left(self, share: float) -> float:
        """What is left of the cost without a share: the last step is clipped to the budget."""
        return min(max(self.enough, 1 - share), 1 - SMALLEST_CHANGE)


def _reach(shop: Workshop, iteration: Iteration, last: Step, worst: int) -> _Reach:
    options, resource = shop.options, shop.task.resources[worst]
    current = last.costs[resource]
    share = options.reduction * options.decay**last.step
    noise = 0.0
    interval = {"latency": last.latency_ci95, "energy": last.energy_ci95}.get(resource)
    if interval and last.kind != "start":
        noise = (interval[1] - interval[0]) / 2 / current
    if share < 2 * noise:
        shop.say(
            iteration,
            f"step {iteration.step}: measurements are only good to +-{noise:.1%}: it takes "
            f"{2 * noise:.1%} away instead of {share:.1%}",
        )
        share = 2 * noise
    enough, exact = shop.bounds.values[worst] / current, resource not in MEASURED
    if not exact:  # the end of the interval has to lie below the bound
        enough /= 1 + noise + DRIFT
    return _Reach(share, max(2 * noise, SMALLEST_CHANGE if exact else USUAL_CHANGE), enough)


def is_drastic(now: Mapping[str, int], sizes: Sizes) -> bool:
    """Whether half of the channels of a group or more go."""
    return any(2 * n <= now[name] for name, n in sizes.items())


def ladders(now: Mapping[str, int], free: Mapping[str, int]) -> dict[str, dict[int, Sizes]]:
    """By group the widths to choose from, each under a number that costs rise with.

    The last ones are those that there are.

    Args:
        free: channels at the start of the groups that may be made narrower.
    """
    return {
        name: {
            **{n: {name: n} for n in range(GRID, now[name], GRID) if n >= least(channels)},
            now[name]: {},
        }
        for name, channels in free.items()
    }


def stages(spec: ModelSpec, free: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """The groups that may be made narrower, by the size of the maps that they are computed on.

    Together they take from a stage what one of them could by losing most of its channels only: a
    network of such bottlenecks is worse than one of uniform widths.
    Stages of one group are left out, and one of all groups.

    Args:
        spec: of the start.
        free: channels at the start of the groups that may be made narrower.
    """
    sides = sides_of(spec)
    found: dict[str, dict[str, int]] = {}
    for group in groups_of(spec, laid_out(spec, family_of(spec).build)):
        side = next((sides[layer] for layer in group.layers if layer in sides), None)
        if side is not None and group.name in free:
            name = f"maps of {side[0]}x{side[1]}"  # no layer is called so
            found.setdefault(name, {})[group.name] = free[group.name]
    return {name: own for name, own in found.items() if 1 < len(own) < len(free)}


def together(now: Mapping[str, int], free: Mapping[str, int]) -> dict[int, Sizes]:
    """All groups with at most the same share of their channels, under the number of the share.

    The share is one of `SHARES`, of the channels at the start: rounded anew at every step, narrow
    groups would lose nothing and wide ones all. What changes one group only is not among them.
    """
    by_share: dict[int, Sizes] = {}
    for i in range(1, SHARES):
        sizes = {name: on_grid(n, i / SHARES) for name, n in free.items()}
        sizes = {name: n for name, n in sizes.items() if n < now[name]}
        if len(sizes) > 1 and sizes not in by_share.values():
            by_share[i] = sizes
    return by_share


Asking = Generator[list[ModelSpec], None, int | None]
"""Yields networks whose costs it needs next, and returns the number of one."""


def _largest(
    spec: ModelSpec, choices: Mapping[str, Mapping[int, Sizes]], costs: Costs, wanted: float
) -> dict[str, Sizes]:
    asking: dict[str, Asking] = {
        name: largest({n: resized(spec, sizes) for n, sizes in ladder.items()}, costs, wanted)
        for name, ladder in choices.items()
    }
    chosen: dict[str, Sizes] = {}
    while asking:
        # All ask at once, so that parts of networks are written in parallel.
        needed = []
        for name, generator in list(asking.items()):
            try:
                needed += next(generator)
            except StopIteration as stop:
                del asking[name]
                if stop.value is not None:
                    chosen[name] = choices[name][stop.value]
        costs.prepare(needed)
    return {name: chosen[name] for name in choices if name in chosen}


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
