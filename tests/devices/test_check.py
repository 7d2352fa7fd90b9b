from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgekit.core import DeviceProfile
from edgekit.devices.check import check_device
from edgekit.devices.host import detect
from edgekit.errors import UnavailableError

HERE = DeviceProfile("here", "this machine", "local:")


def agreement(profile: DeviceProfile, root: Path = Path("/")) -> dict[str, bool | None]:
    return {finding.what: finding.agrees for finding in check_device(profile, root)}


def test_nothing_is_wrong_where_nothing_is_declared() -> None:
    assert set(agreement(HERE).values()) == {None}


def test_facts_that_hold_agree() -> None:
    found = detect()
    declared = dataclasses.replace(
        HERE, cores=found.cores, isa=found.isa[:1], ram_mib=found.ram_mib
    )
    checked = agreement(declared)
    assert (checked["cores"], checked["instructions"], checked["memory"]) == (True, True, True)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("cores", {"cores": 12_345}),
        ("instructions", {"isa": ("no-such-extension",)}),
        ("memory", {"ram_mib": 1}),
        ("runtimes", {"runtimes": ("onnxruntime", "no-such-runtime")}),
    ],
)
def test_a_fact_that_does_not_hold_is_found(what: str, change: dict[str, object]) -> None:
    checked = agreement(dataclasses.replace(HERE, **change))  # type: ignore[arg-type]
    assert [name for name, agrees in checked.items() if agrees is False] == [what]


def test_a_meter_that_is_not_there_is_found_missing(tmp_path: Path) -> None:
    checked = check_device(dataclasses.replace(HERE, meter="rapl"), tmp_path)
    assert [(f.agrees, f.declared) for f in checked if f.what == "meter"] == [(False, "rapl")]


def test_memory_that_the_firmware_keeps_is_no_difference(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {7620 * 1024} kB\n")
    assert agreement(dataclasses.replace(HERE, ram_mib=8192), tmp_path)["memory"] is True
    assert agreement(dataclasses.replace(HERE, ram_mib=16384), tmp_path)["memory"] is False


@pytest.mark.parametrize("transport", ["ssh://board", "adb:1234"])
def test_a_device_without_a_transport_cannot_be_checked(transport: str) -> None:
    with pytest.raises(UnavailableError, match=r"no transport '(ssh|adb)': there is local:"):
        check_device(dataclasses.replace(HERE, transport=transport))
