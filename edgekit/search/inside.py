"""Jobs of a search in this process, for networks that no other one can make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from edgekit.errors import EdgekitError
from edgekit.search.processes import Doable, Outcome, Report, Worker


class Inside:
    """Does one job after the other; what would end a worker's process ends this one.

    Args:
        work: see `edgekit.search.processes.Processes`.
    """

    def __init__(self, work: Callable[[], Callable[[Any], Any]]) -> None:
        self._worker = Worker(work)

    def run(self, jobs: Sequence[Doable], report: Report) -> None:
        """See `edgekit.search.processes.Executor`; threads and random numbers stay as they were."""
        for i, job in enumerate(jobs):
            threads = torch.get_num_threads()
            try:
                with torch.random.fork_rng(devices=[]):
                    answer = self._worker.do(job)
            finally:
                torch.set_num_threads(threads)
            if isinstance(answer, EdgekitError):
                raise answer
            assert isinstance(answer, Outcome)
            report(i, answer)

    def close(self) -> None:
        """Nothing runs."""
