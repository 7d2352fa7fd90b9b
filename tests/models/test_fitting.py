"""State dicts of other libraries, written and read as files."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import CommandLine
from safetensors.torch import save_file
from torch import Tensor

from edgekit.core import ModelSpec
from edgekit.errors import CheckpointError, PassedOverWarning
from edgekit.models import build, family_of, find_spec
from edgekit.models.fitting import fill, init_from
from edgekit.models.foreign import Layout
from edgekit.models.source import open_model
from edgekit.models.weights import load_checkpoint

CASES = [
    (name, layout.library)
    for name in (
        "mobilenetv1@0.25",
        "mobilenetv2@0.35",
        "mobilenetv3-small@0.5",
        "mobilenetv4-conv-small@0.25",
        "mnasnet-b1@0.35",
        "mnasnet-a1@0.35",
        "efficientnet-b0@0.25",
        "efficientnet-lite0@0.25",
        "efficientnetv2-b0@0.25",
        "shufflenetv2@0.5",
    )
    for layout in family_of(find_spec(name)).layouts
    if dict(layout.names(find_spec(name)))
]


def layout_of(spec: ModelSpec, library: str) -> Layout:
    return next(found for found in family_of(spec).layouts if found.library == library)


def foreign(spec: ModelSpec, library: str, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """A state dict under a library's names, and what its network gives for `images`."""
    torch.manual_seed(seed)
    layout = layout_of(spec, library)
    spec = replace(spec, norm_eps=layout.norm_eps(spec))
    model = build(spec)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 0.4)
    names = dict(layout.names(spec))
    state = {}
    for name, value in model.state_dict().items():
        layer, _, kind = name.rpartition(".")
        is_conv = library == "timm" and layer == "classifier.hidden" and kind == "weight"
        state[f"{names[layer]}.{kind}"] = value[:, :, None, None] if is_conv else value
    with torch.no_grad():
        return state, model.eval()(images())


def images() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "library"), CASES)
def test_the_network_computes_the_same_as_where_its_weights_come_from(
    name: str, library: str
) -> None:
    spec = find_spec(name, classes=7, resolution=32)
    state, expected = foreign(spec, library)
    found, model = fill(find_spec(name, resolution=32), state, "file")
    assert found.classes == 7
    with torch.no_grad():
        assert torch.equal(model.eval()(images()), expected)


@pytest.mark.parametrize(("name", "library"), CASES[:4])
def test_the_order_of_the_tensors_in_a_file_does_not_matter(name: str, library: str) -> None:
    state, expected = foreign(find_spec(name, classes=3, resolution=32), library)
    shuffled = dict(sorted(state.items(), reverse=True))
    _, model = fill(find_spec(name, resolution=32), shuffled, "file")
    with torch.no_grad():
        assert torch.equal(model.eval()(images()), expected)


def test_epsilon_follows_the_library_and_the_tf_prefix() -> None:
    for words, library, eps in (
        ("mobilenetv3-small@0.25", "torchvision", 1e-3),
        ("mobilenetv3-small@0.25", "timm", 1e-5),
        ("tf-mobilenetv3-small@0.25", "timm", 1e-3),
        ("efficientnet-b5@0.25", "torchvision", 1e-3),
        ("efficientnet-b5@0.25", "timm", 1e-5),
    ):
        spec = find_spec(words, classes=3)
        state, _ = foreign(find_spec(words, classes=3, resolution=32), library)
        found, _ = fill(spec, state, "file")
        assert (found.name, found.norm_eps) == (spec.name, eps), (words, library)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_of_both_formats_are_read(suffix: str, tmp_path: Path) -> None:
    spec = find_spec("mobilenetv2@0.35", classes=5, resolution=32)
    state, expected = foreign(spec, "torchvision")
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save({key: value.contiguous() for key, value in state.items()}, str(path))
    opened = open_model("mobilenetv2@0.35", weights=path, resolution=32)
    assert (opened.classes, opened.trained) == (5, True)
    with torch.no_grad():
        assert torch.equal(opened.module(images()), expected)


def test_counters_that_old_files_lack_are_not_missed() -> None:
    state, expected = foreign(find_spec("mobilenetv2@0.35", classes=3, resolution=32), "timm")
    old = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    assert len(old) < len(state)
    _, model = fill(find_spec("mobilenetv2@0.35", resolution=32), old, "file")
    with torch.no_grad():
        assert torch.equal(model.eval()(images()), expected)


