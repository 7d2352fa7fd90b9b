"""Networks of timm and torchvision, where they are installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from command_line import CommandLine

LIBRARIES = ("timm", "torchvision")


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_missing_is_named_with_its_install_line(
    library: str, cli: CommandLine
) -> None:
    if importlib.util.find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    result = cli("describe", f"{library}:resnet18")
    assert (result.code, result.out) == (5, "")
    assert f"'{library}:resnet18' needs the package '{library}'" in result.message
    assert f"pip install {library}" in result.message


def test_a_library_that_does_not_work_here_is_named(cli: CommandLine, tmp_path: Path) -> None:
    """As torchvision built for another PyTorch, which fails on import."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator nms does not exist')")
    result = cli("describe", "torchvision:resnet18")
    assert (result.code, result.out) == (5, "")
    assert "torchvision is installed, but does not work with this PyTorch" in result.message
    assert "operator nms does not exist" in result.message


@pytest.mark.parametrize("library", LIBRARIES)
def test_networks_of_a_library_are_described_and_exported(library: str, cli: CommandLine) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed", exc_type=Exception)
    words = f"{library}:resnet18"
    assert cli("describe", words, "--json").json["params"] == 11_689_512
    done = cli("export", words, "-t", "openvino", "--resolution", "64", "-o", "out", "--json")
    assert done.code == 0, done.err
    unknown = cli("describe", f"{library}:resnet81")
    assert unknown.code == 2
    assert "resnet18" in unknown.message
