"""Operators with arguments that change their result: files compute with them, or there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import FLOAT_SCHEMES, of_image
from edgekit.native_output import captured

LEAST_DB = 90.0

OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "bicubic by a factor": lambda x: F.interpolate(x, scale_factor=1.3, mode="bicubic"),
    "bicubic, corners": lambda x: F.interpolate(x, (9, 7), mode="bicubic", align_corners=True),
    "bilinear by half of an odd size": lambda x: F.interpolate(
        x[..., :5], scale_factor=0.5, mode="bilinear"
    ),
    "bilinear by a factor": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "bilinear, corners": lambda x: F.interpolate(
        x, scale_factor=1.7, mode="bilinear", align_corners=True
    ),
    "nearest by a factor": lambda x: F.interpolate(x, scale_factor=1.55),
    "nearest and exact, both by a factor": lambda x: F.interpolate(
        F.interpolate(x, scale_factor=0.66), scale_factor=1.96, mode="nearest-exact"
    ),
    "area": lambda x: F.interpolate(x, (4, 3), mode="area"),
    "elu": lambda x: F.elu(x, 0.7),
    "celu": lambda x: F.celu(x, 0.6),
    "threshold": lambda x: F.threshold(x, 0.3, -1.0),
    "hardshrink": lambda x: F.hardshrink(x, 0.4),
    "softshrink": lambda x: F.softshrink(x, 0.4),
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "hardtanh": lambda x: F.hardtanh(x, -0.2, 0.7),
    "softplus": lambda x: F.softplus(x, 0.7, 2.0),
    "leaky": lambda x: F.leaky_relu(x, 0.4),
    "variance": lambda x: x.var((2, 3), keepdim=True) * x,
    "variance, biased": lambda x: x.var((2, 3), correction=0, keepdim=True) * x,
    "variance, corrected": lambda x: torch.var(x, (2, 3), correction=5, keepdim=True) * x,
    "deviation, corrected": lambda x: torch.std(x, 1, correction=2, keepdim=True) * x,
    "variance and mean, corrected": lambda x: torch.add(
        *torch.var_mean(x, (2, 3), correction=5, keepdim=True)
    ) * x,
    "deviation and mean, corrected": lambda x: torch.add(
        *torch.std_mean(x, 1, correction=2, keepdim=True)
    ) * x,
    "deviation": lambda x: x.std(1, keepdim=True) * x,
    "norm of order 1": lambda x: x.norm(1, dim=1, keepdim=True) * x,
    "norm of order 3": lambda x: torch.linalg.vector_norm(x, 3, dim=1, keepdim=True) * x,
    "largest": lambda x: torch.linalg.vector_norm(x, float("inf"), dim=1, keepdim=True) * x,
    "normalized": lambda x: F.normalize(x, p=1, dim=1),
    "floored quotient": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "decimals": lambda x: torch.round(x, decimals=1),
    "tens": lambda x: torch.round(x * 100, decimals=-1),
    "remainder": lambda x: torch.remainder(x, 0.7),
    "sum with a factor": lambda x: torch.add(x, x * x, alpha=0.3),
    "difference with a factor": lambda x: torch.rsub(x, 2.0, alpha=3.0),
    "product with a factor": lambda x: torch.addcmul(x, x, x, value=0.3),
    "quotient with a factor": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.3),
    "between": lambda x: torch.lerp(x, x * x, 0.3),
    "max, dilated": lambda x: F.max_pool2d(x, 2, 1, 1, dilation=2),
    "max, ceil": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average, ceil": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average, ceil, no padding": lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
    "average, ceil, one axis": lambda x: F.avg_pool2d(x, (4, 2), (3, 1), (2, 0), ceil_mode=True),
    "average, ceil, not counting": lambda x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    "sum along an axis": lambda x: x.cumsum(2),
    "log of exponentials": lambda x: x.logsumexp(1, keepdim=True) * x,
    "turned": lambda x: x.flip(2),
    "rolled": lambda x: x.roll((1, -2), (2, 3)),
    "local response": lambda x: F.local_response_norm(x, 3, alpha=0.5, beta=0.6, k=1.5),
    "replicated": lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
    "cut and padded": lambda x: F.pad(x, (-1, 2, 1, -2), value=0.3),
    "gated": lambda x: F.glu(x, 1),
    "instance norm": lambda x: F.instance_norm(x, eps=0.3),
    "group norm": lambda x: F.group_norm(x, 2, eps=0.3),
    "layer norm": lambda x: F.layer_norm(x, [6, 5], eps=0.3),
    "the largest two": lambda x: x.topk(2, 1).values,
    "transposed": lambda x: F.conv_transpose2d(
        x, torch.ones(4, 2, 3, 3) * 0.3, stride=2, padding=1, output_padding=1, groups=2,
        dilation=2,
    ),
    "unshuffled": lambda x: F.pixel_unshuffle(x[..., :4], 2),
    "logit": lambda x: torch.logit(x.sigmoid(), eps=0.2),
    "lower triangle": lambda x: x.tril(-1),
    "attention, causal": lambda x: F.scaled_dot_product_attention(
        x, x, x, is_causal=True, scale=0.3
    ),
    "attention of five axes": lambda x: F.scaled_dot_product_attention(
        x.reshape(1, 2, 2, 6, 5), x.reshape(1, 2, 2, 6, 5)[:, 1:], x.reshape(1, 2, 2, 6, 5) + 1,
        scale=0.3,
    ),
    "attention of five axes, masked": lambda x: F.scaled_dot_product_attention(
        x.reshape(1, 2, 2, 6, 5), x.reshape(1, 2, 2, 6, 5), x.reshape(1, 2, 2, 6, 5) + 1,
        x.reshape(1, 2, 2, 6, 5)[..., :1] * torch.linspace(-1, 1, 6),
    ),
    "attention of three axes": lambda x: F.scaled_dot_product_attention(
        x[0], x[0] + 1, x[0], torch.linspace(-1, 1, 36).reshape(6, 6)
    )[None],
    "rms norm": lambda x: F.rms_norm(x, [5], eps=0.2),
}  # fmt: skip


class Operators(nn.Module):
    """Each behind a number of its own, so that none can stand for another."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [OPERATORS[n](x * (1 + i / 64)).flatten(1) for i, n in enumerate(self.names)], 1
        )