Edit = Callable[[dict[str, Tensor]], None]
BROKEN: dict[str, tuple[Edit, str]] = {
    "missing layer": (
        lambda s: [s.pop(key) for key in list(s) if key.startswith("features.3.conv.0.0")] and None,
        "1 layer is missing, the first is 'features.3.conv.0.0'",
    ),
    "extra layer": (
        lambda s: s.update({"aux.weight": torch.zeros(2)}),
        "1 have no place in it, the first is 'aux'",
    ),
    "missing tensor": (
        lambda s: s.__delitem__("features.18.1.running_mean"),
        "tensor 'features.18.1.running_mean' (1280) is missing",
    ),
    "other shape": (
        lambda s: s.update({"features.0.0.weight": torch.zeros(16, 3, 5, 5)}),
        "tensor 'features.0.0.weight' is (16, 3, 5, 5) in the file, expected (16, 3, 3, 3)",
    ),
    "other type": (
        lambda s: s.update({"classifier.1.bias": torch.zeros(3, dtype=torch.int32)}),
        "tensor 'classifier.1.bias' is torch.int32 in the file",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_does_not_fit_is_named_as_the_file_names_it(
    kind: str, tmp_path: Path, run: CommandLine
) -> None:
    edit, expected = BROKEN[kind]
    state, _ = foreign(find_spec("mobilenetv2@0.35", classes=3, resolution=32), "torchvision")
    edit(state)
    torch.save(state, tmp_path / "broken.pth")
    result = run("describe", "mobilenetv2@0.35", "--weights", "broken.pth")
    assert (result.code, result.out) == (3, "")
    assert "broken.pth" in result.message
    assert expected in result.message
    assert "the tensors are those of" not in result.message


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("mobilenetv2", "mobilenetv2@0.35"),
        ("mobilenetv2@0.35", "mobilenetv2@0.65"),
        ("mobilenetv3-large", "mobilenetv3-small@0.6"),
        ("mobilenetv3-large", "mobilenetv3-small"),
        ("shufflenetv2", "shufflenetv2@0.5"),
    ],
)
def test_weights_of_another_width_or_variant_are_said_to_be_so(
    asked: str, given: str, tmp_path: Path, run: CommandLine
) -> None:
    state, _ = foreign(find_spec(given, classes=3, resolution=32), "torchvision")
    torch.save(state, tmp_path / "weights.pth")
    result = run("export", asked, "--weights", "weights.pth", "-t", "onnx", "-o", "out")
    assert result.code == 3
    assert result.message.endswith(f"the tensors are those of {given}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("mobilenetv3-small", "mobilenetv3-small@0.35"),
        ("mobilenetv1", "mobilenetv1@0.15"),
        ("shufflenetv1-g3", "shufflenetv1-g2@0.3"),
    ],
)
def test_plain_state_dicts_of_edgekit_are_named_as_well(asked: str, given: str) -> None:
    state = build(find_spec(given, classes=3)).state_dict()
    with pytest.raises(CheckpointError, match=f"; the tensors are those of {given}$"):
        fill(find_spec(asked), state, "file")


