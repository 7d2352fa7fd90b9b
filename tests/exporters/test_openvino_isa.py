"""OpenVINO without tiles: only where there are some, and only where nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit import registry
from edgekit.core import silent_import
from edgekit.devices.device import HOST
from exporters import _openvino_opener
from exporters._openvino_opener import ISA_VARIABLE, WITHOUT_TILES, without_tiles


@pytest.mark.parametrize(
    ("flags", "said", "expected"),
    [
        ("avx2 avx512_vnni amx_tile amx_int8", None, WITHOUT_TILES),
        ("avx2 avx512_vnni amx_tile amx_int8", "DEFAULT", "DEFAULT"),
        ("avx2 avx_vnni", None, None),
    ],
)
def test_tiles_are_left_out(
    flags: str,
    said: str | None,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ISA_VARIABLE, said or "")
    if said is None:
        monkeypatch.delenv(ISA_VARIABLE)
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    wanted = without_tiles(tmp_path / "cpuinfo")
    assert os.environ.get(ISA_VARIABLE) == said
    monkeypatch.setattr(_openvino_opener, "without_tiles", lambda: wanted)
    target = registry.target("openvino")
    # A latency is the same before and after the first file was opened here.
    for moment in ("before", "after"):
        found = HOST.conditions(target)["environment"]
        assert found == ({} if expected is None else {ISA_VARIABLE: expected}), moment
        silent_import("json", target.environment())
    assert os.environ.get(ISA_VARIABLE) == expected
    assert HOST.conditions(registry.target("onnx"))["environment"] == {}


def test_a_machine_that_tells_nothing_is_left_alone(tmp_path: Path) -> None:
    assert without_tiles(tmp_path / "none") == {}
