"""Signals reach Python whatever OpenVINO did before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit import registry
from edgekit.core import FLOAT_SCHEMES, of_image
from edgekit.isolation import open_isolated, runner
from edgekit.native_output import captured

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


def test_files_run_in_forks_of_a_process_that_ran_some_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a search does, which exports its networks and then scores their files."""
    monkeypatch.setattr(runner, "_SILENCE_S", 60.0)
    target, path = registry.target("openvino"), tmp_path / "net.xml"
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten()).eval()
    images = [np.ones((1, 3, 8, 8), np.float32)]
    with captured():
        target.export(net, of_image(torch.rand(1, 3, 8, 8)), path, FLOAT_SCHEMES["fp32"])
        for threads in (1, None, 1):
            expected = target.open(path, threads).run(images)
            found = open_isolated(target, path, 1).run(images)
            assert np.allclose(found[0], expected[0], atol=1e-5)
