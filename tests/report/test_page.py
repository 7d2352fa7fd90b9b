"""The page: complete, self-contained, safe with hostile names, honest about estimates."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_records import HOSTILE, measurement

from edgekit.core import Energy, OperatorTime
from edgekit.errors import InputError
from edgekit.report.entries import names
from edgekit.report.inputs import Accuracy, Material, accuracy_of
from edgekit.report.page import render
from edgekit.tasks.details import Confusion, OfClass

VOID = {"meta", "br"}
MEASURED = Energy("measured", "rapl", "package", "package-0", 3.5, 5.0, 900.0, (3.1, 3.9), 6)
ESTIMATED = Energy(
    "estimated", mj_per_inference=7.25, model="a model of MACs", coefficients={"pj_per_mac": 4.6}
)


class Page(HTMLParser):
    """Elements, attributes and text of a page, which has to be well-formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def of(self, tag: str) -> list[str]:
        return [text for element, text in self.texts if element == tag]

    @property
    def text(self) -> str:
        return "\n".join(text for element, text in self.texts if element != "style")


def operators(count: int) -> tuple[OperatorTime, ...]:
    kinds = ("Conv", "Gemm", "Mul")
    return tuple(OperatorTime(f"layers.{i}/op", kinds[i % 3], 0.01 * (i + 1)) for i in range(count))


def full() -> Material:
    """Four measurements in two sessions, with everything that a report can show."""
    later = {"started": "2026-01-31T15:00:00+00:00", "command": "edgekit profile b.tflite"}
    tflite = {"target": "tflite", "runtime": "LiteRT 2.3.0", "sha256": "cd" * 32}
    return Material(
        (
            measurement(1.0, energy=MEASURED, operators=operators(25)),
            measurement(2.0, threads=2, energy=ESTIMATED, stable=False, reasons=("a loud fan",)),
            measurement(1.5, artifact="b.tflite", **tflite, **later),
            measurement(3.0, artifact="mobilenetv3-small", sha256=None, size_bytes=None, **later),
        ),
        (
            Accuracy("exported/small.onnx", "onnx", "digits, test", 0.75, 400),
            Accuracy("b.tflite", "tflite", "digits, test", 0.5, 400),
            Accuracy("elsewhere.onnx", "onnx", "digits, test", 0.25, 400),
        ),
        ("something was left out",),
    )


@pytest.fixture(scope="module")
def html() -> str:
    return render(full())


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_section_is_there_and_linked(page: Page) -> None:
    sections = [v for tag, name, v in page.attributes if (tag, name) == ("section", "id")]
    assert sections == [
        "results",
        "speed",
        "latency",
        "accuracy",
        "operators",
        "memory",
        "energy",
        "conditions",
    ]
    links = [v for tag, name, v in page.attributes if (tag, name) == ("a", "href")]
    assert links == [f"#{section}" for section in sections]


def test_the_headline_table_has_the_numbers(page: Page) -> None:
    cells = page.of("td")
    for shown in ("1.030", "1.060", "970.9", "20.25", "3.00", "3.500 mJ", "75.00 %"):
        assert shown in cells, shown
    assert page.of("span").count("stable") == 3
    assert page.of("span").count("unstable") == 1
    assert "a loud fan" in cells
    assert "something was left out" in page.text


def test_who_is_faster_is_told_within_a_session_only(page: Page) -> None:
    cells = page.of("td")
    assert "slower than 1" in cells
    assert "slower than 3" in cells
    assert "2.000" in cells
    assert cells.count("lowest median of its session") == 2


def test_the_command_and_the_conditions_are_shown(page: Page) -> None:
    assert page.of("code") == ["edgekit profile exported/small.onnx", "edgekit profile b.tflite"]
    cells = page.of("td")
    for shown in ("A Processor", "onnxruntime 1.31.1", "ab" * 32, "threads", "LiteRT 2.3.0"):
        assert shown in cells, shown


def test_the_same_conditions_are_no_difference() -> None:
    page = Page(render(Material((measurement(), measurement(2.0, artifact="b.onnx")), ())))
    assert "All were measured under the same conditions" in page.text


