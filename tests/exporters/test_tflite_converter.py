"""Every operator of the table: what the file computes is what PyTorch computes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.core import of_image
from edgekit.errors import ModelError
from exporters.tflite.converter import assemble, convert
from exporters.tflite.flatbuffer import operator_kind, unpack
from exporters.tflite.lowering import Forms
from exporters.tflite.tracing import UntraceableError, export, trace


class Of(nn.Module):
    """A function as a network, behind a convolution, as nothing else is fused with that."""

    def __init__(self, function: Callable[[Tensor], Tensor], channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 1)
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        return self.function(self.stem(image))


def run(content: bytes, image: Tensor) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    interpreter.set_tensor(index, image.permute(0, 2, 3, 1).contiguous().numpy())
    interpreter.invoke()
    found: np.ndarray = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return found


def kinds(content: bytes) -> list[str]:
    flat = unpack(content)
    return [operator_kind(flat, o) for o in flat.subgraphs[0].operators]


def computing(content: bytes) -> list[str]:
    """What does more than call the numbers another shape."""
    return [kind for kind in kinds(content) if kind != "RESHAPE"]


def check(model: nn.Module, size: tuple[int, int] = (12, 10), **forms: str) -> list[str]:
    torch.manual_seed(0)
    model = model.eval()
    image = torch.randn(1, 3, *size)
    with torch.no_grad():
        wanted = model(image).numpy()
    content = convert(model, of_image(image), Forms(**forms))
    with contextlib.suppress(UntraceableError, ModelError):
        # What is quicker to ask tells the same.
        traced = assemble(trace(model, (image,)), of_image(image), Forms(**forms))
        exported = assemble(export(model, (image,)), of_image(image), Forms(**forms))
        assert computing(traced) == computing(exported)
        assert np.array_equal(run(traced, image), run(exported, image))
    found = run(content, image)
    assert found.shape == wanted.shape
    largest = max(1.0, float(np.abs(wanted).max()))
    assert np.abs(found - wanted).max() <= 2e-5 * largest
    return kinds(content)


@pytest.mark.parametrize("side", [12, 13])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, 1), (3, 2, 1), (5, 2, 2), (2, 2, 0), (3, 1, 0), (3, 2, 0), (7, 2, 3), (3, 1, 2)],
)
@pytest.mark.parametrize("groups", [1, 8])
def test_convolutions(kernel: int, stride: int, padding: int, groups: int, side: int) -> None:
    layer = nn.Conv2d(8, 16, kernel, stride, padding, groups=groups)
    check(Of(layer), (side, side + 3))


@pytest.mark.parametrize("form", ["native", "split"])
def test_grouped_convolutions(form: str) -> None:
    layer = nn.Conv2d(8, 12, 3, padding=1, groups=4, bias=False)
    found = check(Of(layer), grouped=form)
    assert found.count("CONV_2D") == (2 if form == "native" else 5)


def test_dilated_convolutions() -> None:
    check(Of(nn.Conv2d(8, 4, 3, padding=2, dilation=2)))
    check(Of(nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=8)))


def test_padding_is_same_where_pytorch_pads_equally_and_explicit_elsewhere() -> None:
    layer = nn.Conv2d(8, 4, 3, 2, 1)
    assert "PAD" not in check(Of(layer), (13, 13))
    assert "PAD" in check(Of(layer), (12, 12))


@pytest.mark.parametrize(
    ("stride", "padding", "extra"), [(1, 0, 0), (2, 1, 0), (2, 1, 1), (2, 0, 0)]
)
def test_transposed_convolutions(stride: int, padding: int, extra: int) -> None:
    check(Of(nn.ConvTranspose2d(8, 4, 3, stride, padding, extra)))


def part_in_place(x: Tensor) -> Tensor:
    whole = x * 2
    whole.chunk(2, 1)[0].add_(1)
    whole[:, 3:5].mul_(3)
    return whole


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky relu": lambda x: F.leaky_relu(x, 0.1),
    "h-swish": F.hardswish,
    "h-sigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "tanh": torch.tanh,
    "elu": F.elu,
    "clamp": lambda x: x.clamp(-0.3, 0.4),
    "clamp below": lambda x: x.clamp(min=0.1),
    "softmax of channels": lambda x: x.softmax(1),
    "softmax of columns": lambda x: x.softmax(-1),
    "mean": lambda x: x.mean((2, 3)),
    "mean kept": lambda x: x.mean((2, 3), keepdim=True),
    "mean of channels": lambda x: x.mean(1),
    "sum": lambda x: x.sum((2, 3)),
    "amax": lambda x: x.amax((2, 3)),
    "norm": lambda x: F.normalize(x.flatten(1), dim=1),
    "add": lambda x: x + x.mean((2, 3), keepdim=True),
    "add scalar": lambda x: 1.5 + x,
    "sub": lambda x: 1.0 - x,
    "mul of lower rank": lambda x: x * x.mean((0, 1)),
    "div": lambda x: x / 3,
    "div by computed": lambda x: x / (x.abs() + 1),
    "square root": lambda x: (x * x + 1).sqrt(),
    "power": lambda x: x**2,
    "concat": lambda x: torch.cat([x, 2 * x, x.relu()], 1),
    "concat of rows": lambda x: torch.cat([x, 2 * x], 2),
    "stack": lambda x: torch.stack([x.mean((2, 3)), x.sum((2, 3))], 1),
    "chunk": lambda x: x.chunk(2, 1)[1],
    "split unevenly": lambda x: torch.cat(x.split([3, 5], 1)[::-1], 1),
    "unbind": lambda x: x.unbind(1)[2],
    "select": lambda x: x[:, 3],
    "slice": lambda x: x[:, 2:7, 1:],
    "slice in steps": lambda x: x[:, :, ::2, 1::3],
    "pad": lambda x: F.pad(x, (1, 2, 0, 3)),
    "pad with a value": lambda x: F.pad(x, (1, 2, 0, 3), value=-2.0),
    "pad away": lambda x: F.pad(x, (-1, 2, -2, -1)),
    "pad reflected": lambda x: F.pad(x, (1, 2, 3, 1), mode="reflect"),
    "pad channels": lambda x: F.pad(x, (0, 0, 0, 0, 4, 4)),
    "flatten": lambda x: x.flatten(1),
    "reshape to rows": lambda x: x.reshape(1, 8, -1),
    "reshape across": lambda x: x.reshape(1, 10, 8, 12),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(2, 3),
    "tokens": lambda x: x.flatten(2).transpose(1, 2),
    "attention": lambda x: (
        (x.flatten(2).transpose(1, 2) @ x.flatten(2) * 0.1).softmax(-1)
        @ x.flatten(2).transpose(1, 2)
    ),
    "expand": lambda x: x.mean((2, 3), keepdim=True).expand(-1, -1, 4, 5),
    "channel shuffle": lambda x: F.channel_shuffle(x, 4),
    "channel shuffle by views": lambda x: (
        x.view(1, 2, 4, 12, 10).transpose(1, 2).reshape(1, 8, 12, 10)
    ),
    "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "adaptive max pool": lambda x: F.adaptive_max_pool2d(x, (3, 2)),
    "adaptive pool, uneven": lambda x: F.adaptive_avg_pool2d(x, (5, 7)),
    "adaptive pool, larger": lambda x: F.adaptive_avg_pool2d(x, (17, 12)),
    "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "softplus": lambda x: F.softplus(10 * x),
    "mish": F.mish,
    "log softmax of channels": lambda x: x.log_softmax(1),
    "logarithm": lambda x: (x * x + 1).log(),
    "larger": lambda x: torch.maximum(x, x.mean((2, 3), keepdim=True)),
    "smaller": lambda x: torch.minimum(x, x.mean((2, 3), keepdim=True)),
    "in place": lambda x: F.relu(x, inplace=True).add_(1).mul_(2),
    "in place on a part": part_in_place,
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "nearest to a size": lambda x: F.interpolate(x, size=(17, 7)),
    "nearest, smaller": lambda x: F.interpolate(x, scale_factor=0.5),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear to corners": lambda x: F.interpolate(
        x, size=(20, 21), mode="bilinear", align_corners=True
    ),
    "max pool": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max pool, up": lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "average pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "average pool, own count": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average pool, up": lambda x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
    "adaptive pool": lambda x: F.adaptive_avg_pool2d(x, (4, 5)),
    "layer norm": lambda x: F.layer_norm(x, (10,)),
    "layer norm of channels": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(
        0, 3, 1, 2
    ),
    "group norm": lambda x: F.group_norm(x, 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    check(Of(FUNCTIONS[name]))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "prelu": lambda: nn.PReLU(8),
    "prelu of one": lambda: nn.PReLU(),
    "batch norm": lambda: nn.BatchNorm2d(8),
    "linear": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    "classifier": lambda: nn.Sequential(nn.Flatten(), nn.Linear(960, 5), nn.ReLU()),
    "linear of pixels": lambda: nn.Linear(10, 4),
    "layer norm": lambda: nn.Sequential(nn.Flatten(2), nn.LayerNorm(120)),
    "attention": lambda: nn.Sequential(
        nn.Flatten(2), nn.TransformerEncoderLayer(120, 4, 64, 0.0, batch_first=True)
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    check(Of(LAYERS[name]()))


def test_a_channel_shuffle_costs_one_transpose_and_flattening_none() -> None:
    found = check(Of(lambda x: (F.relu(F.channel_shuffle(x, 4)) + x).mean((2, 3))))
    assert found.count("TRANSPOSE") == 1
    assert "TRANSPOSE" not in check(Of(LAYERS["classifier"]()))


def test_activations_are_part_of_what_they_follow() -> None:
    found = check(Of(lambda x: (F.relu6(x) + 1).mean((2, 3))))
    assert found == ["CONV_2D", "ADD", "MEAN"]


def test_forms_are_chosen() -> None:
    assert "HARD_SWISH" in check(Of(F.hardswish))
    assert "HARD_SWISH" not in check(Of(F.hardswish), hardswish="clamp")
    assert "AVERAGE_POOL_2D" in check(Of(FUNCTIONS["mean"]), mean="pool")
    squeeze = Of(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1)))
    assert "FULLY_CONNECTED" in check(squeeze, pointwise="dense")


class Unknown(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return torch.cumsum(image, 1)


def test_an_operator_outside_the_table_is_named_with_its_module_and_line() -> None:
    with pytest.raises(
        ModelError, match=r"operator cumsum in 1 \(.*test_.*\.py:\d+\).*litert-torch"
    ):
        convert(
            nn.Sequential(nn.Conv2d(3, 4, 1), Unknown()).eval(), of_image(torch.zeros(1, 3, 8, 8))
        )


@st.composite
def networks(draw: st.DrawFn) -> nn.Module:
    """A few layers in a row, with branches, as convolutional networks have them."""
    channels = draw(st.sampled_from([4, 6, 8]))
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, draw(st.sampled_from([1, 2])), 1)]
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["conv", "depthwise", "act", "shuffle", "pool", "gate"]))
        if kind == "conv":
            out = draw(st.sampled_from([4, 6, 8]))
            size = draw(st.sampled_from([1, 3, 5]))
            layers.append(nn.Conv2d(channels, out, size, draw(st.sampled_from([1, 2])), size // 2))
            channels = out
        elif kind == "depthwise":
            layers.append(nn.Conv2d(channels, channels, 3, 1, 1, groups=channels))
        elif kind == "act":
            act = draw(st.sampled_from([nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.Sigmoid]))
            layers.append(act())
        elif kind == "shuffle":
            layers.append(nn.ChannelShuffle(2))
        elif kind == "pool":
            layers.append(draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(3, 1, 1))
        else:
            layers.append(Gate(channels))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))


class Gate(nn.Module):
    """Squeeze and excite."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.conv(x.mean((2, 3), keepdim=True)))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), st.integers(9, 20), st.integers(9, 20))
