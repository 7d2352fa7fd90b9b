"""TensorFlow Lite's program `benchmark_model`: what it is asked, and what it prints.

It runs a file many times and prints a summary: no single times and no outputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit.core import OperatorTime

_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_RUNS = re.compile(r"\bcount=([0-9]+) (.*)")
_MEMORY = re.compile(rf"[Mm]emory footprint .*\(MB\): init={_NUMBER} overall={_NUMBER}")
_WRONG = re.compile(r"\b(?:ERROR: |Failed to |Could not |Unknown flag)(?:.*)")

_OPERATORS = "Operator-wise Profiling Info for Regular Benchmark Runs"
_IN_ORDER, _NEXT = "Run Order", "===="
_MOST_OPERATORS = 100_000


@dataclass(frozen=True)
class Summary:
    """What it prints of a file.

    Attributes:
        load_ms: from the file to an interpreter.
        first_ms: the first inference.
        ms: median of the inferences behind the warm-up; their mean where it prints no median.
        runs: number of those.
        memory_mib: what loading and running add to the memory of the program, by its own account.
    """

    load_ms: float
    first_ms: float
    ms: float
    runs: int
    memory_mib: float | None


def options(
    graph: str, *, threads: int | None, runs: int, operators: bool = False
) -> Sequence[str]:
    """The words of its command line.

    Args:
        graph: path of the file.
        runs: inferences that count.
        operators: whether to time those.
    """
    values: Mapping[str, object] = {
        "graph": graph,
        "num_runs": runs,
        # No more runs than that, and a warm-up by their number rather than half a second.
        "min_secs": 0.001,
        "warmup_runs": 3,
        "warmup_min_secs": 0.05,
        **({} if threads is None else {"num_threads": threads}),
        **({"enable_op_profiling": "true"} if operators else {}),
    }
    return [f"--{name}={value}" for name, value in values.items()]


def summary(text: str) -> Summary:
    """Reads what it has printed, errors included.

    Raises:
        ValueError: it has not run the file; says why, as far as it does.
    """
    timings = _TIMINGS.search(text)
    if timings is None:
        raise ValueError(_why(text))
    counted = [found for found in map(_RUNS.search, text.splitlines()) if found is not None]
    runs, about = (int(counted[-1][1]), counted[-1][2]) if counted else (1, "")
    values = dict(re.findall(rf"([a-z0-9]+)={_NUMBER}", about))
    memory = _MEMORY.search(text)
    init, first, _, mean = map(float, timings.groups())
    return Summary(
        load_ms=init / 1e3,
        first_ms=first / 1e3,
        ms=float(values.get("median", mean)) / 1e3,
        runs=runs,
        memory_mib=None if memory is None else float(memory[2]),
    )


def _why(text: str) -> str:
    """The first thing that it says went wrong, else its last line."""
    wrong = _WRONG.search(text)
    if wrong is not None:
        return wrong[0].strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def operators(text: str) -> tuple[OperatorTime, ...]:
    """Reads its times of operators, from the table in the order in which they run, or the CSV.

    Raises:
        ValueError: it has printed none.
    """
    lines = iter(text.partition(_OPERATORS)[2].splitlines())
    for line in lines:
        if _IN_ORDER in line and _NEXT in line:
            break
    columns = _columns(next(lines, ""))
    if not {"node type", "avg ms", "name"} <= columns.keys():
        raise ValueError("it printed no times of operators")
    found: list[OperatorTime] = []
    for line in lines:
        words = _words(line)
        if _NEXT in line or len(words) < len(columns) or len(found) > _MOST_OPERATORS:
            break
        # Names may hold what stands between columns.
        name = ",".join(words[columns["name"] :]).strip()
        ms = float(words[columns["avg ms"]])
        if not 0 <= ms < float("inf"):
            raise ValueError("it printed a time of an operator that is none")
        kind = words[columns["node type"]]
        found.append(OperatorTime(_without_number(name) or kind, kind, ms))
    if not found:
        raise ValueError("it printed no times of operators")
    return tuple(found)


def _columns(header: str) -> dict[str, int]:
    """Where each column stands, by its name without signs."""
    names = (
        re.sub(r"[\[\]]", "", word).replace("_", " ").strip().lower() for word in _words(header)
    )
    return {name: place for place, name in enumerate(names)}


def _words(line: str) -> list[str]:
    """The columns of a line: of the table, which has tabulators, or of the CSV."""
    text = re.sub(r"^(INFO|I tflite *): ?", "", line).strip()
    return [word.strip() for word in text.split("\t" if "\t" in text else ",")]


def _without_number(name: str) -> str:
    """A name without what it counts behind it, as in ``[model/conv]:3``."""
    return re.sub(r"^\[(.*)\]:\d+$", r"\1", name)