def test_every_plot_has_a_title_and_a_description(page: Page) -> None:
    plots = page.tags.count("svg")
    assert plots == 9  # two of latency, accuracy, two of operators, memory, size, two energies
    assert page.tags.count("figcaption") == plots
    ids = {value for _, name, value in page.attributes if name == "id"}
    named = [v for _, name, v in page.attributes if name in ("aria-labelledby", "aria-describedby")]
    assert len(named) == 2 * plots
    assert set(named) <= ids
    assert all(text.strip() for text in page.of("title") + page.of("desc"))
    assert len(page.of("desc")) == plots
    assert any("p99 1.060 ms" in text for text in page.of("desc"))


def test_ids_are_unique_and_references_find_them(page: Page) -> None:
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    referred = [v[1:] for _, name, v in page.attributes if name == "href"]
    for _, _, value in page.attributes:
        referred += re.findall(r"url\(#([^)]+)\)", value)
    assert set(referred) <= set(ids)


def assert_loads_nothing(html: str) -> None:
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "image", "base"} & set(page.tags)
    for _, name, value in page.attributes:
        assert name not in ("src", "srcset", "action", "xlink:href"), name
        assert not name.startswith("on"), name
        if name == "href":
            assert value.startswith("#"), value
        assert re.search(r"url\(\s*['\"]?(?!#)", value) is None, value
    for sheet in page.of("style"):
        assert "url(" not in sheet
        assert "@import" not in sheet
    assert "default-src 'none'" in html


def test_the_page_loads_nothing(html: str) -> None:
    assert_loads_nothing(html)
    assert "http://" not in html
    assert "https://" not in html


def test_the_page_has_light_and_dark_colours_and_no_stand_ins(html: str) -> None:
    assert "prefers-color-scheme: dark" in html
    used, (sheet,) = set(re.findall(r"var\(--([\w-]+)\)", html)), Page(html).of("style")
    for variable in used:
        assert f"--{variable}:" in sheet, variable
    assert re.search(r"#010[12]0", html) is None


def test_the_same_input_gives_the_same_bytes(html: str) -> None:
    assert render(full()) == html


def hostile() -> Material:
    first = measurement(
        1.0,
        artifact=HOSTILE,
        device=HOSTILE,
        runtime=HOSTILE,
        command=HOSTILE,
        environment={HOSTILE: HOSTILE, "cpu": HOSTILE},
        tools={HOSTILE: HOSTILE},
        operators=(OperatorTime(HOSTILE, HOSTILE, 0.5),),
        stable=False,
        reasons=(HOSTILE,),
        energy=Energy("unavailable", reason=HOSTILE),
    )
    changes: dict[str, Any] = {"artifact": HOSTILE, "target": HOSTILE}
    guess = Energy(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1.0, model=HOSTILE)
    second = measurement(2.0, energy=guess, **changes)
    accuracies = (
        Accuracy(HOSTILE, "onnx", HOSTILE, 0.5, 10),
        Accuracy(HOSTILE, "none", HOSTILE, 0.5, 10),
    )
    return Material((first, second), accuracies, (HOSTILE,))


