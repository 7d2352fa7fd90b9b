"""Before the long training the search's network has to beat scaled ones of the same cost."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import CommandLine
from small_searches import QUICK, steps

from edgekit.data import open_source
from edgekit.errors import GateError, ModelError
from edgekit.models import find_spec
from edgekit.search import contest
from edgekit.search.contest import HALFWAY, ITSELF, UNIFORM, _between
from edgekit.search.groups import resized, widths_of
from edgekit.search.inputs import SELECTION
from edgekit.search.jobs import Candidate
from edgekit.search.journal import Scored
from edgekit.search.records import Step
from edgekit.search.scaling import Scaled
from edgekit.search.workshop import CONTEST, FINISHING, Workshop

pytestmark = pytest.mark.usefixtures("inline")

WORDS = ("--budget", "macs=0.7x", *QUICK, "--finish-epochs", 2)


def trained_in_it(folder: Path) -> dict[str, tuple[Any, Any]]:
    """Top-1 and loss of the networks of a contest, by name."""
    with contextlib.closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        return {
            name: (top1, loss)
            for name, top1, loss in connection.execute(
                "SELECT channels, top1, loss FROM candidates WHERE round = ?", (CONTEST,)
            )
        }


def test_the_best_network_of_the_same_cost_goes_on(run: CommandLine, trained: Path) -> None:
    result = run("search", trained, *WORDS, "--baselines", "uniform", "-o", "s")
    assert result.code == 0, result.err
    found = trained_in_it(Path("s"))
    assert set(found) == {ITSELF, UNIFORM, HALFWAY}
    # All images tell here, not only those of --selection-images.
    count = open_source("digits").size(SELECTION)
    assert all(round(count * top1, 9).is_integer() for top1, _ in found.values())
    best = max(found, key=lambda name: (found[name][0], -found[name][1]))
    *_, held, last = (row for row in steps(Path("s")) if row["method"] == "netadapt")
    assert (held["kind"], held["changed"]) == ("contest", f"contest: {best}")
    assert last["kind"] == "finished"
    assert held["macs"] == last["macs"]
    start = steps(Path("s"))[0]
    assert float(held["macs"]) <= 0.7 * float(start["macs"])
    assert f" contest: {best} " in result.out
    assert f"contest: {best}" in Path("s/search.html").read_text(encoding="utf-8")
    with contextlib.closing(sqlite3.connect("s/journal.sqlite")) as connection:
        records = [json.loads(row) for (row,) in connection.execute("SELECT record FROM steps")]
    trainings = {
        one["series"]: one["trained_steps"] for one in records if one["kind"] == "finished"
    }
    assert trainings["uniform"] == trainings["netadapt"] > 0


def test_there_may_be_none(
    run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, rates = Workshop.candidates, set()

    def noted(shop: Workshop, iteration: Any, jobs: Any, widths: Any) -> list[Scored]:
        rates.update((iteration.round == FINISHING, job.rate) for job in jobs.values())
        return real(shop, iteration, jobs, widths)

    monkeypatch.setattr(Workshop, "candidates", noted)
    words = (*WORDS, "--no-contest", "--tune-rate", 0.002, "--finish-rate", 0.003)
    assert run("search", trained, *words, "-o", "s").code == 0
    assert rates == {(False, 0.002), (True, 0.003)}
    assert not trained_in_it(Path("s"))
    assert "contest" not in {row["kind"] for row in steps(Path("s"))}


def test_a_search_goes_on_with_its_contest(
    run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Workshop.measured

    def interrupted(shop: Workshop, iteration: Any, kind: str, *words: Any, **more: Any) -> Any:
        if kind == "contest":
            raise KeyboardInterrupt
        return real(shop, iteration, kind, *words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Workshop, "measured", interrupted)
        assert run("search", trained, *WORDS, "-o", "s").code == 130
    found = trained_in_it(Path("s"))
    assert set(found) == {ITSELF, UNIFORM, HALFWAY}
    assert run("search", trained, *WORDS, "-o", "s", "--resume").code == 0
    assert trained_in_it(Path("s")) == found
    assert run("search", trained, *WORDS, "-o", "whole").code == 0
    shared = ("kind", "changed", "top1", "macs")
    assert [[row[one] for one in shared] for row in steps(Path("s"))] == [
        [row[one] for one in shared] for row in steps(Path("whole"))
    ]


@pytest.mark.parametrize("kind", [pytest.param(GateError, marks=pytest.mark.slow), ModelError])
def test_without_rivals_there_is_none(
    kind: type[Exception], run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> Scaled:
        raise kind("no room for it")

    monkeypatch.setattr(contest, "largest_fitting", none)
    result = run("search", trained, *WORDS, "-o", "s")
    assert result.code == 0, result.err
    assert not trained_in_it(Path("s"))
    assert f"no network with {UNIFORM} is in the contest: no room for it" in result.err
    assert not list(Path("s").rglob("candidates"))


def test_a_rival_whose_training_fails_is_left_out(
    run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Candidate.do

    def failing(job: Candidate, bench: Any) -> Any:
        if job.name.endswith(UNIFORM):
            raise RuntimeError("not enough memory")
        return real(job, bench)

    monkeypatch.setattr(Candidate, "do", failing)
    result = run("search", trained, *WORDS, "-o", "s")
    assert result.code == 0, result.err
    assert f"contest, {UNIFORM} was given up: " in result.err
    assert "not enough memory" in result.err
    found = trained_in_it(Path("s"))
    assert found[UNIFORM] == (None, None)
    held = next(row for row in steps(Path("s")) if row["kind"] == "contest")
    assert held["changed"] in (f"contest: {ITSELF}", f"contest: {HALFWAY}")


@pytest.mark.parametrize("misses", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_winner_that_misses_the_budget_gives_way(
    misses: int, run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = Workshop.measured, misses

    def measured(shop: Workshop, iteration: Any, kind: str, *words: Any, **more: Any) -> Step:
        nonlocal left
        step = real(shop, iteration, kind, *words, **more)
        if kind != "contest" or not left:
            return step
        left -= 1
        return replace(step, costs={**step.costs, "macs": shop.start.costs["macs"]})

    monkeypatch.setattr(Workshop, "measured", measured)
    result = run("search", trained, *WORDS, "-o", "s")
    assert result.code == 0, result.err
    found = trained_in_it(Path("s"))
    order = sorted(found, key=lambda name: (-found[name][0], found[name][1]))
    rows = [row for row in steps(Path("s")) if row["method"] == "netadapt"]
    held = [row["changed"] for row in rows if row["kind"] == "contest"]
    assert held == [f"contest: {name}" for name in order[: misses + 1]]
    assert rows[-1]["kind"] == "finished"
    goes_on = rows[-2] if misses < len(order) else rows[-2 - len(order)]
    assert rows[-1]["macs"] == goes_on["macs"]
    assert not list(Path("s").rglob("candidates"))


def test_the_best_network_in_the_budget_is_the_result(
    run: CommandLine, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Workshop.measured

    def measured(shop: Workshop, iteration: Any, kind: str, *words: Any, **more: Any) -> Step:
        step = real(shop, iteration, kind, *words, **more)
        return replace(step, figure=0.0) if kind == "finished" else step

    monkeypatch.setattr(Workshop, "measured", measured)
    result = run("search", trained, *WORDS, "-o", "s", "--json")
    assert result.code == 0, result.err
    found, last = result.json, result.json["final"]
    within = [one for one in found["steps"] if one["macs"] <= 0.7 * found["baseline"]["macs"]]
    assert last["top1"] == max(one["top1"] for one in within) > 0
    assert last["kind"] != "finished"
    assert found["choice"]["kind"] == last["kind"]
    assert f"step {last['step']} is the result, as it is better: " in result.err
    assert found["test_top1"]["after"] == last["test_top1"]
    described = run("describe", "s/model.pt", "--json").json
    assert described["macs"] == last["macs"]


def test_halfway_are_the_geometric_means_of_widths() -> None:
    spec = find_spec("mobilenetv1", classes=10, resolution=32)
    free = {"block3.out": 256, "block4.out": 256, "block5.out": 512}
    shop: Any = SimpleNamespace(free=free, task=SimpleNamespace(spec=spec))
    uniform = {name: n // 2 for name, n in free.items()}
    plan = Scaled(resized(spec, uniform), uniform, None)
    own = {**widths_of(spec), "block4.out": 32, "block5.out": 256}
    found = _between(shop, own, plan)
    assert found.sizes == {"block3.out": 184, "block4.out": 64, "block5.out": 256}
    assert {name: widths_of(found.spec)[name] for name in free} == found.sizes
