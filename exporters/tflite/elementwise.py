"""Operators on each number by itself: arithmetic and activations."""

from __future__ import annotations

import numpy as np

from exporters.tflite.layout import Layout, Value
from exporters.tflite.lowering import Lowering, Operand, canonical, operator


def binary(low: Lowering, kind: str, left: Operand, right: Operand) -> Operand:
    """Two operands, broadcast against each other."""
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Value) and isinstance(other, int | float):
            rank = len(low.graph.tensors[value.tensor].shape)
            # The quantizer wants bounds of the rank of what they bound.
            ones = (1,) * rank if kind in ("MAXIMUM", "MINIMUM") else ()
            number = low.constant(np.full(ones, other, np.float32))
            inputs = [value.tensor, number] if value is left else [number, value.tensor]
            shape = low.graph.tensors[value.tensor].shape
            return Value(low.emit(kind, inputs, shape), value.layout)
    rank = len(low.shape)
    order = canonical(rank)
    inputs = [low.stored(_of_rank(operand, rank), order) for operand in (left, right)]
    return low.compute(kind, inputs)


def _of_rank(operand: Operand, rank: int) -> Operand:
    """An operand with dimensions of 1 in front, as broadcasting has it."""
    missing = rank - len(operand.shape)
    if not isinstance(operand, Value):
        return np.asarray(operand, np.float32).reshape((1,) * missing + operand.shape)
    layout = operand.layout
    return Value(operand.tensor, Layout(((),) * missing + layout.dimensions, layout.memory))


def times(low: Lowering, operand: Operand, factor: float) -> Operand:
    """An operand times a number that is known."""
    if factor == 1:
        return operand
    return binary(low, "MUL", operand, factor) if isinstance(operand, Value) else operand * factor


@operator("add.Tensor", "add_.Tensor", "add.Scalar")
def add(low: Lowering, x: Operand, other: Operand, alpha: float = 1) -> Operand:
    """``x + alpha * other``."""
    return binary(low, "ADD", x, times(low, other, alpha))


@operator("sub.Tensor", "sub_.Tensor", "sub.Scalar")
def sub(low: Lowering, x: Operand, other: Operand, alpha: float = 1) -> Operand:
    """``x - alpha * other``."""
    return binary(low, "SUB", x, times(low, other, alpha))


@operator("rsub.Scalar", "rsub.Tensor")
def rsub(low: Lowering, x: Operand, other: Operand, alpha: float = 1) -> Operand:
    """``other - alpha * x``."""
    return binary(low, "SUB", other, times(low, x, alpha))


@operator("mul.Tensor", "mul_.Tensor", "mul.Scalar")
def mul(low: Lowering, x: Operand, other: Operand) -> Operand:
    """``x * other``."""
    return binary(low, "MUL", x, other)


@operator("div.Tensor", "div_.Tensor", "div.Scalar")
def div(low: Lowering, x: Operand, other: Operand) -> Operand:
    """``x / other``; a known divisor becomes a factor, which kernels are quicker at."""
    if isinstance(other, Value):
        with low.in_float_only():  # kernels have no division of 8 bits
            return binary(low, "DIV", x, other)
    with np.errstate(divide="ignore"):
        factor = 1 / np.asarray(other, np.float32)
    return binary(low, "MUL", x, float(factor) if factor.ndim == 0 else factor)


@operator("addcmul.default", "addcmul_.default")
def addcmul(
    low: Lowering, x: Operand, tensor1: Operand, tensor2: Operand, value: float = 1
) -> Operand:
    """``x + value * tensor1 * tensor2``."""
    product = _both(low, "MUL", tensor1, tensor2)
    return binary(low, "ADD", x, times(low, product, value))


@operator("addcdiv.default", "addcdiv_.default")
def addcdiv(
    low: Lowering, x: Operand, tensor1: Operand, tensor2: Operand, value: float = 1
) -> Operand:
    """``x + value * tensor1 / tensor2``."""
    product = _both(low, "DIV", tensor1, tensor2)
    return binary(low, "ADD", x, times(low, product, value))


@operator("lerp.Scalar", "lerp.Tensor")
def lerp(low: Lowering, x: Operand, end: Operand, weight: Operand) -> Operand:
    """``x + weight * (end - x)``."""
    way = _both(low, "SUB", end, x)
    if isinstance(weight, int | float):
        return binary(low, "ADD", x, times(low, way, weight))
    return binary(low, "ADD", x, _both(low, "MUL", way, weight))


