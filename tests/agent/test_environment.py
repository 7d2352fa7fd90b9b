"""Facts about the machine, from trees of files that are made for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.agent import environment


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_processor_time_is_read_off_proc(tmp_path: Path) -> None:
    write(tmp_path, "proc/stat", "cpu  100 20 30 4000 50 6 4 200 0 0\ncpu0 1 2 3\n")
    found = environment.usage(tmp_path)
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert found is not None
    assert found.busy_s == pytest.approx(160 * tick)
    assert found.steal_s == pytest.approx(200 * tick)


@pytest.mark.parametrize("text", ["", "cpu  1 2 3 4\n", "cpu 1 2 three 4 5 6 7 8\n", "\x00"])
def test_an_odd_proc_stat_tells_nothing(tmp_path: Path, text: str) -> None:
    write(tmp_path, "proc/stat", text)
    assert environment.usage(tmp_path) is None


def test_own_time_is_that_of_the_processes_that_are_named(tmp_path: Path) -> None:
    rest = " ".join(["0"] * 30)
    write(tmp_path, "proc/7/stat", f"7 (a name) with ) S 1 7 7 0 -1 4 9 9 9 9 300 50 {rest}")
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert environment.own_seconds([7, 8], tmp_path) == pytest.approx(350 * tick)


def test_frequency_temperature_and_governor(tmp_path: Path) -> None:
    for i, khz in enumerate((1_500_000, 2_400_000)):
        write(tmp_path, f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq", f"{khz}\n")
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "schedutil\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    write(tmp_path, "proc/cpuinfo", "processor : 0\nmodel name\t: Some CPU\n")
    moment = environment.moment(tmp_path)
    assert (moment["max_mhz"], moment["max_celsius"]) == (2400, 48.312)
    machine = environment.machine(tmp_path)
    assert (machine["governor"], machine["cpu"]) == ("schedutil", "Some CPU")


def test_what_cannot_be_read_is_absent(tmp_path: Path) -> None:
    assert environment.usage(tmp_path) is None
    assert environment.moment(tmp_path)["max_mhz"] is None
    machine = environment.machine(tmp_path)
    assert machine["governor"] is None
    assert machine["cpu"]


def test_values_that_are_no_numbers_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "<unknown>\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "-4000\n")
    moment = environment.moment(tmp_path)
    assert (moment["max_mhz"], moment["max_celsius"]) == (None, -4)


def test_the_cores_are_those_that_can_be_used(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/box\n")
    write(tmp_path, "sys/fs/cgroup/box/cpu.max", "100000 100000\n")
    assert environment.machine(tmp_path)["cores"] == environment.usable_cores(tmp_path) == 1
