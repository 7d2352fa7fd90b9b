"""What the outputs of a network mean: one file a task, found by the registry's table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit import registry
from edgekit.core import Agreement, Interface, Parameter, Preprocessing
from edgekit.errors import UnknownNameError

if TYPE_CHECKING:
    from edgekit.core import Artifact, ImageSource, Pixels
    from edgekit.data.truths import Truth
    from edgekit.models.model import Model
    from edgekit.tasks.details import Details
    from edgekit.tasks.objectives import Objective

Rows = NDArray[Any]
"""Outputs of inferences, (n, numbers); see `edgekit.core.interface`."""


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of the outputs of a network, be it in PyTorch or in a file.

    Attributes:
        source: how it was named.
        labels: class names; ``None`` when unknown.
        scores: what its outputs are, of `edgekit.core.SCORES`; ``None`` when unknown.
        parameters: what else the task has to know of it, by name.
        parts: of networks in PyTorch, which numbers of an output belong together; see
            `edgekit.models.parts`.
    """

    source: str
    interface: Interface
    labels: tuple[str, ...] | None = None
    scores: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    parts: Callable[[], Sequence[NDArray[np.intp] | None]] = tuple


@dataclass(frozen=True, slots=True)
class Frame:
    """Which pixels of an image a network saw.

    Attributes:
        size: (height, width) of the image, as it was decoded.
    """

    size: tuple[int, int]
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network says of one image; each task adds what that is.

    Attributes:
        image: names it.
    """

    image: str


class Metric(Protocol):
    """Figures of a network on labelled samples."""

    def update(self, rows: Rows, labels: NDArray[Any]) -> None:
        """Takes outputs of some more samples.

        Args:
            rows: numbers that are finite, (n, numbers).
            labels: of the same samples, as `Task.truth` stacks them.
        """

    def figures(self) -> Mapping[str, float | None]:
        """By name; ``None`` for one that these samples do not tell."""

    def ci95(self) -> tuple[float, float] | None:
        """The 95 % interval of the headline, where one is known."""

    def details(self) -> Details:
        """Figures of each class, and what is taken for what."""


class Task(Protocol):
    """What the outputs of one network mean, and what has to agree of them.

    Attributes:
        name: key of the registry's task table.
        headline: name of the figure that speaks for a network, of `metric`; higher is better, and
            1 is the most there is.
        title: the same as people write it.
        labelled: whether labels say what is right, so that `metric` can measure it.
        truth: makes these labels; ``None`` where nothing says what is right.
    """

    name: str
    headline: str
    title: str
    labelled: bool
    truth: Truth | None

    def roles(self) -> tuple[str, ...]:
        """What each output means, in a word for contracts; empty where nobody knows."""

    def check_meaning(self) -> None:
        """Refuses to predict or evaluate with outputs that nobody described.

        Raises:
            ModelError: says what can be done with them.
        """

    def metric(self, source: ImageSource) -> Metric:
        """Begins to measure on labelled samples.

        Raises:
            DataError: their labels are none of the network's.
        """

    def decode(self, rows: Rows, image: str, frame: Frame, most: int) -> Prediction:
        """What a network says of an image.

        Args:
            rows: its outputs for the image, (1, numbers).
            image: names it.
            most: of what there are several, the likeliest so many.
        """

    def shown(self, prediction: Any) -> list[str]:
        """A prediction as lines of text of at most 76 characters."""

    def draw(self, pixels: Pixels, prediction: Any) -> Pixels:
        """An image with its prediction drawn on it, 8-bit RGB."""

    def objective(self, model: Model) -> Objective:
        """What trainings and searches of such networks make smaller and go by.

        Args:
            model: that is trained or searched; it is run.

        Raises:
            ModelError: nothing could be learned.
        """

    def said(self, scores: str | None, model: Model) -> str | None:
        """What the outputs of a network are that is to be searched: as somebody says, or as known.

        Args:
            scores: what is said, of `edgekit.core.SCORES`; ``None`` where nobody says anything.

        Raises:
            UsageError: it cannot be, or outputs of this task are no scores.
        """

    def labels_for(self, source: ImageSource) -> tuple[str, ...]:
        """Names of classes for the checkpoint of a network that learns from a source.

        They are asked for where the `objective` is labelled; of outputs without classes there are
        none.

        Raises:
            ModelError: the source has another number of them.
            DataError: its classes are none of the network's.
        """

    def check_reference(self, rows: Rows, what: str, zeros: Sequence[str] = ()) -> None:
        """Refuses outputs of a network that nothing could be compared with.

        Args:
            rows: what it gives for the samples.
            what: names it in the message.
            zeros: layers and parameters that are all zero, which may explain it.

        Raises:
            ModelError: as said.
        """

    def agreement(self, reference: Rows, outputs: Rows, precision: str) -> Agreement:
        """How closely the outputs of a file follow those of the network.

        Args:
            reference: as `check_reference` accepts them.
            outputs: for the same samples.
            precision: of the file, which says how closely they have to.
        """

    def decided_alike(self, a: Rows, b: Rows) -> NDArray[np.bool_]:
        """For which samples both mean the same to whoever uses them, (n,)."""

    def followed(self, reference: Rows, outputs: Rows) -> float:
        """How well outputs follow those of the network where there are no labels.

        Args:
            reference: as `check_reference` accepts them.
            outputs: for the same samples.

        Returns:
            One figure, from 0 to 1, which is no difference at all.
        """

    def sqnr_db(self, reference: Rows, outputs: Rows, indices: Sequence[int]) -> NDArray[Any]:
        """Signal to noise of single samples, in dB, of the worst output; see `agreement`.

        Args:
            outputs: for the samples ``indices`` of the reference.
        """


@dataclass(frozen=True, slots=True)
class Aim:
    """What of the outputs of one image is explained: one number, a weighted sum of them.

    Attributes:
        weights: one for each number of a row.
        index: of the class.
        label: its name; ``None`` where it has none.
        probability: that the network gives it, from 0 to 1; ``None`` of outputs without any.
        box: x0, y0, x1, y1 in pixels of the image, where the class is told of a part of it.
    """

    weights: NDArray[np.float32]
    index: int
    label: str | None
    probability: float | None
    box: tuple[float, float, float, float] | None = None


class Aiming(Protocol):
    """What a task has besides, whose outputs can be explained by `edgekit.explaining`.

    Attributes:
        gradients: whether those of a network say anything; not where the number is as great as it
            can be.
    """

    gradients: bool

    def aim(self, rows: Rows, frame: Frame, wanted: str | None) -> Aim:
        """What to explain of an image.

        Args:
            rows: outputs of the network for the image, (1, numbers).
            wanted: a class by name or place; the likeliest one if ``None``.

        Raises:
            UnknownNameError: there is no such class.
        """


def class_named(wanted: str, labels: Sequence[str] | None, count: int) -> int:
    """The place of a class that somebody names.

    Args:
        wanted: its name, in any case, or its place from 0 on.
        labels: of all classes; ``None`` where they have no names.

    Raises:
        UnknownNameError: there is none of that name or place; suggests the nearest names.
    """
    names = [*(labels or ())]
    if wanted in names:
        return names.index(wanted)
    alike = [i for i, name in enumerate(names) if name.lower() == wanted.lower()]
    if len(alike) == 1:
        return alike[0]
    if wanted.isascii() and wanted.isdigit() and int(wanted[:9]) < count:
        return int(wanted[:9])
    of_names = f" or the name of one, such as {', '.join(names[:3])}" if names else ""
    hint = f"expected the place of a class, 0 to {count - 1},{of_names}".rstrip(",")
    raise UnknownNameError("class", wanted, names, hint)


def task_of(model: Model) -> Task:
    """The task of a network, with what is known of its outputs."""

    def parts() -> Sequence[NDArray[np.intp] | None]:
        from edgekit.models.parts import parts_of

        return parts_of(model.module, model.tensors) if model.tensors else ()

    known = (model.source, model.interface, model.labels, model.scores, model.parameters)
    return _made(model.task, Described(*known, parts))


def described_interface(model: Model) -> Interface:
    """Inputs and outputs of a network with what each means, as contracts keep it."""
    interface = model.interface
    inputs = [replace(spec, role="image" if spec.layout else "") for spec in model.file_inputs]
    outputs = [
        replace(spec, role=role)
        for spec, role in zip(interface.outputs, task_of(model).roles(), strict=True)
    ]
    return Interface(tuple(inputs), tuple(outputs))


def task_of_file(contract: Artifact, source: str) -> Task:
    """The task of an exported file, as its contract says.

    Args:
        source: how the file was named.
    """
    interface = Interface(contract.inputs, contract.outputs)
    own = {} if contract.suppression is None else asdict(contract.suppression)
    known = (source, interface, contract.labels, contract.scores, {**own, **contract.parameters})
    return _made(contract.task, Described(*known))


def _made(name: str, described: Described) -> Task:
    made: Any = registry.task(name)
    task: Task = made(described)
    return task
