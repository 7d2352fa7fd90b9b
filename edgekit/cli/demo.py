"""``edgekit demo``: the whole way, from training to a prediction."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, figures, train
from edgekit.cli import predict as predict_command
from edgekit.cli.options import overwrite_option
from edgekit.errors import OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.conversion import Exported
    from edgekit.inference import Evaluation

MODEL, DATA, RESOLUTION, EPOCHS = "mobilenetv3-small", "digits", 32, 15
PRECISIONS = ("fp32", "fp16")
SHADES = " ░▒▓█"


@click.command("demo")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("edgekit-demo"),
    show_default=True,
    metavar="DIR",
)
@click.option("--epochs", type=int, default=EPOCHS, show_default=True)
@overwrite_option
@console.common_options
def command(out: Path, epochs: int, overwrite: bool) -> None:
    """Train a MobileNetV3 on scanned digits, export, verify, evaluate, predict."""
    from edgekit.locks import one_writer
    from edgekit.staging import output_folder

    with output_folder(out), one_writer(out, "demo"):
        _demonstrate(out, epochs, overwrite)


def _demonstrate(out: Path, epochs: int, overwrite: bool) -> None:
    from edgekit import tables
    from edgekit.data import open_source

    _refuse_earlier(out, overwrite)
    begin = time.perf_counter()
    options = {"epochs": epochs, "resolution": RESOLUTION}
    console.note(f"training {MODEL} on {DATA}, {RESOLUTION} px, {epochs} epochs")
    result = train.run(MODEL, DATA, out / "run", False, overwrite, False, options)
    targets = sorted(tables.TARGETS.built_in)
    console.note("exporting to " + ", ".join(targets))
    with console.status("exporting") as notify:
        from edgekit.conversion import export

        exported = list(
            export(result, targets, PRECISIONS, out=out, overwrite=overwrite, notify=notify)
        )
        source = open_source(DATA)
        scores = {str(result.run): _evaluate(str(result.run), source)}
        for file in exported:
            notify(f"evaluating {file.path.name}")
            scores[str(file.path)] = _evaluate(str(file.path), source)
    _table(str(result.run), exported, scores)
    image = out / "digit.png"
    _write_digit(image, source.image("test", 0), overwrite)
    chosen = next(f for f in reversed(exported) if f.artifact.scheme.precision == PRECISIONS[0])
    _predict(chosen.path, image)
    console.say()
    figures.say_wrapped(
        f"Everything lies in {out}/: the run in run/ (see run/curves.png), the files, each with "
        f"its contract, and {image.name}. It took {time.perf_counter() - begin:.0f} s.",
        behind="",
    )
    if console.wants_json():
        console.emit_json("edgekit.demo/1", _document(result, exported, scores))


def _refuse_earlier(out: Path, overwrite: bool) -> None:
    """Says what can be done about an earlier run here, where there is no ``--resume``.

    Raises:
        OutputError: the folder holds a run, and may not be replaced.
    """
    results = ("run/model.pt", "run/state.pt", "run/metrics.jsonl", "run/curves.png", "digit.png")
    if not overwrite and any((out / name).exists() for name in results):
        raise OutputError(
            f"{out} holds an earlier demo: give --overwrite to replace it, or another folder "
            f"with -o"
        )


def _evaluate(path_or_model: str, source: Any) -> Evaluation:
    from edgekit.inference import evaluate, open_classifier

    return evaluate(open_classifier(path_or_model), source)


def _table(run: str, exported: list[Exported], scores: dict[str, Evaluation]) -> None:
    rows = [("pytorch", "fp32", "", "", console.percent(scores[run].headline.value))]
    for file in exported:
        agreement, size = file.artifact.agreement, file.artifact.size_bytes
        assert agreement is not None
        assert size is not None
        rows.append(
            (
                file.artifact.target,
                file.artifact.scheme.precision,
                console.mebibytes(size),
                f"{agreement.sqnr_db:.1f} dB",
                console.percent(scores[str(file.path)].headline.value),
            )
        )
    right = "right"
    console.table(
        ["target", "precision", ("size", right), ("agreement", right), ("top-1", right)], rows
    )


def _write_digit(path: Path, pixels: NDArray[Any], overwrite: bool) -> None:
    from PIL import Image

    from edgekit.staging import write_file

    write_file(path, lambda staged: Image.fromarray(pixels).save(staged), overwrite=overwrite)
    for row in pixels[:, :, 0]:
        console.say("    " + "".join(2 * SHADES[int(value) * len(SHADES) // 256] for value in row))


def _predict(artifact: Path, image: Path) -> None:
    from edgekit.inference import open_classifier, predict

    console.say(f"$ edgekit predict {artifact} {image} --top 3")
    classifier = open_classifier(str(artifact))
    for prediction in predict(classifier, [image], top=3):
        predict_command.show(classifier, prediction)


def _document(
    result: Any, exported: list[Exported], scores: dict[str, Evaluation]
) -> dict[str, Any]:
    from edgekit.core import to_json

    return {
        "train": to_json(result),
        "artifacts": [
            {
                "path": str(file.path),
                "target": file.artifact.target,
                "precision": file.artifact.scheme.precision,
                "size_bytes": file.artifact.size_bytes,
                "agreement": to_json(file.artifact.agreement),
                "top1": scores[str(file.path)].top1,
            }
            for file in exported
        ],
    }
