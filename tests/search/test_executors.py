"""Executors of a search, with jobs that crash, hang and are killed, in real processes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fragile_jobs import Job, work

from edgekit import registry
from edgekit.core import SILENCE
from edgekit.errors import DataError
from edgekit.search.processes import Executor, Outcome

EXECUTORS = (
    "processes",
    pytest.param(
        "ray",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("ray") is None, reason="ray is not installed"
        ),
    ),
)


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Two workers that give up after some seconds."""
    made = registry.executor(request.param)(work, 2, 6.0)
    yield made
    made.close()


def outcomes(executor: Executor, *jobs: Job) -> list[Outcome]:
    found: dict[int, Outcome] = {}

    def report(i: int, outcome: Outcome) -> None:
        assert i not in found
        found[i] = outcome

    executor.run(jobs, report)
    return [found[i] for i in range(len(jobs))]


def test_all_jobs_are_done(executor: Executor) -> None:
    jobs = [Job(str(i), number=i) for i in range(7)]
    assert [outcome.value for outcome in outcomes(executor, *jobs)] == [i**2 for i in range(7)]
    assert outcomes(executor) == []


def test_a_crash_is_forgiven_once(executor: Executor, tmp_path: Path) -> None:
    once = Job("a", "crash once", 3, str(tmp_path))
    always = Job("b", "crash", folder=str(tmp_path))
    others = [Job(str(i), number=i) for i in range(3)]
    first, second, *rest = outcomes(executor, once, always, *others)
    assert first.value == 9
    assert second.value is None
    assert second.crashed
    assert [outcome.value for outcome in rest] == [0, 1, 4]
    assert {name: (tmp_path / name).read_text() for name in "ab"} == {"a": "xx", "b": "xx"}


def test_a_network_that_is_no_good_is_not_tried_again(executor: Executor, tmp_path: Path) -> None:
    (found,) = outcomes(executor, Job("a", "bad network", folder=str(tmp_path)))
    assert (found.value, found.error, found.crashed) == (None, "the loss is not finite", False)
    assert (tmp_path / "a").read_text() == "x"


def test_what_hangs_is_ended(executor: Executor) -> None:
    begin = time.monotonic()
    hung, fine = outcomes(executor, Job("a", "hang", weight=0.2), Job("b", number=2))
    assert time.monotonic() - begin < 60
    assert hung.error == "no answer within 1 s"
    assert fine.value == 4


def test_no_worker_calls_home(executor: Executor) -> None:
    found = outcomes(executor, *[Job(name, f"environment {name}") for name in SILENCE])
    assert [outcome.value for outcome in found] == list(SILENCE.values())


def test_too_little_memory_is_told(executor: Executor) -> None:
    (found,) = outcomes(executor, Job("a", "memory"))
    assert found.error == "MemoryError: no room for 8 GB"


def test_an_error_of_all_jobs_ends_the_search(executor: Executor) -> None:
    with pytest.raises(DataError, match="the folder is empty"):
        outcomes(executor, Job("a", "no images"))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("killed", "was killed (signal 9), as the system does when memory runs out"),
        ("crash", "crashed (SIGABRT)"),
        ("exit", "ended with exit code 3"),
    ],
)
def test_how_a_process_ended_is_told(what: str, told: str) -> None:
    said: list[str] = []
    executor = registry.executor("processes")(work, 1, 60.0, said.append)
    try:
        (found,) = outcomes(executor, Job("block3 with 8 channels", what))
    finally:
        executor.close()
    assert found.error is not None
    assert told in found.error
    assert said == [f"block3 with 8 channels: {found.error}; once more"]


def test_workers_end_with_the_executor() -> None:
    executor = registry.executor("processes")(work, 2, 60.0)
    outcomes(executor, Job("a"), Job("b"))
    pids = [worker._process.pid for worker in executor._workers]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    executor.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert os.getpid() not in pids


def test_a_script_without_a_guard_is_told_what_to_do(
    tmp_path: Path, package_env: dict[str, str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from edgekit.api.checking import typed\n"
        "from edgekit.search.processes import Processes\n"
        "from fragile_jobs import Job, work\n"
        "begin = typed(lambda: print('begun', flush=True))\n"
        "begin()\n"
        "Processes(work, 1, 60.0).run([Job('a')], lambda i, outcome: print(outcome))\n"
    )
    env = {**package_env, "PYTHONPATH": os.pathsep.join(_paths(package_env))}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 1
    assert done.stdout == "begun\n"
    assert "bootstrapping" not in done.stderr
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("edgekit.errors.UsageError: edgekit.search starts processes")
    assert "if __name__ == '__main__':" in last


def _paths(env: dict[str, str]) -> list[str]:
    return [str(Path(__file__).parent), *env.get("PYTHONPATH", "").split(os.pathsep)]
