"""What says what a network takes goes with every command that opens one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from any_networks import EXAMPLES, SIDE, Siamese
from command_line import CommandLine
from damage import contracts

from edgekit import tables

TARGETS = sorted(tables.TARGETS)
IMAGE = (1, 3, SIDE, SIDE)


@pytest.fixture(autouse=True)
def _paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that measure find the networks; nothing is kept of what they measure."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=":")


def words(name: str) -> tuple[str, ...]:
    example = EXAMPLES[name]
    given = (
        ("--resolution", str(SIDE)) if example is None else ("--example", f"any_networks:{example}")
    )
    return f"any_networks:{name}", *given


def exported(run: CommandLine, *line: str) -> dict[str, str]:
    """Paths by target."""
    result = run("export", *line, "-t", ",".join(TARGETS), "-o", "out", "--overwrite", "--json")
    assert result.code == 0, result.err
    return {one["target"]: one["path"] for one in result.json["artifacts"]}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_network_is_described(name: str, run: CommandLine) -> None:
    result = run("describe", *words(name), "--json")
    assert result.code == 0, result.err
    totals = result.json["totals"]
    assert totals["params"] == result.json["params"] > 0
    assert result.json["macs"] == sum(layer["macs"] for layer in result.json["layers"]) > 0
    assert totals["peak_activation_bytes"] > 0
    assert run("describe", *words(name)).code == 0


def test_both_images_of_a_network_count(run: CommandLine) -> None:
    found = run("describe", *words("siamese"), "--json").json
    one = run("describe", "any_networks:embedding", "--resolution", SIDE, "--json").json
    assert found["macs"] == 2 * one["macs"]
    # Both lie in memory while the first one is looked at.
    both = 2 * 4 * 3 * SIDE * SIDE
    assert found["totals"]["peak_activation_bytes"] > both
    assert found["totals"]["receptive_field_px"] == one["totals"]["receptive_field_px"] == 7
    assert found["resolution"] is None


def test_networks_and_files_are_timed_on_the_same_inputs(run: CommandLine) -> None:
    files = list(exported(run, *words("words")).values())
    np.savez("ids.npz", ids=np.array([[1, 2, 3, 4, 5, 19]]))
    line = ("--example", "ids.npz", "--seconds", "1", "--energy", "estimate", "--json")
    timed = run("profile", "any_networks:words", *files, *line)
    assert timed.code == 0, timed.err
    network, *others = timed.json["measurements"]
    assert network["energy"]["mj_per_inference"] > 0
    assert {one["environment"]["input"] for one in (network, *others)} == {"1x6 int64"}
    compared = run(
        "compare", "any_networks:words", files[0], "--example", "ids.npz", "--seconds", 1, "--json"
    )
    assert compared.code == 0, compared.err


def test_images_of_an_example_have_the_axes_of_the_file(run: CommandLine) -> None:
    files = list(exported(run, *words("siamese")).values())
    np.savez("pair.npz", left=np.ones(IMAGE), right=np.zeros(IMAGE))  # float64
    timed = run("profile", *files, "--example", "pair.npz", "--seconds", "1", "--json")
    assert timed.code == 0, timed.err
    twice = run("profile", *files, "--example", "pair.npz", "--batch", "2", "--seconds", "1")
    assert twice.code in (0, 3), twice.err  # a file of fixed sizes says so


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"left": IMAGE, "right": (1, 3, 8, 8)}, "has the shape (1, 3, 8, 8): expected"),
        ({"left": IMAGE}, "has no array 'right' (it has 'left'): expected one for each input"),
    ],
)
def test_an_example_that_does_not_fit_a_file(
    arrays: dict[str, tuple[int, ...]], message: str, run: CommandLine
) -> None:
    path = exported(run, *words("siamese"))["onnx"]
    np.savez("bad.npz", **{k: np.ones(v, np.float32) for k, v in arrays.items()})
    other = exported(run, *words("words"))["tflite"]
    for line in (("profile", path), ("compare", path, other)):
        refused = run(*line, "--example", "bad.npz", "--seconds", "1")
        assert refused.code == 3
        assert message in refused.message
    for line in (("profile", path, "--example", "any_networks:two_images"),):
        refused = run(*line, "--seconds", "1")
        assert refused.code == 2
        assert "expected a .npz file of its inputs" in refused.message


def test_an_example_that_does_not_fit_a_network(run: CommandLine) -> None:
    np.savez("bad.npz", left=np.ones(IMAGE, np.float32), right=np.ones((1, 5, 8, 8), np.float32))
    path = exported(run, *words("siamese"))["onnx"]
    network = "any_networks:siamese"
    lines = (
        ("describe", network),
        ("profile", network, "--seconds", "1"),
        ("compare", network, network, "--seconds", "1"),
        ("export", network, "-t", "onnx"),
        ("verify", path, "--against", network),
    )
    for line in lines:
        refused = run(*line, "--example", "bad.npz")
        assert refused.code == 3, line
        assert "cannot take an input of shape (1, 3, 32, 32), float32 and shape (1, 5," in (
            refused.message
        )
        without = run(*line)
        if line[0] != "verify":  # the contract knows what the network takes
            assert without.code == 3
            assert "give an example of its inputs with --example" in without.message


def test_numbers_of_an_example_that_are_none(run: CommandLine) -> None:
    image = np.ones(IMAGE, np.float32)
    np.savez("bad.npz", left=image, right=np.where(image > 0, np.nan, image))
    path = exported(run, *words("siamese"))["onnx"]
    network = "any_networks:siamese"
    lines = (
        ("describe", network),
        ("profile", network, "--seconds", "1"),
        ("profile", path, "--seconds", "1"),
        ("export", network, "-t", "onnx"),
        ("verify", path, "--against", network),
    )
    for line in lines:
        refused = run(*line, "--example", "bad.npz")
        assert refused.code == 3, line
        assert "right" in refused.message
        assert "not finite" in refused.message


def test_outputs_and_task_go_with_networks(run: CommandLine) -> None:
    keypoints = ("any_networks:keypoints", "--resolution", str(SIDE))
    found = run("describe", *keypoints, "--outputs", "heat", "--json")
    assert [one["name"] for one in found.json["interface"]["outputs"]] == ["heat"]
    tensors = run("describe", "any_networks:embedding", "--resolution", SIDE, "--task", "tensors")
    assert tensors.code == 0, tensors.err
    assert "one inference, float32" in tensors.out
    timed = run("profile", *keypoints, "--outputs", "heat", "--seconds", "1")
    assert timed.code == 0, timed.err
    path = exported(run, *keypoints)["onnx"]
    for line in (("profile", path), ("describe", path)):
        for option, value in (("--outputs", "heat"), ("--task", "tensors")):
            refused = run(*line, option, value)
            assert refused.code == 2
            assert option in refused.message
    for command in ("describe", "profile"):
        refused = run(command, *keypoints, "--outputs", "best")
        assert refused.code == 2
        assert "has no such output; it has heat" in refused.message


def test_an_untrained_network_needs_nothing_that_the_contract_knows(
    run: CommandLine, tmp_path: Path
) -> None:
    """Its batch norms are set from noise like the example's, on export and when verified."""
    (tmp_path / "fresh.py").write_text(
        "import torch\n"
        "from any_networks import Siamese\n"
        "def network():\n    return Siamese()\n"
        "def bright():\n    return 90 + 30 * torch.randn(1, 3, 32, 32), torch.rand(1, 3, 32, 32)\n",
        encoding="utf-8",
    )
    assert Siamese().training  # nobody has settled it
    for path in exported(run, "fresh:network", "--example", "fresh:bright").values():
        result = run("verify", path, "--against", "fresh:network", "--json")
        assert result.code == 0, result.err
        assert result.json["agreement"]["sqnr_db"] > 80


