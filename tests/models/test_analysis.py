"""Receptive field, memory and shares against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.models import build
from edgekit.models.analysis import KINDS, Totals, analyze


def totals(module: nn.Module, resolution: int) -> Totals:
    return analyze(module.eval(), torch.zeros(1, 3, resolution, resolution))[1]


def test_the_receptive_field_of_a_stack() -> None:
    # 1 + 2 = 3; + 2 * 2 = 7; + 4 * 2 = 15
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(8, 8, 1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    assert totals(model, 32).receptive_field_px == 15
    assert totals(model, 8).receptive_field_px == 15


def test_poolings_and_dilation_widen_the_receptive_field() -> None:
    # 1 + 1 = 2; + 2 * (3 - 1) * 2 = 10; the pooling over the whole map is left out
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, dilation=2), nn.AvgPool2d(4))
    assert totals(model, 16).receptive_field_px == 10


# Araujo et al. 2019, Computing Receptive Fields of Convolutional Neural Networks, table 1, for the
# first; the other by its rows, as in the stack above.
@pytest.mark.parametrize(("name", "pixels"), [("mobilenetv1", 315), ("mobilenetv2", 491)])
def test_receptive_fields_of_networks_do_not_depend_on_the_image(name: str, pixels: int) -> None:
    assert totals(build(name, resolution=32), 32).receptive_field_px == pixels


class Branches(nn.Module):
    """A 7x7 branch beside a 3x3 branch, gated by the mean of the map."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 3, 7, padding=3)
        self.narrow = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x) + self.narrow(x)
        y = y * y.mean((2, 3), keepdim=True).sigmoid()
        seen: Tensor = self.narrow(torch.cat((y, x), 0)[:1])
        return seen.mean((2, 3))


def test_the_largest_branch_counts_and_gates_do_not() -> None:
    assert totals(Branches(), 16).receptive_field_px == 9


def test_without_a_convolution_there_is_no_receptive_field() -> None:
    found = totals(nn.Sequential(nn.Flatten(), nn.ReLU()), 8)
    assert (found.receptive_field_px, found.macs_share, found.params_share) == (None, None, None)
    assert found.intensity_macs_per_byte is None


class Residual(nn.Module):
    """Expand 3 -> 12 channels, project back, add."""

    def __init__(self, keeps: bool) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 12, 1)
        self.project = nn.Conv2d(12, 3, 1)
        self.keeps = keeps

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(F.relu(self.expand(x)))
        return x + y if self.keeps else y


def test_the_input_of_a_residual_block_lives_until_it_is_added() -> None:
    plane = 4 * 8 * 8
    # relu reads and writes 12 channels; the block keeps its 3 for later.
    assert totals(Residual(True), 8).peak_activation_bytes == (12 + 12 + 3) * plane
    assert totals(Residual(False), 8).peak_activation_bytes == (12 + 12) * plane
    # Written over its input, relu leaves the convolutions: 3 in, 12, 3 out.
    assert totals(Residual(True), 8).peak_in_place_bytes == (3 + 12 + 3) * plane
    assert totals(Residual(False), 8).peak_in_place_bytes == (12 + 3) * plane


def test_operations_in_place_and_views_take_no_memory() -> None:
    plane = 4 * 8 * 8
    inplace = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU(inplace=True), nn.Flatten())
    assert totals(inplace, 8).peak_activation_bytes == (3 + 12) * plane
    split = nn.Sequential(nn.Conv2d(3, 12, 1), nn.ReLU(), nn.Flatten())
    assert totals(split, 8).peak_activation_bytes == (12 + 12) * plane


class Keeps(nn.Module):
    """Reads the first map again after two larger steps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.conv(x)
        pooled = F.max_pool2d(kept, 2)
        return torch.cat((kept.flatten(1), pooled.flatten(1)), 1)


def test_indices_of_a_pooling_that_nothing_reads_are_not_counted() -> None:
    floats = 5 * 64 + 5 * 16
    assert totals(Keeps(), 8).peak_activation_bytes == 4 * 2 * floats


def test_element_wise_operations_spare_what_is_read_later() -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = F.avg_pool2d(x, 2)
            return y * torch.sigmoid(y)  # the sigmoid must not write over y

    # y, its sigmoid: the product goes over one of them.
    assert totals(Gate(), 16).peak_in_place_bytes == 4 * (3 * 16 * 16 + 3 * 8 * 8)
    assert totals(Gate(), 16).peak_activation_bytes == 4 * (3 * 16 * 16 + 3 * 8 * 8)
    wide = nn.Sequential(nn.Conv2d(3, 30, 1), Gate())
    assert totals(wide, 16).peak_in_place_bytes == 4 * (30 * 16 * 16 + 30 * 8 * 8)


def test_shares_are_those_of_the_layers_and_sum_to_one() -> None:
    found = totals(build("mobilenetv2", resolution=32), 32)
    assert found.macs_share is not None
    assert found.params_share is not None
    for shares in (found.macs_share, found.params_share):
        assert tuple(shares) == KINDS
        assert sum(shares.values()) == pytest.approx(1)
    # The classifier is 1280 x 1000 weights and 1000 biases.
    assert found.params_share["linear"] == pytest.approx(1_281_000 / 3_504_872)
    assert found.params_share["depthwise"] == pytest.approx(64_224 / 3_504_872)


def test_intensity_is_macs_over_bytes_of_the_layers_that_multiply() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    found = totals(model, 4)
    assert found.moved_bytes == 4 * (48 + 24 + 128)
    assert found.intensity_macs_per_byte == 24 * 16 / (4 * 200)
