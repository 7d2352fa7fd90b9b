"""Devices that are not there: trees of files as the kernel shows them, and a clock to turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.core import Meter, MeterKind, Reading
from edgekit.measure.meters.csv_file import CsvFile
from edgekit.measure.meters.hwmon import Hwmon
from edgekit.measure.meters.nvml import Nvml
from edgekit.measure.meters.pmic import Pmic
from edgekit.measure.meters.power_supply import PowerSupply
from edgekit.measure.meters.rapl import Rapl

UNIX_S = 1_700_000_000.0


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


def tree(root: Path, files: dict[str, object]) -> Path:
    """Writes files by their path under a root, and returns the root."""
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


@dataclass
class FakeDevice:
    """A device with a meter that draws what it is told to."""

    kind: MeterKind
    root: Path
    clock: Clock
    show: Callable[[float, float], None]  # watts, and seconds since it was called last

    def open(self) -> Meter:
        return self.kind.open(self.root)

    def draw(self, meter: Meter, watts: float, steps: int, step_s: float) -> list[Reading]:
        """Draws constant power for some steps, and reads the meter before and after each."""
        self.show(watts, 0.0)
        readings = list(meter.read())
        for _ in range(steps):
            self.clock.now_s += step_s
            self.show(watts, step_s)
            readings.extend(meter.read())
        return readings


class NVMLError(Exception):
    pass


@dataclass
class FakeNvml:
    """The functions of pynvml that the meter calls, for GPUs that are lists of [mJ, mW]."""

    gpus: list[list[int]]
    counts_energy: bool = True
    calls: list[str] = field(default_factory=list)
    NVMLError = NVMLError

    def nvmlInit(self) -> None:
        self.calls.append("init")

    def nvmlShutdown(self) -> None:
        self.calls.append("shutdown")

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> list[int]:
        return self.gpus[index]

    def nvmlDeviceGetName(self, gpu: list[int]) -> str:
        return "Test T4"

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: list[int]) -> int:
        if not self.counts_energy:
            raise NVMLError("Not Supported")
        return gpu[0]

    def nvmlDeviceGetPowerUsage(self, gpu: list[int]) -> int:
        return gpu[1]


def rapl_zone(root: Path, zone: str, name: str, uj: int, range_uj: int | None = 1 << 32) -> Path:
    folder = f"sys/class/powercap/{zone}"
    tree(root, {f"{folder}/name": name, f"{folder}/energy_uj": uj})
    if range_uj is not None:
        tree(root, {f"{folder}/max_energy_range_uj": range_uj})
    return root / folder / "energy_uj"


def rapl(root: Path) -> FakeDevice:
    """Two packages that wrap at different times, once in 100 J or so."""
    range_uj = 100_000_000
    files = [
        rapl_zone(root, f"intel-rapl:{i}", f"package-{i}", uj, range_uj)
        for i, uj in enumerate((99_000_000, 40_000_000))
    ]
    rapl_zone(root, "intel-rapl:0:0", "core", 5)
    clock = Clock()

    def show(watts: float, seconds: float) -> None:
        for file in files:
            uj = int(file.read_text()) + round(watts / 2 * seconds * 1e6)
            file.write_text(f"{uj % range_uj}\n")

    return FakeDevice(Rapl(clock), root, clock, show)


def nvml(root: Path) -> FakeDevice:
    library = FakeNvml([[5_000_000, 0]])
    clock = Clock()

    def show(watts: float, seconds: float) -> None:
        library.gpus[0][0] += round(watts * seconds * 1e3)

    return FakeDevice(Nvml(library=library, clock=clock), root, clock, show)


def hwmon(root: Path) -> FakeDevice:
    folder = "sys/class/hwmon/hwmon3"
    clock = Clock()

    def show(watts: float, seconds: float) -> None:
        tree(root, {f"{folder}/curr1_input": watts * 1e3 / 5, f"{folder}/in1_input": 5000})

    tree(root, {f"{folder}/name": "ina3221", f"{folder}/in1_label": "VDD_IN"})
    show(1.0, 0.0)
    return FakeDevice(Hwmon(clock), root, clock, show)


PMIC_SCRIPT = '#!/bin/sh\n[ "$1" = pmic_read_adc ] && exec cat "$0.txt"\nexit 1'


def vcgencmd(root: Path, script: str = PMIC_SCRIPT, shown: str = "") -> Path:
    tree(root, {"usr/bin/vcgencmd": script, "usr/bin/vcgencmd.txt": shown})
    command = root / "usr/bin/vcgencmd"
    command.chmod(0o755)
    return command


def pmic(root: Path) -> FakeDevice:
    clock = Clock()
    command = vcgencmd(root)

    def show(watts: float, seconds: float) -> None:
        command.with_name("vcgencmd.txt").write_text(
            f"   3V3_SYS_A current(1)={watts / 5:.8f}A\n   EXT5V_V volt(24)=5.10000000V\n"
            "   3V3_SYS_V volt(9)=5.00000000V\n"
        )

    show(1.0, 0.0)
    return FakeDevice(Pmic(clock=clock), root, clock, show)


def power_supply(root: Path) -> FakeDevice:
    folder = "sys/class/power_supply/battery"
    clock = Clock()

    def show(watts: float, seconds: float) -> None:
        tree(root, {f"{folder}/current_now": -watts * 1e6 / 4, f"{folder}/voltage_now": 4_000_000})

    tree(root, {f"{folder}/type": "Battery", f"{folder}/status": "Discharging"})
    show(1.0, 0.0)
    return FakeDevice(PowerSupply(clock), root, clock, show)


def csv(root: Path) -> FakeDevice:
    clock = Clock()
    file = tree(root, {"log/wall.csv": "timestamp,watts"}) / "log/wall.csv"

    def show(watts: float, seconds: float) -> None:
        with file.open("a") as log:
            log.write(f"{UNIX_S + clock()},{watts}\n")

    show(1.0, 0.0)
    kind = CsvFile(Path("/log/wall.csv"), clock, lambda: UNIX_S + clock())
    return FakeDevice(kind, root, clock, show)


DEVICES: dict[str, Callable[[Path], FakeDevice]] = {
    "csv": csv,
    "hwmon": hwmon,
    "nvml": nvml,
    "pmic": pmic,
    "power_supply": power_supply,
    "rapl": rapl,
}
