"""Lines that other packages add to the tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from installed import install

from edgekit import registry
from edgekit.contract import is_artifact, target_by_suffix
from edgekit.errors import UnavailableError, UnknownNameError

FAMILY = """
from edgekit.core import ModelSpec
from edgekit.models.family import Family
from torch import nn

def small(width):
    return ModelSpec("plainnet-small", "plainnet", (), round(8 * width), (), "relu", 10, 32)

def build(spec):
    return nn.Sequential(
        nn.Conv2d(3, spec.stem, 3, 2, 1), nn.BatchNorm2d(spec.stem), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(spec.stem, spec.classes),
    )

FAMILY = Family({"plainnet-small": small, "plainnet-large": small}, build, lambda spec: 2)
"""

METER = """
import time
from types import SimpleNamespace
from edgekit.core import Reading

class Meter:
    name, scope, detail, quantity = "bench", "device", "rail", "power"
    range_mj, period_s = None, 0.1
    def read(self):
        return [Reading(time.monotonic(), 1500.0)]
    def close(self):
        pass

class Kind:
    def open(self, root):
        return Meter()
    def of(self, argument):
        return Kind()

METER = Kind()
"""

DATA = """
import dataclasses
from edgekit.data import open_source

class Numbers:
    name, flippable, splits, keeps_test = "numbers", False, ("test",), True
    classes = tuple("0123456789")
    def size(self, split):
        return 20
    def label(self, split, index):
        return self.digits.label(split, index)
    def image(self, split, index):
        return self.digits.image(split, index)

def source():
    found = Numbers()
    found.digits = open_source("digits")
    return found
"""


@pytest.fixture
def site(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder of installed packages, for this process."""
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def test_packages_add_lines_behind_those_of_edgekit(site: Path, run: CommandLine) -> None:
    before = list(registry.TARGETS.built_in)
    points = {"edgekit.targets": {"zeta": "some_plug_in:TARGET", "alpha": "some_plug_in:OTHER"}}
    install(site, "some-plug-in", points, {}, version="2.1", summary="Two targets")
    assert list(registry.TARGETS) == [*before, "alpha", "zeta"]
    shown = run("list", "targets", "--json").json["targets"]
    line = {"name": "zeta", "about": "Two targets", "package": "some-plug-in 2.1"}
    assert shown[-1] == line
    assert "zeta      Two targets  some-plug-in 2.1" in run("list", "targets").out
    (_, zeta) = run("list", "plugins", "--json").json["plugins"]
    assert zeta == {
        "name": "zeta",
        "group": "edgekit.targets",
        "where": "some_plug_in:TARGET",
        "package": "some-plug-in 2.1",
    }


