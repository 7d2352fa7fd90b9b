"""Whether a device is what its profile says, what is installed there, and how steady it is."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import tables
from edgekit.core import DeviceProfile, Scalar
from edgekit.devices import facts
from edgekit.devices.agents import Agent, EndedError
from edgekit.devices.device import Device
from edgekit.devices.facts import SEEN, Finding
from edgekit.errors import UnavailableError, UsageError

NOISE_S = 10.0
"""How long the reference network runs to tell how steady a device is."""

_BLOCK_RUNS, _FEWEST_BLOCKS = 50, 10
_TOO_FEW_BLOCKS = 3
_STEADY_SPREAD = 0.05
_STEADY_GOVERNORS = ("performance", "userspace")
_WARM_C = 70.0

Notify = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """What was seen of a device.

    Attributes:
        findings: each fact against what is declared of it.
        seen: the facts as a profile, with when they were seen.
        python: version of the interpreter there; ``None`` where a program runs in its place.
        versions: of the runtimes that are installed.
        missing: distributions of runtimes of which none is installed there, one a target.
        conditions: see `edgekit.agent.environment`.
        spread: width between the 10 % and 90 % points of the reference network's time, over its
            median; ``None`` where it was not measured.
        advice: what would steady its numbers, in sentences.
    """

    findings: tuple[Finding, ...]
    seen: DeviceProfile
    python: str | None
    versions: Mapping[str, str]
    missing: tuple[str, ...]
    conditions: Mapping[str, Scalar]
    spread: float | None
    advice: tuple[str, ...]

    @property
    def program(self) -> str:
        """What runs files there, for people."""
        return "native program" if self.python is None else f"Python {self.python}"

    @property
    def to_install(self) -> str | None:
        """The line that installs the runtimes that are missing; ``None`` where none is."""
        if not self.missing or self.python is None:
            return None
        python = self.seen.python or "python3"
        return f"{python} -m pip install {' '.join(self.missing)}"


def check_device(
    device: Device,
    root: Path = Path("/"),
    *,
    noise_s: float | None = None,
    notify: Notify = lambda stage: None,
) -> Checked:
    """Looks at a device, and changes nothing there.

    Args:
        root: of the device's file system, ``/`` but in tests.
        noise_s: how long to run the reference network, `NOISE_S` if ``None``; 0 for not at all.
        notify: told what is being done.

    Raises:
        UnavailableError: it cannot be reached, or somebody else uses it.
    """
    profile = device.profile or DeviceProfile(device.name, device.name, "local:")
    notify(f"connecting to {device.transport.where}")
    with contextlib.closing(device.open(known=False)) as agent:
        device.claim(agent)
        engines = _engines()
        packages = sorted(
            {"numpy", "torch", *(name for names in engines.values() for name in names)}
        )
        about, _ = agent.ask("about", packages=packages, variables=[], root=str(root))
        conditions, _ = agent.ask("conditions")
        hello, _ = agent.ask("hello")
        notify("looking for meters")
        meter, own_meter = _meter(agent, profile.meter, root)
        spread, noise_s = None, NOISE_S if noise_s is None else noise_s
        if noise_s > 0 and not about["hardware"]["emulated"]:  # whose times mean nothing
            notify(f"running the reference network for {noise_s:.0f} s")
            spread = _spread(agent, noise_s)
        agent.ask("hello")  # what was seen of a device that is gone says nothing
    hardware, versions = about["hardware"], dict(about["versions"])
    numpy = versions.pop("numpy", None)
    seen = _seen(profile, hardware, tuple(versions), own_meter)
    python = hello.get("python")
    missing = tuple(
        names[0] for names in engines.values() if names and not set(names) & set(versions)
    )
    processor, instructions, cores, memory = facts.built_in(profile, hardware)
    findings = (
        processor,
        instructions,
        cores,
        facts.fact("max MHz", profile.max_mhz, seen.max_mhz),
        memory,
        facts.names("runtimes", profile.runtimes, seen.runtimes),
        meter,
    )
    return Checked(
        findings,
        seen,
        python,
        versions,
        () if device.here else missing if numpy or not python else ("numpy", *missing),
        conditions["conditions"],
        spread,
        tuple(_advice(conditions["conditions"], hardware, spread, hello["wall_s"])),
    )


def _engines() -> dict[str, tuple[str, ...]]:
    """Distributions that run the files of each target."""
    targets, _ = tables.TARGETS.load_all()
    return {name: tuple(target.engines) for name, target in targets.items()}


def _seen(
    profile: DeviceProfile,
    hardware: Mapping[str, Any],
    runtimes: tuple[str, ...],
    meter: str | None,
) -> DeviceProfile:
    """The profile with what was seen in the place of what is not declared."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    found: dict[str, Any] = {
        "soc": hardware["soc"],
        "isa": tuple(hardware["isa"]),
        "cores": hardware["cores"],
        "max_mhz": hardware["max_mhz"],
        "ram_mib": hardware["ram_mib"],
        "runtimes": runtimes,
        "meter": meter,
    }
    found = {key: value for key, value in found.items() if value not in (None, ())}
    sources = {key: text for key, text in profile.sources.items() if key not in found}
    sources |= dict.fromkeys(found, f"{SEEN}{today}")
    return dataclasses.replace(profile, **found, sources=sources)


