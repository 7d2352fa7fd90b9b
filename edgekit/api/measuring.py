"""``edgekit.profile`` and ``edgekit.compare``: how fast files and networks run."""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from edgekit.api.checking import typed
from edgekit.api.input_shapes import shapes_of, stated_shapes
from edgekit.api.keywords import StrPath, record_of, refuse_unknown, text_of
from edgekit.core import Side
from edgekit.errors import UnavailableError, UsageError
from edgekit.registry import names_of
from edgekit.tables import PRETRAINED

if TYPE_CHECKING:
    from edgekit.core import DeviceProfile, Measurement
    from edgekit.measure.comparing import Comparison
    from edgekit.measure.profiling import Failure, Profile
    from edgekit.measure.session import Effort, Hold, Progress
    from edgekit.measure.subjects import Subject
    from edgekit.models.taking import Network, Size

LONGEST_S = 86400
"""A day."""


class MeasuringKeywords(TypedDict, total=False):
    """What is run, where and for how long; see `MeasuringOptions`."""

    seconds: float
    precision_goal: float
    device: str
    threads: int | Sequence[int] | str | None
    batch: int
    input_shape: Sequence[int] | Mapping[str, Sequence[int]] | Sequence[str] | None
    torch: str | Sequence[str]
    processor: str
    weights: StrPath | None
    resolution: Side | None
    size: Size | None
    example: Any
    outputs: str | Sequence[str]
    task: str | None
    time_limit: float