def written(target: str, names: list[str], path: Path) -> dict[str, float]:
    """Signal to noise of each operator in one file, in dB."""
    model, format_ = Operators(names).eval(), registry.target(target)
    image = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), captured():
        parts = [OPERATORS[n](image * (1 + i / 64)).flatten() for i, n in enumerate(names)]
        format_.export(model, of_image(image), path, FLOAT_SCHEMES["fp32"])
        found = np.array(format_.open(path, 1).run([image.numpy()])[0]).ravel()
    pieces = np.split(found, np.cumsum([len(part) for part in parts])[:-1])
    noise = [float(((p.numpy() - q) ** 2).mean()) for p, q in zip(parts, pieces, strict=True)]
    power = [float((part**2).mean()) for part in parts]
    return {
        name: 10 * np.log10(p / max(n, 1e-30))
        for name, p, n in zip(names, power, noise, strict=True)
    }


# By target, what it has no rule for.
REFUSED = {
    "onnx": (),
    "openvino": ("quotient with a factor", "hardshrink", "logit", "softshrink", "threshold"),
}


@pytest.mark.parametrize("target", REFUSED)  # tflite: test_tflite_arguments.py
def test_arguments_count(target: str, tmp_path: Path) -> None:
    names = [name for name in OPERATORS if name not in REFUSED[target]]
    found = written(target, names, tmp_path / f"net{registry.target(target).suffix}")
    assert not {name: db for name, db in found.items() if db < LEAST_DB}


def test_what_has_no_rule_is_refused(tmp_path: Path) -> None:
    for target, names in REFUSED.items():
        for name in names:
            with pytest.raises(Exception, match="No conversion rule found for operations"):
                written(target, [name], tmp_path / "net.xml")
