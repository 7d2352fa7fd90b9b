"""Rewrites of ONNX networks before they are quantized: each computes the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
import torch
from small_examples import singly
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import INT8, of_image
from edgekit.native_output import captured
from exporters._onnx_quantizer import FORMS, _merge_sixths, quantize, stem_of, write_forms
from exporters._onnx_runner import OnnxRunner
from exporters._onnx_widths import VECTOR, pad_depthwise

SIDE = 32

EXACT = {"activations": "uint8", "weights": "7bit"}
"""With which every processor of the family x86 computes the same."""

UNSIGNED = replace(INT8, activations="uint8", forms=EXACT)


class Squeeze(nn.Module):
    """Squeeze-excite with a h-sigmoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(width, 8, 1), nn.Conv2d(8, width, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.expand(torch.relu(self.reduce(y))))


class Net(nn.Module):
    """A stem of few channels, and a block of a width that fills no vectors."""

    def __init__(self, width: int = 72) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.swish = nn.Hardswish()
        self.expand = nn.Conv2d(16, width, 1)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.squeeze = Squeeze(width)
        self.project = nn.Conv2d(width, 16, 1)
        self.head = nn.Conv2d(16, 40, 1)
        self.classifier = nn.Linear(40, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.swish(self.stem(x))
        y = self.swish(self.depthwise(self.swish(self.expand(x))))
        x = x + self.project(self.squeeze(y))
        return self.classifier(self.swish(self.head(x)).mean((2, 3)))


@cache
def _content(kind: type[nn.Module], *arguments: int) -> bytes:
    with TemporaryDirectory() as folder:
        return bytes(exported(kind(*arguments), Path(folder)).SerializeToString())


def fresh(kind: type[nn.Module], *arguments: int) -> onnx.ModelProto:
    """The file of a network that several tests begin with."""
    return onnx.load_from_string(_content(kind, *arguments))


def exported(model: nn.Module, folder: Path) -> onnx.ModelProto:
    path = folder / "net.onnx"
    target = registry.target("onnx")
    with captured():
        target.export(
            model.eval(), of_image(torch.randn(1, 3, SIDE, SIDE)), path, target.schemes["fp32"]
        )
    return onnx.load(str(path))


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((1, 3, SIDE, SIDE)).astype(np.float32) for _ in range(count)]


def scores(proto: onnx.ModelProto, inputs: list[np.ndarray]) -> np.ndarray:
    onnx.checker.check_model(proto)
    runner = OnnxRunner(Path("net.onnx"), 1, proto.SerializeToString())
    return np.concatenate([runner.run([image])[0] for image in inputs])


