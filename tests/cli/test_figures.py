"""Tables and lines of what was measured: they fit, and tell things apart."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small_artifacts import Artifacts

from edgekit.cli import console, figures
from edgekit.core import Block, Energy, Measurement, OperatorTime

LONG = "exported/a-network-with-a-long-name-{}-and-an-end-that-is-the-same-fp32.tflite"


def measurement(**changes: Any) -> Measurement:
    blocks = tuple(Block(float(i), i // 2, (123.4,) * 20, (2.0,) * 8) for i in range(6))
    values: dict[str, Any] = {
        "artifact": "small.onnx",
        "target": "onnx",
        "device": "host",
        "runtime": "ONNX Runtime 1.31.1",
        "threads": 1,
        "batch": 1,
        "started": "2026-01-31T12:00:00+00:00",
        "blocks": blocks,
        "energy": Energy("unavailable", reason="no meter: csv: no file; rapl: no permission"),
        "load_ms": 1234.5,
        "first_ms": 123.45,
        "peak_rss_mib": 1234.5,
        "size_bytes": 123 << 20,
        "stable": False,
    }
    return Measurement(**{**values, **changes})


@pytest.fixture(autouse=True)
def _as_text() -> None:
    console.use(console.Settings())


def tables(measurements: Sequence[Measurement], capsys: pytest.CaptureFixture[str]) -> list[str]:
    figures.latency_table(measurements)
    figures.cost_table(measurements)
    return capsys.readouterr().out.splitlines()


def test_long_names_that_differ_in_their_middle_are_told_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    several = [measurement(artifact=LONG.format(word)) for word in ("small", "large")]
    lines = tables(several, capsys)
    assert max(map(len, lines)) <= 80
    for number, one in enumerate(several, 1):
        assert lines.count(f"{number}: {Path(one.artifact).name}") == 2
        assert sum(line.startswith(f" {number} ") for line in lines) == 2


def test_a_long_name_is_shortened_and_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    several = [measurement(artifact=LONG.format("small")), measurement(artifact="b.onnx")]
    lines = tables(several, capsys)
    assert max(map(len, lines)) <= 80
    assert sum("…" in line for line in lines) == 2
    assert sum("b.onnx" in line for line in lines) == 2
    assert len([line for line in lines if line.strip()]) == 8


def test_threads_stand_in_both_tables_where_they_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = tables([measurement(threads=count) for count in (1, 16)], capsys)
    assert max(map(len, lines)) <= 80
    assert sum("thr" in line for line in lines) == 2
    assert sum(" 16 " in line for line in lines) == 2
    assert sum("thr" in line for line in tables([measurement()], capsys)) == 1


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        (Energy("unavailable", reason="no meter: csv: no file"), "energy: not measured: no meter"),
        (Energy("unavailable", reason="rapl: stuck"), "energy: not measured: rapl: stuck"),
        (
            Energy("measured", "rapl", "package", "package-0", 1.5, 2.0, 5012.3, (1.4, 1.6), 5),
            "energy: meter rapl, package (package-0); 5,012 mW of idling left out",
        ),
        (
            Energy(
                "estimated", mj_per_inference=1.0, model="by counts", coefficients={"mac_pj": 4.6}
            ),
            "energy: estimated, not measured: by counts (mac_pj 4.6)",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Energy) else "",
)
def test_where_energy_comes_from_is_said_once(
    energy: Energy, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    figures.energy_lines([measurement(energy=energy)] * 2)
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(line.strip() for line in lines).startswith(expected)
    assert max(map(len, lines)) <= 78


def test_energy_that_was_measured_of_one_alone_names_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = measurement(artifact="b.onnx", energy=Energy("unavailable", reason="rapl: stuck"))
    measured = Energy("measured", "rapl", "package", mj_per_inference=1.0)
    figures.energy_lines([measurement(energy=measured), failed])
    assert capsys.readouterr().out.splitlines() == [
        "energy of small.onnx: meter rapl, package",
        "energy of b.onnx: not measured: rapl: stuck",
    ]


@pytest.mark.parametrize(
    ("ms", "share", "reason"),
    [
        (0.0, 0.0, "told no times"),
        (61.7, 0.5, "between the operators"),
        (123.4, 1.0, None),
        (246.8, 2.0, "profiler's own cost"),
    ],
)
def test_operators_that_do_not_add_up_say_why(
    ms: float, share: float, reason: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    operators = (OperatorTime("a", "Conv", ms / 4), OperatorTime("b", "Conv", 3 * ms / 4))
    one = measurement(operators=operators)
    entry = figures.entry(one)
    assert (entry["operators_ms"], entry["operators_share"]) == pytest.approx((ms, share))
    figures.operator_table(one)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{share:.0%}" in shown
    if reason is None:
        assert entry["operators_reason"] is None
        assert shown.endswith("100%")
    else:
        assert reason in entry["operators_reason"]
        assert entry["operators_reason"] in shown


def test_a_terminal_of_60_columns_and_a_name_with_brackets(
    artifacts: Artifacts, tmp_path: Path, package_env: dict[str, str]
) -> None:
    (tmp_path / "a[").mkdir()
    artifact = tmp_path / "a[" / "b].tflite"  # "[/b]" would be markup
    artifact.write_bytes(artifacts["tflite", "fp32"].read_bytes())
    main, terminal = pty.openpty()
    line = ["profile", "a[/b].tflite", "--seconds", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgekit", *line],
        cwd=tmp_path,
        env={**package_env, "COLUMNS": "60", "TERM": "xterm", "EDGEKIT_HOME": str(tmp_path)},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        seen = b""
        with contextlib.suppress(OSError):  # how Linux tells the end of a terminal
            while received := os.read(main, 1 << 16):
                seen += received
    os.close(main)
    assert process.returncode == 0, seen
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode())
    lines = re.split(r"[\r\n]+", shown)
    assert any("loading a[/b].tflite" in line for line in lines), shown
    assert any("load ms" in line for line in lines), shown
    assert max(map(len, lines)) <= 60, shown
