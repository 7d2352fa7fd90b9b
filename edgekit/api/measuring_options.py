"""Options of `edgekit.profile` and `edgekit.compare`: what is run, where and for how long."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgekit.api.input_shapes import shapes_of, stated_shapes
from edgekit.api.keywords import NetworkKeywords, record_of, refuse_unknown, text_of
from edgekit.core import Side
from edgekit.errors import UsageError
from edgekit.registry import names_of
from edgekit.tables import PRETRAINED

if TYPE_CHECKING:
    from edgekit.devices.device import Device
    from edgekit.measure.subjects import Subject

LONGEST_S = 86400
"""A day."""


class MeasuringKeywords(NetworkKeywords, total=False):
    """What is run, where and for how long; see `MeasuringOptions`."""

    seconds: float
    precision_goal: float
    device: str | Sequence[str]
    threads: int | Sequence[int] | str | None
    batch: int
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | Sequence[str] | None
    torch: str | Sequence[str]
    processor: str
    time_limit: float
    cooldown: str | float | None


@dataclass(frozen=True, slots=True)
class MeasuringOptions:
    """What is run, where and for how long.

    Attributes:
        seconds: at most, of each that is measured.
        precision_goal: percent; half the width of the interval at which it stops.
        device: name or address; several of them for `profile`.
        threads: of the runtime; what the device suggests if empty, else 1.
        batch: images at once.
        input_shape: sizes that a file leaves open, as `edgekit.api.input_shapes` reads them.
        torch: how PyTorch runs networks: ``eager``, ``compiled``.
        processor: where it does: ``cpu``, ``cuda``.
        weights: of a network that is named.
        resolution: side of its image in pixels, or height and width.
        example: inputs that are timed with, where noise is none.
        outputs: of a network, those that are computed; all if empty.
        task: what they are for.
        time_limit: seconds, after which a runtime that does not answer is ended.
        cooldown: what is waited for before: a time such as ``60s``, or a temperature such as
            ``45C``.
        given: which of these were said, rather than left as they are.
    """

    seconds: float = 10.0
    precision_goal: float = 2.0
    device: tuple[str, ...] = ("host",)
    threads: tuple[int, ...] = ()
    batch: int = 1
    input_shape: tuple[str, ...] = ()
    torch: tuple[str, ...] = ("eager",)
    processor: str = "cpu"
    weights: str | None = None
    resolution: Side | None = None
    example: str | None = None
    outputs: tuple[str, ...] = ()
    task: str | None = None
    time_limit: float = 300.0
    cooldown: str | None = None
    given: frozenset[str] = field(default=frozenset())

    def check_used(self, sources: Sequence[str]) -> None:
        """Refuses options of networks where there are only files, and those of files elsewhere.

        Raises:
            UsageError: one that would have no effect.
        """
        from edgekit.contract import is_artifact

        files = [one for one in sources if is_artifact(one)]
        if not files and self.input_shape:
            raise UsageError(
                f"--input-shape goes with exported files only, and '{sources[0]}' is a network: "
                f"give --resolution"
            )
        if len(files) < len(sources):
            return
        for name in ("resolution", "weights", "torch", "processor", "outputs", "task"):
            if name in self.given:
                other = "; --input-shape chooses sizes that a file leaves open"
                raise UsageError(
                    f"--{name} goes with networks only, and '{sources[0]}' is an exported file, "
                    f"which has its own: leave it out{other if name == 'resolution' else ''}"
                )

    def subject(
        self, source: str, threads: int, mode: str, sources: Sequence[str], name: str
    ) -> Subject:
        """A subject; ``mode`` and the like go with networks only.

        Args:
            sources: all that are measured, ``source`` among them.
            name: what it is called.
        """
        from edgekit.contract import is_artifact
        from edgekit.measure.subjects import Subject, batch_of

        if is_artifact(source):
            files = [one for one in sources if is_artifact(one)]
            shapes = shapes_of(self.input_shape, source, files)
            batch = batch_of(shapes) if shapes and "batch" not in self.given else self.batch
            return Subject(
                source,
                threads,
                batch,
                processor=self.processor,
                shapes=shapes,
                example=self.example,
                name=name,
            )
        weights = self.weights
        if weights == PRETRAINED:
            from edgekit.models.taking import fetched

            weights = str(fetched(source, self.resolution))
        return Subject(
            source,
            threads,
            self.batch,
            weights,
            self.resolution,
            mode,
            self.processor,
            example=self.example,
            outputs=self.outputs,
            task=self.task,
            name=name,
        )

    def counts(self, device: Device) -> tuple[int, ...]:
        """Numbers of threads to measure with."""
        from edgekit.agent.kernel import usable_cores

        suggested = (None if device.profile is None else device.profile.threads) or 1
        return self.threads or (min(suggested, usable_cores()) if device.here else suggested,)


_RANGES = (
    ("seconds", 1, LONGEST_S),
    ("precision_goal", 0.01, 50),
    ("batch", 1, 4096),
    ("time_limit", 1, LONGEST_S),
)


def measuring_options(keywords: Mapping[str, object], goal: float = 2.0) -> MeasuringOptions:
    """Options of a measurement, each checked.

    Args:
        keywords: of `MeasuringKeywords`.
        goal: in place of the usual one.

    Raises:
        UsageError: one that cannot be.
    """
    refuse_unknown(keywords, [*MeasuringKeywords.__annotations__])
    given = {name: value for name, value in keywords.items() if value is not None}
    if "size" in given:
        if "resolution" in given:
            raise UsageError("size and resolution: they are the same; give one of them")
        given["resolution"] = given.pop("size")
    if "threads" in given:
        here = given.get("device", "host") in ("host", ["host"])
        given["threads"] = thread_counts(given["threads"], here=here)
    if "device" in given:
        given["device"] = names_of(given["device"], "device")
    if "torch" in given:
        given["torch"] = modes_of(given["torch"])
    if "input_shape" in given:
        given["input_shape"] = stated_shapes(given["input_shape"])
    if "cooldown" in given:
        given["cooldown"] = said = str(given["cooldown"])
        cooling(said)
    if "outputs" in given:
        given["outputs"] = names_of(given["outputs"], "outputs") if given["outputs"] else ()
    for name in ("weights", "example"):
        if isinstance(given.get(name), os.PathLike):
            given[name] = text_of(given[name], name)
    base = MeasuringOptions(precision_goal=goal)
    found = record_of(MeasuringOptions, given, base, ignored=("given",))
    for name, low, high in _RANGES:
        value = getattr(found, name)
        if not low <= value <= high:
            raise UsageError(f"{name}={value:g}: expected {low:g} to {high:g}")
    return dataclasses.replace(found, given=frozenset(given))


MOST_THREADS = 1024


def thread_counts(value: object, *, here: bool = True) -> list[int]:
    """Numbers of threads.

    Args:
        value: one, several, or text with commas.
        here: whether this machine runs them; another one says itself how many cores it has.

    Raises:
        UsageError: one is no number, or not one that this machine has cores for.
    """
    cores = (os.cpu_count() or 1) if here else MOST_THREADS
    told = ", as many as this machine has cores" if here else ""
    many: Sequence[object] = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, str):
        many = [word.strip() for word in value.split(",") if word.strip()]
    counts = []
    for one in many:
        number = int(one) if isinstance(one, str) and one.isdecimal() else one
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= cores:
            raise UsageError(f"--threads {one}: expected 1 to {cores}{told}")
        counts.append(number)
    if not counts:
        raise UsageError(f"--threads '{value}': expected a number from 1 to {cores}, as in 1,2")
    return list(dict.fromkeys(counts))


def modes_of(value: object) -> list[str]:
    """Modes in which PyTorch runs networks.

    Raises:
        UsageError: there is no such mode.
    """
    from edgekit.measure.subjects import MODES

    if value in ("", ","):
        raise UsageError(f"--torch {value}: expected {' or '.join(MODES)}")
    found = names_of(value, "torch")
    for word in found:
        if word not in MODES:
            raise UsageError(f"--torch {word}: expected {' or '.join(MODES)}")
    return found


def device_of(value: object, *, simulators: bool = False) -> Device:
    """The device that is named.

    Args:
        value: a name, or a list of one; see `edgekit.devices.device.find_device`.
        simulators: as there.

    Raises:
        UsageError: there is no such device, or several are named.
    """
    from edgekit.devices.device import find_device

    names = names_of(value, "device")
    if len(names) > 1:
        raise UsageError(f"--device {','.join(names)}: expected one device")
    return find_device(names[0], simulators=simulators)


LONGEST_COOLING_S = 1800.0
"""Of a temperature that is waited for."""


def cooling(value: str | None) -> tuple[float, float | None]:
    """Seconds and degrees Celsius of ``cooldown``; see `edgekit.measure.session.Effort`.

    Raises:
        UsageError: it is no time up to an hour, and no temperature that a device may have.
    """
    if value is None:
        return 0.0, None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|C)?", value.strip())
    number = float(match[1]) if match else 0.0
    if match is not None and match[2] == "C" and 10 <= number <= 100:
        return LONGEST_COOLING_S, number
    seconds = number * (60 if match is not None and match[2] == "m" else 1)
    if match is None or match[2] == "C" or not 0 < seconds <= 3600:
        raise UsageError(
            f"--cooldown {value}: expected a time up to an hour, as in 60s or 5m, or a temperature "
            f"from 10C to 100C, as in 45C"
        )
    return seconds, None


def duration_s(value: object) -> float:
    """Seconds of ``sustain``.

    Raises:
        UsageError: it is no time from ten seconds to a day.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value).strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not 10 <= seconds <= LONGEST_S:
        raise UsageError(f"--sustain {value}: expected a time from 10s to 24h, as in 30m")
    return seconds
