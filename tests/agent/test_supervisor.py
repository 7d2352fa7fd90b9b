"""Agents whose slots fail, whose asker goes away, and what is no agent at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from edgekit.agent.wire import PROTOCOL
from edgekit.devices import agents
from edgekit.devices.agents import Agent, EndedError, Slot
from edgekit.devices.device import HOST
from edgekit.devices.transports.local import Local
from edgekit.errors import EdgekitError, UnavailableError, UsageError

PATH = os.pathsep.join(entry or os.getcwd() for entry in (str(Path(__file__).parent), *sys.path))
KINDS = ("slot", "direct_slot")


@pytest.fixture(autouse=True)
def _beside_the_subjects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])


@pytest.fixture
def agent() -> Iterator[Agent]:
    with closing(HOST.open()) as found:
        yield found


class Program(Local):
    """A way to whatever a program in Python says."""

    where = "the board"

    def __init__(self, program: str) -> None:
        self._program = program

    def start(self, channel: int, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", self._program],
            stdin=channel,
            stdout=channel,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": PATH},
            start_new_session=True,
        )

    def explain(self, code: int, told: str) -> EdgekitError:
        return UnavailableError(f"the board ended with {code}: {told}")


def imports(then: str) -> dict[str, Any]:
    return {"loader": "odd_subjects:Imports", "arguments": {"then": then}}


def made(agent: Agent, kind: str) -> Slot:
    found: Slot = getattr(agent, kind)()
    return found


def runs(pid: int) -> bool:
    """Whether there is such a process; one that waits for its parent's notice has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ended(*pids: int, within_s: float = 5.0) -> bool:
    """Waits for the end of some processes."""
    end_s = time.monotonic() + within_s
    while any(map(runs, pids)) and time.monotonic() < end_s:
        time.sleep(0.01)
    return not any(map(runs, pids))


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_that_crashes_ends_alone_and_tells_its_last_line(agent: Agent, kind: str) -> None:
    bad, good = made(agent, kind), made(agent, kind)
    with pytest.raises(EndedError) as caught:
        bad.ask("import", subject=imports("crash"))
    error = caught.value
    assert (error.code, error.do, error.told) == (-signal.SIGSEGV, "import", "the last words")
    assert str(error) == (
        "a process of the agent on this machine ended by itself at 'import' (SIGSEGV): "
        "the last words"
    )
    assert not runs(bad.pid)
    with pytest.raises(EndedError, match=r"ended by itself at 'import' \(exit status 7\)$"):
        made(agent, kind).ask("import", subject=imports("exit"))
    good.ask("import", subject=imports("nothing"))
    with pytest.raises(UsageError, match=f"no slot {bad.number} any more"):
        agent.ask("memory", slot=bad.number)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_that_is_silent_is_ended_at_its_limit(agent: Agent, kind: str) -> None:
    bad, good = made(agent, kind), made(agent, kind)
    begin_s = time.monotonic()
    with pytest.raises(EndedError, match="did not answer to 'import' for 0 s") as caught:
        bad.ask("import", limit_s=0.3, subject=imports("hang"))
    assert 0.3 <= time.monotonic() - begin_s < 10
    assert (caught.value.code, caught.value.limit_s) == (None, 0.3)
    assert not runs(bad.pid)
    good.ask("import", subject=imports("nothing"))


def computing(slot: Slot, folder: Path) -> int:
    """Lets a slot compute without an end; gives the process that does."""
    note = folder / "pid"
    subject = {"loader": "odd_subjects:Computes", "arguments": {"note": str(note)}}
    slot.ask("import", subject=subject)
    request = {"do": "tensors", "subject": subject}
    slot.agent.ask("tell", of=slot.number, request=request)
    end_s = time.monotonic() + 30
    while not note.exists() and time.monotonic() < end_s:
        time.sleep(0.01)
    return int(note.read_text())


def test_nothing_is_left_of_an_agent_whose_slot_computes_as_it_is_closed(tmp_path: Path) -> None:
    with closing(HOST.open()) as agent:
        slot = agent.slot()
        pids = (agent.pid, slot.pid, computing(slot, tmp_path))
        assert all(map(runs, pids))
        begin_s = time.monotonic()
    assert time.monotonic() - begin_s < 5
    assert ended(*pids)


ASKER = """
import sys
from pathlib import Path
from test_supervisor import HOST, computing, imports
agent = HOST.open()
slot = agent.slot()
print(agent.pid, slot.pid, computing(slot, Path(sys.argv[1])), flush=True)
if sys.argv[2] == "waits":
    slot.ask("import", subject=imports("nothing"))
sys.stdin.read()
"""


