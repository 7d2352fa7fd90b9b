"""Devices behind a real adbd, which runs here."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import benchmark_output
import native_runner
import pytest
from adbd import SERIAL, Adbd, NoAdbdError
from command_line import CommandLine
from small_artifacts import Artifacts

from edgekit.devices import runner
from edgekit.devices.device import find_device

pytestmark = pytest.mark.devices

PHONE = f"adb:{SERIAL}"
PROFILE = ("--seconds", 1, "--precision-goal", 50, "--energy", "off")


@pytest.fixture
def program() -> Path:
    found = native_runner.built()
    if found is None:
        pytest.skip("no g++ or make here")
    return found


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Adbd]]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEKIT_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.setattr("edgekit.devices.check.NOISE_S", 0.1)
    monkeypatch.setattr(runner, "_SLOTS", {})
    started: list[Adbd] = []

    def make(**options: str) -> Adbd:
        try:
            started.append(Adbd(tmp_path, monkeypatch, **options))
        except NoAdbdError as error:
            pytest.skip(str(error))
        return started[-1]

    yield make
    for slots in runner._SLOTS.values():
        slots.close()
    for one in started:
        one.close()


def add(run: CommandLine, program: Path) -> None:
    words: list[object] = []
    for library in native_runner.libraries():
        words += ["--library", library]
    added = run("devices", "add", "phone", "--transport", PHONE, "--runner", program, *words)
    assert added.code == 0, added.err


@pytest.fixture
def phone(start: Callable[..., Adbd], run: CommandLine, program: Path) -> Adbd:
    """A device called phone, with the native runner."""
    found = start()
    add(run, program)
    return found


def test_it_is_checked_and_what_goes_there_goes_once(run: CommandLine, phone: Adbd) -> None:
    checked = run("devices", "check", "phone")
    assert checked.code == 0, checked.err
    assert "native program; ai-edge-litert libLiteRt.so" in " ".join(checked.out.split())
    again = run("devices", "check", "phone", "--json").json
    assert again["python"] is None
    assert again["to_install"] is None
    assert again["spread"] >= 0
    folder = f"/var/tmp/edgekit-{os.getuid()}"
    names = phone.shell(f"cd {folder}/programs && ls -l */*").split()
    assert len([name for name in names if len(name) > 64]) == 3
    assert phone.shell(f"stat -c %a {folder}").strip() == "700"


def test_files_are_measured_there(run: CommandLine, phone: Adbd, artifacts: Artifacts) -> None:
    paths = [artifacts["tflite", "fp32"], artifacts["onnx", "fp32"]]
    found = run("profile", *paths, *PROFILE, "--device", PHONE, "--json")
    assert found.code == 0, found.err
    assert [one["device"] for one in found.json["measurements"]] == ["phone", "phone"]
    assert all(one["latency_ms"]["p50"] > 0 for one in found.json["measurements"])
    compared = run("compare", *paths, "--seconds", 1, "--device", "phone", "--json")
    assert compared.code == 0, compared.err
    assert compared.json["paired"]
    apart = run("compare", paths[0], paths[0], "--seconds", 1, "--device", "phone,host")
    assert apart.code == 0, apart.err
    assert "unpaired: on two devices" in apart.out
    operators = run("profile", paths[0], *PROFILE, "--per-op", "--device", "phone")
    assert "the native runner has no profiler of operators" in " ".join(operators.err.split())


def test_files_are_verified_evaluated_and_used_there(
    run: CommandLine,
    phone: Adbd,
    artifacts: Artifacts,
    trained_run: Path,
    tmp_path: Path,
) -> None:
    from PIL import Image

    Image.new("RGB", (40, 40), (200, 30, 90)).save(tmp_path / "one.png")
    for target in ("tflite", "onnx"):
        path = artifacts[target, "fp32"]
        for line in (
            ["verify", path, "--against", trained_run],
            ["evaluate", path, "--data", "digits"],
            ["predict", path, tmp_path / "one.png"],
        ):
            here, there = (run(*line, "--json", *more) for more in ((), ("--device", "phone")))
            assert (here.code, there.code) == (0, 0), there.err
            documents = [{**one.json, "device": None} for one in (here, there)]
            assert documents[0] == documents[1]
    kept = list((phone.root / f"var/tmp/edgekit-{os.getuid()}/files").glob("*/*.tflite"))
    phone.adb("-s", SERIAL, "pull", str(kept[0]).removeprefix(str(phone.root)), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == artifacts["tflite", "fp32"].read_bytes()


def test_an_export_is_judged_there(
    run: CommandLine, phone: Adbd, trained_run: Path, tmp_path: Path
) -> None:
    done = run("export", trained_run, "-t", "tflite", "-p", "int8", "--max-drop", 100,
               "--device", "phone", "-o", tmp_path / "out", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert list((tmp_path / "out").glob("*int8.tflite"))


def test_a_search_is_refused_at_once_where_nothing_times_parts(
    run: CommandLine,
    start: Callable[..., Adbd],
    trained_run: Path,
    tmp_path: Path,
) -> None:
    start()
    tool = benchmark_output.stand_in(tmp_path / "benchmark_model")
    added = run("devices", "add", "old", "--transport", PHONE, "--benchmark-model", tool)
    assert added.code == 0, added.err
    done = run("search", trained_run, "--budget", "latency=0.9x", "-t", "tflite", "--data",
               "digits", "--device", "old", "-o", tmp_path / "search")  # fmt: skip
    assert done.code == 5, done.err
    assert "does not time the parts of a search; the native runner does" in done.message


def test_an_agent_in_python(
    run: CommandLine, start: Callable[..., Adbd], artifacts: Artifacts
) -> None:
    device = start()
    added = run("devices", "add", "phone", "--transport", PHONE, "--python", sys.executable)
    assert added.code == 0, added.err
    found = run("profile", artifacts["onnx", "fp32"], *PROFILE, "--device", "phone")
    assert found.code == 0, found.err
    assert device.shell("echo there") == "there\n"
    gone = run("devices", "add", "other", "--transport", PHONE, "--python", "python9")
    assert gone.code == 0
    refused = run("devices", "check", "other")
    assert refused.code == 5
    assert "has no Python called python9" in refused.message
    assert "--runner" in refused.message


def test_a_benchmark_program(
    run: CommandLine, start: Callable[..., Adbd], artifacts: Artifacts, tmp_path: Path
) -> None:
    start()
    tool = benchmark_output.stand_in(tmp_path / "benchmark_model")
    added = run("devices", "add", "old", "--transport", PHONE, "--benchmark-model", tool)
    assert added.code == 0, added.err
    checked = run("devices", "check", "old", "--json")
    assert checked.code == 0, checked.err
    assert checked.json["seen"]["cores"] == os.cpu_count()
    path = artifacts["tflite", "fp32"]
    found = run("profile", path, *PROFILE, "--per-op", "--device", "old", "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert entry["latency_ms"]["p50"] == pytest.approx(3.99)
    assert len(entry["operators"]) == len(benchmark_output.OPERATORS)
    assert entry["environment"]["cpu"]


def test_a_runner_of_another_processor(
    run: CommandLine, start: Callable[..., Adbd], tmp_path: Path
) -> None:
    start()
    other = 183 if platform.machine() == "x86_64" else 62
    program = tmp_path / "runner"
    program.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\3\0" + other.to_bytes(2, "little"))
    assert run("devices", "add", "odd", "--transport", PHONE, "--runner", program).code == 0
    refused = run("devices", "check", "odd")
    assert refused.code == 3
    assert "has another processor" in refused.message


def test_a_disk_that_is_full(run: CommandLine, start: Callable[..., Adbd], program: Path) -> None:
    start(size="4m")
    add(run, program)
    refused = run("devices", "check", "phone")
    assert refused.code == 5
    assert "cannot be sent to" in refused.message
    assert "No space left" in refused.message


def test_serials_that_are_not_there(run: CommandLine, phone: Adbd, artifacts: Artifacts) -> None:
    for address in ("adb:nothing", "adb:127.0.0.1:6556"):
        refused = run("profile", artifacts["tflite", "fp32"], *PROFILE, "--device", address)
        assert refused.code == 5
        assert "is not connected" in refused.message


def alive(pid: int) -> bool:
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        try:
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return False
        except (FileNotFoundError, ProcessLookupError):
            return False
        time.sleep(0.05)
    return True


def test_the_runner_ends_when_the_shell_is_killed(run: CommandLine, phone: Adbd) -> None:
    device = find_device("phone")
    with closing(device.open()) as agent:
        pid = agent.ask("hello")[0]["pid"]
        slot = agent.slot()
        assert Path(f"/proc/{pid}").exists()  # in the same space of numbers
        os.kill(agent.pid, signal.SIGKILL)
        assert not alive(pid)
        assert not alive(slot.pid)


def test_a_device_that_goes_while_it_measures(
    run: CommandLine, phone: Adbd, artifacts: Artifacts
) -> None:
    assert run("devices", "check", "phone").code == 0
    cutting = threading.Timer(4.0, phone.cut)
    cutting.start()
    begin_s = time.monotonic()
    lost = run("profile", artifacts["tflite", "fp32"], "--seconds", 60, "--precision-goal", 0.01,
               "--energy", "off", "--device", "phone")  # fmt: skip
    cutting.join()
    assert lost.code == 5, lost.err
    assert time.monotonic() - begin_s < 40
