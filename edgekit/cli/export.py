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
    from edgekit.exporting import Exported, Failed, Rejected, Result
    from edgekit.models.source import Model


@click.command("export")
@model_argument
@click.option("--target", "-t", required=True, metavar="T[,T]|all", help="File formats.")
@click.option("--precision", "-p", default="fp32", show_default=True, metavar="P[,P]")
@click.option(
    "--converter",
    metavar="NAME",
    help="What writes TFLite files: edgekit, the default, or litert-torch (needs the extra "
    "edgekit[litert-torch]).",
)
@weights_option
@resolution_option
@click.option(
    "--data",
    metavar="SRC",
    help="Images for the verification: digits, synthetic or a folder. By default those of the "
    "training, else noise.",
)
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Folder."
)
@overwrite_option
@console.common_options
def command(
    model: str,
    target: str,
    precision: str,
    converter: str | None,
    weights: Path | None,
    resolution: int | None,
    data: str | None,
    skip_corrupt: bool,
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
    targets, precisions = _asked(target, precision, converter)
    failure: EdgekitError | None = None
    results: list[Result] = []
    with console.status(f"loading {model}") as notify:
        from edgekit.exporting import export
        from edgekit.models.source import open_model

        opened = open_model(model, weights=weights, resolution=resolution)
        _warn_untrained(opened)
        try:
            results += export(
                opened,
                targets,
                precisions,
                out=out,
                converter=converter,
                data=data,
                skip_corrupt=skip_corrupt,
                overwrite=overwrite,
                notify=notify,
            )
        except EdgekitError as error:
            failure, results = error, list(error.results)
            if not results:
                raise
    show(results)
    if console.wants_json():
        console.emit_json("edgekit.export/1", _document(results, failure))
    if failure is not None:
        raise failure


def _warn_untrained(model: Model) -> None:
    from edgekit.verification.artifact import preparation

    done = preparation(model)
    if done is not None:
        console.warn(
            f"'{model.words}' is untrained: {done}; the file is good for timing, and computes "
            f"something else than the network as it was built"
        )


def _asked(target: str, precision: str, converter: str | None) -> tuple[list[str], list[str]]:
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
    found = [registry.target(name) for name in targets]
    if converter is not None:
        registry.by_converter(found, converter)
    for name in precisions:
        registry.precision(name)
    return targets, precisions


def show(results: list[Result]) -> None:
    """A table of the files that there are, one line each."""
    from edgekit.exporting import Exported, Failed

    there = [result for result in results if not isinstance(result, Failed)]
    if not there:
        return
    console.warn_skipped(there[0].skipped)
    rows = []
    for result in there:
        agreement, artifact = result.artifact.agreement, result.artifact
        assert agreement is not None
        assert artifact.size_bytes is not None
        rows.append(
            (
                str(result.path),
                console.mebibytes(artifact.size_bytes),
                f"{agreement.sqnr_db:.1f} dB",
                f"{agreement.top1_match:.1%}",
                f"{result.seconds:.1f} s" if isinstance(result, Exported) else "rejected",
            )
        )
    right = "right"
    console.table(
        ["file", ("size", right), ("agreement", right), ("same top-1", right), ("time", right)],
        rows,
    )
    first = there[0]
    assert first.artifact.agreement is not None
    all_passed = all(isinstance(result, Exported) for result in there)
    console.say(
        f"{'Verified' if all_passed else 'Compared'} in their runtimes against PyTorch on "
        f"{first.artifact.agreement.n} images ({first.verified_on})."
    )


def _document(results: list[Result], failure: EdgekitError | None) -> dict[str, Any]:
    from edgekit.exporting import Exported, Failed, Rejected

    there = [result for result in results if not isinstance(result, Failed)]
    document = {
        "artifacts": [_entry(r) for r in results if isinstance(r, Exported)],
        "rejected": [_entry(r) for r in results if isinstance(r, Rejected)],
        "failed": [_failed(r) for r in results if isinstance(r, Failed)],
        "skipped": list(there[0].skipped) if there else [],
    }
    return document if failure is None else {**document, "error": console.error_entry(failure)}


def _failed(result: Failed) -> dict[str, Any]:
    return {
        "path": str(result.path),
        "target": result.target,
        "precision": result.precision,
        "type": type(result.error).__name__,
        "message": result.message,
    }


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
    return {
        **entry,
        "reason": result.reason,
        "divergence": to_json(result.divergence),
        "undiagnosed": result.undiagnosed,
    }
