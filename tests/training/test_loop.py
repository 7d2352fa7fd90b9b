from __future__ import annotations

import dataclasses
import io
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgekit.core import from_json
from edgekit.data import open_source
from edgekit.data.preprocess import prepare
from edgekit.errors import CheckpointError, DataError, ModelError, OutputError, UsageError
from edgekit.models.source import open_model
from edgekit.models.weights import load_checkpoint
from edgekit.training import EpochRecord, TrainingOptions, TrainingResult, train
from edgekit.training.progress import Silent
from edgekit.training.run_folder import epoch_of

MODEL = "mobilenetv1@0.25"  # as in conftest.py


def _lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_and_evaluation_follows_training(learned: TrainingResult) -> None:
    *epochs, test = _lines(learned.run)
    assert learned.top1 >= 0.8
    assert epochs[-1]["train_top1"] >= 0.8
    assert epochs[-1]["validation_top1"] >= epochs[-1]["train_top1"] - 0.1
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    assert test["top1"] == learned.top1


def test_the_checkpoint_alone_gives_the_reported_accuracy(learned: TrainingResult) -> None:
    model = open_model(str(learned.run))
    source = open_source("digits")
    assert model.preprocessing is not None
    images = [prepare(source.image("test", i), model.preprocessing) for i in range(learned.n)]
    with torch.no_grad():
        found = model.module(torch.from_numpy(np.stack(images))).argmax(1)
    expected = torch.tensor([source.label("test", i) for i in range(learned.n)])
    assert float((found == expected).double().mean()) == learned.top1


def test_the_run_folder_holds_a_complete_run(
    trained: TrainingResult, quick: TrainingOptions
) -> None:
    assert _names(trained.run) == {
        "model.pt",
        "metrics.jsonl",
        "curves.png",
        "confusions.png",
        "options.json",
    }
    checkpoint = load_checkpoint(trained.checkpoint)
    assert checkpoint.model == trained.model == MODEL
    assert checkpoint.labels == open_source("synthetic").classes
    assert checkpoint.data == "synthetic"
    assert checkpoint.spec.resolution == checkpoint.preprocessing.crop == 32
    assert checkpoint.results == {
        "top1": trained.top1,
        "epochs": quick.epochs,
        "seconds": trained.seconds,
    }
    recorded = json.loads((trained.run / "options.json").read_text())["options"]
    resolved = from_json(TrainingOptions, recorded)
    assert (resolved.flip, resolved.epochs) == (True, quick.epochs)


def test_metrics_have_a_line_per_epoch_and_the_test_figures(trained: TrainingResult) -> None:
    *lines, test = _lines(trained.run)
    records = [epoch_of(line, "top1") for line in lines]
    assert [record.epoch for record in records] == [1, 2, 3, 4]
    assert all(0 <= (r.train_figure or 0) <= 1 for r in records)
    assert all(0 <= r.validation_figure <= 1 for r in records)
    assert all(r.images_per_s > 0 and r.seconds > 0 and r.lr > 0 for r in records)
    assert {**test, "split": "test", "n": 16, "epochs": 4} == test
    assert test["seconds"] >= sum(r.seconds for r in records)


def test_top5_is_reported_of_more_than_five_classes(
    trained: TrainingResult, learned: TrainingResult
) -> None:
    assert len(load_checkpoint(trained.checkpoint).labels) == 4
    assert (trained.top5, _lines(trained.run)[-1]["top5"]) == (None, None)
    assert learned.top5 is not None
    assert learned.top1 < learned.top5 <= 1
    assert _lines(learned.run)[-1]["top5"] == learned.top5
    assert load_checkpoint(learned.checkpoint).results["top5"] == learned.top5


