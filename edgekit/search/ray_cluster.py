"""Jobs of a search on a Ray cluster: the one that RAY_ADDRESS names, or one of this machine.

Jobs carry all that they need but the images: those have to be found under the same name on every
machine of the cluster.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from edgekit import plugins
from edgekit.core import SILENCE, silent_import, with_kind
from edgekit.errors import EdgekitError, UnavailableError
from edgekit.search.processes import TRIES, Doable, Outcome, Report, Worker

STARTING_S = 120
"""For workers to be there: a cluster may have to fetch packages, or a machine."""


class RayCluster:
    """See `edgekit.search.processes.Processes`; each worker is an actor with one core.

    A cluster that runs already is left running.
    """

    def __init__(
        self,
        work: Callable[[], Callable[[Any], Any]],
        workers: int,
        time_limit_s: float,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._work, self._count, self._limit, self._notify = work, workers, time_limit_s, notify
        with plugins.needed_packages("--executor ray"):
            self._ray = silent_import("ray")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._actors: list[Any] = []
        self._own = False

    def run(self, jobs: Sequence[Doable], report: Report) -> None:
        """See `edgekit.search.processes.Executor`."""
        self._begin()
        waiting = deque((i, 1) for i in range(len(jobs)))
        idle = deque(range(self._count))
        busy: dict[Any, tuple[int, int, int, float]] = {}
        while waiting or busy:
            while waiting and idle:
                (i, tries), at = waiting.popleft(), idle.popleft()
                busy[self._actors[at].do.remote(jobs[i])] = (i, tries, at, time.monotonic())
            ready, _ = self._ray.wait(list(busy), timeout=1.0)
            now = time.monotonic()
            late = [
                reference
                for reference, (i, _, _, begun) in busy.items()
                if reference not in ready and now - begun > self._limit * jobs[i].weight
            ]
            for reference in (*ready, *late):
                i, tries, at, begun = busy.pop(reference)
                outcome = (
                    self._outcome(reference, now - begun)
                    if reference not in late
                    else Outcome(
                        None,
                        now - begun,
                        f"no answer within {self._limit * jobs[i].weight:.0f} s",
                        crashed=True,
                    )
                )
                if outcome.crashed:
                    self._ray.kill(self._actors[at])
                    (self._actors[at],) = self._started(1)
                idle.append(at)
                if outcome.crashed and tries < TRIES:
                    self._notify(f"{jobs[i].name}: {outcome.error}; once more")
                    waiting.append((i, tries + 1))
                else:
                    report(i, outcome)

    def _begin(self) -> None:
        if self._actors:
            return
        if not self._ray.is_initialized():
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            self._own = True
            local: dict[str, Any] = {}
            if not os.environ.get("RAY_ADDRESS"):
                # Ray leaves logs and sockets behind. Paths of sockets are short, so this one is.
                self._folder = tempfile.TemporaryDirectory(
                    prefix="ray-", ignore_cleanup_errors=True
                )
                local = {"num_cpus": max(self._count, 1), "_temp_dir": self._folder.name}
                # A key for this cluster alone; Ray would keep one in the home folder for all.
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            self._ray.init(
                **local,
                include_dashboard=False,
                log_to_driver=False,
                runtime_env={"env_vars": {"PYTHONPATH": path, **SILENCE}},
            )
        self._actors = self._started(self._count)

    def _started(self, count: int) -> list[Any]:
        """Workers that are there, so that the time limit is that of their jobs alone."""
        kind: Any = self._ray.remote(num_cpus=1, max_restarts=0)(Worker)
        actors = [kind.remote(self._work) for _ in range(count)]
        try:
            self._ray.get([actor.__ray_ready__.remote() for actor in actors], timeout=STARTING_S)
        except self._ray.exceptions.RayError as error:
            for actor in actors:
                self._ray.kill(actor)
            if not isinstance(error, self._ray.exceptions.GetTimeoutError):
                raise UnavailableError(f"Ray cannot start workers: {with_kind(error)}") from error
            raise UnavailableError(
                f"Ray did not start {count} workers of one core each within {STARTING_S} s: "
                f"expected as many free cores in the cluster; give fewer --workers"
            ) from error
        return actors

    def close(self) -> None:
        """See `edgekit.search.processes.Executor`."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []
        if self._own:
            self._ray.shutdown()
        if self._folder is not None:
            self._folder.cleanup()

    def _outcome(self, reference: Any, seconds: float) -> Outcome:
        try:
            answer = self._ray.get(reference)
        except (
            self._ray.exceptions.RayError
        ) as error:  # it crashed, was killed for memory, or its machine is gone
            return Outcome(None, seconds, f"its worker is gone: {with_kind(error)}", crashed=True)
        if isinstance(answer, EdgekitError):
            raise answer
        assert isinstance(answer, Outcome)
        return answer
