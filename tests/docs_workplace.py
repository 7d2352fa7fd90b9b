"""The folder that the pages of the documentation talk about: runs, files, images and networks.

A training of two epochs, so that it is there in a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

NETS = '''
"""Networks of somebody's own."""

import torch
from torch import nn


def conv(channels, out, stride=1):
    layer = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU())


def make_net(channels=3):
    body = [conv(channels, 16, 2), conv(16, 32, 2), conv(32, 32), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(32, 10))


make = net = make_net


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = conv(3, 16), conv(16, 32, 2)
        self.up, self.c = nn.ConvTranspose2d(32, 16, 2, 2), conv(32, 16)
        self.out = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        a = self.a(x)
        return self.out(self.c(torch.cat([self.up(self.b(a)), a], 1)))


def unet():
    torch.manual_seed(0)
    return Unet()


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(3, 8, 2), conv(8, 16, 2))
        self.boxes, self.scores = nn.Conv2d(16, 4, 1), nn.Conv2d(16, 3, 1)

    def forward(self, x):
        y = self.body(x)
        return self.boxes(y), self.scores(y).sigmoid()


make_detector = Detector


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(3, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, a, b):
        return (self.body(a) * self.body(b)).sum(1, keepdim=True)


make_siamese = Siamese


def make_grey():
    return make_net(1)


def grey_image():
    return torch.randn(1, 1, 32, 32)
'''

IMAGES = 24  # of each class


def build(folder: Path) -> None:
    """Fills a folder with all that the pages name."""
    (folder / "own.py").write_text(NETS, encoding="utf-8")
    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    for package, module in (("mypackage", "nets"), ("package", "module")):
        (folder / package).mkdir()
        (folder / package / "__init__.py").touch()
        text = NETS + "\n\ncallable = make_net\n"
        (folder / package / f"{module}.py").write_text(text, encoding="utf-8")
    _images(folder)
    _tensors(folder)
    small = ("--epochs", "2", "--resolution", "32")
    short = ("--tune-steps", "1", "--finish-epochs", "0", "--reduction", "0.4")
    for line in (
        ("train", "mobilenetv3-small", "--data", "digits", *small, "-o", "runs/digits"),
        ("export", "runs/digits", "-t", "all", "-p", "fp32,fp16,int8", "-o", "exported"),
        ("search", "runs/digits", "--budget", "macs=0.8x", *short, "-o", "runs/small"),
        ("profile", "exported/mobilenetv3-small-fp32.tflite", "--seconds", "1"),
    ):
        done = edgekit(folder, *line)
        assert done.returncode == 0, done.stderr
    (folder / "runs" / "small").rename(folder / "runs" / "found")
    _copies(folder)


def edgekit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a folder, with a home of its own."""
    paths = [str(Path(__file__).parents[1]), str(folder), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ, "HOME": str(folder / "home"), "EDGEKIT_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "100",
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments],
        cwd=folder, env=environment, text=True, capture_output=True, check=False, timeout=900,
    )  # fmt: skip


def _images(folder: Path) -> None:
    from edgekit.data import open_source

    source = open_source("digits")
    labels = [source.label("train", i) for i in range(source.size("train"))]
    for digit in range(10):
        numbers = [i for i, label in enumerate(labels) if label == digit][:IMAGES]
        own = folder / "photos" / str(digit)
        own.mkdir(parents=True)
        for number in numbers:
            Image.fromarray(source.image("train", number)).save(own / f"{number}.png")
    shutil.copytree(folder / "photos", folder / "path" / "to" / "folder")
    for name in ("photo.png", "other.jpg", "digit.png"):
        Image.fromarray(source.image("test", 0)).save(folder / name)
    (folder / "names.txt").write_text("".join(f"{i}\n" for i in range(10)), encoding="utf-8")
    (folder / "LICENSE").write_text("of nobody\n", encoding="utf-8")


def _tensors(folder: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, 3, 32, 32)).astype(np.float32)
    np.savez(folder / "example.npz", x=image)
    np.savez(folder / "pair.npz", a=image, b=image)
    names: dict[str, Any] = {}
    exec(compile(NETS, "nets.py", "exec"), names)
    torch.save(names["make_net"]().state_dict(), folder / "net.pt")
    (folder / "frames").mkdir()
    for i in range(24):
        phase = np.linspace(0, 6 + i % 5, 32)
        wave = np.sin(phase[None, None, :, None] + phase[None, None, None, :] + i)
        wave = np.repeat(wave, 3, axis=1) + 0.1 * rng.standard_normal((1, 3, 32, 32))
        np.savez(folder / "frames" / f"{i:02}.npz", x=wave.astype(np.float32))


def _copies(folder: Path) -> None:
    """The same files under the other names that pages have for theirs."""
    shutil.copy(folder / "runs" / "digits" / "model.pt", folder / "short.pt")
    (folder / "edgekit-demo").mkdir()
    shutil.copy(folder / "digit.png", folder / "edgekit-demo")
    for name, file in (
        ("a.tflite", "mobilenetv3-small-fp32.tflite"),
        ("b.onnx", "mobilenetv3-small-fp32.onnx"),
        ("new.tflite", "mobilenetv3-small-int8.tflite"),
        ("released.tflite", "mobilenetv3-small-fp32.tflite"),
        ("edgekit-demo/mobilenetv3-small-fp32.tflite", "mobilenetv3-small-fp32.tflite"),
        ("edgekit-demo/mobilenetv3-small-int8.tflite", "mobilenetv3-small-int8.tflite"),
    ):
        for end in ("", ".json"):
            shutil.copy(folder / "exported" / f"{file}{end}", folder / f"{name}{end}")
