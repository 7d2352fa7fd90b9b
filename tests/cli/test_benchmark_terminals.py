"""``edgekit benchmark`` on terminals and pipes of all kinds, with files that are there already."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pseudo_terminal import PseudoTerminal

COLUMNS = 40
ODD = {"TERM": "dumb", "NO_COLOR": "1", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}


def test_a_benchmark_on_odd_terminals(
    pseudo_terminal: PseudoTerminal, int8_files: Path, tmp_path: Path, package_env: dict[str, str]
) -> None:
    (tmp_path / "f").symlink_to(int8_files / "float")
    words = ["benchmark", "f", "--seconds", "1", "--precision-goal", "50",
             "--max-drop", "100", "--no-store", "-o", "b"]  # fmt: skip
    narrow = pseudo_terminal(words, columns=COLUMNS)
    assert narrow.code == 0, narrow.text
    for seen in (narrow, pseudo_terminal(words, columns=COLUMNS, **ODD)):
        assert seen.code == 0, seen.text
        assert "Take f/" in seen.text
        assert "p50 ms" in seen.text
        assert "Traceback" not in seen.text
        assert "evaluating" not in seen.text.splitlines()[-1]
    assert "measuring" in narrow.raw
    assert "\x1b" not in seen.raw
    assert seen.raw.isascii()
    assert "\\u" not in seen.text
    line = " ".join(f"'{word}'" for word in words)
    shell = f'("$0" -m edgekit {line} 2>err; echo $? >code) | true'
    subprocess.run(["sh", "-c", shell, sys.executable], cwd=tmp_path, env=package_env, check=True)
    assert (tmp_path / "code").read_text() == "0\n"
    assert "Traceback" not in (tmp_path / "err").read_text()
    assert (tmp_path / "b" / "benchmark.html").is_file()
