"""Phones behind adb that have no Python: a native runner, or a benchmark program, stands in.

The program ``adb`` is one of the test's, and the runner a script that starts the agent in Python.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import benchmark_output
import pytest
from command_line import CommandLine
from fake_adb import SERIAL, FakeAdb
from small_artifacts import Artifacts

import edgekit
from edgekit.devices import runner

PHONE = f"adb:{SERIAL}"
PROFILE = ("--seconds", 1, "--precision-goal", 50)

_RUNNER = f"""#!{sys.executable}
import os, sys
folder = sys.argv[sys.argv.index("--folder") + 1]
os.environ["XDG_CACHE_HOME"] = folder
os.environ["EDGEKIT_SEEN"] = " ".join(sys.argv[1:])
sys.path[:0] = {[str(Path(edgekit.__file__).parents[1])]!r}
sys.argv[1:] = []
from edgekit.agent.__main__ import main
main()
"""


def program(path: Path, machine: int = 62) -> Path:
    """The beginning of a program or library for a processor, by ELF's number of it."""
    path.write_bytes(b"\x7fELF\2\1\1" + bytes(9) + b"\3\0" + machine.to_bytes(2, "little"))
    return path


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAdb]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EDGEKIT_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.setattr("edgekit.devices.check.NOISE_S", 0.1)
    monkeypatch.setattr(runner, "_SLOTS", {})
    yield FakeAdb(tmp_path, monkeypatch)
    for slots in runner._SLOTS.values():
        slots.close()


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    path = tmp_path / "edgekit-runner"
    path.write_text(_RUNNER)
    path.chmod(0o755)
    return path


@pytest.fixture
def phone(adb: FakeAdb, run: CommandLine, stand_in: Path, tmp_path: Path) -> FakeAdb:
    library = tmp_path / "libLiteRt.so"
    library.write_text("#!/bin/sh\n")
    added = run("devices", "add", "phone", "--transport", PHONE, "--runner", stand_in,
                "--library", library)  # fmt: skip
    assert added.code == 0, added.err
    return adb


def test_the_runner_is_brought_once(run: CommandLine, phone: FakeAdb, tmp_path: Path) -> None:
    checked = run("devices", "check", "phone")
    assert checked.code == 0, checked.err
    assert len(phone.pushed) == 2
    folder = phone.phone / "edgekit"
    assert {path.name for path in folder.glob("programs/*/*")} == {"edgekit-runner", "libLiteRt.so"}
    assert all(len(path.name) == 64 for path in folder.glob("programs/*"))
    assert folder.stat().st_mode & 0o77 == 0
    assert run("devices", "check", "phone").code == 0
    assert len(phone.pushed) == 2
    (tmp_path / "edgekit-runner").write_text(_RUNNER + "# another version\n")
    assert run("devices", "check", "phone").code == 0
    assert len(phone.pushed) == 3


def test_what_was_not_used_for_longest_goes(
    run: CommandLine, phone: FakeAdb, tmp_path: Path, stand_in: Path
) -> None:
    for i in range(20):
        (phone.phone / "edgekit" / "programs" / f"{i:064d}").mkdir(parents=True)
    (phone.phone / "edgekit").chmod(0o700)
    assert run("devices", "check", "phone").code == 0
    left = {path.name for path in phone.phone.glob("edgekit/programs/*/*")}
    assert len([*phone.phone.glob("edgekit/programs/*")]) <= 16
    assert left == {"edgekit-runner", "libLiteRt.so"}


def test_files_are_measured_and_run_there(
    run: CommandLine,
    phone: FakeAdb,
    artifacts: Artifacts,
    trained_run: Path,
    png: Callable[..., Path],
) -> None:
    path = artifacts["tflite", "fp32"]
    found = run("profile", path, *PROFILE, "--device", PHONE, "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert entry["device"] == "phone"
    for line in (
        ["verify", path, "--against", trained_run],
        ["evaluate", path, "--data", "digits"],
        ["predict", path, png("one.png")],
    ):
        here, there = (run(*line, "--json", *more) for more in ((), ("--device", "phone")))
        assert (here.code, there.code) == (0, 0), there.err
        documents = [{**one.json, "device": None} for one in (here, there)]
        assert documents[0] == documents[1]


def test_an_address_names_a_device(run: CommandLine, adb: FakeAdb, stand_in: Path) -> None:
    added = run("devices", "add", PHONE, "--runner", stand_in)
    assert added.code == 0, added.err
    assert f"added adb-{SERIAL}" in added.out
    shown = run("devices", "show", f"adb-{SERIAL}", "--json").json["devices"][0]
    assert (shown["transport"], shown["runner"]) == (PHONE, str(stand_in))
    assert run("devices", "check", PHONE).code == 0


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda folder: folder / "none", 3, "cannot be read: No such file"),
        (lambda folder: folder, 3, "cannot be read: Is a directory"),
        (lambda folder: _text(folder / "notes"), 3, "is no program or library for Linux"),
        (lambda folder: _text(folder / "empty", ""), 3, "is no program or library for Linux"),
    ],
)
def test_files_that_are_no_runner(
    run: CommandLine,
    adb: FakeAdb,
    tmp_path: Path,
    make: Callable[[Path], Path],
    code: int,
    message: str,
) -> None:
    path = make(tmp_path)
    for option in ("--runner", "--benchmark-model"):
        refused = run("devices", "add", "phone", "--transport", PHONE, option, path)
        assert refused.code == code
        assert message in refused.message
        assert str(path) in refused.message


def _text(path: Path, text: str = "no program") -> Path:
    path.write_text(text)
    return path


