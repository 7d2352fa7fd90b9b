"""The wheel, built and installed outside the checkout: what an editable install hides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Shown by the installed package itself, so that no import from the checkout goes unnoticed.
WHERE = "import edgekit, edgekit.core; print(edgekit.__file__)"


def python(*arguments: object, **options: object) -> str:
    """Runs this interpreter and gives its standard output; fails with all it printed."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    out: str = done.stdout
    return out


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    python("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    python(*pip, "--no-index", "--target", folder, wheel)
    return folder


def run(installed: Path, folder: Path, *arguments: object) -> str:
    return python(*arguments, cwd=folder, env={**os.environ, "PYTHONPATH": str(installed)})


def test_it_holds_every_module_and_what_belongs_to_them(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        file.relative_to(ROOT).as_posix()
        for package in ("edgekit", "exporters")
        for file in (ROOT / package).rglob("*.py")
    }
    assert modules <= names
    profiles = {
        f"edgekit/{file.relative_to(ROOT).as_posix()}"
        for file in (ROOT / "profiles").rglob("device.toml")
    }
    assert "edgekit/profiles/host/device.toml" in profiles
    assert profiles | {"edgekit/py.typed"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_it_holds_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    tops = {name.partition("/")[0] for name in names}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {"edgekit", "exporters", info}
    rubbish = ("__pycache__", "tests/", ".pyc", ".pt", ".onnx", ".tflite")
    own = [name for name in names if "/template/" not in name]  # apps have tests of their own
    assert [name for name in own for part in rubbish if part in name] == []
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_its_metadata_are_those_of_the_project(wheel: Path) -> None:
    import edgekit

    assert wheel.name == f"edgekit-{edgekit.__version__}-py3-none-any.whl"
    archive = zipfile.ZipFile(wheel)
    info = f"edgekit-{edgekit.__version__}.dist-info"
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "\nRequires-Dist: torch>=" in metadata
    scripts = archive.read(f"{info}/entry_points.txt").decode()
    assert "edgekit = edgekit.__main__:main" in scripts


def test_it_is_the_installed_package_that_runs(installed: Path, tmp_path: Path) -> None:
    assert Path(run(installed, tmp_path, "-c", WHERE).strip()).is_relative_to(installed)


def test_the_installed_package_shows_its_help(installed: Path, tmp_path: Path) -> None:
    from edgekit.cli import COMMANDS

    out = run(installed, tmp_path, "-m", "edgekit", "--help")
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


def test_the_installed_package_finds_its_device_profiles(installed: Path, tmp_path: Path) -> None:
    out = run(installed, tmp_path, "-m", "edgekit", "list", "devices", "--json")
    assert "host" in [device["name"] for device in json.loads(out)["devices"]]


def test_the_installed_package_finds_its_targets(installed: Path, tmp_path: Path) -> None:
    code = (
        "from edgekit import registry, tables; "
        "print(*[registry.target(n).suffix for n in tables.TARGETS])"
    )
    assert run(installed, tmp_path, "-c", code).split() == [".onnx", ".xml", ".tflite"]


def test_the_installed_package_builds_networks(installed: Path, tmp_path: Path) -> None:
    out = run(installed, tmp_path, "-m", "edgekit", "describe", "mobilenetv3-small", "--json")
    document = json.loads(out)
    assert (document["name"], document["params"]) == ("mobilenetv3-small", 2542856)
    assert list(tmp_path.iterdir()) == []


AGENT = """
from edgekit import registry, tables
from edgekit.devices.bundle import bundle
from edgekit.devices.files import opener_of

print(bundle(opener_of(registry.target(name)) for name in tables.TARGETS.built_in).sha256)
"""


def test_devices_get_the_agent_that_the_checkout_would_give_them(
    installed: Path, tmp_path: Path, package_env: dict[str, str]
) -> None:
    assert run(installed, tmp_path, "-c", AGENT) == python("-c", AGENT, env=package_env)
