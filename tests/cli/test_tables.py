"""Tables on a screen of 80 columns: names and figures stay whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import CommandLine
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import registry, tables
from edgekit.cli import console, tabular

FOLDER = "a-folder-of-a-long-name/for-the-files-of-today"


@pytest.mark.parametrize(("folder", "apart"), [("out", False), (FOLDER, True)])
def test_an_export_shows_names_whole(
    folder: str, apart: bool, run: CommandLine, short_network: Path
) -> None:
    line = ("export", short_network, "-t", ",".join(tables.TARGETS), "-o", folder)
    shown = run(*line, "-p", "fp32,int8", "--calibration", "digits", "--calibration-images", "16")
    assert shown.code in (0, 4), shown.err
    table, below, _ = shown.out.partition("\nmobilenetv3-small-int8")  # computes in float: ...
    assert below
    assert all(len(line) <= console.PLAIN_WIDTH for line in table.splitlines())
    assert (f"in {folder}:" in shown.out) == apart
    for name in tables.TARGETS:
        for precision in ("fp32", "int8"):
            file = f"mobilenetv3-small-{precision}{registry.target(name).suffix}"
            begin = "" if apart else f"{folder}/"
            assert re.search(f"^ {begin}{re.escape(file)}", shown.out, re.MULTILINE)
    assert "Ranges of integers from 16 images (digits, train); 128 are better." in shown.out


def test_an_export_says_how_many_inputs_calibrate(run: CommandLine) -> None:
    line = ("export", "any_networks:unet", "--size", "32", "-t", "onnx", "-p", "int8", "-o", "out")
    shown = run(*line, "--calibration", "digits")
    assert "Ranges of integers from 128 inputs (digits, train).\n" in shown.out
    described = run("describe", "out/unet-int8.onnx").out
    assert "minmax, from 128 samples (digits, train)" in described


def test_lists_fit_the_screen(run: CommandLine) -> None:
    shown = run("list")
    assert all(len(line) <= console.PLAIN_WIDTH for line in shown.out.splitlines())


words = st.text("abc-/.", min_size=1, max_size=24)
sentences = st.lists(words, max_size=8).map(" ".join)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_word_is_broken_where_all_fit(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    ways = st.sampled_from(["left", "right"])
    heads = [(data.draw(words), data.draw(ways)) for _ in range(count)]
    rows = data.draw(st.lists(st.lists(sentences, min_size=count, max_size=count), max_size=4))
    found = tabular.layout(heads, rows, 80, (3, 2, 1))
    columns = [[head, *(row[i] for row in rows)] for i, (head, _) in enumerate(heads)]
    least = [
        max(len(word) for text in column for word in (text.split() if way == "left" else [text]))
        for column, (_, way) in zip(columns, heads, strict=True)
    ]
    if found is None:
        assert 2 + sum(least) + count - 1 > 80
        return
    gap, widths = found
    whole = [max(map(len, column)) for column in columns]
    for width, low, high in zip(widths, least, whole, strict=True):
        assert width is None or low <= width <= high
    assert 2 + sum(w or h for w, h in zip(widths, whole, strict=True)) + gap * (count - 1) <= 80