def test_programs_of_another_processor(run: CommandLine, adb: FakeAdb, tmp_path: Path) -> None:
    other = 62 if "aarch64" in _machine() else 183
    own = 183 if other == 62 else 62
    line = ("devices", "add", "phone", "--transport", PHONE, "--runner")
    mixed = run(*line, program(tmp_path / "r", own), "--library", program(tmp_path / "l", other))
    assert mixed.code == 2
    assert "expected both for the device's processor" in mixed.message
    assert run(*line, program(tmp_path / "r", other)).code == 0
    refused = run("devices", "check", "phone")
    assert refused.code == 3
    assert "has another processor" in refused.message
    assert adb.pushed == []


def _machine() -> str:
    import platform

    return platform.machine()


def test_a_runner_that_does_not_start(run: CommandLine, adb: FakeAdb, tmp_path: Path) -> None:
    path = _text(tmp_path / "odd", "#!/no/interpreter\n")
    assert run("devices", "add", "phone", "--transport", PHONE, "--runner", path).code == 0
    refused = run("devices", "check", "phone")
    assert refused.code == 5
    assert f"cannot start the native runner {path}" in refused.message


def test_a_runner_that_is_gone(run: CommandLine, phone: FakeAdb, stand_in: Path) -> None:
    stand_in.unlink()
    assert run("devices", "show", "phone").code == 0
    refused = run("devices", "check", "phone")
    assert refused.code == 3
    assert f"the native runner {stand_in} cannot be read" in refused.message


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("unauthorized", "has not allowed this computer"),
        ("offline", "is offline: unplug it"),
        (None, "is not connected"),
    ],
)
def test_phones_that_cannot_be_used(
    run: CommandLine, phone: FakeAdb, artifacts: Artifacts, state: str | None, message: str
) -> None:
    phone.connect(*([f"{SERIAL}={state}"] if state else []))
    for line in (
        ("devices", "check", "phone"),
        ("profile", artifacts["tflite", "fp32"], *PROFILE, "--device", "phone"),
    ):
        refused = run(*line)
        assert refused.code == 5
        assert message in refused.message


def test_the_only_phone(run: CommandLine, adb: FakeAdb, stand_in: Path) -> None:
    added = run("devices", "add", "mine", "--transport", "adb:", "--runner", stand_in)
    assert added.code == 0, added.err
    assert run("devices", "check", "mine").code == 0
    adb.connect(f"{SERIAL}=device", "0123=device")
    refused = run("devices", "check", "mine")
    assert refused.code == 5
    assert "2 phones are connected: give one of adb:0123" in refused.message


def test_options_that_do_not_go_together(
    run: CommandLine, adb: FakeAdb, stand_in: Path, tmp_path: Path
) -> None:
    line = ("devices", "add", "odd", "--transport")
    for more, message in (
        ((PHONE, "--runner", stand_in, "--python", "python3"), "and one of them"),
        ((PHONE, "--runner", stand_in, "--benchmark-model", stand_in), "and not both"),
        ((PHONE, "--library", stand_in), "--library goes with --runner"),
        (("local:", "--runner", stand_in), "take no --runner"),
    ):
        refused = run(*line, *more)
        assert refused.code == 2, refused.err
        assert message in refused.message
    gone = run("devices", "list", "--runner", stand_in)
    assert gone.code == 2
    assert "--runner belongs to 'edgekit devices add'" in gone.message


def test_a_benchmark_program(
    run: CommandLine, adb: FakeAdb, artifacts: Artifacts, tmp_path: Path, trained_run: Path
) -> None:
    tool = benchmark_output.stand_in(tmp_path / "benchmark_model")
    added = run("devices", "add", "old", "--transport", PHONE, "--benchmark-model", tool)
    assert added.code == 0, added.err
    checked = run("devices", "check", "old")
    assert checked.code == 0, checked.err
    path = artifacts["tflite", "fp32"]
    found = run("profile", path, *PROFILE, "--device", "old", "--per-op", "--json")
    assert found.code == 0, found.err
    (entry,) = found.json["measurements"]
    assert entry["latency_ms"]["p50"] == pytest.approx(3.99)
    assert entry["load_ms"] == pytest.approx(benchmark_output.INIT_US / 1e3)
    assert entry["peak_rss_mib"] == pytest.approx(11.5)
    assert "medians of its runs" in entry["runtime"]
    assert [one["kind"] for one in entry["operators"]][1:] == ["CONV_2D", "SOFTMAX"]
    assert len(adb.pushed) == 2
    assert run("profile", path, *PROFILE, "--device", "old").code == 0
    assert len(adb.pushed) == 2
    for line, message in (
        (("verify", path, "--against", trained_run), "gives no inputs and outputs"),
        (("evaluate", path, "--data", "digits"), "gives no inputs and outputs"),
        (("profile", artifacts["onnx", "fp32"], *PROFILE), "no file that a benchmark program runs"),
        (("profile", path, *PROFILE, "--batch", 2), "as it was exported"),
    ):
        refused = run(*line, "--device", "old")
        assert refused.code == 5, refused.err
        assert message in refused.message
    odd = tmp_path / "odd.tflite"
    odd.write_bytes(b"\0\0\0\0TFL3")
    refused = run("profile", odd, *PROFILE, "--device", "old")
    assert refused.code == 3
    assert "not a valid Flatbuffer" in refused.message


def test_a_benchmark_program_that_prints_something_else(
    run: CommandLine, adb: FakeAdb, artifacts: Artifacts, tmp_path: Path
) -> None:
    tool = _text(tmp_path / "benchmark_model", "#!/bin/sh\necho what\nexit 3\n")
    assert run("devices", "add", "old", "--transport", PHONE, "--benchmark-model", tool).code == 0
    refused = run("profile", artifacts["tflite", "fp32"], *PROFILE, "--device", "old")
    assert refused.code == 3
    assert "cannot be run by the benchmark program: what" in refused.message
