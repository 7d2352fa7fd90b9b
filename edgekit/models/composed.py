"""Networks of a backbone of the zoo and a head: ``mobilenetv3-small@0.5+ssdlite``."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from edgekit import registry
from edgekit.core import Side
from edgekit.core.preprocessing import pair
from edgekit.errors import UsageError
from edgekit.models import MAX_RESOLUTION, find_spec
from edgekit.models.fitting import fill
from edgekit.models.foreign import COUNTER, with_epsilon
from edgekit.models.heads import Head
from edgekit.models.heads.taps import Backbone

PREFIX = "backbone."
"""Of the names of a backbone's tensors; behind it they are those of the network of the zoo."""


def head_of(source: str) -> Head:
    """The head of a composed network.

    Raises:
        UnknownNameError: there is no such backbone or head.
        UnavailableError: another package's head that cannot be used.
    """
    _, name = registry.find_composed(source)
    loaded: Head = registry.head(name)
    return loaded


def canonical(source: str) -> str:
    """The name of a composed network as edgekit writes it."""
    backbone, head = registry.find_composed(source)
    return backbone if registry.stands_alone(backbone) else f"{backbone}+{head}"


def resolution_of(source: str) -> int:
    """Side in pixels of the images of a composed network where nobody says another."""
    backbone, name = registry.find_composed(source)
    if registry.stands_alone(backbone):
        own: int = registry.head(name).resolution
        return own
    return find_spec(backbone).resolution


def compose(source: str, classes: int | None = None, size: Side | None = None) -> nn.Module:
    """Builds a composed network with fresh weights.

    Args:
        source: its name, in any case and with any separators.
        classes: of objects or pixels; the head's own number by default.
        size: of the images in pixels, a side or height and width; the backbone's by default.

    Returns:
        What takes images (N, 3, H, W) and gives the outputs of the head, in eval mode.

    Raises:
        UnknownNameError: there is no such backbone or head.
        UsageError: no class, or a size that the network cannot have.
    """
    backbone, _ = registry.find_composed(source)
    head = head_of(source)
    classes = head.classes if classes is None else classes
    if classes < 1:
        raise UsageError(f"{source} with {classes} classes: expected at least 1")
    height, width = pair(resolution_of(source) if size is None else size)
    for side in (height, width):
        if not head.stride <= side <= MAX_RESOLUTION:
            raise UsageError(
                f"resolution {side} for {source}: expected {head.stride} (the network's stride) "
                f"to {MAX_RESOLUTION} pixels"
            )
    if registry.stands_alone(backbone):
        multiplier = backbone.partition("@")[2]
        made: nn.Module = registry.head(head.name).alone(
            float(multiplier or 1), classes, (height, width)
        )
        return made.eval()
    return head.network(Backbone(find_spec(backbone)), classes, (height, width)).eval()


def fill_backbone(
    module: nn.Module, source: str, state: Mapping[str, Tensor], origin: str
) -> tuple[str, ...]:
    """Gives a composed network the weights of a classifier, as far as its backbone has them.

    Args:
        module: of `compose`; it is changed.
        source: its name.
        state: of a classifier of the same backbone, with edgekit's, torchvision's or timm's names.
        origin: where they come from, for messages.

    Returns:
        Names of tensors of the classifier that have no place, those of its classifier first of all.

    Raises:
        CheckpointError: they are of another network.
    """
    backbone, _ = registry.find_composed(source)
    spec = find_spec(backbone)
    filled, whole = fill(spec, state, origin)
    values = with_epsilon(whole.state_dict(), filled.norm_eps, spec.norm_eps)
    own = {name for name in module.state_dict() if name.startswith(PREFIX)}
    taken = {PREFIX + name: value for name, value in values.items() if PREFIX + name in own}
    module.load_state_dict(taken, strict=False)
    return tuple(n for n in values if PREFIX + n not in own and not n.endswith(COUNTER))