def test_hostile_names_stay_text() -> None:
    html = render(hostile())
    assert_loads_nothing(html)
    assert html.encode("utf-8")
    assert "<script" not in html
    assert "<img" not in html
    assert "\u202e" not in html  # would turn the direction of writing round
    page = Page(html)
    shown = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&$x_{\\u202e\\n\\udcff.onnx"
    assert shown in page.of("td")
    assert shown in page.of("code")


def test_an_estimate_is_labelled_and_on_a_plot_of_its_own(page: Page) -> None:
    titles = [text for text in page.of("title") if "energy per inference" in text]
    assert titles == [
        "Estimated, not measured: energy per inference on host",
        "Measured: energy per inference on host",
    ]
    told = [text for text in page.of("desc") if "mJ" in text]
    assert len(told) == 2
    assert "≈ 7.250 mJ" in told[0]
    assert "3.500" not in told[0]
    assert "7.250" not in told[1]
    assert "≈ 7.250 mJ" in page.of("td")
    assert page.of("span").count("estimated") == 1
    assert any("pj_per_mac = 4.6" in text for text in page.of("figcaption"))


def test_energies_of_different_scopes_are_apart() -> None:
    wall = Energy("measured", "csv", "wall", "plug", 30.0)
    material = Material((measurement(energy=MEASURED), measurement(2.0, energy=wall)), ())
    told = [text for text in Page(render(material)).of("desc") if "mJ" in text]
    assert len(told) == 2


def test_captions_of_energy_tell_what_is_true_of_which_measurement() -> None:
    rough = replace(ESTIMATED, mj_per_inference=1.5, coefficients={"pj_per_mac": 0.3})
    other = replace(MEASURED, detail="package-1")
    energies = (ESTIMATED, rough, ESTIMATED, MEASURED, other)
    found = tuple(measurement(1.0 + i, energy=one) for i, one in enumerate(energies))
    captions = Page(render(Material(found, ()))).of("figcaption")
    (estimated,) = [text for text in captions if text.startswith("Estimated")]
    assert "with pj_per_mac = 4.6 for 1, 3; pj_per_mac = 0.3 for 2." in estimated
    (measured,) = [text for text in captions if text.startswith("What an inference adds")]
    assert "(rapl, package-0 for 4; rapl, package-1 for 5)" in measured


def test_accuracy_says_what_is_missing_and_what_is_left_over(page: Page) -> None:
    assert "No accuracy is known for measurement 4." in page.text
    assert "elsewhere.onnx (onnx): top-1 25.00 % on digits, test, 400 images" in page.of("li")


def test_without_accuracies_the_page_says_how_to_get_them() -> None:
    page = Page(render(Material((measurement(),), ())))
    assert "No accuracy is known for any of them. Measure it with 'edgekit evaluate" in page.text
    assert "Top-1 on" not in page.text


def test_the_front_is_marked(page: Page) -> None:
    (described,) = [text for text in page.of("desc") if "Pareto front" in text]
    first, *others = described.split("; ")
    assert first.startswith("1: small.onnx")
    assert first.endswith("75.0 %, on the Pareto front")
    assert all("Pareto" not in other for other in others)
    assert page.of("td").count("beaten") == 2


def test_the_slowest_operators_and_all_kinds_are_shown(page: Page) -> None:
    kinds, slowest = (text for text in page.of("desc") if "layers" in text or "Conv (" in text)
    assert kinds.startswith("Conv (9): 1.170 ms")
    assert slowest.count("layers.") == 20
    assert slowest.startswith("layers.24/op: 0.250 ms")
    assert any("All 25 operators take 3.250 ms" in text for text in page.of("figcaption"))


def test_names_tell_measurements_apart() -> None:
    same = measurement()
    found = names([same, measurement(threads=2), measurement(artifact="b.onnx")])
    assert found == ["small.onnx, 1 thread", "small.onnx, 2 threads", "b.onnx"]
    long = names([measurement(artifact="x" * 500)])
    assert len(long[0]) < 50


@pytest.mark.parametrize(
    ("source", "target", "joined"),
    [
        ("exported/small.onnx", "onnx", True),
        ("./exported/small.onnx", "onnx", True),
        ("small.onnx", "onnx", False),  # of another folder, as far as anyone knows
        ("exported/small.onnx", "tflite", False),
    ],
)
def test_an_accuracy_belongs_to_the_same_file(source: str, target: str, joined: bool) -> None:
    material = Material((measurement(),), (Accuracy(source, target, "digits", 0.5, 10),))
    assert ("No accuracy is known" in Page(render(material)).text) is not joined


def test_an_accuracy_belongs_to_the_same_network_however_it_is_spelled() -> None:
    network = measurement(artifact="mobilenetv3-small", target="pytorch", sha256=None)
    for source, joined in (("MobileNetV3_Small", True), ("mobilenetv3-large", False)):
        material = Material((network,), (Accuracy(source, "pytorch", "digits", 0.5, 10),))
        assert ("No accuracy is known" in Page(render(material)).text) is not joined


@pytest.mark.parametrize("spread", [1.0, 300.0])
def test_one_sample_or_very_different_ones_can_be_drawn(spread: float) -> None:
    one = measurement(1.0)
    short = measurement(spread, artifact="b.onnx", blocks=measurement(spread).blocks[:1])
    accuracies = tuple(Accuracy(name, "onnx", "d", 1.0, 1) for name in (one.artifact, "b.onnx"))
    assert Page(render(Material((one, short), accuracies))).tags.count("svg") == 5


def test_machines_of_one_name_are_compared_each_with_itself() -> None:
    boards = [
        measurement(1.0),
        measurement(2.0, environment={"cpu": "Another Processor", "cores": 4}),
    ]
    found = Accuracy(boards[0].artifact, "onnx", "digits", 0.5, 10)
    page = Page(render(Material(tuple(boards), (found,))))
    assert "on host (A Processor)" in page.text
    assert "on host (Another Processor)" in page.text
    assert "beaten" not in page.of("td")


def test_classes_and_what_they_are_taken_for_stand_by_themselves() -> None:
    m = measurement(1.0)
    plain = Accuracy(m.artifact, m.target, "scenes, test", 0.5, 10, "mAP", (0.4, 0.6))
    assert "Class by class" not in Page(render(Material((m,), (plain,)))).text
    told = replace(
        plain,
        classes=(
            OfClass("cat", 40, {"ap": 0.75, "ap50": 0.9}),
            OfClass(HOSTILE, 20, {"ap": 0.25, "ap50": None}),
            OfClass("none", 0, {"ap": None, "ap50": None}),
        ),
        confusion=Confusion(
            ("cat", HOSTILE, "(nothing)"), ("cat", HOSTILE, "(nothing)"),
            ((30, 2, 8), (12, 8, 0), (3, 0, 0)),
        ),
    )  # fmt: skip
    page = Page(render(Material((m,), (told,))))
    assert "Class by class" in page.text
    assert page.text.index("25.0 %") < page.text.index("75.0 %")  # the weakest first
    assert "one more" in page.text
    assert "60.0 %" in page.text  # 12 of 20
    shares = [value for _, name, value in page.attributes if name == "style"]
    assert sum("color-mix(in srgb, var(--accent-soft) 75%," in one for one in shares) == 1
    assert sum("color-mix(in srgb, var(--second)" in one for one in shares) == 4
    many = tuple(OfClass(f"class {i}", 9, {"ap": 0.5}) for i in range(43))
    assert "; 3 classes more" in Page(render(Material((m,), (replace(plain, classes=many),)))).text
    wide = tuple(f"class {i}" for i in range(30))
    counts = tuple(tuple(int(i == j) for j in range(30)) for i in range(30))
    large = replace(told, confusion=Confusion(wide, wide, counts))
    assert "Nothing is taken for anything else." in Page(render(Material((m,), (large,)))).text


def test_details_of_no_class_are_refused(tmp_path: Path) -> None:
    document = {
        "schema": "edgekit.evaluate/1", "task": "detect", "n": 2, "source": "a.onnx",
        "target": "onnx", "data": "scenes", "headline": {"name": "map", "value": 0.5},
    }  # fmt: skip
    good = {"classes": [{"label": "a", "n": 2, "figures": {"ap": 0.5}}], "confusion": None}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**document, **good}))
    assert accuracy_of(path).classes == (OfClass("a", 2, {"ap": 0.5}),)
    for bad in (
        {"classes": [{"label": "a", "n": 2, "figures": {"ap": 1.5}}]},
        {"classes": [{"label": "a"}]},
        {"classes": 5},
        {"confusion": {"right": ["a"], "found": ["a"], "counts": [[1, 2]]}},
        {"confusion": {"right": ["a"], "found": ["a"], "counts": [[-1]]}},
    ):
        path.write_text(json.dumps({**document, **good, **bad}))
        with pytest.raises(InputError, match="is damaged"):
            accuracy_of(path)
