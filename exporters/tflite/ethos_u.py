"""Arm's Ethos-U accelerators, as their compiler Vela estimates them.

Vela adds up cycles by a model of the accelerator and its memories; nothing is run.
"""

from __future__ import annotations

import csv
import importlib.util
import math
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from edgekit.core import Simulation
from edgekit.errors import InputError
from exporters.tflite.alone import run_alone
from exporters.tflite.integers import EXPORTED, check_integers

MEMORIES = {
    "dram": "DRAM",
    "on_chip_flash": "on-chip flash",
    "off_chip_flash": "off-chip flash",
}
"""Memories besides the SRAM, as Vela's table begins their columns."""

SYSTEMS = {
    "u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "u65": ("Ethos_U65_High_End", "Dedicated_Sram"),
    "u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram"),
}
"""System configuration and memory mode by series, of Vela's own ``Arm/vela.ini``: the defaults of
Arm's ml-embedded-evaluation-kit. Without them Vela assumes a system that there is not."""

_COUNTS = re.compile(r"(CPU|NPU) operators = (\d+)")


class EthosU:
    """See `edgekit.core.Simulator`.

    Args:
        series: key of `SYSTEMS`.
        macs: that it computes in a cycle.
    """

    target = "tflite"
    exported = EXPORTED
    packages = ("ethos-u-vela",)
    extra = "edgekit[micro]"
    kind = "estimate"
    memory = "sram"
    runtime = reference = None

    def __init__(self, series: str, macs: int) -> None:
        self.name = f"ethos-{series}-{macs}"
        self._system, self._memory = SYSTEMS[series]

    def start(self) -> None:
        """Looks for Vela."""
        if importlib.util.find_spec("ethosu") is None:
            raise ModuleNotFoundError("No module named 'ethosu'", name="ethosu")

    def check(self, path: Path) -> None:
        """Refuses other files than those with integers at both ends."""
        check_integers(path, self.name)

    def look(self, path: Path, *, trusted: bool = False) -> Simulation:
        """What Vela estimates, in a process of its own in any case.

        Raises:
            InputError: Vela cannot compile the file.
        """
        self.check(path)
        options = {
            "--accelerator-config": self.name,
            "--config": "Arm/vela.ini",
            "--system-config": self._system,
            "--memory-mode": self._memory,
        }
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            arguments = [word for option in options.items() for word in option]
            arguments += ["--verbose-performance", "--output-dir", folder, str(path.absolute())]
            code, printed, chatter = run_alone(path, "Vela", "ethosu.vela", arguments)
            counts = {name: int(count) for name, count in _COUNTS.findall(printed)}
            totals = _rows(Path(folder), "summary")
            layers = _rows(Path(folder), "per-layer")
        if code != 0 or not totals or not counts:
            lines = [line for line in (printed + chatter).splitlines() if line.strip()]
            why = lines[-1].strip() if lines else "it does not say why"
            raise InputError(f"{path} cannot be compiled by Vela: {why}")
        return self._found(path, totals[0], counts, layers)

    def _found(
        self,
        path: Path,
        totals: Mapping[str, str],
        counts: Mapping[str, int],
        layers: list[dict[str, str]],
    ) -> Simulation:
        cycles = _number(totals["cycles_total"])
        clock_mhz = float(totals["core_clock"]) / 1e6
        used = {key: round(_number(totals[f"{key}_memory_used"]) * 1024) for key in MEMORIES}
        moved = {key: round(_number(totals[f"{key}_total_bytes"])) for key in ("sram", *MEMORIES)}
        operators = sum(counts.values())
        return Simulation(
            device=self.name,
            kind=self.kind,
            size_bytes=path.stat().st_size,
            sram_bytes=round(_number(totals["sram_memory_used"]) * 1024),
            memory_bytes={MEMORIES[key]: size for key, size in used.items() if size},
            cycles=round(cycles),
            clock_mhz=clock_mhz,
            estimated_ms=cycles / clock_mhz / 1e3,
            traffic_bytes={MEMORIES.get(key, "SRAM"): size for key, size in moved.items() if size},
            npu_share=counts.get("NPU", 0) / operators if operators else 0.0,
            cpu_operators=tuple(
                dict.fromkeys(
                    row["Original Operator"]
                    for row in layers
                    if row["Target"] == "CPU" and row["Original Operator"] != "None"
                )
            ),
            macs=round(_number(totals["nn_macs"])),
            settings={"system": self._system, "memory": self._memory},
        )


def _number(text: str) -> float:
    """A figure of Vela's; where nothing is left to the accelerator, some are none."""
    value = float(text)
    return value if math.isfinite(value) else 0.0


def _rows(folder: Path, what: str) -> list[dict[str, str]]:
    """The rows of one of Vela's tables."""
    for file in folder.glob(f"*_{what}*.csv"):
        with file.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    return []


U55_32, U55_64, U55_128, U55_256 = (EthosU("u55", macs) for macs in (32, 64, 128, 256))
U65_256, U65_512 = (EthosU("u65", macs) for macs in (256, 512))
U85_128, U85_256, U85_512, U85_1024, U85_2048 = (
    EthosU("u85", macs) for macs in (128, 256, 512, 1024, 2048)
)
