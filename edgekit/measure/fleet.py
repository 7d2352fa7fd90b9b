"""The same files on several devices at the same time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait

from edgekit.devices.agents import Agent
from edgekit.devices.device import Device
from edgekit.errors import EdgekitError, UnavailableError
from edgekit.measure.profiling import Failure, Opened, Profile
from edgekit.measure.session import Progress
from edgekit.measure.subjects import Subject

Measure = Callable[[int, Progress, Opened | None], Profile]
"""Measures on the device at a position; tells of the agent that it has opened there."""

_POLL_S = 0.1

# After an interrupt: until devices that do not come to an end are let go of, and until what they
# measured is.
_ENDING_S, _CUT_S = 2.0, 15.0


def on_devices(
    devices: Sequence[Device],
    subjects: Sequence[Subject],
    measure: Measure,
    progress: Progress | None = None,
) -> Profile:
    """Measures on all devices in parallel, each in its own time.

    A device that cannot be reached leaves the others; what it failed of stands among the failures.
    An interrupt ends all, and what was measured is kept.

    Args:
        subjects: that are measured, for what is said of a device that is gone.
        progress: told how far the slowest one is.

    Raises:
        EdgekitError: nothing at all could be measured; the error of the first.
        KeyboardInterrupt: it was ended before there was anything to keep.
    """
    if len(devices) == 1:
        return measure(0, progress or _silent, None)
    results = side_by_side(devices, measure, progress)
    found = [one for one in results if isinstance(one, Profile)]
    failures = [Failure(subjects[0], one) for one in results if isinstance(one, EdgekitError)]
    interrupted = None in results
    if not found:
        if interrupted:
            raise KeyboardInterrupt
        raise failures[0].error
    return Profile(
        tuple(m for one in found for m in one.measurements),
        (*(f for one in found for f in one.failures), *failures),
        interrupted or any(one.interrupted for one in found),
        tuple(f for one in found for f in one.untimed),
    )


def side_by_side(
    devices: Sequence[Device], measure: Measure, progress: Progress | None = None
) -> list[Profile | EdgekitError | None]:
    """Measures on all devices in parallel.

    The first interrupt ends all at once, by closing the way to a device if need be; the second one
    is for whoever called.

    Args:
        progress: told how far the slowest one is.

    Returns:
        Of each device what was measured, or why nothing was; ``None`` where it was interrupted
        before there was anything to keep.
    """
    ending = threading.Event()
    states = [("starting", 0.0)] * len(devices)
    agents: list[Agent | None] = [None] * len(devices)

    def run(position: int, job: Future[Profile]) -> None:
        def report(what: str, done: float, total: float) -> None:
            if ending.is_set():
                raise KeyboardInterrupt
            states[position] = (what, done / total if total else 0.0)

        def opened(agent: Agent) -> None:
            agents[position] = agent
            report("starting", 0, 1)

        try:
            job.set_result(measure(position, report, opened))
        except BaseException as error:
            job.set_exception(error)

    def told() -> None:
        slowest = min(range(len(devices)), key=lambda position: states[position][1])
        what, share = states[slowest]
        others = f"{devices[slowest].name} and {len(devices) - 1} more"
        (progress or _silent)(f"{others}: {what}", 100 * share, 100)

    jobs = [Future[Profile]() for _ in devices]
    # Nobody waits at the end for one that does not come to its own.
    threads = [threading.Thread(target=run, args=one, daemon=True) for one in enumerate(jobs)]
    try:
        for thread in threads:
            thread.start()
        while wait(jobs, _POLL_S).not_done:
            told()
    except KeyboardInterrupt:
        ending.set()
    cut: set[int] = set()
    if ending.is_set():  # outside the handler, where another interrupt would count as the same one
        wait(jobs, _ENDING_S)
        cut = {position for position, job in enumerate(jobs) if not job.done()}
        for position in cut:
            _let_go(agents[position])
        # Where no agent was opened there is nothing to keep.
        wait([jobs[position] for position in cut if agents[position] is not None], _CUT_S)
    return [_result(job, cut=position in cut) for position, job in enumerate(jobs)]


def _let_go(agent: Agent | None) -> None:
    """Ends the process that leads to an agent, which ends whoever waits for an answer."""
    if agent is not None and agent.usable:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(agent.pid, signal.SIGKILL)


def _result(job: Future[Profile], *, cut: bool) -> Profile | EdgekitError | None:
    """What a job has come to.

    Args:
        cut: whether its device was let go of, which is no failure of the device.
    """
    try:
        found = job.result(0)
    except (KeyboardInterrupt, TimeoutError):
        return None
    except EdgekitError as error:
        return None if cut and isinstance(error, UnavailableError) else error
    if not cut:
        return found
    failures = tuple(f for f in found.failures if not isinstance(f.error, UnavailableError))
    return dataclasses.replace(found, failures=failures, interrupted=True)


def _silent(_what: str, _done: float, _total: float) -> None:
    pass
