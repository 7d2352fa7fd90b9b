"""Random networks of the operator table, exported to every target and held against PyTorch.

``python tests/bench/random_networks.py --seed 0 --count 250 --out DIR`` draws networks with
hypothesis and exports each: in float32, verified on noise, and in int8, with the ranges and the
verification from images with edges and gradients. Every file is judged by other images of that
kind, which no export has seen. A finding is

- ``wrong``: a file that was accepted and does not compute the network, or one of integers whose
  float form does not, which the bound of integers alone need not show;
- ``refused``: a file that was rejected and does compute it;
- ``raw``: an exception of somebody else's, or an error of edgekit that names no reason of its own.

One JSON line a network goes to ``DIR/SEED.jsonl``; a run goes on behind the last line there.
``--only N`` makes the network of such a line again.
"""

from __future__ import annotations

import argparse
import copy
import functools
import hashlib
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

Draw = Callable[[st.SearchStrategy[Any]], Any]
Arguments = dict[str, Any]
Shape = tuple[int, int, int]
SIDE = 32
CLASSES = 10
LEAST_DB = {"fp32": 60.0, "int8": 5.0}
"""What the exports themselves ask for."""

MARGIN_DB = 2.0
"""By which the agreement of integers on other images may miss or exceed that."""

JUDGING_IMAGES, CALIBRATION_IMAGES, TEST_IMAGES = 48, 48, 100
EXACT_DB = 90.0
"""Of float32 against float64 in PyTorch, below which a file in float32 is not judged."""


class Step(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers)


def _number(draw: Draw, lowest: float = -2.0, highest: float = 2.0) -> float:
    return round(draw(st.floats(lowest, highest, allow_nan=False)), 3)


def _pick(draw: Draw, *values: Any) -> Any:
    return draw(st.sampled_from(values))


# Element by element: what it takes, and the function.
POINTWISE: Mapping[str, tuple[Callable[[Draw], Arguments], Callable[..., Tensor]]] = {
    "relu": (lambda d: {}, F.relu),
    "relu6": (lambda d: {}, F.relu6),
    "hardswish": (lambda d: {}, F.hardswish),
    "hardsigmoid": (lambda d: {}, F.hardsigmoid),
    "silu": (lambda d: {}, F.silu),
    "sigmoid": (lambda d: {}, torch.sigmoid),
    "tanh": (lambda d: {}, torch.tanh),
    "mish": (lambda d: {}, F.mish),
    "abs": (lambda d: {}, torch.abs),
    "neg": (lambda d: {}, torch.neg),
    "square": (lambda d: {}, lambda x: x**2),
    "root": (lambda d: {}, lambda x: torch.sqrt(x.abs() + 0.1)),
    "rsqrt": (lambda d: {}, lambda x: torch.rsqrt(x.abs() + 0.5)),
    "exp": (lambda d: {}, lambda x: torch.exp(x.clamp(-4, 2))),
    "log": (lambda d: {}, lambda x: torch.log(x.abs() + 0.5)),
    "gelu": (lambda d: {"approximate": _pick(d, "none", "tanh")}, F.gelu),
    "elu": (lambda d: {"alpha": _number(d, 0.2, 2)}, F.elu),
    "leaky_relu": (lambda d: {"negative_slope": _number(d, 0, 0.9)}, F.leaky_relu),
    "softplus": (
        lambda d: {"beta": _number(d, 0.5, 3), "threshold": _number(d, 1, 20)},
        F.softplus,
    ),
    "hardtanh": (
        lambda d: {"min_val": _number(d, -2, -0.1), "max_val": _number(d, 0.1, 3)},
        F.hardtanh,
    ),
    "clamp": (lambda d: {"min": _number(d, -1, 0), "max": _number(d, 0.2, 3)}, torch.clamp),
    "clamp_min": (lambda d: {"min": _number(d, -1, 0.5)}, torch.clamp_min),
    "clamp_max": (lambda d: {"max": _number(d, 0, 2)}, torch.clamp_max),
    "add": (lambda d: {"value": _number(d)}, lambda x, value: x + value),
    "rsub": (lambda d: {"value": _number(d)}, lambda x, value: value - x),
    "scaled": (
        lambda d: {"alpha": _number(d)},
        lambda x, alpha: torch.add(x, x.tanh(), alpha=alpha),
    ),
    "mul": (lambda d: {"value": _number(d)}, lambda x, value: value * x),
    "div": (lambda d: {"value": _number(d, 0.2, 3)}, lambda x, value: x / value),
    "maximum": (lambda d: {}, lambda x: torch.maximum(x, 0.5 * x.tanh())),
    "minimum": (lambda d: {}, lambda x: torch.minimum(x, x.sigmoid())),
    "softmax": (lambda d: {"dim": _pick(d, 1, 2, 3, -1)}, F.softmax),
    "normalize": (lambda d: {"dim": _pick(d, 1, 3), "p": _pick(d, 1.0, 2.0)}, F.normalize),
}


