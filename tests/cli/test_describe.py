"""``edgekit describe`` through the real command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from command_line import CommandLine

A, B = "mobilenetv1@0.25", "mobilenetv3-small"
RESIDUAL = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.scale = nn.Parameter(torch.ones(3, 1, 1))
    def forward(self, x):
        y = F.relu(self.conv(x)) * self.scale + x
        return torch.cat((y, x), 1).mean((2, 3))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("mobilenetv3-large-minimalistic@0.75",),
        ("mobilenetv4-conv-large", "--formula"),
        ("efficientnet-b7",),
        ("efficientnet-b7", "--formula"),
        ("shufflenetv1-g8", "--formula"),
        ("efficientnet-b7", "--compare", "mobilenetv3-large-minimalistic@0.75"),
    ],
    ids=" ".join,
)
def test_the_tables_fit_into_80_columns_one_line_per_layer(
    arguments: tuple[str, ...], run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run("describe", *arguments, "--resolution", "64")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80
    # A cell that does not fit goes on in a line whose other cells are empty.
    tables = [line for line in lines if line.startswith(" ") and line.strip()]
    assert [line for line in tables if len(line.split()) < 2 and "─" not in line] == []
    if "--compare" not in arguments:
        cut = [line for line in tables if line.startswith(" ~")]
        assert cut == []


def test_formulas_stand_where_the_parameters_were(run: CommandLine) -> None:
    plain = run("describe", B, "--resolution", "32").out
    formula = run("describe", B, "--resolution", "32", "--formula").out
    assert "3*3*16/16*16" in formula
    assert "2*16" in formula
    assert "1024*1000+1000" in formula
    assert "1,025,000" in plain
    assert "*" not in plain


def test_the_totals_say_shares_field_memory_and_intensity(run: CommandLine) -> None:
    result = run("describe", "mobilenetv2", "--resolution", "64", "--json").json
    totals = result["totals"]
    assert (totals["params"], totals["macs"]) == (result["params"], result["macs"])
    assert totals["layers"] == len(result["layers"])
    assert totals["receptive_field_px"] == 491
    # The depthwise layer of block 1: batch norm reads and writes 96 channels of 32 x 32.
    assert totals["peak_activation_bytes"] == 4 * 2 * 96 * 32 * 32
    # In place: 96 channels of 32 x 32 go in, and of 16 x 16 come out.
    assert totals["peak_in_place_bytes"] == 4 * 96 * (32 * 32 + 16 * 16)
    assert totals["intensity_macs_per_byte"] == totals["macs"] / totals["moved_bytes"]
    assert sum(totals["macs_share"].values()) == pytest.approx(1)
    text = run("describe", "mobilenetv2", "--resolution", "64").out
    for words in ("receptive field", "491 px", "0.75 MiB", "0.47 MiB", "depthwise", "pointwise"):
        assert words in text


def test_layers_in_json_have_window_formula_and_memory(run: CommandLine) -> None:
    first, *_ = run("describe", B, "--resolution", "32", "--json").json["layers"]
    assert first == {
        "name": "stem.conv",
        "op": "Conv2d 3x3 /2",
        "output_shape": [1, 16, 16, 16],
        "params": 432,
        "macs": 432 * 256,
        "kind": "convolution",
        "kernel": [3, 3],
        "stride": [2, 2],
        "groups": 1,
        "formula": "3*3*3*16",
        "activation_bytes": 4 * 16 * 256,
        "moved_bytes": 4 * (3 * 1024 + 432 + 16 * 256),
    }


@pytest.mark.parametrize("form", [(A, "--compare", B), ("--compare", A, B)], ids=["A B", "first"])
def test_two_networks_stand_side_by_side(form: tuple[str, ...], run: CommandLine) -> None:
    found = run("describe", *form, "--resolution", "32", "--json").json
    one = run("describe", A, "--resolution", "32", "--json").json
    two = run("describe", B, "--resolution", "32", "--json").json
    assert {**found["other"], "schema": two["schema"]} == two
    assert {key: found[key] for key in one} == one
    for key in ("params", "macs"):
        assert found["ratio"][key] == one[key] / two[key]
    lines = run("describe", *form, "--resolution", "32").out.splitlines()
    cells = next(line.split() for line in lines if line.startswith(" parameters "))
    assert cells[1:3] == [f"{one['params']:,}", f"{two['params']:,}"]
    assert float(cells[3].rstrip("x")) == pytest.approx(one["params"] / two["params"], rel=5e-3)
    assert lines[:2] == [f"A: {A} at 32 px", f"B: {B} at 32 px"]


def test_csv_says_what_json_says(run: CommandLine) -> None:
    result = run("describe", B, "--resolution", "32", "--csv")
    assert (result.code, result.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    layers = run("describe", B, "--resolution", "32", "--json").json["layers"]
    assert [row["name"] for row in rows] == [layer["name"] for layer in layers]
    for key in ("params", "macs", "activation_bytes", "moved_bytes"):
        assert [int(row[key]) for row in rows] == [layer[key] for layer in layers]
    assert [row["formula"] or None for row in rows] == [layer["formula"] for layer in layers]
    assert rows[0]["output_shape"] == "1x16x16x16"


def test_a_comparison_as_csv(run: CommandLine) -> None:
    result = run("describe", A, "--compare", B, "--resolution", "32", "--csv")
    header, *rows = csv.reader(io.StringIO(result.out))
    assert header == ["quantity", f"{A} at 32 px", f"{B} at 32 px", "ratio"]
    macs = next(row for row in rows if row[0] == "macs")
    assert float(macs[3]) == int(macs[1]) / int(macs[2])
    shares = [row for row in rows if row[0].startswith("macs_share.")]
    assert [sum(float(row[i]) for row in shares) for i in (1, 2)] == pytest.approx([1, 1])


def test_networks_of_ones_own_may_compute_outside_of_layers(
    run: CommandLine, module: Callable[[str], str]
) -> None:
    name = f"{module(RESIDUAL)}:Net"
    found = run("describe", name, "--resolution", "8", "--json").json
    assert found["params"] == 3 * 27 + 3 + 3
    assert found["macs"] == 81 * 64
    assert found["totals"]["receptive_field_px"] == 3
    text = run("describe", name, "--resolution", "8").out
    assert "(network)" in text


WRONG = {
    "csv and json": ((A, "--csv", "--json"), "--csv and --json exclude each other"),
    "one to compare": ((A, "--compare"), "--compare needs two networks"),
    "two, not compared": ((A, B), f"'{B}' is a second network"),
    "weights of which": ((A, "--compare", B, "--weights", "w.pt"), "--weights belongs to one"),
    "formula of totals": ((A, "--compare", B, "--formula"), "--formula shows layers"),
    "unknown other": ((A, "--compare", "mobilnetv2"), "unknown model 'mobilnetv2'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_command_lines(case: str, run: CommandLine) -> None:
    arguments, message = WRONG[case]
    result = run("describe", *arguments)
    assert result.code == 2
    assert result.message.startswith(message)


def test_a_missing_network_to_compare_with_is_bad_input(run: CommandLine) -> None:
    result = run("describe", A, "--compare", "runs/none", "--resolution", "32")
    assert result.code == 3
    assert "runs/none" in result.message


def test_tensors_say_what_they_mean_where_somebody_said(run: CommandLine) -> None:
    document = run("describe", "mobilenetv1@0.25", "--size", "32x64", "--json").json
    assert document["resolution"] == 64
    (image,), (scores,) = (document["interface"][end] for end in ("inputs", "outputs"))
    assert (image["role"], scores["role"]) == ("image", "scores")
    document = run("describe", "any_networks:larger", "--size", "32x64", "--json").json
    assert document["resolution"] is None
    (image,), (larger,) = (document["interface"][end] for end in ("inputs", "outputs"))
    assert (image["role"], image["shape"]) == ("image", [1, 3, 32, 64])
    assert (larger["role"], larger["shape"]) == ("", [1, 3, 64, 128])
    line = ("describe", "any_networks:features", "--example", "any_networks:row", "--json")
    row = run(*line).json["interface"]
    assert [row[end][0]["role"] for end in ("inputs", "outputs")] == ["", ""]


def test_names_are_those_that_options_take(run: CommandLine) -> None:
    for name in ("mobilenetv3-small", "efficientnet-b7"):
        text = run("describe", name, "--resolution", "64").out
        assert " blocks.0.depthwise.conv " in text
        assert "shortened" not in text
        assert max(map(len, text.splitlines())) <= 80


def test_a_summary_has_no_layers(run: CommandLine) -> None:
    text = run("describe", "mobilenetv2", "--summary").out
    assert "3,504,872 parameters" in text
    assert "stem.conv" not in text
    refused = run("describe", "mobilenetv2", "--summary", "--csv")
    assert (refused.code, "--summary" in refused.message) == (2, True)
