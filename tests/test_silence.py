"""No command opens an internet socket or asks a name server, and none leaves strange files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import socket_watch
from PIL import Image

from edgekit import tables
from edgekit.cli import COMMANDS
from edgekit.core import SILENCE

# Runs command lines, a JSON list of words each, one after the other in one process.
SEVERAL = """
import json, sys
from edgekit.__main__ import main
for line in sys.stdin:
    sys.argv = ["edgekit", *json.loads(line)]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            print(*sys.argv, "ended with", ended.code, file=sys.stderr)
            raise
"""

TARGETS = "onnx,openvino,tflite"
FILES = "{0}-int8.onnx {0}-int8.xml {0}-int8.tflite".format("a/mobilenetv3-small")
ONE = FILES.split()[0]
QUICK = "--epochs 1 --batch-size 256 --resolution 32 --device cpu"
SHORT = "-t tflite --tune-steps 1 --finish-epochs 0 --no-distill --workers 1 --selection-images 99"
SCRIPTS = {
    "networks": f"""
        list
        doctor
        devices list
        devices check host
        describe NETWORK
        evaluate NETWORK --data digits
        explain NETWORK image.png -o map.png
        train mobilenetv1@0.25 --data digits {QUICK} -o run
    """,
    "files": f"""
        export NETWORK -t {TARGETS} -p fp32,int8 --calibration-images 16 -o a
        export NETWORK -t onnx,tflite -p int8-dynamic -o b
        benchmark b --seconds 1 -o m
        {{each}}
        profile {FILES} NETWORK --time-limit 60 --seconds 1 --per-op
        compare {FILES.split()[0]} {FILES.split()[1]} --seconds 1
        history
        report -o page.html {FILES}
        export-profiles -o kept.csv
        app {ONE} --platform python -o made
        bundle {FILES} -o all.zip
        verify all.zip
    """.replace(
        "{each}",
        "\n".join(
            f"""
            verify {file} --against NETWORK --per-layer
            evaluate {file} --data digits
            predict {file} image.png
            explain {file} image.png --window 32
            """
            for file in FILES.split()
        ),
    ),
    "search": f"search NETWORK --budget macs=0.85x {SHORT} -o found",
    "search by latency": f"search NETWORK --budget latency=0.9x {SHORT} -o found",
    "demo": "demo --epochs 1",
    "other converter": "export NETWORK -t tflite --converter litert-torch -o c",
}

# What commands are meant to keep, below the home folder or the one for temporary files.
KEPT = (
    ".local/share/edgekit/",  # measurements
    ".cache/matplotlib/",  # a list of the fonts here
    "edgekit-measuring-",  # who measures, so that others wait
)


@dataclass(frozen=True)
class Seen:
    """How a process ended, who wanted a socket, and which files stay that should not."""

    code: int
    stderr: str
    asked: list[str]
    files: set[str]


def watched(folder: Path, code: str, text: str = "", **variables: str) -> Seen:
    """Runs Python in a process with a home folder, and one for temporary files, of its own."""
    home, temporary, notes = folder / "home", folder / "t", folder / "notes"
    for one in (home, temporary):
        one.mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in SILENCE and not name.startswith(("XDG_", "EDGEKIT_", "MPL"))
    }
    own = {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, socket_watch.__file__, str(notes), sys.executable, "-c", code],
        cwd=folder,
        env={**kept, **own, **variables},
        input=text,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode == socket_watch.UNAVAILABLE:
        pytest.skip(done.stderr.strip())
    files = {
        str(file.relative_to(base))
        for base in (home, temporary)
        for file in base.rglob("*")
        if not file.is_dir()
    }
    return Seen(
        done.returncode,
        done.stderr[-2000:],
        notes.read_text().splitlines() if notes.exists() else [],
        {file for file in files if not file.startswith(KEPT)},
    )


def commands(script: str, network: Path) -> str:
    """What `SEVERAL` reads."""
    lines = [line.split() for line in script.replace("NETWORK", str(network)).splitlines()]
    return "\n".join(map(json.dumps, filter(None, lines)))


SLOW = ("search by latency", "demo", "other converter")


@pytest.mark.parametrize(
    "script",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in SCRIPTS],
)
def test_commands_keep_to_themselves(script: str, short_network: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (200, 90, 30)).save(tmp_path / "image.png")
    # What the environment says makes no difference.
    seen = watched(
        tmp_path, SEVERAL, commands(SCRIPTS[script], short_network), ORT_DISABLE_TELEMETRY="0"
    )
    assert seen.code == 0, seen.stderr
    assert seen.asked == []
    assert seen.files == set()


def test_every_command_is_watched() -> None:
    lines = [line.split() for text in SCRIPTS.values() for line in text.splitlines()]
    assert {words[0] for words in lines if words} == set(COMMANDS)


def test_a_download_is_noticed(short_network: Path, tmp_path: Path) -> None:
    script = "evaluate mobilenetv2 --pretrained --data digits"
    seen = watched(tmp_path, SEVERAL, commands(script, short_network))
    assert seen.code == 5, seen.stderr
    assert seen.asked


@pytest.mark.parametrize("name", tables.TARGETS)
def test_runtimes_keep_to_themselves_in_programs_of_others(name: str, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from edgekit import registry
from edgekit.errors import InputError
target = registry.target({name!r})
target.start()
try:
    target.open(Path("nothing" + target.suffix))
except (InputError, FileNotFoundError):
    assert sys.modules.get("openvino_telemetry") is None
else:
    sys.exit("it opens what is not there")
"""
    seen = watched(tmp_path, code)
    assert (seen.code, seen.asked, seen.files) == (0, [], set()), seen.stderr
