"""Names are data, never paths: no string of a file leads a command out of its output folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from damage import contracts
from hypothesis import given
from hypothesis import strategies as st
from small_artifacts import Artifacts

from edgekit import registry
from edgekit.core import names
from edgekit.search.records import step_of

HOSTILE = [
    "../../x", "/abs", "..", "", "a/b", "a\\b", "C:x", "a\x00b", "a\x1b[31mb", "a\nb", "a\u202eb",
    "CON", "nul.txt", "Lpt1", "COM9.onnx", "a.", " a", "x" * 5000, "\udc80", "a|b", "a?",
]  # fmt: skip


@given(st.text() | st.sampled_from(HOSTILE), st.sampled_from(["", "-fp32.onnx", ".1.pt"]))
def test_a_file_name_is_one_part_of_a_path(name: str, ending: str) -> None:
    folder = Path("/some/folder")
    try:
        path = folder / names.file_name(name, ending)
    except ValueError:
        return
    assert path.parent == folder
    assert path.name == name + ending
    assert Path(*path.parts[:-1], "..").parts[-1] == ".."
    assert "\0" not in str(path)
    assert len(path.name.encode()) <= 255


@given(st.text() | st.sampled_from(HOSTILE))
def test_a_relative_path_of_a_document_stays_in_its_folder(words: str) -> None:
    folder = Path("/some/folder")
    try:
        path = names.inside(folder, words)
    except ValueError:
        return
    assert folder in path.parents
    assert ".." not in path.parts


def test_files_of_a_document_have_what_is_written_around_a_name() -> None:
    longest = "x" * names.LONGEST
    file = names.file_name(longest, "-int8-dynamic.onnx.data")
    assert names.inside(Path("a"), f"step-01/{file}") == Path("a", "step-01", file)
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        names.inside(Path("a"), f"step-01/{'x' * 256}")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(name: str) -> None:
    assert names.problem_of(name) is not None
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        names.file_name(name)


@pytest.mark.parametrize("name", [*registry.model_names(), "tiny-adapted", "mnasnet-b1@0.75", "é"])
def test_names_of_networks_can_be_file_names(name: str) -> None:
    assert names.file_name(name) == name


@pytest.fixture
def outside(tmp_path: Path) -> Callable[[], set[Path]]:
    """Files and folders beside the one that a command works in, two levels up."""
    work = tmp_path / "below" / "work"
    return lambda: {p for p in tmp_path.rglob("*") if work not in p.parents}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "below" / "work"
    monkeypatch.setenv("EDGEKIT_HOME", str(folder / "home"))
    folder.mkdir(parents=True)
    return folder


def _written(work: Path) -> set[str]:
    return {p.name for p in work.iterdir() if p.name not in ("home",)}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_checkpoint_whose_network_has_a_hostile_name_is_refused(
    name: str,
    short_network: Path,
    run: CommandLine,
    work: Path,
    outside: Callable[[], set[Path]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = torch.load(short_network, weights_only=True)
    content["spec"]["name"] = name
    try:
        torch.save(content, work / "x.pt")
    except UnicodeEncodeError:
        pytest.skip("no file holds it")
    before = outside()
    for words in (
        ["export", work / "x.pt", "-t", "onnx", "-o", work / "out"],
        ["describe", work / "x.pt"],
        ["search", work / "x.pt", "--budget", "macs=0.9x", "-o", work / "out"],
    ):
        result = run(*words)
        assert (result.code, result.out) == (3, ""), result.err
        assert "x.pt was not loaded: its network is named" in result.message
        assert result.message.isprintable()
    assert (outside(), _written(work)) == (before, {"x.pt"})


@pytest.mark.parametrize("field", ["path", "spec"])
@pytest.mark.parametrize("name", [n for n in HOSTILE if n != "\udc80"])
def test_a_contract_with_a_hostile_name_is_refused(
    name: str,
    field: str,
    artifacts: Artifacts,
    copied: Callable[[Path], Path],
    run: CommandLine,
) -> None:
    path = copied(artifacts["onnx", "fp32"])
    data = json.loads(Path(f"{path}.json").read_text())
    if field == "path":
        data["path"] = name
    else:
        data["spec"]["name"] = name
    contracts.sign(path, data)
    result = run("describe", path)
    assert (result.code, result.out) == (3, "")
    assert "the contract has the name" in result.message
    assert result.message.isprintable()


@pytest.mark.parametrize("model", ["package:../../x", "package:/abs", "package:a\\b"])
def test_a_recipe_names_no_folder_outside(
    model: str, run: CommandLine, work: Path, outside: Callable[[], set[Path]]
) -> None:
    (work / "r.toml").write_text(f"model = {json.dumps(model)}\ndata = 'digits'\n")
    before = outside()
    result = run("train", "--recipe", work / "r.toml", "--epochs", "1")
    assert result.code == 2, result.err
    assert outside() == before


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "con", "nul.x", "a.", ""])
def test_a_device_has_no_hostile_name(
    name: str, run: CommandLine, work: Path, outside: Callable[[], set[Path]]
) -> None:
    before = outside()
    result = run("devices", "add", name)
    assert result.code == 2, result.err
    assert outside() == before


STEP: dict[str, Any] = {
    "series": "netadapt", "step": 1, "kind": "adapted", "spec": None, "changed": None,
    "width": None, "costs": {}, "ratio": None, "ci95": [], "latency_ci95": [], "energy_ci95": [],
    "predicted": None, "top1": 0.5, "network_top1": 0.5, "params": 1, "trained_steps": 0,
    "checkpoint": "step-01/model.pt", "artifact": "step-01/x-fp32.onnx",
}  # fmt: skip


@pytest.mark.parametrize("field", ["series", "checkpoint", "artifact"])
@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../../b", "..", "a\x00b"])
def test_a_step_of_a_journal_has_no_files_outside(
    field: str, name: str, tmp_path: Path, run: CommandLine
) -> None:
    from edgekit.core import to_json
    from edgekit.errors import InputError
    from edgekit.models import find_spec

    spec = to_json(find_spec("mobilenetv1@0.25"))
    assert step_of({**STEP, "spec": spec}).step == 1
    with pytest.raises(InputError, match="the search's journal is damaged"):
        step_of({**STEP, "spec": spec, field: name})
