"""``edgekit.profile`` and ``edgekit.compare``: how fast files and networks run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from edgekit.api.checking import typed
from edgekit.api.keywords import StrPath
from edgekit.api.measuring_options import (
    MeasuringKeywords,
    MeasuringOptions,
    cooling,
    device_of,
    duration_s,
    measuring_options,
)
from edgekit.api.openable import Names, openable
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core import Measurement
    from edgekit.devices.device import Device
    from edgekit.measure.comparing import Comparison
    from edgekit.measure.profiling import Opened, Profile
    from edgekit.measure.session import Effort, Hold, Progress
    from edgekit.measure.subjects import Subject
    from edgekit.models.taking import Network


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
        sources: exported files, folders of them, and networks in any form; one, or several in a
            list, such as what `export` gave. A module is measured as ``torch.export`` writes it.
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
    from edgekit.measure import fleet, profiling

    options = measuring_options(keywords)
    devices = _devices(options)
    many = _unfolded(
        [*sources] if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]
    )
    if not many:
        raise UsageError("sources=[]: expected an exported file, a network, or several in a list")
    _check_out(out, overwrite)
    with openable(many, options) as named:
        options.check_used([*named])
        subjects = _subjects(named, options, devices[0])
        effort = _effort(options, sustain, len(subjects))
        if per_op:
            _check_operators(subjects, say)

        def measure(position: int, progress: Progress, opened: Opened | None) -> Profile:
            device = devices[position]
            return profiling.profile(
                _subjects(named, options, device),
                effort,
                device=device,
                operators=per_op,
                energy=energy,
                command=command,
                progress=progress,
                hold=hold if len(devices) == 1 else None,
                opened=opened,
                say=say,
            )

        result = fleet.on_devices(devices, subjects, measure, progress)
    _keep(result.measurements, store, out, overwrite)
    return result


def _unfolded(sources: Sequence[Any]) -> list[Any]:
    """Sources with the exported files of each folder in its place."""
    from edgekit.folders import expanded, is_folder

    found: list[Any] = []
    for one in sources:
        found += expanded([os.fspath(one)]) if is_folder(one) else [one]
    return found


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
        keywords: as of `profile`; ``device``, ``threads`` and ``torch`` take one value for both,
            or two. On two devices, the two are not measured in turns.

    Raises:
        UsageError: arguments that cannot be, or do not go together.
        EdgekitError: one of them cannot be run to the end.
    """
    from edgekit.measure import comparing
    from edgekit.measure.session import Effort

    options = measuring_options(keywords, goal=100 * comparing.GOAL)
    devices = _devices(options)
    if len(devices) > 2:
        names = ",".join(options.device)
        raise UsageError(f"--device {names}: expected one device for both, or two")
    device, second = devices[0], devices[-1]
    cool_s, celsius = cooling(options.cooldown)
    _check_out(out, overwrite)
    with openable([a, b], options) as named:
        pair = [*named] if len(named) == 2 else [*named] * 2  # a file against itself
        options.check_used(pair)
        one, other = _pair(pair[0], pair[1], named, options, (device, second))
        effort = Effort(
            options.seconds,
            options.precision_goal / 100,
            options.time_limit,
            cool_s=cool_s,
            cool_celsius=celsius,
        )
        if len(devices) == 2:
            result = comparing.compare_apart(
                one, other, (device, second), effort, command=command, progress=progress
            )
        else:
            result = comparing.compare(
                one,
                other,
                effort,
                device=device,
                command=command,
                progress=progress,
                hold=hold,
            )
    _keep((result.a, result.b), store, out, overwrite)
    return result


def _devices(options: MeasuringOptions) -> list[Device]:
    """The devices that are named, each once, however often and by whatever names.

    Of an address and the profile that has it, the profile counts, which may know more.

    Raises:
        UsageError: two profiles of one device name two interpreters, which cannot be measured at
            the same time.
    """
    found: dict[str, Device] = {}
    for name in options.device:
        device = device_of(name)
        known = found.setdefault(device.transport.where, device)
        if device.profile is None:
            continue
        if known.profile is None:
            found[device.transport.where] = device
        elif device.profile.python != known.profile.python:
            raise UsageError(
                f"--device {','.join(options.device)}: {known.name} and {device.name} are one "
                f"device, {device.transport.where}: measure with one of them, then with the other"
            )
    return list(found.values())


def _subjects(named: Names, options: MeasuringOptions, device: Device) -> list[Subject]:
    made = [
        _said_of(source, named, options).subject(source, count, mode, [*named], named[source])
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
    a: str, b: str, named: Names, options: MeasuringOptions, devices: tuple[Device, Device]
) -> tuple[Subject, Subject]:
    from edgekit.contract import is_artifact

    threads, modes = [options.counts(device) for device in devices], options.torch
    for option, count in (("--threads", len(threads[0])), ("--torch", len(modes))):
        if count > 2:
            raise UsageError(f"{option}: expected one value for both, or two, found {count}")
    for source in (a, b):
        if len(modes) > 1 and is_artifact(source):
            raise UsageError(
                f"--torch {','.join(modes)}: '{source}' is an exported file, and --torch goes with "
                f"networks only: expected one value, for the other one"
            )
    return (
        _said_of(a, named, options).subject(a, threads[0][0], modes[0], (a, b), named[a]),
        _said_of(b, named, options).subject(b, threads[1][-1], modes[-1], (a, b), named[b]),
    )


def _effort(options: MeasuringOptions, sustain: Any, count: int) -> Effort:
    from edgekit.measure.session import Effort

    cool_s, celsius = cooling(options.cooldown)
    if sustain is None:
        return Effort(
            options.seconds * count,
            options.precision_goal / 100,
            options.time_limit,
            cool_s=cool_s,
            cool_celsius=celsius,
        )
    if count > 1:
        raise UsageError(f"--sustain takes one to measure, found {count}")
    for option in ("seconds", "precision_goal"):
        if option in options.given:
            raise UsageError(
                f"--{option.replace('_', '-')} does not go with --sustain, which measures for as "
                f"long as it says: leave one out"
            )
    return Effort(
        duration_s(sustain),
        0.0,
        options.time_limit,
        sustained=True,
        cool_s=cool_s,
        cool_celsius=celsius,
    )


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
