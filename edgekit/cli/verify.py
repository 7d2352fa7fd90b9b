"""``edgekit verify``: an artifact against its network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, keeping
from edgekit.cli.options import (
    SOURCES,
    device_option,
    embedded_option,
    example_option,
    weights_option,
)
from edgekit.cli.stating import stated_options
from edgekit.core.text import counted_words
from edgekit.errors import EdgekitError, GateError, UsageError

if TYPE_CHECKING:
    from edgekit.verification.artifact import Verification

_UNSAID = (None, False, ())


@click.command("verify")
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True)
@click.option(
    "--against",
    metavar="MODEL",
    help="The network it was made from. [default: the one that its contract names]",
)
@click.option("--data", metavar="SRC", help=f"Images: {SOURCES}.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@click.option(
    "--per-layer", is_flag=True, help="Signal to noise of each layer, and the worst ones."
)
@weights_option
@example_option
@embedded_option
@device_option
@stated_options
@console.common_options
def command(
    artifacts: tuple[str, ...],
    against: str | None,
    per_layer: bool,
    **options: Any,
) -> None:
    """Run ARTIFACT and its network on the same images and compare their outputs.

    Where they disagree (exit code 4), names the first layer that diverges. Of
    several, each is verified; a folder stands for the exported files in it. Of an
    archive of 'edgekit bundle', every file is checked, and compared with MODEL if
    one is given.
    """
    from edgekit.bundles import ENDING
    from edgekit.folders import expanded

    archives = [one for one in artifacts if one.endswith(ENDING)]
    if archives and len(artifacts) > 1:
        raise UsageError(f"{archives[0]} is an archive, which is verified alone: give it by itself")
    if archives:
        _archive(archives[0], against, per_layer, options)
        return
    every = expanded(artifacts)
    if len(every) > 1 or [*artifacts] != every:
        _several(every, against, per_layer, options)
        return
    (artifact,) = every
    result = _compared(artifact, artifact, against, per_layer, options)
    against = against or result.against
    if console.wants_json():
        console.emit_json("edgekit.verify/1", _document(artifact, against, result))
    if not result.passed:
        raise GateError(_why(artifact, against, result))
    console.say("passed")


def _several(
    artifacts: Sequence[str], against: str | None, per_layer: bool, options: dict[str, Any]
) -> None:
    """Verifies each of several files; one that fails does not keep the others from it."""
    documents: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    errors: list[EdgekitError] = []
    for i, artifact in enumerate(artifacts):
        count = (i, len(artifacts))
        try:
            result = _compared(artifact, artifact, against, per_layer, options, count)
        except EdgekitError as error:
            errors.append(error)
            rows.append((Path(artifact).name, "", "", "cannot be verified"))
            continue
        other, agreement = against or result.against, result.agreement
        documents.append(_document(artifact, other, result))
        if not result.passed:
            errors.append(GateError(_why(artifact, other, result)))
        same = "" if agreement.top1_match is None else f"{agreement.top1_match:.2%}"
        told = "passed" if result.passed else "failed"
        rows.append((Path(artifact).name, f"{agreement.sqnr_db:.1f} dB", same, told))
    right = "right"
    console.table(["file", ("signal to noise", right), ("same top-1", right), ""], rows)
    if console.wants_json() and documents:
        failed = [console.error_entry(e) for e in errors if not isinstance(e, GateError)]
        console.emit_json("edgekit.verify/1", {"results": documents, "failed": failed})
    keeping.finish(errors)
    console.say(f"{counted_words(len(artifacts), 'file')} passed")


def _archive(path: str, against: str | None, per_layer: bool, options: dict[str, Any]) -> None:
    """Checks an archive, and compares each of its files with a network where one is given."""
    from edgekit.bundles import Unpacked
    from edgekit.stated import NOTHING

    if against is None and any(value not in (*_UNSAID, NOTHING) for value in options.values()):
        raise UsageError("an archive is checked as it is: other options go with --against MODEL")
    documents, failures = [], []
    with Unpacked(Path(path)) as checked:
        for number, file in enumerate(checked.artifacts):
            name = f"{path}/{file.relative_to(checked.folder).as_posix()}"
            if against is None:
                console.say(f"{name}: as it was bundled")
                continue
            position = (number, len(checked.artifacts))
            result = _compared(name, str(file), against, per_layer, options, position)
            documents.append(_document(name, against, result))
            if not result.passed:
                failures.append(_why(name, against, result))
        count = len(checked.artifacts)
    if console.wants_json():
        document = {"archive": path, "artifacts": count, "results": documents}
        console.emit_json("edgekit.verify-archive/1", document)
    if failures:
        raise GateError("; ".join(failures))
    console.say("passed")


def _compared(
    name: str,
    path: str,
    against: str | None,
    per_layer: bool,
    options: dict[str, Any],
    count: tuple[int, int] | None = None,
) -> Verification:
    """Verifies a file and shows how it agrees.

    Args:
        name: of the file, for people.
        count: of files that were verified before it, and of all; ``None`` where it is the only one.
    """
    counted = "" if count is None else f", {count[0]} of {count[1]}"
    with console.status(f"verifying {name}{counted}") as notify:
        from edgekit.api.using import verify

        told = notify if count is None else lambda stage: None
        result = verify(path, against, per_layer=per_layer, notify=told, **options)
    _show_all(name, against or result.against, per_layer, result)
    return result


def _show_all(artifact: str, against: str, per_layer: bool, result: Verification) -> None:
    _warn(artifact, against, result)
    _show(artifact, against, result)
    console.warn_left_out(result.agreement)
    kernels = result.kernels
    if kernels is not None and kernels.differ:
        console.warn(
            f"{artifact} gives something else on {result.device} than by {kernels.runtime}, by up "
            f"to {kernels.most_steps} steps: one of both computes an operator wrongly; against "
            f"PyTorch {result.device} has {result.agreement.sqnr_db:.1f} dB"
        )
    if per_layer and result.layers:
        _show_layers(result)
    elif per_layer:
        console.warn(f"the layers of {artifact} cannot be looked at: {result.undiagnosed}")


def _warn(artifact: str, against: str, result: Verification) -> None:
    console.warn_skipped(result.skipped)
    if result.preparation is not None:
        console.warn(
            f"'{against}' is untrained: {result.preparation}, as on export; the network as it "
            f"was built computes something else"
        )
    console.warn_notes(against, result.notes)
    if result.misfit is not None:
        console.warn(result.misfit)
    if result.same_weights is False:
        console.warn(f"{artifact} was made from other weights than those of '{against}'")


def _show(artifact: str, against: str, result: Verification) -> None:
    agreement = result.agreement
    rows = [
        ("signal to noise", f"{agreement.sqnr_db:.1f} dB", _least(agreement, "sqnr_db")),
        ("cosine", f"{agreement.cosine:.7f}", ""),
        ("largest difference", f"{agreement.max_abs:.3g}", ""),
        ("  over the spread", f"{agreement.max_rel:.3g}", ""),
    ]
    if agreement.top1_match is not None:
        same = f"{agreement.top1_match:.2%}"
        rows.insert(1, ("same top-1", same, _least(agreement, "top1_match")))
    if result.kernels is not None:
        steps = f"at most {result.kernels.most_steps:g}, {result.kernels.equal:.2%} equal"
        rows.append((f"steps from {result.kernels.runtime}", steps, ""))
    what = "inputs" if agreement.outputs else "images"
    place = "" if result.device is None else f" on {result.device}"
    console.table(
        ["measure", ("value", "right"), ("at least", "right")],
        rows,
        title=f"{artifact}{place} against {against}, {agreement.n} {what} ({result.data})",
    )
    if agreement.outputs:
        console.table(
            ["output", ("signal to noise", "right"), ("equal", "right"), ""],
            [
                (
                    one.name,
                    "" if one.sqnr_db is None else f"{one.sqnr_db:.1f} dB",
                    "" if one.match is None else f"{one.match:.2%}",
                    "" if one.passed else "fails",
                )
                for one in agreement.outputs
            ],
            title="output by output",
        )
    if result.objects is not None:
        console.say(result.objects.describe())


def _show_layers(result: Verification) -> None:
    from edgekit.verification.divergence import FAR_DB, FUSED_DB, first_far, worst_layers

    rows = [
        (
            layer.layer,
            layer.kind,
            "fused"
            if layer.sqnr_db is None or layer.sqnr_db < FUSED_DB
            else f"{layer.sqnr_db:.1f} dB",
        )
        for layer in result.layers
    ]
    console.table(["layer", "kind", ("signal to noise", "right")], rows, title="layer by layer")
    first = first_far(result.layers)
    if first is not None:
        console.say(f"The first layer below {FAR_DB:g} dB: {first}.")
    worst = worst_layers(result.layers)[:5]
    if worst:
        console.say(f"Most noise is added by: {', '.join(worst)}.")


def _document(artifact: str, against: str, result: Verification) -> dict[str, Any]:
    from edgekit.core import to_json
    from edgekit.verification.divergence import first_far, worst_layers

    return {
        "artifact": artifact,
        "against": against,
        "agreement": to_json(result.agreement),
        "divergence": to_json(result.divergence),
        "undiagnosed": result.undiagnosed,
        "device": result.device,
        "warnings": [] if result.misfit is None else [result.misfit],
        "kernels": to_json(result.kernels),
        **({} if result.objects is None else {"objects": to_json(result.objects)}),
        "data": result.data,
        "skipped": list(result.skipped),
        "preparation": result.preparation,
        "notes": list(result.notes),
        "same_weights": result.same_weights,
        "layers": to_json(result.layers),
        "first_layer": first_far(result.layers),
        "worst_layers": worst_layers(result.layers),
    }


def _why(artifact: str, against: str, result: Verification) -> str:
    """The bounds that do not hold, and what may explain it."""
    from edgekit import registry
    from edgekit.tasks.agreement import failures
    from edgekit.verification.divergence import advice, worst_layers
    from edgekit.verification.reference import rounding_grows

    told = [failures(result.agreement)]
    if result.objects is not None:
        told.append(result.objects.failure)
    text = f"{artifact} does not agree with {against}: {', '.join(filter(None, told))}"
    if result.same_weights is False:
        text += "; it was made from other weights"
    if result.divergence is not None:
        text += f"; {result.divergence.describe()}"
    elif result.undiagnosed is not None:
        text += f"; the first diverging layer cannot be looked for: {result.undiagnosed}"
    about = result.artifact
    if about.scheme.weights == "int8":
        worst = worst_layers(result.layers)
        text += f"; {advice(worst, registry.target(about.target), about.scheme)}"
    return text + rounding_grows(result.preparation is None)


def _least(agreement: object, name: str) -> str:
    tolerance = getattr(agreement, "tolerance", {})
    if name not in tolerance:
        return ""
    bound = tolerance[name]
    return f"{bound:g} dB" if name == "sqnr_db" else f"{bound:.0%}"
