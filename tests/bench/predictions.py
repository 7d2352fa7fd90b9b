"""How far sums of parts are off the networks that a search has visited.

``python tests/bench/predictions.py OUT ...`` with folders of 'edgekit search' whose budget is of
latency: measures the networks of each and their parts in turns with the start, the parts as
searches do and back to back, and prints the table of docs/measurements/search.md.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import sqlite3
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from edgekit import registry
from edgekit.core import ModelSpec, Scheme, Target, from_json
from edgekit.quantize.integers import Integers
from edgekit.search.bounds import MADE, Bounds
from edgekit.search.budget import parse_budget
from edgekit.search.costs import write_part
from edgekit.search.parts import Part, parts_of, whole_of
from edgekit.search.pricing import WHOLE_TIMES, between_runs
from edgekit.search.records import Step
from edgekit.search.timing import Timer

HEAD = (
    "| search | networks | as searches predict | by shares of the sum | back to back, as searches "
    "predict | back to back, by shares of the sum |"
)


def main() -> None:
    """Prints a table in Markdown: mean errors from each network to the next, and the largest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="+")
    torch.set_num_threads(1)
    print(HEAD, f"|{'---|' * (HEAD.count('|') - 1)}", sep="\n")
    for out in parser.parse_args().out:
        print(line(out), flush=True)


def line(out: Path) -> str:
    """One search."""
    found = json.loads((out / "search.json").read_text(encoding="utf-8"))
    target = registry.target(found["target"])
    scheme = Integers().scheme(target, found["precision"], None)
    steps = visited(out)
    if not any(step.kind in MADE for step in steps):
        raise SystemExit(f"{out} holds no network that a step has made")
    files = [out / step.artifact for step in steps]
    rounds = timed(target, files[0], files * WHOLE_TIMES)
    ratios = [statistics.median(rounds[i :: len(files)]) for i in range(len(files))]
    steps = [
        dataclasses.replace(step, costs={**step.costs, "latency": ratio})
        for step, ratio in zip(steps, ratios, strict=True)
    ]
    cells = []
    for between in (between_runs(steps[0].costs["size"]), 0):
        sums = Sums(target, scheme, [step.spec for step in steps], files[0], between)
        cells += [off(as_searches(steps, sums)), off(by_shares(steps, sums))]
    name = f"{found['network']}, {target.name} {found['precision']}"
    return f"| {name} | {len(steps)} | {' | '.join(cells)} |"


def visited(out: Path) -> list[Step]:
    """The start, and all networks of a search."""
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as connection:
        rows = connection.execute(
            "SELECT record FROM steps WHERE series IN ('start', 'netadapt') "
            "ORDER BY series = 'netadapt', step"
        ).fetchall()
    return [from_json(Step, json.loads(record)) for (record,) in rows]


def timed(target: Target, reference: Path, files: Sequence[Path], between: int = 0) -> list[float]:
    """Latencies over that of the reference."""
    timer = Timer(target, reference, 1, between)
    try:
        pairs = [timer.time(file) for file in files]
    finally:
        timer.close()
    return [own / other for own, other in pairs]


class Sums:
    """Costs of networks by their parts, over the start's latency."""

    resource = "latency"

    def __init__(
        self,
        target: Target,
        scheme: Scheme,
        specs: Sequence[ModelSpec],
        start: Path,
        between: int,
    ) -> None:
        parts: dict[str, tuple[ModelSpec, Part]] = {
            part.key: (spec, part) for spec in specs for part in parts_of(spec)
        }
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number, (spec, part) in enumerate(parts.values()):
                files.append(Path(folder) / str(number) / f"part{target.suffix}")
                files[-1].parent.mkdir()
                write_part(spec, part, target, scheme, files[-1])
            times = timed(target, start, files, between)
            path = Path(folder) / f"whole{target.suffix}"
            write_part(specs[0], whole_of(specs[0]), target, scheme, path)
            self._start = specs[0]
            self._whole = statistics.median(timed(target, start, [path] * WHOLE_TIMES))
        self._times: Mapping[str, float] = dict(zip(parts, times, strict=True))

    def of(self, spec: ModelSpec) -> float:
        """See `edgekit.search.costs.Costs`, as all that follows."""
        return sum(self._times[part.key] for part in parts_of(spec))

    def whole(self, spec: ModelSpec) -> float:
        """Of the start; there is no other."""
        assert spec == self._start
        return self._whole

    def at_least(self, spec: ModelSpec) -> float:
        """All are known."""
        return self.of(spec)

    def prepare(self, specs: Sequence[ModelSpec]) -> None:
        """All are known."""


def as_searches(steps: Sequence[Step], sums: Sums) -> list[float]:
    """Relative errors of what searches predict of each network from the one before."""
    bounds = Bounds(parse_budget("latency=0.5x"), steps[0], [sums])
    errors = []
    for number in range(1, len(steps)):
        bounds.learn(steps[:number])
        before, step = steps[number - 1], steps[number]
        if step.kind in MADE:
            errors.append(bounds.predicted(step.spec, before, 0) / step.costs["latency"] - 1)
    return errors


def by_shares(steps: Sequence[Step], sums: Sums) -> list[float]:
    """Relative errors where a network has the share of the latency that it has of the sum."""
    return [
        before.costs["latency"] * sums.of(step.spec) / sums.of(before.spec)
        / step.costs["latency"] - 1
        for before, step in itertools.pairwise(steps)
        if step.kind in MADE
    ]  # fmt: skip


def off(errors: Sequence[float]) -> str:
    """Mean of their sizes, and the largest."""
    sizes = [abs(error) for error in errors]
    return f"{statistics.mean(sizes):.1%}, at most {max(sizes):.1%}"


if __name__ == "__main__":
    main()
