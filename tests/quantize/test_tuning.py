"""Tuning with files that are only records: what is measured, kept and noted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_artifacts import Artifacts

from edgekit import registry, tables
from edgekit.contract import load
from edgekit.core import OperatorTime, Scheme
from edgekit.devices.device import Device
from edgekit.errors import UnavailableError
from edgekit.quantize import tuning
from edgekit.quantize.ladder import Built
from edgekit.quantize.tuning import TuningJournal, tune

TARGET: Any = registry.target("onnx")
SCHEME = TARGET.schemes["int8"]
MACHINE = {"processor": "one"}


def builder(content: Callable[[Scheme], str]) -> Callable[[str, Scheme], Built]:
    def build(name: str, scheme: Scheme) -> Built:
        artifact: Any = SimpleNamespace(scheme=scheme)
        return Built(Path(content(scheme)), scheme, artifact, content(scheme), 0.0, list)

    return build


def run(
    folder: Path,
    content: Callable[[Scheme], str],
    accepts: Callable[[Built], str | None] = lambda built: None,
    conditions: Mapping[str, object] = MACHINE,
) -> tuning.Tuned:
    journal = TuningJournal(folder / "journal.json", conditions)
    return tune(TARGET, SCHEME, builder(content), None, accepts, journal, lambda text: None)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were measured; what has ``clamp`` in it is faster."""
    found: list[str] = []

    def measure(one: Built, other: Built, device: Device) -> tuple[float, float, float]:
        found.append(str(one.path))
        return (0.8, 0.79, 0.81) if "clamp" in str(one.path) else (1.0, 0.99, 1.01)

    monkeypatch.setattr(tuning, "_measured", measure)
    return found


def test_equal_files_are_measured_once(measured: list[str], tmp_path: Path) -> None:
    found = run(tmp_path, lambda scheme: "same")
    assert measured == []
    assert [one.verdict for one in found.candidates] == ["first"]


def test_the_faster_form_is_kept(measured: list[str], tmp_path: Path) -> None:
    found = run(tmp_path, lambda scheme: scheme.forms["hardswish"])
    assert measured == ["clamp"]
    assert found.built.artifact.scheme.forms["hardswish"] == "clamp"
    assert found.candidates[1].verdict == "faster"


def test_measurements_of_other_conditions_are_no_use(measured: list[str], tmp_path: Path) -> None:
    for conditions in (MACHINE, MACHINE, {"processor": "another"}):
        run(tmp_path, lambda scheme: scheme.forms["hardswish"], conditions=conditions)
    assert measured == ["clamp", "clamp"]


def test_what_does_not_change_the_speed_is_not_measured(
    measured: list[str], tmp_path: Path
) -> None:
    target, asked = registry.target("openvino"), []

    def build(name: str, scheme: Scheme) -> Built:
        asked.append(dict(scheme.forms))
        return builder(lambda scheme: str(scheme.forms))(name, scheme)

    journal = TuningJournal(tmp_path / "journal.json", MACHINE)
    tune(target, SCHEME, build, None, lambda built: None, journal, lambda text: None)
    assert {"activations": "performance", "bias": "fast", "weights": "8bit"} in asked
    assert {forms["bias"] for forms in asked} == {"fast"}
    assert len(measured) == len(asked) - 1


def test_what_is_not_accepted_is_dropped_however_fast(measured: list[str], tmp_path: Path) -> None:
    found = run(
        tmp_path,
        lambda scheme: scheme.forms["hardswish"],
        lambda built: "loses 3.00 points of top-1" if "clamp" in str(built.path) else None,
    )
    assert measured == []
    assert found.candidates[1].verdict == "dropped: loses 3.00 points of top-1"
    assert found.built.artifact.scheme.forms["hardswish"] == "native"


def test_a_first_file_that_is_not_accepted_gives_way(measured: list[str], tmp_path: Path) -> None:
    found = run(
        tmp_path,
        lambda scheme: scheme.forms["mean"],
        lambda built: "failed verification" if str(built.path) == "mean" else None,
    )
    assert measured == []
    assert [one.verdict for one in found.candidates] == [
        "first, but failed verification", "first to be accepted",
    ]  # fmt: skip
    assert found.built.artifact.scheme.forms["mean"] == "pool"


