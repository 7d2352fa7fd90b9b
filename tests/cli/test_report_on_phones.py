"""Pages on a phone of 390 pixels: letters, labels, colours, numbers and tables."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from report_records import measurement, search_document, write_accuracy

from edgekit.core import Energy, OperatorTime
from edgekit.measure.store import save
from edgekit.report.svg import width_of

CARD = 390 - 2 * (14 + 1 + 12)  # pixels that the page, a card's border and its padding leave
LEAST = 11.0
MOST_COLUMNS = 6

_SVG = re.compile(r'<svg [^>]*viewBox="0 0 ([\d.]+) ([\d.]+)".*?</svg>', re.DOTALL)
_TEXT = re.compile(r"<text ([^>]*)>(.*?)</text>", re.DOTALL)


@dataclass(frozen=True)
class Label:
    """A text of a plot, with the box around it in units."""

    text: str
    size: float
    left: float
    right: float
    base: float


def labels(svg: str) -> list[Label]:
    """All texts of a plot."""
    found = []
    for attributes, text in _TEXT.findall(svg):
        text = unescape(text).strip()
        if not text:
            continue
        size = float(re.search(r"font-size: ([\d.]+)px", attributes)[1])  # type: ignore[index]
        x, y = (float(re.search(rf'{n}="([-\d.]+)"', attributes)[1]) for n in "xy")  # type: ignore[index]
        anchor = re.search(r"text-anchor: (\w+)", attributes)
        width = width_of(text, size)
        left = x - width * {"middle": 0.5, "end": 1.0}.get(anchor[1] if anchor else "start", 0.0)
        found.append(Label(text, size, left, left + width, y))
    return found


def plots(html: str) -> list[tuple[float, str]]:
    """All plots of a page, with their widths in units."""
    return [(float(found[1]), found[0]) for found in _SVG.finditer(html)]


def tiny(kinds: dict[str, float]) -> tuple[OperatorTime, ...]:
    """Operators with their times in ms."""
    long = "a/very/long/name/of/a/layer/that/no/line/of/a/plot/has/room/for"
    return tuple(OperatorTime(f"{long}.{i}", k, ms) for i, (k, ms) in enumerate(kinds.items()))


@pytest.fixture
def measured(run: CommandLine, tmp_path: Path) -> str:
    """A page of four measurements, fast and slow, with operators of three runtimes."""
    one = {"Conv": 4.1e-5, "Gemm": 2.2e-5, "Mul": 7e-7, "Relu": 3e-9}
    two = {"CONV_2D": 9e-5, "DEPTHWISE_CONV_2D": 3e-5, "MEAN": 1e-5, "FULLY_CONNECTED": 2e-6}
    three = {"Convolution": 5.0, "MatMul": 0.25, "GroupConvolution": 0.5, "Strange": 0.125}
    energy = Energy(
        "estimated",
        mj_per_inference=1.2e-5,
        model="a model of MACs",
        coefficients={"pj_per_mac": 4.6e-8},
    )
    base = measurement(8e-5, operators=tiny(one), energy=energy, load_ms=2.5e-5)
    base = replace(base, environment={**base.environment, "memory_bytes": 1.6e12})
    long = "a-folder/of-exports/mobilenetv3-small-of-a-rather-long-name-int8-mixed"
    changes: dict[str, Any] = {"target": "tflite", "runtime": "LiteRT 2.3.0", "sha256": "cd" * 32}
    others = [
        measurement(9e-5, artifact=f"{long}.tflite", operators=tiny(two), **changes),
        measurement(7.0, artifact=f"{long}.xml", operators=tiny(three), sha256="ef" * 32),
        measurement(1234.5, artifact="slow.onnx", sha256="12" * 32),
    ]
    save([base, *others], tmp_path / "m.json")
    write_accuracy(tmp_path / "a.json")
    write_accuracy(tmp_path / "b.json", source="slow.onnx", top1=0.7512)
    result = run("report", "m.json", "a.json", "b.json", "-o", "page.html")
    assert result.code == 0, result.err
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def searched(run: CommandLine, folder: Path, document: dict[str, Any]) -> str:
    """The page of a search."""
    (folder / "s").mkdir()
    (folder / "s" / "search.json").write_text(json.dumps(document), encoding="utf-8")
    assert run("report", "s", "-o", "search.html").code == 0
    return (folder / "search.html").read_text(encoding="utf-8")


@pytest.fixture
def search(run: CommandLine, tmp_path: Path) -> str:
    """The page of a search with small and large costs."""
    document = search_document(12)
    for network in document["steps"]:
        network["energy_mj"] = 3e-5
        network["macs"] *= 1e6
    return searched(run, tmp_path, document)


@pytest.fixture(params=["measured", "search"])
def html(request: pytest.FixtureRequest) -> str:
    """Each kind of page."""
    return str(request.getfixturevalue(request.param))


def test_letters_of_plots_can_be_read(html: str) -> None:
    drawn = plots(html)
    assert len(drawn) >= 4
    for width, svg in drawn:
        for label in labels(svg):
            assert label.size * CARD / width >= LEAST, label
            assert "font-size" not in svg.replace("font-size: ", "").split("<title")[0]
    sheet = html.partition("<style>")[2].partition("</style>")[0]
    assert "svg text" not in sheet  # no size that the units do not tell


def test_labels_of_plots_do_not_touch_and_stay_inside(html: str) -> None:
    for width, svg in plots(html):
        found = labels(svg)
        for i, one in enumerate(found):
            assert one.left > -2, one
            assert one.right < width + 2, one
            for other in found[i + 1 :]:
                if abs(one.base - other.base) < 0.8 * min(one.size, other.size):
                    apart = one.right <= other.left or other.right <= one.left
                    assert apart, (one, other)


def test_numbers_have_no_exponents(html: str) -> None:
    body = html.partition("</head>")[2]
    text = unescape(re.sub(r"<[^>]*>", "\n", body))
    found = [line for line in text.splitlines() if re.search(r"\d[eE][-+]?\d", line)]
    # Digests are in hexadecimal.
    assert [line for line in found if not re.fullmatch(r"[0-9a-f]{64}", line)] == []


def test_tables_are_tables_that_fit(html: str) -> None:
    heads = re.findall(r"<thead><tr>(.*?)</tr></thead>", html)
    assert heads
    assert max(head.count("<th ") for head in heads) <= MOST_COLUMNS
    sheet = html.partition("<style>")[2].partition("</style>")[0]
    assert re.search(r"td\.key \{[^}]*white-space: nowrap", sheet)  # 12 is no 1 above a 2
    assert (
        re.search(r"\b(table|tbody|tr|td|thead)\b[^{};]*\{[^}]*display: *(block|grid)", sheet)
        is None
    )


def colours(html: str, number: int) -> dict[str, str]:
    """The colour of each kind of operator in the panel of a measurement."""
    (svg,) = [svg for _, svg in plots(html) if f'id="kinds-{number}-title"' in svg]
    fills = re.findall(r"fill: (var\(--kind-\d\))", svg)
    kinds = [label.text for label in labels(svg) if re.search(r"\(\d+\)$", label.text)]
    assert len(kinds) == len(fills)
    return {kind.partition(" (")[0]: fill for kind, fill in zip(kinds, fills, strict=True)}


def test_the_same_operator_has_the_same_colour_in_every_panel(measured: str) -> None:
    one, two, three = (colours(measured, number) for number in (1, 2, 3))
    assert one["Conv"] == two["CONV_2D"] == three["Convolution"]
    assert one["Gemm"] == two["FULLY_CONNECTED"] == three["MatMul"]
    assert two["DEPTHWISE_CONV_2D"] == three["GroupConvolution"]
    several = {one["Conv"], one["Gemm"], two["DEPTHWISE_CONV_2D"], two["MEAN"]}
    assert len(several) == 4


def test_times_of_operators_have_units_that_suit_them(measured: str) -> None:
    told = re.findall(r"<desc[^>]*>(.*?)</desc>", measured)
    assert any("CONV_2D (1): 0.0900 µs, " in text for text in told)
    assert any("Convolution (1): 5.000 ms, " in text for text in told)


def test_accuracies_of_a_search_have_their_intervals(run: CommandLine, tmp_path: Path) -> None:
    document = search_document(4)
    without = search_document(4)
    for network in [*document["steps"], document["baseline"]]:
        top1 = network["top1"]
        ci95 = [top1 - 0.02, min(1.0, top1 + 0.005)]
        network["headline"] = {"name": "top1", "value": top1, "ci95": ci95}
    html = searched(run, tmp_path, document)
    assert "Upright lines are 95 % intervals of top-1." in html
    assert "<small>97.3 % to 99.8 %</small>" in html
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "search.json").write_text(json.dumps(without), encoding="utf-8")
    assert run("report", "other", "-o", "other.html").code == 0
    bare = (tmp_path / "other.html").read_text(encoding="utf-8")
    assert "Upright lines" not in bare
    (with_lines, without_lines) = (
        next(svg for _, svg in plots(page) if 'id="tradeoff-title"' in svg) for page in (html, bare)
    )
    assert with_lines.count("<path") > without_lines.count("<path")


@pytest.mark.parametrize("ci95", [[0.5], [0.9, 0.8], [0.5, 1.5]])
def test_intervals_that_cannot_be_are_refused(
    ci95: list[float], run: CommandLine, tmp_path: Path
) -> None:
    document = search_document(1)
    document["steps"][1]["headline"] = {"name": "top1", "value": 0.9, "ci95": ci95}
    (tmp_path / "search.json").write_text(json.dumps(document), encoding="utf-8")
    result = run("report", "search.json", "-o", "page.html")
    assert result.code == 3
    assert "search.json is damaged: steps[1].headline.ci95" in result.message
