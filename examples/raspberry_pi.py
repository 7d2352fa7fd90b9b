"""A network of your own, trained here, measured and verified on a Raspberry Pi.

    edgekit devices add pi ssh://pi@raspberrypi.local
    python examples/raspberry_pi.py --device pi --data photos

``--data`` is a folder with a sub-folder for each class. Without ``--device`` the files run on this
machine. The Raspberry Pi needs Python 3.8 or later with NumPy and a runtime (`edgekit devices check
pi` says what is missing).
"""

from __future__ import annotations

import argparse

from torch import Tensor, nn

import edgekit
from edgekit.measure.statistics import summary


class Block(nn.Module):
    """A depthwise and a pointwise convolution, with a way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        changed: Tensor = self.pointwise(self.norm(self.depthwise(x)).relu())
        return x + changed


def network(classes: int) -> nn.Module:
    """A small classifier; put yours here."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), Block(32),
        nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), Block(64),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes),
    )  # fmt: skip


def main() -> None:
    """Trains, exports for the device, and asks the device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="host")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", default="raspberry-pi")
    given = parser.parse_args()

    net = network(given.classes)
    run = edgekit.train(
        net, given.data, epochs=given.epochs, resolution=given.resolution, out=f"{given.out}/run"
    )
    print(f"{run.top1:.2%} of the test images are right in PyTorch")

    # Integers are written for the processor of the device, which is asked what it is.
    files = edgekit.export(
        net, "tflite,onnx", ["fp32", "int8"], weights=run, out=given.out, name="net",
        device=given.device,
    )  # fmt: skip

    # Everything from here on runs on the device.
    for file in files:
        agreement = edgekit.verify(file, net, weights=run, device=given.device)
        right = edgekit.evaluate(file, given.data, device=given.device)
        print(f"{file.path.name}: {agreement.agreement.sqnr_db:.1f} dB, {right.top1:.2%} right")
    measured = edgekit.profile([*files], device=given.device, seconds=given.seconds)
    for one in measured.measurements:
        print(f"{one.artifact}: {summary(one.blocks).p50_ms:.3f} ms")


if __name__ == "__main__":
    main()
