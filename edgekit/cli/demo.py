"""``edgekit demo``: the whole way, from training to the file to ship."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import benchmark as benchmark_command
from edgekit.cli import console, figures, train
from edgekit.cli import predict as predict_command
from edgekit.cli.interrupts import held_interrupts
from edgekit.cli.options import overwrite_option
from edgekit.core.text import counted_words
from edgekit.errors import OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.benchmarking.results import Benchmark

MODEL, DATA, RESOLUTION, EPOCHS = "mobilenetv3-small", "digits", 32, 15
PRECISIONS = ("fp32", "fp16", "int8")
SECONDS = 3.0
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
    """Train a MobileNetV3 on scanned digits, and find the file to ship.

    Exports the network to every format in float and int8, verifies each file,
    evaluates and measures all of them, and classifies an image with the best one.
    """
    from edgekit.locks import one_writer
    from edgekit.staging import output_folder

    with output_folder(out), one_writer(out, "demo"):
        _demonstrate(out, epochs, overwrite)


def _demonstrate(out: Path, epochs: int, overwrite: bool) -> None:
    from edgekit.data import open_source

    _refuse_earlier(out, overwrite)
    begin = time.perf_counter()
    options = {"epochs": epochs, "resolution": RESOLUTION}
    console.note(f"training {MODEL} on {DATA}, {RESOLUTION} px, {counted_words(epochs, 'epoch')}")
    result = train.run(MODEL, DATA, out / "run", False, overwrite, False, options)
    with held_interrupts() as interrupts, benchmark_command.progress() as progress:
        found = _benchmark(result, out, progress, interrupts.hold)
    source, image = open_source(DATA), out / "digit.png"
    _write_digit(image, source.image("test", 0), overwrite)
    if found.choice.row is not None:
        _predict(found.choice.row.path, image)
    console.say()
    figures.say_wrapped(
        f"Everything lies in {out}/: the run in run/ (see run/curves.png), the files, each with "
        f"its contract, and {image.name}. It took {time.perf_counter() - begin:.0f} s.",
        behind="",
    )
    benchmark_command.show(found)
    if console.wants_json():
        console.emit_json("edgekit.demo/1", _document(result, found))
    if found.interrupted:
        raise KeyboardInterrupt
    failure = benchmark_command.failure(found)
    if failure is not None:
        raise failure


def _benchmark(result: Any, out: Path, progress: Any, hold: Any) -> Benchmark:
    """All files of the network that was trained, measured in turns."""
    from edgekit import tables
    from edgekit.benchmarking import run
    from edgekit.devices.device import HOST
    from edgekit.measure.session import Effort
    from edgekit.models.source import open_model
    from edgekit.quantize.integers import Integers

    asked = run.Asked(
        HOST,
        threads=1,
        targets=sorted(tables.TARGETS.built_in),
        precisions=PRECISIONS,
        effort=Effort(SECONDS),
        out=out,
        overwrite=True,
        integers=Integers(),
        command=console.command_line(),
    )
    told = run.Told(progress, console.note, console.warn, hold)
    return run.benchmark_in(open_model(str(result.run)), asked, told, out)


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


def _document(result: Any, found: Benchmark) -> dict[str, Any]:
    from edgekit.benchmarking.document import document
    from edgekit.core import to_json

    whole = document(found)
    return {
        "train": to_json(result),
        "artifacts": [
            {
                "path": row["artifact"],
                **{key: row[key] for key in ("target", "precision", "size_bytes", "agreement")},
                "top1": None if row["headline"] is None else row["headline"]["value"],
            }
            for row in whole["rows"]
            if row["state"] == "ok"
        ],
        "benchmark": whole,
    }
