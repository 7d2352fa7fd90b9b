"""What a benchmark program prints, in the format of TensorFlow Lite's; and one that prints it."""

from __future__ import annotations

import sys
from pathlib import Path

INIT_US, FIRST_US, MEAN_US = 2_125, 9_321, 4_001.5

OPERATORS = [
    ("Convolution (NHWC, F32) IGEMM", 0.512, "Delegate/Convolution (NHWC, F32) IGEMM:0"),
    ("CONV_2D", 1.25, "[net/stem/conv]:1"),
    ("SOFTMAX", 0.031, "[head, with a comma]:2"),
]


def table(*, csv: bool = False, start: bool = False) -> str:
    """Times of operators, as the program prints them in its versions."""
    names = ["node type", "start", "first", "avg ms", "%", "cdf%", "mem KB", "times called", "Name"]
    title = "=" * 30 + " Run Order " + "=" * 30
    rows = []
    for kind, ms, name in OPERATORS:
        rows.append([kind, "0.000", f"{ms:.3f}", f"{ms:.3f}", "1.0%", "1.0%", "0.000", "1", name])
    if not start:
        names.remove("start")
        rows = [[row[0], *row[2:]] for row in rows]
    if csv:
        head = ", ".join(name.replace("avg ms", "avg_ms").lower() for name in names)
        lines = [head, *(", ".join([f"{row[0]}".replace(",", ""), *row[1:]]) for row in rows)]
    else:
        lines = ["\t" + "\t".join(f"[{name}]".rjust(12) for name in names)]
        lines += ["\t" + "\t".join(word.rjust(12) for word in row) for row in rows]
    after = ["", "=" * 30 + " Top by Computation Time " + "=" * 30, *lines[:2]]
    return "\n".join([title, *lines, *after])


def printed(
    *, prefix: str = "INFO: ", median: bool = True, runs: int = 20, operators: str = ""
) -> str:
    """All of it, of one call.

    Args:
        prefix: of each line, which old versions lack.
        median: whether it tells that, which old versions do not.
    """
    more = " p5=3900 median=3990 p95=4400" if median else ""
    lines = [
        "STARTING!",
        "Log parameter values verbosely: [0]",
        "Num threads: [1]",
        "Graph: [net]",
        "Loaded model net",
        "The input model file size (MB): 1.23",
        f"Initialized session in {INIT_US / 1000}ms.",
        "Running benchmark for at least 3 iterations and at least 0.05 seconds but terminate if "
        "exceeding 150 seconds.",
        f"count=3 first={FIRST_US} curr=5000 min=4900 max={FIRST_US} avg=6407 std=12{more}",
        "",
        f"count={runs} first=4100 curr=4002 min=3890 max=4412 avg={MEAN_US} std=90{more}",
        "",
        f"Inference timings in us: Init: {INIT_US}, First inference: {FIRST_US}, "
        f"Warmup (avg): 6.407e+03, Inference (avg): {MEAN_US}",
        "Note: as the benchmark tool itself affects memory footprint, it is approximate.",
        "Memory footprint delta from the start of the tool (MB): init=3.25 overall=11.5",
    ]
    text = "\n".join(prefix + line if line else line for line in lines)
    if operators:
        text += f"\n{prefix}Operator-wise Profiling Info for Regular Benchmark Runs:\n{operators}"
    return text + "\n"


def stand_in(path: Path) -> Path:
    """A program that takes the options and prints such text for files that are there."""
    path.write_text(f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from benchmark_output import printed, table
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
try:
    content = open(given["graph"], "rb").read()
except OSError:
    sys.exit("ERROR: Could not open '" + given["graph"] + "'.")
if content[4:8] != b"TFL3" or len(content) < 100:
    print("ERROR: The model is not a valid Flatbuffer file", file=sys.stderr)
    sys.exit(1)
timed = table() if given.get("enable_op_profiling") else ""
print(printed(runs=int(given["num_runs"]), operators=timed))
""")
    path.chmod(0o755)
    return path
