from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgekit.core import Preprocessing, to_json
from edgekit.errors import CheckpointError
from edgekit.models import build, find_spec
from edgekit.models.tensor_files import load_plain, save_plain, sha256
from edgekit.models.weights import (
    FORMAT,
    Checkpoint,
    build_with,
    load_checkpoint,
    load_into,
    load_state,
    save_checkpoint,
)

MODEL = "mobilenetv1@0.25"
SPEC = find_spec(MODEL, classes=4, resolution=32)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(3)
    return Checkpoint(
        model=MODEL,
        spec=SPEC,
        state=build(SPEC).state_dict(),
        labels=("a", "b", "c", "ü"),
        preprocessing=Preprocessing(resize=32, crop=32),
        data="synthetic",
        results={"top1": 0.5, "epochs": 2.0},
    )


@pytest.fixture
def file(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(tmp_path / "model.pt", checkpoint)
    return tmp_path / "model.pt"


def same(one: Any, other: Any) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def test_a_checkpoint_reads_back_as_it_was(file: Path, checkpoint: Checkpoint) -> None:
    again = load_checkpoint(file)
    assert same(again.state, checkpoint.state)
    assert dataclasses.replace(again, state={}) == dataclasses.replace(checkpoint, state={})


def test_a_run_folder_stands_for_its_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    assert load_checkpoint(file.parent).spec == checkpoint.spec
    assert same(load_state(file.parent), checkpoint.state)


def test_a_plain_state_dict_is_read(tmp_path: Path, checkpoint: Checkpoint) -> None:
    torch.save(checkpoint.state, tmp_path / "plain.pth")
    assert same(load_state(tmp_path / "plain.pth"), checkpoint.state)


def test_the_file_holds_tensors_and_plain_data_only(file: Path) -> None:
    data = torch.load(file, weights_only=True)
    assert data["format"] == FORMAT
    assert data["spec"] == to_json(SPEC)
    assert all(isinstance(value, Tensor) for value in data["state"].values())


def test_the_network_computes_the_same_after_the_round_trip(
    file: Path, checkpoint: Checkpoint
) -> None:
    original = build(SPEC)
    original.load_state_dict(checkpoint.state)
    again = load_checkpoint(file)
    restored = build_with(again.spec, again.state, str(file))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(original.eval()(images), restored.eval()(images))
    assert all(p.device.type == "cpu" for p in restored.parameters())
    assert all(p.requires_grad for p in restored.parameters())


Change = Callable[[dict[str, Tensor]], Any]

MISFITS: dict[str, tuple[Change, str]] = {
    "missing": (
        lambda s: s.pop("blocks.0.depthwise.conv.weight"),
        "tensor 'blocks.0.depthwise.conv.weight' (8, 1, 3, 3) is missing",
    ),
    "shape": (
        lambda s: s.update({"stem.conv.weight": torch.zeros(32, 3, 3, 3)}),
        "tensor 'stem.conv.weight' is (32, 3, 3, 3) in the file, expected (8, 3, 3, 3)",
    ),
    "surplus": (
        lambda s: s.update({"head.extra": torch.zeros(2)}),
        "tensor 'head.extra' (2) of the file has no place in it",
    ),
    "type": (
        lambda s: s.update({"stem.conv.weight": torch.zeros(8, 3, 3, 3, dtype=torch.int64)}),
        "tensor 'stem.conv.weight' is torch.int64 in the file, expected torch.float32",
    ),
}


@pytest.mark.parametrize(("change", "message"), MISFITS.values(), ids=MISFITS)
def test_the_first_tensor_that_does_not_fit_is_named(
    checkpoint: Checkpoint, change: Change, message: str
) -> None:
    state = dict(checkpoint.state)
    change(state)
    with pytest.raises(CheckpointError) as caught:
        load_into(build(SPEC), state, "weights.pth")
    assert str(caught.value) == f"weights.pth does not fit the network: {message}"


def test_a_network_stays_as_it_is_when_the_weights_do_not_fit(checkpoint: Checkpoint) -> None:
    state = {key: value + 1 for key, value in checkpoint.state.items()}
    state["surplus"] = torch.zeros(1)
    model = build(SPEC)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_into(model, state, "weights.pth")
    assert same(model.state_dict(), before)


def test_half_precision_weights_are_widened(checkpoint: Checkpoint) -> None:
    half = {k: v.half() if v.is_floating_point() else v for k, v in checkpoint.state.items()}
    model = build_with(SPEC, half, "half.pth")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.state_dict()["stem.conv.weight"], half["stem.conv.weight"].float())


