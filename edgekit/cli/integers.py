"""Options by which somebody says how files of integers are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--calibration",
        metavar="SRC",
        help="Images that the ranges of int8 come from; those of the training by default.",
    ),
    click.option(
        "--calibration-images",
        type=int,
        default=128,
        show_default=True,
        metavar="N",
        help="How many.",
    ),
    click.option(
        "--ranges",
        metavar="HOW",
        help="How ranges come from them: minmax (the default), percentile, entropy (ONNX) or mse "
        "(TFLite).",
    ),
    click.option(
        "--io",
        type=click.Choice(["float", "int8"]),
        default="float",
        show_default=True,
        help="Inputs and outputs of int8 files.",
    ),
    click.option(
        "--float-layers", metavar="NAME[,NAME]", help="Layers of int8 files that stay in float."
    ),
    click.option(
        "--isa",
        metavar="NAME",
        help="Processor that int8 files are for: x86, x86-vnni (with dot products of integers) or "
        "arm; that of --device by default.",
    ),
    click.option(
        "--tune",
        is_flag=True,
        help="Measure which of several equal ways to write the network is fastest on --device "
        "(minutes).",
    ),
    click.option(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="Points of the figure of the task (top-1, mAP, mean IoU, ...), or of agreement where "
        "there are no labels, that int8 may lose on held-out images: tries one way after the "
        "other until one holds.",
    ),
    click.option(
        "--qat-epochs",
        type=click.IntRange(0, 100),
        default=3,
        show_default=True,
        metavar="N",
        help="Epochs of quantization-aware training, the last way of --max-drop; 0 for none.",
    ),
)


def integer_options(command: Command) -> Command:
    """The options; see `edgekit.api.keywords.IntegerKeywords`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
