"""``edgekit search`` through the command line: counted budgets, which need no measuring."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import json
import os
import random
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from command_line import CommandLine
from small_artifacts import once, shared_folder

from edgekit.core import Energy
from edgekit.data import open_source
from edgekit.data.digits import DigitsSource as Digits
from edgekit.data.preprocess import for_source
from edgekit.errors import GateError, UnavailableError
from edgekit.measure.comparing import Comparison
from edgekit.measure.metering import discover
from edgekit.measure.session import Effort
from edgekit.measure.subjects import Subject
from edgekit.models import build, find_spec
from edgekit.models.weights import Checkpoint, load_checkpoint, load_state, save_checkpoint
from edgekit.search import measuring, workshop
from edgekit.search.learning import Learner
from edgekit.search.netadapt import CHOICE, SMALLEST_CHANGE

QUICK = (
    "--target", "tflite", "--reduction", 0.2, "--tune-steps", 2, "--finish-epochs", 0,
    "--no-distill", "--workers", 1, "--selection-images", 100,
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of parts that a test makes up stay its own."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained checkpoint of five of MobileNetV3-Small's blocks, as a search has many. Read-only."""
    path = shared_folder(tmp_path_factory) / "short.pt"
    with once(path) as mine:
        if mine:
            save_checkpoint(path, _short())
    return path


def _short() -> Checkpoint:
    whole = find_spec("mobilenetv3-small", classes=10, resolution=32)
    spec = dataclasses.replace(whole, rows=(*whole.rows[:4], whole.rows[8]))
    digits = open_source("digits")
    facts = for_source(digits, spec.resolution)
    torch.manual_seed(0)
    module = build(spec)
    Learner(digits, facts, 0, None).tune(module, 120, 3e-3)
    return Checkpoint(spec.name, spec, module.state_dict(), tuple(digits.classes), facts, "digits")