def _convolution(draw: Draw, shape: Shape) -> Arguments:
    channels, height, width = shape
    kernel = _pick(draw, 1, 1, 2, 3, 3, 5)
    groups = _pick(draw, 1, 1, channels, *(g for g in (2, 4) if channels % g == 0))
    wide = channels if groups == channels else _pick(draw, 8, 16, 24)
    padding = _pick(draw, 0, kernel // 2, kernel // 2)
    dilation = _pick(draw, 1, 1, 2)
    if min(height, width) + 2 * padding < dilation * (kernel - 1) + 1:
        kernel, padding, dilation = 1, 0, 1
    return {
        "out_channels": wide if wide % groups == 0 else channels,
        "kernel_size": kernel,
        "stride": _pick(draw, 1, 1, 2),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": _pick(draw, True, False),
        "padding_mode": _pick(draw, "zeros", "zeros", "zeros", "reflect", "replicate", "circular")
        if 0 < padding < min(height, width)
        else "zeros",
    }


def _pool(draw: Draw, shape: Shape) -> Arguments:
    kernel = _pick(draw, 2, 3)
    if min(shape[1:]) < 4:
        return {"kernel_size": 1, "stride": 1, "padding": 0, "ceil_mode": False}
    return {
        "kernel_size": kernel,
        "stride": _pick(draw, 1, 2, 3),
        "padding": _pick(draw, 0, kernel // 2),
        "ceil_mode": _pick(draw, False, True),
    }


def _average(draw: Draw, shape: Shape) -> Arguments:
    return {
        **_pool(draw, shape),
        "count_include_pad": _pick(draw, True, False),
        "divisor_override": _pick(draw, None, None, 3),
    }


def _transposed(draw: Draw, shape: Shape) -> Arguments:
    stride = _pick(draw, 1, 2)
    small = min(shape[1:]) <= 12
    return {
        "out_channels": _pick(draw, 8, 16),
        "kernel_size": _pick(draw, 2, 3, 4),
        "stride": stride if small else 1,
        "padding": _pick(draw, 0, 1),
        "output_padding": _pick(draw, 0, 1) if small and stride == 2 else 0,
        "bias": _pick(draw, True, False),
    }


def _resized(draw: Draw, shape: Shape) -> Arguments:
    mode = _pick(draw, "nearest", "bilinear", "nearest-exact")
    corners = {"align_corners": _pick(draw, False, True)} if mode == "bilinear" else {}
    if _pick(draw, True, False):
        most = 2.0 if max(shape[1:]) <= 12 else 1.2
        factor = round(draw(st.floats(0.4, most)), 2)
        if min(shape[1:]) * factor >= 2:
            return {"scale_factor": factor, "mode": mode, **corners}
    return {"size": [draw(st.integers(2, 17)), draw(st.integers(2, 17))], "mode": mode, **corners}


def _padded(draw: Draw, shape: Shape) -> Arguments:
    mode = _pick(draw, "constant", "reflect", "replicate")
    most = min(2, min(shape[1:]) - 1)
    pad = [draw(st.integers(0, most)) for _ in range(4)]
    return {"pad": pad, "mode": mode, **({"value": _number(draw)} if mode == "constant" else {})}


def _reduced(draw: Draw, shape: Shape) -> Arguments:
    return {
        "kind": _pick(draw, "mean", "sum", "amax"),
        "dim": list(_pick(draw, (2, 3), (1,), (2,), (3,), (1, 3))),
    }


def _parts(draw: Draw, shape: Shape) -> Arguments:
    cut = draw(st.integers(1, shape[0] - 1)) if shape[0] > 1 else 0
    return {"cut": cut, "value": _number(draw), "left": _pick(draw, True, False)}


def _split(shape: Shape, cut: int, value: float, left: bool) -> nn.Module:
    def forward(x: Tensor) -> Tensor:
        if not cut:
            return x
        a, b = torch.split(x, [cut, shape[0] - cut], 1)
        return torch.cat([a * value, b.tanh()] if left else [b.sigmoid(), a + value], 1)

    return Step(forward)


def _attention(shape: Shape, heads: int, scale: float) -> nn.Module:
    channels, height, width = shape

    def forward(x: Tensor, wide: nn.Module) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (
            part.reshape(len(x), height * width, heads, channels // heads).transpose(1, 2)
            for part in wide(tokens).chunk(3, -1)
        )
        weights = (scale * (q @ k.transpose(-2, -1))).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(len(x), height * width, channels)
        return x + mixed.transpose(1, 2).reshape(len(x), channels, height, width)

    return Step(forward, nn.Linear(channels, 3 * channels))


class _Mixed(nn.Module):
    """A product with a learnt matrix on the left of the tokens."""

    def __init__(self, shape: Shape, tokens: int) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(tokens, shape[1] * shape[2]) / shape[1])

    def forward(self, x: Tensor) -> Tensor:
        mixed = torch.matmul(self.left, x.flatten(2).transpose(1, 2))
        return mixed.transpose(1, 2).unsqueeze(-1)


class _Scaled(nn.Module):
    """A product and a sum with a number a channel, on a side of choice."""

    def __init__(self, shape: Shape, left: bool) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.randn(1, shape[0], 1, 1))
        self.shift, self.left = nn.Parameter(torch.randn(shape[0], 1, 1)), left

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x + self.shift if self.left else self.shift - x * self.factor


class _Squeezed(nn.Module):
    def __init__(self, shape: Shape, gate: str) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(shape[0], 4, 1), nn.Conv2d(4, shape[0], 1)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        found = self.up(F.relu(self.down(x.mean((2, 3), keepdim=True))))
        return x * POINTWISE[self.gate][1](found)


class _Residual(nn.Module):
    def __init__(self, shape: Shape, act: str) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(shape[0], shape[0], 3, 1, 1, bias=False), nn.BatchNorm2d(shape[0])
        )
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return POINTWISE[self.act][1](x + self.branch(x))


