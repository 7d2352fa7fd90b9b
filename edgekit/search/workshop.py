"""What all methods of a search work with: candidates, measured networks, bounds, the journal."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.conversion import Exported, export
from edgekit.core import ModelSpec, Preprocessing, canonical_json, from_json, to_json
from edgekit.core.names import file_name
from edgekit.errors import InputError, ModelError
from edgekit.foreign import explained
from edgekit.inference import evaluate, open_classifier
from edgekit.models import family_of
from edgekit.models.size import laid_out
from edgekit.models.weights import Checkpoint, load_checkpoint, save_checkpoint
from edgekit.quantize.integers import Integers
from edgekit.search.bounds import USUAL_CHANGE, Appraisal, Bounds
from edgekit.search.costs import CountedMacs, Memory
from edgekit.search.following import followed
from edgekit.search.groups import resized
from edgekit.search.inputs import SELECTION
from edgekit.search.jobs import (
    Candidate,
    Found,
    PartFile,
    PartMemory,
    WorkerSetup,
    memory_of,
)
from edgekit.search.journal import Iteration, Journal, Scored
from edgekit.search.measuring import Measurer, Notify
from edgekit.search.parts import Part, whole_of
from edgekit.search.pricing import PartTimes, Pricing
from edgekit.search.processes import Executor, Outcome
from edgekit.search.records import Step, step_of
from edgekit.search.scaling import on_grid
from edgekit.search.task import Task
from edgekit.staging import replace_file

FINISHING = 9
"""Round of the journal's candidates in which a network is trained to the end."""

CONTEST = 8
"""Round in which networks compete for that."""


