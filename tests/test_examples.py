"""The scripts and the notebook of ``examples/`` run, with small settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def run(folder: Path, env: dict[str, str], name: str, *arguments: object) -> str:
    script = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(
        script, cwd=folder, env={**env, "EDGEKIT_HOME": str(folder / "home")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import edgekit

    out = tmp_path_factory.mktemp("trained") / "run"
    edgekit.train("mobilenetv1@0.25", "digits", epochs=2, resolution=32, out=out)
    return out


@pytest.mark.slow
def test_a_network_for_a_raspberry_pi(tmp_path: Path, package_env: dict[str, str]) -> None:
    out = run(tmp_path, package_env, "raspberry_pi.py", "--epochs", 2, "--seconds", 1)
    assert "net-int8.tflite: " in out
    assert out.count(" ms\n") == 4


@pytest.mark.slow
def test_int8_under_a_bound(tmp_path: Path, package_env: dict[str, str], trained: Path) -> None:
    out = run(tmp_path, package_env, "int8_under_a_bound.py", trained, "--points", 5,
              "--qat-epochs", 0, "--seconds", 1)  # fmt: skip
    assert "int8, minmax: " in out
    assert "times as long" in out


@pytest.mark.slow
def test_a_search_to_a_budget(tmp_path: Path, package_env: dict[str, str], trained: Path) -> None:
    small = ("--reduction", 0.3, "--tune-steps", 1, "--finish-epochs", 0, "--seconds", 1)
    out = run(tmp_path, package_env, "search_to_a_budget.py", trained, "--budget", "macs=0.7x",
              *small)  # fmt: skip
    assert "step 1: " in out
    assert "of the time" in out


@pytest.mark.slow
def test_the_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package_env: dict[str, str]
) -> None:
    """Its cells one after the other, as Jupyter would run them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    notebook = json.loads((EXAMPLES / "first_hour.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 6
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        small = cell.replace("epochs=15", "epochs=1").replace("seconds=5", "seconds=1")
        exec(compile(small, f"cell {number}", "exec"), names)
    assert Path("report.html").exists()