def test_curves_are_a_picture_of_both_panels(trained: TrainingResult) -> None:
    picture = Image.open(io.BytesIO((trained.run / "curves.png").read_bytes())).convert("RGB")
    assert picture.size == (1500, 630)
    for half in np.split(np.asarray(picture), 2, axis=1):
        colours = {tuple(colour) for colour in half.reshape(-1, 3)}
        assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    trained: TrainingResult, tmp_path: Path, quick: TrainingOptions
) -> None:
    torch.manual_seed(99)  # the caller's random state must not matter, nor be changed
    before = torch.get_rng_state()
    again = train(MODEL, "synthetic", options=quick, out=tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), before)
    options = dataclasses.replace(quick, seed=1)
    other = train(MODEL, "synthetic", options=options, out=tmp_path / "other")
    first, second, third = (load_checkpoint(r.checkpoint).state for r in (trained, again, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], third[name]) for name in first)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd"},
        {"optimizer": "rmsprop", "schedule": "step"},
        {"ema": False},
        {"amp": "bf16"},
        {"accumulate": 2},
        {"randaugment": (1, 3)},
        {"mixup": 0.1, "cutmix": 0.1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_options_train_too(
    options: dict[str, object], tmp_path: Path, quick: TrainingOptions
) -> None:
    # Long enough for what each option makes harder or slower: with other seeds and on other
    # processors, the last loss is 0.1 to 0.75 of the first.
    chosen = {"epochs": 16, "crop": False, "warmup_epochs": 1.0, **options}
    if "optimizer" not in options:
        chosen["lr"] = 5e-3
    changed = dataclasses.replace(quick, **chosen)  # type: ignore[arg-type]
    train(MODEL, "synthetic", options=changed, out=tmp_path / "run")
    first, *_, last, _ = _lines(tmp_path / "run")
    assert last["train_loss"] < 0.9 * first["train_loss"]


class _Recorder(Silent):
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def loading(self, done: int, total: int) -> None:
        self.calls.append(("loading", done, total))

    def start(self, step: int, steps: int) -> None:
        self.calls.append(("start", step, steps))

    def step(self, step: int, loss: float) -> None:
        self.calls.append(("step", step))

    def epoch(self, record: EpochRecord) -> None:
        self.calls.append(("epoch", record.epoch))


def test_progress_is_told_in_order_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quick: TrainingOptions
) -> None:
    recorder = _Recorder()
    options = dataclasses.replace(quick, epochs=2)
    train(MODEL, "synthetic", options=options, out=tmp_path / "run", progress=recorder)
    assert recorder.calls == [
        ("loading", 64, 96),
        ("loading", 80, 96),
        ("loading", 96, 96),
        ("start", 0, 8),
        ("step", 1),
        ("step", 4),
        ("epoch", 1),
        ("step", 5),
        ("step", 8),
        ("epoch", 2),
    ]
    assert capfd.readouterr() == ("", "")


def test_init_starts_from_given_weights_and_names_what_does_not_fit(
    learned: TrainingResult, tmp_path: Path, quick: TrainingOptions
) -> None:
    options = dataclasses.replace(quick, epochs=1, lr=1e-5, init=str(learned.run))
    result = train(MODEL, "digits", options=options, out=tmp_path / "tuned")
    assert result.top1 >= learned.top1 - 0.02
    with pytest.raises(CheckpointError, match=r"tensor 'stem\.conv\.weight' is \(8, 3, 3, 3\)"):
        train("mobilenetv1@0.5", "digits", options=options, out=tmp_path / "wider")
    assert not (tmp_path / "wider").exists()


class _Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_init_from_other_classes_gives_all_layers_but_the_last(
    learned: TrainingResult, tmp_path: Path, quick: TrainingOptions
) -> None:
    options = dataclasses.replace(quick, epochs=1, lr=1e-9, ema=False, init=str(learned.run))
    progress = _Notes()
    result = train(MODEL, "synthetic", options=options, out=tmp_path / "run", progress=progress)
    assert len(progress.notes) == 1
    assert str(learned.run) in progress.notes[0]
    before, after = (load_checkpoint(r.checkpoint).state for r in (learned, result))
    assert after["classifier.scores.weight"].shape == (4, 256)
    assert float(after["classifier.scores.weight"].std()) == pytest.approx(0.01, rel=0.1)
    for name, tensor in before.items():
        trained = tensor.ndim > 0 and "running" not in name  # neither counters nor statistics
        if trained and not name.startswith("classifier.scores."):
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-4)
    again = _Notes()
    train(MODEL, "digits", options=options, out=tmp_path / "same", progress=again)
    assert again.notes == []