@dataclass(frozen=True, slots=True)
class MeasuringOptions:
    """What is run, where and for how long.

    Attributes:
        seconds: at most, of each that is measured.
        precision_goal: percent; half the width of the interval at which it stops.
        device: name of its profile.
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
        given: which of these were said, rather than left as they are.
    """

    seconds: float = 10.0
    precision_goal: float = 2.0
    device: str = "host"
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

    def subject(self, source: str, threads: int, mode: str, sources: Sequence[str]) -> Subject:
        """A subject; ``mode`` and the like go with networks only.

        Args:
            sources: all that are measured, ``source`` among them.
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
        )

    def counts(self, device: DeviceProfile) -> tuple[int, ...]:
        """Numbers of threads to measure with."""
        from edgekit.devices.kernel import usable_cores

        return self.threads or (min(device.threads or 1, usable_cores()),)


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
        given["threads"] = thread_counts(given["threads"])
    if "torch" in given:
        given["torch"] = modes_of(given["torch"])
    if "input_shape" in given:
        given["input_shape"] = stated_shapes(given["input_shape"])
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


def thread_counts(value: object) -> list[int]:
    """Numbers of threads.

    Args:
        value: one, several, or text with commas.

    Raises:
        UsageError: one is no number, or not one that this machine has cores for.
    """
    cores = os.cpu_count() or 1
    many: Sequence[object] = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, str):
        many = [word.strip() for word in value.split(",") if word.strip()]
    counts = []
    for one in many:
        number = int(one) if isinstance(one, str) and one.isdecimal() else one
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= cores:
            raise UsageError(
                f"--threads {one}: expected 1 to {cores}, as many as this machine has cores"
            )
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


def local_device(name: str) -> DeviceProfile:
    """A device that can be measured on.

    Raises:
        UsageError: there is no such device.
        UnavailableError: it is not this machine.
    """
    from edgekit.devices.profiles import find_profile

    profile = find_profile(name).profile
    if not profile.transport.startswith("local:"):
        raise UnavailableError(
            f"device '{profile.name}' is reached by {profile.transport}: only this machine can be "
            f"measured so far; run edgekit there, or use --device host"
        )
    return profile


def chosen_meter(
    chosen: str, device: DeviceProfile, processor: str, say: Callable[[str], None]
) -> str:
    """What ``energy`` means on a device: ``auto`` begins with the meter that it declares.

    Args:
        say: told why that is not used.
    """
    from edgekit.measure.metering import AUTO, open_meter

    if chosen != AUTO or device.meter is None:
        return chosen
    try:
        meter = open_meter(device.meter, Path("/"))
        scope = meter.scope
        meter.close()
    except (UnavailableError, UsageError) as error:
        reason = str(error)
    else:
        if scope != ("package" if processor == "cuda" else "gpu"):
            return device.meter
        reason = f"it meters the {scope}, where the network does not run"
    say(
        f"device '{device.name}' declares the meter '{device.meter}', which is not used: {reason}; "
        f"looking for another one"
    )
    return chosen


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


@typed
def profile(
    sources: Network | Sequence[Network],
    *,
    per_op: bool = False,
    energy: str = "auto",
    sustain: Any = None,
    store: bool = False,
    out: StrPath | None = None,
    overwrite: bool = False,
    command: str | None = None,
    progress: Progress | None = None,
    hold: Hold | None = None,
    say: Callable[[str], None] = lambda warning: None,
    **keywords: Unpack[MeasuringKeywords],
) -> Profile:
    """Measures files and networks, several of them in turns.

    Args:
        sources: exported files and networks in any form; one, or several in a list. A module is
            measured as ``torch.export`` writes it.
        per_op: time each operator as well, of exported files.
        energy: ``auto``, ``off``, ``estimate`` or a meter.
        sustain: seconds, or a time such as ``30m``, to run one without a pause.
        store: keep the measurements in the history.
        out: file for the measurements with all samples.
        overwrite: replace that file.
        command: what repeats it, for the record.
        progress: told how far it is.
        hold: see `edgekit.measure.session.Hold`.
        say: told each warning as soon as it is known.
        keywords: ``seconds``, ``threads``, ``batch``, ``torch``, ...; see `MeasuringOptions`.

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        EdgekitError: nothing at all could be measured; the error of the first.
    """
    from edgekit.measure import profiling

    options = measuring_options(keywords)
    device = local_device(options.device)
    many = list(sources) if isinstance(sources, list | tuple) else [sources]
    if not many:
        raise UsageError("sources=[]: expected an exported file, a network, or several in a list")
    _check_out(out, overwrite)
    with _named(many, options) as named:
        options.check_used([*named])
        subjects = _subjects(named, options, device)
        effort = _effort(options, sustain, len(subjects))
        if per_op:
            _check_operators(subjects, say)
        result = profiling.profile(
            subjects,
            effort,
            device=device.name,
            operators=per_op,
            energy=chosen_meter(energy, device, options.processor, say),
            command=command,
            progress=progress,
            hold=hold,
        )
        result = dataclasses.replace(
            result,
            measurements=tuple(_renamed(m, named) for m in result.measurements),
            failures=tuple(_blamed(one, named) for one in result.failures),
        )
    _keep(result.measurements, store, out, overwrite)
    return result


@typed
def compare(
    a: Network,
    b: Network,
    *,
    store: bool = False,
    out: StrPath | None = None,
    overwrite: bool = False,
    command: str | None = None,
    progress: Progress | None = None,
    hold: Hold | None = None,
    **keywords: Unpack[MeasuringKeywords],
) -> Comparison:
    """Measures two files or networks in turns until the interval of their ratio is narrow enough.

    Args:
        a: an exported file, or a network in any form.
        b: as well.
        store: keep the measurements in the history.
        out: file for the measurements with all samples.
        overwrite: replace that file.
        command: what repeats it, for the record.
        progress: told how far it is.
        hold: see `edgekit.measure.session.Hold`.
        keywords: as of `profile`; ``threads`` and ``torch`` take one value for both, or two.

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        EdgekitError: one of them cannot be run to the end.
    """
    from edgekit.measure import comparing
    from edgekit.measure.session import Effort

    options = measuring_options(keywords, goal=100 * comparing.GOAL)
    device = local_device(options.device)
    _check_out(out, overwrite)
    with _named([a, b], options) as named:
        pair = [*named] if len(named) == 2 else [*named] * 2  # a file against itself
        options.check_used(pair)
        one, other = _pair(pair[0], pair[1], named, options, device)
        result = comparing.compare(
            one,
            other,
            Effort(options.seconds, options.precision_goal / 100, options.time_limit),
            device=device.name,
            command=command,
            progress=progress,
            hold=hold,
        )
        result = dataclasses.replace(
            result, a=_renamed(result.a, named), b=_renamed(result.b, named)
        )
    _keep((result.a, result.b), store, out, overwrite)
    return result


Names = Mapping[str, str]
"""The sources of what is measured, which a process can open, with what each is called:
others, where they are the file of a module."""


def _subjects(named: Names, options: MeasuringOptions, device: DeviceProfile) -> list[Subject]:
    made = [
        _said_of(source, named, options).subject(source, count, mode, [*named])
        for source in named
        for mode in options.torch
        for count in options.counts(device)
    ]
    return list(dict.fromkeys(made))  # the modes of PyTorch are one for files


def _said_of(source: str, named: Names, options: MeasuringOptions) -> MeasuringOptions:
    """The options for one of them; what is said of a network is in the file of a module."""
    if named[source] == source:
        return options
    return dataclasses.replace(
        options, weights=None, resolution=None, example=None, outputs=(), task=None
    )


def _pair(
    a: str, b: str, named: Names, options: MeasuringOptions, device: DeviceProfile
) -> tuple[Subject, Subject]:
    from edgekit.contract import is_artifact

    threads, modes = options.counts(device), options.torch
    for option, count in (("--threads", len(threads)), ("--torch", len(modes))):
        if count > 2:
            raise UsageError(f"{option}: expected one value for both, or two, found {count}")
    for source in (a, b):
        if len(modes) > 1 and is_artifact(source):
            raise UsageError(
                f"--torch {','.join(modes)}: '{source}' is an exported file, and --torch goes with "
                f"networks only: expected one value, for the other one"
            )
    return (
        _said_of(a, named, options).subject(a, threads[0], modes[0], (a, b)),
        _said_of(b, named, options).subject(b, threads[-1], modes[-1], (a, b)),
    )


def _effort(options: MeasuringOptions, sustain: Any, count: int) -> Effort:
    from edgekit.measure.session import Effort

    if sustain is None:
        return Effort(options.seconds * count, options.precision_goal / 100, options.time_limit)
    if count > 1:
        raise UsageError(f"--sustain takes one to measure, found {count}")
    for option in ("seconds", "precision_goal"):
        if option in options.given:
            raise UsageError(
                f"--{option.replace('_', '-')} does not go with --sustain, which measures for as "
                f"long as it says: leave one out"
            )
    return Effort(duration_s(sustain), 0.0, options.time_limit, sustained=True)


def _check_operators(subjects: Sequence[Subject], say: Callable[[str], None]) -> None:
    """Says of which subjects operators are not timed.

    Raises:
        UsageError: of none.
    """
    networks = list(dict.fromkeys(s.source for s in subjects if s.target == "pytorch"))
    if all(s.target == "pytorch" for s in subjects):
        raise UsageError(
            f"--per-op takes exported files, and '{networks[0]}' runs in PyTorch: export it first, "
            f"or leave --per-op out"
        )
    for source in networks:
        say(f"'{source}' runs in PyTorch: --per-op leaves it out")


@contextmanager
def _named(sources: Sequence[Any], options: MeasuringOptions) -> Iterator[Names]:
    """Sources as text that a measuring process opens, with what each is called.

    Modules become files, which are there for the block.

    Raises:
        UsageError: one stands for no network.
    """
    if all(isinstance(one, str | os.PathLike) for one in sources):
        yield {os.fspath(one): os.fspath(one) for one in sources}
        return
    from edgekit.models.taking import model_of

    if options.batch != 1:
        raise UsageError("batch goes with exported files and networks that have a name")
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for i, one in enumerate(sources):
            if isinstance(one, str | os.PathLike):
                names[os.fspath(one)] = os.fspath(one)
                continue
            model = model_of(
                one, weights=options.weights, resolution=options.resolution,
                example=options.example, outputs=options.outputs, task=options.task,
            )  # fmt: skip
            path = Path(folder, str(i), f"{model.name}.pt2")
            path.parent.mkdir()
            _save_program(model, path)
            names[str(path)] = model.source
        yield names


def _save_program(model: Any, path: Path) -> None:
    """Writes a network that has no name as an exported program."""
    import torch

    from edgekit.foreign import explained
    from edgekit.models.copying import own_copy

    told = f"'{model.source}' cannot be measured by itself: torch.export: "
    with explained(lambda reason: f"{told}{reason}; export it, and measure the file"):
        program = torch.export.export(own_copy(model.module).eval(), model.tensors)
        torch.export.save(program, path)


def _renamed(measurement: Measurement, names: Names) -> Measurement:
    name = names.get(measurement.artifact, measurement.artifact)
    return dataclasses.replace(measurement, artifact=name)


def _blamed(failure: Failure, names: Names) -> Failure:
    source = failure.subject.source
    name = names.get(source, source)
    if name == source:
        return failure
    error = type(failure.error).of_parts([str(failure.error).replace(source, name)])
    error.__cause__ = failure.error
    return dataclasses.replace(
        failure, subject=dataclasses.replace(failure.subject, source=name), error=error
    )


def _check_out(out: StrPath | None, overwrite: bool) -> None:
    from edgekit import staging

    if out is not None:
        staging.refuse_existing([Path(out)], overwrite)


def _keep(
    measurements: Sequence[Measurement], store: bool, out: StrPath | None, overwrite: bool
) -> None:
    from edgekit.measure.store import Store, save

    if out is not None:
        save(measurements, Path(out), overwrite=overwrite)
    if store:
        Store().add(measurements)
