"""Jobs of a search in processes of this machine, which may crash, hang or run out of memory.

What ends a process is not the search's end: the job is done once more in a fresh one, and then
given up with the reason.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Protocol

from edgekit.agent.bounds import die_with
from edgekit.core import ending, with_kind
from edgekit.core.reasons import PASSING
from edgekit.errors import EdgekitError, ModelError, UsageError
from edgekit.signals import leave_to_parent

TRIES = 2

UNGUARDED = 78
"""Exit code of a process that was about to run the user's script once more."""

_NAME = "a search of edgekit"

LEAVING_S = 10.0
"""For a process to come to its end."""

Report = Callable[[int, "Outcome"], None]
"""Is told the number of a job that has ended and how."""


class Doable(Protocol):
    """A job.

    Attributes:
        name: for messages.
        weight: how many times the time limit it may take.
    """

    @property
    def name(self) -> str: ...

    @property
    def weight(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended.

    Attributes:
        value: what it gave; ``None`` where it failed.
        error: why it failed.
        crashed: whether that was the end of its process, rather than a network that is no good.
        seconds: that it took.
    """

    value: Any
    seconds: float
    error: str | None = None
    crashed: bool = False


class Executor(Protocol):
    """Does jobs in parallel."""

    def run(self, jobs: Sequence[Doable], report: Report) -> None:
        """Does all jobs, in any order, and returns when all have ended.

        Raises:
            EdgekitError: what no other job would escape either, such as missing images.
        """

    def close(self) -> None:
        """Ends all that runs."""


class Processes:
    """Does jobs in processes that stay for the next ones.

    Args:
        work: is called in each process; gives what does a job. Both are sent there, so they have
            to be picklable: a function of a module, or a partial of it.
        workers: processes at most.
        time_limit_s: of a job of weight 1.
        notify: is told of crashes.
    """

    def __init__(
        self,
        work: Callable[[], Callable[[Any], Any]],
        workers: int,
        time_limit_s: float,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._work, self._limit, self._notify = work, time_limit_s, notify
        self._workers = [_Worker(work) for _ in range(workers)]

    def run(self, jobs: Sequence[Doable], report: Report) -> None:
        """See `Executor`."""
        waiting = deque((i, 1) for i in range(len(jobs)))
        busy: dict[_Worker, tuple[int, int, float]] = {}
        while waiting or busy:
            for worker in self._workers:
                if waiting and worker not in busy:
                    i, tries = waiting.popleft()
                    worker.begin(jobs[i])
                    busy[worker] = (i, tries, time.monotonic())
            for worker in self._ended(jobs, busy):
                i, tries, begun = busy.pop(worker)
                outcome = worker.outcome(time.monotonic() - begun)
                if outcome.crashed and tries < TRIES:
                    self._notify(f"{jobs[i].name}: {outcome.error}; once more")
                    waiting.append((i, tries + 1))
                else:
                    report(i, outcome)

    def _ended(
        self, jobs: Sequence[Doable], busy: dict[_Worker, tuple[int, int, float]]
    ) -> list[_Worker]:
        """Workers with an answer, or that were ended as they had none in time."""
        limits = {
            worker: begun + self._limit * jobs[i].weight for worker, (i, _, begun) in busy.items()
        }
        left = max(0.0, min(limits.values()) - time.monotonic())
        ready = set(connection.wait([worker.pipe for worker in busy], left))
        ended = [worker for worker in busy if worker.pipe in ready]
        for worker in busy:
            if worker not in ended and time.monotonic() >= limits[worker]:
                worker.overdue(self._limit * jobs[busy[worker][0]].weight)
                ended.append(worker)
        return ended

    def close(self) -> None:
        """See `Executor`."""
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            worker.end()


def leave_script() -> None:
    """Ends a process of a search that imports a script whose calls of edgekit are not guarded.

    It would do all over again what the script has done already, the search included.
    """
    process = multiprocessing.current_process()
    if process.name == _NAME and getattr(process, "_inheriting", False):
        os._exit(UNGUARDED)


class _Worker:
    """A process, seen from the one that gives it work; started when there is some."""

    def __init__(self, work: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = work
        self._process: multiprocessing.process.BaseProcess | None = None
        self._why: str | None = None
        self._works = False

    def begin(self, job: Any) -> None:
        if self._process is None or not self._process.is_alive():
            self.end()
            context = multiprocessing.get_context("spawn")
            self.pipe, other = context.Pipe()
            self._process = context.Process(
                target=_serve, args=(other, self._work, os.getpid()), name=_NAME, daemon=True
            )
            self._process.start()
            other.close()
        self._why, self._works = None, True
        with contextlib.suppress(OSError):  # it died just now, as the wait for its answer finds
            self.pipe.send(job)

    def overdue(self, limit_s: float) -> None:
        self._why = f"no answer within {limit_s:.0f} s"
        assert self._process is not None
        self._process.kill()

    def outcome(self, seconds: float) -> Outcome:
        """The answer, or why there is none.

        Raises:
            EdgekitError: an error that is not of this job alone.
        """
        if self._why is None:
            try:
                answer = self.pipe.recv()
            except (EOFError, OSError):
                answer = None
            self._works = answer is None
            if isinstance(answer, EdgekitError):
                raise answer
            if isinstance(answer, Outcome):
                return answer
        assert self._process is not None
        self._process.join(10)
        if self._process.exitcode == UNGUARDED:
            raise UsageError(
                "edgekit.search starts processes, which import the script that calls it: put what "
                "the script does, the search included, under if __name__ == '__main__':"
            )
        why = self._why or _told(self._process.exitcode)
        self.end()
        return Outcome(None, seconds, why, crashed=True)

    def dismiss(self) -> None:
        """Lets a process without work come to its end by itself, which frees its semaphores."""
        if self._process is not None and not self._works:
            self.pipe.close()

    def end(self) -> None:
        if self._process is not None:
            if self.pipe.closed:
                self._process.join(LEAVING_S)
            self._process.kill()
            self._process.join()
            self.pipe.close()
        self._process = None


def _told(code: int | None) -> str:
    """Why a process ended, in words."""
    if code == -signal.SIGKILL:
        return "its process was killed (signal 9), as the system does when memory runs out"
    if code is not None and code < 0:
        return f"its process crashed ({ending(code)})"
    return f"its process ended with exit code {code}"


def _serve(
    pipe: connection.Connection, work: Callable[[], Callable[[Any], Any]], parent: int
) -> None:
    leave_to_parent()  # the search, which ends this process
    die_with(parent)
    worker = Worker(work)
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(worker.do(job))


class Worker:
    """Does jobs, one after the other, inside of a process that is there for it.

    Args:
        work: see `Processes`; called at the first job.
    """

    def __init__(self, work: Callable[[], Callable[[Any], Any]]) -> None:
        self._work = work
        self._do: Callable[[Any], Any] | None = None

    def do(self, job: Any) -> object:
        """An `Outcome`, or an error that is not of this job alone."""
        begin = time.perf_counter()
        try:
            self._do = self._do or self._work()
            return Outcome(self._do(job), time.perf_counter() - begin)
        except ModelError as error:
            return Outcome(None, time.perf_counter() - begin, str(error))
        except EdgekitError as error:
            return error
        except PASSING:
            raise
        except BaseException as error:  # of PyTorch, memory above all, and of networks
            return Outcome(None, time.perf_counter() - begin, with_kind(error), crashed=True)