def kinds(proto: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


def test_each_form_computes_the_same() -> None:
    proto = fresh(Net)
    expected = scores(proto, images(4))
    gone = {
        "hardswish": {"HardSwish", "HardSigmoid"},
        "mean": {"ReduceMean"},
        "squeeze": set(),
        "widths": set(),
    }
    for form in gone:
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        write_forms(changed, {form: FORMS[form][1]})
        assert changed.SerializeToString() != proto.SerializeToString()
        assert not gone[form] & set(kinds(changed))
        np.testing.assert_allclose(scores(changed, images(4)), expected, rtol=1e-5, atol=1e-5)


def test_all_forms_together_compute_the_same() -> None:
    proto = fresh(Net)
    expected = scores(proto, images(4))
    write_forms(proto, {name: values[-1] for name, values in FORMS.items()})
    np.testing.assert_allclose(scores(proto, images(4)), expected, rtol=1e-5, atol=1e-5)


def test_depthwise_convolutions_get_whole_vectors() -> None:
    proto = fresh(Net)
    write_forms(proto, {"mean": "pool", "widths": "padded"})
    groups = {
        attribute.i
        for node in proto.graph.node
        for attribute in node.attribute
        if attribute.name == "group"
    }
    assert {group % VECTOR for group in groups if group > 1} == {0}


@pytest.mark.parametrize(
    "tail",
    [
        lambda x: torch.cat([x, x], 1),
        lambda x: x.reshape(1, 2, 9, -1).transpose(1, 2).reshape(1, 18, SIDE, SIDE),
        lambda x: x[:, 3:9],
        lambda x: x * torch.arange(18.0).reshape(1, 18, 1, 1),
        lambda x: x,
    ],
    ids=["concat", "shuffle", "slice", "scale", "output"],
)
def test_channels_that_others_see_stay(tail: object, tmp_path: Path) -> None:
    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.expand = nn.Conv2d(3, 18, 1)
            self.depthwise = nn.Conv2d(18, 18, 3, padding=1, groups=18)

        def forward(self, x: Tensor) -> Tensor:
            y = self.depthwise(self.expand(x))
            found: Tensor = tail(y)  # type: ignore[operator]
            return found.amax((2, 3))

    proto = exported(Seen(), tmp_path)
    expected = scores(proto, images(2))
    pad_depthwise(proto)
    np.testing.assert_allclose(scores(proto, images(2)), expected, rtol=1e-5, atol=1e-5)


def test_a_weight_that_two_layers_share_is_not_padded(tmp_path: Path) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.mix = nn.Conv2d(18, 18, 1)
            self.stem = nn.Conv2d(3, 18, 1)
            self.depthwise = nn.Conv2d(18, 18, 3, padding=1, groups=18)

        def forward(self, x: Tensor) -> Tensor:
            x = self.mix(self.stem(x))
            return self.mix(self.depthwise(x)).amax((2, 3))

    proto = exported(Shared(), tmp_path)
    expected = scores(proto, images(2))
    pad_depthwise(proto)
    np.testing.assert_allclose(scores(proto, images(2)), expected, rtol=1e-5, atol=1e-5)


def test_sixths_cost_nothing_and_change_little() -> None:
    proto = fresh(Net)
    expected = scores(proto, images(16))
    forms = {"hardswish": "clamp", "mean": "pool", **EXACT}
    scheme = replace(UNSIGNED, forms=forms)
    write_forms(proto, forms)
    with captured():
        found = quantize(proto, scheme, singly(images(16)) or ())
    assert not [node for node in found.graph.node if node.name.endswith("/sixth")]
    _merge_sixths(found)  # there is nothing left to do
    noise = scores(found, images(16)) - expected
    spread = expected - expected.mean(0)
    assert 10 * np.log10((spread**2).mean() / (noise**2).mean()) > 15


@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_no_gate_lies_halfway_between_integers_where_its_input_is_zero(activations: str) -> None:
    """Kernels that add in another order would round it another way."""
    proto = fresh(Saturated)
    forms = {"hardswish": "clamp", "mean": "pool", **EXACT, "activations": activations}
    write_forms(proto, forms)
    scheme = replace(UNSIGNED, activations=activations, forms=forms)
    with captured():
        found = quantize(proto, scheme, singly(images(16)) or ())
    known = {t.name: onnx.numpy_helper.to_array(t) for t in found.graph.initializer}
    maker = {value: node for node in found.graph.node for value in node.output}
    reader = {value: node for node in found.graph.node for value in node.input}
    gates = 0
    for node in found.graph.node:
        if node.op_type != "Add" or not node.input[1].startswith("hard.three"):
            continue
        value, scale, zero = (known[name] for name in maker[node.input[1]].input)
        clamped = reader[node.output[0]]
        while clamped.op_type != "QuantizeLinear":
            clamped = reader[clamped.output[0]]
        steps = float(scale) * (int(value) - int(zero)) / float(known[clamped.input[1]])
        assert abs(steps % 1 - 0.5) > 0.005
        gates += 1
    assert gates >= 2


def test_the_stem_is_what_has_few_channels() -> None:
    proto = fresh(Net)
    assert stem_of(proto, {}) == []
    assert stem_of(proto, {"stem": "float"}) == ["stem/Conv"]
    assert stem_of(proto, {"stem": "narrow"}) == ["stem/Conv", "swish/HardSwish"]


def test_a_stem_in_front_of_a_max_pooling_is_of_integers(tmp_path: Path) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pool = nn.Conv2d(3, 16, 3), nn.MaxPool2d(2)
            self.head = nn.Conv2d(16, 40, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.pool(torch.relu(self.stem(x)))).amax((2, 3))

    proto = exported(Pooled(), tmp_path)
    assert stem_of(proto, {"stem": "narrow"}) == []


class Shuffled(nn.Module):
    """A unit of ShuffleNetV1, with a shuffle in front of its second grouped convolution."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.groups = groups
        self.stem = nn.Conv2d(3, 24, 3, stride=2, padding=1)
        self.reduce = nn.Conv2d(24, 12, 1, groups=groups)
        self.depthwise = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.expand = nn.Conv2d(12, 24, 1, groups=groups)
        self.classifier = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        y = self.depthwise(torch.relu(self.reduce(x)))
        n, c, h, w = y.shape
        y = y.reshape(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.classifier(torch.relu(x + self.expand(y)).mean((2, 3)))


@pytest.mark.parametrize("groups", [2, 3])
def test_a_dense_convolution_takes_the_shuffle_in(groups: int) -> None:
    proto = fresh(Shuffled, groups)
    expected = scores(proto, images(4))
    dense = write_forms(proto, {"groups": "dense"})
    assert [(one.node, one.groups) for one in dense] == [
        ("reduce/Conv", groups),
        ("expand/Conv", groups),
    ]
    assert "Transpose" not in kinds(proto)
    np.testing.assert_allclose(scores(proto, images(4)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("widths", ["given", "padded"])
def test_zeros_of_dense_convolutions_are_not_stored(widths: str) -> None:
    scheme = UNSIGNED
    found = {}
    for form in ("native", "dense"):
        proto = fresh(Shuffled, 3)
        left_out = write_forms(proto, {"groups": form, "widths": widths})
        with captured():
            found[form] = quantize(proto, scheme, singly(images(16)) or (), left_out)
    weights = {t.name: list(t.dims) for t in found["dense"].graph.initializer}
    for layer, rows, columns in (("reduce", 4, 8), ("expand", 8, 4)):
        for group in range(3):
            name = f"{layer}.weight_quantized.group{group}.own"
            assert weights[name] == [rows, columns, 1, 1]
        assert f"{layer}.weight_quantized" not in weights
    a, b = (scores(found[form], images(16)) for form in ("native", "dense"))
    assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_a_shuffle_that_something_else_reads_stays(tmp_path: Path) -> None:
    class Both(Shuffled):
        def forward(self, x: Tensor) -> Tensor:
            y = self.depthwise(self.reduce(torch.relu(self.stem(x))))
            n, c, h, w = y.shape
            y = y.reshape(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
            return torch.cat([self.expand(y), y], 1).amax((2, 3))

    proto = exported(Both(3), tmp_path)
    expected = scores(proto, images(4))
    write_forms(proto, {"groups": "dense"})
    assert kinds(proto)["Transpose"] == 1
    np.testing.assert_allclose(scores(proto, images(4)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("pool", "becomes"),
    [
        (nn.AvgPool2d(3, stride=2, padding=1), "Conv"),
        (nn.AvgPool2d((2, 3)), "Conv"),
        (nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), "AveragePool"),
        (nn.AvgPool2d(3, stride=2, ceil_mode=True), "AveragePool"),
    ],
)
def test_averages_of_whole_windows_are_convolutions(
    pool: nn.Module, becomes: str, tmp_path: Path
) -> None:
    proto = exported(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), pool, nn.Flatten()), tmp_path)
    expected = scores(proto, images(4))
    write_forms(proto, {"averages": "conv"})
    assert kinds(proto)["AveragePool"] == (becomes == "AveragePool")
    np.testing.assert_allclose(scores(proto, images(4)), expected, rtol=1e-5, atol=1e-5)


def test_squeeze_excite_is_two_products_of_matrices() -> None:
    proto = fresh(Net)
    write_forms(proto, {"squeeze": "matmul"})
    added = kinds(proto) - kinds(fresh(Net))
    assert added == Counter({"Gemm": 2, "Flatten": 1, "Unsqueeze": 1})
    names = [node.name for node in proto.graph.node if node.op_type == "Gemm"]
    assert names == ["squeeze.reduce/Conv", "squeeze.expand/Conv", "classifier/Gemm"]


def test_squeeze_excite_of_integers_is_as_exact_as_convolutions() -> None:
    expected = scores(fresh(Net), images(16))
    spread, found = expected - expected.mean(0), {}
    for form in FORMS["squeeze"]:
        proto = fresh(Net)
        write_forms(proto, {"hardswish": "clamp", "mean": "pool", "squeeze": form})
        with captured():
            quantized = quantize(proto, UNSIGNED, singly(images(16)) or ())
        noise = scores(quantized, images(16)) - expected
        found[form] = 10 * np.log10((spread**2).mean() / (noise**2).mean())
    assert found["conv"] > 10  # weights have 7 bits on processors without dot products of integers
    assert found["matmul"] > found["conv"] - 1


class Saturated(Net):
    """With gates that reach 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            for layer in (self.stem, self.squeeze.reduce, self.squeeze.expand):
                layer.weight *= 30


class Pixels(nn.Module):
    """Convolutions of one pixel, and others like them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem, self.pool = nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1)
        self.one, self.shared = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.padded, self.wide = nn.Conv2d(8, 8, 1, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.groups = nn.Conv2d(8, 8, 1, groups=2)
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        y = self.one(self.pool(x))
        y = torch.relu(self.groups(y) * self.scale) + self.shared(self.shared(y))
        y = self.wide(y) + self.padded(y).amax((2, 3), keepdim=True)
        return torch.cat([(x * y).mean((2, 3)), y.flatten(1)], 1)


def test_only_convolutions_of_one_pixel_are_products_of_matrices(tmp_path: Path) -> None:
    proto = exported(Pixels(), tmp_path)
    expected = scores(proto, images(2))
    write_forms(proto, {"squeeze": "matmul"})
    assert [node.name for node in proto.graph.node if node.op_type == "Gemm"] == ["one/Conv"]
    np.testing.assert_allclose(scores(proto, images(2)), expected, rtol=1e-5, atol=1e-5)


def test_a_dense_convolution_of_one_pixel_stays_one(tmp_path: Path) -> None:
    """Its zeros are left out of the file by the places of a convolution's weight."""

    class Small(Shuffled):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mean((2, 3), keepdim=True))

    proto = exported(Small(3), tmp_path)
    forms = {"groups": "dense", "squeeze": "matmul"}
    dense = write_forms(proto, forms)
    assert {one.node for one in dense} <= {n.name for n in proto.graph.node if n.op_type == "Conv"}
    with captured():
        found = quantize(proto, UNSIGNED, singly(images(16)) or (), dense)
    assert np.isfinite(scores(found, images(1))).all()
