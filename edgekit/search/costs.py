"""What networks cost: counted, or measured part by part in the runtime that they are meant for.

A sum of parts is not the whole (docs/measurements/search.md), so it only proposes. The search
corrects it at each step by a measurement of the whole network, and decides by such measurements
alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from edgekit.arrays import arrays_of
from edgekit.core import (
    Example,
    ModelSpec,
    Quantizing,
    Scheme,
    Target,
    canonical_json,
    of_image,
    to_json,
)
from edgekit.core.database import connect_database
from edgekit.core.forms import INTEGER_STEM, NARROW_STEM, STEM
from edgekit.errors import InputError, ModelError, OutputError, UnavailableError
from edgekit.foreign import explained
from edgekit.lowering import lower
from edgekit.models import family_of
from edgekit.models.adapted import example_of
from edgekit.models.calls import draws_in, interface_of
from edgekit.models.rows import noise_rows
from edgekit.models.size import laid_out
from edgekit.native_output import captured
from edgekit.search.parts import WHOLE, Part, is_narrow, macs_of, module_of, parts_of, whole_of

if TYPE_CHECKING:
    from edgekit.core import Array

RANGE_IMAGES = 16
"""Random inputs that the ranges of integers come from: times do not depend on them."""


class Costs(Protocol):
    """Predicts one resource of networks.

    Attributes:
        resource: key of `edgekit.search.budget.UNITS`.
    """

    resource: str

    def of(self, spec: ModelSpec) -> float:
        """The cost, up to a factor that all networks of a search share.

        It is infinite where some of the network cannot be written or run.
        """

    def whole(self, spec: ModelSpec) -> float:
        """The cost in one piece, in the units of `of`, which may add up parts.

        Raises:
            ModelError: it cannot be written or run in one piece.
        """

    def at_least(self, spec: ModelSpec) -> float:
        """A cost that it does not go below, by what is known already: nothing is found out."""

    def prepare(self, specs: Sequence[ModelSpec]) -> None:
        """Finds out at once what the costs of these networks rest on."""


class Remembered:
    """Costs that are computed once for each network."""

    def __init__(self, costs: Costs) -> None:
        self.resource, self._costs = costs.resource, costs
        self._found: dict[str, float] = {}
        self._wholes: dict[str, float] = {}

    def of(self, spec: ModelSpec) -> float:
        """See `Costs`."""
        key = canonical_json(to_json(spec))
        if key not in self._found:
            self._found[key] = self._costs.of(spec)
        return self._found[key]

    def whole(self, spec: ModelSpec) -> float:
        """See `Costs`."""
        key = canonical_json(to_json(spec))
        if key not in self._wholes:
            self._wholes[key] = self._costs.whole(spec)
        return self._wholes[key]

    def at_least(self, spec: ModelSpec) -> float:
        """See `Costs`."""
        return self._costs.at_least(spec)

    def prepare(self, specs: Sequence[ModelSpec]) -> None:
        """See `Costs`."""
        self._costs.prepare([s for s in specs if canonical_json(to_json(s)) not in self._found])


class _Counted(Costs):
    """Costs that need no measuring."""

    def whole(self, spec: ModelSpec) -> float:
        """The cost."""
        return self.of(spec)

    def at_least(self, spec: ModelSpec) -> float:
        """The cost."""
        return self.of(spec)

    def prepare(self, specs: Sequence[ModelSpec]) -> None:
        """Nothing to be found out."""


class CountedMacs(_Counted):
    """Multiply-accumulates for one image."""

    resource = "macs"

    def of(self, spec: ModelSpec) -> float:
        """Exact."""
        return float(macs_of(spec))


class CountedSize(_Counted):
    """Parameters, which the size of files follows."""

    resource = "size"

    def of(self, spec: ModelSpec) -> float:
        """Number of parameters and statistics."""
        module = laid_out(spec, family_of(spec).build)
        return float(sum(value.numel() for value in module.state_dict().values()))


class Memory(NamedTuple):
    """Bytes that a part of a network takes on a microcontroller.

    Attributes:
        held: while it is computed; parts take turns with that.
        kept: for as long as the network is there.
    """

    held: float
    kept: float = 0.0


HELD_POWER = 8
"""The part that holds most decides, and of several that hold as much no single group of channels
changes that. A norm of this power follows the largest ones, and all others a little."""


class SimulatedMemory(Costs):
    """Memory on a microcontroller, by what each part takes as a file of its own.

    Args:
        resource: key of `edgekit.search.budget.UNITS`.
        look: takes parts, each of the network beside it, and gives the memory of each, in order;
            infinite where a part cannot be written or used.
    """

    def __init__(
        self,
        resource: str,
        look: Callable[[Sequence[tuple[ModelSpec, Part]]], Iterable[Memory]],
    ) -> None:
        self.resource, self._look = resource, look
        self._known: dict[str, Memory] = {}

    def of(self, spec: ModelSpec) -> float:
        """Bytes, near to what the whole takes; looks at parts that are not known yet."""
        self.prepare([spec])
        return self.at_least(spec)

    def whole(self, spec: ModelSpec) -> float:
        """See `Costs`: bytes of the whole network."""
        part = whole_of(spec)
        self._find([(spec, part)])
        found = sum(self._known[part.key])
        if math.isinf(found):
            raise ModelError(
                f"'{spec.name}' with fresh weights cannot be written or used in one piece: "
                f"predictions compare its parts to that"
            )
        return found

    def at_least(self, spec: ModelSpec) -> float:
        """See `Costs`: by the parts that are known."""
        known = [self._known[p.key] for p in parts_of(spec) if p.key in self._known]
        most = max((memory.held for memory in known), default=0.0)
        if not 0 < most < math.inf:
            return most
        shares: float = sum((memory.held / most) ** HELD_POWER for memory in known)
        return float(most * shares ** (1 / HELD_POWER)) + sum(memory.kept for memory in known)

    def prepare(self, specs: Sequence[ModelSpec]) -> None:
        """See `Costs`."""
        self._find([(spec, part) for spec in specs for part in parts_of(spec)])

    def _find(self, wanted: Sequence[tuple[ModelSpec, Part]]) -> None:
        missing = {part.key: (spec, part) for spec, part in wanted if part.key not in self._known}
        self._known.update(zip(missing, self._look([*missing.values()]), strict=True))


class MeasuredLatency:
    """Sums of parts, each measured once as a small file; whole networks are measured alike.

    Args:
        table: where times are kept; see `CostTable`.
        measure: takes parts, each of the network beside it, and gives the milliseconds of each, in
            order; infinite ones where a part cannot be written or run.
    """

    resource = "latency"

    def __init__(
        self,
        table: CostTable,
        measure: Callable[[Sequence[tuple[ModelSpec, Part]]], Iterable[float]],
    ) -> None:
        self._table, self._measure = table, measure
        self._parts: dict[str, tuple[Part, ...]] = {}
        self._failed: set[str] = set()  # another sitting may fare better

    def of(self, spec: ModelSpec) -> float:
        """Milliseconds, the sum of the parts; measures those that are not known yet."""
        self.prepare([spec])
        parts = self._parts_of(spec)
        if not self._failed.isdisjoint(part.key for part in parts):
            return math.inf
        return self.at_least(spec)

    def whole(self, spec: ModelSpec) -> float:
        """See `Costs`: milliseconds, measured as the parts are."""
        part = whole_of(spec)
        self._find([(spec, part)])
        found = self._table.get(part.key)
        if found is None:
            raise ModelError(
                f"'{spec.name}' with fresh weights cannot be written or run in one piece: "
                f"predictions compare its parts to that"
            )
        return found

    def at_least(self, spec: ModelSpec) -> float:
        """See `Costs`: the sum of the parts that have been measured."""
        return sum(self._table.get(part.key) or 0.0 for part in self._parts_of(spec))

    def prepare(self, specs: Sequence[ModelSpec]) -> None:
        """See `Costs`."""
        self._find([(spec, part) for spec in specs for part in self._parts_of(spec)])

    def _find(self, parts: Sequence[tuple[ModelSpec, Part]]) -> None:
        """Measures those that are not known."""
        missing = {
            part.key: (spec, part)
            for spec, part in parts
            if part.key not in self._failed and self._table.get(part.key) is None
        }
        if missing:
            values = self._measure(list(missing.values()))
            for (_, part), value in zip(missing.values(), values, strict=True):
                if math.isinf(value):
                    self._failed.add(part.key)
                else:
                    self._table.put(part, value)

    def _parts_of(self, spec: ModelSpec) -> tuple[Part, ...]:
        key = canonical_json(to_json(spec))
        if key not in self._parts:
            self._parts[key] = parts_of(spec)
        return self._parts[key]


def write_part(spec: ModelSpec, part: Part, target: Target, scheme: Scheme, path: Path) -> None:
    """Writes a part of a network as a file of its own, with fresh weights.

    Raises:
        ModelError: the target's converter cannot take it.
    """
    module = module_of(spec, part.name)
    narrow = scheme.forms.get(STEM) == NARROW_STEM and scheme.interface == "float"
    if narrow and part.name != WHOLE:
        if part.begins and is_narrow(module):
            scheme = target.schemes["fp32"]  # which by itself it would not be
        elif not part.begins:
            scheme = dataclasses.replace(scheme, forms={**scheme.forms, STEM: INTEGER_STEM})
    inside = scheme.calibration is not None and not (part.begins or part.ends)
    if inside and not (isinstance(target, Quantizing) and target.free_casts):
        # Inside a network of integers a part takes and gives them; turning floats into integers
        # and back took up to a third of all parts of MobileNetV1. A part whose
        # last layer computes in floats has no such ends, in the network neither.
        with contextlib.suppress(ModelError):
            integers = dataclasses.replace(scheme, interface="int8")
            _write_module(module, spec, part, target, integers, path)
            return
    _write_module(module, spec, part, target, scheme, path)


def _write_module(
    module: nn.Module, spec: ModelSpec, part: Part, target: Target, scheme: Scheme, path: Path
) -> None:
    if part.name == WHOLE and spec.call is not None and spec.call.outputs:
        call = spec.call
        example = Example(example_of(spec), interface_of(call))
        images = noise_rows(call.inputs, draws_in(call), RANGE_IMAGES)
    else:
        rng = np.random.default_rng(0)
        images = rng.standard_normal((RANGE_IMAGES, *part.shape)).astype(np.float32)
        example = of_image(torch.from_numpy(images[:1]))
    ranges: Sequence[Sequence[Array]] | None = None
    if scheme.calibration is not None:
        ranges = [arrays_of(example.interface, image, target.layout) for image in images]
    told = f"{part.name} of '{spec.name}' cannot be written for {target.name}: "
    with explained(told.__add__), captured():
        lowered, _ = lower(module, example.tensors, target, scheme)
        target.export(lowered, example, path, scheme, ranges)


_TABLE = """
CREATE TABLE IF NOT EXISTS parts (
    conditions TEXT, part TEXT, name TEXT, shape TEXT, latency_ms REAL,
    PRIMARY KEY (conditions, part));
