"""What is made smaller, for every kind of outputs: one way from them to probabilities.

PyTorch's losses take logits. Outputs of another kind (see `edgekit.data.scores`) are turned into
logits of the same probabilities first, so that labels that are shares of classes, smoothing and
temperatures mean the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.data.scores import check_kind, each_by_itself, kind_of
from edgekit.errors import ModelError, UsageError
from edgekit.models.callables import try_forward
from edgekit.models.copying import own_copy
from edgekit.models.strain import strained

_SMALLEST = 1e-12  # the probability whose logarithm stands for all smaller ones
_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the outputs of a network are, of `edgekit.core.SCORES`, by its mode.

    Some apply softmax in eval mode only.
    """

    training: str = "logits"
    evaluation: str = "logits"

    def __str__(self) -> str:
        differ = self.training != self.evaluation
        return self.evaluation + (f", and {self.training} in training mode" if differ else "")

    def of(self, module: nn.Module) -> str:
        """In the mode that a network is in."""
        return self.training if module.training else self.evaluation


LOGITS = Kinds()
"""Logits in either mode."""


Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


def kinds_of(module: nn.Module, side: int | Shape, source: str, said: str | None = None) -> Kinds:
    """What the outputs of a network are in either mode; it stays as it is.

    Args:
        side: of its images of three channels, pixels; or their shape.
        source: names the network in messages.
        said: what somebody says that they are; in eval mode alone where the modes differ.

    Raises:
        ModelError: it cannot be run, or no loss fits both modes.
    """
    modes = [own_copy(module).train(training) for training in (True, False)]
    kinds = Kinds(*(kind_of_network(network, side, source) for network in modes))
    if said is not None:
        kinds = Kinds(said if kinds.training == kinds.evaluation else kinds.training, said)
    columns = try_forward(modes[1], torch.zeros(1, *_shape(side)), source).shape[1]
    by_itself = [each_by_itself(kind, columns) for kind in (kinds.training, kinds.evaluation)]
    if by_itself[0] != by_itself[1]:
        raise ModelError(
            f"'{source}' gives {kinds}: expected probabilities of each class by itself in both "
            f"modes or in none, as they need a loss of their own; change its forward, or say "
            f"--scores"
        )
    return kinds


def check_said(kind: str | None, columns: int, source: str, *, of_zoo: bool) -> None:
    """Refuses what somebody says of the outputs of a network that is to be trained.

    Raises:
        UsageError: it cannot be.
    """
    if kind is None:
        return
    check_kind(kind, columns, source)
    if of_zoo and kind != "logits":
        raise UsageError(
            f"--scores {kind}: '{source}' is of the zoo, whose networks give logits: leave it out"
        )


def _shape(side: int | Shape) -> Shape:
    return (3, side, side) if isinstance(side, int) else side


def kind_of_network(module: nn.Module, side: int | Shape, source: str) -> str:
    """What the outputs of a network are, by what it gives for noise in its mode."""
    images = torch.randn(_IMAGES, *_shape(side), generator=torch.Generator().manual_seed(0))

    def scores(network: nn.Module) -> NDArray[np.float32]:
        found: NDArray[np.float32] = try_forward(network, images, source).detach().numpy()
        return found

    with torch.random.fork_rng(devices=[]):
        return kind_of(scores(module), lambda: scores(strained(module, images)))


def class_logits(scores: Tensor, kind: str) -> Tensor:
    """Numbers (N, classes) of which softmax makes the probabilities that outputs stand for.

    Several sigmoids stand for no such probabilities; the order of classes is kept.

    Args:
        scores: (N, columns).
        kind: what they are, of `edgekit.core.SCORES`; two classes for one column.
    """
    if kind == "logits":
        if scores.shape[1] == 1:
            scores = torch.cat([torch.zeros_like(scores), scores], dim=1)
        return scores
    scores = scores.float()
    if scores.shape[1] == 1:
        scores = torch.cat([1 - scores, scores], dim=1)
    return scores.clamp(min=_SMALLEST).log()


def label_loss(
    scores: Tensor,
    targets: Tensor,
    kind: str,
    *,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of labels (N,), or of shares of the classes (N, classes).

    Of several sigmoids it is the sum over classes of whether an image is of each
    (arXiv:2110.00476, section 3.2).
    """
    if each_by_itself(kind, scores.shape[1]):
        shares = F.one_hot(targets, scores.shape[1]) if targets.ndim == 1 else targets
        shares = shares * (1 - label_smoothing) + label_smoothing / scores.shape[1]
        yes, no = (p.clamp(min=_SMALLEST).log() for p in (scores.float(), 1 - scores.float()))
        losses = -(shares * yes + (1 - shares) * no).sum(1)
        return losses.sum() if reduction == "sum" else losses.mean()
    logits = class_logits(scores, kind)
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction=reduction)


def divergence(
    outputs: Tensor, wanted: Tensor, kinds: tuple[str, str], temperature: float = 1.0
) -> Tensor:
    """How far the probabilities of one network are from those of another, a mean over images.

    Args:
        outputs: outputs of the network that learns.
        wanted: of the one that it learns from.
        kinds: what the outputs of both are.
        temperature: divides the logits of both.

    Raises:
        ModelError: those of one are of each class by itself, and those of the other are not.
    """
    columns = outputs.shape[1]
    by_itself = [
        each_by_itself(kind, scores.shape[1])
        for kind, scores in zip(kinds, (outputs, wanted), strict=True)
    ]
    if by_itself[0] != by_itself[1]:
        raise ModelError(
            f"the network that learns gives {kinds[0]} and its teacher {kinds[1]}: expected "
            f"probabilities of each class by itself (several of sigmoid) of both or of none; say "
            f"--scores, or choose another teacher"
        )
    if all(by_itself):  # each class is a question of its own, whose answer is one column
        outputs, wanted = outputs.reshape(-1, 1), wanted.reshape(-1, 1)
        return columns * divergence(outputs, wanted, kinds, temperature)
    own, taught = (
        F.log_softmax(class_logits(scores, kind) / temperature, dim=1)
        for scores, kind in zip((outputs, wanted), kinds, strict=True)
    )
    return F.kl_div(own, taught, reduction="batchmean", log_target=True)
