"""Every argument of every ATen operator in the table does to a file what it does in PyTorch.

Or the converter refuses it by name. What an operator's schema has and this table does not know
fails the first test: a new lowering says what it does with each of its arguments.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from test_tflite_converter import run
from torch import Tensor, fx

from edgekit.core import of_image
from edgekit.errors import ModelError
from exporters.tflite import converter  # its import fills the table
from exporters.tflite.lowering import OPERATORS, Forms
from exporters.tflite.tracing import Program

IMAGE = (1, 4, 6, 5)
X = object()
"""Where the image stands in a case's arguments."""
PLACES = object()
"""Where integers stand that are computed from the image: of its largest numbers."""


@dataclass(frozen=True)
class Case:
    """A call of an operator.

    Attributes:
        shape: the image is given in, of as many numbers.
        refused: what the message names, where the converter refuses it.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = IMAGE
    refused: str = ""

    def __str__(self) -> str:
        known = {id(X): "x", id(PLACES): "places"}
        shown = ["t" if isinstance(a, Tensor) else known.get(id(a), a) for a in self.args[1:]]
        return f"{self.name}{shown}{self.kwargs or ''}".replace(" ", "")[:70]


def weight(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(*values: Any) -> Tensor:
    return torch.tensor(values)


def call(name: str, *args: Any, shape: Any = IMAGE, refused: str = "", **kw: Any) -> Case:
    full = name if "." in name else f"{name}.default"
    return Case(full, (X, *args), kw, tuple(shape), refused)


def lstm(
    biases: bool,
    layers: int,
    both: bool,
    batch_first: bool,
    dropout: float = 0.0,
    train: bool = False,
    projected: bool = False,
) -> tuple[Any, ...]:
    """Arguments behind the input, of 5 features; zeros to begin with where there is no bias."""
    sides, batch = (2 if both else 1), (4 if batch_first else 6)
    out = 2 if projected else 3
    params = []
    for layer in range(layers):
        features = 5 if layer == 0 else sides * out
        for side in range(sides):
            sizes = [(12, features), (12, out), *([(12,)] * 2 if biases else [])]
            sizes += [(out, 3)] if projected else []
            params += [weight(*s, seed=10 * layer + side + i) for i, s in enumerate(sizes)]
    start = [weight(layers * sides, batch, n, seed=s) * biases for n, s in ((out, 7), (3, 8))]
    return start, params, biases, layers, dropout, train, both, batch_first


FLAT, ROWS, MATRICES = (1, 120), (6, 20), (4, 6, 5)
POSITIVE = weight(4).abs() + 0.5

NEAREST = ("upsample_nearest", "_upsample_nearest_exact")

CASES = [
    *(call(n) for n in (
        "abs", "alias", "detach", "detach_", "exp", "hardsigmoid", "hardsigmoid_", "hardswish",
        "hardswish_", "lift_fresh_copy", "mish", "mish_", "neg", "relu", "relu6", "relu6_", "relu_",
        "sigmoid", "sigmoid_", "silu", "silu_", "squeeze", "tanh", "tanh_", "clone", "contiguous",
        "_to_copy", "numpy_T",
    )),
    call("t", shape=ROWS),
    *(call(n, o) for n in ("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
      for o in ([3, 5], [1, 1], [4, 3], [6, 7])),
    call("adaptive_max_pool2d", [3, 5]),
    call("adaptive_max_pool2d", [4, 5], refused="a pooling of 6x5 pixels to 4x5"),
    *(call(f"{n}.Tensor", weight(4, 1, 1), alpha=3) for n in
      ("add", "add_", "sub", "sub_", "rsub")),
    *(call(f"{n}.Scalar", 0.3, 3) for n in ("add", "sub", "rsub")),
    *(call(f"{n}.Tensor", weight(4, 1, 5)) for n in ("mul", "mul_", "div", "div_")),
    *(call(f"{n}.Scalar", 0.3) for n in ("mul", "div")),
    *(call(n, weight(1, 4, 1, 1)) for n in ("maximum", "minimum")),
    Case("addmm.default", (weight(3), X, weight(20, 3)), {"beta": 0.5, "alpha": 2}, ROWS),
    Case("addmm.default", (weight(6, 3), X, weight(20, 3)), {"beta": 0.5, "alpha": 2}, ROWS),
    Case("addmm.default", (X, weight(6, 3), weight(3, 20)), {"beta": 0.5, "alpha": 2}, ROWS),
    *(call(n, 1, True) for n in ("amax",)), call("amax"), call("amax", [-1, 2], True),
    call("avg_pool2d", [3, 2], [2, 1], [1, 0]), call("avg_pool2d", 2),
    call("avg_pool2d", [3, 3], [2, 2], [1, 1], True, False), call("avg_pool2d", 3, 2, 1, True),
    call("avg_pool2d", 2, divisor_override=3),
    *(call(n, weight(4), weight(4, seed=2), weight(4, seed=3), POSITIVE, False, 0.1, 0.3, *more)
      for n, more in (("batch_norm", (True,)), ("native_batch_norm", ()))),
    call("batch_norm", None, None, weight(4), POSITIVE, True, 0.1, 0.1, True, refused="training"),
    call("native_batch_norm", None, None, weight(4), POSITIVE, True, 0.1, 0.1, refused="training"),
    call("_native_batch_norm_legit_no_training", weight(4), weight(4, seed=2), weight(4, seed=3),
         POSITIVE, 0.1, 0.3),
    *(call(n, weight(4, 5, 3), shape=MATRICES) for n in ("bmm", "matmul")),
    Case("bmm.default", (weight(4, 3, 6), X), {}, MATRICES),
    call("mm", weight(20, 3), shape=ROWS), Case("mm.default", (weight(3, 6), X), {}, ROWS),
    *(call("matmul", w) for w in (weight(5, 3), weight(5), weight(1, 1, 5, 3), weight(4, 5, 2))),
    *(Case("matmul.default", (w, X)) for w in
      (weight(3, 6), weight(6), weight(1, 1, 3, 6), weight(4, 2, 6), weight(2, 4, 2, 6))),
    Case("matmul.default", (weight(3, 120), X), {}, (120,)),
    *(Case(f"{n}.default", ([X, X, weight(*IMAGE)], 2)) for n in ("cat", "concat")),
    Case("cat.default", ([X, X], 1)), Case("stack.default", ([X, weight(*IMAGE)], -2)),
    *(call(n, 2) for n in ("channel_shuffle", "native_channel_shuffle")),
    call("chunk", 3, 2), call("chunk", 2, 1),
    *(call(n, a, b) for n in ("clamp", "clamp_") for a, b in
      ((-0.3, 0.4), (0, 6), (0, 1), (0, None), (None, 0.2), (0.5, -0.5))),
    *(call(n, 0.2) for n in ("clamp_max", "clamp_max_", "clamp_min", "clamp_min_")),
    call("constant_pad_nd", [1, -1, 2, 0], 3), call("pad", [1, 2, 3, 1], "reflect"),
    call("pad", [1, 2, 0, 1], "constant", -2.0),
    *(call("pad", [1, 2, 1, 1], m, refused=f"pad with mode {m}") for m in
      ("replicate", "circular")),
    call("reflection_pad2d", [1, 2, 3, 1]),
    call("conv2d", weight(6, 2, 3, 2), weight(6), [2, 1], [1, 2], [1, 2], 2),
    call("conv2d", weight(8, 1, 3, 3), None, [1, 1], [2, 2], [2, 2], 4),
    call("conv2d.padding", weight(6, 2, 3, 2), weight(6), [1, 1], "same", [1, 2], 2),
    call("conv2d.padding", weight(6, 4, 3, 2), weight(6), [2, 1], "valid"),
    call("convolution", weight(6, 2, 3, 2), weight(6), [2, 1], [1, 2], [1, 2], False, [0, 0], 2),
    call("convolution", weight(4, 3, 3, 2), weight(3), [2, 1], [1, 0], [1, 1], True, [1, 0], 1),
    call("conv_transpose2d.input", weight(4, 3, 3, 2), weight(3), [2, 1], [1, 0], [1, 0]),
    call("conv_transpose2d.input", weight(4, 3, 2, 2), None, [2, 2], [0, 0], [1, 1],
         refused="output_padding [1, 1]"),
    call("conv_transpose2d.input", weight(4, 3, 2, 2), None, [2, 2], [0, 0], [0, 0], 2,
         refused="groups 2"),
    call("conv_transpose2d.input", weight(4, 3, 2, 2), None, [2, 2], [0, 0], [0, 0], 1,
         [2, 2],
         refused="dilation [2, 2]"),
    *(Case(f"{n}.default", (weight(2, 4, 6, 5), X)) for n in ("copy", "copy_")),
    *(call(n, 0.5, False) for n in ("dropout", "dropout_", "feature_dropout")),
    *(call(n, 0.5, True, refused="train=True") for n in ("dropout", "dropout_", "feature_dropout")),
    *(call(n, 0.7, 1.3, 1.6) for n in ("elu", "elu_")), call("elu"), call("elu", 1, 2),
    call("expand", [2, 4, 6, 5]), call("expand", [3, -1, 20], shape=(1, 6, 20)),
    call("expand_as", weight(2, 4, 6, 5)),
    call("flatten.using_ints", 1, 2), call("unflatten.int", 1, [2, 2]), call("unsqueeze", -1),
    call("squeeze.dim", 0), call("squeeze.dims", [0]),
    *(call(n, [1, 6, 20]) for n in ("view", "reshape", "_unsafe_view")),
    call("_reshape_alias", [1, 6, 20], [120, 20, 1]),
    call("_reshape_alias", [4, 5], [1, 4], refused="_reshape_alias with stride [1, 4]"),
    call("gelu"), call("gelu", approximate="tanh"),
    *(call("group_norm", g, weight(4), weight(4, seed=2), 0.3) for g in (1, 2, 4)),
    call("group_norm", 5, weight(20), None, shape=(1, 20, 6)), call("group_norm", 2, shape=(4, 30)),
    call("native_group_norm", weight(4), weight(4, seed=2), 1, 4, 30, 2, 0.3),
    *(call(n, -0.5, 0.6) for n in ("hardtanh", "hardtanh_")),
    call("layer_norm", [5], weight(5), weight(5, seed=2), 0.3), call("layer_norm", [4, 6, 5]),
    call("native_layer_norm", [6, 5], weight(6, 5), weight(6, 5, seed=2), 0.3),
    *(call(n, 0.3) for n in ("leaky_relu", "leaky_relu_")),
    call("linalg_vector_norm", 2, [1], True), call("linalg_vector_norm", 2, [2, 3]),
    call("linalg_vector_norm", 1, [1], refused="a norm of order 1"),
    call("linear", weight(3, 5), weight(3)), call("linear", weight(3, 120), shape=FLAT),
    *(call(f"{n}.int", 1) for n in ("softmax", "log_softmax")),
    *(call(f"_{n}", -1, False) for n in ("softmax", "log_softmax")),
    call("_safe_softmax", 2), call("_safe_softmax", 1, torch.float64, refused="dtype float64"),
    *(call(n, [3, 2], [2, 1], [1, 0], 1, True) for n in ("max_pool2d", "max_pool2d_with_indices")),
    *(call(n, [2, 2], dilation=[2, 2], refused="dilation [2, 2]") for n in
      ("max_pool2d", "max_pool2d_with_indices")),
    *(call(f"{n}", d, True) for n in ("mean.dim", "sum.dim_IntList") for d in ([1], [-1, 2], None)),
    call("permute", [0, -1, 1, 2]), call("transpose.int", -1, 1),
    call("pixel_shuffle", 2), call("pixel_unshuffle", 2, shape=(1, 5, 4, 6)),
    *(call("pow.Tensor_Scalar", e) for e in (2, 3, -1)),
    *(Case(f"{n}.default", (X, weight(4))) for n in ("prelu",)), call("prelu", weight(1)),
    call("_prelu_kernel", weight(1, 4, 1, 1)), call("repeat", [2, 1, 2, 3]),
    *(call("scaled_dot_product_attention", weight(4, 7, 5), weight(4, 7, 3), scale=s,
           shape=MATRICES)
      for s in (None, 0.3)),
    Case("scaled_dot_product_attention.default", (weight(4, 2, 5), X, X), {}, MATRICES),
    call("_scaled_dot_product_flash_attention_for_cpu", weight(1, 4, 7, 5), weight(1, 4, 7, 5),
         scale=0.3),
    *(call("scaled_dot_product_attention", weight(1, 4, 6, 5), weight(1, 4, 6, 5), refused=a,
           **dict[str, Any]({a: v}))
      for a, v in (("enable_gqa", True), ("dropout_p", 0.5))),
    *(call("scaled_dot_product_attention", weight(1, 4, 7, 5), weight(1, 4, 7, 5), mask)
      for mask in (weight(6, 7), weight(4, 1, 7), weight(6, 7) > -0.5)),
    call("scaled_dot_product_attention", weight(1, 4, 7, 5), weight(1, 4, 7, 5),
         weight(6, 1).expand(6, 7) > 0, refused="all keys of a query"),
    Case("scaled_dot_product_attention.default",
         (weight(4, 5, 7), weight(4, 6, 7), weight(4, 6, 3), X), {}, (4, 5, 6)),
    *(call(n, weight(1, 4, t, 5), weight(1, 4, t, 5), is_causal=True, scale=0.3)
      for n in ("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu")
      for t in (6, 8)),
    call("_scaled_dot_product_flash_attention_for_cpu", weight(1, 4, 7, 5), weight(1, 4, 7, 5),
         attn_mask=weight(1, 4, 6, 7)),
    call("select.int", 2, -2), call("select.int", 1, 1),
    call("slice.Tensor", 1, 1, 3), call("slice.Tensor", -1, -4, -1, 2), call("slice.Tensor"),
    call("slice_scatter", weight(1, 4, 2, 5), 2, 1, 3),
    Case("slice_scatter.default", (weight(1, 4, 8, 5), X, 2, 1, 7)),
    call("slice_scatter", weight(1, 4, 3, 5), 2, 0, 6, 2, refused="slice_scatter with step 2"),
    call("softplus", 3), call("softplus", 1, 40), call("softplus", 1, 5, refused="threshold 5"),
    call("split.Tensor", 4, 2), call("split.sizes", [1, 3], 1), call("split_with_sizes", [1, 4], 3),
    call("unbind.int", 1),
    *(call(f"{n}2d", [h, w], *s) for n in NEAREST for h, w, *s in
      ((9, 4), (9, 4, 1.55, 0.95), (9, 7, 1.5, 1.5))),
    *(call(f"{n}2d.vec", *s) for n in NEAREST for s in ((None, [1.7, 1.3]), ([13, 3], None))),
    *(call("upsample_bilinear2d", [9, 7], c, *s) for c in (False, True) for s in ((), (1.55, 1.5))),
    *(call("upsample_bilinear2d.vec", None, c, s) for c in (False, True) for s in
      ([1.7, 0.5], [2.0, 2.0])),
    call("upsample_bilinear2d.vec", [13, 3], False, None),
    *(call(n, weight(4, 1, 5), weight(6, 1, seed=2), value=0.3) for n in ("addcmul", "addcmul_")),
    *(call(n, weight(4, 1, 5), POSITIVE.reshape(4, 1, 1), value=0.3)
      for n in ("addcdiv", "addcdiv_")),
    *(Case(f"{n}.default", (weight(1, 4, 1, 5), X, weight(6, 1).abs() + 1), {"value": 0.3})
      for n in ("addcmul", "addcdiv")),
    call("lerp.Scalar", weight(1, 4, 6, 5), 0.3), Case("lerp.Scalar", (weight(5), X, 0.3)),
    call("lerp.Tensor", weight(4, 1, 1), weight(5)),
    *(call("roll", *a) for a in (([1, -2], [2, 3]), ([5], [-3]), ([7],), ([6], [2]))),
    *(call("rms_norm", s, w, e) for s, w, e in
      (([5], weight(5), 0.2), ([6, 5], weight(6, 5), None), ([4, 6, 5], None, 0.1))),
    call("_fused_rms_norm", [5], weight(5), 0.2),
    *(call(f"{n}.correction", d, correction=c, keepdim=k)
      for n in ("var", "std", "var_mean", "std_mean")
      for d, c, k in (([2, 3], None, True), ([1], 0, False), ([-1, 1], 2, False), (None, 1, True))),
    call("instance_norm", weight(4), weight(4, seed=2), None, None, True, 0.1, 0.3, True),
    call("instance_norm", None, None, None, None, True, 0.1, 0.2, True, shape=(2, 4, 15)),
    call("instance_norm", weight(4), weight(4, seed=2), weight(4, seed=3), POSITIVE, False, 0.1,
         0.3, True),
    *(call(n, weight(*s), shape=(1, 6, 20)) for n in ("reshape_as", "view_as")
      for s in ((2, 3, 20), (6, 4, 5))),
    call("conv1d", weight(6, 2, 3), weight(6), [2], [2], [2], 2, shape=(1, 4, 30)),
    call("conv1d", weight(4, 1, 3), None, [1], [1], [1], 4, shape=(2, 4, 15)),
    call("conv1d.padding", weight(6, 4, 4), None, [1], "same", [2], shape=(1, 4, 30)),
    call("conv1d.padding", weight(6, 2, 3), weight(6), [2], "valid", [1], 2, shape=(1, 4, 30)),
    call("conv3d", weight(6, 1, 3, 2, 2), weight(6), [2, 1, 2], [1, 1, 0], [1, 2, 1], 2,
         shape=(1, 2, 3, 4, 5)),
    call("conv3d", weight(4, 2, 2, 3, 2), None, [1, 1, 1], [0, 0, 0], [2, 1, 1], 1,
         shape=(1, 2, 3, 4, 5)),
    call("conv3d", weight(4, 3, 2, 2, 2), None, shape=(2, 3, 2, 2, 5)),
    call("conv3d.padding", weight(4, 1, 2, 3, 3), weight(4), [1, 1, 1], "same", [1, 1, 2], 2,
         shape=(1, 2, 3, 4, 5)),
    call("conv3d.padding", weight(4, 2, 2, 3, 2), None, [2, 1, 1], "valid", shape=(1, 2, 3, 4, 5)),
    call("convolution", weight(6, 4, 3), None, [2], [1], [2], False, [0], 1, shape=(1, 4, 30)),
    *(call("index.Tensor", i) for i in (
        [None, None, whole(5, 0, -2)], [None, whole(3, 1), None, whole(0, 4)],
        [None, None, whole(3, 1, 2), whole(0, -4, 2)], [whole(0), None, whole([1, 2], [3, -1])],
        [None, whole([1], [3]), whole([0, 1, 5])], [None, None, None, weight(5) > 0],
        [None, None, weight(6, 5) > 0],
    )),
    call("index.Tensor", [whole([1, 0], [2, 5])], shape=ROWS),
    call("index_select", -2, whole(5, 0, 0)),
    call("unfold", 2, 3, 1), call("unfold", -1, 2, 2), call("unfold", 1, 2, 2),
    call("unfold", 1, 8, 4, shape=ROWS),
    call("im2col", [3, 2], [1, 2], [2, 1], [2, 1]), call("im2col", [2, 2], [1, 1], [0, 0], [2, 2]),
    call("col2im", [7, 7], [2, 3], [1, 1], [1, 0], [2, 1], shape=(1, 6, 20)),
    call("col2im", [4, 5], [2, 1], [3, 1], [0, 0], [1, 1], shape=(1, 24, 5)),
    call("col2im", [6, 10], [2, 2], [1, 1], [0, 0], [2, 2], shape=(1, 8, 15)),
    call("col2im", [4, 4], [2, 3], [2, 1], [1, 1], [2, 2], shape=(1, 30, 4)),
    call("col2im", [1, 40], [3, 1], [3, 1], [3, 0], [1, 1], shape=(1, 3, 40)),
    *(call("upsample_bicubic2d", [9, 7], c, *s) for c in (False, True) for s in ((), (1.55, 1.5))),
    *(call("upsample_bicubic2d.vec", None, c, s) for c in (False, True) for s in
      ([1.7, 0.5], [2.0, 2.0])),
    call("upsample_bicubic2d.vec", [13, 3], False, None),
    call("upsample_bicubic2d.vec", [1, 3], True, None),
    *(call("max.dim", d, k) for d, k in ((1, True), (-1, False))),
    *(call(n, d, k) for n in ("argmax", "argmin") for d, k in ((1, True), (-1, False))),
    *(call(n, refused=f"the operator {n} over all dimensions") for n in ("argmax", "argmin")),
    *(Case("embedding.default", (weight(5, 3), PLACES, *more)) for more in ((), (3, True, True))),
    *(call("lstm.input", *lstm(*how), shape=(4, 6, 5)) for how in (
        (True, 1, False, True), (False, 1, True, False), (True, 2, True, True, 0.5),
        (True, 2, False, False),
    )),
    call("lstm.input", *lstm(True, 1, False, True, 0.5, True), shape=(4, 6, 5),
         refused="an lstm with train=True"),
    call("lstm.input", *lstm(True, 1, False, True, projected=True), shape=(4, 6, 5),
         refused="an lstm with projections"),
    call("to.dtype", torch.float32), call("to.dtype", torch.float64, refused="float64"),
    call("_to_copy", dtype=torch.float16, refused="dtype float16"),
    *(call(n, 1, torch.float64, refused="dtype float64") for n in
      ("softmax.int", "log_softmax.int")),
    *(call(n, [1], dtype=torch.float64, refused="dtype float64") for n in
      ("mean.dim", "sum.dim_IntList")),
    call("linalg_vector_norm", 2, [1], dtype=torch.float64, refused="dtype float64"),
]  # fmt: skip
ROOTS = [call(n) for n in ("log", "sqrt", "rsqrt")]  # of positive numbers

WITHOUT_EFFECT = {
    "momentum": "statistics move in training only",
    "cudnn_enabled": "kernels of another device", "cudnn_enable": "kernels of another device",
    "half_to_float": "of 16-bit inputs on another device",
    "memory_format": "where numbers lie", "layout": "where numbers lie",
    "device": "where numbers lie", "pin_memory": "where numbers lie",
    "non_blocking": "when numbers are copied", "copy": "whether memory is shared",
    "implicit": "who asked for it",
    "N": "a size of the input", "C": "a size of the input", "HxW": "a size of the input",
    "p": "chance, in training only",
    "dropout_p": "chance; refused of the other attention, and PyTorch itself has none on CPUs",
    "output_size": "the shape of the result, with which each case is compared",
}  # fmt: skip


def schema_of(name: str) -> Any:
    packet, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, packet), overload)._schema


def given(case: Case) -> dict[str, Any]:
    names = [argument.name for argument in schema_of(case.name).arguments]
    return {**dict(zip(names, case.args, strict=False)), **case.kwargs}


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_argument_of_the_table_has_a_case(name: str) -> None:
    assert converter.TABLES
    cases = [case for case in (*CASES, *ROOTS) if case.name == name]
    assert cases, f"{name} has no case"
    told = [given(case) for case in cases]
    for argument in schema_of(name).arguments:
        if argument.name in WITHOUT_EFFECT:
            continue
        default = argument.default_value if argument.has_default_value() else None
        values = [one[argument.name] for one in told if argument.name in one]
        other = [v for v in values if isinstance(v, Tensor) or v is X or v != default]
        required = not argument.has_default_value() and str(argument.type) == "bool"
        assert other or (required and values), f"{name}: no case says what {argument.name} does"


def program(case: Case, image: Tensor) -> tuple[Program, Tensor]:
    """A graph with the call alone, and its first result."""
    graph, constants = fx.Graph(), dict[str, Any]()
    node = graph.placeholder("image")
    node.meta["val"] = image
    aten = torch.ops.aten
    if case.shape != IMAGE:
        node = graph.call_function(aten.reshape.default, (node, list(case.shape)))
        node.meta["val"] = image.reshape(case.shape)
    start, values = node, node.meta["val"]

    def places() -> fx.Node:
        found = graph.call_function(aten.argmax.default, (start, -1, False))
        found.meta["val"] = values.argmax(-1)
        return found

    def entered(argument: Any, known: bool) -> Any:
        if argument is X:
            return values.clone() if known else start
        if argument is PLACES:
            return values.argmax(-1) if known else places()
        if isinstance(argument, list):
            return [entered(one, known) for one in argument]
        if isinstance(argument, Tensor) and not known:
            holder = graph.placeholder(f"weight{len(constants)}")
            constants[holder.name] = argument.numpy()
            return holder
        return argument.clone() if isinstance(argument, Tensor) else argument

    packet, overload = case.name.split(".")
    function = getattr(getattr(aten, packet), overload)
    with torch.no_grad():
        result = function(
            *(entered(a, True) for a in case.args),
            **{k: entered(v, True) for k, v in case.kwargs.items()},
        )
    found = graph.call_function(
        function,
        tuple(entered(a, False) for a in case.args),
        {k: entered(v, False) for k, v in case.kwargs.items()},
    )
    found.meta["val"] = result
    if isinstance(result, tuple | list):
        # The last one too, where there are several of a kind: it starts elsewhere.
        index = len(result) - 1 if isinstance(result, list) else 0
        result = result[index]
        found = graph.call_function(operator.getitem, (found, index))
        found.meta["val"] = result
    graph.output((found,))
    return Program(list(graph.nodes), constants, ("image",)), result


def image_of(case: Case) -> Tensor:
    torch.manual_seed(0)
    image = torch.randn(IMAGE)
    return image.abs() + 0.5 if case in ROOTS or case.name.startswith("pow") else image


@pytest.mark.parametrize("case", [*CASES, *ROOTS], ids=str)
def test_arguments_do_what_they_do_in_pytorch(case: Case) -> None:
    image = image_of(case)
    written, wanted = program(case, image)
    if case.refused:
        with pytest.raises(ModelError) as error:
            converter.assemble(written, of_image(torch.zeros(IMAGE)), Forms())
        assert case.refused in str(error.value)
        return
    found = run(converter.assemble(written, of_image(torch.zeros(IMAGE)), Forms()), image)
    exact = wanted.numpy()
    assert found.shape == exact.shape
    # 100 dB and more
    assert ((found - exact) ** 2).mean() <= 1e-10 * max(float((exact**2).mean()), 1e-12)
