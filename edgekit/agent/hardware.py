"""What the device is that an agent runs on: processor, memory, versions of what is installed.

Everything comes from files of the Linux kernel below an injectable root; elsewhere, and where a
file is missing, a fact is absent.
"""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.agent.kernel import max_mhz, text, usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterable

ISA = (
    "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
"""Extensions that kernels of inference runtimes choose by, as ``/proc/cpuinfo`` names them."""

# Linux, arch/arm64/include/asm/cputype.h: part numbers of implementer 0x41, Arm.
ARM_PARTS = {
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57",
    0xD08: "Cortex-A72", 0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE", 0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710",
    0xD48: "Cortex-X2", 0xD49: "Neoverse-N2", 0xD4D: "Cortex-A715", 0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2", 0xD80: "Cortex-A520", 0xD81: "Cortex-A720", 0xD82: "Cortex-X4",
}  # fmt: skip


def described(root: Path = Path("/")) -> dict[str, Any]:
    """What the device is: ``soc``, ``isa``, ``cores``, ``max_mhz``, ``ram_mib``, ``threads``.

    Args:
        root: of the file system, ``/`` but in tests.

    Returns:
        Also ``machine``, as `platform.machine` says it, whether it is ``emulated``, and
        ``usable_cores``.
    """
    processors = _processors(root)
    flags: set[str] = set()
    for one in processors:
        flags.update((one.get("flags") or one.get("Features") or "").split())
    cores = _cores(processors)
    return {
        "soc": processor_name(root),
        "isa": [name for name in ISA if name in flags],
        "cores": cores,
        "max_mhz": max_mhz(root, "cpuinfo_max_freq"),
        "ram_mib": _ram_mib(root),
        "threads": None if cores is None else max(1, min(cores, usable_cores(root))),
        "machine": platform.machine(),
        "emulated": emulated(root),
        "usable_cores": usable_cores(root),
    }


def emulated(root: Path = Path("/")) -> bool:
    """Whether the processor is another machine's, imitated by a program.

    What imitates one process shows it another name of the machine, and not another kernel.
    """
    kernel = text(root / "proc/sys/kernel/arch")
    if kernel is None:
        # "cpu:type:aarch64:feature:,0001" on Arm, "cpu:type:x86,ven0002fam0019" on x86.
        alias = text(root / "sys/devices/system/cpu/modalias") or ""
        kernel = re.split("[:,]", alias.partition("type:")[2])[0] or None
    if kernel is None:
        return False
    # A 32-bit program on a 64-bit kernel is no imitation.
    families = [
        "x86" if isa_family(name, ()).startswith("x86") else isa_family(name, ())
        for name in (kernel, os.uname().machine)
    ]
    return families[0] != families[1]


_DOT_PRODUCTS = {"avx_vnni", "avx512_vnni"}


def isa_family(machine: str, extensions: Iterable[str]) -> str:
    """The family of a processor's instruction set: of `edgekit.core.PROCESSORS`, or its own name.

    Args:
        machine: as the operating system calls it.
        extensions: as ``/proc/cpuinfo`` names them. Where they are not known, dot products of
            integers count as missing: what is exact without them is exact with them.
    """
    name = machine.lower()
    if name in ("x86", "x86_64", "amd64", "i686", "i386"):
        return "x86" if _DOT_PRODUCTS.isdisjoint(extensions) else "x86-vnni"
    return "arm" if name.startswith(("arm", "aarch")) else name


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of some distributions that are installed."""
    from importlib import metadata

    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processors(root: Path) -> list[dict[str, str]]:
    """The sections of ``/proc/cpuinfo`` that are about a processor."""
    sections: list[dict[str, str]] = [{}]
    for line in (text(root / "proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        if key.strip() == "processor":
            sections.append({})
        sections[-1][key.strip()] = value.strip()
    return [section for section in sections if "processor" in section]


def processor_name(root: Path = Path("/")) -> str | None:
    """Board and cores on Arm, where the kernel gives no name; else the name of the processor.

    That of an imitation says so, wherever it is kept.
    """
    name = _processor_name(root)
    return f"{name} (emulated)" if name and emulated(root) else name


def _processor_name(root: Path) -> str | None:
    processors = _processors(root)
    names: Counter[str] = Counter()
    for one in processors:
        name = " ".join(one.get("model name", "").split())
        if one.get("CPU implementer") == "0x41":
            part = _hexadecimal(one.get("CPU part", ""))
            name = ARM_PARTS.get(part, f"Arm part {part:#x}")
        if name:
            names[name] += 1
    if any("CPU implementer" in one for one in processors):
        board = text(root / "proc/device-tree/model")
        cores = " + ".join(f"{n}x {name}" for name, n in names.items())
        return ", ".join(filter(None, (board, cores))) or None
    # Off Linux there is no such file; a name is better than none.
    return " + ".join(names) or (None if processors else platform.processor() or None)


def _hexadecimal(word: str) -> int:
    try:
        return int(word, 16)
    except ValueError:
        return 0


def _cores(processors: list[dict[str, str]]) -> int | None:
    """Physical cores; two threads of one core count once."""
    if not processors:
        return os.cpu_count()
    places = {
        (one.get("physical id"), one.get("core id", f"processor {one['processor']}"))
        for one in processors
    }
    return len(places)


def _ram_mib(root: Path) -> int | None:
    found = re.search(r"^MemTotal: +(\d+) kB", text(root / "proc/meminfo") or "", re.MULTILINE)
    return None if found is None else int(found[1]) // 1024