"""


class CostTable:
    """Times of parts on disk, by what they depend on; safe with several processes.

    Args:
        path: an SQLite file; made where missing.
        conditions: device, target, runtime version, scheme, threads.
    """

    def __init__(self, path: Path, conditions: dict[str, object]) -> None:
        self.conditions, self._path = canonical_json(to_json(conditions)), path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = connect_database(str(path), busy_s=30)
            self._connection.check_tables(_TABLE)
            self._connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(
                f"{path} cannot hold the times of parts ({error}): name another folder with "
                f"EDGEKIT_HOME"
            ) from error

    def get(self, part: str) -> float | None:
        """Milliseconds; ``None`` where they are not known."""
        rows = self._execute(
            "SELECT latency_ms FROM parts WHERE conditions = ? AND part = ?",
            (self.conditions, part),
        )
        if not rows:
            return None
        ((ms,),) = rows
        if not isinstance(ms, float) or not 0 <= ms < math.inf:
            raise InputError(f"{self._path} is damaged: a part takes {ms!r} ms; remove the file")
        return ms

    def put(self, part: Part, latency_ms: float) -> None:
        """Keeps a time; the first one stays."""
        shape = "x".join(map(str, part.shape))
        self._execute(
            "INSERT OR IGNORE INTO parts VALUES (?, ?, ?, ?, ?)",
            (self.conditions, part.key, part.name, shape, latency_ms),
        )

    def _execute(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        """All rows that a statement gives."""
        try:
            return self._connection.rows(statement, values)
        except sqlite3.Error as error:
            raise OutputError(
                f"{self._path} cannot hold the times of parts ({error}): is the disk full? Name "
                f"another folder with EDGEKIT_HOME"
            ) from error

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


def cost_file(home: Path, device: str) -> Path:
    """Where times of parts on a device are kept, laid out as in ``profiles/``."""
    return home / "profiles" / device / "parts.sqlite"
