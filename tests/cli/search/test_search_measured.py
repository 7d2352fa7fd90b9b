"""``edgekit search`` by latency and energy, with devices that are noisy or go away."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shlex
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from command_line import CommandLine
from small_searches import QUICK, steps

from edgekit.contract import target_by_suffix
from edgekit.core import Energy, Target
from edgekit.devices import device as devices
from edgekit.errors import InputError, UnavailableError
from edgekit.measure.comparing import Comparison
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject
from edgekit.search import contest, measuring
from edgekit.search.netadapt import SLACK
from edgekit.search.pricing import WHOLE_TIMES

inline = pytest.mark.usefixtures("inline")


@inline
def test_an_energy_budget_is_kept_by_what_the_meter_shows(
    run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No machine of the tests has a meter: this one shows a millijoule per megabyte."""
    meter = SimpleNamespace(meter="a meter")
    monkeypatch.setattr(measuring, "metering", lambda *_, **__: contextlib.nullcontext(meter))
    monkeypatch.setattr(measuring, "profile", _profile)
    monkeypatch.setattr(measuring, "Timer", BySize)
    words = ("--budget", "energy=0.8x", *QUICK, "-o", "s", "--json")
    found = run("search", trained, *words).json
    before, after = found["baseline"], found["final"]
    assert before["energy_mj"] == before["size_bytes"] / 1e6
    # The upper end of the interval counts, one percent above.
    assert after["energy_mj"] * 1.01 <= 0.8 * before["energy_mj"]
    assert after["latency_ms"] is None


def _profile(subjects: Sequence[Subject], *_: object, **__: object) -> SimpleNamespace:
    (subject,) = subjects
    mj = Path(subject.source).stat().st_size / 1e6
    energy = Energy("measured", meter="m", mj_per_inference=mj, ci95=(0.99 * mj, 1.01 * mj))
    return SimpleNamespace(interrupted=False, measurements=[SimpleNamespace(energy=energy)])


def _size_bytes(artifact: Path) -> int:
    """Of all its files."""
    target = target_by_suffix(artifact)
    assert target is not None
    return sum(file.stat().st_size for file in target.files(artifact))