def _both(low: Lowering, kind: str, left: Operand, right: Operand) -> Operand:
    """`binary` on operands of which the result has a shape of its own, or which are known."""
    if not isinstance(left, Value) and not isinstance(right, Value):
        known = {"MUL": np.multiply, "DIV": np.divide, "SUB": np.subtract}[kind]
        return known(left, right, dtype=np.float32)
    with low.giving(np.broadcast_shapes(left.shape, right.shape)):
        return div(low, left, right) if kind == "DIV" else binary(low, kind, left, right)


@operator("neg.default", channels=True)
def neg(low: Lowering, x: Operand) -> Operand:
    """``-x``."""
    return low.unary("NEG", x)


@operator("sqrt.default", channels=True)
def sqrt(low: Lowering, x: Operand) -> Operand:
    """Square root."""
    return low.unary("SQRT", x)


@operator("rsqrt.default", channels=True)
def rsqrt(low: Lowering, x: Operand) -> Operand:
    """One over the square root."""
    return low.unary("RSQRT", x)


@operator("exp.default", channels=True)
def exp(low: Lowering, x: Operand) -> Operand:
    """Exponential."""
    return low.unary("EXP", x)


@operator("log.default", channels=True)
def log(low: Lowering, x: Operand) -> Operand:
    """Natural logarithm."""
    return low.unary("LOG", x)


@operator("abs.default", channels=True)
def absolute(low: Lowering, x: Operand) -> Operand:
    """Absolute value."""
    return low.unary("ABS", x)


@operator("maximum.default")
def maximum(low: Lowering, x: Operand, other: Operand) -> Operand:
    """The larger of each two."""
    return binary(low, "MAXIMUM", x, other)


@operator("minimum.default")
def minimum(low: Lowering, x: Operand, other: Operand) -> Operand:
    """The smaller of each two."""
    return binary(low, "MINIMUM", x, other)


@operator("pow.Tensor_Scalar")
def power(low: Lowering, x: Value, exponent: float) -> Operand:
    """``x ** exponent``."""
    if exponent == 2:
        return binary(low, "MUL", x, x)
    if exponent == 0.5:
        return low.unary("SQRT", x)
    return binary(low, "POW", x, float(exponent))


@operator("relu.default", "relu_.default", channels=True)
def relu(low: Lowering, x: Operand) -> Operand:
    """``max(x, 0)``."""
    return low.unary("RELU", x)


@operator("relu6.default", "relu6_.default", channels=True)
def relu6(low: Lowering, x: Operand) -> Operand:
    """``min(max(x, 0), 6)``."""
    return low.unary("RELU6", x)


@operator("hardtanh.default", "hardtanh_.default")
def hardtanh(low: Lowering, x: Value, min_val: float, max_val: float) -> Operand:
    """``min(max(x, min_val), max_val)``."""
    return clamp(low, x, min_val, max_val)


@operator("clamp.default", "clamp_.default")
def clamp(low: Lowering, x: Value, lowest: float | None, highest: float | None) -> Operand:
    """Between two bounds, either of which may be missing."""
    if lowest == 0 and highest is None:
        return low.unary("RELU", x)
    if lowest == 0 and highest == 6:
        return low.unary("RELU6", x)
    if lowest == 0 and highest == 1:
        return low.unary("RELU_0_TO_1", x)
    if lowest is not None:
        x = binary(low, "MAXIMUM", x, float(lowest))
    if highest is not None:
        x = binary(low, "MINIMUM", x, float(highest))
    return x


@operator("clamp_min.default", "clamp_min_.default")
def clamp_min(low: Lowering, x: Value, lowest: float) -> Operand:
    """At least so much."""
    return clamp(low, x, lowest, None)


@operator("clamp_max.default", "clamp_max_.default")
def clamp_max(low: Lowering, x: Value, highest: float) -> Operand:
    """At most so much."""
    return clamp(low, x, None, highest)


@operator("hardswish.default", "hardswish_.default")
def hardswish(low: Lowering, x: Value) -> Operand:
    """``x * relu6(x + 3) / 6``, in one of two forms."""
    if low.forms.hardswish == "native" or low.in_float:
        return low.unary("HARD_SWISH", x)
    gate = hardsigmoid(low, x)
    shape = low.graph.tensors[x.tensor].shape
    return Value(low.emit("MUL", [x.tensor, gate.tensor], shape), x.layout)


