"""How the speed of one subject holds out: the first minute against the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.core import Block, Measurement
from edgekit.measure.statistics import counted

_FIRST_S = 60.0
_POINTS = 200


@dataclass(frozen=True, slots=True)
class Sustained:
    """Medians of the beginning and the end.

    Attributes:
        first_s: length of the beginning: a minute, or a fifth of the whole.
        last_s: length of the end: as long.
    """

    first_s: float
    first_ms: float
    last_s: float
    last_ms: float

    @property
    def change(self) -> float:
        """By what share the end is slower than the beginning."""
        return self.last_ms / self.first_ms - 1


def sustained(blocks: Sequence[Block]) -> Sustained:
    """Compares the beginning with the end."""
    start, end = blocks[0].start_s, blocks[-1].start_s
    span = min(_FIRST_S, (end - start) / 5)
    first = [ms for b in blocks if b.start_s <= start + span for ms in counted(b.samples_ms)]
    last = [ms for b in blocks if b.start_s >= end - span for ms in counted(b.samples_ms)]
    return Sustained(span, float(np.median(first)), span, float(np.median(last)))


def plot(measurement: Measurement, path: Path) -> None:
    """Draws latency over time, median and 90 % point of some seconds each.

    Args:
        path: of a picture; replaced.

    Raises:
        OSError: the picture cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    blocks = measurement.blocks
    groups = [blocks[part[0] : part[-1] + 1] for part in _parts(len(blocks))]
    seconds = [np.mean([b.start_s for b in group]) - blocks[0].start_s for group in groups]
    samples = [np.array([ms for b in g for ms in counted(b.samples_ms)]) for g in groups]
    behind = [[ms for b in g for ms in counted(b.reference_ms)] for g in groups]
    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(seconds, [np.percentile(s, 90) for s in samples], color="#9bbbe0", label="p90")
    axes.plot(seconds, [np.median(s) for s in samples], color="#1f5fa8", label="p50")
    if all(behind):  # there is none on an emulated device
        references = [np.median(times) for times in behind]
        axes.plot(seconds, references, color="#999999", ls=":", label="reference network")
    axes.set(xlabel="seconds", ylabel="ms")
    # Names may hold signs that would be read as formulas.
    axes.set_title(f"{measurement.artifact}, {measurement.runtime}", parse_math=False)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)


def _parts(count: int) -> list[np.ndarray]:
    parts = np.array_split(np.arange(count), min(count, _POINTS))
    return [part for part in parts if len(part)]
