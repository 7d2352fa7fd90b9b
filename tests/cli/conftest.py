"""Small inputs for the command line: networks of the user's own, folders of images."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from command_line import CommandLine, Result
from cutting_proxy import CuttingProxy
from PIL import Image
from pseudo_terminal import PseudoTerminal, Shown, shown
from ssh_server import SshServer

from edgekit.cli import cli as group
from edgekit.devices import runner
from edgekit.devices.transports import ssh

SMALL = "mobilenetv1@0.25"
ODD_NETWORKS = Path(__file__).parents[1] / "measure" / "odd_networks.py"

# What a message may name that is given to another program, or to another command, which is named.
ELSEWHERE = re.compile(
    r"pip install [^;:]*|'(?:edgekit|python -m) [^']*'|No such option:? '?--[\w-]+"
)
OPTION = re.compile(r"(?<![\w-])(?:--[a-z][\w-]*|-[a-z]\b)")
COMMANDS = (
    "app", "benchmark", "bundle", "compare", "demo", "describe", "evaluate", "explain", "export",
    "export-profiles",
    "history", "predict", "profile", "report", "search", "train", "verify",
)  # fmt: skip
_numbers = itertools.count()


def misnamed_options(command: str, arguments: tuple[str, ...], errors: str) -> set[str]:
    """Options that the errors of a command name, which neither it nor its user knows."""
    one = group.get_command(click.Context(group), command)
    assert one is not None
    known = {"--help", *(name for option in one.params for name in option.opts)}
    messages = errors[errors.find("error: ") :] if "error: " in errors else ""
    named = set(OPTION.findall(ELSEWHERE.sub("", messages)))
    return {name for name in named - known if not any(name in given for given in arguments)}


@pytest.fixture
def run(run: CommandLine) -> CommandLine:
    """The command line in this process; no error of it may advise an option that it lacks."""

    def call(*arguments: object) -> Result:
        result = run(*arguments)
        words = tuple(map(str, arguments))
        if words and words[0] in COMMANDS and "-v" not in words:
            assert misnamed_options(words[0], words[1:], result.err) == set(), result.err
        return result

    return call


@pytest.fixture
def checkpoint_of(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint of a small network that says it was trained on a folder of images."""

    def write(data: str, *labels: str, name: str = "net.pt") -> Path:
        from edgekit.core import Preprocessing
        from edgekit.models.source import open_model
        from edgekit.models.weights import Checkpoint, save_checkpoint
        from edgekit.verification.reference import make_reference

        model = make_reference(open_model(SMALL, resolution=32, classes=len(labels))).model
        assert model.spec is not None
        state, preprocessing = model.module.state_dict(), Preprocessing(resize=32, crop=32)
        path = tmp_path / name
        save_checkpoint(path, Checkpoint(SMALL, model.spec, state, labels, preprocessing, data))
        return path

    return write


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], str]:
    """Writes a Python module into the working folder; gives its name, never used before."""

    def write(text: str) -> str:
        name = f"own_network_{next(_numbers)}"
        header = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
        (tmp_path / f"{name}.py").write_text(header + text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``DIR/class/NN.png``: random greys around a level of each class."""

    def write(name: str, *classes: str, count: int = 10) -> Path:
        rng = np.random.default_rng(7)
        for level, kind in enumerate(classes):
            folder = tmp_path / name / kind
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(60 * level, 60 * level + 60, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:02d}.png")
        return tmp_path / name

    return write


@pytest.fixture
def png(tmp_path: Path) -> Callable[..., Path]:
    """Writes an image of random pixels."""

    def write(name: str = "image.png", width: int = 40, height: int = 30) -> Path:
        pixels = np.random.default_rng(8).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def odd(tmp_path: Path) -> None:
    """Networks that misbehave lie in the folder of the test."""
    shutil.copy(ODD_NETWORKS, tmp_path)


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: CommandLine) -> Iterator[SshServer]:
    """A device called pi, behind SSH."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("edgekit.devices.check.NOISE_S", 0.1)
    monkeypatch.setattr(runner, "_SLOTS", {})
    (tmp_path / "server").mkdir()
    server = SshServer(tmp_path / "server")
    server.install(monkeypatch)
    added = run("devices", "add", "pi", "--transport", server.address, "--python", sys.executable)
    assert added.code == 0, added.err
    yield server
    for slots in runner._SLOTS.values():
        slots.close()
    server.close()


@pytest.fixture
def proxy(
    pi: SshServer, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CuttingProxy]:
    """The way to a device called far, which is reached and has the agent already.

    What takes ssh fifteen seconds to notice is noticed after two.
    """
    for name, value in (("ConnectTimeout", "2"), ("ServerAliveInterval", "1"),
                        ("ServerAliveCountMax", "2")):  # fmt: skip
        monkeypatch.setitem(ssh._OPTIONS, name, value)
    found = CuttingProxy(pi.port)
    address = pi.behind(found.port)
    added = run("devices", "add", "far", "--transport", address, "--python", sys.executable)
    assert added.code == 0, added.err
    checked = run("devices", "check", "far")
    assert checked.code == 0, checked.err
    yield found
    for slots in runner._SLOTS.values():
        slots.close()
    runner._SLOTS.clear()
    found.close()


@pytest.fixture
def pseudo_terminal(tmp_path: Path, package_env: dict[str, str]) -> PseudoTerminal:
    """Runs Python code, or ``edgekit`` with a list of words, on a terminal of its own."""

    def call(
        what: str | list[str], *, columns: int = 80, lines: int = 24, **variables: str
    ) -> Shown:
        if isinstance(what, str):
            words = [sys.executable, "-c", textwrap.dedent(what)]
        else:
            words = [sys.executable, "-m", "edgekit", *what]
        env = {"TERM": "xterm", "EDGEKIT_HOME": str(tmp_path / "home")}
        kept = {k: v for k, v in package_env.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
        return shown(words, tmp_path, {**kept, **env, **variables}, columns, lines)

    return call
