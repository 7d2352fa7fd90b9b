"""``edgekit app --serve``: a look at an app's page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from app_files import edited
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts

from edgekit.apps import serving

VERSIONS = "made/classifier/vendor/versions.json"


@pytest.fixture
def artifact(artifacts: Artifacts, copied: Callable[[Path], Path]) -> Path:
    return copied(artifacts["tflite", "fp32"])


def test_a_page_is_served_until_ctrl_c(
    artifact: Path, run: CommandLine, tmp_path: Path, package_env: dict[str, str]
) -> None:
    said = ("app", artifact, "--platform", "web", "-o", "made", "--serve")
    done = run(*said)
    assert done.code == 5
    assert done.message == (
        "the page in made cannot run yet: type 'npm install' and 'npm run vendor' in made to get "
        "the runtime, then this again"
    )
    versions = tmp_path / VERSIONS
    versions.parent.mkdir()
    versions.write_text("{}")
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *map(str, said)], cwd=tmp_path, env=package_env,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    lines = iter(process.stderr)
    address = next(line.split()[0] for line in lines if "shows the page" in line)
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address) as answer:
        assert b"<title>" in answer.read()
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    os.kill(process.pid, signal.SIGINT)
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert versions.is_file()  # the app was served as it was


def test_what_cannot_be_served_is_told_before_anything_is_written(
    artifact: Path, run: CommandLine, tmp_path: Path
) -> None:
    def message(*words: object) -> str:
        done = run("app", artifact, "-o", "made", *words)
        assert done.code == 2
        assert not (tmp_path / "made").exists()
        return done.message

    python = message("--platform", "python", "--serve")
    assert python == "an app for python is no page that could be served: omit --serve"
    assert message("--platform", "web", "--port", "8000") == "--port goes with --serve only"


def test_an_app_that_would_be_another_one_is_not_served(
    artifact: Path, trained_run: Path, run: CommandLine, tmp_path: Path
) -> None:
    said = ("app", artifact, "--platform", "web", "-o", "made")
    Image.new("RGB", (40, 50), "green").save(tmp_path / "own.png")
    assert run(*said, "--image", "own.png").code == 0
    there = run(*said, "--serve", "--json")
    assert there.code == 5  # it would be served, had it its runtime
    assert there.json["golden"][-1] == "own.png"
    for option in (("--image", "own.png"), ("--against", trained_run)):
        refused = run(*said, "--serve", *option)
        assert (refused.code, refused.message) == (
            2,
            f"made holds this app already, which {option[0]} would not change: add --overwrite to "
            f"write it anew",
        )
    mark = tmp_path / "made" / "edgekit-app.json"
    content = mark.read_text()
    for key in ("template", "edgekit", "contract", "artifact"):
        about = json.loads(content)
        about["of"][key] = "another"
        mark.write_text(json.dumps(about))
        assert "made holds an app already: give --overwrite" in run(*said, "--serve").message
    mark.write_text(content)
    edited(artifact, labels=[f"new {i}" for i in range(10)])
    assert "made holds an app already: give --overwrite" in run(*said, "--serve").message


def test_a_port_that_is_taken_is_told(artifact: Path, run: CommandLine, tmp_path: Path) -> None:
    assert run("app", artifact, "--platform", "web", "-o", "made").code == 0
    (tmp_path / VERSIONS).parent.mkdir()
    (tmp_path / VERSIONS).write_text("{}")
    with serving.served(tmp_path) as other:
        done = run(
            "app", artifact, "--platform", "web", "-o", "made", "--serve",
            "--port", other.server_port,
        )  # fmt: skip
    assert done.code == 5
    assert done.message.startswith(f"port {other.server_port} cannot be used (")


def test_files_of_the_folder_only_are_served(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "app"
    folder.mkdir()
    for name in ("a.mjs", "b.js", "c.wasm"):
        (folder / name).touch()
    with serving.served(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = serving.address(server)
            types = {}
            for file in folder.iterdir():
                with urllib.request.urlopen(address + file.name) as answer:
                    types[file.suffix] = answer.headers["Content-Type"]
            for path in ("../secret.txt", "%2e%2e/secret.txt"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(address + path)
        finally:
            server.shutdown()
            thread.join()
    assert types == {
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }
