"""Several processes on the CPU, as `torchrun` starts them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgekit.data import open_source
from edgekit.errors import UsageError
from edgekit.models.weights import load_checkpoint
from edgekit.training import TrainingOptions
from edgekit.training.options import resolve


def _torchrun(
    env: dict[str, str], cwd: Path, *arguments: str, processes: int = 2
) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher.append(f"--nproc-per-node={processes}")
    return subprocess.run(
        [*launcher, *arguments],
        cwd=cwd,
        env={**env, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_two_processes_end_with_the_weights_that_one_gets(
    tmp_path: Path, package_env: dict[str, str]
) -> None:
    script = Path(__file__).with_name("plain_network.py")
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        done = _torchrun(package_env, tmp_path, str(script), str(folder), processes=processes)
        assert done.returncode == 0, done.stderr
    alone, first, second = (
        torch.load(tmp_path / name, weights_only=True) for name in ("1/0.pt", "2/0.pt", "2/1.pt")
    )
    assert first["steps"] == second["steps"] == alone["steps"]
    for name, tensor in alone["state"].items():
        assert torch.equal(first["state"][name], second["state"][name])
        torch.testing.assert_close(first["state"][name], tensor, rtol=1e-4, atol=1e-5)


def test_a_run_of_two_processes_has_one_folder_and_speaks_once(
    tmp_path: Path, package_env: dict[str, str]
) -> None:
    command = ["train", "mobilenetv1@0.25", "--data", "synthetic", "--resolution", "32"]
    options = ["--epochs", "2", "--threads", "1", "-o", "run"]
    done = _torchrun(package_env, tmp_path, "-m", "edgekit", *command, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("weakest classes first") == 1
    assert done.stderr.count("the smallest class") == 1
    assert sum(line.startswith("epoch ") for line in done.stderr.splitlines()) == 2
    assert "Warning" not in done.stderr
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"model.pt", "metrics.jsonl", "curves.png", "confusions.png", "options.json"}
    *epochs, test = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert [line["epoch"] for line in epochs] == [1, 2]
    assert test["n"] == 16  # every image once, whichever process scored it
    checkpoint = load_checkpoint(tmp_path / "run")
    assert all(bool(tensor.isfinite().all()) for tensor in checkpoint.state.values())


def test_a_batch_that_has_no_two_images_for_each_process_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "16")
    with pytest.raises(UsageError, match="in each of 16 processes"):
        resolve(TrainingOptions(), open_source("synthetic"), 32, 32)
