"""Protocols: what a plug-in has to offer, and what the rest of edgekit relies on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Protocol, Tuple, runtime_checkable

from edgekit.core.forms import Choice
from edgekit.core.interface import Example
from edgekit.core.measurements import EmbeddedOperator, OperatorTime, Reading, Simulation
from edgekit.core.objects import Boxes
from edgekit.core.records import Decided, Scheme, Suppression, TensorSpec

if TYPE_CHECKING:
    from subprocess import Popen
    from typing import IO

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    Array = NDArray[np.generic]
    Pixels = NDArray[np.uint8]


Shapes = Mapping[str, Tuple[int, ...]]
"""Shapes of inputs by their names; an empty name stands for the only input of a file."""


class Runner(Protocol):
    """A loaded artifact, ready to compute."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Computes one inference.

        Args:
            inputs: one array per input tensor, in the order of `tensors`.

        Returns:
            One freshly owned array per output tensor, in the order of `tensors`.
        """

    def prepare(self, inputs: Sequence[Array]) -> Callable[[], None]:
        """Binds inputs once, for timing.

        Args:
            inputs: as for `run`; not to be changed while the result is in use.

        Returns:
            What computes one inference per call and nothing besides: no input is copied, and
            outputs stay where the runtime puts them, for `outputs`. It is of no use after the
            next `run` or `prepare`.
        """

    def outputs(self) -> list[Array]:
        """What the last call of a `prepare`'d inference computed, as `run` returns it."""

    def tensors(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Inputs and outputs as the runtime reports them.

        Inputs have numbers for all sizes. Outputs have -1 where only running tells.
        """


@runtime_checkable
class Inspectable(Protocol):
    """A target that can show what flows between the layers of a file."""

    @abstractmethod
    def activations(self, path: Path, inputs: Sequence[Array]) -> Iterator[tuple[str, Array]]:
        """Yields every float tensor that the artifact computes, with its name, in file order."""


class Target(Protocol):
    """A file format with its runtime.

    What it can do besides is told by the protocols `Quantizing`, `Profilable`, `Inspectable` and
    `Convertible`, which it may have, too. A target of another package derives from those that it
    has: then attributes that come later have values.

    Attributes:
        name: key of the registry's target table.
        suffix: ending of the main file, with the dot.
        layout: axes of images in exported files.
        runtime: what runs the file, for people.
        schemes: what the format can hold, by precision name.
        packages: distributions whose versions belong into the contract.
        engines: distributions that can run its files, that of `runtime` first; none where that is
            no package of Python.
        variables: of the environment, by which the runtime chooses its kernels: a latency holds
            for their values.
        lowerings: rewrites of the registry's table that only some targets gain from, and this one
            does.
        dynamic_batch: whether its files can leave the batch open; see `Example.any_batch`.
        opener: ``module:attribute`` of what opens its files on a device, with `start`, `open`, and
            where there are such, `operators` and `activations`: it needs NumPy and the runtime
            only, on Python 3.8. Empty where the target itself does.
    """

    name: str
    suffix: str
    layout: str
    runtime: str
    schemes: Mapping[str, Scheme]
    packages: tuple[str, ...]
    engines: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    lowerings: tuple[str, ...] = ()
    dynamic_batch: bool = False
    opener: str = ""

    def environment(self) -> Mapping[str, str]:
        """Variables that the runtime should find when it is imported; see `silent_import`."""
        return {}

    @abstractmethod
    def start(self) -> None:
        """Imports the runtime: what takes time before the first file is opened."""

    @abstractmethod
    def export(
        self,
        model: nn.Module,
        example: Example,
        path: Path,
        scheme: Scheme,
        calibration: Sequence[Sequence[Array]] | None = None,
    ) -> Decided:
        """Writes ``model`` to ``path``.

        Args:
            model: in eval mode; takes the tensors of ``example``, one an argument, and gives a
                tensor for each output, in a tuple where they are several.
            example: inputs of one inference, and the names and the order of inputs and outputs in
                the file. Images get the layout of the target, all else keeps its axes.
            path: of the main file; companions lie beside it.
            calibration: inputs for range estimation, where the scheme needs them; of each
                inference one array per input, as the file takes them.

        Returns:
            What converter and quantizer decided, where the scheme leaves it to them.
        """

    @abstractmethod
    def open(
        self,
        path: Path,
        threads: int | None = None,
        *,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> Runner:
        """Loads an artifact.

        Args:
            threads: of the runtime; ``None`` leaves the choice to it.
            batch: images per inference; ``None`` for what the file says, 1 where it leaves that
                open.
            shapes: of inputs whose sizes the file leaves open; names that it does not have are
                passed over. With some, the file is fed as it is, and ``batch`` is the first size
                of other inputs. ``None`` where nobody can be asked for them.

        Raises:
            InputError: the file cannot be loaded, or not for that batch or those shapes; it leaves
                other sizes open than the first one, or takes no numbers.

        Denormals stay as they are: the runtimes' switches flush them for the calling thread as
        well and never undo it, so that is for a process that only measures.
        """

    @abstractmethod
    def files(self, path: Path) -> tuple[Path, ...]:
        """All files of the artifact whose main file is ``path``, in digest order.

        The main file comes first. It names the others, which need not be there; where it is
        missing itself, they are those of `written`.

        Raises:
            InputError: it names a file outside its folder.
        """

    @abstractmethod
    def written(self, path: Path) -> tuple[Path, ...]:
        """Files that `export` writes for the main file ``path``, in digest order."""

    @abstractmethod
    def embed(self, path: Path, text: str) -> None:
        """Stores ``text`` in the artifact's own metadata."""

    @abstractmethod
    def extract(self, path: Path) -> str | None:
        """The text that `embed` stored, ``None`` where there is none."""


@runtime_checkable
class Quantizing(Protocol):
    """A target that can hold integers with scales.

    Attributes:
        ranges: ways to find the range of a tensor from images, the default one first.
        forms: switches of how a network is written, each with its values, the default one first.
            The values of a switch compute the same and differ in speed, but for those of
            `edgekit.core.forms.CORRECTION` and ``WEIGHTS``, which differ in accuracy.
        choices: forms that are taken instead of the default ones where nobody measures; of several
            that fit, the later ones add to those before.
        free_casts: whether turning floats into integers and back at the ends of a file of integers
            takes next to no time.
    """

    ranges: tuple[str, ...]
    forms: Mapping[str, tuple[str, ...]]
    choices: tuple[Choice, ...] = ()
    free_casts: bool = False

    @abstractmethod
    def float_operators(self, path: Path) -> tuple[str, ...]:
        """Kinds of the operators of a file of integers that its runtime computes in float.

        One entry per operator, in the order of the file; conversions, and what only moves values,
        are left out.
        """


@runtime_checkable
class Stock(Protocol):
    """A target whose files people commonly write without edgekit, to compare its own with."""

    @abstractmethod
    def export_stock(self, model: nn.Module, example: Example, path: Path) -> None:
        """Writes ``model`` in float32 as the usual exporter alone does, with no rewrite.

        Args:
            model: see `Target.export`, as for the others.
        """


@runtime_checkable
class Suppressing(Protocol):
    """A target whose runtime has non-maximum suppression."""

    @abstractmethod
    def suppress(self, path: Path, suppression: Suppression) -> None:
        """Adds it to a detector's file, in place.

        It takes pairs of box and class as `edgekit.boxes.select` does, so that it gives the same.

        Args:
            path: of a file of batch 1 whose outputs are ``boxes`` (1, anchors, 4) and ``scores``
                (1, anchors, classes), float32; afterwards they are `edgekit.core.SUPPRESSED`.
        """

    @abstractmethod
    def unsuppress(self, path: Path, bare: Path) -> None:
        """Writes the file as it was before `suppress`.

        Args:
            bare: where to.

        Raises:
            LookupError: the file has no suppression.
        """


@runtime_checkable
class Convertible(Protocol):
    """A target whose files several converters can write.

    Attributes:
        converters: their names, the default one first.
    """

    converters: tuple[str, ...]

    @abstractmethod
    def by(self, converter: str) -> Target:
        """The same target, whose files that converter writes."""


@runtime_checkable
class Profilable(Protocol):
    """A target whose runtime tells the time of each operator.

    Attributes:
        timed_alone: whether each operator is timed in a file of its own, rather than inside the
            network.
    """

    timed_alone: bool = False

    def float_kind(self, kind: str) -> str:
        """The kind of operator that computes on floats what one of this kind does on integers."""
        return kind

    @abstractmethod
    def operators(
        self,
        path: Path,
        inputs: Sequence[Array],
        *,
        threads: int | None,
        runs: int,
        batch: int | None = None,
        shapes: Shapes | None = None,
    ) -> tuple[OperatorTime, ...]:
        """Times every operator that the runtime executes, in that order.

        Operators that it fused are told as the one that they were fused into. What a session
        does between operators is not among them.

        Args:
            inputs: as for the `Runner` that `Target.open` gives for the same ``batch``.
            threads: of the runtime; ``None`` leaves the choice to it.
            runs: inferences to time, behind a warm-up; at least 1.
            batch: as for `Target.open`.
            shapes: as for `Target.open`.

        Raises:
            InputError: as `Target.open` does.
            UnavailableError: the profiler's records cannot be told apart.
        """


class Meter(Protocol):
    """An open energy or power meter.

    Attributes:
        name: key of the registry's meter table.
        scope: see `Energy`.
        detail: zones, rails or labels that are summed up.
        quantity: ``energy`` for a counter in mJ, ``power`` for samples in mW.
        range_mj: value at which a counter begins again at 0; ``None`` if it never does, or if
            nobody tells.
        period_s: time between updates of the reading.
    """

    name: str
    scope: str
    detail: str
    quantity: str
    range_mj: float | None
    period_s: float

    def read(self) -> Sequence[Reading]:
        """All readings since the last call, oldest first; one for meters without a memory.

        Times are those of `time.monotonic`.

        Raises:
            MeterError: the meter cannot be read, or shows what cannot be.
        """

    def close(self) -> None:
        """Gives back what is open."""


class MeterKind(Protocol):
    """What the registry's meter table names: a kind of meter that a device may have."""

    def open(self, root: Path) -> Meter:
        """Opens the meter.

        Args:
            root: of the file system, ``/`` but in tests.

        Raises:
            UnavailableError: the device has none, or it must not be read; the message says what
                was looked for and what would help.
        """


class Simulator(Protocol):
    """A microcontroller, by what stands for it on this machine: its interpreter, or a model of it.

    It has no clock, and is no device that can be measured on.

    Attributes:
        name: key of the registry's table of simulators.
        target: key of the table of targets: whose files it takes.
        exported: options of ``edgekit export`` that such files are written with.
        packages: distributions that it needs.
        extra: of edgekit, which installs them; or what else ``pip install`` is to be given.
        kind: see `Simulation`.
        memory: what it tells, as a search's budget calls it: ``arena`` or ``sram``.
        runtime: target of the same files that runs them as the device would; ``None`` where
            nothing can be run.
        reference: the same with the kernels that those of the device are to compute alike.
    """

    name: str
    target: str
    exported: str
    packages: tuple[str, ...]
    extra: str
    kind: str
    memory: str
    runtime: Target | None
    reference: Target | None

    def start(self) -> None:
        """Imports what it needs, or looks for it.

        Raises:
            ModuleNotFoundError: a package is not installed.
        """

    def check(self, path: Path) -> None:
        """Refuses a file that the device could not take.

        Raises:
            InputError: says how one is exported that it could.
        """

    def look(self, path: Path, *, trusted: bool = False) -> Simulation:
        """What a file takes on the device.

        Args:
            trusted: the file was written here: it need not be looked at in a process of its own.

        Raises:
            InputError: it cannot be used there; names all operators that the device lacks.
        """


class Embedded(Simulator, Protocol):
    """A simulator whose interpreter is linked with programs for the device."""

    def operators(self, path: Path) -> Sequence[EmbeddedOperator]:
        """What such a program has to add to the interpreter for a file.

        Raises:
            InputError: the file needs operators that are not the interpreter's own.
        """


class Transport(Protocol):
    """A way to a device: it starts agents there (`edgekit.agent`).

    Attributes:
        where: the device, for people.
    """

    where: str

    def start(self, channel: int, stderr: IO[bytes]) -> Popen[bytes]:
        """Starts a process whose standard input and output are those of an agent.

        Args:
            channel: descriptor of a socket, for both.
            stderr: file for what it prints.

        Raises:
            UnavailableError: a program that it needs is not there.
        """

    def introduce(self, wire: Any, limit_s: float) -> None:
        """Brings the agent to where it runs, where that is another machine.

        Args:
            wire: an `edgekit.agent.wire.Wire` to the process that `start` started.
            limit_s: longest wait for an answer.

        Raises:
            Closed: it has ended; see `edgekit.agent.wire`.
            TimeoutError: it does not answer.
            UnavailableError: it answers otherwise than it should.
        """

    def explain(self, code: int, told: str) -> Exception:
        """The `edgekit.errors.EdgekitError` to raise where such a process has ended.

        Args:
            code: exit code, negative for a signal.
            told: the end of what it printed.
        """


class Lowering(Protocol):
    """A rewrite of a network before export, exact up to float rounding."""

    name: str

    def applies(self, model: nn.Module, target: Target, scheme: Scheme) -> bool:
        """Whether the rewrite is meant for this network, target and scheme."""

    def rewrite(self, model: nn.Module, example: tuple[Tensor, ...]) -> nn.Module:
        """A rewritten copy, or ``model`` itself if there is nothing to do; that stays as it is.

        Args:
            example: inputs of one inference, one an argument.
        """


class FolderFormat(Protocol):
    """How a folder holds images and labels; mostly the class of its sources."""

    def reads(self, path: Path) -> bool:
        """Whether a folder has this format, by a look at its names."""

    def __call__(self, path: Path, *, skip_corrupt: bool = False) -> ImageSource:
        """The images of a folder.

        Args:
            skip_corrupt: leave out those that cannot be decoded, instead of failing.

        Raises:
            DataError: the folder cannot be used.
        """


class ImageSource(Protocol):
    """Images with fixed splits, of which something is known; see `LabelSource` and others.

    Attributes:
        name: what opens it again.
        classes: class names by index.
        flippable: whether a mirrored image keeps its classes.
        splits: names of the splits that it has.
        keeps_test: whether its test split is its own, rather than cut by edgekit from images
            that somebody may mean to use as a whole.
    """

    name: str
    classes: tuple[str, ...]
    flippable: bool
    splits: tuple[str, ...]
    keeps_test: bool

    def size(self, split: str) -> int:
        """Number of images in a split."""

    def image(self, split: str, index: int) -> Pixels:
        """One image: 8-bit RGB, shape (height, width, 3)."""


class LabelSource(ImageSource, Protocol):
    """Images of one class each."""

    def label(self, split: str, index: int) -> int:
        """Index of the class of one image."""


class BoxSource(ImageSource, Protocol):
    """Images with boxes around their objects."""

    def boxes(self, split: str, index: int) -> Boxes:
        """The objects of one image; there may be none."""


class MaskSource(ImageSource, Protocol):
    """Images with a class for each pixel.

    Attributes:
        mask_classes: class names by the values of masks. They are `classes` where the source tells
            masks only. One that tells boxes, too, has pixels of no object: the first name stands
            for those then, and is ``background``.
    """

    mask_classes: tuple[str, ...]

    def mask(self, split: str, index: int) -> Pixels:
        """Indices of classes, shape (height, width); `edgekit.core.IGNORE` where nobody knows."""
