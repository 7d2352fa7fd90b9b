"""``edgekit.describe``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from edgekit.api.checking import typed
from edgekit.api.keywords import NetworkKeywords, network_of
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core import Artifact, Interface
    from edgekit.models.analysis import Totals
    from edgekit.models.count import Layer
    from edgekit.models.model import Model
    from edgekit.models.taking import Network


@dataclass(frozen=True, slots=True)
class Description:
    """What a network is made of and what it costs.

    Attributes:
        source: how it was named.
        model: ``None`` where a file does not tell its network; so are ``totals`` then.
        layers: in the order of the first call; empty where the network is not known.
        artifact: what the contract says, of an exported file.
    """

    source: str
    model: Model | None
    layers: tuple[Layer, ...]
    totals: Totals | None
    artifact: Artifact | None

    @property
    def name(self) -> str:
        """Of the network; of the file where the network is not known."""
        return self.model.name if self.model else self.source

    @property
    def interface(self) -> Interface | None:
        """Inputs and outputs with what each means; ``None`` where the network is not known."""
        from edgekit.tasks import described_interface

        return None if self.model is None else described_interface(self.model)

    @property
    def heading(self) -> str:
        """The name with the size of the image, where it takes one."""
        if self.model is None or self.model.signature is not None:
            return self.name
        channels, height, width = self.model.shape
        size = str(height) if (channels, height) == (3, width) else f"{height} x {width}"
        kind = {1: " of grey", 4: " of four channels"}.get(channels, "")
        return f"{self.name} at {size} px{kind}"

    @property
    def params(self) -> int | None:
        """Parameters; ``None`` where the network is not known."""
        return None if self.totals is None else self.totals.params

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one inference; ``None`` where the network is not known."""
        return None if self.totals is None else self.totals.macs


@typed
def describe(
    source: Network,
    *,
    embedded: bool = False,
    **keywords: Unpack[NetworkKeywords],
) -> Description:
    """Loads a network or an exported file, and counts what the network is made of.

    Args:
        source: a file, or a network in any form.
        embedded: read the contract inside the file; its bytes are then not checked.
        keywords: ``weights``, ``size``, ``example``, ...; see `edgekit.api.keywords`.

    Raises:
        UsageError: arguments that do not go with it.
        InputError: it cannot be used.
    """
    from edgekit import contract
    from edgekit.models.analysis import analyze
    from edgekit.models.taking import model_of

    given = network_of(keywords)
    name_or_path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
    artifact: Artifact | None = None
    if name_or_path is not None and contract.is_artifact(name_or_path):
        _refuse(name_or_path, given)
        artifact = contract.load(Path(name_or_path), embedded=embedded)
        model = _network(artifact)
    else:
        if embedded:
            what = name_or_path or type(source).__name__
            raise UsageError(f"'{what}' is no artifact: --embedded goes with artifacts only")
        model = model_of(source, **given)
    if model is None:
        return Description(name_or_path or "", None, (), None, artifact)
    layers, totals = analyze(model.module, *model.tensors)
    return Description(name_or_path or model.source, model, tuple(layers), totals, artifact)


def _refuse(source: str, given: Mapping[str, Any]) -> None:
    """Refuses what is said of a network whose file says it already."""
    said = next((name for name, value in given.items() if not _is_nothing(value)), None)
    if said is not None:
        raise UsageError(
            f"'{source}' is an artifact, whose network and input are fixed: leave out --{said}"
        )


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str | list | tuple) and not value)


def _network(artifact: Artifact) -> Model | None:
    """The network of a contract with fresh weights; ``None`` where the contract has no spec."""
    from edgekit.models import build
    from edgekit.models.model import Model

    spec = artifact.spec
    if spec is None:
        return None
    assert artifact.preprocessing is not None
    height, width = artifact.preprocessing.size
    image = None if height == width else (3, height, width)
    module, side = build(spec).eval(), spec.resolution
    return Model(spec.name, spec.name, module, side, spec.classes, spec, image=image)
