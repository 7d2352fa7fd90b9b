"""Signals reach Python whatever OpenVINO did before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Runners go in the order in which they came, and so does what NNCF makes; then signals come.
SCRIPT = """
import dataclasses, faulthandler, gc, os, pathlib, signal, sys
import torch
from edgekit import registry
from edgekit.core import FLOAT_SCHEMES, INT8, of_image
from edgekit.native_output import captured

if sys.argv[1] == "another handler":
    faulthandler.enable()  # has an alternate stack of its own
target = registry.target("openvino")
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(),
                          torch.nn.Linear(8 * 36, 4)).eval()
image, path = torch.rand(1, 3, 8, 8), pathlib.Path("net.xml")
with captured():
    target.export(net, of_image(image), path, FLOAT_SCHEMES["fp32"])
    first, second = target.open(path, 1), target.open(path, 1)
    del first
    gc.collect()
    scheme = dataclasses.replace(INT8, calibration="minmax", forms={"bias": "accurate"})
    target.export(net, of_image(image), path, scheme, [[image.numpy()]] * 4)
    third = target.open(path, 1)
    del second
    gc.collect()
    del third
    gc.collect()
came = []
signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
os.kill(os.getpid(), signal.SIGUSR1)
print("came", len(came))
"""


@pytest.mark.parametrize("kind", ["no handler", "another handler"])
def test_a_signal_is_handled_after_files_were_closed_in_any_order(
    kind: str, package_env: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, kind],
        cwd=tmp_path,
        env=package_env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["came", "1"]