@pytest.fixture(scope="module")
def searched(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search. Read-only."""
    folder = shared_folder(tmp_path_factory) / "search"
    folder.mkdir(exist_ok=True)
    with once(folder / "s") as mine:
        if mine:
            (folder / "part").mkdir()
            _run(folder / "part", trained, "s")
            (folder / "part" / "s").rename(folder / "s")
    return folder / "s"


def _command(run: Path, out: str, *more: str) -> list[str]:
    words = [str(word) for word in QUICK]
    return [
        sys.executable, "-m", "edgekit", "search", str(run), "--budget", "macs=0.85x",
        *words, "-o", out, *more,
    ]  # fmt: skip


def _run(folder: Path, run: Path, out: str, *more: str) -> None:
    done = subprocess.run(
        _command(run, out, *more), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def steps(folder: Path) -> list[dict[str, str]]:
    with (folder / "pareto.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_step_is_a_complete_network(searched: Path, run: CommandLine) -> None:
    rows = steps(searched)
    assert len(rows) >= 3
    macs = [float(row["macs"]) for row in rows]
    assert macs[-1] <= 0.85 * macs[0]
    assert macs == sorted(macs, reverse=True)
    for row in rows:
        artifact = searched / row["artifact"]
        contract = json.loads((artifact.parent / f"{artifact.name}.json").read_text())
        assert contract["agreement"]["passed"]
    first, last = (run("evaluate", searched / row["artifact"], "--data", "digits", "--json").json
                   for row in (rows[0], rows[-1]))  # fmt: skip
    assert 0.5 < last["top1"] <= 1
    assert first["n"] == last["n"]
    described = run("describe", searched / "model.pt", "--json").json
    assert described["macs"] == macs[-1]
    assert run("export", searched / "model.pt", "-t", "onnx", "-o", "again").code == 0
    assert not list(searched.rglob("candidates"))
    assert "<svg" in (searched / "search.html").read_text(encoding="utf-8")
    assert (searched / "pareto.svg").read_text(encoding="utf-8").startswith("<svg")


def test_steps_choose_among_several_groups(searched: Path) -> None:
    with contextlib.closing(sqlite3.connect(searched / "journal.sqlite")) as connection:
        rows = connection.execute("SELECT record FROM events WHERE kind = 'proposals'").fetchall()
    proposals = [json.loads(record) for (record,) in rows]
    assert proposals
    for one in proposals:
        assert len(one["widths"]) >= CHOICE or one["share"] < 2 * SMALLEST_CHANGE
    assert min(one["share"] for one in proposals) <= 0.2


def killed(
    run: Path, folder: Path, moments: Sequence[int], by: signal.Signals = signal.SIGKILL
) -> None:
    """A search that was ended after so many candidates, again and again, and then went on."""
    journal = folder / "s" / "journal.sqlite"
    for moment in moments:
        more = ("--resume",) if journal.exists() else ()
        process = subprocess.Popen(
            _command(run, "s", *more), cwd=folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while _candidates(journal) < moment:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, by)
        assert process.wait() == (130 if by is signal.SIGINT else -by)
    _run(folder, run, "s", "--resume")


def _candidates(journal: Path) -> int:
    with contextlib.suppress(sqlite3.Error):
        address = f"{journal.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM candidates").fetchone()[0])
    return -1


@pytest.mark.parametrize(
    "by", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_search_that_is_killed_goes_on_to_the_same_network(
    by: signal.Signals, searched: Path, trained: Path, tmp_path: Path
) -> None:
    killed(trained, tmp_path, [12], by)
    assert steps(tmp_path / "s") == steps(searched)


@pytest.mark.slow
def test_it_does_so_at_twenty_moments(searched: Path, trained: Path, tmp_path: Path) -> None:
    rng = random.Random(7)
    count = _candidates(searched / "journal.sqlite")
    for trial in range(5):
        folder = tmp_path / str(trial)
        folder.mkdir()
        killed(trained, folder, sorted(rng.sample(range(count), 4)))
        assert steps(folder / "s") == steps(searched)


def test_a_budget_that_is_kept_already_is_refused(run: CommandLine, trained: Path) -> None:
    result = run("search", trained, "--budget", "macs=900M", *QUICK, "-o", "s")
    assert result.code == 2
    assert "the network keeps it already" in result.message
    assert not Path("s").exists()  # so that another budget can be tried


def test_a_budget_out_of_reach_names_the_least(run: CommandLine, trained: Path) -> None:
    result = run("search", trained, "--budget", "macs=0.001x", *QUICK, "-o", "s")
    assert result.code == 2
    assert "out of reach: of the networks with 0.125, 0.25, 0.5 of the channels" in result.message
    assert "the least has" in result.message


def test_a_folder_with_a_search_is_not_begun_anew(
    run: CommandLine, searched: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s")
    assert result.code == 2
    assert "go on with --resume" in result.message
    result = run("search", trained, "--budget", "macs=0.5x", *QUICK, "-o", "s", "--resume")
    assert result.code == 2
    assert "its budget is macs=0.85x, now it is macs=0.5x" in result.message
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
    assert result.code == 0
    assert steps(tmp_path / "s") == steps(searched)


def test_a_folder_of_something_else_is_left_alone(
    run: CommandLine, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(trained, tmp_path / "run" / "model.pt")
    before = (tmp_path / "run" / "model.pt").read_bytes()
    result = run("search", "run", "--budget", "macs=0.85x", *QUICK, "-o", "run")
    assert result.code in (2, 3)
    assert (tmp_path / "run" / "model.pt").read_bytes() == before
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "run")
    assert result.code == 2
    assert "run holds model.pt of something else" in result.message


def test_an_untrained_network_is_refused(run: CommandLine) -> None:
    result = run("search", "mobilenetv3-small", "--budget", "macs=0.85x", *QUICK, "-o", "s")
    assert result.code == 3
    assert "expected a run folder or checkpoint" in result.message


def test_a_precision_that_there_is_not_is_refused(run: CommandLine, trained: Path) -> None:
    result = run(
        "search", trained, "--budget", "macs=0.85x", "-t", "openvino", "-p", "w8a16", "-o", "s"
    )
    assert result.code == 2
    assert "target openvino has no precision w8a16" in result.message


def test_a_folder_that_cannot_be_made_is_named(
    run: CommandLine, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "file/s")
    assert result.code == 3
    assert "cannot make the folder file/s" in result.message


def test_another_network_or_version_is_named(
    run: CommandLine, searched: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    checkpoint = load_checkpoint(trained)
    state = {name: value.clone() for name, value in checkpoint.state.items()}
    state["stem.conv.weight"] *= 2
    save_checkpoint(tmp_path / "other.pt", dataclasses.replace(checkpoint, state=state))
    words = ("--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
    result = run("search", "other.pt", *words)
    assert result.code == 2
    assert "s/journal.sqlite is of another search: its network is mobilenetv3" in result.message
    monkeypatch.setattr("edgekit.__version__", "9.9")
    result = run("search", trained, *words)
    assert result.code == 2
    assert "its version of edgekit is" in result.message
    assert "now it is 9.9" in result.message


def test_workers_that_hang_are_ended_and_the_search_goes_on_later(
    run: CommandLine, trained: Path
) -> None:
    words = ("search", trained, "--budget", "macs=0.95x", *QUICK, "-o", "s")
    result = run(*words, "--time-limit", "0.01")
    assert result.code == 3
    assert "the network cannot be scored: no answer within 0 s" in result.message
    assert "scoring: no answer within 0 s; once more" in result.err
    assert run(*words, "--resume").code == 0


def test_groups_that_are_left_alone_are_named(run: CommandLine, tmp_path: Path) -> None:
    spec = find_spec("shufflenetv2@0.5", classes=10, resolution=32)
    digits = open_source("digits")
    facts, labels = for_source(digits, 32), tuple(digits.classes)
    torch.manual_seed(0)
    state = build(spec).state_dict()
    save_checkpoint(
        tmp_path / "net.pt", Checkpoint(spec.name, spec, state, labels, facts, "digits")
    )
    words = ("--budget", "macs=0.9x", "--method", "uniform", *QUICK, "-o", "s")
    result = run("search", "net.pt", *words)
    assert result.code == 0
    assert "stage2.half was left alone: " in result.err
    assert "stage2.half" in json.loads(Path("s/search.json").read_text())["frozen"]


def test_images_that_changed_are_named(
    run: CommandLine, searched: Path, trained: Path, tmp_path: Path, relabel: Relabel
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    relabel("validation")
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
    assert result.code == 2
    assert "s/journal.sqlite is of another search: its images is 1" in result.message


Relabel = Callable[[str], None]


@pytest.fixture
def relabel(monkeypatch: pytest.MonkeyPatch) -> Relabel:
    """Permutes the labels of a split of digits in this process."""

    def change(split: str) -> None:
        label = Digits.label

        def permuted(self: Digits, name: str, index: int) -> int:
            found = label(self, name, index)
            return (found + 3) % 10 if name == split else found

        monkeypatch.setattr(Digits, "label", permuted)

    return change


def test_labels_of_test_images_change_nothing_but_the_test(
    run: CommandLine, searched: Path, trained: Path, relabel: Relabel
) -> None:
    relabel("test")
    found = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--json").json
    assert found["test_top1"]["after"] < 0.2
    before = json.loads((searched / "search.json").read_text())
    assert before["test_top1"]["after"] > 0.5
    for step, other in zip(found["steps"], before["steps"], strict=True):
        for key in ("changed", "width", "top1", "spec"):
            assert step[key] == other[key]


def test_a_worker_that_is_killed_changes_nothing(
    searched: Path, trained: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        _command(trained, "s", "--workers", "2"), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    ended = 0
    for _ in range(600):
        time.sleep(0.1)
        workers = _workers(process.pid)
        if len(workers) == 2 and (tmp_path / "s" / "step-01").exists() and not ended:
            os.kill(workers[0], signal.SIGKILL)
            ended += 1
        if process.poll() is not None:
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert ended == 1
    assert steps(tmp_path / "s") == steps(searched)


def _workers(parent: int) -> list[int]:
    """Processes that train candidates."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_two_searches_in_one_folder_are_refused(
    run: CommandLine, searched: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    with open(tmp_path / "s" / ".journal.sqlite.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        words = ("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
        result = run(*words)
    assert result.code == 2
    assert "another search is at work in s" in result.message


@pytest.mark.parametrize(
    "names", ["uniform", pytest.param("uniform,random", marks=pytest.mark.slow)]
)
def test_baselines_join_a_finished_search(
    names: str, run: CommandLine, searched: Path, trained: Path, tmp_path: Path
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    found = run(
        "search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume",
        "--baselines", names, "--json",
    ).json  # fmt: skip
    start = found["baseline"]["macs"]
    methods = [one["method"] for one in found["series"]]
    assert methods == ["netadapt", *names.split(",")]
    networks = [step for one in found["series"][1:] for step in one["steps"]]
    assert len(networks) == (4 if "random" in names else 1)
    for step in networks:
        # Within the budget, and the largest of its method: the next size is a few percent more.
        assert 0.6 * start < step["macs"] <= 0.85 * start
        assert step["test_top1"] > 0.1
        assert Path(step["artifact"]).exists()
    rows = steps(tmp_path / "s")
    assert sum(row["kind"] == "finished" for row in rows) == 1 + len(networks)


@pytest.mark.parametrize(
    "method", ["uniform", "compound", pytest.param("random", marks=pytest.mark.slow)]
)
def test_methods_stand_on_their_own(method: str, run: CommandLine, trained: Path) -> None:
    words = ("--budget", "macs=0.6x", "--method", method, *QUICK, "-o", "s", "--json")
    found = run("search", trained, *words).json
    finished = 3 if method == "random" else 1
    assert [step["kind"] for step in found["steps"]] == ["start", *["finished"] * finished]
    assert found["final"]["macs"] <= 0.6 * found["baseline"]["macs"]
    assert found["test_top1"]["after"] > 0.1
    evaluated = run("evaluate", "s/model.pt", "--data", "digits", "--json").json
    assert evaluated["top1"] == pytest.approx(found["test_top1"]["after"], abs=0.005)


def test_a_scaled_network_keeps_a_budget_of_bytes(run: CommandLine, trained: Path) -> None:
    words = ("--budget", "size=0.6x", "--method", "uniform", *QUICK, "-o", "s", "--json")
    found = run("search", trained, *words).json
    assert found["final"]["size_bytes"] <= 0.6 * found["baseline"]["size_bytes"]
    # The files were as large when they were tried, without any training.
    assert found["final"]["size_bytes"] > 0.5 * found["baseline"]["size_bytes"]
    assert not Path("s/narrowest-00").exists()


def test_the_next_candidate_takes_the_place_of_one_whose_file_fails(
    run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = workshop.export, 0

    def export(*words: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first is the start's
            raise GateError("the file does not agree with the network")
        return real(*words, **options)

    monkeypatch.setattr(workshop, "export", export)
    words = ("--budget", "macs=0.93x", *QUICK, "-o", "s", "--json")
    result = run("search", trained, *words)
    (note,) = result.json["notes"]
    assert "has no file that holds: the file does not agree with the network" in note
    assert note in result.err
    assert result.json["steps"][1]["changed"] not in note


def test_baselines_that_there_are_not_are_refused(run: CommandLine, trained: Path) -> None:
    words = ("--budget", "macs=0.6x", "--baselines", "uniform,best", "-o", "s")
    result = run("search", trained, *words)
    assert result.code == 2
    assert "--baselines best: expected uniform, random, compound" in result.message


def test_an_energy_budget_needs_a_meter(run: CommandLine, trained: Path) -> None:
    meter, _ = discover(Path("/"))
    if meter is not None:
        meter.close()
        pytest.skip("this machine has a meter")
    result = run("search", trained, "--budget", "energy=0.8x", *QUICK, "-o", "s")
    assert result.code == 5
    assert "a budget of energy needs a meter, as an estimate is no measurement" in result.message


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
    mj = Path(subject.words).stat().st_size / 1e6
    energy = Energy("measured", meter="m", mj_per_inference=mj, ci95=(0.99 * mj, 1.01 * mj))
    return SimpleNamespace(interrupted=False, measurements=[SimpleNamespace(energy=energy)])


class Device:
    """What a comparison gives, or that the device is gone.

    Ratios are those of the files' sizes: a latency of 0.4 s of measuring differs by several percent
    from the next one, and with it whether a network keeps its budget.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gone, self.after, self.half_width, self.power, self.calls = 0, 0, 0.001, 1, 0
        self.smallest = 0.0  # share of the start's size below which a file takes as long
        self.real = measuring.compare
        monkeypatch.setattr(measuring, "compare", self)
        monkeypatch.setattr(measuring, "MEASURING_SECONDS", 0.4)
        monkeypatch.setattr(measuring, "_POLLS_S", (0.01,))
        monkeypatch.setattr(measuring, "MEASURING_TRIES", 2)

    def __call__(self, a: Subject, b: Subject, effort: Effort) -> Comparison:
        self.calls += 1
        if self.gone and self.calls > self.after:
            self.gone -= 1
            raise UnavailableError("the device is gone")
        found = self.real(a, b, effort)
        share = Path(a.words).stat().st_size / Path(b.words).stat().st_size
        ratio = share**self.power if share > self.smallest else 1.0
        half = self.half_width * ratio
        changed = dataclasses.replace(found.ratio, ratio=ratio, ci95=(ratio - half, ratio + half))
        return dataclasses.replace(found, ratio=changed)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


SCALED = ("--budget", "latency=0.8x", "--method", "uniform", *QUICK, "-o", "s")


@pytest.mark.parametrize("after", [0, 3])
def test_a_device_that_is_lost_ends_with_the_way_to_go_on(
    after: int, run: CommandLine, trained: Path, device: Device
) -> None:
    device.gone, device.after = 10**6, after
    result = run("search", trained, *SCALED, "--wait", "0.05")
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

    def __init__(self, *_: object) -> None:
        pass

    def time(self, path: Path) -> tuple[float, float]:
        return path.stat().st_size / 1e6, 1.0

    def close(self) -> None:
        pass


def test_noise_makes_measurements_longer_and_steps_larger(
    run: CommandLine, trained: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.half_width = 0.03
    monkeypatch.setattr(measuring, "Timer", BySize)
    words = ("--budget", "latency=0.93x", *QUICK, "--reduction", "0.05", "-o", "s")
    result = run("search", trained, *words)
    assert result.code == 0
    assert "the interval of +-3.0% is wide for a step of 5.0%" in result.err
    assert "measuring again, for 1 s" in result.err
    assert "narrowest 0" not in result.err  # far below the bound, however wide the interval
    assert "measurements are only good to +-3.0%: it takes 6.0% away instead of" in result.err
    assert float(steps(Path("s"))[-1]["high"]) <= 0.93


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


def test_a_step_that_went_too_far_gets_channels_back(
    run: CommandLine, trained: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.power = 6  # of what the parts say
    monkeypatch.setattr(measuring, "Timer", BySize)
    words = ("--budget", "latency=0.85x", *QUICK, "--reduction", "0.4", "-o", "s", "--json")
    found = run("search", trained, *words).json
    *_, far, wider, last = found["steps"]
    assert [step["kind"] for step in (far, wider, last)] == ["adapted", "widened", "finished"]
    assert wider["changed"] == far["changed"]
    assert wider["width"] > far["width"]
    assert last["ci95"][1] <= 0.85


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
    """Parts are really timed here; whole networks take as long as their files are large."""
    budget = "latency=0.85x,macs=0.98x,size=900MB"
    words = ("--budget", budget, *QUICK[2:], *more, "--distill", "--json")
    result = run("search", trained, *words, "-o", "s")
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


@pytest.mark.slow
def test_a_ray_cluster_finds_the_same(searched: Path, trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    _run(tmp_path, trained, "s", "--executor", "ray")
    assert steps(tmp_path / "s") == steps(searched)


def test_a_plain_state_dict_takes_classes_and_preprocessing_from_the_images(
    run: CommandLine, trained_run: Path, tmp_path: Path
) -> None:
    torch.save(load_state(trained_run), tmp_path / "plain.pt")
    words = ("mobilenetv3-small", "--weights", "plain.pt", "--resolution", "32", "--data", "digits")
    more = ("--budget", "macs=0.9x", "--method", "uniform", *QUICK, "-o", "s", "--json")
    found = run("search", *words, *more).json
    assert found["test_top1"]["before"] > 0.5
    result = run("search", *words[:-1], "synthetic", *more[:-3], "-o", "t")
    assert result.code == 3
    assert "'mobilenetv3-small' has 10 outputs, and 'synthetic' has" in result.message
