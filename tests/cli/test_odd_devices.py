"""Devices that lie, or are other ones than their profile says; clocks, disks, versions."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import pytest
from bare_python import about, old_python
from command_line import CommandLine
from small_artifacts import Artifacts
from ssh_server import SshServer

from edgekit.devices import runner

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")

TESTS = Path(__file__).parents[1]
HUGE = 10**30


@pytest.fixture
def liar(pi: SshServer, run: CommandLine, tmp_path: Path) -> Callable[..., None]:
    """Makes a device called liar tell a lie."""
    program = tmp_path / "lying-python"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {TESTS / 'odd_agent.py'}\n")
    program.chmod(0o755)
    words = ("--transport", pi.address, "--python", program)
    assert run("devices", "add", "liar", *words).code == 0
    pi.environment = {
        "ODD_ANSWERS": str(tmp_path / "lie.json"),
        "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
    }

    def tell(do: str, *keys: object, **value: object) -> None:
        for slots in runner._SLOTS.values():
            slots.close()
        runner._SLOTS.clear()
        (tmp_path / "lie.json").write_text(json.dumps({"do": do, "keys": keys, **value}))

    return tell


PROFILE_LIES: list[tuple[str, list[object], dict[str, object]]] = [
    ("hello", ["cores"], {}),
    ("hello", ["cores"], {"value": "four"}),
    ("hello", ["clock_s"], {"value": HUGE}),
    ("watch", ["why_not"], {"value": 7}),
    ("placements", ["places"], {"value": [["a"]]}),
    ("place", ["have"], {"value": []}),
    ("place", ["have", 0], {"value": 1 << 40}),
    ("place", ["paths"], {"value": None}),
    ("slot", ["pid"], {"value": -1}),
    ("slot:open", ["load_ms"], {"value": None}),
    ("slot:open", ["inputs"], {"value": {"a": 1}}),
    ("slot:open", ["tools"], {"value": {"numpy": 2}}),
    ("slot:block", ["samples_ms"], {"value": []}),
    ("slot:block", ["samples_ms"], {"value": [0.0, -1.0]}),
    ("slot:memory", ["peak_rss_mib"], {"value": "much"}),
    ("conditions", ["conditions"], {"value": {"max_celsius": "hot"}}),
    ("conditions", ["conditions"], {"value": {"cpu": {"deep": []}}}),
    ("rounds", ["blocks"], {"value": [7]}),
    ("rounds", ["blocks", 0, "slot"], {"value": 99}),
    ("rounds", ["blocks", 0, "samples_ms"], {"value": [1, "x"]}),
    ("rounds", ["blocks", 0], {"value": {"slot": 1, "error": "Crashed", "code": "x"}}),
    ("stop", ["conditions"], {"value": []}),
    ("hello", ["error"], {"value": 5}),
    ("hello", ["error"], {"value": "Missing"}),
    ("hello", ["arrays"], {"value": [["<f8", [1 << 40]]]}),
]


@pytest.mark.parametrize(
    "which", [slice(0, None, 4), pytest.param(slice(0, None), marks=pytest.mark.slow)]
)
def test_no_lie_of_a_device_is_computed_with(
    run: CommandLine, liar: Callable[..., None], artifacts: Artifacts, which: slice
) -> None:
    path = artifacts["onnx", "fp32"]
    for do, keys, value in PROFILE_LIES[which]:
        liar(do, *keys, **value)
        found = run("profile", path, "--device", "liar", "--seconds", 1, "--energy", "off")
        told = (do, keys, value, found.err)
        if do in ("stop",):  # what was measured is good without it
            assert found.code in (0, 5), told
            assert "p50" in found.out, told
            continue
        assert found.code == 5, told
        assert "ssh://" in found.message, told
        assert "Traceback" not in found.err, told


@pytest.mark.parametrize(
    ("do", "keys", "value"),
    [
        ("slot:tensors", ["inputs"], {"value": [{"name": "x"}]}),
        ("slot:tensors", ["outputs"], {"value": []}),
        ("slot:run", ["arrays"], {"value": []}),
        ("slot:tensors", ["inputs", 0, "shape"], {"value": [-7]}),
    ],
)
def test_no_lie_is_computed_with_where_files_are_used(
    run: CommandLine, liar: Callable[..., None], artifacts: Artifacts, png: Callable[..., Path],
    do: str, keys: list[object], value: dict[str, object],
) -> None:  # fmt: skip
    path = artifacts["onnx", "fp32"]
    liar(do, *keys, **value)
    for line in (["predict", path, png("one.png")], ["evaluate", path, "--data", "digits"]):
        found = run(*line, "--device", "liar")
        assert found.code in (3, 5), found.err
        assert found.message


@pytest.mark.parametrize(
    ("do", "keys", "value"),
    [
        ("about", ["hardware"], {}),
        ("about", ["hardware", "isa"], {"value": "neon"}),
        ("about", ["versions"], {"value": {"numpy": 2}}),
        ("hello", ["wall_s"], {"value": HUGE}),
        ("hello", ["python"], {"value": []}),
        ("conditions", ["conditions"], {"value": "fine"}),
    ],
)
def test_a_check_believes_no_lie(
    run: CommandLine, liar: Callable[..., None],
    do: str, keys: list[object], value: dict[str, object],
) -> None:  # fmt: skip
    liar(do, *keys, **value)
    found = run("devices", "check", "liar")
    assert found.code == 5, found.err
    assert "answers to" in found.message


@pytest.mark.parametrize("answer", ["edgekit-has", "edgekit-has x y", "edgekit-has 2", "\0" * 99])
def test_what_answers_the_first_question_oddly_is_no_python(
    run: CommandLine, pi: SshServer, tmp_path: Path, answer: str
) -> None:
    program = tmp_path / "odd-python"
    (tmp_path / "answer").write_text(f"{answer}\n")
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\nyes\n")
    program.chmod(0o755)
    words = ("--transport", pi.address, "--python", program)
    assert run("devices", "add", "odd", *words).code == 0
    found = run("devices", "check", "odd")
    assert found.code == 5
    assert "answers with something else than Python" in found.message


def commands(artifacts: Artifacts, trained_run: Path, image: Path) -> list[list[object]]:
    onnx_, tflite = artifacts["onnx", "fp32"], artifacts["tflite", "fp32"]
    return [
        ["profile", onnx_, "--seconds", 1],
        ["compare", onnx_, tflite, "--seconds", 1],
        ["verify", onnx_, "--against", trained_run],
        ["evaluate", onnx_, "--data", "digits"],
        ["predict", onnx_, image],
    ]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("cores", "64", "its cores should be 64"),
        ("isa", '["asimd", "sve2"]', "its instructions should be asimd, sve2"),
        ("ram_mib", "99999999", "its memory should be 99999999 MiB"),
        ("soc", '"Raspberry Pi 5"', "its processor should be Raspberry Pi 5"),
    ],
)
def test_another_machine_than_the_one_that_was_checked_is_noticed(
    run: CommandLine, pi: SshServer, artifacts: Artifacts, trained_run: Path,
    png: Callable[..., Path], tmp_path: Path, key: str, value: str, words: str,
) -> None:  # fmt: skip
    assert run("devices", "check", "pi").code == 0
    file = tmp_path / "config/edgekit/profiles/pi/device.toml"
    lines = file.read_text().splitlines()
    told = [f"{key} = {value}" if one.startswith(f"{key} = ") else one for one in lines]
    source = next(one for one in lines if one.startswith(f'{key} = "seen there'))
    told[told.index(f"{key} = {value}", told.index("[sources]"))] = source
    file.write_text("\n".join(told) + "\n")
    every = commands(artifacts, trained_run, png("one.png"))
    for line in every if key == "cores" else every[:1]:
        found = run(*line, "--device", "pi")
        assert found.code == 5, found.err
        assert "device 'pi' is not what its profile says" in found.message
        assert words in found.message
    checked = run("devices", "check", "pi")
    assert checked.code == 5
    assert "is not as declared" in checked.message


WRONG_CLOCK = """
import itertools, time
_steps, _real = itertools.count(), time.time
# It begins in 1970, and jumps by years, forwards and backwards.
time.time = lambda: 1000.0 + 1e8 * (next(_steps) * 7 % 20)
time.time_ns = lambda: int(1e9 * time.time())
"""


def wrong_clock(server: SshServer, folder: Path) -> None:
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
    server.environment = {"PYTHONPATH": str(folder)}


def test_a_clock_that_is_wrong_and_jumps_does_no_harm(
    run: CommandLine, pi: SshServer, artifacts: Artifacts, tmp_path: Path
) -> None:
    path = artifacts["tflite", "fp32"]
    wrong_clock(pi, tmp_path / "clock")
    checked = run("devices", "check", "pi")
    assert checked.code == 0, checked.err
    assert "its clock is wrong by" in " ".join(checked.out.split())
    out = tmp_path / "found.json"
    line = ["profile", path, "--device", "pi", "--seconds", 2, "--energy", "off", "-o", out]
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=2)
    found = run(*line)
    assert found.code == 0, found.err
    (one,) = json.loads(out.read_text())["measurements"]
    started = datetime.datetime.fromisoformat(one["started"])
    assert before <= started <= datetime.datetime.now(datetime.UTC)
    starts = [block["start_s"] for block in one["blocks"]]
    assert starts == sorted(starts)
    assert 0 <= starts[0] < starts[-1] < 60
    assert run(*line[:-2]).code == 0  # the file is there, and is found again


def test_a_disk_that_is_full_there(
    run: CommandLine, pi: SshServer, artifacts: Artifacts, trained_run: Path,
    png: Callable[..., Path],
) -> None:  # fmt: skip
    assert run("devices", "check", "pi").code == 0
    pi.shell = "ulimit -f 20; "  # of 512 bytes each
    for line in commands(artifacts, trained_run, png("one.png")):
        found = run(*line, "--device", "pi")
        assert found.code == 5, found.err
        assert "files cannot be written on the device" in found.message
        assert "File too large" in found.message
    pi.shell = ""
    assert run("predict", artifacts["onnx", "fp32"], png("one.png"), "--device", "pi").code == 0


def test_a_disk_that_has_no_room_for_the_agent(run: CommandLine, pi: SshServer) -> None:
    pi.shell = "ulimit -f 20; export TMPDIR=$HOME; "
    found = run("devices", "check", "pi")
    assert found.code == 5
    assert "has no folder for the agent" in found.message
    assert "make room there" in found.message


def test_a_runtime_of_another_version_that_refuses_a_file(
    run: CommandLine, pi: SshServer, artifacts: Artifacts, tmp_path: Path
) -> None:
    model: Any = onnx.load(artifacts["onnx", "fp32"])
    model.ir_version = 99
    path = tmp_path / "new.onnx"
    onnx.save(model, path)
    here = run("profile", path, "--seconds", 1)
    assert here.code == 3
    old = tmp_path / "old" / "onnxruntime-1.2.0.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.2.0\n")
    pi.environment = {"PYTHONPATH": str(old.parent)}
    version = metadata.version("onnxruntime")
    for line in (["profile", path, "--seconds", 1], ["compare", path, path, "--seconds", 1]):
        found = run(*line, "--device", "pi")
        assert found.code == 5, found.err
        assert f"it is onnxruntime 1.2.0 there and onnxruntime {version} here" in found.message
        assert f"install 'onnxruntime=={version}' there" in found.message


@pytest.mark.devices
def test_a_runtime_that_is_years_older(
    run: CommandLine, pi: SshServer, artifacts: Artifacts, tmp_path: Path
) -> None:
    python = old_python()
    if python is None or "onnxruntime" not in about(python)[2]:
        pytest.skip("there is no Python 3.8 with onnxruntime: EDGEKIT_OLD_PYTHON may name one")
    model: Any = onnx.load(artifacts["onnx", "fp32"])
    model.ir_version = 11
    path = tmp_path / "new.onnx"
    onnx.save(model, path)
    assert run("profile", path, "--seconds", 1).code == 0
    words = ("--transport", pi.address, "--python", python)
    assert run("devices", "add", "old", *words).code == 0
    found = run("profile", path, "--device", "old", "--seconds", 1)
    assert found.code == 5, found.err
    assert re.search(
        r"it is onnxruntime 1\.1\d\.\d there and onnxruntime 1\.\S+ here", found.message
    )
    other = artifacts["onnx", "fp32"]
    known = run("profile", other, "--device", "old", "--seconds", 1)
    assert known.code == 0, known.err