def _layer_norm(shape: Shape, last: bool) -> nn.Module:
    if not last:
        return nn.LayerNorm(list(shape))
    return Step(
        lambda x, norm: norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.LayerNorm(shape[0])
    )


def _moved(shape: Shape, kind: str) -> nn.Module:
    moves: Mapping[str, Callable[[Tensor], Tensor]] = {
        "flip": lambda x: torch.cat([x[:, 1:], x[:, :1]], 1),
        "stride": lambda x: x[:, :, ::2, 1:],
        "stack": lambda x: torch.stack([x, x.tanh()], 2).flatten(1, 2),
        "repeat": lambda x: x.repeat(1, 2, 1, 1),
        "transpose": lambda x: x.transpose(2, 3),
        "select": lambda x: x[:, :, 0].unsqueeze(2) + x,
        "tokens": lambda x: x.flatten(2).softmax(-1).reshape(x.shape),
        "chunk": lambda x: x.chunk(2, 1)[0] * 0.5 if x.shape[1] > 1 else x,
    }
    return Step(moves[kind])


Make = Callable[..., nn.Module]
BLOCKS: Mapping[str, tuple[Callable[[Draw, Shape], Arguments], Make]] = {
    "conv": (_convolution, lambda s, **a: nn.Conv2d(s[0], **a)),
    "conv_act": (
        lambda d, s: {**_convolution(d, s), "act": _pick(d, "relu", "relu6", "hardswish", "silu")},
        lambda s, act, **a: nn.Sequential(
            nn.Conv2d(s[0], **{**a, "bias": False}),
            nn.BatchNorm2d(a["out_channels"]),
            Step(POINTWISE[act][1]),
        ),
    ),
    "transposed": (_transposed, lambda s, **a: nn.ConvTranspose2d(s[0], **a)),
    "max_pool": (_pool, lambda s, **a: nn.MaxPool2d(**a)),
    "avg_pool": (_average, lambda s, **a: nn.AvgPool2d(**a)),
    "adaptive": (
        lambda d, s: {"output_size": [d(st.integers(1, 7)), d(st.integers(1, 7))]},
        lambda s, **a: nn.AdaptiveAvgPool2d(**a),
    ),
    "resize": (_resized, lambda s, **a: Step(lambda x: F.interpolate(x, **a))),
    "pad": (_padded, lambda s, **a: Step(lambda x: F.pad(x, **a))),
    "reduce": (
        _reduced,
        lambda s, kind, dim: Step(lambda x: x - getattr(torch, kind)(x, dim=dim, keepdim=True)),
    ),
    "split": (_parts, _split),
    "attention": (
        lambda d, s: {
            "heads": _pick(d, *(h for h in (1, 2, 4) if s[0] % h == 0)),
            "scale": _number(d, 0.1, 1),
        },
        _attention,
    ),
    "mixed": (lambda d, s: {"tokens": _pick(d, 4, 8)}, _Mixed),
    "scaled": (lambda d, s: {"left": _pick(d, True, False)}, _Scaled),
    "squeeze": (lambda d, s: {"gate": _pick(d, "sigmoid", "hardsigmoid")}, _Squeezed),
    "residual": (lambda d, s: {"act": _pick(d, "relu", "hardswish", "relu6")}, _Residual),
    "prelu": (lambda d, s: {}, lambda s: nn.PReLU(s[0])),
    "batch_norm": (lambda d, s: {}, lambda s: nn.BatchNorm2d(s[0])),
    "layer_norm": (lambda d, s: {"last": _pick(d, True, False)}, _layer_norm),
    "group_norm": (
        lambda d, s: {"groups": _pick(d, *(g for g in (1, 2, 4) if s[0] % g == 0))},
        lambda s, groups: nn.GroupNorm(groups, s[0]),
    ),
    "channel_shuffle": (
        lambda d, s: {"groups": _pick(d, *(g for g in (1, 2, 4) if s[0] % g == 0))},
        lambda s, groups: nn.ChannelShuffle(groups),
    ),
    "pixel_shuffle": (
        lambda d, s: {},
        lambda s: nn.PixelShuffle(2) if s[0] % 4 == 0 and s[1] <= 12 else nn.Identity(),
    ),
    "move": (
        lambda d, s: {
            "kind": _pick(
                d, "flip", "stride", "stack", "repeat", "transpose", "select", "tokens", "chunk"
            )
        },
        _moved,
    ),
}
HEADS = ("mean", "flatten", "tokens")
Described = list[tuple[str, Arguments]]


