"""The same files on several devices at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from edgekit.devices.device import Device
from edgekit.errors import EdgekitError
from edgekit.measure.profiling import Failure, Profile
from edgekit.measure.session import Progress
from edgekit.measure.subjects import Subject

Measure = Callable[[Device, Progress], Profile]
"""Measures on one device."""

_POLL_S = 0.1


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
        return measure(devices[0], progress or _silent)
    ending = threading.Event()
    states = {device.name: ("starting", 0.0) for device in devices}

    def reporting(device: Device) -> Progress:
        def report(what: str, done: float, total: float) -> None:
            if ending.is_set():
                raise KeyboardInterrupt
            states[device.name] = (what, done / total if total else 0.0)

        return report

    def told() -> None:
        name, (what, share) = min(states.items(), key=lambda item: item[1][1])
        (progress or _silent)(f"{name} and {len(devices) - 1} more: {what}", 100 * share, 100)

    with ThreadPoolExecutor(len(devices)) as pool:
        jobs = [pool.submit(measure, device, reporting(device)) for device in devices]
        try:
            while wait(jobs, _POLL_S).not_done:
                told()
        except KeyboardInterrupt:
            ending.set()
            wait(jobs)
    found: list[Profile] = []
    failures: list[Failure] = []
    interrupted = ending.is_set()
    for job in jobs:
        try:
            found.append(job.result())
        except EdgekitError as error:
            failures.append(Failure(subjects[0], error))
        except KeyboardInterrupt:
            interrupted = True
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


def _silent(_what: str, _done: float, _total: float) -> None:
    pass
