"""The quick way to the graph of a network, and what it leaves to the sure one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_tflite_converter import check, run
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.core import of_image
from exporters.tflite.converter import convert
from exporters.tflite.tracing import UntraceableError, trace

OTHER = torch.ones(1, 3, 12, 10)
IMAGE = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))


class Of(nn.Module):
    """A function as a network."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(image)


LEAKS = {
    "a comparison": lambda x: x if x.sum() > 0 else -x,
    "a number": lambda x: x * float(x.mean()),
    "a loop": lambda x: sum([x] * int(x.abs().max() + 1)),
    "an array": lambda x: x + float(np.asarray(x).sum()),
    "an array's copy": lambda x: x + x.numpy().sum(),
    "a list": lambda x: x + x.flatten().tolist()[0],
    "equality": lambda x: x if torch.equal(x, x) else -x,
    "an address": lambda x: x + x.data_ptr() % 2,
    "another tensor": lambda x: x + OTHER,
}


@pytest.mark.parametrize("kind", LEAKS)
def test_what_depends_on_numbers_is_not_traced(kind: str) -> None:
    with pytest.raises(UntraceableError):
        trace(Of(LEAKS[kind]).eval(), (IMAGE,))


class Remembering(nn.Module):
    """Makes a table in its first run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table = nn.Conv2d(3, 4, 1), None

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(image)
        if self.table is None:
            self.table = torch.linspace(0, 1, x.shape[-1])
        return x + self.table


def test_a_table_that_is_no_weight_is_left_to_the_sure_way() -> None:
    model = Remembering().eval()
    model(IMAGE)
    with pytest.raises(UntraceableError, match="neither the image nor weights"):
        trace(model, (IMAGE,))
    check(model)


class Standardized(nn.Conv2d):
    """A convolution that scales its weights while it runs."""

    def forward(self, image: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        weight = weight / (weight.flatten(1).std(1) + 1e-5)[:, None, None, None]
        return F.conv2d(image, weight * torch.arange(1, 4)[:, None, None], self.bias)


def test_what_is_known_is_computed_at_conversion() -> None:
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    found = check(nn.Sequential(Standardized(3, 8, 3), *pooled))
    assert [kind for kind in found if kind != "RESHAPE"] == ["CONV_2D", "MEAN"]


def test_tracing_leaves_no_trace() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, (IMAGE,))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(UntraceableError):
        trace(nn.Sequential(model, nn.Conv2d(5, 4, 3)), (IMAGE,))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_operators_know_their_modules_and_lines() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), Of(lambda x: torch.cumsum(x, 1)))
    *_, conv, cumsum, _ = trace(model.eval(), (IMAGE,)).nodes
    assert [path for path, _ in conv.meta["nn_module_stack"].values()] == ["0.0"]
    assert [path for path, _ in cumsum.meta["nn_module_stack"].values()] == ["1"]
    assert __file__ in cumsum.meta["stack_trace"]


def test_both_ways_write_the_same_file_of_a_decomposed_program() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Hardswish())
    program = torch.export.export(model.eval(), (IMAGE,)).run_decompositions()
    found = run(convert(program.module(), of_image(IMAGE)), IMAGE)
    with torch.no_grad():
        np.testing.assert_allclose(found, model(IMAGE).numpy(), atol=1e-5)
