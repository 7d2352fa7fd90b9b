"""What networks cost: counts, and times of parts that are measured once."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgekit import registry
from edgekit.agent import parts
from edgekit.conversion import export
from edgekit.core import ModelSpec
from edgekit.errors import InputError, ModelError, OutputError, UnavailableError
from edgekit.models import build, find_spec
from edgekit.models.count import layers
from edgekit.quantize.integers import Integers
from edgekit.registry import target
from edgekit.search import timing
from edgekit.search.costs import (
    CostTable,
    CountedMacs,
    CountedSize,
    MeasuredLatency,
    write_part,
)
from edgekit.search.groups import resized
from edgekit.search.parts import TAIL, WHOLE, Part, module_of, parts_of, whole_of
from edgekit.search.pricing import between_runs
from edgekit.search.timing import Timer

NAMES = ("mobilenetv1", "mobilenetv3-small", "shufflenetv2", "shufflenetv2plus-small")

COUNTED = (
    "mobilenetv1", "mobilenetv3-small", "mobilenetv4-conv-small", "mnasnet-a1", "efficientnet-b0",
    "efficientnetv2-b0", "shufflenetv1-g3", "shufflenetv2", "shufflenetv2plus-small",
)  # fmt: skip


def small(name: str) -> ModelSpec:
    return find_spec(f"{name}@0.35", classes=5, resolution=64)


class Clock:
    """In place of measuring: numbers of a part's name, one at a time."""

    def __init__(self) -> None:
        self.measured: list[str] = []
        self.calls = 0

    def __call__(self, parts: Sequence[tuple[ModelSpec, Part]]) -> list[float]:
        self.calls += 1
        self.measured += [part.key for _, part in parts]
        return [float(int(part.key[:4], 16)) for _, part in parts]


