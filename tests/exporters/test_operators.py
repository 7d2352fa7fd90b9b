"""Operator times, and inferences prepared for timing, of every target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from edgekit import registry, tables
from edgekit.core import OperatorTime, Profilable
from edgekit.errors import InputError
from edgekit.native_output import captured

if TYPE_CHECKING:
    from edgekit.core import Array

Artifacts = Mapping[tuple[str, str], Path]

# What the network has of each, as every runtime names its kinds in its own way.
CONVOLUTIONS = ("Conv", "Convolution", "GroupConvolution", "CONV_2D", "DEPTHWISE_CONV_2D")


def inputs(target: str, path: Path, seed: int = 0) -> list[Array]:
    (spec,), _ = registry.target(target).open(path).tensors()
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(spec.shape).astype(spec.dtype)]


def times(target: str, path: Path, threads: int = 1, runs: int = 2) -> tuple[OperatorTime, ...]:
    profilable = registry.target(target)
    assert isinstance(profilable, Profilable)
    with captured():
        return profilable.operators(path, inputs(target, path), threads=threads, runs=runs)


def convolutions(run: Path) -> set[str]:
    """Paths of the network's convolutions."""
    state = torch.load(run / "model.pt", weights_only=True)["state"]
    return {name.removesuffix(".weight") for name, value in state.items() if value.ndim == 4}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("target", tables.TARGETS)
def test_every_convolution_is_told_by_its_module_in_order(
    target: str, precision: str, artifacts: Artifacts, trained_run: Path
) -> None:
    found = [
        operator
        for operator in times(target, artifacts[target, precision])
        if operator.kind in CONVOLUTIONS
    ]
    expected = convolutions(trained_run)
    paths = [operator.name.split("/")[0] for operator in found]
    # An activation that the converter fused gives its name to the operator.
    owners = {path.rpartition(".")[0] for path in paths}
    assert {path.rpartition(".")[0] for path in expected} == owners
    assert len(found) == len(expected)
    assert paths[0].startswith("stem.")
    blocks = [int(path.split(".")[1]) for path in paths if path.startswith("blocks.")]
    assert blocks == sorted(blocks)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_times_are_positive_and_take_most_from_the_layers_that_compute(
    target: str, artifacts: Artifacts
) -> None:
    found = times(target, artifacts[target, "fp32"], runs=20)
    assert all(operator.ms >= 0 and operator.kind for operator in found)
    computing = sum(o.ms for o in found if o.kind in (*CONVOLUTIONS, "Gemm", "FullyConnected"))
    assert computing > 0


@pytest.mark.parametrize("target", tables.TARGETS)
def test_the_same_operators_run_on_two_threads(target: str, artifacts: Artifacts) -> None:
    path = artifacts[target, "fp32"]
    one, two = times(target, path), times(target, path, threads=2)
    assert [(o.name, o.kind) for o in one] == [(o.name, o.kind) for o in two]


@pytest.mark.parametrize("target", tables.TARGETS)
def test_a_damaged_file_has_no_operator_times(target: str, tmp_path: Path) -> None:
    profilable = registry.target(target)
    assert isinstance(profilable, Profilable)
    path = tmp_path / f"broken{profilable.suffix}"
    path.write_bytes(b"this is no network")
    image = [np.zeros((1, 3, 32, 32), np.float32)]
    with pytest.raises(InputError, match="broken"), captured():
        profilable.operators(path, image, threads=1, runs=1)


@pytest.mark.parametrize("target", tables.TARGETS)
def test_profiling_leaves_nothing_behind(
    target: str, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = artifacts[target, "fp32"].resolve()
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    times(target, path)
    assert list(tmp_path.iterdir()) == []
    after = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    assert before == after


@pytest.mark.parametrize("target", tables.TARGETS)
def test_a_prepared_inference_computes_what_run_computes(target: str, artifacts: Artifacts) -> None:
    path = artifacts[target, "fp32"]
    with captured():
        runner, other = registry.target(target).open(path, 1), registry.target(target).open(path, 1)
    first, second = inputs(target, path, seed=1), inputs(target, path, seed=2)
    infer = runner.prepare(first)
    for _ in range(3):
        infer()
    kept = runner.outputs()
    runner.prepare(second)()
    again = runner.outputs()
    for values, image in ((kept, first), (again, second)):
        assert [v.dtype for v in values] == [np.dtype(t.dtype) for t in runner.tensors()[1]]
        for value, expected in zip(values, other.run(image), strict=True):
            assert np.array_equal(value, expected)
    assert not np.array_equal(kept[0], again[0])


@pytest.mark.parametrize("target", tables.TARGETS)
def test_a_run_behind_a_prepared_inference_takes_its_own_inputs(
    target: str, artifacts: Artifacts
) -> None:
    path = artifacts[target, "fp32"]
    with captured():
        runner = registry.target(target).open(path, 1)
    first, second = inputs(target, path, seed=1), inputs(target, path, seed=2)
    expected = runner.run(second)
    runner.prepare(first)()
    assert np.array_equal(runner.run(second)[0], expected[0])
    assert not np.array_equal(runner.run(first)[0], expected[0])


def test_what_runs_in_a_branch_is_counted_once(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    def branch(name: str, kind: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [1, 64, 64])
        node = helper.make_node(kind, ["image"], [f"{name}_out"], name=f"{name}_node")
        return helper.make_graph([node], name, [], [out])

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 64, 64])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 64, 64])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    nodes = [
        helper.make_node("ReduceSum", ["image"], ["sum"], name="sum", keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"], name="greater"),
        helper.make_node(
            "If", ["positive"], ["scores"], name="choice",
            then_branch=branch("then", "Erf"), else_branch=branch("other", "Tan"),
        ),
    ]  # fmt: skip
    graph = helper.make_graph(nodes, "choosing", [image], [scores], [zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, tmp_path / "if.onnx")
    kinds = [operator.kind for operator in times("onnx", tmp_path / "if.onnx")]
    assert "If" in kinds
    assert not {"Erf", "Tan"} & set(kinds)