@pytest.mark.parametrize("does", ["waits", "rests"])
def test_nothing_is_left_of_an_agent_whose_asker_is_killed(does: str, tmp_path: Path) -> None:
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKER, str(tmp_path), does],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PATH},
        text=True,
    )
    with asker:
        assert asker.stdout is not None
        pids = [int(word) for word in asker.stdout.readline().split()]
        assert len(pids) == 3
        assert all(map(runs, pids))
        asker.kill()
    assert ended(*pids)


SERVES = "from edgekit.agent import supervisor; supervisor.main(0, 1, {})"


def test_an_agent_that_nobody_asks_ends() -> None:
    with closing(Agent(Program(SERVES.format(0.2)))) as agent:
        slot = agent.slot()
        assert ended(agent.pid, slot.pid)
        assert not agent.usable
        with pytest.raises(UnavailableError, match="the board ended with 0"):
            agent.ask("hello")


def test_a_slot_of_an_agent_that_nobody_asks_ends_with_it_while_it_computes(
    tmp_path: Path,
) -> None:
    with closing(Agent(Program(SERVES.format(0.5)))) as agent:
        slot = agent.slot()
        pids = (agent.pid, slot.pid, computing(slot, tmp_path))
        assert ended(*pids)


@pytest.mark.parametrize(
    ("do", "arguments", "kind", "words"),
    [
        ("dance", {}, UsageError, "knows no such command: it is of another version"),
        ("serve", {}, UsageError, "knows no such command"),
        (["hello"], {}, EdgekitError, "cannot do what it was asked: TypeError"),
        ("hello", {"louder": True}, UsageError, "takes no such arguments: .*louder"),
        ("end", {}, UsageError, "takes no such arguments: .*of"),
        ("slot", {"serves": "tea"}, UsageError, "no slot of the kind 'tea'"),
        ("stop", {}, UsageError, "was not asked to watch"),
        ("heard", {"of": 99, "asked": "x", "within_s": 1}, UsageError, "no slot 99 any more"),
        ("hello", {"slot": [1]}, EdgekitError, "cannot do what it was asked: TypeError"),
        ("placements", {"threads": "many"}, EdgekitError, "(takes no such|cannot do what)"),
        ("rounds", {"turns": [[1]]}, EdgekitError, "cannot do what it was asked: ValueError"),
        ("put", {"key": "x"}, UsageError, "takes no such arguments"),
    ],
)
def test_odd_questions_are_answered_and_the_agent_stays(
    agent: Agent, do: Any, arguments: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        agent.ask(do, **arguments)
    assert agent.ask("hello")[0]["pid"] == agent.pid


SHELL = "import os; os.write(1, b'Welcome to the board!\\n[]\\n{\"a\": 1}\\n\\xff\\n'); "


def test_what_a_shell_prints_before_the_greeting_is_passed_over() -> None:
    with closing(Agent(Program(SHELL + SERVES.format(60)))) as agent:
        assert agent.ask("hello")[0]["protocol"] == PROTOCOL


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("print('no agent here\\n' * 10**4)", "the board answers with something else than edgekit"),
        ("print('x' * 10**6)", "the board answers with something else than edgekit"),
        ("print('bash: python3: not found')", "the board ended with 0: $"),
        ("import sys; sys.exit('python3: not found')", "the board ended with 1: python3: not"),
        (
            "print('{\"edgekit-agent\": 99}')",
            f"the agent on the board speaks version 99 of its protocol, expected {PROTOCOL}",
        ),
    ],
    ids=["lines", "a line", "a word", "an error", "another version"],
)
def test_what_is_no_agent_is_told(program: str, words: str) -> None:
    with pytest.raises(UnavailableError, match=words):
        Agent(Program(program))


@pytest.mark.parametrize("says", ["nonsense", "[1, 2]", '{"arrays": [["<f4", [-1]]]}'])
def test_an_agent_that_loses_its_language_is_told(
    says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "_ENDING_S", 0.2)
    greets = f"""print('{{"edgekit-agent": {PROTOCOL}}}', flush=True); input(); """
    program = greets + f"print({says!r}, flush=True); import time; time.sleep(60)"
    with (
        closing(Agent(Program(program))) as agent,
        pytest.raises(UnavailableError, match="answers to 'hello' with what is no message"),
    ):
        agent.ask("hello")
    assert not runs(agent.pid)


def silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_GREETING_S", "_GRACE_S", "_ENDING_S"):
        monkeypatch.setattr(agents, name, 0.2)


