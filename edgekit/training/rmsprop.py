"""RMSProp as TensorFlow has it, which EfficientNet and MnasNet were trained with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

ALPHA = 0.9
MOMENTUM = 0.9
EPS = 1e-3


class RMSProp(Optimizer):
    """RMSProp with decay 0.9, momentum 0.9 (arXiv:1905.11946, section 5) and epsilon 1e-3.

    It differs from `torch.optim.RMSprop` in three points, each as in TensorFlow's and timm's
    ``RMSpropTF``: epsilon is added below the square root, the mean square starts at 1 rather than
    0, and the momentum holds steps that are already multiplied by the rate. The first two keep
    the first steps small. Weight decay is added to the gradient.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        weight_decay: factor of the weights in their gradient.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Takes one step along the gradients that are there."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, float(group["lr"]), float(group["weight_decay"]))
        return loss

    def _update(self, parameters: list[Tensor], lr: float, weight_decay: float) -> None:
        for p in parameters:
            if not self.state[p]:
                self.state[p] = {"square": torch.ones_like(p), "momentum": torch.zeros_like(p)}
        squares = [self.state[p]["square"] for p in parameters]
        momenta = [self.state[p]["momentum"] for p in parameters]
        gradients: Any = [p.grad for p in parameters]
        if weight_decay:
            gradients = torch._foreach_add(gradients, parameters, alpha=weight_decay)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1 - ALPHA)
        scales = torch._foreach_add(squares, EPS)
        torch._foreach_sqrt_(scales)
        torch._foreach_mul_(momenta, MOMENTUM)
        torch._foreach_addcdiv_(momenta, gradients, scales, lr)
        torch._foreach_sub_(parameters, momenta)
