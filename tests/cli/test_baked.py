"""``export --bake-preprocessing``: files that take bytes of pixels and prepare them themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import CommandLine
from PIL import Image
from ssh_server import SshServer

from edgekit import registry, tables
from edgekit.contract import load
from edgekit.core import Artifact, Convertible
from edgekit.data import open_source
from edgekit.data.preprocess import normalize, resize_and_crop
from edgekit.data.stored import real_values

BAKED = "--bake-preprocessing"
TARGETS = sorted(tables.TARGETS)
COUNT = 12


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


def exported(run: CommandLine, *line: object) -> dict[tuple[str, str], Path]:
    result = run("export", *line, "--json")
    assert result.code == 0, result.err
    found = result.json["artifacts"]
    return {(one["target"], one["precision"]): Path(one["path"]) for one in found}


def pixels_for(contract: Artifact) -> np.ndarray:
    """Images of the network's size, (n, H, W, C)."""
    digits, p = open_source("digits"), contract.baked or contract.preprocessing
    assert p is not None
    return np.stack([resize_and_crop(digits.image("test", i), p) for i in range(COUNT)])


def scores(path: Path, inputs: np.ndarray) -> np.ndarray:
    """What a file gives for inputs, one by one."""
    contract = load(path)
    runner = registry.target(contract.target).open(path)
    outputs = [runner.run([one[None]])[0] for one in inputs]
    return np.concatenate([real_values(one, contract.outputs[0]) for one in outputs])


def sqnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    signal = np.square(wanted - wanted.mean(0)).mean()
    return float(10 * np.log10(signal / max(np.square(wanted - found).mean(), 1e-300)))


