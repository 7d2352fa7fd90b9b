"""A benchmark from its files to its choice."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import edgekit
from edgekit import inference, registry, tables
from edgekit.benchmarking import candidates
from edgekit.benchmarking.candidates import Making, Step
from edgekit.benchmarking.choosing import choose
from edgekit.benchmarking.document import SCHEMA, document
from edgekit.benchmarking.journal import Journal, restored
from edgekit.benchmarking.results import FAILED, OK, Benchmark, Choice, Row
from edgekit.benchmarking.sessions import Measured, measure
from edgekit.core import canonical_json, to_json
from edgekit.core.names import file_name
from edgekit.core.text import counted_words
from edgekit.data import open_source, split_for
from edgekit.devices.device import Device
from edgekit.errors import DataError, EdgekitError, UnavailableError, UnknownNameError
from edgekit.inference import Evaluation
from edgekit.locks import one_writer
from edgekit.measure import statistics
from edgekit.measure.session import Effort, Hold
from edgekit.measure.store import save
from edgekit.models.model import Model
from edgekit.quantize.integers import Integers
from edgekit.report import page
from edgekit.report.inputs import collect
from edgekit.staging import output_folder, refuse_existing, write_file
from edgekit.stated import NOTHING, Stated

if TYPE_CHECKING:
    from edgekit.core import ImageSource

_STATES = [OK, "rejected", FAILED, "left out"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a benchmark is to do.

    Attributes:
        targets: names, or ``all``; so are ``precisions``.
        data: SRC of images for all that needs some; those of the training if ``None``.
        device: that files are for, run on and measured on.
        threads: of the runtimes.
        max_drop: points of the headline figure that the choice may lose.
        effort: of the measurement, for one file.
        out: folder of the results; one that is named after the source if ``None``.
        overwrite: begin anew, and replace files.
        integers: how files of integers are made.
    """

    device: Device
    threads: int
    targets: str | Sequence[str] = candidates.ALL
    precisions: str | Sequence[str] = candidates.ALL
    data: str | None = None
    max_drop: float = 0.5
    effort: Effort = field(default_factory=Effort)
    out: Path | None = None
    overwrite: bool = False
    skip_corrupt: bool = False
    scores: str | None = None
    stated: Stated = NOTHING
    integers: Integers = field(default_factory=Integers)
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told how it goes.

    Attributes:
        step: of everything that takes time.
        note: of the beginning of each part.
        warn: of what has to be known, as soon as it is.
        hold: see `edgekit.measure.session.Hold`.
    """

    step: Step = lambda what, done, total: None
    note: Callable[[str], None] = lambda text: None
    warn: Callable[[str], None] = lambda text: None
    hold: Hold | None = None


def benchmark(source: Model | Path, asked: Asked, told: Told) -> Benchmark:
    """Benchmarks a network, or the exported files of a folder.

    Args:
        source: an open network, or the folder.

    Raises:
        InputError: nothing of it can be used.
        UsageError: the folder of the results is of another benchmark.
        UnavailableError: the device is gone, or nothing that is needed is there.
    """
    name = source.name if isinstance(source, Model) else source.resolve().name or "files"
    out = asked.out or Path(file_name(name, "-benchmark"))
    with output_folder(out), one_writer(out, "benchmark"):
        return benchmark_in(source, asked, told, out)


def benchmark_in(source: Model | Path, asked: Asked, told: Told, out: Path) -> Benchmark:
    """The same in a folder that is this process's alone already."""
    return _Run(source, asked, told, out).whole()


