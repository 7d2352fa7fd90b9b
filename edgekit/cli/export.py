"""``edgekit export``: a network as verified files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console
from edgekit.cli.options import (
    model_argument,
    names,
    overwrite_option,
    resolution_option,
    weights_option,
)
from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from edgekit.exporting import Exported, Rejected


@click.command("export")
@model_argument
@click.option("--target", "-t", required=True, metavar="T[,T]|all", help="File formats.")
@click.option("--precision", "-p", default="fp32", show_default=True, metavar="P[,P]")
@weights_option
@resolution_option
@click.option(
    "--data",
    metavar="SRC",
    help="Images for the verification: digits, synthetic or a folder. By default those of the "
    "training, else noise.",
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Folder."
)
@overwrite_option
@console.common_options
def command(
    model: str,
    target: str,
    precision: str,
    weights: Path | None,
    resolution: int | None,
    data: str | None,
    out: Path,
    overwrite: bool,
) -> None:
    """Export MODEL to one file and one contract per target and precision.

    \b
    MODEL is a zoo name (mobilenetv3, mobilenetv2@0.75; 'edgekit list models'),
    a run folder or checkpoint, or package.module:callable.

    Every file is run in its runtime and compared with PyTorch before it gets
    its name. What fails is kept as NAME.rejected, with exit code 4.
    """
    targets, precisions = _asked(target, precision)
    with console.status(f"loading {model}") as notify:
        from edgekit.exporting import Exported, export
        from edgekit.models.source import open_model

        opened = open_model(model, weights=weights, resolution=resolution)
        if not opened.trained:
            console.warn(
                f"'{model}' is untrained: its weights are random, its batch-norm statistics are "
                f"set from noise"
            )
        failure: EdgekitError | None = None
        results: list[Exported | Rejected] = []
        try:
            results += export(
                opened, targets, precisions, out=out, data=data, overwrite=overwrite, notify=notify
            )
        except EdgekitError as error:
            failure, results = error, list(error.results)
            if not results:
                raise
    show(results)
    if console.wants_json():
        console.emit_json(
            "edgekit.export/1",
            {
                "artifacts": [_entry(r) for r in results if isinstance(r, Exported)],
                "rejected": [_entry(r) for r in results if not isinstance(r, Exported)],
            },
        )
    if failure is not None:
        raise failure


def _asked(target: str, precision: str) -> tuple[list[str], list[str]]:
    """Names of targets and precisions; wrong ones fail here, before torch is imported."""
    from edgekit import registry

    targets = [
        name
        for word in names(target)
        for name in (sorted(registry.TARGETS) if word.lower() == "all" else [word])
    ]
    precisions = names(precision)
    if not targets or not precisions:
        raise UsageError("--target and --precision need a name each; see 'edgekit list'")
    for name in targets:
        registry.target(name)
    for name in precisions:
        registry.precision(name)
    return targets, precisions


def show(results: list[Exported | Rejected]) -> None:
    """A table of the files, one line each."""
    rows = []
    for result in results:
        agreement, artifact = result.artifact.agreement, result.artifact
        assert agreement is not None
        assert artifact.size_bytes is not None
        seconds = getattr(result, "seconds", None)
        rows.append(
            (
                str(result.path),
                console.mebibytes(artifact.size_bytes),
                f"{agreement.sqnr_db:.1f} dB",
                f"{agreement.top1_match:.1%}",
                "rejected" if seconds is None else f"{seconds:.1f} s",
            )
        )
    right = "right"
    console.table(
        ["file", ("size", right), ("agreement", right), ("same top-1", right), ("time", right)],
        rows,
    )
    if results:
        first = results[0]
        assert first.artifact.agreement is not None
        console.say(
            f"Verified in their runtimes against PyTorch on {first.artifact.agreement.n} images "
            f"({first.verified_on})."
        )


def _entry(result: Exported | Rejected) -> dict[str, Any]:
    from edgekit.contract import contract_path
    from edgekit.core import to_json
    from edgekit.exporting import Exported

    artifact = result.artifact
    entry = {
        "path": str(result.path),
        "contract": str(contract_path(result.path)),
        "target": artifact.target,
        "precision": artifact.scheme.precision,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "lowerings": list(artifact.lowerings),
        "agreement": to_json(artifact.agreement),
        "verified_on": result.verified_on,
    }
    if isinstance(result, Exported):
        return {**entry, "seconds": result.seconds, "convert_seconds": result.convert_seconds}
    return {**entry, "reason": result.reason, "divergence": to_json(result.divergence)}
