"""Widths that a step proposes: the largest ones that cost little enough."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgekit.core import ModelSpec
from edgekit.models import find_spec
from edgekit.search.bounds import Bounds
from edgekit.search.budget import parse_budget
from edgekit.search.groups import resized, widths_of
from edgekit.search.journal import Iteration
from edgekit.search.netadapt import SLACK, between, clipped
from edgekit.search.parts import note_sides
from edgekit.search.proposals import SHARES, is_drastic, largest, proposals, stages, together
from edgekit.search.scaling import GRID, least

NAME = "block3.expand"


class Priced:
    """Costs by a function of one width; counts what it is asked for."""

    resource = "latency"

    def __init__(self, price: Callable[[int], float]) -> None:
        self._price = price
        self.least = 0.0
        self.asked: set[int] = set()

    def of(self, spec: ModelSpec) -> float:
        width = widths_of(spec)[NAME]
        assert width in self.asked
        return self._price(width)

    def at_least(self, spec: ModelSpec) -> float:
        return self.least

    def prepare(self, specs: Sequence[ModelSpec]) -> None:
        self.asked |= {widths_of(spec)[NAME] for spec in specs}


def found(costs: Priced, wanted: float) -> int | None:
    spec = find_spec("mobilenetv2", classes=10, resolution=32)
    now = widths_of(spec)[NAME]
    widths = list(range(least(now), now, GRID))
    asking = largest({n: resized(spec, {NAME: n}) for n in (*widths, now)}, costs, wanted)
    while True:
        try:
            costs.prepare(next(asking))
        except StopIteration as stop:
            width: int | None = stop.value
            return width


def expected(price: Callable[[int], float], wanted: float) -> int | None:
    now = widths_of(find_spec("mobilenetv2"))[NAME]
    good = [n for n in range(least(now), now, GRID) if price(n) <= wanted * price(now)]
    return max(good, default=None)


def stairs(width: int) -> float:
    return 1.0 + math.ceil(width / 16)


def line(width: int) -> float:
    return 3.0 + width / 50


@pytest.mark.parametrize("wanted", [0.97, 0.9, 0.8, 0.6, 0.5])
@pytest.mark.parametrize("price", [line, stairs])
def test_it_is_the_largest_one(price: Callable[[int], float], wanted: float) -> None:
    costs = Priced(price)
    assert found(costs, wanted) == expected(price, wanted)
    assert len(costs.asked) <= 6


def test_there_may_be_none() -> None:
    assert found(Priced(line), 0.2) is None


def test_a_group_that_cannot_take_so_much_is_not_measured() -> None:
    now = widths_of(find_spec("mobilenetv2"))[NAME]
    costs = Priced(line)
    costs.least = 0.85 * line(now)
    assert found(costs, 0.8) is None
    assert costs.asked == {now}
    assert found(costs, 0.9) == expected(line, 0.9)


def test_widths_that_cannot_be_measured_are_not_proposed() -> None:
    def price(width: int) -> float:
        return math.inf if width in (24, 32, 72, 80) else line(width)

    for wanted in (0.9, 0.8):
        assert found(Priced(price), wanted) == expected(price, wanted)


def test_a_group_of_which_nothing_can_be_measured_is_left_alone() -> None:
    now = widths_of(find_spec("mobilenetv2"))[NAME]
    assert found(Priced(lambda width: 1.0 if width == now else math.inf), 0.9) is None


def test_a_step_that_goes_on_has_the_candidates_that_were_noted() -> None:
    noted = {"step": 3, "wanted": 0.9, "sizes": {"stem": {"stem": 8}}}
    others = {"step": 2, "wanted": 0.8, "sizes": {}}
    shop: Any = SimpleNamespace(journal=SimpleNamespace(events=lambda kind: [others, noted]))
    last: Any = None  # nothing of it is asked for, and nothing is measured
    sizes, share = proposals(shop, Iteration("netadapt", 3), last, 0)
    assert sizes == {"stem": {"stem": 8}}
    assert share == pytest.approx(0.1)


def test_half_of_the_channels_of_a_group_is_drastic() -> None:
    now = {"a": 64, "b": 128}
    assert is_drastic(now, {"a": 32})
    assert not is_drastic(now, {"a": 40})
    assert is_drastic(now, {"a": 8, "b": 64})
    assert is_drastic(now, {"a": 8, "b": 72})
    assert not is_drastic(now, {"a": 40, "b": 72})


def test_all_groups_together_lose_about_the_same_share() -> None:
    now = widths_of(find_spec("mobilenetv2", classes=10, resolution=32))
    free = {name: n for name, n in now.items() if name != "head"}
    found = together(now, free)
    for number, sizes in found.items():
        assert "head" not in sizes
        assert len(sizes) > 1
        for name, n in free.items():
            width = sizes.get(name, n)
            assert least(n) <= width <= n
            assert width % GRID == 0 or width == n
            assert abs(width - n * number / SHARES) <= GRID / 2 or width == least(n)
    before = {}
    for number in sorted(found, reverse=True):  # ever narrower, and never the same again
        widths = {**now, **found[number]}
        assert widths != before
        assert not before or all(widths[name] <= before[name] for name in now)
        before = widths
    assert before == {**now, **{name: least(n) for name, n in free.items()}}


def test_what_is_narrow_already_stays_until_the_others_are() -> None:
    free = {"a": 64, "b": 128, "c": 64}
    found = list(together({"a": 16, "b": 96, "c": 64}, free).values())
    assert found[-1] == {"b": 88, "c": 48}  # c alone has a candidate of its own
    assert {"b": 64, "c": 32} in found
    assert found[0] == {"a": 8, "b": 16, "c": 8}


def test_a_step_that_went_too_far_gets_its_share_back_in_whole_steps_of_the_grid() -> None:
    assert between({"a": (64, 128)}, 0.6) == {"a": 96}
    assert between({"a": (64, 128)}, 0.1) == {"a": 64}
    many = {str(i): (16, 24) for i in range(8)}
    found = between(many, 0.6)
    assert sorted(found.values()) == [16] * 4 + [24] * 4
    assert between(many, 1.0) == dict.fromkeys(many, 24)
    mixed = {"a": (8, 18), "b": (16, 32), "c": (40, 64)}
    for share in (0.2, 0.5, 0.8):
        widths = between(mixed, share)
        given = sum(widths[name] - low for name, (low, _) in mixed.items())
        assert abs(given - share * 50) < GRID
        assert all(low <= widths[name] <= high for name, (low, high) in mixed.items())


@pytest.mark.parametrize(
    ("ratio", "half", "share"),
    [
        (0.45, 0.0, 0.0450 / 0.15),  # 0.5 / 1.01 is wanted
        (0.45, 0.01, 0.0339 / 0.15),  # as the interval of 0.46 leaves 0.04
        (0.48, 0.0, 0.0150 / 0.12),
        (0.48, 0.015, None),
        (0.49 + 0.001, 0.0, None),
    ],
)
def test_channels_come_back_as_far_as_the_interval_leaves_room(
    ratio: float, half: float, share: float | None
) -> None:
    sizes = {NAME: (64, 960)}
    found = clipped(*networks(sizes, {"latency": (0.6, ratio)}, half))
    if share is None:
        assert found is None
    else:
        assert found == between(sizes, share)
        (low, _), upper = sizes[NAME], ratio + half
        left = (found[NAME] - low) / 896 * (0.6 - ratio) * upper / ratio
        assert 1 - SLACK < (upper + left) / 0.5 <= 1 / 1.0099


def test_no_limit_is_missed_for_another_one_that_leaves_room() -> None:
    sizes = {NAME: (64, 960)}
    found = clipped(*networks(sizes, {"latency": (0.65, 0.475), "macs": (0.51, 0.485)}, 0.0))
    assert found == between(sizes, (0.5 / 1.01 - 0.475) / (0.65 - 0.475))


def networks(
    sizes: dict[str, tuple[int, int]], costs: dict[str, tuple[float, float]], half: float
) -> tuple[Any, Any, Any, Any]:
    """Half of each cost may be kept; costs of the network before and of the last one."""
    spec = find_spec("mobilenetv4-conv-small")
    one = dict.fromkeys(costs, 1.0)
    start = SimpleNamespace(spec=spec, costs=one, latency_ci95=(1.0, 1.0))
    limits = parse_budget(",".join(f"{resource}=0.5x" for resource in costs))
    bounds = Bounds(limits, start, [Priced(float) for _ in costs])  # type: ignore[arg-type]
    before, last = (
        SimpleNamespace(
            spec=resized(spec, {name: ends[1 - i] for name, ends in sizes.items()}),
            costs={resource: values[i] for resource, values in costs.items()},
            ci95=(costs["latency"][i] - half, costs["latency"][i] + half),
        )
        for i in (0, 1)
    )
    return bounds, {name: high for name, (_, high) in sizes.items()}, before, last


def test_stages_hold_the_groups_on_maps_of_one_size() -> None:
    spec = find_spec("mobilenetv1@0.5", classes=10, resolution=64)
    free = {name: n for name, n in widths_of(spec).items() if name != "block9.out"}
    found = stages(spec, free)
    assert list(found) == [f"maps of {n}x{n}" for n in (32, 16, 8, 4, 2)]
    assert found["maps of 32x32"] == {"stem": 16, "block0.out": 32}
    assert list(found["maps of 4x4"]) == [f"block{i}.out" for i in (5, 6, 7, 8, 10)]
    assert {name: n for own in found.values() for name, n in own.items()} == free


def test_a_stage_is_more_than_one_group_and_not_all_of_them() -> None:
    spec = find_spec("mobilenetv1@0.5", classes=10, resolution=64)
    assert stages(spec, {"stem": 16, "block0.out": 32}) == {}
    assert stages(spec, {"stem": 16, "block1.out": 64, "block3.out": 128}) == {}
    both = {"stem": 16, "block0.out": 32}
    assert stages(spec, {**both, "block1.out": 64}) == {"maps of 32x32": both}


def test_all_groups_of_a_block_are_of_one_stage() -> None:
    found = {}
    for resolution in (32, 64):
        spec = find_spec("mobilenetv3-small", classes=10, resolution=resolution)
        found[resolution] = stages(spec, widths_of(spec))
    assert list(found[64]) == [f"maps of {n}x{n}" for n in (16, 8, 4, 2)]
    assert list(found[64]["maps of 16x16"]) == ["block0.squeeze", "stage0.out", "block1.expand"]
    for i in range(4, 8):
        assert {f"block{i}.expand", f"block{i}.squeeze"} <= set(found[64]["maps of 4x4"])
    # With images half as large the last maps are vectors, which the classifier works on, too.
    last = found[32].pop("maps of 1x1")
    assert last.pop("hidden")
    assert [*found[32].values(), last] == list(found[64].values())


class Tokens(nn.Module):
    """Works on (N, H, W, C) and on tokens, as other people's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(8, 16)
        self.mixed = nn.Linear(16, 12)
        self.scores = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 8, H, W) to (N, 5)."""
        x = self.wide(x.permute(0, 2, 3, 1))
        return torch.as_tensor(self.scores(self.mixed(x.flatten(1, 2)).mean(1)))


def test_maps_are_found_wherever_channels_lie() -> None:
    found: dict[str, tuple[int, int]] = {}
    network = Tokens()
    for name, layer in network.named_children():
        layer.register_forward_hook(functools.partial(note_sides, found, name))
    network(torch.zeros(1, 8, 4, 6))
    assert found == {"wide": (4, 6), "mixed": (24, 1), "scores": (1, 1)}
