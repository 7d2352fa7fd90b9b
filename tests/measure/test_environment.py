"""Facts about the machine, from trees of files that are made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.measure import environment


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
    assert environment.machine(tmp_path)["governor"] is None


def test_measurements_know_of_each_other(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgekit.measure.environment import presence\n"
        "with presence(Path(sys.argv[1])) as p: print(p.others(), flush=True); sys.stdin.read()\n"
    )
    with environment.presence(tmp_path) as alone:
        assert alone.others() == 0
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "1\n"
        assert alone.others() == 1
        other.kill()
        other.communicate()
        assert alone.others() == 0
        assert alone.met
    assert list(tmp_path.iterdir()) == []
