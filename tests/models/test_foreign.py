"""State dicts of torchvision and timm, by the names and shapes that these libraries have.

See `library_layouts`.
"""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from library_layouts import NORM, state_of
from torch import Tensor, nn
from zoo_networks import certain

from edgekit.core import ModelSpec
from edgekit.errors import CheckpointError
from edgekit.models import build, family_of, find_spec
from edgekit.models.blocks import BottleneckRow
from edgekit.models.family import plain_rows, typed_rows
from edgekit.models.foreign import Layout, detect, scores_of, translated
from edgekit.models.widths import Conv2d, Width

# File, our name, and the epsilon that the library has in its batch norms.
NETWORKS = (
    ("torchvision-efficientnet_b0", "efficientnet-b0", 1e-5),
    ("torchvision-efficientnet_v2_s", "efficientnetv2-s", 1e-3),
    ("torchvision-mnasnet1_0", "mnasnet-b1", 1e-5),
    ("torchvision-mobilenet_v2", "mobilenetv2", 1e-5),
    ("torchvision-mobilenet_v3_large", "mobilenetv3-large", 1e-3),
    ("torchvision-mobilenet_v3_small", "mobilenetv3-small", 1e-3),
    ("torchvision-shufflenet_v2_x1_0", "shufflenetv2", 1e-5),
    ("timm-efficientnet_lite0", "efficientnet-lite0", 1e-5),
    ("timm-mobilenetv1_100", "mobilenetv1", 1e-5),
    ("timm-mobilenetv2_100", "mobilenetv2", 1e-5),
    ("timm-mobilenetv3_large_075", "mobilenetv3-large@0.75", 1e-5),
    ("timm-mobilenetv3_large_100", "mobilenetv3-large", 1e-5),
    ("timm-mobilenetv3_small_050", "mobilenetv3-small@0.5", 1e-5),
    ("timm-mobilenetv3_small_075", "mobilenetv3-small@0.75", 1e-5),
    ("timm-mobilenetv4_conv_medium", "mobilenetv4-conv-medium", 1e-5),
    ("timm-mobilenetv4_conv_small", "mobilenetv4-conv-small", 1e-5),
    ("timm-mobilenetv4_conv_small_035", "mobilenetv4-conv-small@0.35", 1e-5),
    ("timm-mobilenetv4_conv_small_050", "mobilenetv4-conv-small@0.5", 1e-5),
    ("timm-semnasnet_100", "mnasnet-a1", 1e-5),
    ("timm-tf_efficientnetv2_b0", "efficientnetv2-b0", 1e-3),
    ("timm-tf_mobilenetv3_large_075", "tf-mobilenetv3-large@0.75", 1e-3),
    ("timm-tf_mobilenetv3_small_075", "tf-mobilenetv3-small@0.75", 1e-3),
)
each_network = pytest.mark.parametrize(
    ("file", "name", "eps"), NETWORKS, ids=[file for file, _, _ in NETWORKS]
)


def expected_of(spec: ModelSpec) -> dict[str, Tensor]:
    """The state dict of our network, without numbers."""
    with torch.device("meta"):
        return dict(build(spec).state_dict())


def found_layout(state: dict[str, Tensor], spec: ModelSpec) -> Layout:
    layout = detect(state, spec, family_of(spec).layouts, "the file")
    assert layout is not None
    return layout


@each_network
def test_a_librarys_tensors_all_find_their_place_in_order(file: str, name: str, eps: float) -> None:
    state, spec = state_of(file), find_spec(name)
    layout = found_layout(state, spec)
    assert layout.library == file.partition("-")[0]
    assert layout.norm_eps(spec) == eps
    tensors, expected = translated(state, spec, layout), expected_of(spec)
    assert tensors.keys() == expected.keys()
    assert {k: v.shape for k, v in tensors.items()} == {k: v.shape for k, v in expected.items()}
    # Both sides list their layers in the order of computation, and the tensors of a layer alike:
    # whatever is swapped, of equal shape or not, breaks the order.
    assert [float(tensors[key].flatten()[0]) for key in expected] == list(range(len(state)))
    assert all((tensor == tensor.flatten()[0]).all() for tensor in tensors.values())