class Device:
    """What a comparison gives, or that the device is gone.

    Ratios are those of the files' sizes: a latency of 0.4 s of measuring differs by several percent
    from the next one, and with it whether a network keeps its budget. Only the start is measured.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone, self.after, self.half_width, self.power, self.calls = 0, 0, 0.001, 1, 0
        self.smallest = 0.0  # share of the start's size below which a file takes as long
        self.real = measuring.compare
        self.found: Comparison | None = None
        monkeypatch.setattr(measuring, "compare", self)
        monkeypatch.setattr(measuring, "MEASURING_SECONDS", 0.4)
        monkeypatch.setattr(measuring, "_POLLS_S", (0.01,))
        monkeypatch.setattr(measuring, "MEASURING_TRIES", 2)

    def __call__(
        self, a: Subject, b: Subject, effort: Effort, *, device: devices.Device
    ) -> Comparison:
        self.calls += 1
        if self.gone and self.calls > self.after:
            self.gone -= 1
            raise UnavailableError("the device is gone")
        found = self.found = self.found or self.real(a, b, effort, device=device)
        share = _size_bytes(Path(a.source)) / _size_bytes(Path(b.source))
        ratio = share**self.power if share > self.smallest else 1.0
        half = self.half_width * ratio
        changed = dataclasses.replace(found.ratio, ratio=ratio, ci95=(ratio - half, ratio + half))
        return dataclasses.replace(found, ratio=changed)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


SCALED = ("--budget", "latency=0.8x", "--method", "uniform", *QUICK, "-o", "s")


@inline
@pytest.mark.parametrize("after", [0, 3])
def test_a_device_that_is_lost_ends_with_the_way_to_go_on(
    after: int, run: CommandLine, trained: Path, device: Device
) -> None:
    device.gone, device.after = 10**6, after
    result = run("search", trained, *SCALED, "--wait", "0.5")
    assert result.code == 5
    assert "the device is gone; all that was done is kept in s: go on with" in result.message
    words = shlex.split(result.message.partition("go on with ")[2])
    assert words[:2] == ["edgekit", "search"]
    assert words[-1] == "--resume"
    assert device.calls > after + 2
    device.gone = device.calls = 0
    assert run(*words[1:]).code == 0
    with contextlib.closing(sqlite3.connect("s/journal.sqlite")) as connection:
        (measured,) = connection.execute(
            "SELECT count(*) FROM events WHERE kind = 'measurement'"
        ).fetchone()
    assert measured == device.calls + after  # nothing was measured twice


@inline
def test_a_device_that_comes_back_is_waited_for(
    run: CommandLine, trained: Path, device: Device
) -> None:
    device.gone = 2
    result = run("search", trained, *SCALED)
    assert result.code == 0
    assert "the device is gone; waiting, 300 s left" in result.err
    found = steps(Path("s"))
    assert float(found[-1]["latency_ratio"]) < 0.9


class BySize:
    """Times of parts by the sizes of their files: the same on every machine."""

    between: ClassVar[set[int]] = set()
    boot = None

    def __init__(
        self, target: Target, reference: Path, threads: int, between: int, device: devices.Device
    ) -> None:
        self.between.add(between)

    def time(self, path: Path, *, whole: bool) -> tuple[float, float]:
        return path.stat().st_size / 1e6, 1.0

    def close(self) -> None:
        pass


@inline
def test_noise_makes_measurements_longer_and_steps_larger(
    run: CommandLine, trained: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.half_width = 0.03
    monkeypatch.setattr(measuring, "Timer", BySize)
    words = ("--budget", "latency=0.8x", *QUICK, "--reduction", "0.05", "-o", "s")
    result = run("search", trained, *words)
    assert result.code == 0
    assert "netadapt 1: the interval of +-3.0% is wide for a step of 5.0%" in result.err
    assert "measuring again, for 1 s" in result.err
    assert "narrowest 0" not in result.err  # far below the bound, however wide the interval
    assert "measurements are only good to +-3.0%: it takes 6.0% away instead of" in result.err
    assert float(steps(Path("s"))[-1]["high"]) <= 0.8
    with contextlib.closing(sqlite3.connect("s/journal.sqlite")) as connection:
        found = [
            json.loads(record)
            for (record,) in connection.execute(
                "SELECT record FROM events WHERE kind = 'measurement' AND series != 'start'"
            )
        ]
    # What keeps the budget however wide its interval is not measured again.
    assert {one["seconds"] for one in found if one["ci95"][1] < 0.8} == {0.4}


@inline
def test_networks_correct_what_is_predicted_and_how_far_steps_go(
    run: CommandLine, trained: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.power = 2  # of what the parts say
    BySize.between.clear()
    monkeypatch.setattr(measuring, "Timer", BySize)
    words = ("--budget", "latency=0.7x", *QUICK, "--reduction", "0.1", "-o", "s", "--json")
    found = run("search", trained, *words).json
    (between,) = BySize.between
    assert 0.7 < between / found["baseline"]["size_bytes"] < 1.42
    ratios, errors = [1.0], []
    for one in found["steps"][1:]:
        if one["kind"] == "adapted":
            errors.append(one["predicted"] / one["latency_ms"] - 1)
            ratios.append(one["latency_ratio"])
    assert len(errors) >= 3
    assert 0 < errors[-2] < errors[0]
    with contextlib.closing(sqlite3.connect("s/journal.sqlite")) as connection:
        wanted = [
            json.loads(record)["wanted"]
            for (record,) in connection.execute(
                "SELECT record FROM events WHERE kind = 'proposals' ORDER BY step"
            )
        ]
    # Steps take more than they should, but less and less so.
    more = [
        (1 - after / before) / (1 - share)
        for before, after, share in zip(ratios, ratios[1:], wanted, strict=False)
    ]
    assert more[0] > 1.3
    assert more[-2] < more[0]


@inline
def test_latency_and_energy_share_what_is_measured_once(
    run: CommandLine, trained: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the start in one piece is kept as that of parts is, also when the device is lost."""
    timed: list[str] = []

    class Listing(BySize):
        def time(self, path: Path, *, whole: bool) -> tuple[float, float]:
            timed.append("whole" if whole else "part")
            return super().time(path, whole=whole)

    meter = SimpleNamespace(meter="a meter")
    monkeypatch.setattr(measuring, "metering", lambda *_, **__: contextlib.nullcontext(meter))
    monkeypatch.setattr(measuring, "profile", _profile)
    monkeypatch.setattr(measuring, "Timer", Listing)
    device.gone, device.after = 10**6, 2
    words = ("search", trained, "--budget", "latency=0.9x,energy=0.85x", *QUICK, "-o", "s")
    assert run(*words, "--wait", "0.05").code == 5
    assert timed.count("whole") == WHOLE_TIMES
    device.gone = device.calls = 0
    found = run(*words, "--resume", "--json").json
    assert timed.count("whole") == WHOLE_TIMES
    assert found["final"]["ci95"][1] <= 0.9
    assert found["final"]["energy_mj"] * 1.01 <= 0.85 * found["baseline"]["energy_mj"]
    timed.clear()
    run(*words[:-1], "t")
    assert "whole" not in timed


