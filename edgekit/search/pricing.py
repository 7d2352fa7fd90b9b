"""What networks of a search are predicted to cost.

It is counted, or rests on times of parts, which workers write as files, and which are then measured
one by one.
"""

from __future__ import annotations

import contextlib
import functools
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from edgekit.core import ModelSpec, to_json
from edgekit.core.names import inside
from edgekit.errors import InputError, ModelError
from edgekit.measure.store import data_folder
from edgekit.models import find_spec
from edgekit.search.budget import MEMORIES
from edgekit.search.costs import (
    Costs,
    CostTable,
    CountedMacs,
    CountedSize,
    MeasuredLatency,
    Memory,
    Remembered,
    SimulatedMemory,
    cost_file,
)
from edgekit.search.jobs import PartFile
from edgekit.search.journal import Iteration
from edgekit.search.measuring import Measurer, Notify, Say
from edgekit.search.parts import WHOLE, Part, parts_of
from edgekit.search.processes import Executor, Outcome
from edgekit.search.task import Task

REFERENCE = ("mobilenetv3-small", "block2")
"""What every part is measured in turns with: the same for all searches and sittings, so that the
times in a table are those of one speed of the machine. It is a plain inverted bottleneck."""

PARTS = 5
"""Version of how parts are written and timed: older times say something else."""

WHOLE_TIMES = 5
"""That a whole network is measured: all that is predicted depends on it."""


MOST_BETWEEN = 2**24
"""Bytes that are read between two runs of a part at most: it takes 0.7 ms here, and the caches of
a core are smaller on most machines."""


def between_runs(size_bytes: float) -> int:
    """Bytes that are read between two runs of a part, of a network of that size.

    The nearest power of two, so that networks of about the same size share times.
    """
    return min(int(2 ** round(math.log2(max(size_bytes, 1)))), MOST_BETWEEN)


def cost_table(task: Task, between: int) -> CostTable:
    """Times of parts that were measured under a search's conditions, by it or by others."""
    conditions: dict[str, object] = {
        **task.device.conditions(task.target),
        "parts": PARTS,
        "between_bytes": between,
        "device": task.device.name,
        "target": task.target.name,
        "scheme": to_json(replace(task.scheme, isa=None)),  # its forms and the processor tell it
        "threads": task.threads,
    }
    return CostTable(cost_file(data_folder(), task.device.name), conditions)


class Pricing:
    """What networks of a search are predicted to cost.

    Args:
        size_bytes: of the start's file.
        times: measures parts, given where they are kept and what is read between two runs.
        memory: looks at parts, for a resource that a simulator tells; see `SimulatedMemory`.

    Attributes:
        costs: by limit of the budget.
    """

    def __init__(
        self,
        task: Task,
        size_bytes: float,
        times: Callable[[CostTable, int], PartTimes],
        memory: Callable[[str, Sequence[tuple[ModelSpec, Part]]], list[Memory]],
    ) -> None:
        self._memory = memory
        self._task, self._between, self._times = task, between_runs(size_bytes), times
        self._closing = contextlib.ExitStack()
        self.costs: Sequence[Costs] = [self._of(resource) for resource in task.resources]

    def _of(self, resource: str) -> Costs:
        if resource == "macs":
            return Remembered(CountedMacs())
        if resource == "size":
            return Remembered(CountedSize())
        if resource in MEMORIES:
            return Remembered(SimulatedMemory(resource, functools.partial(self._memory, resource)))
        return self._measured

    @functools.cached_property
    def _measured(self) -> Costs:
        """Of latency, and of energy, of which it is the proposal, too: what runs longer takes
        more.
        """
        table = cost_table(self._task, self._between)
        self._closing.callback(table.close)
        times = self._times(table, self._between)
        self._closing.callback(times.close)
        return Remembered(MeasuredLatency(table, times))

    def close(self) -> None:
        """Closes the table and removes files."""
        self._closing.close()


