"""Records of devices and of what was measured on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgekit.core.records import Scalar


@dataclass(frozen=True)
class OperatorTime:
    """What an operator of an artifact takes, by the runtime's own profiler.

    Attributes:
        name: in the file; begins with the path of the module it comes from, where the format
            keeps that.
        kind: such as ``Conv``, as the runtime names it.
        ms: median over the profiled inferences.
    """

    name: str
    kind: str
    ms: float


@dataclass(frozen=True)
class Energy:
    """Energy of one inference.

    Attributes:
        kind: ``measured``, ``estimated`` (never comparable with measured values), or
            ``unavailable``.
        meter: registry name of the meter.
        scope: what is metered: ``package``, ``gpu``, ``rail``, ``board``, ``device``, ``wall``.
        detail: zones, rails or labels that are summed up.
        mj_per_inference: what an inference adds to the energy of idling.
        gross_mj_per_inference: including the share of idling.
        idle_mw: power before the inferences.
        ci95: interval of ``mj_per_inference``, from windows.
        windows: number of them.
        model: how it was estimated.
        coefficients: of the estimate, each with its unit in its name.
        reason: why it is unavailable.
    """

    kind: str
    meter: str | None = None
    scope: str | None = None
    detail: str | None = None
    mj_per_inference: float | None = None
    gross_mj_per_inference: float | None = None
    idle_mw: float | None = None
    ci95: tuple[float, ...] | None = None
    windows: int | None = None
    model: str | None = None
    coefficients: Mapping[str, float] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Block:
    """Inferences in a row, and the reference network right behind them in the same process.

    Attributes:
        start_s: since the measurement began.
        instance: how often the artifact had been loaded before; where its memory lies differs.
        samples_ms: every inference, the first ones behind another network included.
        reference_ms: every run of the reference network.
    """

    start_s: float
    instance: int
    samples_ms: tuple[float, ...]
    reference_ms: tuple[float, ...]


@dataclass(frozen=True)
class Measurement:
    """How fast an artifact ran on a device, as raw samples; statistics are derived from them.

    Attributes:
        artifact: its source, as it was given.
        sha256: digest of its files; ``None`` for networks in PyTorch.
        target: its format; ``pytorch`` for networks.
        device: name of the device profile.
        runtime: what ran it, with its version and mode.
        threads: of the runtime.
        batch: images of one inference.
        started: date and time in UTC, ISO 8601.
        blocks: in the order in which they were taken.
        load_ms: from the file to a runner, in a fresh process with the runtime imported.
        first_ms: the first inference behind that.
        peak_rss_mib: most memory of that process, over what it had before it loaded the file.
        size_bytes: of the artifact's files.
        environment: what could explain the numbers; keys have units.
        tools: versions.
        command: what repeats it.
        operators: time per operator, where asked for.
        stable: whether nothing that was watched disturbed it.
        reasons: what did.
        warnings: what to know of the artifact there, such as that it was written for another kind
            of processor.
    """

    artifact: str
    target: str
    device: str
    runtime: str
    threads: int
    batch: int
    started: str
    blocks: tuple[Block, ...]
    energy: Energy
    sha256: str | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    peak_rss_mib: float | None = None
    size_bytes: int | None = None
    environment: Mapping[str, Scalar] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    operators: tuple[OperatorTime, ...] | None = None
    stable: bool = True
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def input(self) -> str:
        """Shapes and types of what went in; empty where that was not kept."""
        return str(self.environment.get("input") or "")

    @property
    def input_sizes(self) -> str:
        """The shapes alone, as in ``1x3x224x224``."""
        return ", ".join(part.split(" ")[0] for part in self.input.split(", "))

    @property
    def input_chosen(self) -> bool:
        """Whether somebody chose sizes that the file leaves open."""
        return self.environment.get("input_chosen") is True


@dataclass(frozen=True)
class MeterRecord:
    """What is known of a meter on a device; see `edgekit.core.Meter` for its attributes."""

    name: str
    scope: str
    detail: str
    quantity: str
    range_mj: float | None
    period_s: float


@dataclass(frozen=True)
class Reading:
    """What a meter showed.

    Attributes:
        time_s: of the reading, on the clock that `Meter` names.
        value: mJ since some beginning, or mW.
    """

    time_s: float
    value: float


@dataclass(frozen=True)
class DeviceProfile:
    """Declared facts about a device.

    Attributes:
        transport: URL of the way to it: ``local:``, ``ssh://host``, ``adb:serial``.
        isa: instruction set extensions, as ``/proc/cpuinfo`` names them.
        meter: registry name of its energy meter.
        runtimes: distributions that run artifacts there.
        threads: suggested for one inference.
        python: interpreter that runs the agent there, where it is not ``python3``.
        runner: the native runner here, which runs there in place of a Python.
        libraries: of its runtimes, here; those that others need come first.
        benchmark_model: TensorFlow Lite's program of that name here, for devices with nothing else.
        sources: where each declared fact comes from, by field name.
    """

    name: str
    description: str
    transport: str
    soc: str | None = None
    isa: tuple[str, ...] = ()
    cores: int | None = None
    max_mhz: float | None = None
    ram_mib: int | None = None
    meter: str | None = None
    runtimes: tuple[str, ...] = ()
    threads: int | None = None
    python: str | None = None
    runner: str | None = None
    libraries: tuple[str, ...] = ()
    benchmark_model: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EmbeddedOperator:
    """An operator of an interpreter that is linked with programs.

    Attributes:
        name: of the interpreter's function that adds it, without ``Add``.
        number: in the file.
        kernel: the function that gives what computes it.
        parser: the function that reads its options.
    """

    name: str
    number: int
    kernel: str
    parser: str


@dataclass(frozen=True)
class Simulation:
    """What is known of a file on a microcontroller that nobody has asked.

    Attributes:
        device: name of the simulator.
        kind: ``interpreter`` where the device's own interpreter has run the file on this machine,
            ``estimate`` where a model of the device says so. Neither is a measurement.
        simulator: what says so, with its version.
        size_bytes: of the file.
        arena_bytes: memory that the interpreter takes from its arena.
        arena: that by what it is for.
        sram_bytes: memory for activations, and for weights while they are used.
        memory_bytes: what is used of other memories.
        cycles: of one inference.
        clock_mhz: that these are counted at.
        estimated_ms: both together.
        traffic_bytes: of one inference, by memory.
        npu_share: of the operators that the accelerator takes.
        cpu_operators: those that it leaves to the processor, by name.
        macs: of one inference.
        settings: what the estimate is for.
    """

    device: str
    kind: str
    size_bytes: int
    simulator: str = ""
    arena_bytes: int | None = None
    arena: Mapping[str, int] | None = None
    sram_bytes: int | None = None
    memory_bytes: Mapping[str, int] | None = None
    cycles: int | None = None
    clock_mhz: float | None = None
    estimated_ms: float | None = None
    traffic_bytes: Mapping[str, int] | None = None
    npu_share: float | None = None
    cpu_operators: tuple[str, ...] = ()
    macs: int | None = None
    settings: Mapping[str, str] | None = None