def test_random_networks(network: nn.Module, height: int, width: int) -> None:
    check(network, (height, width))


def blocks(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """Tears an image of 8 x 8 pixels apart, and joins its pieces in another order."""
    torn = x.reshape(1, 8, 2, 2, 2, 2, 2, 2).permute(order)
    return torn.reshape(1, 8, 8, 8)


@pytest.mark.parametrize(
    "order", [(0, 7, 5, 3, 6, 4, 2, 1), (0, 4, 7, 2, 5, 3, 6, 1), (0, 1, 7, 6, 5, 4, 3, 2)]
)
def test_more_dimensions_than_runtimes_turn_at_once(order: tuple[int, ...]) -> None:
    check(Of(lambda x: blocks(x, order)), (8, 8))


def test_operators_that_are_made_of_others_become_those() -> None:
    class Shares(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            image.sum().item()  # so that a run does not tell
            return torch.einsum("nchw,nkhw->nck", image, image).softmax(-1)

    assert "BATCH_MATMUL" in check(Shares())


class Places(nn.Module):
    """A learned map for another size of images, as vision transformers have it."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)))
        self.dropout = nn.Dropout(0.5)

    def forward(self, image: Tensor) -> Tensor:
        size = image.shape[-2:]
        places = F.interpolate(self.map, size, mode="bicubic", antialias=True)
        more = F.interpolate(self.map, size, mode="bicubic", align_corners=True)
        return image + self.dropout(places) + F.dropout(more, 0.3, self.training)


def test_what_is_known_is_computed_now() -> None:
    found = check(Places())
    assert found.count("ADD") == 2
    assert set(found) <= {"ADD", "RESHAPE", "TRANSPOSE"}
    with pytest.raises(ModelError, match="the random operator"):
        check(Of(lambda x: x + torch.rand(8, 1, 1)))


class Pair(nn.Module):
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image, 2 * image


class Branching(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image if image.sum() > 0 else -image


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Pair(), "gives 2 outputs: expected scores"),
        (Branching(), "PyTorch cannot export the network: "),
    ],
)
def test_networks_that_have_no_place_in_a_file_are_refused(network: nn.Module, reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as error:
        convert(network.eval(), of_image(torch.zeros(1, 3, 8, 8)))
    assert "\n" not in str(error.value)


def test_weights_beyond_the_format_are_refused_before_anything_is_computed() -> None:
    with torch.device("meta"):
        network = nn.Conv2d(3, 300_000_000, 1)
    with pytest.raises(ModelError, match=r"the weights take 4\.5 GiB: .* at most 2 GiB"):
        convert(network, of_image(torch.zeros(1, 3, 8, 8)))


def test_weights_in_16_bits_halve_the_file_and_hardly_change_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
    image = torch.randn(1, 3, 12, 12)
    whole, half = convert(network, of_image(image)), convert(network, of_image(image), half=True)
    assert len(half) < 0.6 * len(whole)
    assert np.abs(run(whole, image) - run(half, image)).max() < 1e-2
    assert kinds(half).count("DEQUANTIZE") == 2


@pytest.mark.parametrize("side", [64, 75])
@pytest.mark.parametrize("name", ["mobilenetv3-small", "shufflenetv1-g3", "shufflenetv2@0.5"])
def test_zoo_networks(name: str, side: int) -> None:
    from edgekit.models import build, find_spec

    torch.manual_seed(0)
    network = build(find_spec(name))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # statistics are means over all batches
    with torch.no_grad():
        network(torch.randn(4, 3, side, side))
    found = check(network, (side, side))
    shuffles = {"mobilenetv3-small": 0, "shufflenetv1-g3": 16, "shufflenetv2@0.5": 0}[name]
    assert found.count("TRANSPOSE") == shuffles


def test_tensors_are_named_by_their_modules() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))
    content = convert(network.eval(), of_image(torch.zeros(1, 3, 8, 8)))
    graph = unpack(content).subgraphs[0]
    names = [graph.tensors[o.outputs[0]].name.decode() for o in graph.operators]
    assert names[0] == "0"
    assert names[-1] == "scores"
    assert graph.tensors[graph.inputs[0]].name == b"image"
