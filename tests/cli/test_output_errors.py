"""Results that cannot be written: nothing is left half-written, and nothing is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import CommandLine, Result
from PIL import Image
from report_records import measurement
from small_artifacts import Artifacts

from edgekit.contract import load
from edgekit.measure.store import Store, save

SMALL = "mobilenetv1@0.25"
EXPORT = ("export", SMALL, "-t", "onnx", "--resolution", "32")
TRAIN = ("train", SMALL, "--data", "synthetic", "--epochs", "1", "--resolution", "32")


@pytest.fixture(params=[EXPORT, TRAIN], ids=["export", "train"])
def write(request: pytest.FixtureRequest, run: CommandLine) -> Callable[..., Result]:
    """A command that writes its results into a folder."""
    return lambda *more: run(*request.param, *more)


CLOSED = "error: standard output or error is closed: redirect it, to /dev/null for example\n"


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a proc file system")
def test_a_folder_that_cannot_be_made_is_named(write: Callable[..., Result]) -> None:
    result = write("-o", "/proc/edgekit/out")
    assert (result.code, result.out) == (3, "")
    assert re.search("cannot write to /proc/edgekit/out", result.message)
    assert "folder" in result.message


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a proc file system")
def test_a_folder_that_takes_no_files_is_named(write: Callable[..., Result]) -> None:
    result = write("-o", "/proc/self")
    assert (result.code, result.out) == (3, "")
    assert re.search("cannot write to /proc/self", result.message)
    assert "folder" in result.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(write: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    result = write("-o", "locked")
    assert (result.code, result.out) == (3, "")
    assert "cannot write to locked" in result.message


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_folder_for_results(
    name: str, write: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    result = write("-o", name)
    assert (result.code, result.out) == (3, "")
    assert name in result.message
    assert "folder" in result.message
    assert _tree(tmp_path) == {"file": b"precious"}


def test_a_name_that_is_too_long_is_refused(write: Callable[..., Result], tmp_path: Path) -> None:
    result = write("-o", "x" * 300)
    assert (result.code, result.out) == (3, "")
    assert "xxx" in result.message
    assert _tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["-fp32.onnx", "-fp32.onnx.json"])
def test_an_export_replaces_nothing_unasked(name: str, run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / f"{SMALL}{name}").write_text("precious")
    result = run(*EXPORT)
    assert (result.code, result.out) == (3, "")
    assert f"{SMALL}{name} exists already: give --overwrite to replace it" in result.message
    assert _tree(tmp_path) == {f"{SMALL}{name}": b"precious"}
    assert run(*EXPORT, "--overwrite").code == 0
    assert load(tmp_path / f"{SMALL}-fp32.onnx").target == "onnx"


def test_one_file_that_exists_stops_an_export_before_anything_is_written(
    run: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / f"{SMALL}-fp32.bin").write_text("precious")
    result = run("export", SMALL, "-t", "onnx,openvino", "--resolution", "32")
    assert result.code == 3
    assert f"{SMALL}-fp32.bin exists already" in result.message
    assert _tree(tmp_path) == {f"{SMALL}-fp32.bin": b"precious"}


def test_a_training_replaces_nothing_unasked(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.pt").write_text("precious")
    before = _tree(tmp_path)
    result = run(*TRAIN, "-o", "run")
    assert (result.code, result.out) == (3, "")
    for text in ("run already holds model.pt", "--overwrite"):
        assert text in result.message
    assert "--resume" not in result.message  # there is nothing to go on with
    assert _tree(tmp_path) == before


def test_a_folder_of_other_things_is_left_alone(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("precious")
    assert run(*EXPORT, "-o", "out").code == 0
    assert (tmp_path / "out" / "notes.txt").read_text() == "precious"


def test_a_folder_in_the_place_of_a_result_is_not_removed(run: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / f"{SMALL}-fp32.onnx"
    place.mkdir()
    (place / "notes.txt").write_text("precious")
    result = run(*EXPORT, "--overwrite")
    assert (result.code, result.out) == (3, "")
    assert place.name in result.message
    assert _tree(tmp_path) == {f"{place.name}/notes.txt": b"precious"}


CANNOT_WRITE = r"cannot write (to out|out/[a-z.]+):"

# Blocks of 512 or 1024 bytes, as the shell likes; each of the files below is larger.
WITH_SMALL_FILES = ["sh", "-c", 'ulimit -f 200 && exec "$@"', "sh"]


def _with_small_files(
    arguments: tuple[str, ...], folder: Path, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Runs a command line whose writes fail beyond a small size, as on a full disk."""
    return subprocess.run(
        [*WITH_SMALL_FILES, sys.executable, "-m", "edgekit", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )


WRITES = {
    "onnx": EXPORT,
    "openvino": ("export", SMALL, "-t", "openvino", "--resolution", "32"),
    "train": TRAIN,
}


@pytest.mark.parametrize("kind", WRITES)
def test_a_write_that_fails_leaves_nothing_behind(
    kind: str, tmp_path: Path, package_env: dict[str, str]
) -> None:
    done = _with_small_files((*WRITES[kind], "-o", "out"), tmp_path, package_env)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    result = Result(done.returncode, done.stdout, done.stderr)
    if kind != "openvino":  # whose own error does not tell; on a full disk the space left does
        assert re.search(CANNOT_WRITE, result.message)
    left = {p.name for p in (tmp_path / "out").rglob("*")}
    assert left <= {"options.json"}


def test_a_write_that_fails_leaves_earlier_results_alone(
    tmp_path: Path, run: CommandLine, package_env: dict[str, str]
) -> None:
    assert run(*EXPORT, "-o", "out").code == 0
    before = _tree(tmp_path)
    done = _with_small_files((*EXPORT, "-o", "out", "--overwrite"), tmp_path, package_env)
    assert done.returncode == 3, done.stderr
    assert _tree(tmp_path) == before


@pytest.fixture
def full_disk(tmp_path: Path) -> list[str]:
    """The beginning of a command line that makes ``out`` a disk of 256 KiB, for itself alone."""
    (tmp_path / "out").mkdir()
    mount = f"mount -t tmpfs -o size=256k none '{tmp_path}/out' && exec \"$@\""
    start = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if os.geteuid() != 0:
        start[1:1] = ["--user", "--map-root-user"]
    try:
        subprocess.run([*start, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no permission to mount a small disk here")
    return start


@pytest.mark.parametrize("kind", WRITES)
def test_a_full_disk_is_named(
    kind: str, full_disk: list[str], tmp_path: Path, package_env: dict[str, str]
) -> None:
    command = f"{sys.executable} -m edgekit {' '.join(WRITES[kind])} -o out; code=$?; "
    # What is left is only seen from inside.
    command += "find out -mindepth 1 >left; exit $code"
    done = subprocess.run(
        [*full_disk, "sh", "-c", command],
        cwd=tmp_path,
        env=package_env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    result = Result(done.returncode, done.stdout, done.stderr)
    assert (result.code, result.out) == (3, ""), result.err
    assert re.search(CANNOT_WRITE, result.message)
    assert set((tmp_path / "left").read_text().split()) <= {"out/options.json"}


# What each command needs to be there, and a command line that writes to a disk without any space.
WITHOUT_SPACE = {
    "report": "report m.json -o out/page.html",
    "export-profiles": "export-profiles -o out/table.csv",
    "search": "search {network} --budget macs=0.85x --target tflite --workers 1 -o out/s",
    "export": f"export {SMALL} -t onnx --resolution 32 -o out/files",
    "app": "app {artifact} --platform python -o out/made/app",
    "train": f"{' '.join(TRAIN)} -o out/run",
    "profile": f"profile {SMALL} --resolution 32 --seconds 1 --no-store -o out/m.json",
}


@pytest.mark.parametrize("command", WITHOUT_SPACE)
def test_a_disk_without_any_space_is_named(
    command: str,
    full_disk: list[str],
    tmp_path: Path,
    package_env: dict[str, str],
    short_network: Path,
    artifacts: Artifacts,
) -> None:
    save([measurement()], tmp_path / "m.json")
    Store(tmp_path / "home" / "measurements.db").add([measurement()])
    words = WITHOUT_SPACE[command].format(network=short_network, artifact=artifacts["onnx", "fp32"])
    fill = "dd if=/dev/zero of=out/full bs=4k 2>/dev/null; "
    edgekit = f"{sys.executable} -m edgekit {words}; code=$?; "
    done = subprocess.run(
        [*full_disk, "sh", "-c", f"{fill}{edgekit}find out -mindepth 1 >left; exit $code"],
        cwd=tmp_path,
        env={**package_env, "EDGEKIT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    result = Result(done.returncode, done.stdout, done.stderr)
    assert result.code == 3, result.err
    assert "Traceback" not in result.err
    assert re.search(r"cannot write (to )?out/\S+: (No space left|.*disk is full)", result.err), (
        result.err
    )
    left = {Path(name).name for name in (tmp_path / "left").read_text().split()}
    assert not {name for name in left if name.startswith(".edgekit")}
    assert not left & {"made", "page.html", "table.csv", "m.json", "model.pt", f"{SMALL}-fp32.onnx"}


@pytest.mark.parametrize("form", ["--json", "--verbose"])
def test_a_reader_that_goes_away_is_no_error(
    form: str, tmp_path: Path, package_env: dict[str, str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "edgekit", "describe", SMALL, form],
        cwd=tmp_path,
        env=package_env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("list", 3), ("list --json", 3), ("history --json", 3), ("devices", 3),
        (f"describe {SMALL} --json", 3), ("nonsense --json", 2), ("--help", 3),
        ("export --help", 3), ("--version", 3), (f"predict {SMALL} image.png --json", 3),
        (f"predict {SMALL} image.png", 3), ("export-profiles -o t.csv --json", 3),
    ],
)  # fmt: skip
def test_a_result_that_cannot_be_written_to_stdout_is_an_error(
    words: str, code: int, tmp_path: Path, package_env: dict[str, str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    Store(tmp_path / "home" / "measurements.db").add([measurement()])
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgekit", *words.split()],
            cwd=tmp_path,
            env={**package_env, "EDGEKIT_HOME": str(tmp_path / "home")},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert ("standard output: No space left" in done.stderr) == (code == 3)


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_output_is_refused_before_anything_is_done(closed: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgekit", *TRAIN, "-o", "run"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {closed}>&-', *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == ("" if closed == 2 else CLOSED)
    assert _tree(tmp_path) == {}