def test_a_spec_of_absurd_size_fails_on_the_shapes_before_memory_is_taken(
    checkpoint: Checkpoint,
) -> None:
    absurd = dataclasses.replace(SPEC, stem=10**12)  # 108 TB for the first weight alone
    with pytest.raises(CheckpointError, match=r"'stem\.conv\.weight' is \(8, 3, 3, 3\).*expected"):
        build_with(absurd, checkpoint.state, "model.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"family": "alexnet"},
        {"rows": ({"out": 8},)},
        {"rows": ({"out": "x", "stride": 1},)},
        {"rows": ({"out": -8, "stride": 1},)},
        {"rows": ({"out": 8, "stride": 0},)},
        {"stem": -1},
        {"classes": 1},
        {"resolution": 0},
        {"dropout": 7.0},
    ],
    ids=str,
)
def test_a_spec_that_cannot_be_built_names_the_file(
    checkpoint: Checkpoint, change: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match=r"^model\.pt"):
        build_with(dataclasses.replace(SPEC, **change), checkpoint.state, "model.pt")


def test_a_save_that_fails_keeps_the_old_file_and_leaves_nothing_behind(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_plain(file, {"tensor": torch.zeros(1000), "bad": lambda: None})
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["model.pt"]


def test_a_save_replaces_the_old_file(file: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(file, dataclasses.replace(checkpoint, data="digits"))
    assert load_checkpoint(file).data == "digits"
    assert os.listdir(file.parent) == ["model.pt"]


def test_two_saves_of_the_same_have_the_same_digest(file: Path, checkpoint: Checkpoint) -> None:
    first = sha256(file)
    assert first == hashlib.sha256(file.read_bytes()).hexdigest()
    save_checkpoint(file, checkpoint)
    assert sha256(file) == first


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("container", ["zip", "pickle"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path, container: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    if container == "zip":
        torch.save({"state": Evil(marker)}, path)
    else:
        path.write_bytes(pickle.dumps({"state": Evil(marker)}))
    with pytest.raises(CheckpointError, match=r"evil\.pt was not loaded"):
        load_plain(path)
    assert not marker.exists()


def test_a_file_that_is_cut_short_is_called_so(file: Path) -> None:
    content = file.read_bytes()
    for keep in (len(content) // 2, len(content) - 10):
        file.write_bytes(content[:keep])
        with pytest.raises(CheckpointError, match=f"is cut short after {keep:,} bytes"):
            load_checkpoint(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"hello", "is not a PyTorch checkpoint"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a PyTorch checkpoint"),
        (b"\x80\x02garbage" * 50, "model.pt"),
    ],
    ids=["empty", "text", "image", "garbage"],
)
def test_other_files_are_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no\.pt does not exist"):
        load_checkpoint(tmp_path / "no.pt")
    with pytest.raises(CheckpointError, match=r"is no run folder: expected model\.pt"):
        load_checkpoint(tmp_path)
    (tmp_path / "state.pt").touch()
    with pytest.raises(CheckpointError, match=r"unfinished training.*--resume"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "holds no state dict"),
        ([1], "holds no state dict"),
        (torch.zeros(3), "holds no state dict"),
        ({"a": 1}, "entry 'a' is a int, expected a tensor"),
        ({"a": {"b": torch.zeros(1)}, "c": {"b": torch.zeros(1)}}, "its state dict lies under 'a'"),
        ({"a": {"b": {"c": torch.zeros(1)}}}, "entry 'a' is a dict, expected a tensor"),
        ({"format": FORMAT}, "holds no state dict"),
    ],
    ids=["empty", "list", "tensor", "number", "wrapped", "nested", "no state"],
)
def test_what_holds_no_tensors_is_no_state_dict(tmp_path: Path, data: Any, message: str) -> None:
    torch.save(data, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=message):
        load_state(tmp_path / "odd.pt")


def test_a_state_dict_is_no_checkpoint_and_the_message_says_what_to_do(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    torch.save(checkpoint.state, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match=r"is no edgekit checkpoint.*--weights FILE"):
        load_checkpoint(tmp_path / "plain.pth")


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("spec", {"name": "x"}, "spec: key 'family' is missing"),
        ("labels", "abc", "labels: expected a list"),
        ("preprocessing", None, "preprocessing: expected an object"),
        ("surplus", 1, "unknown key 'surplus'"),
    ],
)
def test_a_damaged_header_is_named_by_its_path(
    file: Path, key: str, value: Any, where: str
) -> None:
    data = torch.load(file, weights_only=True)
    torch.save({**data, key: value}, file)
    with pytest.raises(CheckpointError, match=f"damaged or from another version: .*{where}"):
        load_checkpoint(file)
