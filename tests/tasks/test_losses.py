"""Losses by what outputs are: the same for the same probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgekit.core import ImageSource
from edgekit.data import open_source
from edgekit.data.preprocess import for_source
from edgekit.errors import ModelError
from edgekit.models.model import Model
from edgekit.models.strain import strained
from edgekit.search.groups import importances
from edgekit.search.inputs import ImageInputs
from edgekit.search.learning import Learner
from edgekit.tasks.losses import Kinds, class_logits, divergence, kinds_of, label_loss
from edgekit.tasks.objectives import OfClasses
from edgekit.training.distillation import Teacher

ENDS = {"probabilities": nn.Softmax(1), "sigmoid": nn.Sigmoid()}


def _columns(kind: str) -> int:
    return 1 if kind == "sigmoid" else 4


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_and_gradients_are_those_of_logits(
    kind: str, shares: bool, smoothing: float
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, _columns(kind), requires_grad=True)
    classes = max(2, _columns(kind))
    labels = torch.arange(8) % classes
    targets = torch.rand(8, classes).softmax(1) if shares else labels
    other = torch.randn(8, _columns(kind))
    both = class_logits(logits, "logits")
    for loss, expected in (
        (
            label_loss(ENDS[kind](logits), targets, kind, label_smoothing=smoothing),
            nn.functional.cross_entropy(both, targets, label_smoothing=smoothing),
        ),
        (
            divergence(ENDS[kind](logits), ENDS[kind](other), (kind, kind), 2.0),
            divergence(logits, other, ("logits", "logits"), 2.0),
        ),
        (
            divergence(ENDS[kind](logits), other, (kind, "logits")),
            divergence(logits, ENDS[kind](other), ("logits", kind)),
        ),
    ):
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
        found, wanted = (
            torch.autograd.grad(x, logits, retain_graph=True) for x in (loss, expected)
        )
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_of_one_column_zero_or_a_half_decides() -> None:
    scores = torch.tensor([[0.2], [0.6], [-0.1]])
    assert class_logits(scores, "logits").argmax(1).tolist() == [1, 1, 0]
    assert class_logits(scores[:2], "sigmoid").argmax(1).tolist() == [0, 1]
    assert torch.isfinite(class_logits(torch.tensor([[0.0], [1.0]]), "sigmoid")).all()


class Net(nn.Module):
    """Ends in one way in training and in another else."""

    def __init__(self, training: nn.Module, evaluation: nn.Module, columns: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)
        self.scores = nn.Linear(8, columns)
        self.ends = nn.ModuleList([training, evaluation])

    def forward(self, x: Tensor) -> Tensor:
        x = self.scores(self.norm(self.conv(x)).relu().mean((2, 3)))
        return self.ends[0 if self.training else 1](x)


class HandWritten(nn.Module):
    """Overflows for large numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x.exp() / x.exp().sum(1, keepdim=True)


