"""``edgekit describe``: what a network is made of and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, describe_tables
from edgekit.cli.options import (
    artifact_or_model,
    embedded_option,
    names,
    network_options,
    size_option,
    weights_option,
)
from edgekit.core.text import counted_words
from edgekit.errors import ModelError, UsageError

if TYPE_CHECKING:
    from edgekit.api.describing import Description
    from edgekit.core import Artifact, Preprocessing, Side
    from edgekit.models.analysis import Totals


@click.command("describe")
@artifact_or_model
@click.argument("other", metavar="[OTHER]", required=False)
@click.option("--compare", is_flag=True, help="Show two networks side by side.")
@click.option("--summary", is_flag=True, help="Show the totals alone.")
@click.option("--formula", is_flag=True, help="Show parameters as k*k*C/g*M+b.")
@click.option("--csv", "as_csv", is_flag=True, help="Print one CSV table instead.")
@size_option
@weights_option
@network_options
@embedded_option
@console.common_options
def command(
    source: str,
    other: str | None,
    compare: bool,
    summary: bool,
    formula: bool,
    as_csv: bool,
    resolution: Side | None,
    weights: Path | None,
    example: str | None,
    outputs: str | None,
    task: str | None,
    embedded: bool,
) -> None:
    """Show the layers of MODEL, or of the network inside ARTIFACT.

    Operation, output shape, parameters, MACs (multiply-accumulates of
    convolutions and linear layers) and output memory for one image, or one
    inference of what --example gives; then the totals of the network. With
    --compare, the totals of two networks:

    \b
    edgekit describe mobilenetv2 --compare mobilenetv3-large
    """
    _check_options(other, compare, formula, as_csv, weights)
    if summary and (formula or as_csv):
        raise UsageError("--summary leaves out the layers, which --formula and --csv show")
    if embedded:
        _check_artifact(source, other)
    given = {
        "resolution": resolution, "example": example, "outputs": names(outputs or ""), "task": task,
    }  # fmt: skip
    described = _describe(source, embedded, weights=weights, **given)
    if other is not None:
        _show_comparison(described, _describe(other, embedded, **given), as_csv)
        return
    if as_csv:
        _known(described)
        describe_tables.layers_csv(described.layers)
        return
    if described.artifact is not None:
        _show_contract(described.artifact)
    if described.totals is not None:
        if not summary:
            describe_tables.show_layers(described.layers, formula)
        image = described.model is None or described.model.signature is None
        unit = "image" if image else "inference"
        describe_tables.show_totals(described.heading, described.totals, unit)
    if console.wants_json():
        console.emit_json("edgekit.describe/1", _document(described))


def _check_options(
    other: str | None, compare: bool, formula: bool, as_csv: bool, weights: Path | None
) -> None:
    if as_csv and console.wants_json():
        raise UsageError("--csv and --json exclude each other: give one of them")
    if compare and other is None:
        raise UsageError("--compare needs two networks: edgekit describe A --compare B")
    if other is not None and not compare:
        raise UsageError(
            f"'{other}' is a second network: describe takes one, or two with --compare"
        )
    if compare and weights is not None:
        raise UsageError(
            "--weights belongs to one network: with --compare, name a checkpoint as MODEL"
        )
    if compare and formula:
        raise UsageError("--formula shows layers, --compare totals: give one of them")


def _check_artifact(source: str, other: str | None) -> None:
    from edgekit import contract

    if not any(contract.is_artifact(one) for one in (source, other) if one is not None):
        raise UsageError(f"'{source}' is no artifact: --embedded goes with artifacts only")


def _describe(source: str, embedded: bool, **given: Any) -> Description:
    """Loads a network or artifact, and runs the network once.

    Args:
        embedded: goes with those that are artifacts.
        given: what was said of a network.
    """
    from edgekit import contract

    with console.status(f"loading {source}"):
        from edgekit.api.describing import describe

        return describe(source, embedded=embedded and contract.is_artifact(source), **given)


def _known(described: Description) -> Totals:
    """The totals, where there is a network to show.

    Raises:
        ModelError: an artifact that does not tell its network.
    """
    if described.totals is None:
        raise ModelError(
            f"'{described.source}' does not tell its network, which is not one of edgekit's: "
            f"describe the network it was made from"
        )
    return described.totals


def _document(described: Description) -> dict[str, Any]:
    """The keys of the JSON document."""
    from edgekit.core import to_json

    totals = described.totals
    document = {
        "name": described.name,
        "params": totals.params if totals else None,
        "macs": totals.macs if totals else None,
        "layers": to_json(described.layers) if totals else None,
    }
    if described.model:
        image = described.model.signature is None
        document["resolution"] = described.model.resolution if image else None
        document["interface"] = to_json(described.interface)
        document["totals"] = to_json(totals)
    if described.artifact:
        document["artifact"] = to_json(described.artifact)
    return document


def _show_comparison(a: Description, b: Description, as_csv: bool) -> None:
    one, two = _known(a), _known(b)
    if console.wants_json():
        ratio = describe_tables.ratios(one, two)
        document = {**_document(a), "other": _document(b), "ratio": ratio}
        console.emit_json("edgekit.describe/1", document)
        return
    show = describe_tables.comparison_csv if as_csv else describe_tables.show_comparison
    show((a.heading, b.heading), one, two)


def _show_contract(artifact: Artifact) -> None:
    agreement = artifact.agreement
    rows = [
        ("target", artifact.target),
        ("precision", artifact.scheme.precision),
        ("made from", artifact.model + ("" if artifact.trained else " (untrained)")),
        ("inputs", "; ".join(f"{t.name} {t.dtype} {t.shape} {t.layout}" for t in artifact.inputs)),
        ("outputs", "; ".join(f"{t.name} {t.dtype} {t.shape}" for t in artifact.outputs)),
        ("task", artifact.task),
        *_prepared(artifact),
        *([] if artifact.scores is None else [("scores", artifact.scores)]),
        ("labels", ", ".join(artifact.labels or ()) or "unknown"),
        ("lowerings", ", ".join(artifact.lowerings) or "none"),
        ("written by", ", ".join(f"{k} {v}" for k, v in artifact.tools.items())),
    ]
    scheme = artifact.scheme
    if scheme.calibration_images is not None:
        source = f"{counted_words(scheme.calibration_images, 'sample')} ({scheme.calibration_data})"
        rows.insert(2, ("ranges", f"{scheme.calibration}, from {source}"))
    if artifact.size_bytes is not None:
        rows.insert(2, ("size", console.mebibytes(artifact.size_bytes)))
    if agreement is not None:
        rows.append(
            (
                "agreement",
                f"{agreement.sqnr_db:.1f} dB, same top-1 {agreement.top1_match:.1%} on "
                f"{counted_words(agreement.n, 'image')}"
                if agreement.top1_match is not None
                else f"{agreement.sqnr_db:.1f} dB on {counted_words(agreement.n, 'input')}",
            )
        )
    within = artifact.suppression
    if within is not None:
        rows.append(
            (
                "suppression",
                f"in the file: scores from {within.score_threshold:g}, overlaps up to "
                f"{within.nms_iou:g}, at most {within.max_detections} objects",
            )
        )
    console.table(["contract", ""], rows)


def _prepared(artifact: Artifact) -> list[tuple[str, str]]:
    p, baked = artifact.preprocessing, artifact.baked
    if p is None:
        return []
    image = ("image", f"{p.describe()}, {p.channel_order}")
    if baked is None:
        return [image, ("values", _formula(p))]
    order = "" if baked.channel_order == p.channel_order else f", in {baked.channel_order}"
    return [image, ("values", "bytes of pixels"), ("in the file", f"{_formula(baked)}{order}")]


def _formula(p: Preprocessing) -> str:
    """What becomes of a pixel's values, as a formula."""
    return f"(v x {p.scale:.6g} - {p.mean}) / {p.std}"
