"""Networks with a convolution and a batch norm that must not be folded into one."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Scores(nn.Module):
    """A body, and class scores from what it gives."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))

    def body(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class TwoConsumers(Scores):
    def __init__(self) -> None:
        super().__init__(a=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4))

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        normed: Tensor = self.norm(y)
        return normed + y


class SharedConv(Scores):
    def __init__(self) -> None:
        norms = {"n1": nn.BatchNorm2d(3), "n2": nn.BatchNorm2d(3)}
        super().__init__(conv=nn.Conv2d(3, 3, 3), **norms)

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.n2(self.conv(F.relu(self.n1(self.conv(x)))))
        return y


class SharedNorm(Scores):
    def __init__(self) -> None:
        convs = {"a": nn.Conv2d(3, 3, 3), "b": nn.Conv2d(3, 3, 3)}
        super().__init__(**convs, norm=nn.BatchNorm2d(3))

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.b(F.relu(self.norm(self.a(x)))))
        return y


class AliasedConv(Scores):
    """One convolution under two names."""

    def __init__(self) -> None:
        conv = nn.Conv2d(3, 3, 3)
        norms = {"n1": nn.BatchNorm2d(3), "n2": nn.BatchNorm2d(3)}
        super().__init__(a=conv, b=conv, **norms)

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.n2(self.b(F.relu(self.n1(self.a(x)))))
        return y


class NormBeforeConv(Scores):
    def __init__(self) -> None:
        super().__init__(norm=nn.BatchNorm2d(3), conv=nn.Conv2d(3, 4, 3))

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.norm(x))
        return y


class ActivationBetween(Scores):
    def __init__(self) -> None:
        super().__init__(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4))

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(torch.tanh(self.conv(x)))
        return y


class NoRunningStatistics(Scores):
    def __init__(self) -> None:
        norm = nn.BatchNorm2d(4, track_running_stats=False)
        super().__init__(conv=nn.Conv2d(3, 4, 3), norm=norm)

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class WeightReadElsewhere(Scores):
    """The weight of a convolution serves a second purpose, which folding would change."""

    def __init__(self) -> None:
        super().__init__(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4))

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y + F.conv2d(x, self.conv.weight)


class WeightReadElsewhereAfterABranch(WeightReadElsewhere):
    def body(self, x: Tensor) -> Tensor:
        assert x.shape[-1] > 2
        return super().body(x)


class LinearOverTokens(Scores):
    """Behind a linear layer with three axes a batch norm counts tokens, not features."""

    def __init__(self) -> None:
        super().__init__(linear=nn.Linear(32, 3), norm=nn.BatchNorm1d(3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.linear(x.mean(2)))
        return y.flatten(1)


class NormAct2d(nn.BatchNorm2d):
    """A batch norm with its activation inside, as timm has it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class ActivationInTheNorm(Scores):
    def __init__(self) -> None:
        super().__init__(conv=nn.Conv2d(3, 4, 3), norm=NormAct2d(4))

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class ActivationInTheNormAfterABranch(ActivationInTheNorm):
    def body(self, x: Tensor) -> Tensor:
        assert x.shape[-1] > 2
        return super().body(x)


class StandardizedConv2d(nn.Conv2d):
    """Computes with another weight than the one it has (arXiv:1903.10520)."""

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / deviation, self.bias)


class SquashedConv2d(nn.Conv2d):
    """Has PyTorch's forward, and another computation in it."""

    def _conv_forward(
        self,
        input: Tensor,  # noqa: A002 - PyTorch's name
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        return super()._conv_forward(input, weight.tanh(), bias)


class OwnConv(Scores):
    kind: type[nn.Conv2d] = StandardizedConv2d

    def __init__(self) -> None:
        super().__init__(conv=self.kind(3, 4, 3), norm=nn.BatchNorm2d(4))

    def body(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class OwnConvForward(OwnConv):
    kind = SquashedConv2d


class HookedNorm(OwnConv):
    kind = nn.Conv2d

    def __init__(self) -> None:
        super().__init__()
        self.norm.register_forward_hook(lambda _, __, output: output.relu())


class HookedConv(OwnConv):
    kind = nn.Conv2d

    def __init__(self) -> None:
        super().__init__()
        self.conv.register_forward_hook(lambda _, __, output: output.relu())


class ReplacedForward(OwnConv):
    kind = nn.Conv2d

    def __init__(self) -> None:
        super().__init__()
        self.norm.forward = F.relu


class ParametrizedConv(OwnConv):
    """The weight is computed from others at each call."""

    kind = nn.Conv2d

    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.conv)


UNFOLDABLE: tuple[Callable[[], Scores], ...] = (
    TwoConsumers,
    SharedConv,
    SharedNorm,
    AliasedConv,
    NormBeforeConv,
    ActivationBetween,
    NoRunningStatistics,
    WeightReadElsewhere,
    WeightReadElsewhereAfterABranch,
    LinearOverTokens,
    ActivationInTheNorm,
    ActivationInTheNormAfterABranch,
    OwnConv,
    OwnConvForward,
    HookedNorm,
    HookedConv,
    ReplacedForward,
    ParametrizedConv,
)
