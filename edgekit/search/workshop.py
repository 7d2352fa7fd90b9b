"""What all methods of a search work with: candidates, measured networks, bounds, the journal."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from edgekit import registry
from edgekit.core import ImageSource, ModelSpec, Preprocessing, from_json, to_json
from edgekit.devices import host
from edgekit.errors import ModelError, UnavailableError
from edgekit.exporting import Exported, export
from edgekit.inference import evaluate, open_classifier
from edgekit.measure.comparing import compare
from edgekit.measure.metering import metering
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.measure.statistics import summary
from edgekit.measure.store import data_folder
from edgekit.measure.subjects import Subject
from edgekit.models import family_of
from edgekit.models.size import laid_out
from edgekit.models.source import Model
from edgekit.models.weights import Checkpoint, load_checkpoint, save_checkpoint
from edgekit.quantize.integers import Integers
from edgekit.search.budget import Limit, amount
from edgekit.search.costs import (
    Costs,
    CostTable,
    CountedMacs,
    CountedSize,
    MeasuredLatency,
    Remembered,
    cost_file,
    search_scheme,
)
from edgekit.search.groups import resized
from edgekit.search.jobs import Candidate, Found, PartFile, Setup
from edgekit.search.journal import Journal, Place, Scored
from edgekit.search.learning import SELECTION
from edgekit.search.parts import Part
from edgekit.search.processes import Executor, Outcome
from edgekit.search.records import Conduct, SearchOptions, Step
from edgekit.search.scaling import least
from edgekit.search.timing import Timer

MEASURING_SECONDS = 6.0
DRIFT = 0.01
"""Share by which a latency that is measured anew may differ beyond its interval; a network is
measured once more after the long training."""

USUAL_CHANGE = 0.04
"""Share of a latency that has to be told apart, where nothing says more."""

MEASURING_TRIES = 3
"""A comparison that is too coarse for its step is made again, each time twice as long."""

FINISHING = 9
"""Round of the journal's candidates in which a network is trained to the end."""

_POLLS_S = (5.0, 10.0, 20.0, 30.0)

Notify = Callable[[str], None]
T = TypeVar("T")