class Workshop:
    """A search under way.

    Args:
        free: channels of each group that may be made narrower.
        executor: takes a `WorkerSetup`; gives what does jobs.
        say: told what has to be known.

    Attributes:
        first: checkpoint of the start, as the bytes of its file.
        start: the network that it began with, measured; there once it is open.
        bounds: what networks may cost; there once it is open.
    """

    start: Step
    bounds: Bounds

    def __init__(
        self,
        task: Task,
        journal: Journal,
        free: Mapping[str, int],
        executor: Callable[[WorkerSetup], Executor],
        notify: Notify,
        say: Notify,
    ) -> None:
        self.task, self.options, self.out = task, task.options, task.out
        self.journal, self.free, self.notify, self._say = journal, free, notify, say
        file = self.out / "start.pt"
        if not journal.knows(file):
            state = task.model.module.state_dict()
            save_checkpoint(file, self._checkpoint(task.spec, state, task.preprocessing))
            journal.wrote(file)
        self.first = journal.read(file)
        setup = WorkerSetup(
            task.data, self.options.seed, self.first, self.options.selection_images,
            task.model.code, task.objective, task.run,
        )  # fmt: skip
        self._closing = contextlib.ExitStack()
        self._executor = executor(setup)
        self._measurer = Measurer(
            task.target, task.threads, task.conduct, journal, notify, self.say, task.device
        )
        self._closing.callback(self._measurer.close)
        self._closing.callback(self._executor.close)

    def _checkpoint(
        self, spec: ModelSpec, state: Mapping[str, Any], preprocessing: Preprocessing | None
    ) -> Checkpoint:
        model = self.task.model
        return Checkpoint(
            model=spec.name,
            spec=spec,
            state=state,
            labels=self.task.labels,
            preprocessing=preprocessing,
            data=self.task.data,
            scores=model.scores,
            task=model.task,
        )

    def open(self) -> None:
        """Measures the start, and finds out what the budget is in its units.

        Raises:
            UnavailableError: something that the budget is about cannot be measured here.
            ModelError: a part of the network cannot be.
        """
        iteration = Iteration("start", 0)
        known = self.journal.steps(iteration.series)
        if known:
            self.start = step_of(known[0])
        else:
            self.start = self.measured(iteration, "start", self.first)
        times = functools.partial(
            PartTimes, task=self.task, executor=self._executor, measurer=self._measurer,
            notify=self.notify, say=self.say, spending=self.journal.spending,
        )  # fmt: skip
        pricing = Pricing(self.task, self.start.costs["size"], times, self._memories)
        self._closing.callback(pricing.close)
        self.bounds = Bounds(self.task.limits, self.start, pricing.costs)
        for which in range(len(self.task.limits)):
            self.check_known(which, self.task.spec)

    def check_known(self, which: int, spec: ModelSpec) -> None:
        """Refuses a network of which something cannot be priced.

        Args:
            which: number of the limit.

        Raises:
            ModelError: a part of it cannot be written or run.
        """
        if math.isinf(self.bounds.costs[which].of(spec)):
            raise ModelError(
                f"parts of '{spec.name}' cannot be written or run for {self.task.target.name}: a "
                f"search by its {self.task.resources[which]} needs all of them"
            )

    def close(self) -> None:
        """Ends all processes."""
        self._closing.close()

    def narrowed(self, share: float) -> ModelSpec:
        """The spec with so much of the channels of all groups."""
        return resized(self.task.spec, {name: on_grid(n, share) for name, n in self.free.items()})

    # Candidates

    def candidates(
        self, iteration: Iteration, jobs: Mapping[str, Candidate], widths: Mapping[str, int | None]
    ) -> list[Scored]:
        """Scores candidates that are not in the journal yet; keeps networks that were asked for.

        Args:
            jobs: by the name under which they are noted.
            widths: for the record.
        """
        known = {name: self.journal.candidate(iteration, name) for name in jobs}
        missing = [name for name in jobs if known[name] is None]
        done = 0

        def ended(i: int, outcome: Outcome) -> None:
            nonlocal done
            name, done = missing[i], done + 1
            found, files = outcome.value, []
            if isinstance(found, Found):
                for text in found.notes:
                    self.say(iteration, f"{jobs[name].name}: {text}")
                if found.checkpoint is not None:
                    files = [self._kept(iteration, name)]
                    _write(files[0], found.checkpoint)
                scored = Scored(name, widths[name], found.figure, found.loss, outcome.seconds)
            else:
                scored = Scored(name, widths[name], None, None, outcome.seconds, outcome.error)
                self.say(iteration, f"{jobs[name].name} was given up: {outcome.error}")
            self.journal.add(iteration, scored, *files)
            known[name] = scored
            tell(name)

        def tell(name: str) -> None:
            count = f", {done} of {len(missing)}" if len(missing) > 1 else ""
            self.notify(f"{jobs[name].name}{count}")

        if missing:
            training = any(jobs[name].steps or jobs[name].epochs for name in missing)
            tell(missing[0])
            with self.journal.spending("training" if training else "scoring"):
                self._executor.run([jobs[name] for name in missing], ended)
        return [one for name in jobs if (one := known[name]) is not None]

    def network(self, step: Step) -> bytes:
        """The checkpoint of a step's network, as the bytes of its file.

        Raises:
            InputError: it is not what the search has written; so for all files of a search.
        """
        return self.journal.read(self.out / step.checkpoint)

    def artifact(self, step: Step) -> Path:
        """The exported file of a step's network."""
        return self.journal.file(step.artifact)

    def kept(self, iteration: Iteration, name: str) -> bytes:
        """The checkpoint of a candidate, which is there until its step is done."""
        return self.journal.read(self._kept(iteration, name))

    def _kept(self, iteration: Iteration, name: str) -> Path:
        folder = self.folder(iteration) / "candidates"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / _named(name, f".{iteration.round}.pt")

    def folder(self, iteration: Iteration) -> Path:
        """Of a step."""
        series = iteration.series if iteration.series not in ("netadapt", "start") else "step"
        return self.out / _named(series, f"-{iteration.step:02d}")

    # Whole networks

    def measured(
        self,
        iteration: Iteration,
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
            scored: its headline figure in PyTorch where that is known.
            expected_change: share of the latency by which it should differ from the last one.

        Raises:
            GateError: the exported file does not agree with the network.
        """
        file, spec, exported = self._filed(iteration, network)
        appraisal = self._appraised(
            iteration, spec, exported.path, exported.artifact.size_bytes or 0, expected_change
        )
        self.notify(f"{iteration.series} {iteration.step}: evaluating")
        with self.journal.spending("scoring"):
            figure, between = self._figure(exported.path, SELECTION)
            if scored is None:
                scored = self._network_figure(network)
        step = Step(
            series=iteration.series,
            step=iteration.step,
            kind=kind,
            spec=spec,
            changed=None if changed is None else changed[0],
            width=None if changed is None else changed[1],
            costs=appraisal.costs,
            ratio=appraisal.ratio,
            ci95=appraisal.ci95,
            latency_ci95=appraisal.latency_ci95,
            energy_ci95=appraisal.energy_ci95,
            predicted=predicted,
            figure=figure,
            network_figure=scored,
            params=sum(p.numel() for p in laid_out(spec, family_of(spec).build).parameters()),
            trained_steps=trained_steps,
            checkpoint=str(file.relative_to(self.out)),
            artifact=str(exported.path.relative_to(self.out)),
            figure_ci95=between,
        )
        files = [path for path in self.folder(iteration).iterdir() if path.is_file()]
        self.journal.finish(iteration, to_json(step), *files)
        return step

    def finished(self, iteration: Iteration, job: Candidate, trained_steps: int) -> Step:
        """Trains a network to the end, and measures it.

        Raises:
            ModelError: the training fails.
        """
        at = dataclasses.replace(iteration, round=FINISHING)
        (scored,) = self.candidates(at, {"finished": job}, {"finished": None})
        if scored.error is not None:
            self.journal.forget_failures(at)
            raise ModelError(f"{job.name} failed: {scored.error}")
        network = self.kept(at, "finished")
        step = self.measured(
            iteration, "finished", network, scored=scored.figure, trained_steps=trained_steps
        )
        self.remove_candidates(iteration)
        return step

    def remove_candidates(self, iteration: Iteration) -> None:
        """Removes the networks of a step's candidates."""
        folder = self.folder(iteration) / "candidates"
        self.journal.forget_files(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def trial(self, iteration: Iteration, spec: ModelSpec, *, once: bool = False) -> Appraisal:
        """What a network would cost, whatever its weights, which are random here.

        Args:
            once: do not measure again where the bound lies inside the interval.

        Raises:
            ModelError: the target's converter cannot take it.
        """
        if set(self.task.resources) == {"macs"}:
            return Appraisal({"macs": CountedMacs().of(spec)})
        digest = hashlib.sha256(canonical_json(to_json(spec)).encode()).hexdigest()
        for record in self.journal.events("trial"):
            if record["network"] == digest and (once or not record.get("once")):
                return from_json(Appraisal, record["found"])
        folder = self.folder(iteration) / "trial"
        path = self._laid(folder, spec)
        told = f"{spec.name} cannot be given the contract of the start: "
        with explained(told.__add__):  # without one it would be smaller than what it stands for
            contract = self.task.target.extract(self.artifact(self.start))
            if contract is not None:
                self.task.target.embed(path, contract)
        size_bytes = sum(file.stat().st_size for file in folder.iterdir())
        # Only the side of the bound counts.
        found = self._appraised(iteration, spec, path, size_bytes, math.inf, decided=not once)
        record = {"network": digest, "found": to_json(found), "once": once}
        self.journal.note("trial", iteration, record)
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # a candidate lies there
            folder.parent.rmdir()
        return found

    def _laid(self, folder: Path, spec: ModelSpec) -> Path:
        """Writes a network with random weights in the format of the search."""
        outcomes: list[Outcome] = []
        job = PartFile(spec.name, spec, whole_of(spec), self.task.target.name, self.task.scheme)
        with self.journal.spending("exporting"):
            self._executor.run([job], lambda _, outcome: outcomes.append(outcome))
        if outcomes[0].error is not None:
            raise ModelError(f"a network cannot be written: {outcomes[0].error}")
        files: Mapping[str, bytes] = outcomes[0].value
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            _write(folder / _named(name), data)
        return folder / next(iter(files))

    def _filed(self, iteration: Iteration, network: bytes) -> tuple[Path, ModelSpec, Exported]:
        """Writes, exports and verifies a network."""
        folder = self.folder(iteration)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "model.pt"
        _write(file, network)
        spec = load_checkpoint(file).spec
        assert spec is not None
        self.notify(f"{iteration.series} {iteration.step}: exporting and verifying")
        scheme = self.task.target.schemes[self.task.precision]
        integers = Integers(self.task.data, interface=self.task.interface, device=self.task.device)
        with self.journal.spending("exporting"):
            (exported,) = export(
                str(file),
                [self.task.target.name],
                [self.task.precision],
                out=folder,
                overwrite=True,
                integers=integers if scheme.calibration is not None else None,
                data=None if self.task.model.signature is None else self.task.data,
            )
        return file, spec, exported

    def _appraised(
        self,
        iteration: Iteration,
        spec: ModelSpec,
        path: Path,
        size_bytes: int,
        expected: float,
        *,
        decided: bool = True,
    ) -> Appraisal:
        """Counts and measures what the budget is about, and counts the rest.

        Args:
            expected: see `edgekit.search.measuring.Measurer.latency`.
            decided: whether the bound should lie outside of the latency's interval.
        """
        costs = {"macs": CountedMacs().of(spec), "size": float(size_bytes)}
        ratio: float | None = None
        ci95: tuple[float, ...] = ()
        latency_ci95: tuple[float, ...] = ()
        energy_ci95: tuple[float, ...] = ()
        asked = self.task.resources
        with self.journal.spending("measuring"):
            if "latency" in asked and iteration.series == "start":
                self.notify("measuring the start")
                costs["latency"], latency_ci95 = self._measurer.start(iteration, path)
                ratio = 1.0
            elif "latency" in asked:
                self.notify(f"{iteration.series} {iteration.step}: measuring against the start")
                start, ms = self.artifact(self.start), self.start.costs["latency"]
                bound = self.bounds.values[asked.index("latency")] / ms if decided else math.inf
                timing = self._measurer.latency(iteration, path, start, ms, expected, bound)
                ratio, ci95, costs["latency"] = timing.ratio, timing.ci95, timing.ms
                latency_ci95 = (ci95[0] * ms, ci95[1] * ms)
            if "energy" in asked:
                self.notify(f"{iteration.series} {iteration.step}: measuring energy")
                costs["energy"], energy_ci95 = self._measurer.energy(path)
            for resource, simulator in self.task.simulators.items():
                self.notify(f"{iteration.series} {iteration.step}: looking at its {resource}")
                costs[resource] = sum(memory_of(simulator, path))
        return Appraisal(costs, ratio, ci95, latency_ci95, energy_ci95)

    def _memories(self, resource: str, parts: Sequence[tuple[ModelSpec, Part]]) -> list[Memory]:
        """What parts take on a microcontroller; infinite where they cannot be used there."""
        found = [Memory(math.inf)] * len(parts)
        target, simulator, done = self.task.target.name, self.task.simulators[resource], 0

        def ended(i: int, outcome: Outcome) -> None:
            nonlocal done
            done += 1
            if outcome.error is None:
                found[i] = outcome.value
            else:
                spec, part = parts[i]
                text = f"{part.name} of '{spec.name}' cannot be used on {simulator}"
                self.say(Iteration("parts", 0), f"{text}: {outcome.error}")
            self.notify(f"looking at parts of networks, {done} of {len(parts)}")

        with self.journal.spending("writing parts"):
            self._executor.run(
                [
                    PartMemory(
                        part.name,
                        PartFile(part.name, spec, part, target, self.task.scheme),
                        simulator,
                    )
                    for spec, part in parts
                ],
                ended,
            )
        return found

    def _figure(self, path: Path, split: str) -> tuple[float, tuple[float, ...]]:
        """The headline figure of a file in its runtime, on all inputs of a split.

        Returns:
            It, and its 95 % interval, which is empty where none is known.
        """
        if self.task.objective.labelled:
            found = evaluate(open_classifier(path), self.task.source, split=split).headline
            return found.value, found.ci95 or ()
        return followed(path, self.task, split), ()

    def tested(self, step: Step) -> float | None:
        """The headline figure of a network's file on test inputs; ``None`` without any."""
        if "test" not in self.task.inputs.splits:
            return None
        self.notify(f"{step.series} {step.step}: testing")
        with self.journal.spending("scoring"):
            return self._figure(self.artifact(step), "test")[0]

    def _network_figure(self, network: bytes) -> float:
        outcomes: list[Outcome] = []
        job = Candidate("scoring", network, recalibrate=False)
        self._executor.run([job], lambda _, outcome: outcomes.append(outcome))
        if outcomes[0].error is not None:
            raise ModelError(f"the network cannot be scored: {outcomes[0].error}")
        return float(outcomes[0].value.figure)

    # On the way

    def say(self, iteration: Iteration, text: str) -> None:
        """Says something that has to be known, and keeps it."""
        self._say(text)
        self.journal.note("said", iteration, {"text": text})


def _named(name: str, ending: str = "") -> str:
    """A file name from what a journal or a worker says.

    Raises:
        InputError: it is none.
    """
    try:
        return file_name(name, ending)
    except ValueError as error:
        raise InputError(f"{error}: the search's journal or a worker of it is damaged") from error


def _write(path: Path, data: bytes) -> None:
    replace_file(path, lambda file: file.write(data))
