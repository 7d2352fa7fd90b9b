from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import pytest

from edgekit.agent.hardware import emulated, processor_name
from edgekit.core import DeviceProfile
from edgekit.devices.host import detect, detected

X86 = """processor\t: {n}
model name\t: Some  CPU @ 2.30GHz
physical id\t: 0
core id\t\t: {core}
flags\t\t: fpu sse2 avx2 fma avx512f avx512_vnni amx_int8

"""

ARM = """processor\t: {n}
Features\t: fp asimd evtstrm aes fphp asimdhp cpuid asimddp
CPU implementer\t: 0x41
CPU part\t: {part}

"""


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_an_x86_machine_is_read_off(tmp_path: Path) -> None:
    cpus = "".join(X86.format(n=n, core=n // 2) for n in range(4))
    files = {"proc/cpuinfo": cpus, "proc/meminfo": "MemTotal:       8000000 kB\nMemFree: 1 kB\n"}
    for n, khz in enumerate((2_000_000, 4_400_000)):
        files[f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq"] = f"{khz}\n"
    found = detect(tree(tmp_path, files))
    assert found.soc == "Some CPU @ 2.30GHz"
    assert found.isa == ("avx2", "fma", "avx512f", "avx512_vnni", "amx_int8")
    assert found.cores == 2  # of two threads each
    assert found.max_mhz == 4400
    assert found.ram_mib == 7812
    assert found.threads == min(2, len(os.sched_getaffinity(0)))


def test_an_arm_board_is_read_off(tmp_path: Path) -> None:
    parts = ("0xd08", "0xd08", "0xd46", "0xfff")
    files = {
        "proc/cpuinfo": "".join(ARM.format(n=n, part=part) for n, part in enumerate(parts)),
        "proc/device-tree/model": "Some Board Rev 1.1\0",
    }
    found = detect(tree(tmp_path, files))
    assert found.soc == "Some Board Rev 1.1, 2x Cortex-A72 + 1x Cortex-A510 + 1x Arm part 0xfff"
    assert found.isa == ("asimd", "asimdhp", "asimddp")
    assert found.cores == 4
    assert (found.max_mhz, found.ram_mib) == (None, None)


def test_what_the_kernel_does_not_tell_is_absent(tmp_path: Path) -> None:
    found = detect(tmp_path)
    assert (found.isa, found.max_mhz, found.ram_mib) == ((), None, None)
    assert found.cores == os.cpu_count()


def test_the_runtimes_are_those_that_are_installed() -> None:
    for name in detect().runtimes:
        assert metadata.version(name)
    assert "onnxruntime" in detect().runtimes
    assert "tflite-runtime" not in detect().runtimes


def test_only_what_is_not_declared_is_read_off(tmp_path: Path) -> None:
    root = tree(tmp_path, {"proc/cpuinfo": "".join(X86.format(n=n, core=n) for n in range(3))})
    declared = DeviceProfile("mine", "a box", "local:", cores=64, threads=8)
    found = detected(declared, root)
    assert (found.name, found.description, found.cores, found.threads) == ("mine", "a box", 64, 8)
    assert "avx2" in found.isa


@pytest.mark.parametrize("transport", ["ssh://board", "adb:"])
def test_nothing_is_read_off_for_another_machine(transport: str) -> None:
    elsewhere = DeviceProfile("far", "away", transport)
    assert detected(elsewhere) == elsewhere


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, False),
        ({"proc/sys/kernel/arch": "{own}"}, False),
        ({"proc/sys/kernel/arch": "riscv64"}, True),
        ({"sys/devices/system/cpu/modalias": "cpu:type:{alias}"}, False),
        ({"sys/devices/system/cpu/modalias": "cpu:type:riscv64:feature:,0001"}, True),
    ],
)
def test_an_imitated_processor_is_told_by_its_kernel(
    tmp_path: Path, files: dict[str, str], found: bool
) -> None:
    own = os.uname().machine
    alias = "x86,ven0002fam0019mod0001:feature:,0000" if own == "x86_64" else f"{own}:feature:,0001"
    filled = {name: text.format(own=own, alias=alias) for name, text in files.items()}
    filled["proc/cpuinfo"] = "processor\t: 0\nmodel name\t: Some CPU\n"
    root = tree(tmp_path, filled)
    assert emulated(root) is found
    assert processor_name(root) == ("Some CPU (emulated)" if found else "Some CPU")