def with_seen(profile: DeviceProfile, seen: DeviceProfile) -> DeviceProfile:
    """A profile with what was seen of what it does not declare."""
    empty = {
        field.name: getattr(seen, field.name)
        for field in dataclasses.fields(DeviceProfile)
        if field.name != "sources" and getattr(profile, field.name) in (None, ())
    }
    sources = {key: text for key, text in seen.sources.items() if key in empty}
    return dataclasses.replace(profile, **empty, sources={**profile.sources, **sources})


def _spread(agent: Agent, seconds: float) -> float | None:
    """How much the time of the reference network varies, over its median.

    ``None`` without NumPy there, and where the device is too slow to tell.
    """
    slot = agent.slot()
    subject = {"loader": "edgekit.agent.reference:Reference", "arguments": {}}
    try:
        slot.ask("import", subject=subject)
    except UnavailableError as error:
        if isinstance(error, EndedError) or not agent.usable:
            raise
        slot.end()
        return None
    slot.ask("open", subject=subject, cores=[])
    begin_s = time.monotonic()
    first, _ = slot.ask("block", runs=1, reference=0)
    fit = 1e3 * seconds / _FEWEST_BLOCKS / max(first["samples_ms"][0], 1e-3)
    runs = max(1, min(_BLOCK_RUNS, int(fit)))  # a slow device is done in time, too
    medians: list[float] = []

    def more() -> bool:
        spent_s = time.monotonic() - begin_s
        few = len(medians) < _FEWEST_BLOCKS
        return spent_s < seconds or (few and spent_s < NOISE_S)

    while more():
        block, _ = slot.ask("block", runs=runs, reference=0)
        medians.append(statistics.median(block["samples_ms"]))
    slot.end()
    if len(medians) < _TOO_FEW_BLOCKS:
        return None
    ordered = sorted(medians)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return (high - low) / statistics.median(ordered)


def _advice(
    conditions: Mapping[str, Scalar],
    hardware: Mapping[str, Any],
    spread: float | None,
    wall_s: float,
) -> Sequence[str]:
    """What would steady the numbers of a device; edgekit does none of it."""
    found = []
    governor = conditions.get("governor")
    if isinstance(governor, str) and governor not in _STEADY_GOVERNORS:
        found.append(
            f"the processor changes its frequency (governor {governor}): "
            f"'echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor' "
            f"keeps it at its highest until the next start"
        )
    celsius = conditions.get("max_celsius")
    if isinstance(celsius, float) and celsius > _WARM_C:
        found.append(
            f"it has {celsius:.0f} °C before anything runs: a heat sink or fan, or time to cool "
            f"down, keeps it from slowing down"
        )
    load = conditions.get("load_1m")
    if isinstance(load, float) and load > 0.5:
        found.append(f"other programs run there (load {load:.1f}): end them, or stop services")
    if spread is not None and spread > _STEADY_SPREAD:
        found.append(
            f"the same work takes {spread:.0%} more or less time from moment to moment: measure "
            f"when nothing else runs there"
        )
    if hardware.get("emulated"):
        found.append("its processor is emulated: times from there mean nothing")
    skew_s = abs(wall_s - time.time())
    if skew_s > 60:
        found.append(
            f"its clock is wrong by {datetime.timedelta(seconds=round(skew_s))}; times of "
            f"measurements are taken here, so that it does no harm"
        )
    return found


def _meter(agent: Agent, declared: str | None, root: Path) -> tuple[Finding, str | None]:
    """Opens the declared meter; without one, tells which could be opened.

    Returns:
        The finding, and of several the one that meters where files run.
    """
    if declared is not None:
        try:
            scope, detail = _opened(agent, declared, root)
            return Finding("meter", declared, f"{scope}: {detail}", True), None
        except (UnavailableError, UsageError) as error:
            if not agent.usable:
                raise
            return Finding("meter", declared, str(error), False), None
    scopes = {}
    for name in tables.METERS:
        try:
            scopes[name], _ = _opened(agent, name, root)
        except (UnavailableError, UsageError):  # most have one kind, or none
            if not agent.usable:
                raise
    own = next((name for name, scope in scopes.items() if scope != "gpu"), None)
    return Finding("meter", "", ", ".join(scopes) or "none", None), own


def _opened(agent: Agent, words: str, root: Path) -> tuple[str, str]:
    """What an opened meter meters, and how."""
    _, entry = tables.METERS.find(words.partition(":")[0])
    slot = agent.slot("meter")
    try:
        meter = slot.ask("open", words=words, where=entry.where, root=str(root))[0]["meter"]
        return meter["scope"], meter["detail"]
    finally:
        slot.end()
