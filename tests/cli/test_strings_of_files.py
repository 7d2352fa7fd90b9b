"""Every string of a file, made a path that leads away: no command writes outside its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from damage import contracts
from small_artifacts import Artifacts

Place = tuple[Any, ...]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "work" / "home"))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def _strings(data: Any, where: Place = ()) -> Iterator[Place]:
    """Places of all strings; of a list's items, which are alike, those of the first."""
    if isinstance(data, str):
        yield where
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _strings(value, (*where, key))
    elif isinstance(data, (list, tuple)) and data:
        yield from _strings(data[0], (*where, 0))


def _with(data: Any, place: Place, text: str) -> Any:
    """A copy with another string at a place."""
    if not place:
        return text
    first, *rest = place
    if isinstance(data, dict):
        return {key: _with(v, tuple(rest), text) if key == first else v for key, v in data.items()}
    items = [_with(v, tuple(rest), text) if i == first else v for i, v in enumerate(data)]
    return type(data)(items)


def _hostile(folder: Path) -> Iterator[str]:
    """Paths that lead away, in turns."""
    while True:
        yield "../../away"
        yield str(folder / "away")
        yield "../away/x"


def _all_but(folder: Path, work: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if p != work and work not in p.parents}


def test_of_checkpoints(short_network: Path, run: CommandLine, tmp_path: Path, work: Path) -> None:
    content = torch.load(short_network, weights_only=True)
    state, header = content.pop("state"), content
    hostile, before = _hostile(tmp_path), _all_but(tmp_path, work)
    places = [place for place in _strings(header) if place != ("format",)]
    assert ("spec", "name") in places
    assert ("labels", 0) in places
    for place in places:
        file = work / "x.pt"
        torch.save({**_with(header, place, next(hostile)), "state": state}, file)
        out = work / "-".join(map(str, place))
        result = run("export", file, "-t", "tflite", "-o", out)
        assert result.code in (0, 3), (place, result.err)
        assert _all_but(tmp_path, work) == before, place


def test_of_contracts(
    artifacts: Artifacts,
    run: CommandLine,
    tmp_path: Path,
    work: Path,
    png: Callable[..., Path],
) -> None:
    source, image = artifacts["tflite", "fp32"], png()
    path = work / source.name
    path.write_bytes(source.read_bytes())
    data = json.loads(Path(f"{source}.json").read_text())
    hostile, before = _hostile(tmp_path), _all_but(tmp_path, work)
    kept = {("schema",), ("target",), ("sha256",), ("contract_sha256",)}
    places = [place for place in _strings(data) if place not in kept]
    assert ("path",) in places
    for i, place in enumerate(places):
        contracts.sign(path, _with(data, place, next(hostile)))
        for line in (["predict", path, image], ["report", path, "-o", work / f"{i}.html"]):
            result = run(*line)
            assert result.code in (0, 2, 3), (place, result.err)
            assert _all_but(tmp_path, work) == before, place


def test_of_measurements(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path, work: Path
) -> None:
    written = work / "m.json"
    line = ["profile", artifacts["tflite", "fp32"], "--seconds", 1, "-o", written, "--json"]
    assert run(*line).code == 0
    data = json.loads(written.read_text())
    hostile, before = _hostile(tmp_path), _all_but(tmp_path, work)
    places = [place for place in _strings(data) if place != ("schema",)]
    assert places
    for i, place in enumerate(places):
        written.write_text(json.dumps(_with(data, place, next(hostile))))
        result = run("report", written, "-o", work / f"{i}.html")
        assert result.code in (0, 3), (place, result.err)
        assert _all_but(tmp_path, work) == before, place
