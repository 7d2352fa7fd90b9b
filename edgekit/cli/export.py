"""``edgekit export``: a network as verified files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console
from edgekit.cli.integers import integer_options
from edgekit.cli.options import (
    SOURCES,
    Number,
    model_argument,
    names,
    network_options,
    overwrite_option,
    scores_option,
    size_option,
    weights_option,
)
from edgekit.cli.stating import stated_options
from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from edgekit.conversion import Exported, ExportReport, Failed, Rejected


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
@size_option
@click.option(
    "--data",
    metavar="SRC",
    help=f"Images for the verification: {SOURCES}. By default those of the training, else noise.",
)
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@integer_options
@scores_option
@network_options
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Folder."
)
@click.option(
    "--dynamic",
    type=click.Choice(["batch"]),
    help="Leave a size of the files open: batch, the number of inputs at once (onnx, openvino).",
)
@click.option(
    "--bake-preprocessing",
    is_flag=True,
    help="Put scale, mean, standard deviation, layout and type into the files: they take bytes of "
    "pixels, (N, H, W, C) in RGB.",
)
@click.option(
    "--nms",
    type=click.Choice(["decode", "graph"]),
    default="decode",
    show_default=True,
    help="Where boxes of a detector are suppressed: by apps and edgekit, or in the file.",
)
@click.option(
    "--score-threshold",
    type=Number(0, 1),
    metavar="P",
    help="Least score of an object. [default: the network's, else 0.3]",
)
@click.option(
    "--nms-iou",
    type=Number(0, 1),
    metavar="P",
    help="Overlap above which two boxes are one object. [default: the network's, else 0.5]",
)
@click.option(
    "--max-detections",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Objects of an image at most. [default: the network's, else 100]",
)
@click.option(
    "--device",
    default="host",
    metavar="D",
    help="That the files are for: decides --isa, measures for --tune, judges for --max-drop; see "
    "'edgekit devices'. [default: host]",
)
@overwrite_option
@stated_options
@console.common_options
def command(model: str, target: str, precision: str, **options: Any) -> None:
    """Export MODEL to one file and one contract per target and precision.

    MODEL is a zoo name (mobilenetv3, mobilenetv2@0.75; 'edgekit list models'), a
    run folder or checkpoint, a .pt2 file, timm:NAME, torchvision:NAME, or
    package.module:callable.

    Every file is run in its runtime and compared with PyTorch before it gets
    its name. What fails is kept as NAME.rejected, with exit code 4.
    """
    options["outputs"] = options["outputs"] or ()
    if not names(target) or not names(precision):
        raise UsageError("--target and --precision need a name each; see 'edgekit list'")
    with console.status(f"loading {model}") as notify:
        from edgekit.api.exports import export

        report = export(
            model, target, precision, strict=False, notify=notify, say=console.warn, **options
        )
    failure = report.failure
    show(report)
    if console.wants_json():
        console.emit_json("edgekit.export/1", _document(report, failure))
    if failure is not None:
        raise failure
    _go_on(report, options)


def _go_on(report: ExportReport, options: dict[str, Any]) -> None:
    """What to do with the files: which of several to take, or how good the only one is."""
    from edgekit import registry

    first = report[0].artifact
    data = options["data"] if first.data is None else None
    images = [] if data is None else ["--data", data]
    device = [] if options["device"] == "host" else ["--device", options["device"]]
    known = first.trained and (data or first.data) is not None
    if len(report) > 1:
        console.go_on("edgekit", "benchmark", options["out"], *images, *device)
    elif known and registry.task(first.task).labelled:
        console.go_on("edgekit", "evaluate", report[0].path, *images, *device)
    else:
        console.go_on("edgekit", "profile", report[0].path, *device)


def show(report: ExportReport) -> None:
    """A table of the files that there are, one line each."""
    from edgekit.conversion import Exported

    there = report.written
    if not there:
        return
    console.warn_skipped(report.skipped)
    rows: list[tuple[str, ...]] = []
    for result in there:
        agreement, artifact = result.artifact.agreement, result.artifact
        assert agreement is not None
        assert artifact.size_bytes is not None
        rows.append(
            (
                str(result.path),
                console.mebibytes(artifact.size_bytes),
                f"{agreement.sqnr_db:.1f} dB",
                "" if agreement.top1_match is None else f"{agreement.top1_match:.1%}",
                f"{result.seconds:.1f} s" if isinstance(result, Exported) else "rejected",
            )
        )
    right = "right"
    columns: list[str | tuple[str, str]] = ["file", ("size", right), ("agreement", right)]
    columns.append(("same top-1", right))
    if not any(same for *_, same, _ in rows):  # of outputs that are no scores
        columns, rows = columns[:-1], [(*row[:-2], row[-1]) for row in rows]
    console.table([*columns, ("time", right)], rows, folder=str(there[0].path.parent))
    for result in there:
        kinds = Counter(result.artifact.float_operators)
        if kinds:
            listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
            console.say(f"{result.path.name} computes in float: {listed}.")
        _show_tuning(result)
        _show_ladder(result)
    first = there[0]
    if first.artifact.scores is not None:
        console.say_scores(first.artifact.scores)
    _say_ranges(there)
    assert first.artifact.agreement is not None
    agreements = [r.artifact.agreement for r in there if r.artifact.agreement is not None]
    console.warn_left_out(max(agreements, key=lambda agreement: agreement.left_out))
    all_passed = all(isinstance(result, Exported) for result in there)
    what = "inputs" if first.artifact.agreement.outputs else "images"
    console.say(
        f"{'Verified' if all_passed else 'Compared'} in their runtimes against PyTorch on "
        f"{first.artifact.agreement.n} {what} ({first.verified_on})."
    )


def _say_ranges(results: Sequence[Exported | Rejected]) -> None:
    """How many images the ranges of integers come from, which are the same for all files."""
    from edgekit.quantize.calibration import IMAGES

    for artifact in (result.artifact for result in results):
        count, source = artifact.scheme.calibration_images, artifact.scheme.calibration_data
        if count is not None:
            agreement = artifact.agreement
            what = "inputs" if agreement is not None and agreement.outputs else "images"
            more = "" if count >= IMAGES else f"; {IMAGES} are better"
            console.say(f"Ranges of integers from {count} {what} ({source}){more}.")
            return


_DEFAULT_FORMS = "the default"


def _show_tuning(result: Exported | Rejected) -> None:
    """What was measured to choose how the file is written, one line each."""
    artifact = result.artifact
    if not artifact.tuning:
        return
    first = artifact.tuning[0].forms
    rows, chosen = [], ""
    for one in artifact.tuning:
        changed = ", ".join(f"{k}={v}" for k, v in one.forms.items() if first.get(k) != v)
        own = one.precision == artifact.scheme.precision
        name = (changed or _DEFAULT_FORMS) if own else one.precision
        if own and one.verdict in ("first", "faster"):
            chosen = name
        ratio = "" if one.ratio is None else f"{one.ratio:.3f} times"
        interval = " to ".join(f"{x:.3f}" for x in one.ci95)
        rows.append((name, ratio, interval, one.verdict))
    console.table(
        ["form", ("latency", "right"), "interval", ""],
        rows,
        title=(
            f"{artifact.target}, {artifact.scheme.precision}: latency of each form, in times that "
            f"of the fastest above it"
        ),
    )
    console.say(f"{result.path.name} is written in the form: {chosen or _DEFAULT_FORMS}.")


def _show_ladder(result: Exported | Rejected) -> None:
    """What was tried to keep the accuracy, one line each."""
    from edgekit import registry

    if not result.artifact.ladder:
        return
    rows = [
        (
            rung.name,
            "-" if rung.headline is None else f"{rung.headline:.2%}",
            "-" if rung.drop_points is None else f"{rung.drop_points:.2f}",
            "-" if rung.size_bytes is None else console.mebibytes(rung.size_bytes),
            "-" if rung.latency_ms is None else f"{rung.latency_ms:.2f} ms",
            "holds" if rung.passed else rung.error or "",
        )
        for rung in result.artifact.ladder
    ]
    right = "right"
    console.table(
        [
            "way",
            (registry.task(result.artifact.task).title, right),
            ("drop", right),
            ("size", right),
            ("p50", right),
            "",
        ],
        rows,
        title=f"{result.artifact.target}, {result.artifact.scheme.precision}",
    )


def _document(report: ExportReport, failure: EdgekitError | None) -> dict[str, Any]:
    document = {
        "artifacts": [_entry(one) for one in report],
        "rejected": [_entry(one) for one in report.rejected],
        "failed": [_failed(one) for one in report.failed],
        "skipped": list(report.skipped) if report.written else [],
        "assumed": list(report.assumed),
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
    from edgekit.conversion import Exported
    from edgekit.core import to_json

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
        "scheme": to_json(artifact.scheme),
        "scores": artifact.scores,
        "float_operators": list(artifact.float_operators),
        "ladder": to_json(artifact.ladder),
        "tuning": to_json(artifact.tuning),
    }
    if isinstance(result, Exported):
        seconds = {"seconds": result.seconds, "convert_seconds": result.convert_seconds}
        return {**entry, **seconds, "warning": result.warning}
    return {
        **entry,
        "reason": result.reason,
        "divergence": to_json(result.divergence),
        "undiagnosed": result.undiagnosed,
        "worst_layers": list(result.worst_layers),
    }