class Workshop:
    """A search under way.

    Args:
        model: trained network of the start.
        source: images of ``words``.
        free: channels of each group that may be made narrower.
        executor: takes a `Setup`; gives what does jobs.

    Attributes:
        start: the network that it began with, measured.
        bounds: in the units of `edgekit.search.budget.UNITS`.
    """

    start: Step
    bounds: Sequence[float]
    costs: Sequence[Costs]

    def __init__(
        self,
        model: Model,
        spec: ModelSpec,
        limits: Sequence[Limit],
        target: str,
        precision: str,
        source: ImageSource,
        words: str,
        out: Path,
        options: SearchOptions,
        conduct: Conduct,
        threads: int,
        journal: Journal,
        free: Mapping[str, int],
        executor: Callable[[Setup], Executor],
        notify: Notify,
        say: Notify,
    ) -> None:
        assert model.labels is not None
        assert model.preprocessing is not None
        self.spec, self.limits, self.options, self.conduct = spec, limits, options, conduct
        self.target, self.precision, self.threads = (
            registry.target(target), precision, threads,
        )  # fmt: skip
        self.source, self.words, self.out, self.journal = source, words, out, journal
        self.free, self.notify, self._say = free, notify, say
        self.facts: Preprocessing = model.preprocessing
        self._labels, self._words = model.labels, model.words
        self._timer: Timer | None = None
        self._settled, self._spent = time.perf_counter(), 0.0
        self._file = out / "start.pt"
        if not self._file.exists():
            save_checkpoint(
                self._file, self._checkpoint(spec, model.module.state_dict(), self.facts)
            )
        self.first = self._file.read_bytes()
        setup = Setup(words, options.seed, self.first, options.selection_images, model.code)
        self._executor = executor(setup)

    def _checkpoint(
        self, spec: ModelSpec, state: Mapping[str, Any], facts: Preprocessing
    ) -> Checkpoint:
        return Checkpoint(
            model=spec.name,
            spec=spec,
            state=state,
            labels=self._labels,
            preprocessing=facts,
            data=self.words,
        )

    def open(self) -> None:
        """Measures the start, and finds out what the budget is in its units.

        Raises:
            UnavailableError: something that the budget is about cannot be measured here.
        """
        if any(limit.resource == "energy" for limit in self.limits):
            with metering(self.conduct.meter, root=self.conduct.root) as found:
                if found.meter is None:
                    raise UnavailableError(
                        f"a budget of energy needs a meter, as an estimate is no measurement, and "
                        f"--meter {self.conduct.meter} finds none: see 'edgekit list meters' and "
                        f"'edgekit doctor'"
                    )
        place = Place("start", 0)
        known = self.journal.steps(place.series)
        if known:
            self.start = from_json(Step, known[0])
        else:
            self.start = self.measured(place, "start", self.first)
        self.costs = [Remembered(self._costs(limit.resource)) for limit in self.limits]
        self.bounds = [limit.absolute(self.start.costs[limit.resource]) for limit in self.limits]

    def close(self) -> None:
        """Ends all processes."""
        self._executor.close()
        if self._timer is not None:
            self._timer.close()

    # What things cost

    def _costs(self, resource: str) -> Costs:
        if resource == "macs":
            return CountedMacs()
        if resource == "size":
            return CountedSize()
        scheme = search_scheme(
            Integers().scheme(self.target, registry.precision(self.precision), None)
        )
        conditions: dict[str, object] = {
            **host.conditions(self.target.packages),
            "device": "host",
            "target": self.target.name,
            "scheme": to_json(scheme),
            "threads": self.threads,
        }

        def measure(parts: Sequence[tuple[ModelSpec, Part]]) -> list[float]:
            return self._part_times(parts, scheme)

        table = CostTable(cost_file(data_folder(), "host"), conditions)
        return MeasuredLatency(table, measure, resource)

    def _part_times(self, parts: Sequence[tuple[ModelSpec, Part]], scheme: Any) -> list[float]:
        """Writes parts in parallel, and times them one by one."""
        jobs = [PartFile(part.name, spec, part, self.target.name, scheme) for spec, part in parts]
        files: list[dict[str, bytes]] = [{} for _ in jobs]

        def written(i: int, outcome: Outcome) -> None:
            if outcome.error is not None:
                raise ModelError(f"{jobs[i].name} of '{jobs[i].spec.name}': {outcome.error}")
            files[i] = outcome.value
            self.notify(f"writing parts of networks, {sum(map(bool, files))} of {len(jobs)}")

        with self.spending("writing parts"):
            self._executor.run(jobs, written)
        times = []
        with self.spending("measuring"), tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            for i, found in enumerate(files):
                self.notify(f"measuring parts of networks, {i + 1} of {len(files)}")
                for name, data in found.items():
                    (Path(folder) / name).write_bytes(data)
                path = Path(folder) / next(iter(found))
                times.append(self.patiently(functools.partial(self._timed, path)))
        return times

    def _timed(self, path: Path) -> float:
        if self._timer is None:
            self._timer = Timer(self.target.name, self.out / self.start.artifact, self.threads)
        return self._timer.time(path)

    def relative(self, spec: ModelSpec, other: Step, which: int) -> float:
        """Predicted cost of a network, by what is known of a measured one.

        Args:
            which: number of the limit.
        """
        known = other.costs[self.limits[which].resource]
        return known * self.costs[which].of(spec) / self.costs[which].of(other.spec)

    def narrowest(self) -> ModelSpec:
        """The spec with all groups as narrow as they may become."""
        return resized(self.spec, {name: least(n) for name, n in self.free.items()})

    def reachable(self) -> list[tuple[Limit, float, float]]:
        """Limits that not even the narrowest network keeps, with its cost and the start's."""
        spec = self.narrowest()
        found = []
        for i, limit in enumerate(self.limits):
            cost = self.relative(spec, self.start, i)
            if cost > self.bounds[i]:
                found.append((limit, cost, self.start.costs[limit.resource]))
        return found

    def excess(self, step: Step) -> list[float]:
        """By limit: what a network costs over its bound; the upper end of an interval counts."""
        return self._excess(step.costs, step.ci95, step.energy_ci95)

    def _excess(
        self, costs: Mapping[str, float], ci95: Sequence[float], energy_ci95: Sequence[float]
    ) -> list[float]:
        found = []
        for limit, bound in zip(self.limits, self.bounds, strict=True):
            cost = costs[limit.resource]
            if limit.resource == "latency" and ci95:
                cost = ci95[1] * self.start.costs["latency"]
            elif limit.resource == "energy" and energy_ci95:
                cost = energy_ci95[1]
            found.append(cost / bound)
        return found

    def fits(self, step: Step) -> bool:
        """Whether a network keeps all bounds when measured."""
        return max(self.excess(step)) <= 1 + 1e-9

    def told(self, step: Step) -> str:
        """What a network costs, in words."""
        return ", ".join(
            f"{limit.resource} {amount(limit.resource, step.costs[limit.resource])}"
            for limit in self.limits
        )

    # Candidates

    def candidates(
        self, place: Place, jobs: Mapping[str, Candidate], widths: Mapping[str, int]
    ) -> list[Scored]:
        """Scores candidates that are not in the journal yet; keeps networks that were asked for.

        Args:
            jobs: by the name under which they are noted.
            widths: for the record.
        """
        known = {name: self.journal.candidate(place, name) for name in jobs}
        missing = [
            name
            for name, job in jobs.items()
            if (one := known[name]) is None
            or (one.error is None and job.keep and not self.kept(place, name).exists())
        ]
        done = 0

        def ended(i: int, outcome: Outcome) -> None:
            nonlocal done
            name, done = missing[i], done + 1
            found = outcome.value
            if isinstance(found, Found):
                if found.checkpoint is not None:
                    _write(self.kept(place, name), found.checkpoint)
                scored = Scored(name, widths[name], found.top1, found.loss, outcome.seconds)
            else:
                scored = Scored(name, widths[name], None, None, outcome.seconds, outcome.error)
                self.say(place, f"{jobs[name].name} was given up: {outcome.error}")
            self.journal.add(place, scored)
            known[name] = scored
            self.notify(f"{jobs[name].name}, {done} of {len(missing)}")

        if missing:
            training = any(jobs[name].steps or jobs[name].epochs for name in missing)
            self.notify(f"{jobs[missing[0]].name}, 1 of {len(missing)}")
            with self.spending("training" if training else "scoring"):
                self._executor.run([jobs[name] for name in missing], ended)
        return [one for name in jobs if (one := known[name]) is not None]

    def kept(self, place: Place, name: str) -> Path:
        """Where the network of a candidate lies until its step is done."""
        folder = self.folder(place) / "candidates"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.{place.round}.pt"

    def folder(self, place: Place) -> Path:
        """Of a step."""
        series = place.series if place.series not in ("netadapt", "start") else "step"
        return self.out / f"{series}-{place.step:02d}"

    # Whole networks

    def measured(
        self,
        place: Place,
        kind: str,
        network: bytes,
        *,
        changed: tuple[str, int] | None = None,
        predicted: float | None = None,
        scored: float | None = None,
        trained_steps: int = 0,
        expected_change: float = USUAL_CHANGE,
    ) -> Step:
        """Writes, exports, verifies and measures a network, and notes it.

        Args:
            network: the bytes of its checkpoint.
            scored: top-1 where that is known.
            expected_change: share of the latency by which it should differ from the last one.

        Raises:
            GateError: the exported file does not agree with the network.
        """
        file, spec, exported = self._filed(place, network)
        costs, ratio, ci95, energy_ci95 = self._appraised(
            place, kind, spec, exported, expected_change
        )
        self.notify(f"{place.series} {place.step}: evaluating")
        with self.spending("scoring"):
            top1 = self._top1(exported.path, SELECTION)
            if scored is None:
                scored = self._network_top1(network)
        step = Step(
            series=place.series,
            step=place.step,
            kind=kind,
            spec=spec,
            changed=None if changed is None else changed[0],
            width=None if changed is None else changed[1],
            costs=costs,
            ratio=ratio,
            ci95=ci95,
            energy_ci95=energy_ci95,
            predicted=predicted,
            top1=top1,
            network_top1=scored,
            params=sum(p.numel() for p in laid_out(spec, family_of(spec).build).parameters()),
            trained_steps=trained_steps,
            checkpoint=str(file.relative_to(self.out)),
            artifact=str(exported.path.relative_to(self.out)),
        )
        self.journal.finish(place, to_json(step))
        return step

    def finished(self, place: Place, job: Candidate, trained_steps: int) -> Step:
        """Trains a network to the end, and measures it.

        Raises:
            ModelError: the training fails.
        """
        at = dataclasses.replace(place, round=FINISHING)
        (found,) = self.candidates(at, {"finished": job}, {"finished": 0})
        if found.error is not None:
            self.journal.forget_failures(at)
            raise ModelError(f"{job.name} failed: {found.error}")
        network = self.kept(at, "finished").read_bytes()
        step = self.measured(
            place, "finished", network, scored=found.top1, trained_steps=trained_steps
        )
        shutil.rmtree(self.folder(place) / "candidates")
        return step

    def trial(self, place: Place, network: bytes) -> float:
        """How much a network exceeds the budget when measured: the largest share of a bound.

        Latencies do not depend on weights, so it needs no training.
        """
        digest = hashlib.sha256(network).hexdigest()
        for record in self.journal.events("trial"):
            if record["network"] == digest:
                return float(record["excess"])
        _, spec, exported = self._filed(place, network)
        costs, ratio, ci95, energy_ci95 = self._appraised(
            place, "trial", spec, exported, USUAL_CHANGE
        )
        found = max(self._excess(costs, ci95, energy_ci95))
        record = {"network": digest, "excess": found, "ratio": ratio, "costs": costs}
        self.journal.note("trial", place, record)
        return found

    def _filed(self, place: Place, network: bytes) -> tuple[Path, ModelSpec, Exported]:
        """Writes, exports and verifies a network."""
        folder = self.folder(place)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "model.pt"
        _write(file, network)
        spec = load_checkpoint(file).spec
        assert spec is not None
        self.notify(f"{place.series} {place.step}: exporting and verifying")
        scheme = self.target.schemes[self.precision]
        with self.spending("exporting"):
            (exported,) = export(
                str(file), [self.target.name], [self.precision], out=folder, overwrite=True,
                integers=Integers(self.words) if scheme.calibration is not None else None,
            )  # fmt: skip
        return file, spec, exported

    def _appraised(
        self, place: Place, kind: str, spec: ModelSpec, exported: Exported, expected: float
    ) -> tuple[dict[str, float], float | None, tuple[float, ...], tuple[float, ...]]:
        """Costs by resource, the ratio of latencies and its interval, the interval of energy."""
        costs = {
            "macs": CountedMacs().of(spec),
            "size": float(exported.artifact.size_bytes or 0),
        }
        ratio: float | None = None
        ci95: tuple[float, ...] = ()
        energy_ci95: tuple[float, ...] = ()
        asked = {limit.resource for limit in self.limits}
        with self.spending("measuring"):
            if "latency" in asked:
                self.notify(f"{place.series} {place.step}: measuring against the start")
                ratio, ci95, costs["latency"] = self._latency(place, kind, exported.path, expected)
            if "energy" in asked:
                self.notify(f"{place.series} {place.step}: measuring energy")
                costs["energy"], energy_ci95 = self.patiently(lambda: self._energy(exported.path))
        return costs, ratio, ci95, energy_ci95

    def _latency(
        self, place: Place, kind: str, path: Path, expected: float
    ) -> tuple[float, tuple[float, ...], float]:
        """Latency over the start's, its interval, and milliseconds at the start's speed."""
        begun = kind == "start"
        first = path if begun else self.out / self.start.artifact
        seconds = MEASURING_SECONDS
        for attempt in range(MEASURING_TRIES):
            found = self.patiently(
                functools.partial(
                    compare,
                    Subject(str(path), threads=self.threads),
                    Subject(str(first), threads=self.threads),
                    Effort(seconds, 0.005),
                )
            )
            if found.interrupted:
                raise KeyboardInterrupt
            if begun:
                ms = summary(found.b.blocks).p50_ms
                self.journal.note("measurement", place, {"latency_ms": ms})
                return 1.0, (), ms
            ratio = found.ratio
            half = (ratio.ci95[1] - ratio.ci95[0]) / 2 / ratio.ratio
            record = {"ratio": ratio.ratio, "ci95": list(ratio.ci95), "seconds": seconds}
            self.journal.note("measurement", place, record)
            if half <= expected / 2 or attempt + 1 == MEASURING_TRIES:
                break
            seconds *= 2
            self.say(
                place,
                f"{place.series} {place.step}: the interval of +-{half:.1%} is wide for a step of "
                f"{expected:.1%}: measuring again, for {seconds:.0f} s",
            )
        return ratio.ratio, ratio.ci95, ratio.ratio * self.start.costs["latency"]

    def _energy(self, path: Path) -> tuple[float, tuple[float, ...]]:
        """Millijoule of an inference and their interval.

        Raises:
            UnavailableError: the meter cannot be read.
        """
        found = profile(
            [Subject(str(path), threads=self.threads)],
            Effort(MEASURING_SECONDS / 2),
            energy=self.conduct.meter,
            progress=lambda what, done, total: self.notify(what),
            root=self.conduct.root,
        )
        if found.interrupted:
            raise KeyboardInterrupt
        energy = found.measurements[0].energy
        if energy.kind != "measured" or energy.mj_per_inference is None:
            raise UnavailableError(f"energy cannot be measured: {energy.reason}")
        return energy.mj_per_inference, tuple(energy.ci95 or ())

    def _top1(self, path: Path, split: str) -> float:
        return evaluate(open_classifier(path), self.source, split=split).top1

    def tested(self, step: Step) -> float | None:
        """Top-1 of a network's file on test images; ``None`` where there are none."""
        if "test" not in self.source.splits:
            return None
        self.notify(f"{step.series} {step.step}: testing")
        with self.spending("scoring"):
            return self._top1(self.out / step.artifact, "test")

    def _network_top1(self, network: bytes) -> float:
        found: list[Outcome] = []
        job = Candidate("scoring", network, recalibrate=False)
        self._executor.run([job], lambda _, outcome: found.append(outcome))
        if found[0].error is not None:
            raise ModelError(f"the network cannot be scored: {found[0].error}")
        return float(found[0].value.top1)

    # On the way

    def say(self, place: Place, text: str) -> None:
        """Says something that has to be known, and keeps it."""
        self._say(text)
        self.journal.note("said", place, {"text": text})

    def patiently(self, call: Callable[[], T]) -> T:
        """Calls something that needs the device, and waits for the device where it is gone.

        Raises:
            UnavailableError: it does not come back.
        """
        begun = time.monotonic()
        for attempt in range(10**6):
            try:
                return call()
            except UnavailableError as error:
                left = self.conduct.patience_s - (time.monotonic() - begun)
                if left <= 0:
                    raise
                pause = min(left, _POLLS_S[min(attempt, len(_POLLS_S) - 1)])
                self.say(Place("device", 0), f"{error}; waiting, {left:.0f} s left")
                time.sleep(pause)
        raise AssertionError

    @contextmanager
    def spending(self, what: str) -> Iterator[None]:
        """Accounts for wall time; accounts do not lie within one another."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self._spent += spent
            self.journal.spend(what, spent)

    def settle(self) -> None:
        """Accounts for the time since it was last called that nothing else accounts for."""
        now = time.perf_counter()
        self.journal.spend("other", now - self._settled - self._spent)
        self._settled, self._spent = now, 0.0


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