@each_network
def test_a_missing_or_an_added_layer_is_named(file: str, name: str, eps: float) -> None:
    state, spec = state_of(file), find_spec(name)
    layouts = family_of(spec).layouts
    layers = list(dict.fromkeys(key.rpartition(".")[0] for key in state))
    for layer in (layers[0], layers[len(layers) // 2], layers[-1]):
        less = {key: v for key, v in state.items() if key.rpartition(".")[0] != layer}
        with pytest.raises(CheckpointError) as caught:
            detect(less, spec, layouts, "the file")
        assert str(caught.value) == (
            f"the file has names as {file.partition('-')[0]} has, but does not fit {spec.name}: "
            f"1 layer is missing, the first is '{layer}'"
        )
    more = {**state, "blocks.99.conv.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"1 have no place in it, .* 'blocks\.99\.conv'$"):
        detect(more, spec, layouts, "the file")


@each_network
def test_a_missing_tensor_of_a_layer_stays_missing(file: str, name: str, eps: float) -> None:
    state, spec = state_of(file), find_spec(name)
    gone = next(key for key in state if key.endswith("running_mean"))
    del state[gone]
    found = translated(state, spec, found_layout(state, spec))
    (missing,) = expected_of(spec).keys() - found.keys()
    assert missing.endswith("norm.running_mean")


@each_network
def test_the_weights_of_another_width_have_other_shapes(file: str, name: str, eps: float) -> None:
    state, spec = state_of(file), find_spec(f"{name.partition('@')[0]}@0.4")
    found = translated(state, spec, found_layout(state, spec))
    expected = expected_of(spec)
    assert found.keys() == expected.keys()
    assert any(found[key].shape != tensor.shape for key, tensor in expected.items())


@each_network
def test_old_files_without_counters_of_batches_fit(file: str, name: str, eps: float) -> None:
    state, spec = state_of(file), find_spec(name)
    state = {key: value for key, value in state.items() if not key.endswith(NORM[-1])}
    found = translated(state, spec, found_layout(state, spec))
    expected = expected_of(spec)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}


@each_network
def test_the_number_of_classes_is_that_of_the_file(file: str, name: str, eps: float) -> None:
    state, spec = state_of(file), find_spec(name, classes=10)
    assert scores_of(state, spec, family_of(spec).layouts) == 1000


@pytest.mark.parametrize("name", sorted({name for _, name, _ in NETWORKS}))
def test_edgekits_own_names_are_no_foreign_layout(name: str) -> None:
    spec = find_spec(name, classes=7)
    state = expected_of(spec)
    assert detect(state, spec, family_of(spec).layouts, "the file") is None
    assert scores_of(state, find_spec(name), family_of(spec).layouts) == 7
    del state["classifier.scores.bias"]
    assert detect(state, spec, family_of(spec).layouts, "the file") is None


@each_network
def test_the_tensors_of_another_family_do_not_fit(file: str, name: str, eps: float) -> None:
    state = state_of(file)
    for other in ("mobilenetv2", "efficientnet-b0", "shufflenetv2", "mobilenetv4-conv-small"):
        spec = find_spec(other)
        if spec.family != find_spec(name).family:
            # Without a single name in common it is not taken for a layout of a library at all;
            # then the network's own names are asked for, and missed.
            with contextlib.suppress(CheckpointError):
                assert detect(state, spec, family_of(spec).layouts, "the file") is None


# A MobileNetV2 in plain torch, with the names that torchvision has; rows as in the paper.
ROWS = (
    #  expand, out, stride
    (1, 8, 1),
    (6, 12, 2),
    (6, 12, 1),
    (4, 16, 2),
)
STEM, HEAD, CLASSES = 16, 24, 5


def triple(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class PlainBlock(nn.Module):
    def __init__(self, inputs: int, expand: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expand
        layers: list[nn.Module] = [] if expand == 1 else [triple(inputs, inner, 1, 1)]
        layers.append(triple(inner, inner, 3, stride, groups=inner))
        layers += [nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class PlainNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [triple(3, STEM, 3, 2)]
        inputs = STEM
        for expand, outputs, stride in ROWS:
            layers.append(PlainBlock(inputs, expand, outputs, stride))
            inputs = outputs
        self.features = nn.Sequential(*layers, triple(inputs, HEAD, 1, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(HEAD, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return y


def matching_spec() -> ModelSpec:
    rows, inputs = [], STEM
    for i, (expand, out, stride) in enumerate(ROWS):
        rows.append(
            BottleneckRow(
                kernel=3,
                expand=None if expand == 1 else inputs * expand,
                out=out,
                squeeze=None,
                act="relu6",
                stride=stride,
                residual=stride == 1 and inputs == out,
                stage=f"stage{out}" if i else "first",
            )
        )
        inputs = out
    return ModelSpec("tiny", "mobilenetv2", plain_rows(rows), STEM, (HEAD,), "relu6", CLASSES)


def random_statistics(model: nn.Module) -> None:
    torch.manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.3)
            # Small ones, beside which epsilon shows.
            nn.init.uniform_(module.running_var, 1e-4, 1e-2)
            nn.init.uniform_(module.weight, 0.05, 0.1)
            nn.init.normal_(module.bias, 0, 0.3)


@pytest.mark.parametrize("side", [32, 33, 50])
def test_a_network_in_torchvisions_style_gives_the_same_scores(side: int) -> None:
    plain, spec = PlainNetwork().double().eval(), certain(matching_spec())
    random_statistics(plain)
    state = dict(plain.state_dict())
    layout = found_layout(state, spec)
    assert layout.library == "torchvision"
    ours = build(spec).double().eval()
    ours.load_state_dict(translated(state, spec, layout), strict=True)
    batch = torch.randn(4, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        expected, found = plain(batch), ours(batch)
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)
        for module in ours.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-3
        assert not torch.allclose(ours(batch), expected, rtol=1e-3)


def tensorflow_same(image: Tensor, weight: Tensor, stride: int) -> Tensor:
    """tf.nn.conv2d with padding SAME, by its documentation: one window after the other.

    Args:
        image: (H, W); weight: (k, k).
    """
    kernel = weight.shape[0]

    def begin_and_count(side: int) -> tuple[int, int]:
        beyond = kernel - stride if side % stride == 0 else kernel - side % stride
        return max(beyond, 0) // 2, -(-side // stride)

    (top, height), (left, width) = (begin_and_count(side) for side in image.shape)
    out = torch.zeros(height, width, dtype=image.dtype)
    for y, x in np.ndindex(height, width):
        for i, j in np.ndindex(kernel, kernel):
            row, column = y * stride - top + i, x * stride - left + j
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                out[y, x] += image[row, column] * weight[i, j]
    return out


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(7, 7), (8, 8), (9, 12), (1, 2), (16, 5)])
def test_same_padding_is_that_of_tensorflow(
    size: tuple[int, int], kernel: int, stride: int
) -> None:
    width = Width("channel", 1)
    conv = Conv2d(width, None, kernel, stride, padding="same").double()
    image = torch.randn(1, 1, *size, dtype=torch.float64)
    with torch.no_grad():
        found = conv(image)[0, 0]
        expected = tensorflow_same(image[0, 0], conv.weight[0, 0], stride)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_both_paddings_differ_on_even_sides_with_a_stride_and_nowhere_else(kernel: int) -> None:
    width = Width("channel", 2)
    for stride in (1, 2):
        same = Conv2d(width, width, kernel, stride, padding="same").double()
        symmetric = Conv2d(width, width, kernel, stride).double()
        symmetric.load_state_dict(same.state_dict())
        for side in (12, 13):
            image = torch.randn(1, 2, side, side, dtype=torch.float64)
            with torch.no_grad():
                equal = torch.allclose(same(image), symmetric(image), rtol=1e-12)
            assert equal == (stride == 1 or side % 2 == 1)


@pytest.mark.parametrize("name", ["tf-mobilenetv3-large", "efficientnetv2-b0"])
def test_networks_of_tensorflow_pad_as_it_does(name: str) -> None:
    spec = find_spec(name)
    assert (spec.padding, spec.norm_eps) == ("same", 1e-3)
    with torch.device("meta"):
        model = build(spec)
    strided = [m for m in model.modules() if isinstance(m, Conv2d) and m.stride[0] > 1]
    assert len(strided) == 1 + sum(row.stride > 1 for row in typed_rows(spec, BottleneckRow))
    assert all(m.pads_by_size for m in strided if m.kernel_size[0] > 1)
