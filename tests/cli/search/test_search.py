"""``edgekit search``: what it gives, its methods and baselines."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command_line import CommandLine
from small_searches import QUICK, steps

from edgekit.core import to_json
from edgekit.data import open_source
from edgekit.data.digits import DigitsSource as Digits
from edgekit.data.preprocess import for_source
from edgekit.errors import GateError
from edgekit.models import build, find_spec
from edgekit.models.weights import Checkpoint, load_state, save_checkpoint
from edgekit.report.search_document import read_search
from edgekit.search import baselines, netadapt, proposals, workshop
from edgekit.search.document import SCHEMA
from edgekit.search.journal import Iteration
from edgekit.search.proposals import CHOICE, SMALLEST_CHANGE, TOGETHER
from edgekit.search.records import SearchOptions

pytestmark = pytest.mark.usefixtures("inline")


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


def test_a_document_is_read_as_it_was_written(searched: Path) -> None:
    written = json.loads((searched / "search.json").read_text(encoding="utf-8"))
    found = to_json(read_search(written))
    assert {"schema": SCHEMA, **found} == written


def test_steps_choose_among_several_groups(searched: Path) -> None:
    with contextlib.closing(sqlite3.connect(searched / "journal.sqlite")) as connection:
        rows = connection.execute("SELECT record FROM events WHERE kind = 'proposals'").fetchall()
    steps = [json.loads(record) for (record,) in rows]
    assert steps
    for one in steps:
        alone = [name for name, sizes in one["sizes"].items() if list(sizes) == [name]]
        assert len(one["sizes"]) >= CHOICE or one["share"] < 2 * SMALLEST_CHANGE
        more = set(one["sizes"]) - set(alone)
        assert all(name.startswith("maps of ") for name in more - {TOGETHER})
        assert all(len(one["sizes"][name]) > 1 for name in more)
    assert any(len(sizes) > 1 for one in steps for sizes in one["sizes"].values())
    assert min(one["share"] for one in steps) <= 0.2


def test_all_groups_can_become_narrower_in_one_step(
    run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "ladders", lambda *_: {})  # no group by itself,
    monkeypatch.setattr(proposals, "stages", lambda *_: {})  # and no stage
    words = ("--budget", "macs=0.7x", *QUICK, "-o", "s")
    result = run("search", trained, *words)
    assert result.code == 0, result.err
    assert f" {TOGETHER} " in result.out
    assert re.search(r"^step 0: start, top-1 [\d.]+ %, [\d.]+ M MACs$", result.err, re.MULTILINE)
    assert f"step 1: {TOGETHER}, top-1 " in result.err
    found = json.loads(Path("s/search.json").read_text())
    assert found["final"]["macs"] <= 0.7 * found["baseline"]["macs"]
    changed = [step for step in found["steps"] if step["changed"]]
    assert {(step["changed"], step["width"]) for step in changed} == {(TOGETHER, None)}
    narrower = [one["name"] for one in found["groups"] if one["after"] < one["before"]]
    assert len(narrower) > len(found["groups"]) / 2
    assert TOGETHER in Path("s/search.html").read_text(encoding="utf-8")


def test_the_last_training_has_a_rate_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    shop: Any = SimpleNamespace(
        options=SearchOptions(tune_rate=0.1, finish_rate=0.2, finish_epochs=3),
        first=b"",
        network=lambda step: b"",
        notify=lambda text: None,
        finished=lambda iteration, job, steps: job,
    )
    last: Any = SimpleNamespace(checkpoint="net.pt", trained_steps=0)
    plan = SimpleNamespace(sizes={}, outline=None)
    monkeypatch.setattr(baselines, "plans_of", lambda *_: [])
    monkeypatch.setattr(baselines, "largest_fitting", lambda *_: plan)
    jobs: list[Any] = [
        netadapt.finished(shop, last, 1),
        baselines._network(shop, Iteration("uniform", 0), 0, 1),
        baselines._network(shop, Iteration("uniform", 0), 0, 2),
    ]
    assert [(job.rate, job.epochs) for job in jobs] == [(0.2, 3), (0.2, 3), (0.2, 6)]


def test_groups_that_are_left_alone_are_named(run: CommandLine, tmp_path: Path) -> None:
    spec = find_spec("shufflenetv2@0.5", classes=10, resolution=32)
    digits = open_source("digits")
    preprocessing, labels = for_source(digits, 32), tuple(digits.classes)
    torch.manual_seed(0)
    state = build(spec).state_dict()
    save_checkpoint(
        tmp_path / "net.pt", Checkpoint(spec.name, spec, state, labels, preprocessing, "digits")
    )
    words = ("--budget", "macs=0.9x", "--method", "uniform", *QUICK, "-o", "s")
    result = run("search", "net.pt", *words)
    assert result.code == 0
    assert "stage2.half was left alone: " in result.err
    assert "stage2.half" in json.loads(Path("s/search.json").read_text())["frozen"]


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


def test_images_that_changed_are_named(
    run: CommandLine, searched: Path, trained: Path, tmp_path: Path, relabel: Relabel
) -> None:
    shutil.copytree(searched, tmp_path / "s")
    relabel("validation")
    result = run("search", trained, "--budget", "macs=0.85x", *QUICK, "-o", "s", "--resume")
    assert result.code == 2
    assert "s/journal.sqlite is of another search: its images is 1" in result.message


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


def test_a_plain_state_dict_takes_classes_and_preprocessing_from_the_images(
    run: CommandLine, tmp_path: Path
) -> None:
    name, data = "mobilenetv1@0.25", ("--resolution", "32", "--data", "digits")
    longer = ("--epochs", 4, "--batch-size", 32, "--lr", 0.005, "--no-crop")
    assert run("train", name, *data, *longer, "-o", "run").code == 0
    torch.save(load_state(tmp_path / "run"), tmp_path / "plain.pt")
    words = (name, "--weights", "plain.pt", *data)
    more = ("--budget", "macs=0.9x", "--method", "uniform", *QUICK, "-o", "s", "--json")
    found = run("search", *words, *more).json
    of_run = run("evaluate", "run", "--data", "digits", "--json").json["top1"]
    assert of_run > 0.15
    assert found["test_top1"]["before"] == pytest.approx(of_run, abs=0.01)
    result = run("search", *words[:-1], "synthetic", *more[:-3], "-o", "t")
    assert result.code == 3
    assert f"'{name}' has 10 outputs, and 'synthetic' has" in result.message
