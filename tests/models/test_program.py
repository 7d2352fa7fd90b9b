"""Exported programs (``.pt2``), good ones and hostile ones."""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from torch import Tensor, nn
from torch.export import Dim

from edgekit.models.source import open_model


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.scores = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.scores(self.norm(self.conv(x)).relu().mean((2, 3)))
        return scores


def network() -> Network:
    torch.manual_seed(0)
    model = Network()
    model(torch.randn(8, 3, 32, 32))
    return model.eval()


def save(
    path: Path,
    model: nn.Module,
    shape: tuple[int, ...],
    shapes: Any = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    example = torch.zeros(shape, dtype=dtype)
    program = torch.export.export(model, (example,), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("pt2") / "fixed.pt2", network(), (1, 3, 32, 32))


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes = ({0: Dim("n"), 2: Dim("h", min=16, max=96), 3: Dim("w", min=16, max=96)},)
    return save(tmp_path_factory.mktemp("pt2") / "any.pt2", network(), (2, 3, 32, 32), shapes)


def images(n: int, side: int) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(2))


def test_a_fixed_program_computes_what_its_network_does(fixed: Path) -> None:
    model = open_model(str(fixed))
    assert (model.name, model.resolution, model.classes) == ("fixed", 32, 4)
    assert model.trained
    with torch.no_grad():
        expected = network()(images(3, 32))
        assert torch.allclose(model.module(images(3, 32)), expected, rtol=1e-6)


def test_a_dynamic_program_takes_every_size_in_its_range(dynamic: Path) -> None:
    assert open_model(str(dynamic)).resolution == 96  # 224, as near as it can
    for side in (16, 48, 96):
        model = open_model(str(dynamic), resolution=side)
        with torch.no_grad():
            expected = network()(images(2, side))
            assert torch.allclose(model.module(images(2, side)), expected, rtol=1e-6)


@pytest.mark.parametrize("side", [8, 97])
def test_a_size_outside_its_range_is_refused(side: int, dynamic: Path, run: CommandLine) -> None:
    result = run("describe", dynamic, "--resolution", side)
    assert (result.code, result.out) == (3, "")
    assert f"any.pt2 takes 16 to 96 px, not {side}" in result.message


def test_a_fixed_size_cannot_be_changed(fixed: Path, run: CommandLine) -> None:
    result = run("describe", fixed, "--resolution", 64)
    assert result.code == 3
    assert "fixed.pt2 takes 32 x 32 px only, not 64" in result.message


def test_programs_are_exported_and_used_like_networks(fixed: Path, run: CommandLine) -> None:
    done = run("export", fixed, "-t", "onnx,openvino", "-o", "out", "--json")
    assert done.code == 0, done.err
    for file in done.json["artifacts"]:
        assert file["agreement"]["sqnr_db"] > 90
        assert run("verify", file["path"], "--against", fixed).code == 0
    described = run("describe", fixed, "--json").json
    assert described["params"] == sum(p.numel() for p in network().parameters())


