"""Files that an ONNX file names: found wherever tensors stand, and never outside its folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from external_data import move_out, rename_to, varint
from onnx import TensorProto, helper, numpy_helper

from edgekit.core import of_image
from edgekit.errors import InputError, ModelError
from exporters import _onnx_files
from exporters import onnx as onnx_target
from exporters.onnx import TARGET

SIDE = 16


def tensor(name: str, location: str | None = None) -> TensorProto:
    made = numpy_helper.from_array(np.ones((SIDE, SIDE), np.float32), name)
    if location is not None:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value=location)
        made.external_data.add(key="offset", value="0")
    return made


def model(*weights: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, SIDE]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def saved(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


def names(path: Path) -> list[str]:
    return [str(file.relative_to(path.parent)) for file in TARGET.files(path)]


def test_each_file_is_named_once_in_order(tmp_path: Path) -> None:
    weights = [tensor("w", "b.bin"), tensor("v", "sub/a.bin"), tensor("u", "b.bin"), tensor("t")]
    assert names(saved(tmp_path / "m.onnx", model(*weights))) == ["m.onnx", "b.bin", "sub/a.bin"]


def _constant(data: TensorProto) -> onnx.ModelProto:
    return model(nodes=[helper.make_node("Constant", [], ["y"], value=data)])


def _body(data: TensorProto) -> onnx.ModelProto:
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["z"], value=data)],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [SIDE, SIDE])],
    )
    return model(nodes=[helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)])


def _function(data: TensorProto) -> onnx.ModelProto:
    proto = model()
    proto.functions.append(
        helper.make_function(
            "own", "f", [], ["z"], [helper.make_node("Constant", [], ["z"], value=data)], []
        )
    )
    return proto


def _sparse(data: TensorProto) -> onnx.ModelProto:
    proto = model()
    proto.graph.sparse_initializer.add(values=data)
    return proto


def _training(data: TensorProto) -> onnx.ModelProto:
    proto = model()
    proto.training_info.add().initialization.initializer.append(data)
    return proto


@pytest.mark.parametrize("made", [_constant, _body, _function, _sparse, _training])
def test_tensors_are_found_wherever_they_stand(
    made: Callable[[TensorProto], onnx.ModelProto], tmp_path: Path
) -> None:
    path = saved(tmp_path / "m.onnx", made(tensor("w", "there.bin")))
    assert names(path) == ["m.onnx", "there.bin"]


def test_a_message_in_two_parts_is_one(tmp_path: Path) -> None:
    place, kind = tensor("w", "there.bin"), TensorProto(data_location=TensorProto.EXTERNAL)
    place.ClearField("data_location")
    attribute = b"".join(onnx.AttributeProto(t=t).SerializeToString() for t in (place, kind))
    read = onnx.AttributeProto.FromString(attribute).t
    assert read.data_location == TensorProto.EXTERNAL
    assert len(read.external_data) == 2
    path = tmp_path / "m.onnx"
    path.write_bytes(_field(7, _field(1, _field(5, attribute))))  # graph, node, attribute
    assert names(path) == ["m.onnx", "there.bin"]


def _field(number: int, content: bytes) -> bytes:
    """A field of protobuf: its number and kind, its length, its bytes."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


@pytest.mark.parametrize("more", [1 << 32, 1 << 40, 1 << 63])
def test_bits_that_protobuf_drops_hide_no_file(more: int, tmp_path: Path) -> None:
    weights = tensor("w", "there.bin").SerializeToString()
    kind = bytes([14 << 3])
    assert weights.count(kind + b"\1") == 1
    content = _field(7, _field(5, weights.replace(kind + b"\1", kind + varint(more + 1))))
    (read,) = onnx.ModelProto.FromString(content).graph.initializer
    assert read.data_location == TensorProto.EXTERNAL
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert names(path) == ["m.onnx", "there.bin"]


@pytest.mark.parametrize(
    "name",
    [
        "../out.bin", "/etc/hostname", "sub/../../out.bin", "..", "", ".", "..\\out.bin", "C:x",
        "a\nb", "a\0b", "nul", "x" * 256, " a", "a/", "//a",
    ],
)  # fmt: skip
def test_names_that_lead_outside_are_refused(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", model(tensor("w", name)))
    if name == "a/":  # the same file, however it is written
        assert names(path) == ["m.onnx", "a"]
        return
    with pytest.raises(InputError, match=r"m\.onnx wants weights from a file that no network"):
        TARGET.files(path)


def test_links_may_not_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4096))
    folder = tmp_path / "folder"
    folder.mkdir()
    path = saved(folder / "m.onnx", model(tensor("w", "link"), tensor("v", "sub/w.bin")))
    (folder / "sub").symlink_to(tmp_path)
    (folder / "real").write_bytes(bytes(4096))
    (folder / "link").symlink_to("real")
    with pytest.raises(InputError, match=r"needs 'sub/w\.bin' beside it, which is a link"):
        TARGET.files(path)
    (folder / "sub").unlink()
    assert names(path) == ["m.onnx", "link", "sub/w.bin"]


