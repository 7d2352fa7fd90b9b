"""A second signal close behind the first one, while a command cleans up, says why, or leaves: no
hidden file stays, and message and exit code are those of the first."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import CommandLine, Result
from report_records import measurement
from small_networks import network

import edgekit
from edgekit import signals, staging
from edgekit.cli import console
from edgekit.conversion import building
from edgekit.locks import in_turn, one_writer
from edgekit.measure.store import save

PAIRS = [
    (signal.SIGTERM, signal.SIGHUP),
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGHUP, signal.SIGTERM),
    (signal.SIGINT, signal.SIGTERM),
]


class Twice:
    """Sends one signal at a moment, and the other one whenever something is removed from then on.

    Attributes:
        count: how often the other one was sent.
    """

    def __init__(self, patch: pytest.MonkeyPatch, first: int, second: int) -> None:
        self._patch, self.first, self._second = patch, first, second
        self._came, self.count = False, 0
        for name in ("unlink", "rmdir"):  # of `shutil.rmtree` and paths, too
            self.again_at(os, name)

    def at(self, owner: Any, name: str) -> None:
        """The first one comes when a function is called."""
        whole = getattr(owner, name)

        def interrupted(*arguments: object, **options: object) -> object:
            if not self._came:
                self._came = True
                signal.raise_signal(self.first)
            return whole(*arguments, **options)

        self._patch.setattr(owner, name, interrupted)

    def again_at(self, owner: Any, name: str) -> None:
        """The second one comes when a function is called after that."""
        whole = getattr(owner, name)

        def interrupted(*arguments: object, **options: object) -> object:
            if self._came:
                self.count += 1
                signal.raise_signal(self._second)
            return whole(*arguments, **options)

        self._patch.setattr(owner, name, interrupted)


@contextmanager
def handled() -> Iterator[None]:
    """Signals as a process of edgekit has them."""
    own = {signal.SIGINT: signal.default_int_handler}
    wanted = {number: own.get(number, signals.interrupt) for number in signals.INTERRUPTING}
    previous = {number: signal.signal(number, wanted[number]) for number in wanted}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def twice(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Twice]:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    with handled(), monkeypatch.context() as patch:
        yield Twice(patch, *request.param)


def ended(result: Result, by: int) -> None:
    """By the first signal, and nothing of the second shows."""
    assert (result.code, result.out) == (128 + by, ""), result.err
    name = signal.Signals(by).name
    assert result.message == ("interrupted" if by == signal.SIGINT else f"ended by {name}")


def hidden(folder: Path) -> list[Path]:
    return list(folder.rglob(".*"))


def test_an_export_that_cleans_up(
    twice: Twice, run: CommandLine, module: Callable[[str], str], tmp_path: Path
) -> None:
    twice.at(building, "agreement_with")
    line = (f"{module(network())}:Net", "-t", "onnx", "--resolution", 16, "-o", "out")
    ended(run("export", *line), twice.first)
    assert twice.count > 0
    assert hidden(tmp_path) == []
    assert not Path("out").exists()


def test_a_training_that_cleans_up(twice: Twice, run: CommandLine, tmp_path: Path) -> None:
    twice.at(os, "fsync")
    line = ("mobilenetv1@0.25", "--data", "synthetic", "--resolution", 32, "--epochs", 1)
    ended(run("train", *line, "-o", "run"), twice.first)
    assert twice.count > 0
    assert hidden(tmp_path) == []


def test_a_search_that_cleans_up(
    twice: Twice, run: CommandLine, short_network: Path, tmp_path: Path
) -> None:
    twice.at(os, "fsync")
    line = (short_network, "--data", "digits", "--budget", "macs=0.85x", "-t", "tflite")
    ended(run("search", *line, "--workers", 1, "-o", "s"), twice.first)
    assert twice.count > 0
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "document"])
def test_a_page_that_is_not_written_and_its_message(
    more: tuple[str, ...], twice: Twice, run: CommandLine, tmp_path: Path
) -> None:
    save([measurement()], tmp_path / "m.json")
    twice.at(staging, "publish")
    twice.again_at(console, "note")
    twice.again_at(console, "emit_json")
    result = run("report", "m.json", "-o", "out/page.html", *more)
    if more:
        document = json.loads(result.out)
        assert document["error"]["exit_code"] == 128 + twice.first
        result = Result(result.code, "", result.err)
    ended(result, twice.first)
    assert twice.count > 1
    assert not Path("out").exists()


BLOCKS: dict[str, Callable[[Path, Callable[[object], object]], object]] = {
    "staging": lambda path, work: _within(staging.staging(path.parent), work),
    "output folder": lambda path, work: _within(staging.output_folder(path.parent / "new"), work),
    "new file": lambda path, work: staging.write_file(path, work, overwrite=False),
    "own file": lambda path, work: staging.replace_file(path, work),
    "turn": lambda path, work: _within(in_turn(path.with_name(".lock")), work),
    "writer": lambda path, work: _within(one_writer(path.parent, "work"), work),
}


def _within(block: Any, work: Callable[[object], object]) -> None:
    with block as given:
        work(given)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_cleans_up_without_a_command_line(
    block: str, twice: Twice, tmp_path: Path
) -> None:
    place = SimpleNamespace(work=lambda given: None)
    twice.at(place, "work")
    with pytest.raises(KeyboardInterrupt):
        BLOCKS[block](tmp_path / "file", lambda given: place.work(given))
    assert twice.count > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("block", BLOCKS)
def test_one_that_comes_when_all_is_done_leaves_nothing_hidden(
    block: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first one, in the cleaning."""
    whole = os.unlink

    def interrupted(*arguments: Any, **options: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        whole(*arguments, **options)

    def work(given: object) -> None:
        if isinstance(given, Path):
            (given / "a" if given.is_dir() else given).write_text("x")
        elif (tmp_path / "new").is_dir():
            (tmp_path / "new" / "a").write_text("x")

    with handled(), monkeypatch.context() as patch:
        patch.setattr(os, "unlink", interrupted)
        try:
            BLOCKS[block](tmp_path / "file", work)
        except KeyboardInterrupt:
            pass
        else:
            assert block == "output folder"  # which has nothing to remove
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("call", range(1, 2 * len(signals.INTERRUPTING) + 1))
def test_signals_count_again_behind_a_block_that_they_wait_for(
    call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one comes between two of them being put off, or let in again."""
    with handled():
        before = [signal.getsignal(number) for number in signals.INTERRUPTING]
        with monkeypatch.context() as patch:
            whole, calls = signal.signal, 0

            def interrupted(number: int, handler: Any) -> Any:
                nonlocal calls
                found, calls = whole(number, handler), calls + 1
                if calls == call:
                    signal.raise_signal(number)
                return found

            patch.setattr(signal, "signal", interrupted)
            with pytest.raises(KeyboardInterrupt), signals.waiting():
                pass
        for number, handler in zip(signals.INTERRUPTING, before, strict=True):
            with pytest.raises(KeyboardInterrupt) as raised:
                signal.raise_signal(number)
            assert getattr(raised.value, "number", signal.SIGINT) == number
            signal.signal(number, handler)


def test_one_that_a_library_has_swallowed_is_not_the_last() -> None:
    with handled():
        for _ in range(2):
            with pytest.raises(signals.Ended):
                signal.raise_signal(signal.SIGTERM)
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGHUP)  # while the first one is obeyed


# Sends signals to its own process: one when a package is imported, one when all is done.
SITE = """
import gc, os, signal, sys

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("FIRST_AT"):
            del os.environ["FIRST_AT"]
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Interrupter())
gc.freeze = lambda: os.kill(os.getpid(), signal.SIGHUP)
"""


@pytest.mark.parametrize("first", ["edgekit.devices.profiles", "edgekit.cli", ""])
def test_a_process_that_leaves(first: str, cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    paths = [str(tmp_path / "site"), str(Path(edgekit.__file__).parents[1])]
    env = {"PYTHONPATH": os.pathsep.join(paths), "FIRST_AT": first}
    result = cli("list", env=env)
    assert "Traceback" not in result.err
    if first:
        assert result.code == 128 + signal.SIGTERM
        assert ("ended by SIGTERM" in result.err) == (first != "edgekit.cli")
    else:  # it has done all that it was asked for
        assert result.code == -signal.SIGHUP
        assert "mobilenetv1" in result.out
