"""What stands for an agent beside a benchmark program, and phones that answer oddly."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit.agent.wire import Wire
from edgekit.devices import benchmarking
from edgekit.devices.benchmarking import Adapter
from edgekit.devices.native import program
from edgekit.errors import UnavailableError


@pytest.fixture
def adapter(tmp_path: Path) -> Iterator[Callable[[str], Adapter]]:
    """One whose phone runs a program of the test's for each line."""
    ours, theirs = socket.socketpair()
    tool = tmp_path / "benchmark_model"
    tool.write_text("#!/bin/sh\n")

    def made(text: str) -> Adapter:
        phone = tmp_path / "phone.py"
        phone.write_text(text)
        wire = Wire(ours.fileno(), ours.fileno())
        return Adapter(wire, program(tool, "program"), "there", [sys.executable, str(phone)])

    with ours, theirs:
        yield made


def test_a_program_that_prints_without_end_is_ended(adapter: Callable[[str], Adapter]) -> None:
    begin_s = time.monotonic()
    with pytest.raises(UnavailableError, match="prints without end"):
        adapter("while True: print('x' * 65536)")._shell("run", 30.0)
    assert time.monotonic() - begin_s < 15


@pytest.mark.parametrize("text", ["", "import os; os.close(1); os.close(2); "])
def test_a_phone_that_is_silent(adapter: Callable[[str], Adapter], text: str) -> None:
    with pytest.raises(UnavailableError, match="did not answer for 1 s"):
        adapter(f"{text}import time; time.sleep(60)")._shell("run", 1.0)


def test_all_that_is_printed_is_taken(adapter: Callable[[str], Adapter]) -> None:
    made = adapter("import sys; print('a' * 300000); sys.stdout.flush(); sys.exit('the end')")
    code, printed = made._shell("run")
    assert (code, len(printed), printed[-8:]) == (1, 300_009, "the end\n")


_HOSTILE = """
import re, sys
mark = re.search(r"echo ([0-9a-f]{16}) ", sys.argv[-1])[1]
print("aarch64", 8, sep=chr(10))
for name in (
    "/proc/cpuinfo", "/proc/cpuinfo/inside", "/proc", "/proc/" + "x" * 300, "/etc/passwd",
    "/sys/class/thermal/thermal_zone0/temp", "/sys/class/thermal/thermal_zone../temp",
    "/sys/class/thermal/thermal_zone1/../temp", "/proc/meminfo" + chr(0), "../outside", "",
):
    print(chr(10) + mark, name + chr(10) + "1")
"""


def test_only_what_was_asked_for_is_noted(
    adapter: Callable[[str], Adapter], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    made = adapter(_HOSTILE)
    assert made._look(root) == ("aarch64", 8)
    found = {f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_file()}
    assert found == {"/proc/cpuinfo", "/sys/class/thermal/thermal_zone0/temp"}
    assert made._answer({"do": "about", "packages": [], "variables": []}, [])["hardware"]


def test_what_is_asked_for_is_what_may_be_noted() -> None:
    for name in benchmarking._TELLING.split():
        for number in ("0", "12"):
            one = name.replace("[0-9]*", number).replace("*", number)
            assert benchmarking._TOLD.fullmatch(one), one
    own = [str(path) for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*")]
    assert all(re.fullmatch(r".*/cpu[0-9]{1,9}", path) for path in own)


def test_a_disk_that_is_full_is_an_answer(
    adapter: Callable[[str], Adapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = adapter(_HOSTILE)
    monkeypatch.setattr(Path, "write_text", _full)
    answer = made._answer({"do": "conditions"}, [])
    assert answer["error"] == "UnavailableError"
    assert "No space left" in answer["message"]


def _full(*_: object, **__: object) -> int:
    raise OSError(28, os.strerror(28))
