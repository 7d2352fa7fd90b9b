from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_devices import Clock, FakeNvml, NVMLError

from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.meters.nvml import Nvml

ROOT = Path("/")


def test_energy_of_all_gpus_is_summed_and_named() -> None:
    library = FakeNvml([[1_000, 0], [500, 0]])
    meter = Nvml(library=library, clock=Clock()).open(ROOT)
    library.gpus[1][0] += 250
    assert (meter.quantity, meter.scope) == ("energy", "gpu")
    assert meter.detail == "GPU 0 Test T4 + GPU 1 Test T4"
    assert [(r.time_s, r.value) for r in meter.read()] == [(100.0, 1_750.0)]


def test_an_index_chooses_one_gpu() -> None:
    library = FakeNvml([[1_000, 0], [500, 0]])
    meter = Nvml(library=library, clock=Clock()).of("1").open(ROOT)
    assert (meter.detail, meter.read()[0].value) == ("GPU 1 Test T4", 500.0)


def test_a_gpu_without_a_counter_gives_power_and_says_so() -> None:
    library = FakeNvml([[0, 70_000], [0, 30_000]], counts_energy=False)
    meter = Nvml(library=library, clock=Clock()).open(ROOT)
    assert (meter.quantity, meter.read()[0].value) == ("power", 100_000.0)
    assert "power samples" in meter.detail


def test_closing_shuts_the_library_down() -> None:
    library = FakeNvml([[0, 0]])
    Nvml(library=library, clock=Clock()).open(ROOT).close()
    assert library.calls == ["init", "shutdown"]


def test_a_driver_that_is_gone_at_the_end_does_not_cost_the_measurement() -> None:
    class Gone(FakeNvml):
        def nvmlShutdown(self) -> None:
            raise NVMLError("Uninitialized")

    Nvml(library=Gone([[0, 0]]), clock=Clock()).open(ROOT).close()


@pytest.mark.parametrize(("gpus", "index"), [([], None), ([[0, 0]], 1)])
def test_a_gpu_that_is_not_there_is_refused(gpus: list[list[int]], index: int | None) -> None:
    library = FakeNvml(gpus)
    with pytest.raises(UnavailableError, match=r"nvidia-smi -L"):
        Nvml(index, library).open(ROOT)
    assert library.calls == ["init", "shutdown"]


def test_a_missing_driver_is_refused() -> None:
    class WithoutDriver(FakeNvml):
        def nvmlInit(self) -> None:
            raise NVMLError("Driver Not Loaded")

    with pytest.raises(UnavailableError, match=r"Driver Not Loaded.*nvidia-smi"):
        Nvml(library=WithoutDriver([[0, 0]])).open(ROOT)


def test_a_missing_package_comes_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UnavailableError, match=r"pip install 'edgekit\[nvml\]'"):
        Nvml().open(ROOT)


def test_a_gpu_that_is_lost_is_an_error() -> None:
    library = FakeNvml([[1_000, 0]])
    meter = Nvml(library=library, clock=Clock()).open(ROOT)
    library.counts_energy = False
    with pytest.raises(MeterError, match=r"GPU 0 Test T4"):
        meter.read()