def test_a_contract_that_does_not_tell_the_integers_asks_for_them(run: CommandLine) -> None:
    """As those were that did not have them yet."""
    path = exported(run, *words("words"))["onnx"]
    data = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    for one in data["inputs"]:
        del one["draw"]
    contracts.sign(Path(path), data)
    line = ("verify", path, "--against", "any_networks:words")
    refused = run(*line)
    assert refused.code == 2
    assert f"input 'ids' of {path} takes int64" in refused.message
    assert run(*line, "--example", "any_networks:numbers_of_words").code == 0


def test_a_program_of_open_sizes_is_opened_at_those_of_the_file(run: CommandLine) -> None:
    from any_networks import siamese, unet

    size = torch.export.Dim("h", min=4, max=256)
    for name, network, inputs in (
        ("unet", unet(), (torch.randn(1, 3, 64, 64),)),
        ("siamese", siamese(), (torch.randn(1, 3, 64, 64), torch.randn(1, 3, 64, 64))),
    ):
        open_ = tuple({2: 2 * size, 3: 2 * torch.export.Dim("w", min=4, max=256)} for _ in inputs)
        program = torch.export.export(network, inputs, dynamic_shapes=open_)
        torch.export.save(program, f"{name}.pt2")
    np.savez("pair.npz", left=np.ones((1, 3, 40, 48)), right=np.ones((1, 3, 40, 48)))
    for line in (("unet.pt2", "--resolution", "96"), ("siamese.pt2", "--example", "pair.npz")):
        for path in exported(run, *line).values():
            result = run("verify", path, "--against", line[0], "--json")
            assert result.code == 0, result.err