class Small(nn.Module):
    """Logits that lie between 0 and 1 and sum to 1, by chance."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1e-4 + 1 / x.shape[1]


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (Net(nn.Identity(), nn.Identity()), ("logits", "logits")),
        (Net(nn.Softmax(1), nn.Softmax(1)), ("probabilities", "probabilities")),
        (Net(nn.Identity(), nn.Softmax(1)), ("logits", "probabilities")),
        (Net(nn.Sigmoid(), nn.Sigmoid(), 1), ("sigmoid", "sigmoid")),
        (Net(nn.Sigmoid(), nn.Identity(), 1), ("sigmoid", "logits")),
        (Net(nn.Sigmoid(), nn.Sigmoid()), ("sigmoid", "sigmoid")),
        (Net(HandWritten(), HandWritten()), ("probabilities", "probabilities")),
        (Net(Small(), Small()), ("logits", "logits")),
        (Net(Small(), Small(), 1), ("logits", "logits")),
    ],
)
def test_what_outputs_are_in_either_mode(net: Net, expected: tuple[str, str]) -> None:
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert kinds_of(net, 16, "net") == Kinds(*expected)
    assert all(torch.equal(before[name], now) for name, now in net.state_dict().items())


class Root(nn.Module):
    """Parameters of its own beside its layers, as vision transformers have for places."""

    def __init__(self, bias: float, end: nn.Module, *, own_head: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.norm, self.end = nn.Conv2d(3, 16, 8, 8), nn.LayerNorm(16), end
        self.places = nn.Parameter(torch.randn(1, 4, 16) * 0.02)
        self.token = nn.Parameter(torch.randn(1, 1, 16) * 0.02)
        self.head, self.own = nn.Linear(16, 1), own_head
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.constant_(self.head.bias, bias)
        self.weight = nn.Parameter(self.head.weight.detach().t().clone())
        self.bias = nn.Parameter(self.head.bias.detach().clone())
        self.zero = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.places
        x = self.norm(torch.cat([self.token.expand(len(x), -1, -1), x], 1)).mean(1)
        if self.own:
            return self.end(x @ self.weight + self.bias + self.zero)
        return self.end(self.head(x))


@pytest.mark.parametrize("own_head", [False, True])
@pytest.mark.parametrize("bias", [0.5, -0.5])
@pytest.mark.parametrize("squash", [False, True])
def test_a_network_with_parameters_beside_its_layers(
    squash: bool, bias: float, own_head: bool
) -> None:
    """The last weights are those of its head, whoever owns them; a bias alone tells nothing."""
    end = nn.Sigmoid() if squash else nn.Identity()
    net = Root(bias, end, own_head=own_head).eval()
    assert kinds_of(net, 16, "net").evaluation == ("sigmoid" if squash else "logits")


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (lambda head: head, {"weight", "bias"}),
        (torch.nn.utils.weight_norm, {"weight_g", "weight_v", "bias"}),
        (lambda head: nn.Sequential(nn.ReLU(), head, nn.Flatten()), {"1.weight", "1.bias"}),
        (lambda head: nn.Sequential(head, nn.LayerNorm(4)), {"1.weight", "1.bias"}),
        (
            lambda head: nn.Sequential(nn.LayerNorm(8), nn.Flatten(0, 0), head).train(),
            {"2.weight", "2.bias"},
        ),
    ],
)
def test_the_last_weights_that_an_image_meets_are_strained(
    wrap: Callable[[nn.Module], nn.Module], names: set[str]
) -> None:
    head = nn.Linear(8, 4)
    net = wrap(head)
    found = strained(net, torch.randn(2, 8))
    other = {
        name
        for (name, before), after in zip(net.named_parameters(), found.parameters(), strict=True)
        if not torch.equal(before, after)
    }
    assert other == {name for name in names if net.get_parameter(name).any()}


@pytest.mark.parametrize("shares", [False, True])
def test_several_sigmoids_are_trained_each_by_itself(shares: bool) -> None:
    torch.manual_seed(0)
    logits, other = torch.randn(8, 4, requires_grad=True), torch.randn(8, 4)
    wanted = torch.rand(8, 4) if shares else torch.arange(8) % 4
    targets = wanted if shares else nn.functional.one_hot(wanted, 4).float()
    for loss, expected in (
        (
            label_loss(logits.sigmoid(), wanted, "sigmoid"),
            nn.functional.binary_cross_entropy_with_logits(logits, targets) * 4,
        ),
        (
            label_loss(logits.sigmoid(), wanted, "sigmoid", label_smoothing=0.2, reduction="sum"),
            nn.functional.binary_cross_entropy_with_logits(
                logits, targets * 0.8 + 0.05, reduction="sum"
            ),
        ),
        (
            divergence(logits.sigmoid(), other.sigmoid(), ("sigmoid", "sigmoid"), 2.0),
            sum(
                divergence(logits[:, i : i + 1], other[:, i : i + 1], ("logits", "logits"), 2.0)
                for i in range(4)
            ),
        ),
    ):
        assert isinstance(expected, Tensor)
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
        found, right = (torch.autograd.grad(x, logits, retain_graph=True) for x in (loss, expected))
        torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-5)
    best = class_logits(logits.sigmoid(), "sigmoid").argmax(1)
    assert torch.equal(best, logits.argmax(1))


def test_several_sigmoids_and_softmax_do_not_teach_each_other() -> None:
    scores = torch.rand(8, 4)
    for kinds in (("sigmoid", "logits"), ("probabilities", "sigmoid")):
        with pytest.raises(ModelError, match="of each class by itself"):
            divergence(scores, scores, kinds)
    with pytest.raises(ModelError, match="'net' gives sigmoid, and logits in training mode"):
        kinds_of(Net(nn.Identity(), nn.Sigmoid()), 16, "net")
    said = kinds_of(Net(nn.Identity(), nn.Sigmoid()), 16, "net", "logits")
    assert said == Kinds("logits", "logits")


class Halves:
    """Two classes of the four of a source."""

    classes = ("even", "odd")

    def __init__(self, source: ImageSource) -> None:
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def label(self, split: str, index: int) -> int:
        return self._source.label(split, index) % 2


@pytest.mark.parametrize("kind", ENDS)
def test_searches_train_score_and_rank_as_with_logits(kind: str) -> None:
    source: Any = open_source("synthetic")
    source = source if kind == "probabilities" else Halves(source)
    found = []
    for end in (nn.Identity(), ENDS[kind]):
        columns = _columns(kind)
        net, preprocessing = Net(end, end, columns), for_source(source, 16)
        objective = OfClasses(kinds_of(net, 16, "net"))
        teacher = Net(end, end, columns).eval()
        learner = Learner(ImageInputs(source, preprocessing), objective, 0, teacher, 64)
        ranks = importances(net, "taylor", learner.effect)
        learner.tune(net, 4, 1e-3)
        state = net.state_dict()
        # In front of a batch norm, a bias has a gradient of rounding alone, and AdamW's steps have
        # its sign.
        del state["conv.bias"]
        found.append((learner.score(net), ranks, state))
    (top1, loss), ranks, weights = found[0]
    (other_top1, other_loss), other_ranks, others = found[1]
    assert other_top1 == pytest.approx(top1, abs=1 / 64)
    assert other_loss == pytest.approx(loss, rel=1e-3)
    torch.testing.assert_close(other_ranks, ranks, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(others, weights, rtol=1e-2, atol=1e-3)


def test_a_teacher_that_gives_probabilities_teaches_them() -> None:
    preprocessing = for_source(open_source("digits"), 16)
    teachers = [
        Teacher(Model("m", "m", Net(end, end), 16, 4), preprocessing, temperature=2.0)
        for end in (nn.Identity(), nn.Softmax(1))
    ]
    pixels = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    scores = torch.randn(5, 4)
    one, other = (teacher.loss(scores, pixels) for teacher in teachers)
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    ended = teachers[0].loss(scores.softmax(1), pixels, "probabilities")
    torch.testing.assert_close(ended, one, rtol=1e-4, atol=1e-5)
