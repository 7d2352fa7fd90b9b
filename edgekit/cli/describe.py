"""``edgekit describe``: the layers of a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli import console
from edgekit.cli.options import artifact_or_model, resolution_option, weights_option
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.core import Artifact
    from edgekit.models.source import Model


@click.command("describe")
@artifact_or_model
@resolution_option
@weights_option
@console.common_options
def command(source: str, resolution: int | None, weights: Path | None) -> None:
    """Show the layers of MODEL, or of the network inside ARTIFACT.

    Operation, output shape, parameters and MACs (multiply-accumulates of
    convolutions and linear layers) for one image.
    """
    from edgekit import contract

    artifact = None
    with console.status(f"loading {source}"):
        if contract.is_artifact(source):
            if resolution is not None or weights is not None:
                raise UsageError(f"'{source}' is an artifact: its network and input are fixed")
            artifact = contract.load(Path(source))
        from edgekit.models.count import layers
        from edgekit.models.source import open_model

        model = _network(artifact) if artifact else None
        if model is None and artifact is None:
            model = open_model(source, weights=weights, resolution=resolution)
        found = layers(model.module, model.resolution) if model else []
    if artifact is not None:
        _show_contract(artifact)
    params, macs = sum(layer.params for layer in found), sum(layer.macs for layer in found)
    name = model.name if model else source
    if found:
        console.table(
            ["layer", "operation", ("output", "right"), ("params", "right"), ("MACs", "right")],
            [
                (
                    layer.name,
                    layer.op,
                    "x".join(str(n) for n in layer.output_shape[1:]),
                    f"{layer.params:,}" if layer.params else "",
                    f"{layer.macs:,}" if layer.macs else "",
                )
                for layer in found
            ],
        )
        assert model is not None
        console.say(
            f"{name} at {model.resolution} px: {params:,} parameters, {macs:,} MACs, "
            f"{len(found)} layers"
        )
    if console.wants_json():
        from edgekit.core import to_json

        facts = {
            "name": name,
            "params": params if found else None,
            "macs": macs if found else None,
            "layers": to_json(found) if found else None,
        }
        if model:
            facts["resolution"] = model.resolution
        if artifact:
            facts["artifact"] = to_json(artifact)
        console.emit_json("edgekit.describe/1", facts)


def _network(artifact: Artifact) -> Model | None:
    """The network of a contract with fresh weights; ``None`` where the contract has no spec."""
    from edgekit.models import build
    from edgekit.models.source import Model

    spec = artifact.spec
    if spec is None:
        return None
    return Model(spec.name, spec.name, build(spec).eval(), spec.resolution, spec.classes, spec)


def _show_contract(artifact: Artifact) -> None:
    facts = artifact.preprocessing
    agreement = artifact.agreement
    resize = "not resized" if facts.resize is None else f"short side to {facts.resize} px"
    rows = [
        ("target", artifact.target),
        ("precision", artifact.scheme.precision),
        ("made from", artifact.model + ("" if artifact.trained else " (untrained)")),
        ("inputs", "; ".join(f"{t.name} {t.dtype} {t.shape} {t.layout}" for t in artifact.inputs)),
        ("outputs", "; ".join(f"{t.name} {t.dtype} {t.shape}" for t in artifact.outputs)),
        ("image", f"{resize}, middle {facts.crop} px, {facts.channel_order}"),
        ("values", f"(v x {facts.scale:.6g} - {facts.mean}) / {facts.std}"),
        ("labels", ", ".join(artifact.labels or ()) or "unknown"),
        ("lowerings", ", ".join(artifact.lowerings) or "none"),
        ("written by", ", ".join(f"{k} {v}" for k, v in artifact.tools.items())),
    ]
    if artifact.size_bytes is not None:
        rows.insert(2, ("size", console.mebibytes(artifact.size_bytes)))
    if agreement is not None:
        rows.append(
            (
                "agreement",
                f"{agreement.sqnr_db:.1f} dB, same top-1 {agreement.top1_match:.1%} on "
                f"{agreement.n} images",
            )
        )
    console.table(["contract", ""], rows)
