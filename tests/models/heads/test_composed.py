"""Every head on backbones of the zoo: names, shapes, sizes, checkpoints."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from edgekit import registry, tables
from edgekit.errors import CheckpointError, EdgekitError, UnknownNameError, UsageError
from edgekit.models import build, find_spec
from edgekit.models.composed import compose, fill_backbone
from edgekit.models.foreign import TIMM_BLOCKS
from edgekit.models.heads.taps import Backbone
from edgekit.models.source import open_model
from edgekit.models.weights import Checkpoint, save_checkpoint

HEADS = tuple(tables.HEADS)
SMALL = "mobilenetv3-small@0.5"
BACKBONES = tuple(entry.variants[0] for entry in tables.FAMILIES.values())


@pytest.mark.parametrize("head", HEADS)
def test_a_head_gives_what_it_names_in_both_modes(head: str) -> None:
    model = open_model(f"{SMALL}+{head}", resolution=(96, 128), classes=3)
    named = [(spec.name, spec.shape) for spec in model.interface.outputs]
    assert tuple(name for name, _ in named) == registry.head(head).outputs
    images = torch.randn(2, 3, 96, 128)
    for module in (model.module, model.module.train()):
        outputs = module(images)
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        assert all(part.shape[0] == 2 and bool(part.isfinite().all()) for part in parts)
    assert all(shape[0] == 1 for _, shape in named)
    sum(part.square().sum() for part in parts).backward()
    without = [name for name, own in model.module.named_parameters() if own.grad is None]
    assert not without
    assert all(name.startswith("backbone.") for name in _names(model.module, "stem", "blocks"))


def _names(module: torch.nn.Module, *parts: str) -> list[str]:
    return [name for name in module.state_dict() if any(f"{part}." in name for part in parts)]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_any_backbone_has_maps_of_the_strides_that_it_says(backbone: str) -> None:
    taps = Backbone(find_spec(backbone)).eval()
    with torch.no_grad():
        last = taps.maps(torch.zeros(1, 3, 97, 128))
        blocks = taps.maps(torch.zeros(1, 3, 97, 128), blocks=taps.strides)
    assert max(taps.strides) == 32
    for maps, channels in ((last, taps.channels), (blocks, taps.block_channels)):
        assert {s: m.shape[1] for s, m in maps.items()} == channels
        assert {s: tuple(m.shape[2:]) for s, m in maps.items()} == {
            s: (-(-97 // s), 128 // s) for s in channels
        }


def test_mobilenetv3_is_tapped_where_its_paper_says() -> None:
    """Section 6.3: the expansion of the block that steps to 32, and the layer before the pool."""
    taps = Backbone(find_spec("mobilenetv3-large")).eval()
    assert (taps.channels[16], taps.channels[32]) == (672, 960)
    assert taps.block_channels[16] == 112


def test_a_backbone_of_timm_keeps_its_epsilon() -> None:
    spec = find_spec(SMALL)
    assert spec.norm_eps != 1e-5
    torch.manual_seed(0)
    classifier = build(dataclasses.replace(spec, norm_eps=1e-5)).eval()
    classifier.stem.norm.running_var.uniform_(1e-5, 1e-3)  # as small as epsilon, so that it counts
    names = dict(TIMM_BLOCKS.names(spec))
    state = {
        f"{names[layer]}.{kind}": value
        for name, value in classifier.state_dict().items()
        for layer, _, kind in [name.rpartition(".")]
    }
    network = compose(f"{SMALL}+embed", 8, 64)
    fill_backbone(network, f"{SMALL}+embed", state, "a file")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = classifier.head(classifier.blocks(classifier.stem(images)))
        torch.testing.assert_close(network.backbone.maps(images)[32], expected)


def test_the_u_net_of_the_paper_has_a_name() -> None:
    assert registry.find_composed("U-Net@0.50") == ("unet@0.5", "unet")
    whole = open_model("unet", resolution=32, classes=2)
    assert (whole.name, whole.task) == ("unet", "segment")
    assert whole.interface.outputs[0].shape == (1, 2, 32, 32)
    assert sum(p.numel() for p in whole.module.parameters()) == 31_031_810  # of the paper's layers
    narrow = open_model("unet@0.05", resolution=(41, 64), classes=3)
    assert narrow.name == "unet@0.05"
    assert narrow.interface.outputs[0].shape == (1, 3, 41, 64)
    assert open_model("unet@0.05").interface.inputs[0].shape == (1, 3, 256, 256)
    other = open_model("unet@0.05", resolution=64).module.state_dict()
    assert {n: v.shape for n, v in other.items() if "scores" not in n} == {
        n: v.shape for n, v in narrow.module.state_dict().items() if "scores" not in n
    }
    for name, words in (("unet@9999", "width multiplier"), ("unet+ssdlite", "unet")):
        with pytest.raises(EdgekitError, match=words):
            open_model(name)


def test_names_may_be_written_as_those_of_the_zoo() -> None:
    one = open_model("MobileNetV3_Small@0.5+SSD-Lite", resolution=64)
    assert one.name == one.code == "mobilenetv3-small@0.5+ssdlite"
    assert one.task == "detect"
    assert registry.find_composed("mobilenetv3+ssdlite") == ("mobilenetv3-large", "ssdlite")


def test_a_task_means_its_head() -> None:
    for task in dict.fromkeys(entry.task for entry in tables.HEADS.values()):
        if task in tables.TASKS:
            head = registry.default_head(task)
            assert open_model(SMALL, resolution=64, task=task).name == f"{SMALL}+{head}"


@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("mobilenetv3-smal+ssdlite", UnknownNameError, "did you mean mobilenetv3-small"),
        (f"{SMALL}+ssdlit", UnknownNameError, "unknown head 'ssdlit': did you mean ssdlite"),
        (f"{SMALL}+ssdlite+ssdlite", UsageError, "several heads"),
        (f"{SMALL}+", UnknownNameError, "unknown head ''"),
    ],
)
def test_unknown_parts_of_a_name_are_told(
    source: str, kind: type[EdgekitError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        open_model(source)


def test_sizes_and_options_that_it_cannot_have_are_refused() -> None:
    source = f"{SMALL}+ssdlite"
    for size, classes in ((31, None), ((64, 5000), None), (64, 0)):
        with pytest.raises(UsageError, match="expected"):
            open_model(source, resolution=size, classes=classes)
    with pytest.raises(UsageError, match="is of the task detect, not classify"):
        open_model(source, resolution=64, task="classify")
    with pytest.raises(UsageError, match="leave --outputs out"):
        open_model(source, resolution=64, outputs=("boxes",))
    assert open_model(source, resolution=64, task="tensors").task == "tensors"


def test_a_checkpoint_is_read_by_the_name_of_its_network(tmp_path: Path) -> None:
    source = f"{SMALL}+ssdlite"
    own = open_model(source, resolution=64, classes=2)
    with torch.no_grad():
        for parameter in own.module.parameters():
            parameter.add_(0.01)
    file = tmp_path / "model.pt"
    saved = Checkpoint(
        source, None, own.module.state_dict(), ("cat", "dog"), None, "synthetic",
        task="detect", parameters={"nms_iou": 0.4},
    )  # fmt: skip
    save_checkpoint(file, saved)
    image = torch.randn(1, 3, 64, 96)
    for opened in (
        open_model(str(file), resolution=(64, 96)),
        open_model(source, weights=file, resolution=(64, 96)),
    ):
        assert opened.trained
        assert opened.labels == ("cat", "dog")
        assert opened.parameters["nms_iou"] == 0.4
        assert opened.interface.inputs[0].shape == (1, 3, 64, 96)
        reference = compose(source, 2, (64, 96))
        reference.load_state_dict(own.module.state_dict())
        for found, wanted in zip(opened.module(image), reference(image), strict=True):
            torch.testing.assert_close(found, wanted)
    with pytest.raises(CheckpointError, match=r"it is a checkpoint of mobilenetv3-small@0\.5"):
        open_model(f"{SMALL}+ssdlite-softmax", weights=file)


def test_a_classifier_fills_the_backbone() -> None:
    torch.manual_seed(3)
    classifier = build(SMALL, classes=7)
    network = compose(f"{SMALL}+ssdlite", 2, 64)
    left = fill_backbone(network, f"{SMALL}+ssdlite", classifier.state_dict(), "a classifier")
    taken = network.state_dict()
    assert all(name.startswith("classifier.") for name in left)
    for name, value in classifier.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(taken[f"backbone.{name}"], value)