@pytest.mark.parametrize("change", [{"drop_path": 0.3}, {"dropout": 0.5}])
def test_regularization_takes_the_place_of_the_published_one(
    change: dict[str, float], tmp_path: Path, quick: TrainingOptions
) -> None:
    states = []
    for name, options in (("published", {}), ("changed", change)):
        options = dataclasses.replace(quick, epochs=1, **options)
        result = train("mobilenetv2@0.25", "synthetic", options=options, out=tmp_path / name)
        checkpoint = load_checkpoint(result.checkpoint)
        states.append(checkpoint.state)
    assert {key: getattr(checkpoint.spec, key) for key in change} == change
    assert not all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_stochastic_depth_of_a_network_without_residuals_is_refused(
    tmp_path: Path, quick: TrainingOptions
) -> None:
    options = dataclasses.replace(quick, drop_path=0.1)
    with pytest.raises(UsageError, match=r"--drop-path 0\.1"):
        train(MODEL, "synthetic", options=options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_diverging_run_says_so_and_can_simply_be_started_again(
    tmp_path: Path, quick: TrainingOptions
) -> None:
    out = tmp_path / "run"
    bad = dataclasses.replace(quick, optimizer="sgd", lr=1e30, epochs=1)
    with pytest.raises(ModelError, match="lower --lr"):
        train(MODEL, "synthetic", options=bad, out=out)
    assert _names(out) == {"options.json"}
    train(MODEL, "synthetic", options=dataclasses.replace(quick, epochs=1), out=out)
    assert "model.pt" in _names(out)


@pytest.mark.parametrize("words", ["runs/a/model.pt", "./run", "program.pt2"])
def test_files_are_no_networks_to_train(words: str, tmp_path: Path, quick: TrainingOptions) -> None:
    with pytest.raises(UsageError, match="--init"):
        train(words, "synthetic", options=quick, out=tmp_path / "run")


def test_data_without_validation_are_refused_and_without_test_are_reported_as_such(
    tmp_path: Path, quick: TrainingOptions
) -> None:
    data = tmp_path / "data"
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("a", "b"):
            (data / split / kind).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(data / split / kind / f"{i}.png")
    options = dataclasses.replace(quick, epochs=1)
    result = train(MODEL, str(data), options=options, out=tmp_path / "run")
    assert (result.split, result.n) == ("validation", 4)
    for folder in (data / "train", data / "val"):
        for path in folder.glob("*/[1-9].png"):
            path.unlink()
    with pytest.raises(DataError, match="'validation'"):
        train(MODEL, str(data / "val"), options=options, out=tmp_path / "other")


def test_a_used_folder_is_kept_unless_overwrite_is_given(
    trained: TrainingResult, tmp_path: Path, quick: TrainingOptions
) -> None:
    before = trained.checkpoint.read_bytes()
    with pytest.raises(OutputError, match=r"--resume.*--overwrite"):
        train(MODEL, "synthetic", options=quick, out=trained.run)
    assert trained.checkpoint.read_bytes() == before
    (tmp_path / "options.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=r"options\.json"):
        train(MODEL, "synthetic", options=quick, out=tmp_path)
    assert (tmp_path / "options.json").read_text() == '{"mine": 1}'
    options = dataclasses.replace(quick, epochs=1)
    assert train(MODEL, "synthetic", options=options, out=tmp_path, overwrite=True).epochs == 1


def test_a_file_or_an_impossible_place_is_no_folder_for_a_run(
    tmp_path: Path, quick: TrainingOptions
) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    for out in (file, file / "run", Path("/proc/edgekit/run")):
        with pytest.raises(OutputError, match=str(out)):
            train(MODEL, "synthetic", options=quick, out=out)
    assert file.read_text() == "kept"


def test_a_full_disk_is_an_output_error_and_leaves_no_half_file(
    tmp_path: Path, quick: TrainingOptions
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*state\.pt: File too large"):
            train(MODEL, "synthetic", options=quick, out=tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _names(tmp_path / "run") == {"options.json"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mobilenetv3_small_reads_digits(seed: int, tmp_path: Path) -> None:
    options = TrainingOptions(seed=seed, resolution=32)
    assert train("mobilenetv3-small", "digits", options=options, out=tmp_path / "run").top1 >= 0.97


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
