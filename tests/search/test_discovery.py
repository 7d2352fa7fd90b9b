"""Groups of networks that are not of the zoo: found, checked, taken out, and opened again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import CommandLine
from torch import nn
from torch.nn import functional as F

from edgekit.core import ModelSpec
from edgekit.data.preprocess import default
from edgekit.errors import CheckpointError, ModelError
from edgekit.models import build, find_spec
from edgekit.models.count import layers
from edgekit.models.model import Model
from edgekit.models.source import open_model
from edgekit.models.weights import Checkpoint, build_with, save_checkpoint
from edgekit.models.widths import named_axes
from edgekit.search.costs import CountedMacs, CountedSize
from edgekit.search.groups import (
    CRITERIA,
    Group,
    checked,
    groups_of,
    importances,
    resized,
    shrunk,
    widths_of,
    zeroed,
)
from edgekit.search.parts import module_of, parts_of

pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed")

from edgekit.search.discovery import discovered

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
NETWORKS = Path(__file__).with_name("foreign_networks.py")


def opened(name: str) -> Model:
    """A network whose batch norms do something, with its groups."""
    model = open_model(f"foreign_networks:{name}", resolution=32)
    torch.manual_seed(0)
    for norm in model.module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            norm.momentum = None
    with torch.no_grad():
        model.module.train()(torch.randn(16, 3, 32, 32))
    model.module.eval()
    return discovered(model)


def spec_of(model: Model) -> ModelSpec:
    assert model.spec is not None
    return model.spec


def found(model: Model) -> dict[str, Group]:
    return {group.name: group for group in checked(spec_of(model), model.module, IMAGES)}


def halved(model: Model) -> dict[str, list[int]]:
    order = torch.Generator().manual_seed(3)
    return {
        group.name: sorted(torch.randperm(group.channels, generator=order)[::2].tolist())
        for group in found(model).values()
        if group.frozen is None
    }


def test_residual_depthwise_and_squeezed_channels_are_found() -> None:
    groups = found(opened("Residual"))
    assert {name: group.channels for name, group in groups.items()} == {
        "stem": 16, "blocks.0.expand": 32, "blocks.0.se.a": 8, "blocks.1.expand": 48,
        "blocks.1.se.a": 12, "head": 32,
    }  # fmt: skip
    assert all(group.frozen is None for group in groups.values())
    # What is added together goes together, into the flattened image at the end, too.
    assert {"stem", "blocks.0.project", "blocks.1.project", "head"} <= set(groups["stem"].layers)
    assert set(groups["blocks.0.expand"].layers) == {
        f"blocks.0.{name}" for name in ("expand", "n1", "dw", "n2", "se.a", "se.b", "project")
    }


def test_concatenated_channels_are_found() -> None:
    groups = found(opened("Concat"))
    assert {name: (group.channels, group.frozen) for name, group in groups.items()} == {
        "a": (16, None),
        "b": (24, None),
    }


def test_grouped_convolutions_and_shuffles_are_frozen_and_named() -> None:
    groups = found(opened("Grouped"))
    for name in ("stem", "one"):
        assert "one, a convolution in 4 groups" in str(groups[name].frozen)
    # Torch-Pruning knows nothing of the shuffle: only the check tells.
    assert "taking channels out differs from zeroing them" in str(groups["two"].frozen)
    assert groups["free"].frozen is groups["last"].frozen is None


def test_halves_that_are_shuffled_are_frozen_and_what_lies_between_is_not() -> None:
    groups = found(opened("Shuffled"))
    free = {name for name, group in groups.items() if group.frozen is None}
    assert free == {"a", "head"}


def test_other_kinds_of_layers_are_frozen_and_named() -> None:
    groups = found(opened("Gated"))
    assert "norm, a GroupNorm" in str(groups["plus"].frozen)
    assert "does not run without some of them" in str(groups["gate"].frozen)
    assert groups["stem"].frozen is None


def test_a_network_that_cannot_be_traced_is_named() -> None:
    with pytest.raises(ModelError, match="groups of channels of 'foreign_networks:Untraceable'"):
        opened("Untraceable")


def test_they_are_the_named_widths_of_a_network_of_the_zoo() -> None:
    model = opened("mobilenetv2")
    own = find_spec("mobilenetv2@0.35", classes=5, resolution=32)
    expected = {(group.channels, frozenset(group.layers)) for group in groups_of(own, build(own))}
    groups = found(model).values()
    assert {(group.channels, frozenset(group.layers)) for group in groups} == expected
    assert all(group.frozen is None for group in groups)


@pytest.mark.parametrize("name", ["Residual", "Concat", "Shuffled", "mobilenetv2"])
def test_a_shrunk_network_is_a_spec_like_any_other(name: str) -> None:
    model = opened(name)
    kept = halved(model)
    spec, network = shrunk(spec_of(model), model.module, kept)
    with torch.no_grad():
        torch.testing.assert_close(
            network(IMAGES), zeroed(model.module, kept)(IMAGES), rtol=1e-4, atol=1e-5
        )
    # Out of the spec alone, as a checkpoint does it, and once more.
    again = build_with(spec, network.state_dict(), "here").eval()
    with torch.no_grad():
        assert torch.equal(again(IMAGES), network(IMAGES))
    assert {name: widths_of(spec)[name] for name in kept} == {n: len(k) for n, k in kept.items()}
    smallest, least = shrunk(spec, again, {name: [0, 2] for name in kept})
    assert least(IMAGES).shape == (2, model.classes)
    assert resized(spec, dict.fromkeys(kept, 2)) == smallest
    for one, module in ((spec, network), (smallest, least)):
        assert CountedMacs().of(one) == sum(layer.macs for layer in layers(module, 32))
        assert CountedSize().of(one) == sum(v.numel() for v in module.state_dict().values())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_channel_without_effect_goes_first(criterion: str) -> None:
    model = opened("Residual")
    idle = 5
    with torch.no_grad():
        for path in ("blocks.0.expand", "blocks.0.n1", "blocks.0.dw", "blocks.0.n2"):
            for tensor in model.module.get_submodule(path).parameters():
                tensor[idle] = 0
    labels = torch.arange(2)
    values = importances(model.module, criterion, lambda net: F.cross_entropy(net(IMAGES), labels))
    for group in found(model).values():
        assert values[group.name].shape == (group.channels,)
        assert torch.isfinite(values[group.name]).all()
    if criterion != "l2":  # there the filter of the squeeze-excite counts, too
        assert values["blocks.0.expand"].argmin() == idle


def test_parts_are_the_layers_and_run_by_themselves() -> None:
    spec = spec_of(opened("Residual"))
    parts = parts_of(spec)
    assert [part.name for part in parts][:3] == ["stem", "blocks.0.expand", "blocks.0.dw"]
    for part in parts:
        assert module_of(spec, part.name)(torch.zeros(2, *part.shape)).ndim == 2
    keys = {part.name: part.key for part in parts}
    changed = {part.name for part in parts_of(resized(spec, {"blocks.1.se.a": 4}))
               if part.key != keys[part.name]}  # fmt: skip
    assert changed == {"blocks.1.se.a", "blocks.1.se.b"}


def test_rows_that_do_not_fit_the_code_are_refused() -> None:
    model = opened("Concat")
    spec, state = spec_of(model), model.module.state_dict()
    for change in (
        {"start": 30}, {"of": 400}, {"channels": 17}, {"channels": 0}, {"layer": "gone"},
        {"side": "up"}, {"channels": "x"}, {"repeat": -1},
    ):  # fmt: skip
        rows = ({**spec.rows[0], **change}, *spec.rows[1:])
        with pytest.raises(CheckpointError, match="its code makes another network"):
            build_with(dataclasses.replace(spec, rows=rows), state, "file.pt")
    twice = dataclasses.replace(spec, rows=(spec.rows[0], *spec.rows))
    with pytest.raises(CheckpointError, match="groups overlap"):
        build_with(twice, state, "file.pt")


def test_a_spec_alone_runs_no_code_that_was_not_named() -> None:
    spec = dataclasses.replace(spec_of(opened("Concat")), source="antigravity:nothing")
    with pytest.raises(CheckpointError, match="code of your own: name it, too"):
        build_with(spec, {}, "file.pt")


def test_groups_beyond_the_widths_have_their_axes_left() -> None:
    model = opened("Gated")
    for path, tensor, axes in named_axes(model.module):
        assert len(axes) == tensor.ndim, path


SEARCH = (
    "-t", "tflite", "--tune-steps", 1, "--finish-epochs", 0, "--no-distill", "--reduction", 0.2,
    "--workers", 1, "--selection-images", 100,
)  # fmt: skip


def test_a_network_of_ones_own_is_searched_and_opened_by_every_command(
    cli: CommandLine, run: CommandLine, tmp_path: Path
) -> None:
    shutil.copy(NETWORKS, tmp_path / "own_module.py")
    train = ("train", "own_module:Residual", "--data", "digits", "--resolution", 32, "--epochs", 1)
    assert run(*train, "-o", "run").code == 0
    refused = run("search", "run", "--budget", "macs=0.8x", *SEARCH, "-o", "s")
    assert refused.code == 3
    assert "name it, too, as 'own_module:Residual=run/model.pt'" in refused.message
    done = run(
        "search", "own_module:Residual=run", "--budget", "macs=0.8x", *SEARCH, "-o", "s", "--json"
    )
    assert done.code == 0, done.err
    last = done.json["final"]
    assert last["macs"] <= 0.8 * done.json["baseline"]["macs"]
    assert done.json["frozen"] == {}
    refused = cli("describe", "s/model.pt")
    assert refused.code == 3
    assert "name it, too, as 'own_module:Residual=s/model.pt'" in refused.message
    described = run("describe", "own_module:Residual=s/model.pt", "--json").json
    assert (described["macs"], described["params"]) == (last["macs"], last["params"])
    weights = ("--weights", "s/model.pt", "--data", "digits", "--json")
    by_option = run("evaluate", "own_module:Residual", *weights).json
    assert by_option["top1"] == pytest.approx(done.json["test_top1"]["after"])
    export = ("export", "own_module:Residual=s/model.pt", "-t", "openvino", "-o", "out", "--json")
    (artifact,) = run(*export).json["artifacts"]
    assert artifact["agreement"]["passed"]
    contract = json.loads(Path(tmp_path, artifact["contract"]).read_text())
    assert contract["spec"] is None  # nobody could build it without the code
    other = run("describe", "own_module:Concat", "--weights", "s/model.pt")
    assert "it is a checkpoint of 'own_module:Residual', adapted" in other.message


def test_without_the_extra_the_line_that_installs_it_is_told(
    cli: CommandLine, tmp_path: Path
) -> None:
    shutil.copy(NETWORKS, tmp_path / "own.py")
    model = opened("Concat")
    file = tmp_path / "model.pt"
    preprocessing = default(32)
    labels = tuple("0123456789")
    save_checkpoint(
        file,
        Checkpoint("own:Concat", None, model.module.state_dict(), labels, preprocessing, "digits"),
    )
    (tmp_path / "torch_pruning.py").write_text(
        "raise ModuleNotFoundError('gone', name='torch_pruning')"
    )
    result = cli("search", "own:Concat=model.pt", "--budget", "macs=0.8x", *SEARCH, "-o", "s")
    assert result.code == 5
    assert "pip install 'edgekit[search]'" in result.message


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_network_of_a_library_is_opened_by_its_path_alone(
    library: str, run: CommandLine, tmp_path: Path
) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed", exc_type=Exception)
    model = discovered(open_model(f"{library}:resnet18", resolution=32, classes=10))
    kept = {
        group.name: range(group.channels // 2) for group in groups_of(spec_of(model), model.module)
    }
    spec, network = shrunk(spec_of(model), model.module, kept)
    file, labels = tmp_path / "model.pt", tuple("0123456789")
    save_checkpoint(
        file, Checkpoint("adapted", spec, network.state_dict(), labels, default(32), "digits")
    )
    params = sum(p.numel() for p in network.parameters())
    assert run("describe", "model.pt", "--json").json["params"] == params


@pytest.mark.parametrize(
    "name",
    ["split_equally", "split_unequally", "split_negative_dimension", "split_by_slices",
     "split_by_narrow"],
)  # fmt: skip
def test_parts_of_a_layer_are_found_or_frozen_with_the_reason(name: str) -> None:
    model = opened(name)
    assert model.spec is not None
    found = checked(model.spec, model.module.eval(), IMAGES)
    assert {layer for group in found for layer in group.layers} >= {"stem.0", "wide.0"}
    assert any(group.frozen is None for group in found)
    for group in found:
        assert group.frozen is None or len(group.frozen) > 20
