from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgekit.core import DeviceProfile
from edgekit.devices import agents, check
from edgekit.devices.agents import Slot
from edgekit.devices.check import NOISE_S, Checked, check_device, with_seen
from edgekit.devices.device import HOST, Device
from edgekit.devices.host import detect
from edgekit.devices.transports.local import LOCAL, Local
from edgekit.errors import UnavailableError

if TYPE_CHECKING:
    from edgekit.core import Array
    from edgekit.devices.agents import Answer

HERE = DeviceProfile("here", "this machine", "local:")


def agreement(profile: DeviceProfile, root: Path = Path("/")) -> dict[str, bool | None]:
    return {finding.what: finding.agrees for finding in checked(profile, root).findings}


def checked(profile: DeviceProfile, root: Path = Path("/")) -> Checked:
    return check_device(Device(profile.name, LOCAL, profile), root, noise_s=0)


def test_nothing_is_wrong_where_nothing_is_declared() -> None:
    assert set(agreement(HERE).values()) == {None}


def test_facts_that_hold_agree() -> None:
    found = detect()
    declared = dataclasses.replace(
        HERE, cores=found.cores, isa=found.isa[:1], ram_mib=found.ram_mib
    )
    agrees = agreement(declared)
    assert (agrees["cores"], agrees["instructions"], agrees["memory"]) == (True, True, True)


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
    agreed = agreement(dataclasses.replace(HERE, **change))  # type: ignore[arg-type]
    assert [name for name, agrees in agreed.items() if agrees is False] == [what]


def test_a_meter_that_is_not_there_is_found_missing(tmp_path: Path) -> None:
    found = checked(dataclasses.replace(HERE, meter="rapl"), tmp_path).findings
    assert [(f.agrees, f.declared) for f in found if f.what == "meter"] == [(False, "rapl")]


def test_a_meter_that_is_found_goes_into_the_profile(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "1000"),
                       ("max_energy_range_uj", "262143328850")):  # fmt: skip
        (zone / name).write_text(f"{text}\n")
    seen = checked(HERE, tmp_path).seen
    assert with_seen(HERE, seen).meter == "rapl"
    assert with_seen(HERE, seen).sources["meter"].startswith("seen there on 2")
    assert with_seen(HERE, checked(HERE, tmp_path / "sys").seen).meter is None


def test_memory_that_the_firmware_keeps_is_no_difference(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {7620 * 1024} kB\n")
    assert agreement(dataclasses.replace(HERE, ram_mib=8192), tmp_path)["memory"] is True
    assert agreement(dataclasses.replace(HERE, ram_mib=16384), tmp_path)["memory"] is False


def test_how_steady_a_device_is_is_measured() -> None:
    found = check_device(Device("here", LOCAL, HERE), noise_s=0.1)
    assert found.spread is not None
    assert 0 <= found.spread < 100
    assert found.python.count(".") == 2
    assert found.versions["onnxruntime"]
    assert found.to_install is None


def test_what_is_seen_is_told_with_its_date() -> None:
    seen = checked(HERE).seen
    known = with_seen(dataclasses.replace(HERE, cores=77), seen)
    assert known.cores == 77
    assert known.isa == seen.isa
    assert known.sources["isa"].startswith("seen there on 2")
    assert "cores" not in known.sources


class Lost(Slot):
    """A slot of a device that is lost before it answers a command for the so-manieth time."""

    do, times = "", 0

    def ask(self, do: str, arrays: Sequence[Array] = (), **arguments: Any) -> Answer:
        if do == Lost.do:
            Lost.times -= 1
            if Lost.times == 0:
                os.kill(self.agent.pid, signal.SIGKILL)
        return super().ask(do, arrays, **arguments)


@pytest.mark.parametrize("meter", [None, "rapl"])
@pytest.mark.parametrize(("do", "times"), [("open", 1), ("import", 1), ("block", 1), ("block", 4)])
def test_a_device_that_is_lost_while_it_is_checked_is_no_success(
    do: str, times: int, meter: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CLAIMS", str(tmp_path))
    monkeypatch.setattr(agents, "Slot", Lost)
    monkeypatch.setattr(Lost, "do", do)
    monkeypatch.setattr(Lost, "times", times)
    profile = dataclasses.replace(HERE, meter=meter)
    with pytest.raises(UnavailableError, match="ended by itself"):
        check_device(Device("there", Local(), profile), noise_s=0.2)
    assert Lost.times == 0


def test_a_slow_device_is_checked_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer takes as long as the whole time."""
    asked: list[str] = []
    now = [0.0]

    class Slow(Slot):
        def ask(self, do: str, arrays: Sequence[Array] = (), **arguments: Any) -> Answer:
            found = super().ask(do, arrays, **arguments)
            asked.append(do)
            now[0] += NOISE_S if do == "block" and len(asked) > 3 else 0.0
            return found

    monkeypatch.setattr(agents, "Slot", Slow)
    with closing(HOST.open()) as agent:
        monkeypatch.setattr(check.time, "monotonic", lambda: now[0])
        assert check._spread(agent, NOISE_S) is None
    assert asked == ["import", "open", "block", "block"]
