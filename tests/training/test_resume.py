from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import edgekit
from edgekit.core import to_json
from edgekit.errors import CheckpointError, UsageError
from edgekit.models.weights import load_checkpoint
from edgekit.training import EpochRecord, TrainingOptions, TrainingResult, train
from edgekit.training.progress import Silent

MODEL = "mobilenetv1@0.25"  # as in conftest.py

# Kills its own process, with no chance to clean up, at a step or behind an epoch.
CHILD = """
import json, os, signal, sys
from pathlib import Path
from edgekit.core import from_json
from edgekit.training import TrainingOptions, train
from edgekit.training.progress import Silent

out, model, options, kind, number = sys.argv[1:]

class Killer(Silent):
    def step(self, step, loss):
        if kind == "step" and step >= int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    def epoch(self, record):
        if kind == "epoch" and record.epoch == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

options = from_json(TrainingOptions, json.loads(options))
train(model, "synthetic", options=options, out=Path(out), progress=Killer())
"""


def _killed_run(out: Path, kind: str, number: int, quick: TrainingOptions) -> None:
    arguments = [str(out), MODEL, json.dumps(to_json(quick)), kind, str(number)]
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def _assert_same(resumed: TrainingResult, whole: TrainingResult) -> None:
    ours, theirs = (load_checkpoint(result.checkpoint).state for result in (resumed, whole))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (resumed.top1, resumed.top5) == (whole.top1, whole.top5)
    metrics = [(r.run / "metrics.jsonl").read_text().splitlines() for r in (resumed, whole)]
    for line, same in zip(*metrics, strict=True):
        timed = ("seconds", "images_per_s")
        first, second = (
            {k: v for k, v in json.loads(text).items() if k not in timed} for text in (line, same)
        )
        assert first == second
    assert _names(resumed.run) == _names(whole.run)


@pytest.mark.parametrize(("kind", "number"), [("step", 1), ("step", 10), ("epoch", 4)])
def test_a_killed_run_resumes_to_the_same_bits(
    kind: str, number: int, trained: TrainingResult, tmp_path: Path, quick: TrainingOptions
) -> None:
    out = tmp_path / "run"
    _killed_run(out, kind, number, quick)
    assert "model.pt" not in _names(out)
    resumed = train(MODEL, "synthetic", options=quick, out=out, resume=True)
    _assert_same(resumed, trained)


def test_with_everything_random_a_killed_run_resumes_to_the_same_bits(
    trained: TrainingResult, tmp_path: Path, quick: TrainingOptions
) -> None:
    options = dataclasses.replace(
        quick,
        optimizer="rmsprop",
        schedule="step",
        randaugment=(2, 5),
        mixup=0.2,
        cutmix=1.0,
        dropout=0.3,
        accumulate=2,
        teacher=str(trained.run),
    )
    whole = train(MODEL, "synthetic", options=options, out=tmp_path / "whole")
    _killed_run(tmp_path / "run", "epoch", 2, options)
    resumed = train(MODEL, "synthetic", options=options, out=tmp_path / "run", resume=True)
    _assert_same(resumed, whole)


def test_a_run_from_before_an_option_existed_can_be_resumed(
    interrupted: Path, trained: TrainingResult, quick: TrainingOptions
) -> None:
    path = interrupted / "options.json"
    recorded = json.loads(path.read_text())
    for younger in ("schedule", "mixup", "teacher_weight"):
        del recorded["options"][younger]
    path.write_text(json.dumps(recorded))
    resumed = train(MODEL, "synthetic", options=quick, out=interrupted, resume=True)
    _assert_same(resumed, trained)


class _Interrupt(Silent):
    def epoch(self, record: EpochRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(tmp_path: Path, quick: TrainingOptions) -> Path:
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(MODEL, "synthetic", options=quick, out=out, progress=_Interrupt())
    return out


def test_ctrl_c_leaves_consistent_files_and_a_run_that_goes_on(
    interrupted: Path, trained: TrainingResult, quick: TrainingOptions
) -> None:
    assert _names(interrupted) == {"state.pt", "metrics.jsonl", "options.json"}
    assert len((interrupted / "metrics.jsonl").read_text().splitlines()) == 2
    # A kill between two files leaves metrics behind the state: they are written anew.
    (interrupted / "metrics.jsonl").write_text("")
    resumed = train(MODEL, "synthetic", options=quick, out=interrupted, resume=True)
    _assert_same(resumed, trained)


def test_a_finished_run_gives_its_result_again(
    trained: TrainingResult, quick: TrainingOptions
) -> None:
    before = trained.checkpoint.stat().st_mtime_ns
    again = train(MODEL, "synthetic", options=quick, out=trained.run, resume=True)
    assert again == trained
    assert trained.checkpoint.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("model", "data", "change", "message"),
    [
        (MODEL, "synthetic", {"epochs": 3}, "4 epochs already, and --epochs asks for 3"),
        (MODEL, "synthetic", {"epochs": 9, "lr": 0.5}, "lr 0.004, not 0.5"),
        (MODEL, "synthetic", {"lr": 0.5}, "lr 0.004, not 0.5"),
        (MODEL, "synthetic", {"flip": False}, "flip true, not false"),
        ("mobilenetv2@0.5", "synthetic", {}, "model mobilenetv1@0.25, not mobilenetv2@0.5"),
        (MODEL, "digits", {}, "data synthetic, not digits"),
    ],
)
def test_resuming_something_else_names_the_first_difference(
    model: str,
    data: str,
    change: dict[str, object],
    message: str,
    trained: TrainingResult,
    quick: TrainingOptions,
) -> None:
    before = trained.checkpoint.read_bytes()
    options = dataclasses.replace(quick, **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        train(model, data, options=options, out=trained.run, resume=True)
    assert trained.checkpoint.read_bytes() == before


def test_nothing_to_resume_is_said(tmp_path: Path, quick: TrainingOptions) -> None:
    for out in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="no run to resume"):
            train(MODEL, "synthetic", options=quick, out=out, resume=True)
    assert not (tmp_path / "missing").exists()