def costs(folder: Path, clock: Clock, **conditions: object) -> MeasuredLatency:
    table = CostTable(folder / "parts.sqlite", {"runtime": "1", **conditions})
    return MeasuredLatency(table, clock)


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_of_a_network_are_the_network(name: str) -> None:
    spec = small(name)
    torch.manual_seed(0)
    module = build(spec).eval()
    x = torch.randn(1, 3, 64, 64)
    expected = module(x)
    head = [] if isinstance(module.head, nn.Identity) else [module.head]
    *parts, tail = parts_of(spec)
    for part, layer in zip(parts, [module.stem, *module.blocks, *head], strict=True):
        assert tuple(x.shape[1:]) == part.shape
        x = layer(x)
    assert tuple(x.shape[1:]) == tail.shape
    x = module.pool(x)
    x = x if module.neck is None else module.neck(x)
    torch.testing.assert_close(module.classifier(module.flatten(x)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_part_is_a_network_of_its_own(name: str) -> None:
    spec = small(name)
    for part in parts_of(spec):
        module = module_of(spec, part.name)
        assert module(torch.randn(2, *part.shape)).ndim == 2
        assert not any(isinstance(m, nn.BatchNorm2d) and m.training for m in module.modules())


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_network_keeps_its_numbers_of_ordinary_size(name: str) -> None:
    spec = resized(small(name), {})
    module = module_of(spec, WHOLE)
    smallest = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, y: smallest.append(float(y.abs().max())))
    with torch.no_grad():
        module(torch.randn(1, 3, 64, 64))
    assert min(smallest) > 1e-3


def test_equal_parts_have_equal_keys_and_others_do_not() -> None:
    spec = find_spec("mobilenetv3-small", resolution=64)
    keys = {part.name: part.key for part in parts_of(spec)}
    assert keys["block4"] == keys["block5"]
    assert len(set(keys.values())) == len(keys) - 2
    narrow = {part.name: part.key for part in parts_of(resized(spec, {"block4.expand": 120}))}
    assert [name for name in keys if keys[name] != narrow[name]] == ["block4"]
    wide = {part.name: part.key for part in parts_of(resized(spec, {"stage2.out": 48}))}
    changed = [name for name in keys if keys[name] != wide[name]]
    assert set(changed) == {"block3", "block4", "block5", "block6"}
    smaller = find_spec("mobilenetv3-small", resolution=32)
    assert not set(keys.values()) & {part.key for part in parts_of(smaller)}


def test_a_corner_stands_for_what_a_part_gives() -> None:
    spec = small("mobilenetv1")
    (part,) = (part for part in parts_of(spec) if part.name == "block3")
    module, x = module_of(spec, part.name), torch.randn(2, *part.shape)
    block = next(iter(module.children()))
    assert block(x).shape[2] > 1
    torch.testing.assert_close(module(x), block(x)[:, :, 0, 0])


def test_parts_are_measured_once(tmp_path: Path) -> None:
    spec, clock = small("mobilenetv1"), Clock()
    first = costs(tmp_path, clock)
    found = first.of(spec)
    keys = [part.key for part in parts_of(spec)]
    assert found == sum(int(key[:4], 16) for key in keys)  # equal parts count each time
    assert sorted(clock.measured) == sorted(set(keys))
    assert clock.calls == 1
    assert first.of(spec) == found
    assert costs(tmp_path, clock).of(spec) == found
    assert clock.calls == 1
    first.of(resized(spec, {"block3.out": 16}))
    assert len(clock.measured) == len(set(keys)) + 2
    costs(tmp_path, clock, threads=2).of(spec)
    assert len(clock.measured) == 2 * len(set(keys)) + 2


def test_many_networks_are_prepared_at_once(tmp_path: Path) -> None:
    spec, clock = small("mobilenetv1"), Clock()
    found = costs(tmp_path, clock)
    others = [resized(spec, {"block3.out": n}) for n in (16, 24, 16)]
    found.prepare([spec, *others])
    assert clock.calls == 1
    assert all(found.of(one) > 0 for one in others)
    assert clock.calls == 1


def test_a_part_that_cannot_be_measured_makes_its_networks_infinite(tmp_path: Path) -> None:
    spec = small("mobilenetv1")
    wide = resized(spec, {"block3.out": 16})
    bad = {part.key for part in parts_of(wide)} - {part.key for part in parts_of(spec)}
    calls: list[str] = []

    def measure(parts: Sequence[tuple[ModelSpec, Part]]) -> Iterator[float]:
        calls.extend(part.key for _, part in parts)
        return (math.inf if part.key in bad else 1.0 for _, part in parts)

    table = CostTable(tmp_path / "parts.sqlite", {})
    found = MeasuredLatency(table, measure)
    assert found.of(spec) == len(parts_of(spec))
    assert math.isinf(found.of(wide))
    assert math.isinf(found.of(wide))
    assert len(calls) == len(set(calls))  # not tried again in this sitting
    assert all(table.get(key) is None for key in bad)


def test_what_was_measured_before_an_error_is_kept(tmp_path: Path) -> None:
    def measure(parts: Sequence[tuple[ModelSpec, Part]]) -> Iterator[float]:
        yield 1.0
        raise UnavailableError("the device is gone")

    table, spec = CostTable(tmp_path / "parts.sqlite", {}), small("mobilenetv1")
    with pytest.raises(UnavailableError):
        MeasuredLatency(table, measure).of(spec)
    assert table.get(parts_of(spec)[0].key) == 1.0


def test_a_full_disk_is_told_of(tmp_path: Path) -> None:
    table = CostTable(tmp_path / "parts.sqlite", {})
    table._connection.execute("PRAGMA max_page_count = 3")  # as if the disk were full
    part = parts_of(small("mobilenetv1"))[0]
    large = dataclasses.replace(part, key=part.key * 1000)
    with pytest.raises(OutputError, match=r"parts\.sqlite cannot hold .* full"):
        table.put(large, 1.0)


@pytest.mark.parametrize(
    ("target", "precision"), [("tflite", "int8"), ("onnx", "int8"), ("openvino", "fp32")]
)
def test_parts_are_written_in_the_precision_of_the_search(
    target: str, precision: str, tmp_path: Path
) -> None:
    found = registry.target(target)
    path = tmp_path / f"part{found.suffix}"
    spec = small("mobilenetv1")
    (part,) = (part for part in parts_of(spec) if part.name == "block3")
    write_part(spec, part, found, found.schemes[precision], path)
    inputs, outputs = found.open(path, 1).tensors()
    assert sorted(inputs[0].shape) == [1, 16, 16, 48]
    assert len(outputs[0].shape) == 2


@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_parts_inside_a_network_of_integers_take_and_give_integers(
    target: str, tmp_path: Path
) -> None:
    """But in OpenVINO, where they would take longer."""
    found, spec = registry.target(target), small("mobilenetv3-small")
    parts = {part.name: part for part in parts_of(spec)}
    scheme, kinds = Integers().scheme(found, "int8", None), {}
    for name in ("stem", "block5", TAIL):
        (tmp_path / name).mkdir()
        path = tmp_path / name / f"part{found.suffix}"
        write_part(spec, parts[name], found, scheme, path)
        inputs, outputs = found.open(path, 1).tensors()
        kinds[name] = {end.dtype for end in (*inputs, *outputs)}
    assert kinds["stem"] == kinds[TAIL] == {"float32"}
    if target == "openvino":
        assert kinds["block5"] == {"float32"}
    else:
        assert kinds["block5"] <= {"int8", "uint8"}


def test_a_part_that_ends_in_floats_gives_floats(tmp_path: Path) -> None:
    """ONNX has no integers of 16 bits for a hard-swish."""
    found, spec = registry.target("onnx"), small("mobilenetv3-small")
    (head,) = (part for part in parts_of(spec) if part.name == "head")
    scheme = Integers().scheme(found, "w8a16", None)
    write_part(spec, head, found, scheme, tmp_path / "part.onnx")
    inputs, outputs = found.open(tmp_path / "part.onnx", 1).tensors()
    assert {end.dtype for end in (*inputs, *outputs)} == {"float32"}


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("target", ["tflite", "onnx", "openvino"])
def test_every_part_is_written_in_every_precision(name: str, target: str, tmp_path: Path) -> None:
    found, spec = registry.target(target), small(name)
    for precision in found.schemes:
        scheme = Integers().scheme(found, precision, None)
        for part in parts_of(spec):
            folder = tmp_path / precision / part.name
            folder.mkdir(parents=True)
            path = folder / f"part{found.suffix}"
            write_part(spec, part, found, scheme, path)
            assert found.open(path, 1).tensors()[0]


@pytest.mark.parametrize("name", COUNTED)
def test_counts_are_those_of_the_network(name: str) -> None:
    spec = small(name)
    module = build(spec)
    macs = sum(layer.macs for layer in layers(module.eval(), 64))
    assert CountedMacs().of(spec) == macs
    assert CountedSize().of(spec) == sum(v.numel() for v in module.state_dict().values())


def test_parts_at_the_beginning_are_written_as_the_network_keeps_them(tmp_path: Path) -> None:
    target, spec = registry.target("tflite"), small("mobilenetv1")
    scheme = dataclasses.replace(target.schemes["int8"], forms={"stem": "narrow"})
    found = {}
    for part in parts_of(spec):
        path = tmp_path / f"{part.name}.tflite"
        write_part(spec, part, target, scheme, path)
        found[part.name] = target.float_operators(path)
    assert found.pop("stem")[0] == "CONV_2D"
    assert "DEPTHWISE_CONV_2D" in found.pop("block0")
    assert found.pop("block1") == ("DEPTHWISE_CONV_2D",)  # on few channels, which it makes more
    assert not any(found.values())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnavailableError, match="EDGEKIT_HOME"):
        CostTable(tmp_path / "file" / "parts.sqlite", {})


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    names = {"narrow": "mobilenetv1@0.25", "wide": "mobilenetv1"}
    return {
        key: export(name, ["tflite"], out=folder, resolution=64)[0].path
        for key, name in names.items()
    }


