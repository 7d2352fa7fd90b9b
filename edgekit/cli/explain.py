"""``edgekit explain``: where in an image the evidence for a class lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console
from edgekit.cli.opening import opened, opening_options
from edgekit.cli.options import SIDE, artifact_or_model, overwrite_option
from edgekit.errors import EdgekitError, UsageError

if TYPE_CHECKING:
    from edgekit.core import Side
    from edgekit.explaining import Explanation


@click.command("explain")
@artifact_or_model
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Write the map over the image, as FILE, or of several images as DIR/NAME.png.",
)
@overwrite_option
@click.option(
    "--method",
    metavar="NAME",
    help="grad-cam, saliency or occlusion; exported files take occlusion only. "
    "[default: grad-cam of networks, occlusion of embeddings]",
)
@click.option(
    "--class", "wanted", metavar="NAME|INDEX", help="What to explain. [default: the likeliest]"
)
@click.option(
    "--layer", metavar="PATH", help="Whose map grad-cam takes. [default: the last large enough]"
)
@click.option("--window", type=SIDE, metavar="PIXELS|HxW", help="What occlusion covers at once.")
@click.option("--stride", type=SIDE, metavar="PIXELS|HxW", help="From one window to the next.")
@opening_options
@console.common_options
def command(
    source: str,
    images: tuple[str, ...],
    out: Path | None,
    overwrite: bool,
    method: str | None,
    wanted: str | None,
    layer: str | None,
    window: Side | None,
    stride: Side | None,
    **opening: Any,
) -> None:
    """Show what in images speaks for a class.

    grad-cam and saliency take the gradients of a network; occlusion covers one
    part of the image after the other, and runs anything, files on devices too.
    A folder stands for the images in it.
    """
    from edgekit.data.folder import with_folders

    if overwrite and out is None:
        raise UsageError("--overwrite goes with -o only: nothing else is written")
    every = with_folders(images)
    written = None if out is None else _places(out, every, images, overwrite)

    from edgekit.explaining import explain, method_for

    classifier, warnings = opened(source, opening)
    method = method_for(classifier, method)
    documents: list[dict[str, Any]] = []
    failure: EdgekitError | None = None
    with console.progress() as display:
        bar = display.add_task(method, total=None)

        def done(n: int, total: int) -> None:
            count = "" if len(every) == 1 else f" {len(documents) + 1} of {len(every)}"
            whole = total * len(every)
            at = len(documents) * total + n
            display.update(bar, description=f"{method}{count}", completed=at, total=whole)

        found = explain(
            classifier,
            [Path(name) for name in every],
            method=method,
            wanted=wanted,
            layer=layer,
            window=window,
            stride=stride,
            done=done,
        )
        try:
            for i, explanation in enumerate(found):
                path = None if written is None else written[i]
                if path is not None:
                    explanation.save(path, overwrite=overwrite)
                show(explanation, path)  # at once: a broken image further on must not take it away
                documents.append(document(explanation, path))
                if method != "occlusion":
                    done(0, 1)
        except EdgekitError as error:
            failure = error
    whole = {"explanations": documents, "warnings": list(warnings)}
    console.end_with("edgekit.explain/1", whole, failure)


def _places(out: Path, images: Sequence[str], given: Sequence[str], overwrite: bool) -> list[Path]:
    """Where each explanation goes: a file for one image, else a folder.

    Raises:
        UsageError: a file for several images, or one of no known kind.
        OutputError: a file is there already.
    """
    from edgekit.cli.predict import drawn_in
    from edgekit.explaining import SUFFIXES, check_suffix
    from edgekit.staging import refuse_existing

    as_file = bool(out.suffix) and not out.is_dir()
    if not as_file or (len(images) > 1 and out.suffix.lower() not in SUFFIXES):
        return drawn_in(out, images, overwrite)
    if len(images) > 1:
        raise UsageError(
            f"-o {out}: {len(images)} images are given, expected a folder, such as "
            f"{out.with_suffix('')}"
        )
    check_suffix(out)
    refuse_existing([out], overwrite)
    return [out]


def show(explanation: Explanation, path: Path | None) -> None:
    """What was found of an image."""
    from edgekit.explaining.drawing import caption

    console.say(explanation.image)
    share = explanation.probability
    chance = "" if share is None else f"{share:7.2%}  "
    console.say(f"  {chance}{explanation.name:20.40}  {caption(explanation)}".rstrip())
    peak = explanation.peak
    if peak is None:
        console.say(f"  nothing in it speaks for {explanation.name:.40}")
    else:
        line = f"  most at {peak[0]:.0f}, {peak[1]:.0f} px"
        inside, on = explanation.share_in_box, explanation.share_on_image
        if inside is not None:
            line += f"; {inside:.0%} inside the box"
        elif on is not None and on < 0.9995:
            line += f"; {on:.0%} on the image, the rest on its padding"
        console.say(line)
    if path is not None:
        console.say(f"  {path}")


def document(explanation: Explanation, path: Path | None) -> dict[str, Any]:
    """An explanation for ``--json``."""
    peak, size = explanation.peak, explanation.layer_size
    left, top, right, bottom = explanation.place.box
    return {
        "image": explanation.image,
        "output": None if path is None else str(path),
        "method": explanation.method,
        "layer": explanation.layer,
        "layer_size": None if size is None else list(size),
        "class": {"index": explanation.index, "label": explanation.label},
        "probability": explanation.probability,
        "score": explanation.score,
        "peak": None if peak is None else {"x": peak[0], "y": peak[1]},
        "share_on_image": explanation.share_on_image,
        "box": None if explanation.box is None else list(explanation.box),
        "share_in_box": explanation.share_in_box,
        "seen": [left, top, right, bottom],
    }
