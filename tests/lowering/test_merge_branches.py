from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fold_batchnorm import agreement_db, images, randomized
from torch import Tensor, nn

from edgekit import registry, tables
from edgekit.core import FLOAT_SCHEMES
from edgekit.lowering import lower
from edgekit.lowering.merge_branches import LOWERING

EXACT_DB = 200.0  # of float64


class Branches(nn.Module):
    """Sums of branches between two layers, in which no other sum is."""

    def __init__(self, *branches: nn.Module, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)
        self.branches = nn.ModuleList(branches)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        total: Tensor | int = 0
        for branch in self.branches:
            total = total + branch(x)
        found: Tensor = self.act(total)
        return found.mean((2, 3))


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class RepVgg(Branches):
    def __init__(self) -> None:
        super().__init__(conv_norm(8, 8, 3), conv_norm(8, 8, 1), nn.BatchNorm2d(8))


class Strided(Branches):
    def __init__(self) -> None:
        super().__init__(conv_norm(8, 12, 3, 2), conv_norm(8, 12, 1, 2))


class MobileOne(Branches):
    def __init__(self) -> None:
        depthwise = [conv_norm(8, 8, 3, groups=8) for _ in range(4)]
        super().__init__(nn.BatchNorm2d(8), conv_norm(8, 8, 1, groups=8), *depthwise)


class RepGhost(Branches):
    def __init__(self) -> None:
        norm = nn.Sequential(nn.Identity(), nn.BatchNorm2d(8))
        super().__init__(conv_norm(8, 8, 3, groups=8), norm)


class Itself(Branches):
    def __init__(self) -> None:
        super().__init__(conv_norm(8, 8, 7, groups=8), nn.Identity())


class NormBehind(Branches):
    """As RepViT has it."""

    def __init__(self) -> None:
        super().__init__(conv_norm(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1, groups=8), nn.Identity())
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        total = self.branches[0](x) + self.branches[1](x) + x
        return self.act(self.norm(total)).mean((2, 3))


class LopsidedKernels(Branches):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(8, 8, 5, padding=2), nn.Conv2d(8, 8, (3, 1), padding=(1, 0)),
            nn.Conv2d(8, 8, (1, 5), padding=(0, 2), groups=2),
            nn.Conv2d(8, 8, 1),
        )  # fmt: skip


MERGED = [RepVgg, Strided, MobileOne, RepGhost, Itself, NormBehind, LopsidedKernels]


def called(model: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    hooks = [
        m.register_forward_hook(lambda module, _, __: found.append(module))
        for m in model.modules()
        if isinstance(m, nn.Conv2d | nn.BatchNorm2d)
    ]
    with torch.no_grad():
        model(images(1).to(next(model.parameters()).dtype))
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
@pytest.mark.parametrize("make", MERGED)
def test_branches_become_one_convolution_that_computes_the_same(
    make: Callable[[], nn.Module],
) -> None:
    torch.manual_seed(0)
    model = randomized(make(), images(16)).double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batch = images(16).double()
    found, applied = lower(model, (batch[:1],), registry.target("onnx"), FLOAT_SCHEMES["fp32"])
    assert "merge-branches" in applied
    assert [type(m) for m in called(found)] == [nn.Conv2d, nn.Conv2d]
    assert agreement_db(model(batch), found(batch)) > EXACT_DB
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_largest_convolution_keeps_its_path() -> None:
    model = randomized(RepVgg(), images(16))
    paths = [path for path, m in LOWERING.rewrite(model, (images(1),)).named_modules()
             if isinstance(m, nn.Conv2d) and m.bias is not None]  # fmt: skip
    assert paths == ["stem", "branches.0.0"]


@st.composite
def branches(draw: st.DrawFn) -> tuple[nn.Module, ...]:
    stride = draw(st.sampled_from([1, 1, 2]))
    found: list[nn.Module] = [nn.Conv2d(8, 8, 5, stride, 2)]
    for _ in range(draw(st.integers(1, 4))):
        kernel = draw(st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])))
        groups = draw(st.sampled_from([1, 2, 4, 8]))
        conv = nn.Conv2d(
            8, 8, kernel, stride, (kernel[0] // 2, kernel[1] // 2), groups=groups,
            bias=draw(st.booleans()),
        )  # fmt: skip
        found.append(conv if draw(st.booleans()) else nn.Sequential(conv, nn.BatchNorm2d(8)))
    if stride == 1 and draw(st.booleans()):
        found.append(draw(st.sampled_from([nn.BatchNorm2d(8), nn.Identity()])))
    return tuple(draw(st.permutations(found)))


@torch.no_grad()
@settings(deadline=None, max_examples=25)
@given(branches())
def test_any_branches_of_one_image(drawn: tuple[nn.Module, ...]) -> None:
    batch = images(8).double()
    model = randomized(Branches(*drawn).double(), batch)
    found = LOWERING.rewrite(model, (batch[:1],))
    assert [type(m) for m in called(found)] == [nn.Conv2d, nn.Conv2d]
    assert agreement_db(model(batch), found(batch)) > EXACT_DB


class SeenElsewhere(Branches):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        one = self.branches[0](x)
        return ((one + self.branches[1](x)) * one).mean((2, 3))


class OfTwoImages(Branches):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return (self.branches[0](x) + self.branches[1](x.relu())).mean((2, 3))


class WrittenInPlace(Branches):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        other = x
        x += self.branches[0](x)
        return (x * other).mean((2, 3))


class CalledTwice(Branches):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(8, 8, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = (x + self.branches[0](x)).relu()
        return (x + self.branches[0](x)).mean((2, 3))


UNMERGED = [
    SeenElsewhere,
    OfTwoImages,
    WrittenInPlace,
    CalledTwice,
    lambda: Branches(nn.Conv2d(8, 8, 3, 2, 1), nn.MaxPool2d(2)),
    lambda: Branches(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), nn.Conv2d(8, 8, 1)),
    lambda: Branches(nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.Conv2d(8, 8, 1)),
    # One convolution would compute more than both.
    lambda: Branches(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)),
    lambda: Branches(*(nn.Conv2d(8, 8, k, padding="same") for k in ((5, 1), (1, 5)))),
    # Broadcast, not added channel by channel.
    lambda: Branches(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 1, 1)),
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("make", UNMERGED)
def test_what_is_no_sum_of_convolutions_of_one_image_stays(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    assert LOWERING.rewrite(model, (images(1),)) is model


@pytest.mark.parametrize("target", tables.TARGETS)
def test_integers_have_no_batch_norm_beside_a_convolution(target: str) -> None:
    torch.manual_seed(0)
    model = randomized(RepVgg(), images(16))
    scheme = registry.target(target).schemes["int8"]
    found, _ = lower(model, (images(1),), registry.target(target), scheme)
    assert [type(m) for m in called(found)] == [nn.Conv2d, nn.Conv2d]
