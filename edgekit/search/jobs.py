"""What workers do for a search: train and score networks, write parts of them as files.

A job is plain data and carries the weights that it needs, so it can be done in any process on any
machine, and once more after a crash: equal jobs give equal results.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from edgekit import registry
from edgekit.agent.kernel import usable_cores
from edgekit.core import ModelSpec, Preprocessing, Scheme, Simulation
from edgekit.core.names import inside
from edgekit.errors import ModelError
from edgekit.models import build
from edgekit.models.callables import note_named
from edgekit.models.weights import Checkpoint, build_with, load_checkpoint, save_checkpoint
from edgekit.native_output import captured
from edgekit.search.costs import Memory, write_part
from edgekit.search.groups import Kept, importances, most_important, shrunk
from edgekit.search.inputs import ON_IMAGES, Running, open_inputs
from edgekit.search.learning import Learner
from edgekit.search.parts import Part
from edgekit.search.scaling import Outline, outlined
from edgekit.tables import SIMULATORS
from edgekit.tasks.objectives import OF_LOGITS, Objective
from edgekit.training.layout import fit_for_training
from edgekit.training.threads import BY_ENVIRONMENT, Threads


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What all jobs of a search share.

    Attributes:
        data: SRC of the inputs.
        code: what makes the network, where that is not edgekit's own: named by the user, see
            `edgekit.models.adapted`.
        teacher: checkpoint of the network to learn from, as the bytes of its file.
        selection_images: see `edgekit.search.records.SearchOptions`.
        objective: what is learned.
        run: how networks are run.
    """

    data: str
    seed: int
    teacher: bytes
    selection_images: int
    code: str | None = None
    objective: Objective = OF_LOGITS
    run: Running = ON_IMAGES


class Bench:
    """A worker's own: inputs and the teacher, loaded when they are first needed."""

    def __init__(self, setup: WorkerSetup) -> None:
        if setup.code is not None:
            note_named(setup.code)
        self.setup = setup
        self.cores = min(torch.get_num_threads(), usable_cores())
        self._learners: dict[tuple[Preprocessing | None, bool], Learner] = {}
        self._teacher: Checkpoint | None = None

    def learner(self, preprocessing: Preprocessing | None, *, distill: bool) -> Learner:
        """For images of that size."""
        if self._teacher is None:
            self._teacher = _loaded(self.setup.teacher)
        setup = self.setup
        alike = preprocessing == self._teacher.preprocessing
        follow = (distill and alike) or not setup.objective.labelled
        if (preprocessing, follow) not in self._learners:
            self._learners.clear()  # memory for the images of one size is enough
            self._learners[preprocessing, follow] = Learner(
                open_inputs(setup.data, preprocessing, setup.run.interface, setup.objective.truth),
                setup.objective,
                setup.seed,
                _built(self._teacher) if follow else None,
                setup.selection_images,
                setup.run,
            )
        return self._learners[preprocessing, follow]


