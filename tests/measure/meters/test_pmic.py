from __future__ import annotations

from pathlib import Path

import pytest
from fake_devices import Clock, vcgencmd

from edgekit.errors import MeterError, UnavailableError
from edgekit.measure.meters.pmic import Pmic

SHOWN = """\
   3V7_WL_SW_A current(0)=0.10000000A
     VDD_CORE_A current(7)=2.00000000A
   3V7_WL_SW_V volt(8)=3.70000000V
     VDD_CORE_V volt(15)=0.80000000V
       EXT5V_V volt(24)=5.15000000V
       BATT_V volt(25)=0.00000000V
"""


def test_rails_with_volts_and_amperes_are_summed(tmp_path: Path) -> None:
    vcgencmd(tmp_path, shown=SHOWN)
    meter = Pmic(clock=Clock()).open(tmp_path)
    assert (meter.detail, meter.scope) == ("3V7_WL_SW + VDD_CORE", "rail")
    (reading,) = meter.read()
    assert reading.value == pytest.approx(370 + 1600)


def test_the_command_is_found_in_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = vcgencmd(tmp_path, shown=SHOWN)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    assert Pmic(clock=Clock()).open(Path("/")).read()[0].value == pytest.approx(1970)


def test_a_device_without_the_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"no command 'vcgencmd'"):
        Pmic().open(tmp_path)


def test_a_raspberry_pi_without_the_chip_is_refused(tmp_path: Path) -> None:
    vcgencmd(tmp_path, shown='error=1 error_msg="Command not registered"')
    with pytest.raises(UnavailableError, match=r"only the Raspberry Pi 5"):
        Pmic().open(tmp_path)


def test_a_command_that_hangs_is_given_up(tmp_path: Path) -> None:
    vcgencmd(tmp_path, script="#!/bin/sh\nexec sleep 60")
    with pytest.raises(MeterError, match=r"did not answer within 0.1 s"):
        Pmic(limit_s=0.1).open(tmp_path)


def test_a_command_that_fails_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    vcgencmd(tmp_path, script="#!/bin/sh\necho 'Can not open device file: /dev/vcio' >&2; exit 255")
    with pytest.raises(MeterError, match=r"/dev/vcio.*group 'video'"):
        Pmic().open(tmp_path)


def test_a_command_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    vcgencmd(tmp_path, script="\x7fno program").chmod(0o644)
    with pytest.raises(MeterError, match=r"cannot run"):
        Pmic().open(tmp_path)


def test_a_rail_that_vanishes_is_an_error(tmp_path: Path) -> None:
    command = vcgencmd(tmp_path, shown=SHOWN)
    meter = Pmic(clock=Clock()).open(tmp_path)
    kept = [line for line in SHOWN.splitlines() if "VDD_CORE_A" not in line]
    command.with_name("vcgencmd.txt").write_text("\n".join(kept))
    with pytest.raises(MeterError, match=r"VDD_CORE"):
        meter.read()


def test_a_rail_without_a_number_is_an_error(tmp_path: Path) -> None:
    vcgencmd(tmp_path, shown=SHOWN.replace("2.00000000", "none"))
    with pytest.raises(MeterError, match=r"'none' for VDD_CORE"):
        Pmic().open(tmp_path)
