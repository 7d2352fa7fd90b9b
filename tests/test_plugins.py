"""Lines that other packages add to the tables, and what is made with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from bare_python import Bare, runtime_of
from command_line import CommandLine
from installed import install
from page_package import install_toys
from PIL import Image
from small_artifacts import once, shared_folder

from edgekit import registry, tables
from edgekit.contract import is_artifact, load, target_by_suffix
from edgekit.conversion import export
from edgekit.devices.bundle import bundle
from edgekit.devices.device import Device
from edgekit.devices.files import file_request, opener_of
from edgekit.errors import UnavailableError, UnknownNameError, UsageError
from edgekit.models.source import open_model
from edgekit.stated import Stated


@pytest.fixture
def site(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder of installed packages, for this process."""
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(folder)
    yield folder
    forget(folder)


def forget(folder: Path) -> None:
    """Takes modules of a folder out of this process."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]


def test_packages_add_lines_behind_those_of_edgekit(site: Path, run: CommandLine) -> None:
    before = list(tables.TARGETS.built_in)
    points = {"edgekit.targets": {"zeta": "some_plug_in:TARGET", "alpha": "some_plug_in:OTHER"}}
    install(site, "some-plug-in", points, {}, version="2.1", summary="Two targets")
    assert list(tables.TARGETS) == [*before, "alpha", "zeta"]
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
    points = {table.group: {"loud": "loud_plug_in:THING"} for table in tables.TABLES}
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
    assert "toy" not in tables.TARGETS
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
    "from edgekit.errors import InputError; raise InputError('no board is there')": "cannot be "
    "loaded: no board is there",
    "TARGET = 1": "cannot be used: as a Target it lacks name, suffix, layout",
    "from edgekit.core import Target\nclass T(Target): name = 'toy'\nTARGET = T()": "cannot be "
    "loaded: TypeError: Can't instantiate abstract class T",
    "from exporters.onnx import TARGET as ONNX\nclass T:\n name = 'toy'\n"
    " def __getattr__(self, name):\n  if name in ('forms', 'choices'): raise AttributeError(name)\n"
    "  return getattr(ONNX, name)\nTARGET = T()": "cannot be used: as a Quantizing it lacks forms, "
    "choices",
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
    assert told in run("export", "mobilenetv2", "-t", "all").message
    # Nothing else is held up by it.
    assert target_by_suffix(Path("net.onnx")) is registry.target("onnx")
    assert target_by_suffix(Path("net.toy")) is None
    assert not is_artifact("net.toy")
    assert run("list", "targets").code == 0


def test_a_package_without_its_module_is_not_called_missing(site: Path) -> None:
    install(site, "hollow", {"edgekit.targets": {"toy": "hollow_module:TARGET"}}, {})
    with pytest.raises(UnavailableError, match="cannot be loaded: No module named 'hollow_module'"):
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
    files = {"broken_plug_in.py": "raise ValueError('alas')", "good_plug_in.py": "METER = 1"}
    install(site, "broken-plug-in", points, files)
    result = run("doctor", "--json")
    assert result.code == 0
    checks = {check["name"]: check for check in result.json["checks"]}
    assert not checks["target toy"]["works"]
    assert "alas" in checks["target toy"]["found"]
    assert checks["meter bench"]["works"]
    assert "edgekit.metres" in checks["broken-plug-in 1.0"]["found"]


IN_TURN = """
import sys
from edgekit.cli import run
for line in sys.argv[1:]:
    if run(line.split()) != 0:
        sys.exit(line)