@dataclass(frozen=True, slots=True)
class Found:
    """What a candidate came to.

    Attributes:
        figure: the task's headline figure on the inputs that candidates are chosen by.
        checkpoint: the network as the bytes of its file, where it was asked for.
        notes: what has to be known of it.
    """

    figure: float
    loss: float
    spec: ModelSpec
    checkpoint: bytes | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """Makes a network narrower, trains it and scores it.

    Attributes:
        name: for messages.
        network: checkpoint of the network to begin with, as the bytes of its file.
        sizes: channels that stay, by group.
        outline: layers that stay and the size of images, where they change, too.
        steps: batches of training; without any only the statistics of batch norms are new.
        epochs: the same in epochs, in addition: a long training, which counts only where the
            network is better than before it, on samples that it did not learn from.
        epoch: whose order of images comes first.
        scratch: forget the weights first.
        keep: whether the network is wanted.
        thorough: score it on all images of the split, whatever `WorkerSetup.selection_images` says.
        weight: how many times the time limit it may take.
        wide: whether it may use all cores that others leave, as it runs alone.
    """

    name: str
    network: bytes
    sizes: Mapping[str, int] = field(default_factory=dict)
    outline: Outline | None = None
    criterion: str = "l2"
    steps: int = 0
    epochs: int = 0
    epoch: int = 0
    rate: float = 0.0
    distill: bool = False
    scratch: bool = False
    recalibrate: bool = True
    keep: bool = False
    thorough: bool = False
    weight: float = 1.0
    wide: bool = False

    def do(self, bench: Bench) -> Found:
        """The score, and the network.

        Raises:
            ModelError: the training diverges, or the channels cannot be taken out.
        """
        threads, notes = self._threads(bench)
        start = _loaded(self.network)
        assert start.spec is not None
        spec, preprocessing = start.spec, start.preprocessing
        module = _built(start)
        if self.outline is not None:
            assert preprocessing is not None  # of the zoo, which takes images
            spec, module, preprocessing = outlined(spec, module, preprocessing, self.outline)
        learner = bench.learner(preprocessing, distill=self.distill)
        if self.sizes:
            spec, module = self._narrowed(spec, module, learner)
        if self.scratch:
            torch.manual_seed(bench.setup.seed)
            module = build(spec)
        fit_for_training(module)
        if self.recalibrate:
            learner.recalibrate(module)
        steps = self.steps + self.epochs * learner.epoch_steps
        before = (-math.inf, -math.inf)
        if self.epochs and not self.scratch:
            before = _score(learner, module, self)
            untrained = {name: value.clone() for name, value in module.state_dict().items()}
        if steps:
            if threads is not None:
                threads.fit()
            learner.tune(module, steps, self.rate, self.epoch, fresh=self.scratch)
        after = _score(learner, module, self)
        if before > after:
            notes.append(
                f"its figure was {before[0]:.4f} before {steps} batches of training and "
                f"{after[0]:.4f} after them: the weights from before are kept"
            )
            module.load_state_dict(untrained)
            after = before
        kept = None
        if self.keep:
            kept = _saved(
                dataclasses.replace(
                    start, spec=spec, state=module.state_dict(), preprocessing=preprocessing
                )
            )
        return Found(after[0], -after[1], spec, kept, tuple(notes))

    def _threads(self, bench: Bench) -> tuple[Threads | None, list[str]]:
        """Sets the number; gives what looks at it again, and what that says."""
        notes: list[str] = []
        torch.set_num_threads(bench.cores if self.wide else 1)
        return Threads(None, notes.append, BY_ENVIRONMENT) if self.wide else None, notes

    def _narrowed(
        self, spec: ModelSpec, module: nn.Module, learner: Learner
    ) -> tuple[ModelSpec, nn.Module]:
        ranks = importances(module, self.criterion, learner.effect)
        kept: Kept = {
            name: most_important(ranks[name], width) for name, width in self.sizes.items()
        }
        return shrunk(spec, module, kept)


@dataclass(frozen=True, slots=True)
class PartFile:
    """Writes a part of a network in the format of a target, with fresh weights.

    Attributes:
        part: one of `edgekit.search.parts.parts_of`.
    """

    name: str
    spec: ModelSpec
    part: Part
    target: str
    scheme: Scheme
    weight: float = 1.0

    def do(self, bench: Bench) -> dict[str, bytes]:
        """Bytes of the files by name, the artifact itself first.

        Raises:
            ModelError: the target's converter cannot take it.
        """
        torch.set_num_threads(1)
        target = registry.target(self.target)
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            path = Path(folder) / f"part{target.suffix}"
            write_part(self.spec, self.part, target, self.scheme, path)
            others = sorted(file for file in Path(folder).iterdir() if file != path)
            return {file.name: file.read_bytes() for file in (path, *others)}


@dataclass(frozen=True, slots=True)
class PartMemory:
    """Looks at what a part of a network takes on a microcontroller.

    Attributes:
        file: the part.
        simulator: key of the registry's table.
    """

    name: str
    file: PartFile
    simulator: str
    weight: float = 1.0

    def do(self, bench: Bench) -> Memory:
        """The memory.

        Raises:
            ModelError: the target's converter cannot take it.
            InputError: the microcontroller cannot.
        """
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            for name, data in (files := self.file.do(bench)).items():
                inside(Path(folder), name).write_bytes(data)
            return memory_of(self.simulator, inside(Path(folder), next(iter(files))))


def memory_of(simulator: str, path: Path) -> Memory:
    """What a file that was written here takes on a microcontroller."""
    found = SIMULATORS.load(simulator)
    with captured():
        told: Simulation = found.look(path, trusted=True)
    if found.memory == "sram":
        return Memory(float(told.sram_bytes or 0))
    held = float((told.arena or {}).get("activations", 0))
    return Memory(held, float(told.arena_bytes or 0) - held)


Job = Candidate | PartFile | PartMemory


def _score(learner: Learner, module: nn.Module, job: Candidate) -> tuple[float, float]:
    """How good a network is, as one that can be compared: its figure, and its loss negated."""
    figure, loss = learner.score(module, thorough=job.thorough)
    return figure, -loss


def _loaded(data: bytes) -> Checkpoint:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "model.pt"
        path.write_bytes(data)
        return load_checkpoint(path)


def _saved(checkpoint: Checkpoint) -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "model.pt"
        save_checkpoint(path, checkpoint)
        return path.read_bytes()


def _built(checkpoint: Checkpoint) -> nn.Module:
    if checkpoint.spec is None:
        raise ModelError(f"'{checkpoint.model}' has no spec that it could be built from")
    return build_with(checkpoint.spec, checkpoint.state, checkpoint.model).eval()
