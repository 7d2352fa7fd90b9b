"""Checkpoints that are missing, damaged, hostile, or of another network."""

from __future__ import annotations

import dataclasses
import os
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from damage import checkpoints
from PIL import Image

from edgekit.core import to_json
from edgekit.models import build, find_spec
from edgekit.models.tensor_files import save_plain
from edgekit.models.weights import load_checkpoint, load_state

SMALL = "mobilenetv1@0.25"


class Hostile:
    """Unpickles into a call that leaves a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def _text(path: Path) -> None:
    path.write_text("these are no weights\n")


def _image(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path, "PNG")


def _hostile_zip(path: Path) -> None:
    torch.save({"state": Hostile()}, path)


def _hostile_legacy(path: Path) -> None:
    torch.save({"state": Hostile()}, path, _use_new_zipfile_serialization=False)


def _hostile_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Hostile(), protocol=2))


def _hostile_old_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Hostile(), protocol=0))


def _whole_module(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no weights")


def _list(path: Path) -> None:
    torch.save([1, 2, 3], path)


def _no_tensors(path: Path) -> None:
    torch.save({"epoch": 3}, path)


def _nothing(path: Path) -> None:
    torch.save({}, path)


def _pickle(body: bytes, archive: bool = True, name: str = "data.pkl") -> Callable[[Path], None]:
    return lambda path: checkpoints.write_pickle(path, body, archive=archive, name=name)


def _damaged(kind: str, archive: bool) -> Callable[[Path], None]:
    """Damage of a kind, as an archive or not."""

    class Chosen(random.Random):
        def random(self) -> float:
            return 0.0 if archive else 1.0

        def choice(self, values: Any) -> Any:
            return values[0]

    return lambda path: checkpoints.KINDS[kind](path, Chosen())


def _long_list_of_parts(path: Path) -> None:
    size = 9 << 20
    end = b"PK\5\6" + bytes(8) + size.to_bytes(4, "little") + bytes(6)
    path.write_bytes(b"PK\3\4" + bytes(size) + end)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "does not exist: expected a checkpoint or a run folder"),
    "empty": (lambda path: path.write_bytes(b""), "is empty (0 bytes): expected a PyTorch"),
    "one byte": (lambda path: path.write_bytes(b"\x80"), "is damaged"),
    "text": (_text, "is not a PyTorch checkpoint: expected a file written by torch.save"),
    "PNG": (_image, "is not a PyTorch checkpoint: expected a file written by torch.save"),
    "zip of something else": (_other_zip, "is damaged"),
    "hostile zip": (_hostile_zip, "unpickling it would import"),
    "hostile legacy": (_hostile_legacy, "unpickling it would import"),
    "hostile pickle": (_hostile_pickle, "was not loaded"),
    "hostile text pickle": (_hostile_old_pickle, "is not a PyTorch checkpoint"),
    "whole module": (_whole_module, "unpickling it would import 'torch.nn.modules"),
    "long pickle": (_pickle(b"\x80\x02}." + bytes(5 << 20)), "is longer than 4,194,304 bytes"),
    "long legacy": (
        _pickle(b"\x80\x02X" + (5 << 20).to_bytes(4, "little") + b"x" * (6 << 20), archive=False),
        "are longer than 4,194,304 bytes",
    ),
    "lists": (_damaged("lists", True), "its pickle has over 500,000 operations"),
    "lists legacy": (_damaged("lists", False), "its pickle has over 500,000 operations"),
    "shared": (_damaged("shared", True), "has over 4,000,000 objects, one in another"),
    "shared legacy": (_damaged("shared", False), "has over 4,000,000 objects, one in another"),
    "shared as DATA.PKL": (
        _pickle(b"\x80\x02)" + b"2\x86" * 30 + b".", name="DATA.PKL"),
        "has over 4,000,000 objects, one in another",
    ),
    "filling": (_damaged("filling", True), "its pickle makes a bytearray"),
    "filling legacy": (_damaged("filling", False), "its pickle makes a bytearray"),
    "unmade": (_pickle(b"\x80\x02h\x07."), "its pickle takes what it has not made"),
    "parts": (_long_list_of_parts, "it has a list of parts of 9,437,184 bytes"),
    "list": (_list, "no"),
    "no tensors": (_no_tensors, "no"),
    "empty dict": (_nothing, "no"),
}

COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "describe": lambda file: ["describe", file],
    "evaluate": lambda file: ["evaluate", file, "--data", "digits"],
    "export": lambda file: ["export", SMALL, "--weights", file, "--target", "onnx"],
    "train": lambda file: ["train", SMALL, "--init", file, "-o", "run", "--epochs", "1"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_checkpoint_is_refused_and_nothing_of_it_runs(
    kind: str, command: str, run: CommandLine, tmp_path: Path
) -> None:
    make, expected = BAD_FILES[kind]
    make(tmp_path / "bad.pt")
    before = sorted(path.name for path in tmp_path.iterdir())
    result = run(*COMMANDS[command]("bad.pt"))
    assert (result.code, result.out) == (3, "")
    assert "bad.pt" in result.message
    assert expected in result.message
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_hostile_checkpoint_would_run_code_if_it_were_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _hostile_zip(tmp_path / "bad.pt")
    torch.load("bad.pt", weights_only=False)
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(
    share: float, trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    whole = (trained_run / "model.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: int(len(whole) * share)])
    result = run("export", "cut.pt", "--target", "onnx", "-o", "out")
    assert result.code == 3
    assert "cut.pt is cut short after" in result.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["middle", "end"])
def test_a_checkpoint_with_flipped_bytes_is_refused(
    where: str, trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    content = bytearray((trained_run / "model.pt").read_bytes())
    start = len(content) // 2 if where == "middle" else len(content) - 400
    for index in range(start, start + 64):
        content[index] ^= 0xFF
    (tmp_path / "altered.pt").write_bytes(content)
    result = run("describe", "altered.pt")
    assert result.code == 3
    assert "altered.pt is damaged" in result.message


def test_a_checkpoint_of_another_network_names_the_first_tensor_and_both_shapes(
    trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    checkpoint = load_checkpoint(trained_run)
    other = build(find_spec("mobilenetv3-large", classes=10)).state_dict()
    ours = {name: tuple(tensor.shape) for name, tensor in checkpoint.state.items()}
    for words in (["--weights", trained_run], ["--weights", trained_run / "model.pt"]):
        result = run("export", "mobilenetv3-large", *words, "--target", "onnx", "-o", "out")
        assert result.code == 3
        first = next(
            name for name, tensor in other.items() if ours.get(name) != tuple(tensor.shape)
        )
        assert "does not fit the network" in result.message
        assert f"'{first}'" in result.message
        assert str(tuple(other[first].shape)) in result.message
        if first in ours:
            assert str(ours[first]) in result.message
    assert not (tmp_path / "out").exists()


def test_a_tensor_of_another_shape_names_both_shapes(run: CommandLine, tmp_path: Path) -> None:
    state = build(SMALL, classes=10).state_dict()
    torch.save({**state, "stem.conv.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "w.pt")
    result = run("describe", SMALL, "--weights", "w.pt")
    assert result.code == 3
    for text in ("w.pt", "'stem.conv.weight'", "(4, 3, 3, 3)", "(8, 3, 3, 3)"):
        assert text in result.message


def test_a_tensor_too_many_is_named(run: CommandLine, tmp_path: Path) -> None:
    state = build(SMALL, classes=10).state_dict()
    torch.save({**state, "attention.weight": torch.zeros(7, 5)}, tmp_path / "w.pt")
    result = run("describe", SMALL, "--weights", "w.pt")
    assert result.code == 3
    assert "'attention.weight' (7, 5) of the file has no place in it" in result.message


def _altered(trained_run: Path, path: Path, **spec: Any) -> None:
    """A copy of the checkpoint whose spec says something else than its tensors."""
    checkpoint = load_checkpoint(trained_run)
    fields = {f.name: getattr(checkpoint, f.name) for f in dataclasses.fields(checkpoint)}
    fields["spec"] = dataclasses.replace(checkpoint.spec, **spec)
    plain = {k: v if k == "state" else to_json(v) for k, v in fields.items()}
    save_plain(path, {"format": "edgekit.checkpoint/1", **plain})


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"stem": 10**9}, "stem"),
        ({"stem": 10**30}, "spec"),
        ({"stem": -1}, "spec"),
        ({"stem": 0}, ""),
        ({"classes": 10**12}, "classes"),
        ({"classes": 0}, "classes"),
        ({"head": (2**40, 2**40)}, ""),
        ({"head": ()}, "spec"),
        ({"rows": ()}, ""),
        ({"rows": ({"kernel": 3},)}, "row"),
        ({"family": "mobilenetv9"}, "mobilenetv9"),
        ({"family": "mobilenetv1"}, "row"),
        ({"resolution": 0}, "resolution 0"),
        ({"resolution": 10**9}, "resolution 1000000000"),
        ({"norm_eps": -1.0}, "norm_eps"),
        ({"dropout": 7.0}, "dropout"),
        ({"norm_eps": float("nan")}, "norm_eps"),
    ],
    ids=str,
)
def test_a_spec_that_claims_absurd_sizes_fails_before_memory_is_taken(
    spec: dict[str, Any], named: str, trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    _altered(trained_run, tmp_path / "absurd.pt", **spec)
    result = run("describe", "absurd.pt")
    assert (result.code, result.out) == (3, "")
    assert "absurd.pt" in result.message
    assert named in result.message


@pytest.mark.parametrize(
    ("key", "value"),
    [("spec", None), ("spec", "large"), ("labels", 3), ("labels", [1, 2]), ("preprocessing", {})],
)
def test_a_checkpoint_with_a_damaged_field_names_it(
    key: str, value: Any, trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    content = torch.load(trained_run / "model.pt", weights_only=True)
    save_plain(tmp_path / "field.pt", {**content, key: value})
    result = run("describe", "field.pt")
    assert result.code == 3
    assert "field.pt is damaged or from another version" in result.message
    assert key in result.message


def test_labels_that_are_fewer_than_the_classes_are_refused(
    trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    content = torch.load(trained_run / "model.pt", weights_only=True)
    save_plain(tmp_path / "labels.pt", {**content, "labels": ["a", "b"]})
    Image.new("RGB", (32, 32)).save(tmp_path / "image.png")
    result = run("predict", "labels.pt", "image.png")
    assert result.code == 3
    assert "labels.pt" in result.message


def test_weights_of_a_checkpoint_cannot_be_replaced(trained_run: Path, run: CommandLine) -> None:
    model = trained_run / "model.pt"
    result = run("export", trained_run, "--weights", model, "--target", "onnx")
    assert result.code == 2
    assert "has its own weights" in result.message


def test_folders_that_are_no_finished_run_say_what_they_are(
    run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "state.pt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    unfinished = run("evaluate", "./unfinished", "--data", "digits")
    assert unfinished.code == 3
    assert "holds an unfinished training" in unfinished.message
    assert "--resume" in unfinished.message
    for words in ("./empty", "empty"):
        nothing = run("evaluate", words, "--data", "digits")
        assert nothing.code == 3
        assert f"{words} holds no exported file, and is no run folder" in nothing.message


def test_a_name_that_is_a_network_and_a_run_asks_which(
    trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "mobilenetv3-small")
    result = run("describe", "mobilenetv3-small")
    assert result.code == 2
    assert "./mobilenetv3-small" in result.message
    assert run("describe", "./mobilenetv3-small").code == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_checkpoint_is_named(
    trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    shutil.copy(trained_run / "model.pt", tmp_path / "locked.pt")
    (tmp_path / "locked.pt").chmod(0)
    result = run("describe", "locked.pt")
    assert result.code == 3
    assert "locked.pt cannot be read" in result.message


def test_a_header_of_a_hundred_thousand_tensors_is_refused(
    run: CommandLine, tmp_path: Path
) -> None:
    size = 5 << 20
    (tmp_path / "w.safetensors").write_bytes(size.to_bytes(8, "little") + b"{" + b" " * size + b"}")
    for words in (["export", SMALL, "--target", "onnx"], ["describe", SMALL]):
        result = run(*words, "--weights", "w.safetensors")
        assert (result.code, result.out) == (3, "")
        assert "w.safetensors was not loaded: its header has 5,242,880 bytes" in result.message


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "legacy"])
def test_states_of_thousands_of_tensors_are_read(legacy: bool, tmp_path: Path) -> None:
    shared = torch.zeros(2)
    state = {f"block{i}.weight": torch.full((1,), i) for i in range(5000)}
    state |= {"tied": shared, "head": shared, "half": torch.zeros(2, 3).half()[:, 1:]}
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    found = load_state(tmp_path / "w.pt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())
