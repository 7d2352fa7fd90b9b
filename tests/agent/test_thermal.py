"""Temperatures and throttling, from trees of files that are made for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.agent.thermal import celsius, throttle_count, throttled
from edgekit.measure.disturbances import disturbances

THERMAL = "sys/class/thermal"
PI = "sys/devices/platform/soc/soc:firmware/get_throttled"


def tree(root: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def cooling(kind: str, state: int) -> dict[str, object]:
    place = f"{THERMAL}/cooling_device0"
    return {f"{place}/type": kind, f"{place}/cur_state": state}


def test_the_hottest_zone_counts(tmp_path: Path) -> None:
    assert celsius(tmp_path) is None
    files = {f"{THERMAL}/thermal_zone{i}/temp": t for i, t in enumerate((41_000, 63_500, "x"))}
    assert celsius(tree(tmp_path, files)) == 63.5


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({PI: "0"}, False),
        ({PI: "50000"}, False),  # it was throttled once, and is no more
        ({PI: "50005"}, True),
        ({PI: "odd"}, None),
        (cooling("Processor", 0), False),
        (cooling("thermal-cpufreq-0", 2), True),
        (cooling("pwm-fan", 3), None),
    ],
)
def test_a_processor_that_is_slowed_down_is_told(
    tmp_path: Path, files: dict[str, object], found: bool | None
) -> None:
    assert throttled(tree(tmp_path, files)) is found


def test_slowdowns_are_counted_on_x86(tmp_path: Path) -> None:
    assert throttle_count(tmp_path) is None
    place = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    assert throttle_count(tree(tmp_path, {place.format(i): i for i in range(3)})) == 3


def test_throttling_and_emulation_make_a_measurement_unstable() -> None:
    (hot,) = disturbances({"throttled": True, "max_celsius": 84.6}, met=False)
    assert "slowed its processor down, at 85 °C" in hot
    (emulated,) = disturbances({"emulated": True}, met=False)
    assert "times from there mean nothing" in emulated
    assert not list(disturbances({"throttled": False, "max_celsius": 40.0}, met=False))
