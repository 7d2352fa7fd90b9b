"""What TensorFlow Lite's benchmark program prints, read."""

from __future__ import annotations

import benchmark_output as output
import pytest

from exporters.tflite.benchmark_model import operators, options, summary


@pytest.mark.parametrize("prefix", ["", "INFO: ", "I tflite  : "])
@pytest.mark.parametrize("median", [False, True])
def test_its_summary(prefix: str, median: bool) -> None:
    found = summary(output.printed(prefix=prefix, median=median, runs=31))
    assert found.load_ms == pytest.approx(output.INIT_US / 1e3)
    assert found.first_ms == pytest.approx(output.FIRST_US / 1e3)
    assert found.ms == pytest.approx(3.99 if median else output.MEAN_US / 1e3)
    assert found.runs == 31
    assert found.memory_mib == 11.5


def test_numbers_in_any_form() -> None:
    text = output.printed().replace("4001.5", "2.95034e+06").replace(" median=3990", "")
    assert summary(text).ms == pytest.approx(2950.34)


def test_memory_that_it_does_not_tell() -> None:
    text = output.printed().partition("Memory footprint")[0]
    assert summary(text).memory_mib is None
    old = text + "Peak memory footprint (MB): init=4.9 overall=138.8"
    assert summary(old).memory_mib == 138.8


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "STARTING!\nERROR: Mmap of 'x' failed.\nBenchmarking failed.",
            "ERROR: Mmap of 'x' failed.",
        ),
        ("STARTING!\nFailed to initialize the interpreter", "Failed to initialize"),
        ("Unknown flag: --min_secs=0", "Unknown flag"),
        ("Segmentation fault", "Segmentation fault"),
        ("", "it printed nothing"),
        ("Inference timings in us: Init: x, First inference: 1", "Inference timings"),
    ],
)
def test_why_it_has_not_run_a_file(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace(".", r"\.")):
        summary(text)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("csv", [False, True])
@pytest.mark.parametrize("prefix", ["", "INFO: "])
def test_its_times_of_operators(csv: bool, start: bool, prefix: str) -> None:
    text = output.printed(prefix=prefix, operators=output.table(csv=csv, start=start))
    found = operators(text)
    assert [one.ms for one in found] == [ms for _, ms, _ in output.OPERATORS]
    assert [one.kind for one in found][1:] == ["CONV_2D", "SOFTMAX"]
    assert found[1].name == "net/stem/conv"
    assert found[2].name.replace(" ", "") == "head,withacomma"


@pytest.mark.parametrize(
    "text",
    [
        "",
        output.printed(),
        output.printed(operators=output.table().partition("\n")[0]),
        output.printed(operators=output.table().replace("1.250", "nan")),
        output.printed(operators=output.table().replace("[avg ms]", "[average]")),
    ],
)
def test_operators_that_it_has_not_timed(text: str) -> None:
    with pytest.raises(ValueError, match="operator"):
        operators(text)


def test_what_it_is_asked() -> None:
    found = options("a b.net", threads=2, runs=7, operators=True)
    assert {"--graph=a b.net", "--num_threads=2", "--num_runs=7"} <= set(found)
    assert "--enable_op_profiling=true" in found
    assert not any("threads" in word for word in options("x", threads=None, runs=1))
