"""Rewrites against the network as it is written, in turns: docs/measurements/int8-forms.md.

``scalars``: MobileNetV2 with the normalization of its images and a learned scale behind every
projection, without and with ``fold-scalars``; ``shuffles``: networks with channel shuffles, without
and with ``order-channels`` or ``order-groups``; ``squeeze``: squeeze-excite of ONNX files as
convolutions and as products of matrices.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from edgekit import registry, tables
from edgekit.core import Quantizing, of_image
from edgekit.core.forms import chosen_forms
from edgekit.devices.device import HOST
from edgekit.lowering import lower
from edgekit.lowering.fold_batchnorm import LOWERING as FOLD_BATCHNORM
from edgekit.measure.comparing import compare
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject
from edgekit.models import build, find_spec
from edgekit.models.blocks import stabilize
from edgekit.native_output import captured

sys.path[:0] = [str(Path(__file__).parents[1])]

from small_examples import singly  # noqa: E402

PRECISIONS = ("fp32", "int8")
SECONDS = 10.0
SHUFFLES = (("shufflenetv2", "onnx"), ("shufflenetv2", "openvino"), ("shufflenetv1-g3", "openvino"))


class Scaled(nn.Module):
    """A layer and a learned scale of its channels."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.gamma = layer, nn.Parameter(torch.rand(width, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.layer(x) * self.gamma
        return scaled


class Normalized(nn.Module):
    """MobileNetV2 that normalizes its images itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = build(find_spec("mobilenetv2", resolution=224))
        self.mean, self.std = (
            nn.Buffer(torch.tensor(values).reshape(1, 3, 1, 1))
            for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        for path, layer in list(self.net.named_modules()):
            if path.endswith(".project"):
                self.net.set_submodule(path, Scaled(layer, layer.norm.num_features))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.net((x - self.mean) / self.std)
        return scores


def network(name: str) -> nn.Module:
    """One whose batch norms have seen noise, so that no number is a denormal."""
    model = Normalized() if name == "scaled" else build(find_spec(name, resolution=224))
    stabilize(model)
    torch.manual_seed(0)
    update_bn([torch.randn(8, 3, 224, 224)], model)
    return model.eval()


def write(model: nn.Module, target: str, precision: str, path: Path, **forms: str) -> Subject:
    """A file, without contract and verification."""
    plug = registry.target(target)
    assert isinstance(plug, Quantizing)
    forms = {**chosen_forms(plug.choices, precision, HOST.isa()), **forms}
    scheme = dataclasses.replace(plug.schemes[precision], forms=forms)
    images = torch.randn(16, 1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    turned = images if plug.layout == "NCHW" else images.permute(0, 1, 3, 4, 2).contiguous()
    path = path.with_suffix(plug.suffix)
    with captured():
        plug.export(
            copy.deepcopy(model), of_image(images[0]), path, scheme, singly(list(turned.numpy()))
        )
    return Subject(str(path))


def show(name: str, target: str, precision: str, one: Subject, other: Subject) -> None:
    """Prints a line: latency of one over that of the other."""
    found = compare(one, other, Effort(SECONDS, 0.005)).ratio
    print(
        f"| {name} | {target} | {precision} | {found.ratio:.3f} | {found.ci95[0]:.3f} to "
        f"{found.ci95[1]:.3f} |",
        flush=True,
    )


def scalars(folder: Path) -> None:
    """Without `fold-scalars` over with it."""
    model, image = network("scaled"), torch.randn(1, 3, 224, 224)
    for target in tables.TARGETS:
        for precision in PRECISIONS:
            scheme = registry.target(target).schemes[precision]
            given = FOLD_BATCHNORM.rewrite(model, (image,))
            folded, _ = lower(model, (image,), registry.target(target), scheme)
            one = write(given, target, precision, folder / "given")
            show("mobilenetv2", target, precision, one,
                 write(folded, target, precision, folder / "folded"))  # fmt: skip


def shuffles(folder: Path) -> None:
    """Without the rewrite of a target that takes channel shuffles away, over with it."""
    image = torch.randn(1, 3, 224, 224)
    for name, target in SHUFFLES:
        model, plug = network(name), registry.target(target)
        given = FOLD_BATCHNORM.rewrite(model, (image,))
        for precision in PRECISIONS:
            ordered, _ = lower(model, (image,), plug, plug.schemes[precision])
            one = write(given, target, precision, folder / "given")
            show(name, target, precision, one, write(ordered, target, precision, folder / "new"))


def squeeze(folder: Path) -> None:
    """Convolutions over products of matrices."""
    for name in ("mobilenetv3-small", "efficientnet-b0"):
        model = FOLD_BATCHNORM.rewrite(network(name), (torch.randn(1, 3, 224, 224),))
        for precision in PRECISIONS:
            one, other = (
                write(model, "onnx", precision, folder / form, squeeze=form)
                for form in ("conv", "matmul")
            )
            show(name, "onnx", precision, one, other)


PARTS = {"scalars": scalars, "shuffles": shuffles, "squeeze": squeeze}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    for part in parser.parse_args().parts:
        print(f"\n{part}\n\n| network | target | precision | ratio | interval |")
        print(f"|{'---|' * 5}", flush=True)
        with tempfile.TemporaryDirectory() as name:
            PARTS[part](Path(name))