def test_a_device_that_says_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    silenced(monkeypatch)
    with pytest.raises(UnavailableError, match="the board did not answer for 0 s: see whether it"):
        Agent(Program("import time; time.sleep(60)"))


def test_an_agent_that_says_nothing_any_more_is_ended(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = agent.slot()
    silenced(monkeypatch)
    os.kill(agent.pid, signal.SIGSTOP)
    with pytest.raises(UnavailableError, match="this machine did not answer to 'hello' for 0 s"):
        agent.ask("hello", limit_s=0.1)
    with pytest.raises(UnavailableError, match="this machine did not answer to 'hello' for 0 s"):
        slot.ask("import", subject=imports("nothing"))
    assert ended(agent.pid, slot.pid)


@pytest.mark.parametrize("ask", [Agent.slot, Agent.direct_slot, lambda agent: agent.ask("hello")])
def test_an_agent_that_was_killed_is_told(agent: Agent, ask: Callable[[Agent], object]) -> None:
    os.kill(agent.pid, signal.SIGKILL)
    with pytest.raises(UnavailableError, match=r"agent on this machine ended by itself \(SIGKILL"):
        ask(agent)
    assert not agent.usable
    with pytest.raises(UnavailableError, match=r"agent on this machine ended by itself \(SIGKILL"):
        agent.ask("hello")


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_of_an_agent_that_was_killed_is_gone(agent: Agent, kind: str) -> None:
    slot = made(agent, kind)
    os.kill(agent.pid, signal.SIGKILL)
    with pytest.raises(UnavailableError, match=r"agent on this machine ended by itself \(SIGKILL"):
        slot.ask("import", subject=imports("nothing"))
    assert ended(slot.pid)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_closed_says_so_and_writes_to_nothing_else(tmp_path: Path, kind: str) -> None:
    """Descriptors of its channels have become those of other files."""
    with closing(HOST.open()) as agent:
        slot = made(agent, kind)
    with contextlib.ExitStack() as opened:
        files = [tmp_path / str(i) for i in range(8)]
        for file in files:
            opened.enter_context(file.open("wb", buffering=0))
        for ask in (agent.ask, slot.ask):
            with pytest.raises(UnavailableError, match="the agent on this machine was ended"):
                ask("import", subject=imports("nothing"))
    assert not any(file.stat().st_size for file in files)


LARGE = [np.zeros(4_000_000, np.float32)]


def test_a_slot_that_reads_nothing_is_ended_at_its_limit(agent: Agent) -> None:
    slot, good = agent.slot(), agent.slot()
    os.kill(slot.pid, signal.SIGSTOP)
    with pytest.raises(EndedError, match="did not answer to 'import' for 0 s"):
        slot.ask("import", LARGE, limit_s=0.3, subject=imports("nothing"))
    assert not runs(slot.pid)
    good.ask("import", subject=imports("nothing"))


def test_an_agent_whose_slot_reads_nothing_ends_with_the_one_that_asks() -> None:
    agent = HOST.open()
    slot = agent.slot()
    os.kill(slot.pid, signal.SIGSTOP)
    slot.begin("import", LARGE, subject=imports("nothing"))
    agent.close()
    assert ended(agent.pid, slot.pid)


def test_an_agent_whose_answers_nobody_reads_ends() -> None:
    """It would keep others from measuring for ever."""
    ours, theirs = socket.socketpair()
    program = "from edgekit.agent import supervisor; supervisor.main(0, 1, 0.3)"
    with (
        ours,
        theirs,
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=theirs,
            stdout=theirs,
            env={**os.environ, "PYTHONPATH": PATH},
        ) as process,
    ):
        asked = json.dumps({"do": "hello"}).encode() + b"\n"
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(asked)
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_files_that_were_released_are_kept_by_no_slot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    key = "0" * 64
    with closing(HOST.open()) as agent:
        agent.ask("place", key=key, files=[])
        slot = agent.slot()
        slot.ask("import", subject=imports("nothing"))
        agent.ask("release", key=key)
        with open(tmp_path / "edgekit" / "files" / key / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert runs(slot.pid)


def test_a_slot_keeps_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CLAIMS", str(tmp_path))
    with closing(HOST.open()) as agent:
        agent.ask("claim", token="one", owner="somebody")
        slot = agent.slot()
        slot.ask("import", subject=imports("nothing"))
        kept = {os.path.realpath(each) for each in Path(f"/proc/{slot.pid}/fd").iterdir()}
        assert not [each for each in kept if each.startswith(str(tmp_path))]
