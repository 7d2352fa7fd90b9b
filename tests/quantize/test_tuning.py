"""Tuning with files that are only records: what is measured, kept and noted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit import registry
from edgekit.core import Scheme
from edgekit.errors import UnavailableError
from edgekit.quantize import tuning
from edgekit.quantize.ladder import Built
from edgekit.quantize.tuning import Journal, tune

TARGET = registry.target("onnx")
SCHEME = TARGET.schemes["int8"]


def builder(content: Callable[[Scheme], str]) -> Callable[[str, Scheme], Built]:
    def build(name: str, scheme: Scheme) -> Built:
        artifact: Any = SimpleNamespace(scheme=scheme)
        return Built(Path(content(scheme)), artifact, content(scheme), 0.0, list)

    return build


def run(
    folder: Path,
    content: Callable[[Scheme], str],
    accepts: Callable[[Built], str | None] = lambda built: None,
) -> tuning.Tuned:
    journal = Journal(folder / "journal.json")
    return tune(TARGET, SCHEME, builder(content), None, accepts, journal, lambda text: None)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were measured; what has ``clamp`` in it is faster."""
    found: list[str] = []

    def measure(one: Built, other: Built) -> tuple[float, float, float]:
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


def test_what_does_not_change_the_speed_is_not_measured(
    measured: list[str], tmp_path: Path
) -> None:
    target, asked = registry.target("openvino"), []

    def build(name: str, scheme: Scheme) -> Built:
        asked.append(dict(scheme.forms))
        return builder(lambda scheme: str(scheme.forms))(name, scheme)

    journal = Journal(tmp_path / "journal.json")
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
    monkeypatch.setattr(tuning, "compare", lambda *_: cut)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, lambda scheme: scheme.forms["hardswish"])
    assert not (tmp_path / "journal.json").exists()
