"""``edgekit export-profiles``: kept measurements as a table for other programs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console
from edgekit.cli.history import filter_options, measurement_entry, moment
from edgekit.cli.options import overwrite_option
from edgekit.core import write_csv
from edgekit.core.text import counted_words
from edgekit.errors import InputError, UsageError

if TYPE_CHECKING:
    from edgekit.core import Measurement

COLUMNS: dict[str, str] = {
    "id": "int64", "started": "string", "artifact": "string", "sha256": "string",
    "target": "string", "device": "string", "runtime": "string", "threads": "int64",
    "batch": "int64", "n": "int64", "min_ms": "float64", "p50_ms": "float64",
    "p90_ms": "float64", "p99_ms": "float64", "mean_ms": "float64",
    "ci95_low_ms": "float64", "ci95_high_ms": "float64", "load_ms": "float64",
    "first_ms": "float64", "peak_rss_mib": "float64", "size_bytes": "int64",
    "energy_kind": "string", "energy_meter": "string", "energy_scope": "string",
    "energy_mj_per_inference": "float64", "energy_gross_mj_per_inference": "float64",
    "energy_idle_mw": "float64", "energy_ci95_low_mj": "float64",
    "energy_ci95_high_mj": "float64", "stable": "bool", "reasons": "string",
    "environment": "string", "tools": "string", "command": "string",
    "input": "string",
}  # fmt: skip
"""Columns of the table of measurements, with their types in Parquet."""

SAMPLE_COLUMNS: dict[str, str] = {
    "id": "int64", "artifact": "string", "device": "string", "runtime": "string",
    "threads": "int64", "batch": "int64", "block": "int64", "start_s": "float64",
    "instance": "int64", "network": "string", "run": "int64", "ms": "float64",
    "input": "string",
}  # fmt: skip
"""Columns of the table of samples: one row per inference; `network` is artifact or reference."""

Rows = Iterator[dict[str, Any]]

_BATCH_ROWS = 100_000


@click.command("export-profiles")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="FILE.csv or FILE.parquet.",
)
@filter_options
@click.option("--samples", is_flag=True, help="One row per inference, not per measurement.")
@overwrite_option
@console.common_options
def command(
    output: Path,
    artifact: str | None,
    device: str | None,
    runtime: str | None,
    since: str | None,
    limit: int | None,
    samples: bool,
    overwrite: bool,
) -> None:
    """Write kept measurements as a CSV or Parquet table.

    One row per measurement with its statistics, the newest first, or with
    --samples one row per inference. Parquet needs pip install pyarrow.
    """
    from edgekit import staging
    from edgekit.measure.store import Store

    writers = {".csv": _write_csv, ".parquet": _write_parquet}
    if output.suffix not in writers:
        raise UsageError(f"{output}: expected a name that ends with {' or '.join(writers)}")
    staging.refuse_existing([output], overwrite)
    store = Store()
    # One by one: the samples of a year need not fit into memory.
    found = store.each(
        artifact=artifact,
        device=device,
        runtime=runtime,
        since=moment(since, datetime.now(UTC)),
        limit=limit,
    )
    first = next(found, None)
    if first is None:
        for reason in store.skipped:
            console.warn(reason)
        raise InputError(f"no measurement of {store.path} matches: nothing is written")
    columns = SAMPLE_COLUMNS if samples else COLUMNS
    numbers = set()

    def rows() -> Rows:
        for number, measurement in itertools.chain([first], found):
            numbers.add(number)
            yield from (_samples if samples else _summary)(number, measurement)

    count = 0

    def write(path: Path) -> None:
        nonlocal count
        count = writers[output.suffix](path, columns, rows())

    staging.write_file(output, write, overwrite=overwrite)
    for reason in store.skipped:
        console.warn(reason)
    console.say(
        f"{output}: {counted_words(count, 'row')} of {counted_words(len(numbers), 'measurement')}"
    )
    if console.wants_json():
        document = {"path": str(output), "rows": count, "measurements": len(numbers)}
        console.emit_json("edgekit.export-profiles/1", document)


def _summary(number: int, measurement: Measurement) -> Rows:
    entry = measurement_entry(measurement)
    latency: dict[str, Any] = entry["latency_ms"] or {}
    row = {key: entry.get(key) for key in COLUMNS}
    row |= {"id": number, "n": latency.get("n")}
    row |= {f"{key}_ms": latency.get(key) for key in ("min", "p50", "p90", "p99", "mean")}
    row["ci95_low_ms"], row["ci95_high_ms"] = latency.get("ci95") or (None, None)
    energy = entry["energy"]
    for key in ("kind", "meter", "scope", "mj_per_inference", "gross_mj_per_inference", "idle_mw"):
        row[f"energy_{key}"] = energy[key]
    row["energy_ci95_low_mj"], row["energy_ci95_high_mj"] = energy["ci95"] or (None, None)
    row["input"] = measurement.input
    row["reasons"] = "; ".join(measurement.reasons)
    for key in ("environment", "tools"):
        row[key] = json.dumps(entry[key], sort_keys=True)
    yield row


def _samples(number: int, measurement: Measurement) -> Rows:
    names = ("artifact", "device", "runtime", "threads", "batch", "input")
    common = {"id": number, **{name: getattr(measurement, name) for name in names}}
    for index, block in enumerate(measurement.blocks):
        place = {"block": index, "start_s": block.start_s, "instance": block.instance}
        for network, times in (("artifact", block.samples_ms), ("reference", block.reference_ms)):
            for run, ms in enumerate(times):
                yield {**common, **place, "network": network, "run": run, "ms": ms}


def _write_csv(path: Path, columns: dict[str, str], rows: Rows) -> int:
    """Writes a table; returns the number of rows."""
    lines = ([row.get(name) for name in columns] for row in rows)
    with open(path, "w", encoding="utf-8", newline="") as stream:
        return write_csv(stream, itertools.chain([columns], lines)) - 1


def _write_parquet(path: Path, columns: dict[str, str], rows: Rows) -> int:
    """Writes a table with typed columns; returns the number of rows."""
    from edgekit.plugins import needed_packages

    with needed_packages("Parquet"):
        import pyarrow
        import pyarrow.parquet
    types = {
        "int64": pyarrow.int64(),
        "float64": pyarrow.float64(),
        "string": pyarrow.string(),
        "bool": pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    count = 0
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while batch := list(itertools.islice(rows, _BATCH_ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema))
            count += len(batch)
    return count
