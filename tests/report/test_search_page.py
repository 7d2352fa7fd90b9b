"""The page of a search: complete, safe with any document, drawn for small ones as well."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from report_records import HOSTILE, network, search_document
from test_page import Page, assert_loads_nothing

from edgekit.errors import InputError
from edgekit.report.search import plot, render

Document = dict[str, Any]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render(search_document(20)))


def descriptions(page: Page) -> dict[str, str]:
    """What plots say in words, by their titles."""
    return dict(zip(page.of("title")[1:], page.of("desc"), strict=True))


def test_every_section_is_there_and_linked(page: Page) -> None:
    sections = [v for tag, name, v in page.attributes if (tag, name) == ("section", "id")]
    assert sections == [
        "result", "comparison", "steps", "widths", "time", "failures", "conditions",
    ]  # fmt: skip
    links = [v for tag, name, v in page.attributes if (tag, name) == ("a", "href")]
    assert links == [f"#{section}" for section in sections]
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_the_verdict_comes_first(page: Page) -> None:
    assert (
        "0.570 of the start's latency (95 % interval 0.561 to 0.577); test top-1 97.77 % before, "
        "98.51 % after." in page.text
    )
    assert "keeps the budget" in page.of("span")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": "latency=0.575x"}, "over the budget"),  # the upper end counts
        ({"budget": "latency=0.578x"}, "keeps the budget"),
        ({"budget": "latency=0.4x", "finished": False}, "not there yet"),
        ({"budget": "sound=0.5x"}, "budget not checked"),
        ({"budget": "latency=0.6x,size=1MB"}, "over the budget"),
        ({"budget": "latency=0.6x,size=4MB"}, "keeps the budget"),
    ],
)
def test_the_budget_is_checked(changes: Document, said: str) -> None:
    assert said in Page(render(search_document(**changes))).of("span")


def test_networks_of_all_methods_are_told(page: Page) -> None:
    told = descriptions(page)["Top-1 on the selection images against latency"]
    own, uniform, drawn, start, result, budget = told.split(". ")
    assert own.startswith("NetAdapt: 0.441 ms, 99.26 %; ")
    assert [text.count(";") + 1 for text in (own, uniform, drawn)] == [22, 5, 6]
    assert uniform.startswith("uniform widths: 0.388 ms, 97.90 %")
    assert (start, result) == ("start: 0.441 ms, 99.26 %", "result: 0.251 ms, 98.88 %")
    assert budget == "budget: 0.265 ms"
    for label in ("NetAdapt", "uniform widths", "random widths", "start", "budget, 0.265 ms"):
        assert label in page.of("text")


def test_what_each_method_reaches_within_the_budget(page: Page) -> None:
    cells = page.of("td")
    own = cells.index("NetAdapt")
    assert cells[own : own + 2] == ["NetAdapt", "0.251"]
    row = cells.index("uniform widths")
    assert cells[row : row + 5] == ["uniform widths", "0.229", "0.520", "94.60 %", "94.05 %"]
    remarks = page.of("small")
    assert "22 networks; the best: network 21" in remarks  # the result, not the best
    assert "5 networks; the best: network 4" in remarks


def test_predictions_stand_beside_measurements(page: Page) -> None:
    told = descriptions(page)["Predicted and measured latency"]
    assert told.startswith("step 1: predicted 0.414, measured 0.432 ms; step 2: ")
    assert any("off by 3.1 % on average" in text for text in page.of("figcaption"))


def test_every_step_is_in_the_table(page: Page) -> None:
    cells = page.of("td")
    for shown in ("start ", "hidden to 56", "trained to the end ", "99.26 %", "0.432", "0.979"):
        assert shown in cells, shown
    assert "0.964 to 0.990" in page.of("small")
    assert page.of("span").count("Pareto front") == 2


def test_widths_are_in_the_order_of_the_network_on_one_scale() -> None:
    document = search_document(20)
    groups = document["groups"]
    page = Page(render(document))
    told = [text for title, text in descriptions(page).items() if title.startswith("Channels")]
    assert len(told) == 2
    lines = "; ".join(told).split("; ")
    assert [line.partition(":")[0] for line in lines] == [group["name"] for group in groups]
    assert lines[:2] == ["stem: 16", "stage0.out: 32 → 24 (75 %)"]


def test_time_candidates_and_conditions_are_told(page: Page) -> None:
    told = descriptions(page)["Time spent: 8 min 15 s"]
    assert told.startswith("training: 5 min 00 s; scoring: 40.0 s; ")
    assert "120 candidates scored, 700.0 an hour; 55 of them trained." in page.of("figcaption")
    cells = page.of("td")
    for shown in ("60.6 %", "no place for it", "onnx, fp32", "netadapt, rule ratio", "stage1.out"):
        assert shown in cells, shown
    assert "mobilenetv3-small (runs/digits)" in cells


def test_options_and_the_command_are_shown_where_they_are_known() -> None:
    options = {"tune_steps": 10, "distill": True}
    page = Page(render(search_document(options=options, command="edgekit search runs/digits")))
    cells = page.of("td")
    assert cells[cells.index("tune steps") + 1] == "10"
    assert cells[cells.index("distill") + 1] == "yes"
    assert page.of("code") == ["edgekit search runs/digits"]


def counted(document: Document) -> Document:
    """A search without any latency, as with a budget of operations."""
    without = {"latency_ms": None, "latency_ratio": None, "ci95": [], "predicted": None}
    for networks in (document["steps"], *(one["steps"] for one in document["series"])):
        for one in networks:
            one.update(without)
    return document


def test_without_latency_other_costs_are_drawn() -> None:
    document = counted(search_document(budget="macs=0.6x"))
    page = Page(render(document))
    assert "0.570 of the start's operations; " in page.text
    assert "operations in M MACs (left is better)" in page.of("text")
    assert "budget, 1.302 M MACs" in page.of("text")
    assert "latency ms" not in page.of("th")
    assert "size in MB (left is better)" in Page(render({**document, "budget": "size=0.6x"})).text


def test_energy_is_shown_where_it_was_measured() -> None:
    document = counted(search_document(budget="energy=0.6x"))
    for one in document["steps"]:
        one["energy_mj"] = 5.0 * one["macs"] / 2.17e6
    page = Page(render(document))
    assert "energy mJ" in page.of("th")
    assert "2.850" in page.of("td")


def small_documents() -> list[Document]:
    start = network(0)
    own = {"method": "netadapt", "steps": [start], "test_top1": None}
    nothing: Document = {
        "finished": False,
        "baseline": start,
        "final": start,
        "steps": [start],
        "pareto": [],
        "series": [own],
        "test_top1": None,
        "groups": [],
        "frozen": {},
        "seconds": {},
        "candidates": {"scored": 0, "trained": 0, "per_hour": None, "failed": []},
        "prediction_error": None,
        "model": None,
    }
    one = network(1, 0.8, changed="hidden", width=64, predicted=0.35)
    all_groups = network(1, 0.8, changed="every group", width=None)
    failed = {"step": 2, "channels": "every group", "width": None, "error": "killed"}
    more: Document = {**nothing, "final": one, "steps": [start, one]}
    return [
        search_document(**nothing),
        search_document(**nothing, **{"rule": None, "method": "$x_$"}),
        search_document(**{**nothing, "steps": [], "series": []}),
        search_document(**{**nothing, "series": [{**own, "steps": []}]}),
        search_document(**{**nothing, "groups": [{"name": "a", "before": 8, "after": 8}]}),
        search_document(**{**nothing, "seconds": {"training": 0.0}}),
        search_document(**more, **{"budget": ""}),
        search_document(**{**more, "final": all_groups, "steps": [start, all_groups]}),
        search_document(**{**more, "candidates": {**nothing["candidates"], "failed": [failed]}}),
        search_document(**{**more, "series": [{**own, "steps": [start, one]}]}),
        search_document(**{**more, "baseline": network(0, macs=0.0, params=0)}),
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("document", small_documents())
def test_little_can_be_drawn(document: Document) -> None:
    html = render(document)
    assert_loads_nothing(html)
    assert "This search has not finished" in html
    assert not re.search(r"\b(nan|inf|None)\b", Page(html).text)
    ElementTree.fromstring(plot(document))


def test_the_page_loads_nothing_and_repeats() -> None:
    html = render(search_document())
    assert_loads_nothing(html)
    assert render(search_document()) == html
    sheet = Page(html).of("style")[0]
    for variable in set(re.findall(r"var\(--([\w-]+)\)", html)):
        assert f"--{variable}:" in sheet


def test_hostile_texts_stay_text() -> None:
    def spoilt(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoilt(one) for key, one in value.items()}
        if isinstance(value, list):
            return [spoilt(one) for one in value]
        return HOSTILE if isinstance(value, str) else value

    document = {**spoilt(search_document()), "schema": "edgekit.search/1"}
    document["frozen"] = document["seconds"] = {}
    for key, value in (("frozen", HOSTILE), ("seconds", 5.0), ("options", HOSTILE)):
        document[key] = {HOSTILE: value}
    html = render(document)
    assert_loads_nothing(html)
    assert html.encode("utf-8")
    assert "<script" not in html
    assert "<img" not in html
    assert "\u202e" not in html
    Page(html)


def test_the_plot_is_a_file_of_its_own() -> None:
    document = search_document()
    document["series"][1]["method"] = "var(--none) <b>"
    drawn = plot(document)
    root = ElementTree.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert plot(document) == drawn
    attributes = [value for element in root.iter() for value in element.attrib.values()]
    assert not any("var(" in value for value in attributes)
    assert "#ffffff" in attributes
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "var(--none) <b>" in texts


def changed(path: str, value: Any) -> Callable[[Document], None]:
    """Puts a value at a place; `...` takes the key away."""

    def change(document: Document) -> None:
        *parents, last = re.findall(r"\w+", path)
        place: Any = document
        for key in parents:
            place = place[int(key) if key.isdigit() else key]
        if value is ...:
            del place[last]
        else:
            place[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("schema", "edgekit.search/2", "no document of a search"),
        ("network", ..., "'network' is missing"),
        ("steps", {}, "steps"),
        ("steps", None, "steps"),
        ("baseline", [], "baseline"),
        ("finished", 1, "finished"),
        ("steps[1].top1", "0.9", r"steps\[1\]\.top1"),
        ("steps[1].top1", ..., r"steps\[1\]: key 'top1' is missing"),
        ("steps[1].top1", float("nan"), r"steps\[1\]\.top1: expected a number from 0 to 1"),
        ("steps[1].top1", [[[0.5]]], r"steps\[1\]\.top1"),
        ("steps[1].latency_ms", 0, r"steps\[1\]\.latency_ms"),
        ("steps[1].latency_ms", float("inf"), r"steps\[1\]\.latency_ms"),
        ("steps[1].macs", 10**400, "damaged"),
        ("steps[1].macs", -1, r"steps\[1\]\.macs"),
        ("steps[1].ci95", [0.5], r"steps\[1\]\.ci95"),
        ("steps[1].ci95", [0.6, 0.5], r"steps\[1\]\.ci95"),
        ("steps[1].ci95", [0.6, float("nan")], r"steps\[1\]\.ci95"),
        ("steps[1].step", True, r"steps\[1\]\.step"),
        ("series[1].method", None, r"series\[1\]\.method"),
        ("series[2].test_top1", 98, r"series\[2\]\.test_top1"),
        ("test_top1.after", 1.5, r"test_top1\.after"),
        ("groups[0].before", 0, r"groups\[0\]\.before"),
        ("frozen", ["stem"], "frozen"),
        ("seconds.training", -1.0, r"seconds\.training"),
        ("candidates.failed[0].error", 5, r"candidates\.failed\[0\]\.error"),
        ("prediction_error", float("inf"), "prediction_error"),
        ("options", {"a": []}, r"options\.a"),
    ],
    ids=str,
)
def test_a_damaged_document_is_refused_by_its_key(path: str, value: Any, named: str) -> None:
    document = copy.deepcopy(search_document())
    changed(path, value)(document)
    for drawing in (render, plot):
        with pytest.raises(InputError, match=rf"^s\.json is .*{named}"):
            drawing(document, "s.json")


@pytest.mark.parametrize("document", [None, [], "x", {}, {"schema": ["edgekit.search/1"]}], ids=str)
def test_what_is_no_document_is_refused(document: Any) -> None:
    with pytest.raises(InputError, match=r"expected schema edgekit\.search/1"):
        render(document)


def test_keys_of_later_versions_are_left_aside() -> None:
    document = search_document(energy_meter="rapl")
    document["steps"][0] = {**document["steps"][0], "operators": []}
    assert render(document) == render(search_document())