def test_a_runtime_that_is_lost_while_a_candidate_is_written_ends_it(
    measured: list[str], tmp_path: Path
) -> None:
    def content(scheme: Scheme) -> str:
        if scheme.forms["mean"] == "pool":
            raise UnavailableError("no runtime")
        return scheme.forms["hardswish"]

    with pytest.raises(UnavailableError, match="no runtime"):
        run(tmp_path, content)
    assert measured == ["clamp"]
    assert (tmp_path / "journal.json").exists()


@pytest.mark.parametrize("entry", [[1.0], "x", [1.0, 2.0, 3.0, 4.0], None])
def test_a_damaged_note_is_measured_again(
    entry: object, measured: list[str], tmp_path: Path
) -> None:
    data = {"schema": tuning.SCHEMA, "ratios": {"clamp/native": entry}}
    (tmp_path / "journal.json").write_text(json.dumps(data))
    run(tmp_path, lambda scheme: scheme.forms["hardswish"])
    assert measured == ["clamp"]


def test_what_was_measured_is_not_measured_again(measured: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        found = run(tmp_path, lambda scheme: scheme.forms["hardswish"])
        assert found.candidates[1].ratio == 0.8
    assert measured == ["clamp"]


def test_a_measurement_that_is_cut_short_is_not_noted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cut = SimpleNamespace(interrupted=True, ratio=SimpleNamespace(ratio=1.0, ci95=(0.5, 2.0)))
    monkeypatch.setattr(tuning, "compare", lambda *_, **__: cut)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, lambda scheme: scheme.forms["hardswish"])
    assert not (tmp_path / "journal.json").exists()


class Told:
    """A target whose runtime tells what operators take; by name of the file."""

    name, runtime, forms = "onnx", "ONNX Runtime", {"hardswish": ("native",)}

    def __init__(self, times: Mapping[str, Mapping[str, float]]) -> None:
        self.times = times

    def float_kind(self, kind: str) -> str:
        return TARGET.float_kind(kind)

    def operators(self, path: Path, *_: object, **__: object) -> list[OperatorTime]:
        return [OperatorTime(kind, kind, ms) for kind, ms in self.times[path.name].items()]


def test_a_faster_float_file_is_told_with_what_takes_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "_measured", lambda one, other, device: (0.8, 0.7, 0.9))
    monkeypatch.setattr(tuning, "Profilable", Told)
    target: Any = Told(
        {
            "fp32": {"FusedConv": 2.0, "Conv": 1.0, "HardSwish": 0.3},
            "int8": {"QLinearConv": 1.0, "HardSwish": 0.5, "DequantizeLinear": 0.9, "Add": 0.001},
        }
    )

    def build(name: str, scheme: Scheme) -> Built:
        artifact: Any = SimpleNamespace(scheme=scheme, inputs=())
        return Built(Path(scheme.precision), scheme, artifact, scheme.precision, 0.0, list)

    floats = TARGET.schemes["fp32"]
    found = tune(
        target, SCHEME, build, lambda: build("fp32", floats), lambda built: None,
        TuningJournal(tmp_path / "journal.json", MACHINE), lambda text: None,
    )  # fmt: skip
    assert found.candidates[-1].precision == "fp32"
    assert found.warning is not None
    assert "fp32 is faster than int8 on ONNX Runtime here: 0.80 times its latency" in found.warning
    told = found.warning.partition("; ")[2]
    assert told == "more time goes to DequantizeLinear (+0.90 ms), HardSwish (+0.20 ms)"


@pytest.mark.parametrize("name", tables.TARGETS)
def test_runtimes_tell_times_by_kind(name: str, artifacts: Artifacts) -> None:
    target: Any = registry.target(name)
    path = artifacts[name, "fp32"]
    built: Any = SimpleNamespace(path=path, artifact=load(path))
    times = tuning._times_by_kind(target, built)
    assert any("conv" in kind.lower() for kind in times)
    assert all(ms >= 0 for ms in times.values())
    assert sum(times.values()) > 0