"""
"""Runs command lines in one process."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, package_env: dict[str, str]) -> Path:
    """A folder with what the page's package made by the command line. Read-only.

    The package lies in ``site``, a training of its network on its images in ``run``, and files of
    its target in ``out``.
    """
    folder = shared_folder(tmp_path_factory) / "toys"
    staged = folder.with_name("toys.part")
    with once(folder) as mine:
        if mine:
            install_toys(staged / "site")
            path = f"{staged / 'site'}{os.pathsep}{package_env['PYTHONPATH']}"
            lines = (
                "train plainnet-small --data negatives --epochs 3 --resolution 32 -o run",
                "export run -t toy -p fp32,int8 -o out",
            )
            subprocess.run(
                [sys.executable, "-c", IN_TURN, *lines],
                cwd=staged,
                env={**package_env, "PYTHONPATH": path},
                check=True,
                capture_output=True,
            )
            staged.rename(folder)
    return folder


@pytest.fixture
def toys(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The same folder, in a process that finds the package."""
    monkeypatch.syspath_prepend(made / "site")
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    yield made
    forget(made)


def toy(folder: Path, precision: str) -> Path:
    return folder / "out" / f"plainnet-small-{precision}.toy"


def test_the_page_shows_one_of_each(toys: Path, run: CommandLine) -> None:
    document = run("list", "--json").json
    for topic, name in (
        ("targets", "toy"), ("models", "plainnet-small"), ("data", "negatives"),
        ("meters", "bench"), ("tasks", "count"), ("formats", "counts"),
        ("transports", "docker"),
    ):  # fmt: skip
        (line,) = (line for line in document[topic] if line["name"] == name)
        assert line["package"] == "edgekit-toys 1.0"


def test_its_target_writes_files_that_are_verified(toys: Path, run: CommandLine) -> None:
    for precision, least in (("fp32", 100), ("int8", 15)):
        contract = load(toy(toys, precision))
        assert (contract.target, contract.scheme.precision) == ("toy", precision)
        assert contract.tools["edgekit-toys"] == "1.0"
        assert contract.agreement is not None
        assert contract.agreement.sqnr_db > least
        assert load(toy(toys, precision), embedded=True).model == contract.model
    assert load(toy(toys, "int8")).float_operators == ("Reshape",)
    found = run("verify", toy(toys, "fp32"), "--against", toys / "run", "--json")
    assert (found.code, found.json["agreement"]["passed"]) == (0, True)


def test_its_files_are_evaluated_and_predict(toys: Path, run: CommandLine, tmp_path: Path) -> None:
    from edgekit.data import open_source

    top1 = [
        run("evaluate", words, "--data", "negatives", "--json").json["top1"]
        for words in (toys / "run", toy(toys, "fp32"), toy(toys, "int8"))
    ]
    assert top1[0] == top1[1] > 0.4
    assert top1[2] == pytest.approx(top1[0], abs=0.1)
    Image.fromarray(open_source("negatives").image("test", 0)).save(tmp_path / "0.png")
    (found,) = run("predict", toy(toys, "fp32"), "0.png", "--json").json["predictions"]
    assert len(found["labels"]) == 5


COUNTING = """
import torch
from torch import nn

class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 8, 8)
        nn.init.constant_(self.conv.weight, 1 / (3 * 8 * 8))
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return torch.relu(self.conv(x)).sum((2, 3))
"""
"""Counts tiles of 8 x 8 pixels that are white."""


def test_its_task_is_evaluated_and_predicts_on_its_folders(
    toys: Path, run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "counting.py").write_text(COUNTING)
    folder = tmp_path / "tiles"
    folder.mkdir()
    rng, lines = np.random.default_rng(0), []
    for i in range(20):
        image, count = np.zeros((32, 32, 3), np.uint8), int(rng.integers(0, 8))
        for place in rng.permutation(16)[:count]:
            y, x = 8 * (place // 4), 8 * (place % 4)
            image[y : y + 8, x : x + 8] = 255
        Image.fromarray(image).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{count if i else count + 1}\n")  # the first one is wrong
    (folder / "counts.csv").write_text("".join(lines))
    unscaled = ["--mean", "0,0,0", "--std", "1,1,1"]
    words = [
        "--resolution",
        "32",
        "--task",
        "count",
        "--data",
        folder,
        "--calibration",
        folder,
        *unscaled,
        "-o",
        "out",
    ]
    done = run("export", "counting:Counter", "-t", "onnx,tflite,toy", *words)
    assert done.code == 0, done.err
    for target in ("onnx", "tflite", "toy"):
        file = tmp_path / "out" / f"Counter-fp32.{target}"
        assert load(file).task == "count"
        found = run("evaluate", file, "--data", folder, "--json").json
        assert (found["task"], found["exact"], found["n"]) == ("count", 0.95, 20)
        assert found["headline"]["value"] == 0.95
    network = ("counting:Counter", "--resolution", "32", "--task", "count", *unscaled)
    found = run("evaluate", *network, "--data", folder, "--json").json
    assert (found["task"], found["exact"], found["target"]) == ("count", 0.95, "pytorch")
    assert run("predict", *network, folder / "1.png").out.strip().endswith(lines[1][-2])
    refused = run("evaluate", file, "--data", folder, "--task", "count")
    assert (refused.code, "leave --task out" in refused.message) == (2, True)
    shown = run("predict", file, folder / "1.png", folder / "2.png")
    counts = [line.rpartition(",")[2].strip() for line in lines]
    assert [line.rpartition(": ")[2] for line in shown.out.splitlines()] == counts[1:3]
    assert run("verify", file, "--against", "counting:Counter", "--data", folder).code == 0
    model = open_model("counting:Counter", resolution=32, task="count")
    (twice,) = export(
        replace(model, name="twice", parameters={"unit": 2.0}), data=str(folder),
        stated=Stated(mean=(0.0,), std=(1.0,)),
    )  # fmt: skip
    contract = load(twice.path)
    assert contract.parameters == {"unit": 2.0}
    assert [spec.role for spec in contract.outputs] == ["count"]
    shown = run("predict", twice.path, folder / "1.png", folder / "2.png").out.splitlines()
    assert [int(line.rpartition(": ")[2]) for line in shown] == [2 * int(c) for c in counts[1:3]]


def test_its_files_are_measured_and_compared(toys: Path, run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "power").write_text("1500")
    files = [toy(toys, precision) for precision in ("fp32", "int8")]
    words = ("--seconds", 1, "--energy", "bench:power", "-o", "all.json", "--json")
    measured = run("profile", *files, *words).json["measurements"]
    assert [one["target"] for one in measured] == ["toy", "toy"]
    version = metadata.version("onnxruntime")
    for one in measured:
        assert one["runtime"] == f"Toy runtime {version}"
        assert "meter 'bench' shows 1500 mW all the time" in one["energy"]["reason"]
    found = run("compare", *files, "--seconds", 1, "--json").json
    assert found["ratio"] > 0
    assert len(run("history", "--json").json["measurements"]) == 4
    assert run("report", "all.json", "-o", "all.html").code == 0
    assert "plainnet-small-int8.toy" in (tmp_path / "all.html").read_text()


def test_its_transport_leads_to_devices(
    run: CommandLine, toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker is not here: a program of its name runs what it is told to, as a container does."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text('#!/bin/sh\nshift 3\nexec "$@"\n')
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("edgekit.devices.check.NOISE_S", 0.1)
    options = ("--transport", "docker:box", "--python", sys.executable)
    assert run("devices", "add", "box", *options).code == 0
    checked = run("devices", "check", "box", "--json")
    assert checked.code == 0, checked.err
    assert checked.json["versions"]["onnxruntime"]
    wrong = run("devices", "add", "odd", "--transport", "docker:-x")
    assert wrong.code == 2
    assert "expected docker:NAME" in wrong.message
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = run("devices", "check", "box")
    assert missing.code == 5
    assert "docker:box cannot be reached: " in missing.message


def test_its_target_and_its_meter_travel_to_devices(toys: Path, tmp_path: Path) -> None:
    target, path = registry.target("toy"), toy(toys, "fp32")
    found = bundle([opener_of(target)])
    assert [name for name in found.modules if name.startswith("toys")] == [
        "toys", "toys.bench", "toys.target",
    ]  # fmt: skip
    there = Device("bare", Bare(tmp_path, found.content, runtime_of(sys.executable, "onnx")))
    agent = there.open()
    try:
        files = there.place(agent, target.files(path))
        subject = file_request(target, path, files=files, threads=1)
        slot = agent.slot()
        slot.ask("import", subject=subject)
        (spec,) = slot.ask("tensors", subject=subject)[0]["inputs"]
        image = np.random.default_rng(0).standard_normal(spec["shape"], np.float32)
        _, (scores,) = slot.ask("run", [image])
        assert np.array_equal(scores, target.open(path, 1).run([image])[0])
        (tmp_path / "power").write_text("1500")
        where = tables.METERS["bench"].where
        about = {"words": "bench:power", "where": where, "root": str(tmp_path)}
        assert agent.slot("meter").ask("open", **about)[0]["meter"]["quantity"] == "power"
    finally:
        agent.close()


def test_what_it_cannot_do_is_told(toys: Path, run: CommandLine) -> None:
    result = run("profile", toy(toys, "fp32"), "--per-op", "--seconds", 1)
    assert (result.code, "Toy runtime has no profiler of operators" in result.err) == (0, True)
    result = run("verify", toy(toys, "fp32"), "--against", toys / "run", "--per-layer")
    assert result.code == 5
    result = run("profile", toy(toys, "fp32"), "--batch", 2)
    assert result.code == 3
    assert "takes one image at a time" in result.message
    result = run("export", toys / "run", "-t", "toy", "-p", "fp16")
    assert result.code == 2
    assert "target toy has no precision fp16: it has fp32, int8" in result.message


def test_a_search_is_for_it(toys: Path, run: CommandLine, tmp_path: Path) -> None:
    quick = (
        "--reduction", 0.2, "--tune-steps", 1, "--finish-epochs", 0, "--no-distill",
        "--no-contest", "--workers", 1, "--selection-images", 50,
    )  # fmt: skip
    words = ("search", toys / "run", "--budget", "macs=0.9x", "--target", "toy", *quick)
    result = run(*words, "-o", "s", "--json")
    assert result.code == 0, result.err
    assert result.json["final"]["macs"] <= 0.9 * result.json["baseline"]["macs"]
    assert list((tmp_path / "s").rglob("*.toy"))


def test_a_family_of_it_is_like_all_others(toys: Path, run: CommandLine) -> None:
    assert registry.find_model("PlainNet_small@2") == ("plainnet", "plainnet-small", 2)
    assert registry.find_model("plainnet") == ("plainnet", "plainnet-large", 1)
    assert "plainnet-large" in registry.model_names()
    shown = run("describe", "plainnet-large@0.5", "--json")
    assert shown.code == 0, shown.err
    assert shown.json["name"] == "plainnet-large@0.5"


def test_a_family_has_the_networks_that_its_package_names(toys: Path, site: Path) -> None:
    code = (toys / "site/toys/plainnet.py").read_text().replace('family="plainnet"', "family=name")
    install(
        site,
        "other-toys",
        {"edgekit.families": {"plainnet-huge": "other.net:FAMILY"}},
        {"other/__init__.py": "", "other/net.py": code},
    )
    with pytest.raises(UnavailableError, match="it has no network 'plainnet-huge'"):
        registry.family("net")


def test_a_meter_is_opened_with_its_argument(toys: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected bench:ARGUMENT"):
        registry.meter("bench:")
    with pytest.raises(UnavailableError, match="which file"):
        registry.meter("bench").open(tmp_path)
    (tmp_path / "power").write_text("1500")
    (reading,) = registry.meter(f"bench:{tmp_path / 'power'}").open(Path("/")).read()
    assert reading.value == 1500


def test_a_mistyped_source_gets_the_nearest_names(toys: Path) -> None:
    from edgekit.data import open_source

    with pytest.raises(UnknownNameError, match="negatives"):
        open_source("negative")