@operator("hardsigmoid.default", "hardsigmoid_.default")
def hardsigmoid(low: Lowering, x: Value) -> Operand:
    """``clamp(x / 6 + 0.5, 0, 1)``, as ``relu6(x + 3) / 6``: the clamp is part of the addition."""
    return binary(low, "MUL", low.unary("RELU6", binary(low, "ADD", x, 3.0)), 1 / 6)


@operator("sigmoid.default", "sigmoid_.default", channels=True)
def sigmoid(low: Lowering, x: Operand) -> Operand:
    """``1 / (1 + exp(-x))``."""
    return low.unary("LOGISTIC", x)


@operator("silu.default", "silu_.default")
def silu(low: Lowering, x: Value) -> Operand:
    """``x * sigmoid(x)``."""
    gate = low.unary("LOGISTIC", x)
    shape = low.graph.tensors[x.tensor].shape
    return Value(low.emit("MUL", [x.tensor, gate.tensor], shape), x.layout)


@operator("softplus.default")
def softplus(low: Lowering, x: Value, beta: float = 1, threshold: float = 20) -> Operand:
    """``log(1 + exp(x))``, as ``relu(x) + log(1 + exp(-abs(x)))``: no number is too large."""
    # Beyond it PyTorch gives x, from which this differs by less than a float can.
    if threshold < 15:
        raise low.refuse(f"a softplus with threshold {threshold:g}")
    if beta != 1:
        return times(low, softplus(low, times(low, x, beta)), 1 / beta)
    small = low.unary("EXP", low.unary("NEG", low.unary("ABS", x)))
    rest = low.unary("LOG", binary(low, "ADD", small, 1.0))
    positive = low.unary("RELU", x)
    shape = low.graph.tensors[x.tensor].shape
    return Value(low.emit("ADD", [positive.tensor, rest.tensor], shape), x.layout)


@operator("mish.default", "mish_.default")
def mish(low: Lowering, x: Value) -> Operand:
    """``x * tanh(softplus(x))``."""
    gate = low.unary("TANH", softplus(low, x))
    shape = low.graph.tensors[x.tensor].shape
    return Value(low.emit("MUL", [x.tensor, gate.tensor], shape), x.layout)


@operator("tanh.default", "tanh_.default", channels=True)
def tanh(low: Lowering, x: Operand) -> Operand:
    """Hyperbolic tangent."""
    return low.unary("TANH", x)


@operator("elu.default", "elu_.default")
def elu(low: Lowering, x: Operand, alpha: float, scale: float, input_scale: float) -> Operand:
    """``scale * x`` above 0, ``scale * alpha * (exp(input_scale * x) - 1)`` below."""
    if (alpha, input_scale) == (1, 1):
        return times(low, low.unary("ELU", x), scale)
    below = low.unary("ELU", times(low, binary(low, "MINIMUM", x, 0.0), input_scale))
    return binary(
        low, "ADD", times(low, low.unary("RELU", x), scale), times(low, below, scale * alpha)
    )


@operator("gelu.default", channels=True)
def gelu(low: Lowering, x: Operand, approximate: str) -> Operand:
    """``x`` times the normal distribution up to it."""
    return low.unary("GELU", x, approximate=approximate == "tanh")


@operator("leaky_relu.default", "leaky_relu_.default", channels=True)
def leaky_relu(low: Lowering, x: Operand, negative_slope: float) -> Operand:
    """``x`` above 0, a share of it below."""
    return low.unary("LEAKY_RELU", x, alpha=negative_slope)


@operator("prelu.default", "_prelu_kernel.default")
def prelu(low: Lowering, x: Value, weight: Operand) -> Value:
    """As `leaky_relu`, with a learned share for each channel."""
    rank = len(x.shape)
    slope = np.broadcast_to(weight.reshape(-1), (x.shape[1],) if rank > 1 else (1,))
    slope = slope.reshape([-1 if i == 1 else 1 for i in range(rank)])
    order = canonical(rank)
    # The operator takes no batch dimension in its slopes.
    slopes = low.constant(np.ascontiguousarray(slope.transpose(order)[0]))
    return low.compute("PRELU", [low.stored(x), slopes])
