"""NVIDIA GPUs, through NVML and its Python binding nvidia-ml-py.

``nvmlDeviceGetTotalEnergyConsumption`` counts mJ since the driver was loaded, on Volta and later;
``nvmlDeviceGetPowerUsage`` shows mW. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.core import Meter, Reading
from edgekit.errors import MeterError, UnavailableError, UsageError

# Between updates of counter and power: 20 to 100 ms by GPU (arXiv:2312.02741); the slowest.
_PERIOD_S = 0.1


@dataclass(frozen=True)
class Nvml:
    """The kind of meter.

    Attributes:
        index: of the GPU in the order of nvidia-smi; ``None`` for the sum of all.
        library: what stands for the module ``pynvml``; ``None`` imports it.
    """

    index: int | None = None
    library: Any = None
    clock: Callable[[], float] = time.monotonic

    def of(self, argument: str) -> Nvml:
        """The kind that meters one GPU, for ``nvml:INDEX``.

        Raises:
            UsageError: the argument is no index.
        """
        if not argument.isdecimal():
            raise UsageError(f"'{argument}' is no GPU: expected its index, as in nvml:0")
        return replace(self, index=int(argument))

    def open(self, root: Path) -> Meter:
        """Opens the GPUs; see `edgekit.core.MeterKind`.

        Args:
            root: has no influence, NVML being no part of the file system.
        """
        library = self.library or _library()
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise UnavailableError(
                f"NVML finds no NVIDIA driver ({error}): 'nvidia-smi' must work"
            ) from error
        try:
            return self._meter(library)
        except BaseException:
            library.nvmlShutdown()
            raise

    def _meter(self, library: Any) -> NvmlMeter:
        try:
            count = library.nvmlDeviceGetCount()
            chosen = range(count) if self.index is None else (self.index,)
            if not count or chosen[-1] >= count:
                raise UnavailableError(
                    f"NVML finds {count} GPUs, none of them has the index {self.index or 0}; "
                    "'nvidia-smi -L' lists them"
                )
            gpus = [library.nvmlDeviceGetHandleByIndex(index) for index in chosen]
            names = [_name(library, gpu) for gpu in gpus]
        except library.NVMLError as error:
            raise UnavailableError(
                f"NVML shows no GPU ({error}): 'nvidia-smi' must work"
            ) from error
        detail = " + ".join(f"GPU {i} {name}" for i, name in zip(chosen, names))
        try:
            for gpu in gpus:
                library.nvmlDeviceGetTotalEnergyConsumption(gpu)
        except library.NVMLError:  # before Volta, in some virtual GPUs; detail tells of it
            meter = NvmlMeter(library, gpus, "power", f"{detail}, power samples", self.clock)
        else:
            meter = NvmlMeter(library, gpus, "energy", detail, self.clock)
        meter.read()
        return meter


class NvmlMeter:
    """The sum of some GPUs' energy counters, or of their power."""

    name = "nvml"
    scope = "gpu"
    range_mj: float | None = None  # 64-bit counters
    period_s = _PERIOD_S

    def __init__(
        self,
        library: Any,
        gpus: Sequence[Any],
        quantity: str,
        detail: str,
        clock: Callable[[], float],
    ) -> None:
        self.quantity = quantity
        self.detail = detail
        self._library = library
        self._gpus = gpus
        self._clock = clock
        self._show = (
            library.nvmlDeviceGetTotalEnergyConsumption
            if quantity == "energy"
            else library.nvmlDeviceGetPowerUsage
        )

    def read(self) -> Sequence[Reading]:
        now_s = self._clock()
        try:
            return (Reading(now_s, float(sum(self._show(gpu) for gpu in self._gpus))),)
        except self._library.NVMLError as error:
            raise MeterError(
                f"NVML does not tell the {self.quantity} of {self.detail} ({error}); "
                "leave it out with --energy off"
            ) from error

    def close(self) -> None:
        with contextlib.suppress(self._library.NVMLError):  # of a driver that is gone
            self._library.nvmlShutdown()


def _library() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "NVIDIA's meter needs the package 'nvidia-ml-py', which is not installed: "
            "pip install 'edgekit[nvml]'"
        ) from error


def _name(library: Any, gpu: Any) -> str:
    name = library.nvmlDeviceGetName(gpu)
    return name.decode() if isinstance(name, bytes) else str(name)  # bytes before version 11.5


METER = Nvml()
