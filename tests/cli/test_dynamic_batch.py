"""``export --dynamic batch``: files that take any number of inputs at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from any_networks import EXAMPLES, SIDE
from command_line import CommandLine
from PIL import Image

from edgekit import registry, tables
from edgekit.conversion import building

OPEN = sorted(name for name in tables.TARGETS if registry.target(name).dynamic_batch)
FIXED = sorted(set(tables.TARGETS).difference(OPEN))
SMALL = ("mobilenetv1@0.25", "--size", "32")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


def exported(run: CommandLine, *line: object) -> dict[tuple[str, str], str]:
    more = ("-t", ",".join(OPEN), "--dynamic", "batch", "-o", "out", "--json")
    result = run("export", *line, *more)
    assert result.code == 0, result.err
    return {(one["target"], one["precision"]): one["path"] for one in result.json["artifacts"]}


def outputs(target: str, path: str, batch: int, inputs: list[np.ndarray]) -> list[np.ndarray]:
    runner = registry.target(target).open(Path(path), batch=batch)
    assert [spec.shape[0] for spec in runner.tensors()[0]] == [batch] * len(inputs)
    return [np.asarray(one) for one in runner.run(inputs)]


def test_files_of_a_classifier_take_any_batch(run: CommandLine, short_network: Path) -> None:
    precisions = "fp32,fp16,int8"
    files = exported(run, short_network, "-p", precisions, "--calibration", "digits")
    assert len(files) == 3 * len(OPEN)
    images = np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype(np.float32)
    for (target, _), path in files.items():
        (together,) = outputs(target, path, 5, [images])
        singles = [outputs(target, path, 1, [image[None]])[0] for image in images]
        assert together.shape == (5, 10)
        np.testing.assert_allclose(together, np.concatenate(singles), atol=0.02, rtol=0.02)
        assert run("describe", path, "--json").json["artifact"]["dynamic_batch"]
    path = files[OPEN[0], "fp32"]
    checked = run("verify", path, "--against", short_network, "--json")
    assert checked.code == 0, checked.err
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save("a.png")
    shown = run("predict", path, "a.png", "--json")
    assert shown.code == 0, shown.err
    for (target, precision), path in files.items():
        if precision != "fp16":
            timed = run("profile", path, "--batch", "4", "--seconds", "1", "--json")
            assert timed.code == 0, (target, timed.err)
            (one,) = timed.json["measurements"]
            assert one["environment"]["input"].startswith("4x3x32x32")


@pytest.mark.parametrize("name", ["detector", "siamese", "words", "records", "embedding"])
def test_files_of_any_network_take_any_batch(name: str, run: CommandLine) -> None:
    example = EXAMPLES[name]
    given = ("--size", SIDE) if example is None else ("--example", f"any_networks:{example}")
    for (target, _), path in exported(run, f"any_networks:{name}", *given).items():
        checked = run("verify", path, "--against", f"any_networks:{name}", "--json")
        assert checked.code == 0, checked.err
        specs = registry.target(target).open(Path(path)).tensors()[0]
        inputs = [np.ones((4, *spec.shape[1:]), spec.dtype) for spec in specs]
        for found in outputs(target, path, 4, inputs):
            assert len(found) == 4
            np.testing.assert_allclose(found, np.broadcast_to(found[:1], found.shape), atol=1e-4)


def test_targets_and_precisions_that_cannot_say_why(run: CommandLine) -> None:
    for target in FIXED:
        refused = run("export", *SMALL, "-t", target, "--dynamic", "batch", "-o", "out")
        assert refused.code == 2
        assert f"files of target {target} have fixed sizes" in refused.message
        assert OPEN[0] in refused.message
    dynamic = [name for name in OPEN if "int8-dynamic" in registry.target(name).schemes]
    for target in dynamic:
        line = ("export", *SMALL, "-t", target, "-p", "int8-dynamic", "--dynamic", "batch")
        refused = run(*line, "-o", "out")
        assert refused.code == 2
        assert "takes ranges from all images of a batch together" in refused.message
    assert not Path("out").exists()


NETWORKS = """
import torch
from torch import nn

class Mixes(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) + x.flatten().softmax(0).square().sum()

class Averages(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) + x.mean(0, keepdim=True).mean((2, 3))

class Whole(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)), x.mean()
"""


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("Mixes", "3 samples at once"),
        ("Averages", "gives other outputs for 3 samples at once than one by one"),
        ("Whole", "has the shape (): expected a first size of 1, which is that of the batch"),
    ],
)
def test_networks_that_are_of_one_sample_are_refused(
    network: str, message: str, run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "of_one.py").write_text(NETWORKS, encoding="utf-8")
    for target in OPEN:
        line = ("export", f"of_one:{network}", "--size", "8", "-t", target, "--dynamic", "batch")
        refused = run(*line, "-o", "out")
        assert refused.code == 3
        assert message in refused.message
        assert "--dynamic batch" in refused.message
    assert not list(Path().glob("out/*"))


def test_a_file_that_mixes_samples_fails_the_gate(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mixing.py").write_text(NETWORKS, encoding="utf-8")
    with monkeypatch.context() as unchecked:
        unchecked.setattr(building, "check_batch", lambda *_, **__: None)
        files = exported(run, "mixing:Averages", "--size", "8")
    for path in files.values():
        failed = run("verify", path, "--against", "mixing:Averages")
        assert failed.code == 4
        assert "gives other outputs for 3 samples at once than one by one" in failed.message
