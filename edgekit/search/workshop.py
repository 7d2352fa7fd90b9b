"""What all methods of a search work with: candidates, measured networks, bounds, the journal."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.core import (
    ImageSource,
    ModelSpec,
    Preprocessing,
    Scheme,
    canonical_json,
    from_json,
    to_json,
)
from edgekit.devices import host
from edgekit.errors import ModelError
from edgekit.exporting import Exported, export
from edgekit.inference import evaluate, open_classifier
from edgekit.measure.store import data_folder
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
from edgekit.search.measuring import Measurer, Notify
from edgekit.search.parts import whole_of
from edgekit.search.pricing import PartTimes
from edgekit.search.processes import Executor, Outcome
from edgekit.search.records import Conduct, SearchOptions, Step
from edgekit.search.scaling import on_grid

DRIFT = 0.01
"""Share by which a latency that is measured anew may differ beyond its interval; a network is
measured once more after the long training."""

USUAL_CHANGE = 0.04
"""Share of a latency that has to be told apart, where nothing says more."""

PARTS = 4
"""Version of how parts are written and timed: older times say something else."""

FINISHING = 9
"""Round of the journal's candidates in which a network is trained to the end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Appraisal:
    """What a network costs; see `Step` for the attributes."""

    costs: Mapping[str, float]
    ratio: float | None = None
    ci95: tuple[float, ...] = ()
    latency_ci95: tuple[float, ...] = ()
    energy_ci95: tuple[float, ...] = ()


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
        device: str,
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
        self.target, self.precision = registry.target(target), precision
        self.device, self.threads = device, threads
        self.source, self.words, self.out, self.journal = source, words, out, journal
        self.free, self.notify, self._say = free, notify, say
        self.facts: Preprocessing = model.preprocessing
        self._labels, self._words = model.labels, model.words
        self._measurer = Measurer(self.target, threads, conduct, journal, notify, self.say)
        self._part_times: PartTimes | None = None
        self._table: CostTable | None = None
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
            ModelError: a part of the network cannot be.
        """
        place = Place("start", 0)
        known = self.journal.steps(place.series)
        if known:
            self.start = from_json(Step, known[0])
        else:
            self.start = self.measured(place, "start", self.first)
        self.costs = [self._costs(limit.resource) for limit in self.limits]
        self.bounds = [self._bound(limit) for limit in self.limits]
        for costs in self.costs:
            self.check_known(costs, self.spec)

    def check_known(self, costs: Costs, spec: ModelSpec) -> None:
        """Refuses a network of which something cannot be priced.

        Raises:
            ModelError: a part of it cannot be written or run.
        """
        if math.isinf(costs.of(spec)):
            raise ModelError(
                f"parts of '{spec.name}' cannot be written or run for {self.target.name}: a search "
                f"by its latency needs all of them"
            )

    def _bound(self, limit: Limit) -> float:
        bound = limit.absolute(self.start.costs[limit.resource])
        if limit.resource == "latency" and not limit.relative:
            # Milliseconds of other networks are ratios to the start's, which has an interval, too.
            bound *= self.start.costs["latency"] / self.start.latency_ci95[1]
        return bound

    def close(self) -> None:
        """Ends all processes."""
        self._executor.close()
        self._measurer.close()
        if self._part_times is not None:
            self._part_times.close()
        if self._table is not None:
            self._table.close()

    # What things cost

    def _costs(self, resource: str) -> Costs:
        if resource == "macs":
            return Remembered(CountedMacs())
        if resource == "size":
            return Remembered(CountedSize())
        return self._measured_costs

    @functools.cached_property
    def _measured_costs(self) -> Costs:
        """Of latency, and of energy, of which it is the proposal, too: what runs longer takes
        more.
        """
        conditions: dict[str, object] = {
            **host.conditions(self.target.packages),
            "parts": PARTS,
            "device": self.device,
            "target": self.target.name,
            "scheme": to_json(self._scheme),
            "threads": self.threads,
        }
        self._table = CostTable(cost_file(data_folder(), self.device), conditions)
        self._part_times = PartTimes(
            self._table, self.target, self._scheme, self._executor, self._measurer, self.notify,
            self.say, self.spending,
        )  # fmt: skip
        return Remembered(MeasuredLatency(self._table, self._part_times))

    @functools.cached_property
    def _scheme(self) -> Scheme:
        """How parts and networks of which only the costs count are written."""
        return search_scheme(
            Integers().scheme(self.target, registry.precision(self.precision), None)
        )

    def relative(self, spec: ModelSpec, other: Step, which: int) -> float:
        """Predicted cost of a network, by what is known of a measured one.

        Args:
            which: number of the limit.
        """
        known = other.costs[self.limits[which].resource]
        return known * self.costs[which].of(spec) / self.costs[which].of(other.spec)

    def narrowed(self, share: float) -> ModelSpec:
        """The spec with so much of the channels of all groups."""
        return resized(self.spec, {name: on_grid(n, share) for name, n in self.free.items()})

    def excess(self, found: Step | Appraisal) -> list[float]:
        """By limit: what a network costs over its bound; the upper end of an interval counts."""
        shares = []
        for limit, bound in zip(self.limits, self.bounds, strict=True):
            cost = found.costs[limit.resource]
            if limit.resource == "latency" and found.ci95:
                cost = found.ci95[1] * self.start.costs["latency"]
            elif limit.resource == "energy" and found.energy_ci95:
                cost = found.energy_ci95[1]
            shares.append(cost / bound)
        return shares

    def fits(self, found: Step | Appraisal) -> bool:
        """Whether a network keeps all bounds when measured."""
        return max(self.excess(found)) <= 1 + 1e-9

    def told(self, found: Step | Appraisal) -> str:
        """What a network costs, in words."""
        return ", ".join(
            f"{limit.resource} {amount(limit.resource, found.costs[limit.resource])}"
            for limit in self.limits
        )

    # Candidates

    def candidates(
        self, place: Place, jobs: Mapping[str, Candidate], widths: Mapping[str, int | None]
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
        changed: tuple[str, int | None] | None = None,
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
        found = self._appraised(
            place, spec, exported.path, exported.artifact.size_bytes or 0, expected_change
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
            costs=found.costs,
            ratio=found.ratio,
            ci95=found.ci95,
            latency_ci95=found.latency_ci95,
            energy_ci95=found.energy_ci95,
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
        (found,) = self.candidates(at, {"finished": job}, {"finished": None})
        if found.error is not None:
            self.journal.forget_failures(at)
            raise ModelError(f"{job.name} failed: {found.error}")
        network = self.kept(at, "finished").read_bytes()
        step = self.measured(
            place, "finished", network, scored=found.top1, trained_steps=trained_steps
        )
        shutil.rmtree(self.folder(place) / "candidates")
        return step

    def trial(self, place: Place, spec: ModelSpec) -> Appraisal:
        """What a network would cost, whatever its weights, which are random here.

        Raises:
            ModelError: the target's converter cannot take it.
        """
        if all(limit.resource == "macs" for limit in self.limits):
            return Appraisal({"macs": CountedMacs().of(spec)})
        digest = hashlib.sha256(canonical_json(to_json(spec)).encode()).hexdigest()
        for record in self.journal.events("trial"):
            if record["network"] == digest:
                return from_json(Appraisal, record["found"])
        folder = self.folder(place) / "trial"
        path = self._laid(folder, spec)
        contract = self.target.extract(self.out / self.start.artifact)
        if contract is not None:  # a file without one would be smaller than what it stands for
            self.target.embed(path, contract)
        size_bytes = sum(file.stat().st_size for file in folder.iterdir())
        found = self._appraised(place, spec, path, size_bytes, math.inf)  # which side of the bound
        self.journal.note("trial", place, {"network": digest, "found": to_json(found)})
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # a candidate lies there
            folder.parent.rmdir()
        return found

    def _laid(self, folder: Path, spec: ModelSpec) -> Path:
        """Writes a network with random weights in the format of the search."""
        outcomes: list[Outcome] = []
        job = PartFile(spec.name, spec, whole_of(spec), self.target.name, self._scheme)
        with self.spending("exporting"):
            self._executor.run([job], lambda _, outcome: outcomes.append(outcome))
        if outcomes[0].error is not None:
            raise ModelError(f"a network cannot be written: {outcomes[0].error}")
        files: Mapping[str, bytes] = outcomes[0].value
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _write(folder / name, data)
        return folder / next(iter(files))

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
        self, place: Place, spec: ModelSpec, path: Path, size_bytes: int, expected: float
    ) -> Appraisal:
        """Counts and measures what the budget is about, and counts the rest."""
        costs = {"macs": CountedMacs().of(spec), "size": float(size_bytes)}
        ratio: float | None = None
        ci95: tuple[float, ...] = ()
        latency_ci95: tuple[float, ...] = ()
        energy_ci95: tuple[float, ...] = ()
        asked = {limit.resource for limit in self.limits}
        with self.spending("measuring"):
            if "latency" in asked and place.series == "start":
                self.notify("measuring the start")
                costs["latency"], latency_ci95 = self._measurer.start(place, path)
                ratio = 1.0
            elif "latency" in asked:
                self.notify(f"{place.series} {place.step}: measuring against the start")
                start, ms = self.out / self.start.artifact, self.start.costs["latency"]
                bound = self.bounds[[one.resource for one in self.limits].index("latency")] / ms
                found = self._measurer.latency(place, path, start, ms, expected, bound)
                ratio, ci95, costs["latency"] = found.ratio, found.ci95, found.ms
                latency_ci95 = (ci95[0] * ms, ci95[1] * ms)
            if "energy" in asked:
                self.notify(f"{place.series} {place.step}: measuring energy")
                costs["energy"], energy_ci95 = self._measurer.energy(path)
        return Appraisal(costs, ratio, ci95, latency_ci95, energy_ci95)

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
