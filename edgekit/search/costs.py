"""What networks cost: counted, or measured part by part in the runtime that they are meant for.

A sum of parts is 2 to 34 % off the whole (docs/search.md), so it only proposes. The search corrects
it at each step by a measurement of the whole network, and decides by such measurements alone.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from edgekit.core import ModelSpec, Scheme, Target, canonical_json, to_json
from edgekit.errors import EdgekitError, ModelError, UnavailableError
from edgekit.lowering import lower
from edgekit.models import family_of
from edgekit.models.count import layers
from edgekit.models.size import laid_out
from edgekit.native_output import captured
from edgekit.search.parts import Part, module_of, parts_of
from edgekit.search.timing import Timer

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
        """The cost, up to a factor that all networks of a search share."""


class Remembered:
    """Costs that are computed once for each network."""

    def __init__(self, costs: Costs) -> None:
        self.resource, self._costs = costs.resource, costs
        self._found: dict[str, float] = {}

    def of(self, spec: ModelSpec) -> float:
        """See `Costs`."""
        key = canonical_json(to_json(spec))
        if key not in self._found:
            self._found[key] = self._costs.of(spec)
        return self._found[key]


class CountedMacs:
    """Multiply-accumulates for one image."""

    resource = "macs"

    def of(self, spec: ModelSpec) -> float:
        """Exact."""
        module = laid_out(spec, family_of(spec).build).eval()
        with torch.device("meta"):
            return float(sum(layer.macs for layer in layers(module, spec.resolution)))


class CountedSize:
    """Parameters, which the size of files follows."""

    resource = "size"

    def of(self, spec: ModelSpec) -> float:
        """Number of parameters and statistics."""
        module = laid_out(spec, family_of(spec).build)
        return float(sum(value.numel() for value in module.state_dict().values()))


class MeasuredLatency:
    """Sums of parts, each measured once as a small file.

    Args:
        scheme: of the files.
        table: where times are kept; see `CostTable`.
        conditions: all else that times depend on: device, runtime and its version, threads.
        notify: is told how many parts have been measured.
    """

    resource = "latency"

    def __init__(
        self,
        target: Target,
        scheme: Scheme,
        table: CostTable,
        timer: Callable[[], Timer],
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._target, self._scheme, self._table = target, scheme, table
        self._timer, self._notify = timer, notify
        self.measured = 0

    def of(self, spec: ModelSpec) -> float:
        """Milliseconds, the sum of the parts; measures those that are not known yet."""
        return sum(self._part(spec, part) for part in parts_of(spec))

    def _part(self, spec: ModelSpec, part: Part) -> float:
        known = self._table.get(part.key)
        if known is not None:
            return known
        self.measured += 1
        self._notify(f"measuring parts of networks ({self.measured} so far)")
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            path = Path(folder) / f"part{self._target.suffix}"
            self._write(spec, part, path)
            value = self._timer().time(path)
        self._table.put(part.key, value)
        return value

    def _write(self, spec: ModelSpec, part: Part, path: Path) -> None:
        rng = np.random.default_rng(0)
        images = rng.standard_normal((RANGE_IMAGES, *part.shape)).astype(np.float32)
        example = torch.from_numpy(images[:1])
        ranges: Sequence[Array] | None = None
        if self._scheme.calibration is not None:
            turned = images if self._target.layout == "NCHW" else images.transpose(0, 2, 3, 1)
            ranges = [np.ascontiguousarray(turned[i : i + 1]) for i in range(len(turned))]
        module = module_of(spec, part.name)
        try:
            with captured():
                lowered, _ = lower(module, example, self._target.name, self._scheme)
                self._target.export(lowered, example, path, self._scheme, ranges)
        except EdgekitError:
            raise
        except Exception as error:  # converters raise everything there is
            raise ModelError(
                f"{part.name} of '{spec.name}' cannot be written for {self._target.name}: {error}"
            ) from error


class CostTable:
    """Times of parts on disk, by what they depend on; safe with several processes.

    Args:
        path: an SQLite file; made where missing.
        conditions: device, target, runtime version, scheme, threads.
    """

    def __init__(self, path: Path, conditions: dict[str, object]) -> None:
        self.conditions = canonical_json(to_json(conditions))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS parts (conditions TEXT, part TEXT, latency_ms REAL, "
                "PRIMARY KEY (conditions, part))"
            )
        except (OSError, sqlite3.Error) as error:
            raise UnavailableError(
                f"{path} cannot hold the times of parts ({error}): name another folder with "
                f"EDGEKIT_HOME"
            ) from error

    def get(self, part: str) -> float | None:
        """Milliseconds; ``None`` where they are not known."""
        row = self._connection.execute(
            "SELECT latency_ms FROM parts WHERE conditions = ? AND part = ?",
            (self.conditions, part),
        ).fetchone()
        return None if row is None else float(row[0])

    def put(self, part: str, latency_ms: float) -> None:
        """Keeps a time; the first one stays."""
        self._connection.execute(
            "INSERT OR IGNORE INTO parts VALUES (?, ?, ?)", (self.conditions, part, latency_ms)
        )

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()


def search_scheme(scheme: Scheme) -> Scheme:
    """A scheme without what belongs to one export: images and their source."""
    return dataclasses.replace(scheme, calibration_images=None, calibration_data=None)


def cost_file(home: Path) -> Path:
    """Where times of parts are kept."""
    return home / "parts.sqlite"
