"""Distillation: learning from the outputs of a trained network (arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekit import registry
from edgekit.core import CLASSIFY, Preprocessing, class_count
from edgekit.data.finite import check_finite
from edgekit.errors import CheckpointError, ModelError, UsageError
from edgekit.foreign import explained
from edgekit.models.adapted import is_adapted
from edgekit.models.libraries import LIBRARIES
from edgekit.models.model import Model
from edgekit.models.program import SUFFIX
from edgekit.models.purity import as_function
from edgekit.models.rows import flattened
from edgekit.models.source import is_path, open_model
from edgekit.models.weights import is_checkpoint, load_checkpoint
from edgekit.tasks.losses import divergence, kind_of_network
from edgekit.training.images import normalize


class Teacher:
    """A trained network whose outputs are learned.

    Args:
        model: in eval mode, which it stays in.
        preprocessing: of the images where the network does not say how its own are normalized.
        temperature: divides the scores of both networks before they are compared.
    """

    def __init__(self, model: Model, preprocessing: Preprocessing, temperature: float) -> None:
        self.model = model
        self.module: nn.Module = model.module.eval().requires_grad_(False)
        self.preprocessing = model.preprocessing or preprocessing
        self.temperature, self._source = temperature, model.source
        image = (self.preprocessing.channels, *self.preprocessing.size)
        known = "logits" if model.of_zoo else model.scores
        if model.task == CLASSIFY:
            self._kind = known or kind_of_network(self.module, image, model.source)

    def check_outputs(self, own: Model) -> None:
        """Refuses a teacher whose outputs are other ones than those of the network that learns.

        Raises:
            ModelError: says which.
        """
        theirs, ours = (
            [(spec.name, spec.shape) for spec in model.interface.outputs]
            for model in (self.model, own)
        )
        if theirs != ours:
            told = [" and ".join(f"'{n}' {s}" for n, s in one) for one in (theirs, ours)]
            raise ModelError(
                f"teacher '{self._source}' gives {told[0]}, and '{own.source}' gives {told[1]}: "
                f"expected the same head, classes and resolution, on any backbone"
            )

    def rows(self, pixels: Tensor) -> Tensor:
        """Outputs (N, numbers), class scores mostly, of 8-bit images (N, height, width, 3)."""
        told = f"teacher '{self._source}' fails on an image: "
        with explained(told.__add__), torch.no_grad():
            return flattened(self.module(normalize(pixels, self.preprocessing)))

    def check(self, pixels: Tensor, name: Callable[[int], str]) -> None:
        """Refuses a teacher that gives no numbers for some images, as no loss can be made of them.

        Args:
            pixels: see `rows`.
            name: names the image of a row.

        Raises:
            ModelError: as said.
        """
        check_finite(self.rows(pixels).cpu().numpy(), f"teacher '{self._source}'", name)

    def loss(self, scores: Tensor, pixels: Tensor, kind: str = "logits") -> Tensor:
        """Divergence of the softened probabilities from the teacher's, times temperature squared.

        The factor keeps the gradient as large as that of the labels at every temperature
        (arXiv:1503.02531, section 2).

        Args:
            scores: of the network that learns, (N, classes).
            pixels: what they are of, 8-bit, (N, height, width, 3).
            kind: what the scores are, of `edgekit.core.SCORES`.
        """
        kinds = (kind, self._kind)
        away = divergence(scores.float(), self.rows(pixels).float(), kinds, self.temperature)
        return away * self.temperature**2


def _check_file(source: str) -> None:
    """Refuses files that do not say their network: nothing beside them does.

    Raises:
        CheckpointError: a state dict, or a checkpoint of code that it would not run.
    """
    if not is_path(source) or Path(source).suffix == SUFFIX:
        return
    path = Path(source)
    known = (
        "expected a run folder or checkpoint of one of edgekit's networks, or "
        "package.module:callable, a function that loads these weights"
    )
    if not is_checkpoint(path):
        raise CheckpointError(
            f"teacher '{source}' is a state dict, which does not say its network: {known}"
        )
    checkpoint = load_checkpoint(path)
    spec = checkpoint.spec
    if spec is not None and not is_adapted(spec):
        return
    code = checkpoint.model if spec is None else spec.source
    if code.partition(":")[0] not in LIBRARIES and not registry.is_composed(code):
        raise CheckpointError(
            f"teacher '{source}' is of '{code}', code of your own that a checkpoint "
            f"cannot name: {known}"
        )


def open_teacher(
    source: str,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
    temperature: float,
    note: Callable[[str], None] = lambda text: None,
    task: str = CLASSIFY,
) -> Teacher:
    """Opens the network of ``--teacher``.

    Args:
        source: a run folder or checkpoint, or another trained MODEL.
        labels: the classes that are to be learned.
        preprocessing: of the network that learns; the teacher sees the same images.
        note: is told in which other way than it was built it has to be run.
        task: of the network that learns.

    Raises:
        ModelError: it has other classes, or is of another task.
        UsageError: it is not trained.
        CheckpointError: a file that cannot be used.
    """
    _check_file(source)
    asked = CLASSIFY if task == CLASSIFY else None
    model = open_model(source, resolution=preprocessing.crop, task=asked)
    if model.task != task:
        raise ModelError(
            f"teacher '{source}' is of the task {model.task}: expected one of the task {task}, as "
            f"the network that learns is"
        )
    if not model.trained:
        raise UsageError(
            f"teacher '{source}' is untrained: expected a run folder or checkpoint, as 'edgekit "
            f"train' writes"
        )
    if task == CLASSIFY and class_count(model.classes) != len(labels):
        raise ModelError(
            f"teacher '{source}' has {model.classes} classes and the data have {len(labels)}: "
            f"expected a teacher that was trained on the same classes"
        )
    if model.labels is not None and len(model.labels) != len(labels):
        raise ModelError(
            f"teacher '{source}' has {len(model.labels)} classes and the data have {len(labels)}: "
            f"expected a teacher that was trained on the same classes"
        )
    if model.labels is not None and model.labels != labels:
        theirs, ours = next(
            pair for pair in zip(model.labels, labels, strict=True) if len(set(pair)) > 1
        )
        raise ModelError(
            f"teacher '{source}' has other classes than the data: '{theirs}' in place of '{ours}'; "
            f"expected a teacher that was trained on the same classes"
        )
    model = as_function(model)
    for text in model.notes or ():
        note(f"teacher '{source}': {text}")
    return Teacher(model, preprocessing, temperature)