def test_caches_that_link_to_their_files_are_read(tmp_path: Path) -> None:
    blobs, shown = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    shown.mkdir()
    saved(blobs / "1f", model(tensor("w", "m.data")))
    (blobs / "2e").write_bytes(np.ones((SIDE, SIDE), np.float32).tobytes())
    (shown / "m.onnx").symlink_to("../blobs/1f")
    (shown / "m.data").symlink_to("../blobs/2e")
    assert names(shown / "m.onnx") == ["m.onnx", "m.data"]
    value = TARGET.open(shown / "m.onnx", 1).run([np.ones((1, SIDE), np.float32)])[0]
    assert value[0, 0] == SIDE


@pytest.mark.parametrize(
    "content",
    [
        b"", b"location", b"\x3a\xff\xff\xff\xff\x0f location",
        b"\x3a" + b"\xff" * 12 + b"location", b"\x00\x00location",
        b"\x3b\x0a\x08location\x3c", b"\x0f location",
    ],
)  # fmt: skip
def test_what_is_no_onnx_file_names_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert TARGET.files(path) == (path,)
    assert TARGET.files(tmp_path / "missing.onnx") == (tmp_path / "missing.onnx",)
    assert TARGET.files(tmp_path) == (tmp_path,)


def test_a_file_of_endless_parts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_onnx_files, "MOST_FIELDS", 10)
    path = saved(tmp_path / "m.onnx", model(*(tensor(f"w{i}", "w.bin") for i in range(20))))
    with pytest.raises(InputError, match="has over 10 parts: expected a network"):
        TARGET.files(path)


def test_messages_inside_one_another_end(tmp_path: Path) -> None:
    def nested(levels: int) -> bytes:
        inner = _field(5, tensor("w", "w.bin").SerializeToString())
        for _ in range(levels):
            inner = _field(1, _field(5, _field(6, inner)))  # node, attribute, graph
        return _field(7, inner)

    path = tmp_path / "m.onnx"
    path.write_bytes(nested(10))
    assert names(path) == ["m.onnx", "w.bin"]
    path.write_bytes(nested(1000))
    assert names(path) == ["m.onnx"]


def test_a_change_of_the_file_is_seen(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", model(tensor("w", "one.bin")))
    assert names(path) == ["m.onnx", "one.bin"]
    rename_to(path, "another.bin")
    assert names(path) == ["m.onnx", "another.bin"]


def test_names_are_found_without_the_package_onnx(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", model(tensor("w", "there.bin")))
    code = (
        "import sys, pathlib; from exporters.onnx import TARGET; "
        f"assert len(TARGET.files(pathlib.Path({str(path)!r}))) == 2; "
        "print(sorted({'onnx', 'torch', 'onnxruntime'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(_onnx_files.__file__).parents[1], capture_output=True
    )
    assert done.stdout.decode().strip() == "[]", done.stderr.decode()


def test_weights_stay_where_they_are(tmp_path: Path) -> None:
    whole = saved(tmp_path / "m.onnx", model(tensor("w")))
    x = [np.full((1, SIDE), 2.0, np.float32)]
    (expected,) = TARGET.open(whole, 1).run(x)
    beside = move_out(whole)
    before = beside.read_bytes()
    TARGET.embed(whole, "words")
    assert TARGET.extract(whole) == "words"
    assert beside.read_bytes() == before
    assert whole.stat().st_size < len(before)
    (value,) = TARGET.open(whole, 1).run(x)
    assert np.array_equal(value, expected)
    (name, shown), *_ = TARGET.activations(whole, x)
    assert name == "y"
    assert np.array_equal(shown, expected)
    rebatched = TARGET.open(whole, 1, batch=3).run([np.repeat(x[0], 3, 0)])[0]
    assert np.array_equal(rebatched, np.repeat(expected, 3, 0))
    (time, *_) = TARGET.operators(whole, x, threads=1, runs=2)
    assert time.kind == "MatMul"


def test_weights_that_no_onnx_file_holds_are_refused_before_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    network: Any = torch.nn.Linear(4, 4, device="meta")
    monkeypatch.setattr(onnx_target, "LARGEST_WEIGHTS", 79)
    with pytest.raises(ModelError, match="GiB of weights, and an ONNX file holds"):
        TARGET.export(
            network, of_image(torch.ones(1, 4)), tmp_path / "m.onnx", TARGET.schemes["fp32"]
        )
    large = torch.nn.Linear(2**15, 2**14, device="meta")
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"has 2\.00 GiB of weights"):
        TARGET.export(
            large, of_image(torch.ones(1, 4)), tmp_path / "m.onnx", TARGET.schemes["fp32"]
        )