@pytest.mark.parametrize(
    "precisions",
    [
        pytest.param(("fp32", "fp16", "int8"), id="common"),
        pytest.param(("int8-mixed", "int8-dynamic", "w8a16"), id="other", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("target", TARGETS)
def test_a_baked_file_gives_on_pixels_what_the_other_gives_on_what_they_become(
    target: str, precisions: tuple[str, ...], short_network: Path, run: CommandLine
) -> None:
    names = [name for name in precisions if name in registry.target(target).schemes]
    line = (short_network, "-t", target, "-p", ",".join(names), "--calibration-images", "32")
    baked = exported(run, *line, BAKED, "-o", "baked")
    plain = exported(run, *line, "-o", "plain")
    least = {"fp32": 90.0, "fp16": 50.0}
    for (_, precision), path in baked.items():
        contract, other = load(path), load(plain[target, precision])
        assert contract.agreement is not None
        assert other.agreement is not None
        assert contract.agreement.sqnr_db > other.agreement.sqnr_db - 4, precision
        (spec,), left = contract.inputs, contract.preprocessing
        assert (spec.dtype, spec.layout, spec.shape) == ("uint8", "NHWC", (1, 32, 32, 3))
        assert (spec.scale, spec.zero_point, spec.role) == (None, None, "image")
        assert left is not None
        assert (left.scale, left.mean, left.std) == (1.0, (0.0,) * 3, (1.0,) * 3)
        assert (left.layout, left.channel_order) == ("NHWC", "RGB")
        assert contract.baked is not None
        assert other.preprocessing is not None
        assert (contract.baked.mean, contract.baked.std) == (
            other.preprocessing.mean, other.preprocessing.std,
        )  # fmt: skip
        assert other.baked is None
        assert other.agreement.top1_match is not None
        assert contract.agreement.top1_match is not None
        assert contract.agreement.top1_match > other.agreement.top1_match - 0.03, precision
        pixels = pixels_for(contract)
        prepared = normalize(pixels, other.preprocessing)
        reached = sqnr_db(scores(plain[target, precision], prepared), scores(path, pixels))
        assert reached > least.get(precision, 15.0), (precision, reached)


@pytest.mark.parametrize("target", TARGETS)
def test_every_command_takes_such_a_file(
    target: str, short_network: Path, run: CommandLine, tmp_path: Path
) -> None:
    ((_, path),) = exported(run, short_network, "-t", target, BAKED, "-o", "baked").items()
    ((_, plain),) = exported(run, short_network, "-t", target, "-o", "plain").items()
    checked = run("verify", path, "--against", short_network, "--json")
    assert checked.code == 0, checked.err
    assert checked.json["agreement"]["sqnr_db"] > 90
    inside = run("verify", path, "--against", short_network, "--embedded", "--per-layer", "--json")
    assert inside.code == 0, inside.err
    figures = [run("evaluate", one, "--data", "digits", "--json").json for one in (path, plain)]
    assert figures[0]["top1"] == figures[1]["top1"]
    Image.fromarray(open_source("digits").image("test", 0)).resize((50, 40)).save("a.png")
    for one, other in zip(
        *(run("predict", one, "a.png", "--json").json["predictions"] for one in (path, plain)),
        strict=True,
    ):
        for label, same in zip(one["labels"], other["labels"], strict=True):
            assert label["index"] == same["index"]
            assert label["probability"] == pytest.approx(same["probability"], abs=1e-3)
    timed = run("profile", path, "--seconds", "1", "--json")
    assert timed.code == 0, timed.err
    assert timed.json["measurements"][0]["environment"]["input"] == "1x32x32x3 uint8"
    turns = run("compare", path, plain, "--seconds", "1", "--json")
    assert turns.code == 0, turns.err
    told = run("describe", path)
    assert "bytes of pixels" in told.out
    assert "(v x 0.00392157 - " in told.out
    assert run("bundle", path, "-o", "all.zip").code == 0
    assert run("verify", "all.zip", "--against", short_network).code == 0


NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Sequential):
    def __init__(self, channels=3):
        super().__init__(
            nn.Conv2d(channels, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 24, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(24, 7),
        )

def seeded(*given):
    torch.manual_seed(0)
    net = Net(*given).eval()
    net[1].running_mean.uniform_(-1, 1)
    net[1].num_batches_tracked += 1
    return net

def colour(): return seeded()
def grey(): return seeded(1)
def clear(): return seeded(4)

class Branches(nn.Module):
    # A name that is taken, and a branch on sizes, which no symbolic trace follows.
    def __init__(self):
        super().__init__()
        self.net, self.pixels = seeded(), nn.Linear(7, 5)

    def forward(self, x):
        if x.shape[-1] > 8 and x.mean().item() < 1e9 if not torch.compiler.is_exporting() else True:
            x = F.pad(x, (1, 1, 1, 1))
        return self.pixels(self.net(x))

def embedding(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2))
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of networks whose images are others."""
    more = "\n".join(
        f"def {name}_image(): return torch.zeros(1, {count}, 20, 24)"
        for name, count in (("grey", 1), ("clear", 4), ("colour", 3))
    )
    (tmp_path / "odd.py").write_text(f"{NETWORKS}\n{more}\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("name", "channels", "stated"),
    [
        ("grey", "L", ("--mean", "0.4", "--std", "0.25")),
        ("clear", "RGBA", ("--mean", "0.5,0.4,0.3,0", "--std", "0.2,0.3,0.4,1")),
        ("colour", "RGB", ("--mean", "0,0,0", "--std", "1,1,1", "--scale", "1")),
        ("colour", "BGR", ("--mean", "104,117,123", "--std", "50,60,70", "--scale", "1")),
    ],
)
def test_images_of_all_channels_and_orders(
    name: str, channels: str, stated: tuple[str, ...], run: CommandLine
) -> None:
    line = (f"odd:{name}", "--example", f"odd:{name}_image", "--channel-order", channels, *stated)
    made = exported(run, *line, "-t", ",".join(TARGETS), BAKED, "-o", "made")
    for path in made.values():
        contract = load(path)
        assert contract.preprocessing is not None
        assert contract.baked is not None
        assert contract.baked.channel_order == channels
        assert contract.preprocessing.channel_order == channels.replace("BGR", "RGB")
        assert contract.inputs[0].shape == (1, 20, 24, len(channels.replace("L", "1")))
        assert contract.agreement is not None
        assert contract.agreement.sqnr_db > 90
        checked = run("verify", path, "--against", f"odd:{name}", "--json")
        assert checked.code == 0, checked.err


@pytest.mark.usefixtures("odd")
def test_programs_and_networks_that_no_trace_follows(run: CommandLine) -> None:
    import odd

    example = (torch.rand(1, 3, 20, 24),)
    torch.export.save(torch.export.export(odd.colour(), example), "net.pt2")
    for name in ("net.pt2", "odd:Branches"):
        given = () if name.endswith("2") else ("--size", "20x24")
        line = (name, *given, "--mean", "0.5", "--std", "0.3", "-t", ",".join(TARGETS))
        for path in exported(run, *line, BAKED, "-o", "made", "--overwrite").values():
            agreement = load(path).agreement
            assert agreement is not None
            assert agreement.sqnr_db > 90


@pytest.mark.usefixtures("odd")
def test_what_cannot_be_baked_says_why_and_what_to_do(
    short_network: Path, run: CommandLine
) -> None:
    line = ("-t", "all", BAKED, "-o", "out")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((short_network, "-p", "int8", "--io", "int8"), "leave --io out"),
        (("odd:embedding", "--size", "16"), "is of the task tensors; leave it out, or put what"),
        (("odd:colour", "--size", "16"), "give --mean and --std"),
    ]
    for words, message in cases:
        refused = run("export", *words, *line)
        assert refused.code == 2
        assert refused.message.startswith(BAKED)
        assert message in refused.message
    assert not Path("out").exists()


def test_any_batch_goes_with_it(short_network: Path, run: CommandLine) -> None:
    open_ = [name for name in TARGETS if registry.target(name).dynamic_batch]
    line = (short_network, "-t", ",".join(open_), BAKED, "--dynamic", "batch", "-o", "made")
    for (target, _), path in exported(run, *line).items():
        runner = registry.target(target).open(path, batch=3)
        (found,) = runner.run([np.zeros((3, 32, 32, 3), np.uint8)])
        assert found.shape == (3, 10)


def test_a_ladder_and_its_last_rung_are_of_baked_files(
    short_network: Path, run: CommandLine
) -> None:
    target = TARGETS[-1]
    line = (short_network, "-t", target, "-p", "int8", "--max-drop", "0.01", BAKED, "-o", "made")
    result = run("export", *line, "--qat-epochs", "1", "--json")
    assert result.code in (0, 4)
    both = [*result.json["artifacts"], *result.json["rejected"]]
    (one,) = both
    name = one["contract"]
    contract = json.loads(Path(name).read_text())
    contract = contract.get("artifact", contract)
    assert contract["inputs"][0]["dtype"] == "uint8"
    assert one["agreement"]["sqnr_db"] > 10
    assert all(rung["error"] is None for rung in one["ladder"])


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=pytest.mark.slow)])
def test_all_converters_write_such_files(
    precision: str, short_network: Path, run: CommandLine
) -> None:
    targets = [(name, registry.target(name)) for name in TARGETS]
    found = [(n, one) for n, t in targets if isinstance(t, Convertible) for one in t.converters[1:]]
    assert found
    for target, converter in found:
        line = (short_network, "-t", target, "-p", precision, "--converter", converter)
        ranges = ("--calibration-images", "32") if precision == "int8" else ()
        both = [
            load(exported(run, *line, *ranges, *more)[target, precision])
            for more in ((BAKED, "-o", f"baked-{converter}"), ("-o", f"plain-{converter}"))
        ]
        baked, plain = (contract.agreement for contract in both)
        assert baked is not None
        assert plain is not None
        assert both[0].inputs[0].dtype == "uint8"
        assert baked.sqnr_db > plain.sqnr_db - 4


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")
@pytest.mark.parametrize("target", TARGETS)
def test_a_device_takes_such_a_file(
    target: str, pi: SshServer, baked_files: Path, short_network: Path, run: CommandLine
) -> None:
    (path,) = (baked_files / "int8").glob(f"*{registry.target(target).suffix}")
    Image.fromarray(open_source("digits").image("test", 0)).resize((50, 40)).save("a.png")
    for line in (
        ("verify", path, "--against", short_network),
        ("evaluate", path, "--data", "digits"),
        ("predict", path, "a.png"),
    ):
        here, there = (run(*line, "--json", *more) for more in ((), ("--device", "pi")))
        assert (here.code, there.code) == (0, 0), there.err
        assert {**here.json, "device": None} == {**there.json, "device": None}
    quick = ("--seconds", "1", "--precision-goal", "50", "--energy", "off")
    timed = run("profile", path, *quick, "--device", "pi", "--json")
    assert timed.code == 0, timed.err
    (entry,) = timed.json["measurements"]
    assert (entry["device"], entry["environment"]["input"]) == ("pi", "1x32x32x3 uint8")
    assert pi.commands