class Two(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return (x + y).mean((2, 3))


class Map(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float().mean((2, 3))


@pytest.mark.parametrize("decomposed", [False, True])
def test_norms_without_running_statistics_are_in_no_mode(decomposed: bool, tmp_path: Path) -> None:
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    model = nn.Sequential(norm, Mean()).eval()
    program = torch.export.export(model, (images(1, 32),))
    torch.export.save(program.run_decompositions() if decomposed else program, tmp_path / "n.pt2")
    assert open_model(str(tmp_path / "n.pt2")).classes == 3


UNFIT: dict[str, tuple[Callable[[Path], object], str]] = {
    "batch of eight": (
        lambda p: save(p, network(), (8, 3, 32, 32)),
        "takes batches of 8 only: export it with batch 1",
    ),
    "batch from four": (
        lambda p: save(p, network(), (8, 3, 32, 32), ({0: Dim("n", min=4, max=16)},)),
        "takes batches from 4 to 16",
    ),
    "grey": (
        lambda p: save(p, nn.Conv2d(1, 2, 3), (1, 1, 32, 32)),
        "takes 1 channels: expected images (N, 3, H, W)",
    ),
    "vector": (lambda p: save(p, nn.Linear(3, 2), (1, 3)), "takes (1, 3): expected one input"),
    "oblong": (
        lambda p: save(p, network(), (1, 3, 32, 48)),
        "takes no square images: its height is 32 and its width 48 px",
    ),
    "oblong of any width": (
        lambda p: save(p, network(), (1, 3, 32, 64), ({3: Dim("w", min=48)},)),
        "its height is 32 and its width at least 48 px",
    ),
    "training mode": (
        lambda p: save(p, network().train(), (1, 3, 32, 32)),
        "exported in training mode ('batch_norm' in it says so): call .eval()",
    ),
    "training mode, decomposed": (
        lambda p: torch.export.save(
            torch.export.export(
                network().train(), (torch.zeros(1, 3, 32, 32),)
            ).run_decompositions(),
            p,
        ),
        "exported in training mode",
    ),
    "active dropout": (
        lambda p: save(p, nn.Sequential(Mean(), nn.Dropout()), (1, 3, 32, 32)),
        "exported in training mode ('dropout' in it says so)",
    ),
    "halves": (
        lambda p: save(p, Mean(), (1, 3, 32, 32), dtype=torch.float16),
        "takes float16 input: expected float32",
    ),
    "pixels": (
        lambda p: save(p, Mean(), (1, 3, 32, 32), dtype=torch.uint8),
        "takes uint8 input: expected float32",
    ),
    "feature map": (
        lambda p: save(p, Map(), (1, 3, 32, 32)),
        "expected one tensor of class scores",
    ),
    "empty": (lambda p: p.write_bytes(b""), "is empty (0 bytes)"),
    "text": (lambda p: p.write_text("no archive"), "is no exported program, or is cut short"),
    "missing": (lambda p: None, "does not exist"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_programs_that_cannot_be_used_are_refused(
    kind: str, tmp_path: Path, run: CommandLine
) -> None:
    make, expected = UNFIT[kind]
    make(tmp_path / "net.pt2")
    result = run("export", "net.pt2", "-t", "onnx", "-o", "out", "--task", "classify")
    assert (result.code, result.out) == (3, "")
    assert "net.pt2" in result.message
    assert expected in result.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_program_cut_short_is_refused(
    share: float, fixed: Path, tmp_path: Path, run: CommandLine
) -> None:
    whole = fixed.read_bytes()
    (tmp_path / "cut.pt2").write_bytes(whole[: int(len(whole) * share)])
    result = run("describe", "cut.pt2")
    assert result.code == 3
    assert "cut.pt2 is no exported program, or is cut short" in result.message


class Hostile:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def rewritten(source: Path, target: Path, edit: Callable[[str, bytes], bytes | None]) -> None:
    """A copy of an archive with changed parts; an edit that gives None leaves a part out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = edit(name, old.read(name))
            if content is not None:
                new.writestr(name, content)


def _in_graph(edit: Callable[[Any], None]) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        data = json.loads(content)
        edit(data)
        return json.dumps(data).encode()

    return change


def _hostile_target(data: Any) -> None:
    data["graph_module"]["graph"]["nodes"][0]["target"] = "os.system"


def _hostile_shape(data: Any) -> None:
    code = "__import__('pathlib').Path('executed').touch()"
    data["range_constraints"] = {"s0": {"min_val": 1, "max_val": 4}}
    value = {"as_expr": {"expr_str": code, "hint": None}}
    data["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = value


def _hostile_guard(data: Any) -> None:
    data["guards_code"] = ["__import__('pathlib').Path('executed').touch()"]


def _pickled(name: str, content: bytes) -> bytes:
    hostile = name.endswith(("weights/weight_0", "sample_inputs/model.pt"))
    return pickle.dumps(Hostile()) if hostile else content


HOSTILE: dict[str, tuple[Callable[[str, bytes], bytes | None], str | None]] = {
    "operator": (_in_graph(_hostile_target), "the operator 'os.system'"),
    "shape": (_in_graph(_hostile_shape), "a shape written as"),
    "guard": (_in_graph(_hostile_guard), None),  # guards are not run at all
    # A pickle in place of a weight has too few bytes for it, which the reader logs only.
    "sample inputs": (_pickled, "as an exported program (setStorage: sizes [8, 3, 3, 3]"),
    "pickled weights": (
        lambda name, content: (
            content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
            if name.endswith("weights_config.json")
            else content
        ),
        "pickled tensors",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_of_a_hostile_program_runs(
    kind: str, fixed: Path, tmp_path: Path, run: CommandLine
) -> None:
    edit, expected = HOSTILE[kind]
    rewritten(fixed, tmp_path / "bad.pt2", edit)
    result = run("describe", "bad.pt2")
    assert not (tmp_path / "executed").exists()
    assert not logging.getLogger("torch.export").filters  # others' logs are shown
    if expected is not None:
        assert result.code == 3
        assert expected in result.message


def test_what_the_reader_logs_stays_out_of_the_message(
    fixed: Path, tmp_path: Path, cli: CommandLine
) -> None:
    rewritten(fixed, tmp_path / "bad.pt2", _pickled)
    result = cli("describe", "bad.pt2")  # a process of its own: loggers keep the stream they find
    assert result.code == 3
    assert len(result.err.splitlines()) == 1, result.err
    assert "warnings above" not in result.message


def test_native_code_in_an_archive_is_refused(
    fixed: Path, tmp_path: Path, run: CommandLine
) -> None:
    rewritten(fixed, tmp_path / "bad.pt2", lambda _, content: content)
    with zipfile.ZipFile(tmp_path / "bad.pt2", "a") as archive:
        archive.writestr("fixed/data/aotinductor/model/code.so", b"\x7fELF")
    result = run("describe", "bad.pt2")
    assert result.code == 3
    assert "it holds a part 'fixed/data/aotinductor/model/code.so'" in result.message


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"x.json": "[" + "{}," * 2_000_000 + "{}]"},
            "'fixed/models/x.json' is no JSON: it has too",
        ),
        ({f"{i}.json": f'"{"x" * (13 << 20)}"' for i in range(5)}, "it holds a graph of over 64 M"),
    ],
    ids=["of many parts", "long"],
)
def test_graphs_have_a_bound(
    parts: dict[str, str], said: str, fixed: Path, tmp_path: Path, run: CommandLine
) -> None:
    rewritten(fixed, tmp_path / "bad.pt2", lambda _, content: content)
    with zipfile.ZipFile(tmp_path / "bad.pt2", "a") as archive:
        for name, text in parts.items():
            archive.writestr(f"fixed/models/{name}", text)
    result = run("describe", "bad.pt2")
    assert (result.code, result.out) == (3, "")
    assert said in result.message