def test_listing_imports_nothing_of_them(site: Path, package_env: dict[str, str]) -> None:
    points = {table.group: {"loud": "loud_plug_in:THING"} for table in registry.TABLES}
    install(site, "loud-plug-in", points, {"loud_plug_in.py": "raise SystemExit('loaded')"})
    env = {**package_env, "PYTHONPATH": f"{site}:{package_env['PYTHONPATH']}"}
    for arguments in (["list"], ["--help"], ["export", "--help"]):
        command = [sys.executable, "-m", "edgekit", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_line_that_no_table_takes_is_shown(site: Path, run: CommandLine) -> None:
    install(site, "typing-error", {"edgekit.target": {"toy": "toy:TARGET"}}, {})
    (line,) = run("list", "plugins", "--json").json["plugins"]
    assert line["ignored"] == "no table has that group"


def test_entry_points_that_cannot_be_read_stop_nothing(site: Path, run: CommandLine) -> None:
    install(site, "damaged-plug-in", {"edgekit.targets": {"toy": "toy:TARGET"}}, {})
    (site / "damaged_plug_in-1.0.dist-info" / "entry_points.txt").write_bytes(
        b"[edgekit.targets]\ntoy = \xff\xfe\n"
    )
    assert "toy" not in registry.TARGETS
    (line,) = run("list", "plugins", "--json").json["plugins"]
    assert line["package"] == "a package"
    assert "utf-8" in line["where"]


@pytest.mark.parametrize("name", ["onnx", "ONNX", "on-nx"])
def test_the_name_of_a_built_in_target_is_not_taken_over(
    name: str, site: Path, run: CommandLine
) -> None:
    install(site, "other-onnx", {"edgekit.targets": {name: "other_onnx:TARGET"}}, {})
    result = run("export", "mobilenetv2", "-t", "onnx")
    assert result.code == 5
    assert result.message == (
        "target 'onnx' comes from edgekit itself (exporters.onnx:TARGET) and from other-onnx 1.0 "
        "(other_onnx:TARGET): uninstall other-onnx 1.0"
    )
    assert registry.target("tflite").name == "tflite"  # the others are as they were
    lines = [line["name"] for line in run("list", "targets", "--json").json["targets"]]
    assert lines.count(name) == 2 - (name != "onnx")


def test_a_name_that_two_packages_have_is_refused(site: Path) -> None:
    for package in ("first", "second"):
        install(site, package, {"edgekit.meters": {"bench": f"{package}:METER"}}, {})
    with pytest.raises(UnavailableError) as caught:
        registry.meter("bench")
    assert str(caught.value) == (
        "meter 'bench' comes from first 1.0 (first:METER) and from second 1.0 (second:METER): "
        "uninstall first 1.0 or second 1.0"
    )


def test_a_network_of_the_zoo_is_not_taken_over(site: Path) -> None:
    install(site, "nets", {"edgekit.families": {"mobilenet_v2": "nets.other:FAMILY"}}, {})
    with pytest.raises(UnavailableError, match=r"nets\.other:FAMILY"):
        registry.find_model("mobilenetv2@0.5")
    assert registry.find_model("mobilenetv1")[0] == "mobilenetv1"


BROKEN = {
    "raise ValueError('of no use')": "cannot be loaded: ValueError: of no use",
    "import a_package_nobody_has": "needs the package 'a_package_nobody_has', which is not "
    "installed: pip install a_package_nobody_has",
    "OTHER = 1": "cannot be loaded: AttributeError: module 'broken_plug_in' has no attribute "
    "'TARGET'",
    "raise SystemExit": "cannot be loaded: SystemExit",
    "TARGET = 1": "cannot be used: as a Target it lacks name, suffix, layout",
    "from exporters.onnx import OnnxTarget as T; TARGET = T()": "cannot be used: it calls itself "
    "'onnx'",
    "from exporters.onnx import OnnxTarget\nclass T(OnnxTarget): name = 'toy'\nTARGET = T()": (
        "cannot be used: its files end in .onnx, as those of onnx do"
    ),
}


@pytest.mark.parametrize(("code", "told"), BROKEN.items())
def test_a_broken_target_is_an_error_when_it_is_asked_for(
    code: str, told: str, site: Path, run: CommandLine
) -> None:
    points = {"edgekit.targets": {"toy": "broken_plug_in:TARGET"}}
    install(site, "broken-plug-in", points, {"broken_plug_in.py": code})
    result = run("export", "mobilenetv2", "-t", "Toy")
    assert result.code == 5
    assert f"target 'toy' of broken-plug-in 1.0 {told}" in result.message
    assert "update or uninstall the package" in result.message or "pip install" in result.message
    # Nothing else is held up by it.
    assert target_by_suffix(Path("net.onnx")) is registry.target("onnx")
    assert target_by_suffix(Path("net.toy")) is None
    assert not is_artifact("net.toy")
    assert run("list", "targets").code == 0


def test_a_package_without_its_module_is_not_called_missing(site: Path) -> None:
    install(site, "hollow", {"edgekit.targets": {"toy": "hollow_module:TARGET"}}, {})
    with pytest.raises(UnavailableError, match=r"cannot be loaded: .*no module hollow_module"):
        registry.target("toy")


def test_a_file_of_a_broken_target_is_told_why(
    site: Path, run: CommandLine, tmp_path: Path
) -> None:
    points = {"edgekit.targets": {"toy": "broken_plug_in:TARGET"}}
    install(site, "broken-plug-in", points, {"broken_plug_in.py": "raise ValueError('alas')"})
    (tmp_path / "net.toy").write_bytes(b"x")
    for arguments in (["verify", "net.toy", "--against", "x"], ["profile", "net.toy"]):
        result = run(*arguments)
        assert "target 'toy' of broken-plug-in 1.0 cannot be loaded: " in result.message
        assert "alas" in result.message


def test_doctor_tries_them_and_needs_none(site: Path, run: CommandLine) -> None:
    points = {
        "edgekit.targets": {"toy": "broken_plug_in:TARGET"},
        "edgekit.meters": {"bench": "good_plug_in:METER"},
        "edgekit.metres": {"bench": "good_plug_in:METER"},
    }
    files = {"broken_plug_in.py": "raise ValueError('alas')", "good_plug_in.py": METER}
    install(site, "broken-plug-in", points, files)
    result = run("doctor", "--json")
    assert result.code == 0
    checks = {check["name"]: check for check in result.json["checks"]}
    assert not checks["target toy"]["works"]
    assert "alas" in checks["target toy"]["found"]
    assert checks["meter bench"]["works"]
    assert "edgekit.metres" in checks["broken-plug-in 1.0"]["found"]


def test_families_of_packages_are_networks_like_all_others(site: Path, run: CommandLine) -> None:
    names = {f"plainnet-{size}": "plain_nets.plainnet:FAMILY" for size in ("small", "large")}
    files = {"plain_nets/__init__.py": "", "plain_nets/plainnet.py": FAMILY}
    install(site, "plain-nets", {"edgekit.families": names}, files)
    assert registry.find_model("PlainNet_small@2") == ("plainnet", "plainnet-small", 2)
    assert "plainnet-large" in registry.model_names()
    shown = run("describe", "plainnet-small", "--json")
    assert shown.code == 0, shown.err
    assert (shown.code, shown.json["params"]) == (0, 8 * 27 + 8 + 16 + 90)


def test_a_family_has_the_networks_that_its_package_names(site: Path) -> None:
    names = {
        "plainnet-small": "plain_nets.plainnet:FAMILY",
        "plainnet-huge": "plain_nets.plainnet:FAMILY",
    }
    files = {"plain_nets/__init__.py": "", "plain_nets/plainnet.py": FAMILY}
    install(site, "plain-nets", {"edgekit.families": names}, files)
    with pytest.raises(UnavailableError, match="it has no network 'plainnet-huge'"):
        registry.family("plainnet")


def test_meters_of_packages_are_opened(site: Path, tmp_path: Path) -> None:
    install(
        site, "bench", {"edgekit.meters": {"bench": "bench_meter:METER"}}, {"bench_meter.py": METER}
    )
    for words in ("bench", "bench:3"):
        meter = registry.meter(words).open(tmp_path)
        assert meter.read()[0].value == 1500.0


def test_sources_of_packages_are_opened(site: Path) -> None:
    from edgekit.data import open_source

    install(
        site, "more-data", {"edgekit.data": {"numbers": "more_data:source"}}, {"more_data.py": DATA}
    )
    assert open_source("Numbers").size("test") == 20
    with pytest.raises(UnknownNameError, match="numbers"):
        open_source("numbres")