def test_a_wider_network_takes_longer(networks: dict[str, Path]) -> None:
    timer = Timer(target("tflite"), networks["narrow"], 1)
    try:
        narrow, wide = (timer.time(networks[key])[0] for key in ("narrow", "wide"))
    finally:
        timer.close()
    assert 0 < narrow < wide


@pytest.mark.parametrize(("between", "size"), [(0, 0), (2**20, 2**14)])
def test_as_much_as_the_network_has_is_read_between_two_runs(
    between: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    block = parts._block

    def noted(call: Callable[[], object], runs: int, others: parts.Numbers) -> float:
        read.append(others.size)
        assert not others.size or runs <= parts.MOST_RUNS
        return block(call, runs, others)

    monkeypatch.setattr(parts, "_block", noted)
    subject = SimpleNamespace(load=lambda: None, prepare=lambda loaded: lambda: None)
    timed = parts.Parts(subject, between)
    timed.time(subject, whole=False)
    part, read = read, []
    timed.time(subject, whole=True)
    assert sorted(set(part)) == sorted({0, size})
    assert set(read) == {0}


def test_it_is_read_before_every_run() -> None:
    order: list[str] = []
    others: Any = SimpleNamespace(sum=lambda: order.append("read"))
    parts._block(lambda: order.append("run"), 3, others)
    assert order == ["read", "run"] * 5


def test_large_networks_are_run_less_often() -> None:
    calls = 0

    def slow() -> None:
        nonlocal calls
        calls += 1
        time.sleep(1.2 * parts.SLOW_S)

    parts._ratio(slow, lambda: None, np.ones(0))
    assert calls <= 20


def test_the_last_layer_of_a_network_is_told_from_others() -> None:
    spec = small("mobilenetv1")
    assert [part.name for part in parts_of(spec) if part.ends] == [TAIL]


def test_networks_of_about_the_same_size_share_times() -> None:
    assert between_runs(1_000_000) == between_runs(1_200_000) == 2**20
    assert between_runs(4e9) == between_runs(1e8) == 2**24


def test_what_cannot_be_loaded_is_named(networks: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"nothing")
    timer = Timer(target("tflite"), networks["narrow"], 1)
    try:
        with pytest.raises(InputError, match=r"broken\.tflite"):
            timer.time(broken)
        assert timer.time(networks["narrow"])[0] > 0
    finally:
        timer.close()


def test_a_process_that_is_killed_is_started_anew(networks: dict[str, Path]) -> None:
    timer = Timer(target("tflite"), networks["narrow"], 1)
    try:
        first = timer.time(networks["narrow"])
        assert timer._agent is not None
        os.kill(timer._agent.pid, signal.SIGKILL)
        assert timer.time(networks["narrow"]) == pytest.approx(first, rel=10)
    finally:
        timer.close()


def test_what_hangs_is_ended(networks: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TIME_LIMIT_S", 0.05)
    timer = Timer(target("tflite"), networks["narrow"], 1)
    try:
        with pytest.raises(ModelError, match="crashed or hung twice"):
            timer.time(networks["wide"])
    finally:
        timer.close()


def test_a_whole_network_is_measured_once_as_its_parts_are(tmp_path: Path) -> None:
    spec, clock = small("mobilenetv1"), Clock()
    found = costs(tmp_path, clock).whole(spec)
    assert clock.measured == [whole_of(spec).key]
    named = dataclasses.replace(spec, name="another")
    assert costs(tmp_path, clock).whole(named) == found
    assert clock.calls == 1
    costs(tmp_path, clock).whole(resized(spec, {"block3.out": 16}))
    assert clock.calls == 2