def made(kind: str, arguments: Arguments, shape: Shape) -> nn.Module:
    """One layer for maps of a shape (C, H, W)."""
    if kind in POINTWISE:
        function = POINTWISE[kind][1]
        return Step(lambda x: function(x, **arguments))
    return BLOCKS[kind][1](shape, **arguments)


@st.composite
def described(draw: Draw) -> Described:
    """A network as names of layers with their arguments."""
    stem = ("conv_act", {
        "out_channels": 16, "kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1,
        "groups": 1, "bias": False, "padding_mode": "zeros",
        "act": _pick(draw, "relu", "hardswish", "relu6"),
    })  # fmt: skip
    found: Described = [stem]
    shape: Shape = (16, SIDE // 2, SIDE // 2)
    for _ in range(draw(st.integers(2, 6))):
        kind = draw(st.sampled_from([*BLOCKS, *BLOCKS, *POINTWISE]))
        arguments = POINTWISE[kind][0](draw) if kind in POINTWISE else BLOCKS[kind][0](draw, shape)
        try:
            with torch.no_grad():
                layer = made(kind, arguments, shape).eval()
                after = tuple(layer(torch.zeros(1, *shape)).shape[1:])
        except RuntimeError:  # nothing is left of the image
            continue
        if len(after) != 3 or min(after) < 1 or np.prod(after) > 40_000:
            continue
        found.append((kind, arguments))
        shape = after  # type: ignore[assignment]
    found.append((draw(st.sampled_from(HEADS)), {}))
    return found


def network(layers: Described, weights_seed: int) -> nn.Module:
    """The network, with weights as of a trained one: its numbers keep their size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights_seed)
        shape: Shape = (3, SIDE, SIDE)
        steps: list[nn.Module] = []
        images = torch.from_numpy(smooth_images(32, 99))
        value = images
        for kind, arguments in layers[:-1]:
            step = made(kind, arguments, shape).train()
            for norm in step.modules():
                if isinstance(norm, nn.BatchNorm2d):
                    norm.momentum = None
                    nn.init.uniform_(norm.weight, 0.5, 1.5)
                    nn.init.normal_(norm.bias, 0, 0.3)
            with torch.no_grad():
                step(value)
                value = step.eval()(value)
            shape = tuple(value.shape[1:])  # type: ignore[assignment]
            steps.append(step)
        steps.append(_head(layers[-1][0], shape))
        with torch.no_grad():
            scores = nn.Sequential(*steps).eval()(images)
            steps.append(Step(lambda x: x))
            last = next(m for m in reversed(list(steps[-2].modules())) if isinstance(m, nn.Linear))
            size = float((scores - scores.mean(0)).std())
            if np.isfinite(size) and size > 0:
                last.weight.mul_(2 / size)
    return nn.Sequential(*steps).eval()


def _head(kind: str, shape: Shape) -> nn.Module:
    channels, height, width = shape
    if kind == "tokens":
        return Step(
            lambda x, a, b: b(a(x.flatten(2).transpose(1, 2)).relu().mean(1)),
            nn.Linear(channels, 16),
            nn.Linear(16, CLASSES),
        )
    if kind == "flatten":
        small = nn.AdaptiveAvgPool2d((min(2, height), min(2, width)))
        wide = channels * min(2, height) * min(2, width)
        return nn.Sequential(small, nn.Flatten(), nn.Linear(wide, CLASSES))
    return Step(lambda x, fc: fc(x.mean((2, 3))), nn.Linear(channels, CLASSES))


def smooth_images(count: int, image_seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Images (count, 3, SIDE, SIDE) with gradients, edges and patches, normalized."""
    rng = np.random.default_rng(image_seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    images = []
    for _ in range(count):
        channels = []
        angle, shift = rng.uniform(0, 6.3), rng.uniform(-0.5, 0.5)
        for _ in range(3):
            plane = rng.uniform(0, 0.6) + rng.uniform(-0.5, 0.5) * x + rng.uniform(-0.5, 0.5) * y
            edge = (np.cos(angle) * x + np.sin(angle) * y + shift) > 0.3
            plane = plane + rng.uniform(-0.4, 0.4) * edge
            top, left = rng.integers(0, SIDE - 8, 2)
            plane[top : top + 8, left : left + 8] += rng.uniform(-0.4, 0.4)
            channels.append(np.clip(plane, 0, 1))
        images.append(channels)
    return ((np.array(images) - 0.45) / 0.225).astype(np.float32)


def sqnr(expected: Any, found: Any) -> float:
    """Power of the spread over images against that of the difference, dB."""
    signal = ((expected - expected.mean(0)) ** 2).mean()
    noise = ((expected - found) ** 2).mean()
    if not np.isfinite(noise):
        return -200.0
    return 200.0 if noise == 0 else float(10 * np.log10(signal / noise)) if signal else -200.0


def judged(module: nn.Module, photos: Path, folder: Path) -> dict[str, Any]:
    """Exports a network everywhere; what was found, and how long it took."""
    from edgekit import registry
    from edgekit.conversion import Exported, Failed
    from edgekit.core import Preprocessing
    from edgekit.models.model import Model

    images = smooth_images(JUDGING_IMAGES, 7)
    with torch.no_grad():
        single = module(torch.from_numpy(images)).double().numpy()
        exact = network_in_double(module)(torch.from_numpy(images).double()).numpy()
    entry: dict[str, Any] = {"exact_db": round(sqnr(exact, single), 1), "files": {}, "found": []}
    if not np.isfinite(exact).all() or (exact - exact.mean(0)).std() < 1e-3:
        entry["skipped"] = "its scores have no spread"
        return entry
    preprocessing = Preprocessing(resize=SIDE, crop=SIDE, mean=(0.45,) * 3, std=(0.225,) * 3)
    model = Model(
        "random", "random", module, SIDE, CLASSES, trained=True, preprocessing=preprocessing
    )
    results, raw = _exported(model, photos, folder)
    unlike: set[str] = set()  # targets whose float file computes something else
    entry["found"].extend({"kind": "raw", **found} for found in raw)
    for result in results:
        if isinstance(result, Failed):
            key, said = f"{result.target} {result.precision}", result.message[:600]
            entry["files"][key] = {"said": said}
            if "-v shows all" in said or result.error.exit_code == 1:
                entry["found"].append({"kind": "raw", "file": key, "said": said})
            continue
        target, precision = result.artifact.target, result.artifact.scheme.precision
        key, gate_db = f"{target} {precision}", round(result.artifact.agreement.sqnr_db, 1)
        found_db = round(_run(registry.target(target), result.path, images, exact), 1)
        accepted = isinstance(result, Exported)
        entry["files"][key] = {"db": found_db, "gate_db": gate_db, "accepted": accepted}
        if entry["exact_db"] >= EXACT_DB and precision == "fp32" and found_db < LEAST_DB["fp32"]:
            unlike.add(target)
        if precision == "fp32" and entry["exact_db"] < EXACT_DB:
            continue
        margin = MARGIN_DB if precision == "int8" else 0.0
        kind = None
        if accepted and (found_db < LEAST_DB[precision] - margin or target in unlike):
            kind = "wrong"
        if not accepted and found_db >= LEAST_DB[precision] + margin:
            kind = "refused"
        if kind:
            entry["found"].append({"kind": kind, "file": key, "db": found_db, "gate_db": gate_db})
    return entry


def _exported(model: Any, photos: Path, folder: Path) -> tuple[list[Any], list[dict[str, str]]]:
    """What becomes of all files of a network; and exceptions that are none of edgekit's."""
    from edgekit import tables
    from edgekit.conversion import export
    from edgekit.errors import EdgekitError
    from edgekit.quantize.integers import Integers

    results: list[Any] = []
    raw = []
    integers = Integers(data=str(photos), images=CALIBRATION_IMAGES)
    targets = list(tables.TARGETS)
    for precision, ranges in (("fp32", None), ("int8", integers)):
        try:
            results += export(model, targets, [precision], out=folder, integers=ranges)
        except EdgekitError as error:
            results += error.results
            if not error.results and error.exit_code != 3:
                raw.append({"file": precision, "said": str(error)[:600]})
        except Exception:
            raw.append({"file": precision, "said": traceback.format_exc()[-1500:]})
    return results, raw


def save_photos(folder: Path) -> None:
    """Images to take ranges from and to verify on, as a folder of two classes."""
    for split, count, images_seed in (("train", CALIBRATION_IMAGES, 1), ("test", TEST_IMAGES, 2)):
        pixels = np.round((smooth_images(count, images_seed) * 0.225 + 0.45) * 255)
        for i, image in enumerate(pixels.transpose(0, 2, 3, 1).astype(np.uint8)):
            place = folder / split / "ab"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{i}.png")


def export_faster() -> None:
    """Leaves out what all exports of a run would repeat.

    A network's int8 file takes the graph of torch.onnx that its fp32 file had, where both are of
    the same code and weights; torch lists its operators once.
    """
    from torch._export import utils

    from edgekit import registry

    materialize = "_materialize_cpp_cia_ops"
    setattr(utils, materialize, functools.cache(getattr(utils, materialize)))
    graphs: Any = vars(registry.target("onnx"))["_graphs"]
    export, last = graphs._export, [("", None)]

    def once(model: nn.Module, example: Tensor) -> Any:
        code = getattr(model, "code", None) or repr(model)
        state = hashlib.sha256(code.encode())
        for name, value in model.state_dict().items():
            state.update(name.encode() + value.numpy().tobytes())
        if last[0][0] != state.hexdigest():
            last[0] = (state.hexdigest(), export(model, example))
        return copy.deepcopy(last[0][1])

    graphs._export = once


def network_in_double(module: nn.Module) -> nn.Module:
    """A copy of a network that computes in float64."""
    return copy.deepcopy(module).double()


def _run(target: Any, path: Path, images: Any, expected: Any) -> float:
    """Agreement of a file, accepted or rejected, with what the network gives, dB."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / path.name.removesuffix(".rejected")
        ending = ".rejected" if path.name.endswith(".rejected") else ""
        main = path.with_name(path.name.removesuffix(".rejected"))
        for file in target.files(main):
            shutil.copy(file.with_name(file.name + ending), plain.with_name(file.name))
        runner = target.open(plain, 1)
        if target.layout == "NHWC":
            images = images.transpose(0, 2, 3, 1)
        outputs = [
            runner.run([np.ascontiguousarray(images[i : i + 1])])[0] for i in range(len(images))
        ]
    return sqnr(expected, np.concatenate(outputs).astype(np.float64))


def entry_of(layers: Described, number: int, photos: Path) -> dict[str, Any]:
    """What becomes of one network, as a line of the record."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            entry = judged(network(layers, number), photos, Path(folder))
        except Exception:
            entry = {"files": {}, "found": [], "skipped": traceback.format_exc()[-600:]}
    entry |= {"number": number, "layers": layers}
    entry["seconds"] = round(time.perf_counter() - begin, 1)
    return entry


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", type=int, help="One network of the record, by its number.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    export_faster()
    options.out.mkdir(parents=True, exist_ok=True)
    photos = options.out / "photos"
    save_photos(photos)
    record = options.out / f"{options.seed}.jsonl"
    lines = record.read_text().splitlines() if record.exists() else []
    if options.only is not None:
        layers = json.loads(lines[options.only])["layers"]
        print(json.dumps(entry_of(layers, options.only, photos), indent=1))
        return
    number, known = -1, set()

    @seed(options.seed)
    @settings(
        max_examples=4 * options.count, phases=[Phase.generate], deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(described())
    def each(layers: Described) -> None:
        nonlocal number
        kinds = tuple(kind for kind, _ in layers)
        # Hypothesis tries the neighbours of what it has drawn: other numbers in the same layers.
        if kinds in known or len(known) == options.count:
            return
        known.add(kinds)
        number += 1
        if number < len(lines):
            return
        entry = entry_of(layers, number, photos)
        with record.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        for finding in entry["found"]:
            print(number, json.dumps(finding)[:400], flush=True)

    each()
    summary(record)


def summary(record: Path) -> None:
    """Counts of what was found in a run."""
    entries = [json.loads(line) for line in record.read_text().splitlines()]
    kinds = [finding["kind"] for entry in entries for finding in entry["found"]]
    files = [one for entry in entries for one in entry["files"].values()]
    print(
        f"{len(entries)} networks, {len(files)} files asked for, "
        f"{sum('db' in one for one in files)} written and run, "
        f"{sum('skipped' in entry for entry in entries)} networks without a spread; "
        + ", ".join(f"{kind}: {kinds.count(kind)}" for kind in ("wrong", "refused", "raw"))
    )


if __name__ == "__main__":
    sys.exit(main())