def test_resume_and_overwrite_exclude_each_other(tmp_path: Path, quick: TrainingOptions) -> None:
    with pytest.raises(UsageError, match="exclude"):
        train(MODEL, "synthetic", options=quick, out=tmp_path, resume=True, overwrite=True)


@pytest.mark.parametrize("damage", ["cut", "foreign", "other tensors"])
def test_a_damaged_state_is_refused_and_kept(
    interrupted: Path, damage: str, quick: TrainingOptions
) -> None:
    state = interrupted / "state.pt"
    if damage == "cut":
        state.write_bytes(state.read_bytes()[:1000])
    elif damage == "foreign":
        torch.save({"weights": torch.zeros(2)}, state)
    else:
        content = torch.load(state, weights_only=True)
        del content["trainer"]["model"]["stem.conv.weight"]
        torch.save(content, state)
    before = state.read_bytes()
    with pytest.raises(CheckpointError, match=r"state\.pt"):
        train(MODEL, "synthetic", options=quick, out=interrupted, resume=True)
    assert state.read_bytes() == before


class _Until(Silent):
    def __init__(self, last: int) -> None:
        self.last, self.started = last, (-1, -1)

    def start(self, step: int, steps: int) -> None:
        self.started = (step, steps)

    def epoch(self, record: EpochRecord) -> None:
        if record.epoch == self.last:
            raise KeyboardInterrupt


def _copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def test_a_finished_run_is_trained_further(
    trained: TrainingResult, quick: TrainingOptions, tmp_path: Path
) -> None:
    before = (trained.run / "metrics.jsonl").read_text().splitlines()
    longer = dataclasses.replace(quick, epochs=6)
    seen = _Until(0)
    whole = train(
        MODEL, "synthetic", options=longer, out=_copied(trained.run, tmp_path / "whole"),
        resume=True, progress=seen,
    )  # fmt: skip
    lines = (whole.run / "metrics.jsonl").read_text().splitlines()
    assert (whole.epochs, len(lines), lines[:4]) == (6, 7, before[:4])
    assert [json.loads(line)["epoch"] for line in lines[:-1]] == [1, 2, 3, 4, 5, 6]
    assert whole.seconds > trained.seconds
    steps = seen.started[1] // 2
    assert seen.started == (0, 2 * steps)  # its own two epochs alone
    # The rate has risen again behind the end of the first schedule.
    rates = [json.loads(line)["lr"] for line in lines[:-1]]
    assert rates[4] > rates[3]
    assert train(MODEL, "synthetic", options=longer, out=whole.run, resume=True) == whole
    # One that is stopped on its way ends with the same bits.
    cut = _copied(trained.run, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        train(MODEL, "synthetic", options=longer, out=cut, resume=True, progress=_Until(5))
    _assert_same(train(MODEL, "synthetic", options=longer, out=cut, resume=True), whole)


def test_a_run_stopped_before_its_first_further_epoch_goes_on(
    trained: TrainingResult, quick: TrainingOptions, tmp_path: Path
) -> None:
    class AtOnce(Silent):
        def start(self, step: int, steps: int) -> None:
            raise KeyboardInterrupt

    run = _copied(trained.run, tmp_path / "run")
    longer = dataclasses.replace(quick, epochs=5)
    with pytest.raises(KeyboardInterrupt):
        train(MODEL, "synthetic", options=longer, out=run, resume=True, progress=AtOnce())
    assert edgekit.train(out=run, resume=True).epochs == 5


def test_what_a_run_was_started_with_is_not_asked_for(
    interrupted: Path, trained: TrainingResult
) -> None:
    _assert_same(edgekit.train(out=interrupted, resume=True), trained)


@pytest.mark.parametrize("change", [{"options": []}, {"model": 3}, {"options": {"epochs": "x"}}])
def test_a_changed_record_of_a_run_is_refused(interrupted: Path, change: dict[str, object]) -> None:
    path = interrupted / "options.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=r"options\.json was changed"):
        edgekit.train(out=interrupted, resume=True)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
