"""Measurements as a report shows them: numbered, named, summarized, joined with accuracies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.contract import is_artifact
from edgekit.core import Measurement, printable
from edgekit.core.text import shortened
from edgekit.measure.statistics import LatencySummary, summary
from edgekit.plugins import normalize
from edgekit.report.inputs import Accuracy, Material, Unmeasured

_NAME_WIDTH = 44


@dataclass(frozen=True, slots=True)
class Entry:
    """A measurement in a report.

    Attributes:
        number: from 1 on; stands for it in plots.
        name: tells it apart from the others, no longer than a line of a plot.
        machine: its device; with the processor where devices of several have that name.
    """

    number: int
    name: str
    measurement: Measurement
    latency: LatencySummary
    accuracies: tuple[Accuracy, ...]
    machine: str

    @property
    def label(self) -> str:
        """Number and name."""
        return f"{self.number}: {self.name}"

    @property
    def images_per_s(self) -> float:
        """Throughput at the median."""
        return 1e3 * self.measurement.batch / self.latency.p50_ms


def make_entries(material: Material) -> tuple[Entry, ...]:
    """The entries of a report, in the order of the measurements."""
    return tuple(
        Entry(
            number,
            name,
            m,
            summary(m.blocks),
            tuple(found for found in material.accuracies if belongs(found, m)),
            _machine(m, material.measurements),
        )
        for number, (name, m) in enumerate(
            zip(names(material.measurements), material.measurements, strict=True), 1
        )
    )


@dataclass(frozen=True, slots=True)
class Bare:
    """An artifact that was never measured, with what is known of it all the same."""

    name: str
    size_bytes: int
    accuracies: tuple[Accuracy, ...]


def bare(material: Material) -> tuple[Bare, ...]:
    """What stands on the page without a measurement."""
    return tuple(
        Bare(
            one.artifact,
            one.size_bytes,
            tuple(found for found in material.accuracies if belongs(found, one)),
        )
        for one in material.unmeasured
    )


def _machine(m: Measurement, measurements: Iterable[Measurement]) -> str:
    """Each machine calls itself 'host', and is compared with itself alone."""
    processors = {one.environment.get("cpu") for one in measurements if one.device == m.device}
    if len(processors) == 1:
        return m.device
    return f"{m.device} ({m.environment.get('cpu') or 'unknown processor'})"


def belongs(accuracy: Accuracy, m: Measurement | Unmeasured) -> bool:
    """Whether an accuracy is that of an artifact: the same file, or the same source."""
    if accuracy.target != m.target:
        return False
    if accuracy.source == m.artifact:
        return True
    if is_artifact(m.artifact):
        return Path(accuracy.source).absolute() == Path(m.artifact).absolute()
    if Path(m.artifact).name != m.artifact:  # a checkpoint or run folder, where '-' is no '_'
        return False
    return normalize(accuracy.source) == normalize(m.artifact)


def unmatched(material: Material) -> tuple[Accuracy, ...]:
    """Accuracies of what is not on the page."""
    shown: tuple[Measurement | Unmeasured, ...] = (*material.measurements, *material.unmeasured)
    return tuple(
        found for found in material.accuracies if not any(belongs(found, one) for one in shown)
    )


def names(measurements: Sequence[Measurement]) -> list[str]:
    """Short names; what tells measurements of the same file name apart is added to them."""
    named = [
        printable((Path(m.artifact).name or m.artifact) + f" {m.input_sizes}" * m.input_chosen)
        for m in measurements
    ]
    for telling in _TELLING:
        groups: dict[str, set[str]] = {}
        for name, m in zip(named, measurements, strict=True):
            groups.setdefault(name, set()).add(telling(m))
        named = [
            f"{name}, {printable(telling(m))}" if len(groups[name]) > 1 else name
            for name, m in zip(named, measurements, strict=True)
        ]
    return [shortened(name, _NAME_WIDTH) for name in named]


def _folder(m: Measurement) -> str:
    return str(Path(m.artifact).parent) if Path(m.artifact).name != m.artifact else "."


# In the order in which they are added, as long as names are still the same.
_TELLING: tuple[Callable[[Measurement], str], ...] = (
    lambda m: m.runtime,
    lambda m: f"{m.threads} thread{'s' * (m.threads != 1)}",
    lambda m: f"batch {m.batch}",
    lambda m: m.device,
    _folder,
    lambda m: m.started,
)