@inline
def test_a_start_that_cannot_be_timed_in_one_piece_is_named(
    run: CommandLine, trained: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PartsOnly(BySize):
        def time(self, path: Path, *, whole: bool) -> tuple[float, float]:
            if whole:
                raise InputError("it is too large")
            return super().time(path, whole=whole)

    monkeypatch.setattr(measuring, "Timer", PartsOnly)
    result = run("search", trained, "--budget", "latency=0.8x", *QUICK, "-o", "s")
    assert result.code == 3
    assert "with fresh weights cannot be written or run in one piece" in result.message
    assert "whole network of " in result.err
    assert "it is too large" in result.err


@inline
def test_a_budget_that_only_wider_networks_keep_is_not_refused(
    run: CommandLine, trained: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels may make little use of few channels."""
    monkeypatch.setattr(measuring, "Timer", BySize)
    device.smallest = 0.2
    words = ("--budget", "latency=0.9x", *QUICK, "-o", "s")
    assert run("search", trained, *words).code == 0
    assert float(steps(Path("s"))[-1]["high"]) <= 0.9
    device.smallest = 1.0
    result = run("search", trained, *words[:-1], "t")
    assert result.code == 2
    assert "latency=0.9x is out of reach: of the networks with 0.125, 0.25, 0.5" in result.message
    assert "(1.00x +-0.00)" in result.message


@inline
@pytest.mark.parametrize("half_width", [0.001, 0.02])
def test_a_step_that_went_too_far_gets_channels_back(
    half_width: float,
    run: CommandLine,
    trained: Path,
    device: Device,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many as fit with the interval that is measured."""
    device.power, device.half_width = 6, half_width  # power: of what the parts say
    monkeypatch.setattr(measuring, "Timer", BySize)
    words = ("--budget", "latency=0.85x", *QUICK, "--reduction", "0.4", "-o", "s", "--json")
    found = run("search", trained, *words).json
    *_, before, far, wider, last = found["steps"]
    assert [step["kind"] for step in (far, wider, last)] == ["adapted", "widened", "finished"]
    assert wider["changed"] == far["changed"]
    assert far["macs"] < wider["macs"] < before["macs"]
    assert far["ci95"][1] <= 0.85 * (1 - SLACK)
    assert max(wider["ci95"][1], last["ci95"][1]) <= 0.85
    assert last["macs"] == wider["macs"]


@inline
def test_rivals_of_a_contest_are_measured(
    run: CommandLine, trained: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "Timer", BySize)
    words = ("--budget", "latency=0.7x,size=0.9x", *QUICK, "--finish-epochs", 1, "-o", "s")
    result = run("search", trained, *words, "--reduction", 0.4)
    assert result.code == 0, result.err
    start, *_, held, last = steps(Path("s"))
    assert (held["kind"], last["kind"]) == ("contest", "finished")
    assert float(last["high"]) <= 0.7
    assert float(last["size_bytes"]) <= 0.9 * float(start["size_bytes"])
    with contextlib.closing(sqlite3.connect("s/journal.sqlite")) as connection:
        (trials,) = connection.execute(
            "SELECT count(*) FROM events WHERE kind = 'trial' AND series = 'netadapt'"
        ).fetchone()
    assert 2 <= trials <= 2 * contest.TRIALS


@pytest.mark.parametrize(
    "more",
    [
        ("-t", "tflite", "-p", "int8", "--rule", "accuracy", "--criterion", "norm", "--scratch"),
        pytest.param(("-t", "onnx", "-p", "int8", "--rule", "reward"), marks=pytest.mark.slow),
        pytest.param(("-t", "openvino", "--criterion", "taylor"), marks=pytest.mark.slow),
    ],
    ids=lambda words: "-".join(words[1::2]),
)
def test_latencies_of_the_runtime_steer_it(
    more: tuple[str, ...], run: CommandLine, trained: Path, device: Device, tmp_path: Path
) -> None:
    """Parts are really timed here, and written by workers; whole networks take as long as their
    files are large."""
    budget = "latency=0.85x,macs=0.98x,size=900MB"
    words = ("--budget", budget, *QUICK[2:], *more, "--distill", "--json")
    result = run("search", trained, *words, "-o", "s")
    assert result.code == 0, result.err
    found = result.json
    assert "budget size=900MB: the network keeps it already" in result.err
    assert found["final"]["ci95"][1] <= 0.85
    assert found["final"]["macs"] <= 0.98 * found["baseline"]["macs"]
    assert found["seconds"]["writing parts"] > 0
    contract = json.loads(Path(f"{found['final']['artifact']}.json").read_text())
    precision = more[3] if "-p" in more else "fp32"
    assert contract["scheme"]["precision"] == precision
    # The times are there now.
    again = run("search", trained, *words, "-o", "t").json
    assert again["seconds"].get("writing parts", 0) < found["seconds"]["writing parts"]
    assert [step["width"] for step in again["steps"]] == [step["width"] for step in found["steps"]]