RESNET = ("conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "layer1.0.bn1.weight")


def test_a_name_in_common_by_chance_is_no_layout() -> None:
    state = {name: torch.zeros(64) for name in (*RESNET, "fc.weight", "fc.bias")}
    with pytest.raises(CheckpointError) as caught:
        fill(find_spec("mobilenetv2"), state, "resnet.pth")
    assert str(caught.value) == (
        "resnet.pth does not fit mobilenetv2: its first tensor is 'conv1.weight', expected the "
        "names of a network of this family: edgekit's ('stem.conv.weight', ...), torchvision's "
        "('features.0.0.weight', ...), timm's ('conv_stem.weight', ...)"
    )


@pytest.mark.parametrize("library", [None, "torchvision", "timm"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_of_which_all_tensors_were_cast_fits(
    dtype: torch.dtype, library: str | None
) -> None:
    spec = find_spec("mobilenetv2@0.35", classes=3, resolution=32)
    whole = build(spec).state_dict() if library is None else foreign(spec, library)[0]
    state = {key: value.to(dtype) for key, value in whole.items()}
    counter = next(key for key in state if key.endswith("num_batches_tracked"))
    state[counter] = torch.tensor(1e30).to(dtype)  # more than half can hold
    _, model = fill(spec, state, "file")
    counters = [v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")]
    assert {value.dtype for value in counters} == {torch.int64}
    weight = state[next(iter(state))].float()
    assert torch.equal(next(model.parameters()), weight)


WRAPPED: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "two": (
        lambda s: {"model": s, "model_ema": s},
        "its state dict lies under 'model' (and others under 'model_ema'): save that alone, as "
        "torch.save(checkpoint['model'], 'weights.pth')",
    ),
    "DataParallel": (
        lambda s: {f"module.{key}": value for key, value in s.items()},
        "all its names begin with 'module.', as those of DataParallel do: save it without",
    ),
    "torch.compile": (
        lambda s: {f"_orig_mod.{key}": value for key, value in s.items()},
        "all its names begin with '_orig_mod.'",
    ),
}


@pytest.mark.parametrize("words", ["mobilenetv2@0.35", "own_network:make"])
@pytest.mark.parametrize("kind", WRAPPED)
def test_state_dicts_inside_something_else_are_refused_with_the_way_out(
    kind: str, words: str, tmp_path: Path, run: CommandLine
) -> None:
    wrap, expected = WRAPPED[kind]
    (tmp_path / "own_network.py").write_text(
        "from torch import nn\nmake = lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))\n"
    )
    spec = find_spec("mobilenetv2@0.35", classes=3, resolution=32)
    linear = {"1.weight": torch.zeros(3, 3072), "1.bias": torch.zeros(3)}
    state = linear if ":" in words else foreign(spec, "timm")[0]
    torch.save(wrap(state), tmp_path / "weights.pth")
    result = run("describe", words, "--weights", "weights.pth", "--resolution", 32)
    assert (result.code, result.out) == (3, "")
    assert "weights.pth" in result.message
    assert expected in result.message


def test_the_only_state_dict_of_a_file_is_taken_and_that_is_said(
    tmp_path: Path, run: CommandLine
) -> None:
    spec = find_spec("mobilenetv2@0.35", classes=3, resolution=32)
    wrapped = {"epoch": 3, "state_dict": foreign(spec, "timm")[0], "optimizer": {"state": {}}}
    torch.save(wrapped, tmp_path / "weights.pth")
    words = ("--weights", "weights.pth", "--resolution", 32, "--json")
    told = (
        "weights.pth: its state dict was taken from under 'state_dict', and nothing of 'epoch', "
        "'optimizer'"
    )
    with pytest.warns(PassedOverWarning, match=re.escape(told)):
        result = run("describe", "mobilenetv2@0.35", *words)
    assert result.code == 0, result.err
    assert result.json["params"] == sum(parameter.numel() for parameter in build(spec).parameters())


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.99])
def test_a_safetensors_file_cut_short_is_refused(
    share: float, tmp_path: Path, run: CommandLine
) -> None:
    spec = find_spec("mobilenetv1@0.25", classes=3)
    save_file(dict(build(spec).state_dict()), str(tmp_path / "whole.safetensors"))
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: int(len(whole) * share)])
    result = run("describe", "mobilenetv1@0.25", "--weights", "cut.safetensors")
    assert (result.code, result.out) == (3, "")
    assert "cut.safetensors is " in result.message
    assert ("cut short" if share else "empty") in result.message


def test_initial_weights_may_have_other_classes_and_nothing_else() -> None:
    spec = find_spec("mobilenetv2@0.35", classes=4, resolution=32)
    state, _ = foreign(find_spec("mobilenetv2@0.35", classes=9, resolution=32), "torchvision")
    torch.manual_seed(0)
    model = build(spec)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    assert not init_from(model, spec, state, "file")
    after = model.state_dict()
    tensors = {key: value for key, value in after.items() if value.ndim}  # no counters
    kept = [key for key, value in tensors.items() if torch.equal(value, fresh[key])]
    assert kept == ["classifier.scores.weight", "classifier.scores.bias"]
    assert torch.equal(after["stem.conv.weight"], state["features.0.0.weight"])
    same, _ = foreign(spec, "torchvision")
    assert init_from(model, spec, same, "file")
    assert torch.equal(model.state_dict()["classifier.scores.bias"], same["classifier.1.bias"])
    other, _ = foreign(find_spec("mobilenetv2@0.5", classes=4, resolution=32), "torchvision")
    with pytest.raises(CheckpointError, match=r"the tensors are those of mobilenetv2@0\.5"):
        init_from(model, spec, other, "file")


def test_training_from_weights_of_a_library_keeps_their_epsilon(
    tmp_path: Path, run: CommandLine
) -> None:
    spec = find_spec("mobilenetv3-small@0.25", classes=9, resolution=32)
    for library, eps in (("timm", 1e-5), ("torchvision", 1e-3)):
        state, _ = foreign(spec, library)
        torch.save(state, tmp_path / f"{library}.pth")
        done = run(
            *("train", spec.name, "--data", "synthetic", "--epochs", 1, "--resolution", 32),
            *("--init", f"{library}.pth", "-o", library),
        )
        assert done.code == 0, done.err
        assert "starts anew" in done.err
        assert load_checkpoint(tmp_path / library).spec == replace(
            find_spec(spec.name, classes=4, resolution=32), norm_eps=eps
        )
