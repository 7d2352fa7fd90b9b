"""``edgekit report``, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import CommandLine
from report_records import search_document
from small_artifacts import Artifacts

from edgekit.contract import digest
from edgekit.core import Block, Energy, Measurement
from edgekit.measure.store import Store, save
from edgekit.report.search import render


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


def measurement(artifact: str, sha256: str | None = None) -> Measurement:
    times = tuple(1 + i / 100 for i in range(20))
    return Measurement(
        artifact,
        "onnx",
        "host",
        "ONNX Runtime 1.31.1",
        1,
        1,
        "2026-01-31T12:00:00+00:00",
        tuple(Block(float(i), i // 2, times, (2.0,) * 8) for i in range(6)),
        Energy("unavailable", reason="no meter"),
        sha256,
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save([measurement("a.onnx"), measurement("b.onnx")], tmp_path / "m.json")
    return tmp_path / "m.json"


def test_a_page_is_written(run: CommandLine, saved: Path, tmp_path: Path) -> None:
    result = run("report", "m.json", "-o", "new/page.html")
    assert (result.code, result.err) == (0, "")
    assert result.out == "new/page.html: 2 measurements\n"
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "b.onnx" in page
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_the_document_names_the_page_and_the_bytes_repeat(
    run: CommandLine, cli: CommandLine, saved: Path, tmp_path: Path
) -> None:
    result = run("report", "m.json", "-o", "one.html", "--json")
    assert result.json == {
        "schema": "edgekit.report/1",
        "path": "one.html",
        "measurements": 2,
        "accuracies": 0,
        "notes": [],
    }
    assert cli("report", "m.json", "-o", "two.html").code == 0  # another process
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_an_accuracy_that_evaluate_printed_is_joined(
    run: CommandLine, tmp_path: Path, artifacts: Artifacts
) -> None:
    path = artifacts["onnx", "fp32"]
    printed = run("evaluate", path, "--data", "digits", "--json")
    (tmp_path / "accuracy.json").write_text(printed.out, encoding="utf-8")
    Store().add([measurement(str(path), digest([path]))])
    result = run("report", path, "accuracy.json", "-o", "page.html", "--json")
    assert (result.json["measurements"], result.json["accuracies"]) == (1, 1)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"{100 * printed.json['top1']:.2f} %" in page
    assert "No accuracy is known" not in page


def test_a_page_is_replaced_when_asked_for(run: CommandLine, saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("precious")
    refused = run("report", "m.json", "-o", "page.html")
    assert (refused.code, refused.out) == (3, "")
    assert "page.html exists already: give --overwrite" in refused.message
    assert page.read_text() == "precious"
    assert run("report", "m.json", "-o", "page.html", "--overwrite").code == 0
    assert "a.onnx" in page.read_text(encoding="utf-8")


def test_without_paths_the_page_is_of_the_history(run: CommandLine, tmp_path: Path) -> None:
    Store().add([measurement("a.onnx", "ab" * 32), measurement("b.onnx", "cd" * 32)])
    result = run("report")
    assert (result.code, result.out) == (0, "report.html: 2 measurements\n")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a.onnx" in page
    assert "b.onnx" in page
    assert "report.html exists already: give --overwrite" in run("report").message


def test_a_file_that_was_never_measured_is_on_the_page_of_others(
    run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "a.onnx").write_bytes(b"a network")
    (tmp_path / "b.onnx").write_bytes(b"another network")
    Store().add([measurement("a.onnx", digest([tmp_path / "a.onnx"]))])
    result = run("report", "a.onnx", "b.onnx", "-o", "page.html")
    assert (result.code, result.out) == (0, "page.html: 1 measurement\n")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Measure them with &#x27;edgekit profile b.onnx&#x27;" in page


def test_what_was_left_out_is_a_warning(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"a network")
    sha256 = digest([tmp_path / "a.onnx"])
    Store().add([measurement("a.onnx", sha256), measurement("a.onnx", sha256)])
    result = run("report", "a.onnx", "-o", "page.html")
    assert result.code == 0
    assert "warning: a.onnx: 1 older measurement" in result.err


@pytest.mark.parametrize("words", ["s", "s/search.json"])
def test_a_search_is_a_page_of_its_own(words: str, run: CommandLine, tmp_path: Path) -> None:
    document = search_document()
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "search.json").write_text(json.dumps(document), encoding="utf-8")
    result = run("report", words, "-o", "page.html")
    assert (result.code, result.err) == (0, "")
    assert result.out == "page.html: the search in s\n"
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render(document)
    printed = run("report", words, "-o", "again.html", "--json").json
    assert printed == {
        "schema": "edgekit.report/1",
        "path": "again.html",
        "measurements": 0,
        "accuracies": 0,
        "notes": [],
        "search": "s/search.json",
    }


def test_a_search_that_cannot_be_drawn_is_explained(
    run: CommandLine, saved: Path, tmp_path: Path
) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "empty").mkdir()
    file = tmp_path / "s" / "search.json"
    file.write_text(json.dumps(search_document(steps=[{}])), encoding="utf-8")
    mixed = run("report", "m.json", "s", "-o", "page.html")
    assert (mixed.code, mixed.out) == (3, "")
    assert "s is a search, which is a page of its own: give it alone" in mixed.message
    damaged = run("report", "s", "-o", "page.html")
    assert damaged.code == 3
    assert "s/search.json is damaged: steps[0]: key 'step' is missing" in damaged.message
    file.write_text('{"schema": ')
    assert "s/search.json is no JSON" in run("report", "s", "-o", "page.html").message
    missing = run("report", "empty", "-o", "page.html")
    assert missing.code == 3
    assert "empty is a folder without search.json: expected" in missing.message
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["-o", "a.html"], 3, "there is no measurement in"),
        (["m.json", "-o", "a.pdf"], 2, "a.pdf: expected a name that ends with .html"),
        (["none.json", "-o", "a.html"], 3, "none.json does not exist: expected a file of"),
        (["broken.json", "-o", "a.html"], 3, "broken.json is no JSON, or damaged"),
        (["other.json", "-o", "a.html"], 3, "other.json is of the unknown schema 'other/1'"),
        (["never.onnx", "-o", "a.html"], 3, "never.onnx has no measurement in"),
        (["m.json", "-o", "m.json/a.html"], 3, "m.json is no folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_report_that_cannot_be_made_is_explained(
    arguments: list[str], code: int, named: str, run: CommandLine, saved: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.json").write_text('{"schema": ')
    (tmp_path / "other.json").write_text('{"schema": "other/1"}')
    (tmp_path / "never.onnx").write_bytes(b"a network")
    result = run("report", *arguments)
    assert (result.code, result.out) == (code, "")
    assert named in result.message
    assert not list(tmp_path.glob("*.html"))
    assert saved.is_file()