def test_arrays_are_no_images_of_a_classifier(run: CommandLine) -> None:
    Path("arrays").mkdir()
    for i in range(20):
        np.savez(f"arrays/{i}.npz", x=np.ones((1, 3, 32, 32), np.float32))
    network = ("mobilenetv1@0.25", "--resolution", "32")
    result = run("export", *network, "-t", "onnx", "-o", "out", "--json")
    path = result.json["artifacts"][0]["path"]
    lines = (
        ("export", *network, "-t", "onnx", "--data", "arrays/0.npz", "-o", "other"),
        ("export", *network, "-t", "onnx", "-p", "int8", "--calibration", "arrays", "-o", "other"),
        ("verify", path, "--against", network[0], "--data", "arrays"),
        ("evaluate", path, "--data", "arrays"),
    )
    for line in lines:
        refused = run(*line)
        assert refused.code == 3, line
        assert "holds arrays, which are data of networks of the task tensors" in refused.message


def test_a_contract_of_a_later_schema_is_refused_by_every_command(run: CommandLine) -> None:
    path = exported(run, *words("siamese"))["onnx"]
    beside = Path(f"{path}.json")
    data = json.loads(beside.read_text(encoding="utf-8"))
    beside.write_text(json.dumps({**data, "schema": "edgekit.artifact/3"}), encoding="utf-8")
    lines = (
        ("describe", path),
        ("verify", path, "--against", *words("siamese")),
        ("profile", path, "--seconds", "1"),
        ("compare", path, path, "--seconds", "1"),
        ("predict", path, "a.png"),
        ("evaluate", path, "--data", "digits"),
    )
    for line in lines:
        refused = run(*line)
        assert refused.code == 3, line
        assert "edgekit.artifact/3" in refused.message


def test_names_that_collide_are_refused_by_every_command_that_opens_a_network(
    run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "alike.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, x):\n"
        "        y = x.mean((2, 3))\n"
        "        return {'a/b': y, 'a b': 2 * y}\n",
        encoding="utf-8",
    )
    network = ("alike:Net", "--size", "16x24")
    for line in (("describe",), ("export", "-t", "onnx"), ("profile", "--seconds", "1")):
        refused = run(line[0], *network, *line[1:])
        assert refused.code == 3, line
        assert "would be called 'a_b' in a file" in refused.message


def test_outputs_may_be_called_like_parameters(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        torch.manual_seed(0)\n"
        "        self.scale, self.conv = nn.Parameter(torch.randn(3)), nn.Conv2d(3, 4, 3)\n"
        "    def forward(self, x):\n"
        "        y = x.mean((2, 3)) * self.scale\n"
        "        return {'scale': y, 'conv.weight': self.conv(x), 'conv.bias': y + 1}\n",
        encoding="utf-8",
    )
    for path in exported(run, "named:Net", "--size", "16").values():
        result = run("verify", path, "--against", "named:Net", "--json")
        assert result.code == 0, result.err
        assert [one["name"] for one in result.json["agreement"]["outputs"]] == [
            "scale", "conv.weight", "conv.bias",
        ]  # fmt: skip


def test_damaged_files_of_arrays_are_left_out_where_that_is_asked_for(run: CommandLine) -> None:
    rng = np.random.default_rng(0)
    Path("pairs").mkdir()
    for i in range(20):
        left, right = rng.standard_normal((2, *IMAGE)).astype(np.float32)
        np.savez(f"pairs/{i:02}.npz", left=left, right=right)
    Path("pairs/07.npz").write_bytes(b"PK\x03\x04 no archive")
    line = ("export", *words("siamese"), "-t", "onnx", "-p", "int8", "-o", "out")
    data = ("--data", "pairs", "--calibration", "pairs")
    refused = run(*line, *data)
    assert refused.code == 3
    assert "pairs/07.npz is no file of arrays, or is damaged" in refused.message
    result = run(*line, *data, "--skip-corrupt", "--json")
    assert result.code == 0, result.err
    assert result.json["skipped"] == ["pairs/07.npz"]
    checked = run(
        "verify", result.json["artifacts"][0]["path"], "--against", *words("siamese"),
        "--data", "pairs", "--skip-corrupt", "--json",
    )  # fmt: skip
    assert checked.code == 0, checked.err
    assert checked.json["skipped"] == ["pairs/07.npz"]