class _Run:
    """One benchmark, whose folder nobody else writes into."""

    def __init__(self, source: Model | Path, asked: Asked, told: Told, out: Path) -> None:
        self._source, self._asked, self._told, self._out = source, asked, told, out
        self._model = source if isinstance(source, Model) else None
        self._warnings: dict[str, None] = {}
        self._network: Evaluation | None = None
        self._stock: Row | None = None

    def whole(self) -> Benchmark:
        """All of it."""
        journal = self._journal()
        runs = self._runs()
        rows, seen = self._files(journal, runs)
        images, split = self._images(rows, seen)
        try:
            if images is not None:
                rows = self._evaluated(rows, images, split, journal)
            return self._measured(rows, journal)
        except UnavailableError as error:
            raise self._gone(error) from error

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings[text] = None
            self._told.warn(text)

    def _gone(self, error: EdgekitError) -> EdgekitError:
        """The error of a device that is gone, with what there is to go on with."""
        if self._asked.device.here:
            return error
        return UnavailableError(
            f"{error}; what was done is kept in {self._out}: give the same command again, without "
            f"--overwrite, to go on"
        )

    def _journal(self) -> Journal:
        """The journal of this benchmark, where that is what the folder holds."""
        asked, model = self._asked, self._model
        identity = {
            "device": asked.device.transport.where,
            "--data": asked.data or "none",
            "version of edgekit": edgekit.__version__,
        }
        if model is None:
            identity |= {"source": str(Path(str(self._source)).resolve())}
        else:
            identity |= {
                "source": model.source,
                "network": f"{candidates.weights_digest(model)}",
                "input": str(model.interface.inputs),
                "options": canonical_json(
                    to_json([asked.scores, asked.stated, _plain(asked.integers)])
                ),
            }
        journal = Journal(self._out, identity, anew=asked.overwrite)
        if not journal.begun:
            results = [self._out / name for name in candidates.OWN]
            refuse_existing(results, asked.overwrite)
        elif journal.complete:
            self._told.note(
                f"{self._out} holds this benchmark: what was measured is taken from there, and "
                f"--overwrite measures anew"
            )
        else:
            self._told.note(f"going on with the benchmark in {self._out}")
        return journal

    def _runs(self) -> dict[str, str | None]:
        """By target, why the device cannot run its files; ``None`` where it can."""
        device = self._asked.device
        targets, flaws = tables.TARGETS.load_all()
        engines = {name: tuple(target.engines) for name, target in targets.items()}
        packages = sorted({package for names in engines.values() for package in names})
        with contextlib.closing(device.open()) as agent:
            about, _ = agent.ask("about", packages=packages, variables=[])
        there = set(about["versions"])
        found: dict[str, str | None] = dict(flaws)
        for name, names in engines.items():
            lacks = bool(names) and not there & set(names)
            found[name] = f"{device.name} has no {targets[name].runtime}" if lacks else None
        return found

    def _files(
        self, journal: Journal, runs: Mapping[str, str | None]
    ) -> tuple[list[Row], tuple[str | None, ...]]:
        """The files, and which images their weights and ranges come from."""
        asked, model = self._asked, self._model
        if model is None:
            found = candidates.in_folder(Path(str(self._source)), runs)
            for text in found.left:
                self._warn(f"left alone: {text}")
            self._stock = found.stock
            seen: dict[str | None, None] = {}
            for contract in found.contracts.values():
                ranges = contract.scheme.calibration_data
                seen |= {contract.data: None, ranges and ranges.rpartition(", ")[0]: None}
            return list(found.rows), (*seen,)
        own = asked.data if model.data is None else None
        integers = asked.integers
        if integers.data is None:
            integers = dataclasses.replace(integers, data=own)
        making = Making(
            model, self._out, own, asked.skip_corrupt, integers, asked.scores, asked.stated,
            asked.overwrite,
        )  # fmt: skip
        images = (integers.data or model.data) is not None
        wanted = candidates.wanted(model, asked.targets, asked.precisions, runs, images, self._out)
        rows = candidates.made(
            making, wanted, journal, self._told.step, self._warn, self._told.note
        )
        if runs.get(tables.DEFAULT_TARGET) is None:
            stock = candidates.stock_of(making, journal, self._told.step)
            if isinstance(stock, Row):
                self._stock = stock
            else:
                self._warn(f"there is no stock file to compare with: {stock}")
        return [*rows, *wanted.left_out], (model.data, integers.data)

    def _images(
        self, rows: Sequence[Row], seen: Sequence[str | None]
    ) -> tuple[ImageSource | None, str]:
        """The labelled images on which all are evaluated, and their split; ``None`` for none."""
        asked, model = self._asked, self._model
        trained_on = next((one for one in seen if one is not None), None)
        if model is not None:
            trained_on = model.data
            if not registry.task(model.task).labelled:
                self._warn(
                    f"outputs of '{model.source}' have no known meaning: the table shows how "
                    f"closely files agree with PyTorch"
                )
                return None, ""
            if not model.trained:
                self._warn(
                    f"'{model.source}' is untrained: the table shows how closely files agree with "
                    f"PyTorch, in place of accuracy"
                )
                return None, ""
        data = asked.data or trained_on
        if data is None:
            self._warn(
                "no accuracy: there are no labelled images; give some with --data SRC. The table "
                "shows how closely files agree with PyTorch"
            )
            return None, ""
        try:
            source = open_source(data, skip_corrupt=asked.skip_corrupt)
        except (DataError, UnknownNameError) as error:
            if asked.data is not None:
                raise
            self._warn(f"no accuracy: {error}; give images with --data SRC")
            return None, ""
        return source, split_for(source, inference.default_split(source, *seen))

    def _evaluated(
        self, rows: Sequence[Row], images: ImageSource, split: str, journal: Journal
    ) -> list[Row]:
        """Rows with figures, all of the same images; those of the network, too."""
        asked = self._asked
        good = [row for row in rows if row.state == OK]
        stock = [] if self._stock is None else [self._stock]
        count = images.size(split)
        on = f"{images.name}, {split}, {count}, {asked.device.transport.where}"
        if self._model is not None:
            key = f"network, {on}"
            self._network = restored(Evaluation, journal.evaluation(key))
            if self._network is None:
                opened = inference.open_classifier(
                    self._model, scores=asked.scores, stated=asked.stated, data=images
                )
                self._network = self._figures(opened, images, split, "PyTorch")
                journal.note_evaluation(key, self._network)
        found: list[Row] = []
        new = [row for row in (*good, *stock) if not journal.evaluation(f"{row.sha256}, {on}")]
        if new:
            self._told.note(
                f"evaluating {counted_words(len(new), 'file')} on "
                f"{counted_words(count, 'image')} of {images.name} ({split})"
            )
        for position, row in enumerate((*good, *stock), 1):
            key = f"{row.sha256}, {on}"
            evaluation = restored(Evaluation, journal.evaluation(key))
            if evaluation is None:
                what = f"{position} of {len(good) + len(stock)}: {row.path.name}"
                try:
                    opened = inference.open_classifier(row.path, threads=None, device=asked.device)
                    evaluation = self._figures(opened, images, split, what)
                except UnavailableError:
                    raise
                except EdgekitError as error:
                    found.append(dataclasses.replace(row, state=FAILED, reason=str(error)))
                    continue
                journal.note_evaluation(key, evaluation)
            for text in evaluation.warnings:
                self._warn(text.replace(row.path.name, "the files"))
            evaluation = dataclasses.replace(evaluation, source=str(row.path))
            found.append(dataclasses.replace(row, evaluation=evaluation))
        if self._stock is not None:
            stock = [found.pop()]
            self._stock = stock[0] if stock[0].state == OK else self._stock
        return [*found, *(row for row in rows if row.state != OK)]

    def _figures(
        self, opened: inference.Classifier, images: ImageSource, split: str, what: str
    ) -> Evaluation:
        """Evaluates one."""
        return inference.evaluate(
            opened,
            images,
            split=split,
            done=lambda n, total: self._told.step(f"evaluating {what}", n, total),
        )

    def _measured(self, rows: Sequence[Row], journal: Journal) -> Benchmark:
        """Measures what is good, and decides."""
        asked = self._asked
        good = [row for row in rows if row.state == OK]
        if not good:
            return self._result(rows, None)
        timed = [*good, *([] if self._stock is None else [self._stock])]
        files = [(row.path, str(row.sha256)) for row in timed]
        seconds = asked.effort.seconds * len(files)
        measured = measure(
            files,
            dataclasses.replace(asked.effort, seconds=seconds),
            threads=asked.threads,
            device=asked.device,
            journal=journal,
            command=asked.command,
            progress=self._told.step,
            hold=self._told.hold,
            note=self._told.note,
        )
        if self._stock is not None:
            self._stock = _with_time(self._stock, measured, None)
        rows = [_with_time(row, measured, self._stock) if row.state == OK else row for row in rows]
        return self._result(rows, measured)

    def _result(self, rows: Sequence[Row], measured: Measured | None) -> Benchmark:
        """The result, with what is written of it."""
        asked = self._asked
        ordered = sorted(rows, key=lambda row: (_STATES.index(row.state), _p50(row)))
        whole = measured is not None and measured.lost is None and not measured.interrupted
        if measured is None or whole:
            choice = self._choice(ordered)
        else:
            choice = Choice(
                None,
                "the measurement is not finished; the same command, without --overwrite, goes on",
            )
        source = self._source.source if isinstance(self._source, Model) else str(self._source)
        lost = None if measured is None else measured.lost
        result = Benchmark(
            source,
            asked.device.name,
            self._out,
            tuple(ordered),
            self._stock,
            self._network,
            asked.max_drop,
            choice,
            None,
            tuple(self._warnings),
            None if lost is None else self._gone(lost),
            measured is not None and measured.interrupted,
            measured is not None and measured.fresh,
        )
        if self._told.hold is not None:
            self._told.hold(True)
        return self._written(result)

    def _choice(self, rows: Sequence[Row]) -> Choice:
        """The file to take."""
        asked = self._asked
        rated = [row for row in rows if row.state == OK and row.evaluation is not None]
        reference, against = None, ""
        best, name = self._network, None
        if best is None and rated:
            top = max(rated, key=lambda row: row.headline or 0.0)
            best, name = top.evaluation, top.path.name
        if best is not None:
            reference, title = best.headline.value, registry.task(best.task).title
            against = f"PyTorch's {title}" if name is None else f"the {title} of the best, {name}"
            half = best.headline.ci95
            if half is not None and 50 * (half[1] - half[0]) > asked.max_drop:
                self._warn(
                    f"{best.n:,} images tell {title} to about ±{50 * (half[1] - half[0]):.1f} "
                    f"points: a loss of {asked.max_drop:g} may be chance"
                )
        return choose(rows, reference, against, asked.max_drop)

    def _written(self, result: Benchmark) -> Benchmark:
        """The page, the document, and the measurements with all samples."""
        measurements = result.measurements
        if measurements:
            evaluations = [
                row.evaluation
                for row in (*result.rows, *([result.stock] if result.stock else []))
                if row.evaluation is not None and row.measurement is not None
            ]
            save(measurements, self._out / candidates.MEASUREMENTS, overwrite=True)
            material = collect([], measurements=measurements, evaluations=evaluations)
            taken, why = result.choice.row, result.choice.why
            told = f"No file to take: {why}." if taken is None else f"Take {taken.path}: {why}."
            text = page.render(dataclasses.replace(material, notes=(told, *material.notes)))
            path = self._out / candidates.PAGE
            write_file(
                path, lambda staged: staged.write_text(text, encoding="utf-8"), overwrite=True
            )
            result = dataclasses.replace(result, page=path, warnings=tuple(self._warnings))
        text = json.dumps({"schema": SCHEMA, **document(result)}, indent=2, allow_nan=False) + "\n"
        write_file(
            self._out / candidates.DOCUMENT,
            lambda staged: staged.write_text(text, encoding="utf-8"),
            overwrite=True,
        )
        return result


def _plain(integers: Integers) -> dict[str, object]:
    """How files of integers are made, but for the device."""
    names = [one.name for one in dataclasses.fields(Integers) if one.name != "device"]
    return {name: getattr(integers, name) for name in names}


def _p50(row: Row) -> float:
    return float("inf") if row.latency is None else row.latency.p50_ms


def _with_time(row: Row, measured: Measured, stock: Row | None) -> Row:
    """A row with what was measured of its file, and how that compares with the stock file."""
    found, error = measured.found.get(str(row.sha256)), measured.failed.get(str(row.path))
    if error is not None:
        return dataclasses.replace(row, state=FAILED, reason=str(error))
    if found is None:
        return row
    speedup = None
    if stock is not None and stock.measurement is not None:
        speedup = statistics.ratio(stock.measurement.blocks, found.blocks)
    return dataclasses.replace(
        row, measurement=found, latency=statistics.summary(found.blocks), speedup=speedup
    )