class PartTimes:
    """Measures parts, and whole networks among them, see `edgekit.search.costs.MeasuredLatency`.

    Args:
        table: that the reference's time is kept in.
        between: bytes that are read between two runs of a part.
        spending: accounts for the time of a block.
    """

    def __init__(
        self,
        table: CostTable,
        between: int,
        *,
        task: Task,
        executor: Executor,
        measurer: Measurer,
        notify: Notify,
        say: Say,
        spending: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._table, self._between = table, between
        self._target, self._scheme = task.target, task.scheme
        self._executor, self._measurer = executor, measurer
        self._notify, self._say, self._spending = notify, say, spending
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __call__(self, parts: Sequence[tuple[ModelSpec, Part]]) -> Iterator[float]:
        """Milliseconds of each part; infinite ones where it cannot be written or run."""
        reference = self._reference()
        for (spec, part), files in zip(parts, self._written(parts), strict=True):
            if not files:
                yield math.inf
                continue
            try:
                with (
                    self._spending("measuring"),
                    tempfile.TemporaryDirectory(prefix="edgekit-") as folder,
                ):
                    self._notify(f"measuring parts of networks: {part.name} of {spec.name}")
                    whole, path = part.name == WHOLE, _laid(files, Path(folder))
                    pairs = [
                        self._measurer.part(path, reference, self._between, whole=whole)
                        for _ in range(WHOLE_TIMES if whole else 1)
                    ]
            except InputError as error:
                self._tell(spec, part, str(error))
                yield math.inf
            else:
                yield statistics.median(own / other * self._nominal(other) for own, other in pairs)

    def _written(self, parts: Sequence[tuple[ModelSpec, Part]]) -> list[Mapping[str, bytes]]:
        """Files of parts by name; none where a part cannot be written."""
        files: list[Mapping[str, bytes]] = [{} for _ in parts]
        done = 0

        def ended(i: int, outcome: Outcome) -> None:
            nonlocal done
            done += 1
            if outcome.error is None:
                files[i] = outcome.value
            else:
                self._tell(*parts[i], outcome.error)
            self._notify(f"writing parts of networks, {done} of {len(parts)}")

        with self._spending("writing parts"):
            self._executor.run(
                [PartFile(part.name, spec, part, self._target.name, self._scheme)
                 for spec, part in parts],
                ended,
            )  # fmt: skip
        return files

    def _tell(self, spec: ModelSpec, part: Part, why: str) -> None:
        so = "" if part.name == WHOLE else ", so no network with it is proposed"
        self._say(
            Iteration("parts", 0), f"{part.name} of '{spec.name}' cannot be measured{so}: {why}"
        )

    def _reference(self) -> Path:
        """The file that others are measured in turns with, written and run once.

        Raises:
            ModelError: it cannot be.
        """
        if self._folder is not None:
            return Path(self._folder.name) / f"part{self._target.suffix}"
        what = f"what parts are measured in turns with ({' of '.join(reversed(REFERENCE))})"
        (files,) = self._written([_reference_part()])
        if not files:
            raise ModelError(f"{self._target.name} cannot write {what}")
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-")
        path = _laid(files, Path(self._folder.name))
        try:
            with self._spending("measuring"):
                self._measurer.part(path, path, self._between, whole=False)
        except InputError as error:
            raise ModelError(f"{what} cannot be measured: {error}") from error
        return path

    def _nominal(self, reference_ms: float) -> float:
        """What the reference took when the table was begun."""
        _, part = _reference_part()
        known = self._table.get(part.key)
        if known is None:
            self._table.put(part, reference_ms)
        return known or reference_ms

    def close(self) -> None:
        """Removes its files."""
        if self._folder is not None:
            self._folder.cleanup()


@functools.cache
def _reference_part() -> tuple[ModelSpec, Part]:
    name, block = REFERENCE
    spec = find_spec(name)
    return spec, next(part for part in parts_of(spec) if part.name == block)


def _laid(files: Mapping[str, bytes], folder: Path) -> Path:
    """Writes files; gives the path of the first one, which is the artifact."""
    for name, data in files.items():
        inside(folder, name).write_bytes(data)
    return folder / next(iter(files))
