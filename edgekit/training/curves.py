"""Pictures of a training: loss and accuracy over the epochs, and which classes are confused."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from edgekit.core import printable
from edgekit.tasks.details import Confusion
from edgekit.training.progress import EpochRecord

# Okabe and Ito's palette, told apart by colour-blind readers and in grey.
_TRAIN = "#0072B2"
_VALIDATION = "#D55E00"
_GREY = "#555555"
_MARKED_EPOCHS = 30
_COUNTED_CLASSES = 20  # figures in the cells
_NAMED_CLASSES = 60
_LARGEST_COUNT = 100_000  # that fits into a cell; pixels are more


def draw(history: Sequence[EpochRecord], figure_name: str, title: str) -> bytes:
    """Draws two panels, the loss and the task's figure.

    Args:
        history: one record per epoch, at least one.
        figure_name: what people call the figure.

    Returns:
        A PNG of 1500 x 630 pixels.
    """
    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(printable(title), fontsize=12, fontweight="bold", parse_math=False)
    left, right = figure.subplots(1, 2)
    epochs = [r.epoch for r in history]
    curves = [r.train_loss for r in history], [r.validation_loss for r in history]
    _panel(left, "Loss", epochs, *curves, "{:.3f}".format)
    left.set_ylim(bottom=0)
    figures = [r.train_figure for r in history], [r.validation_figure for r in history]
    _panel(right, figure_name, epochs, *figures, "{:.1%}".format)
    right.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    right.set_ylim(top=1.01)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _panel(
    axes: Axes,
    title: str,
    epochs: Sequence[int],
    train: Sequence[float | None],
    validation: Sequence[float | None],
    value: Callable[[float], str],
) -> None:
    """One quantity on training and validation images, its last values in the legend."""
    marker = "o" if len(epochs) <= _MARKED_EPOCHS else None
    for values, colour, label in (
        (train, _TRAIN, "train (augmented)"),
        (validation, _VALIDATION, "validation"),
    ):
        last = values[-1]
        if last is None:
            continue
        text = f"{label}: {value(last)}"
        axes.plot(
            epochs,
            [v for v in values if v is not None],
            color=colour,
            label=text,
            marker=marker,
            markersize=4,
            lw=1.8,
        )
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("epoch", color=_GREY)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")
    if axes.lines:
        axes.legend(frameon=False)


def draw_confusions(confusion: Confusion, title: str) -> bytes:
    """Draws a square for each pair of what is there and what it is taken for.

    Args:
        confusion: of at least one image, object or pixel.

    Returns:
        A PNG of at most 1350 x 1350 pixels.
    """
    counts = np.array(confusion.counts, np.int64)
    n = max(counts.shape)
    side = min(9.0, 4.2 + 0.25 * n)
    figure = Figure(figsize=(side, side), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(printable(title), fontsize=10, fontweight="bold", parse_math=False)
    axes = figure.subplots()
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="taken for", ylabel="class")
    if n <= _NAMED_CLASSES:
        right, found = (
            [printable(name) for name in names] for names in (confusion.right, confusion.found)
        )
        size = 9 if n <= _COUNTED_CLASSES else 6
        axes.set_xticks(range(len(found)), found, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(len(right)), right, fontsize=size, parse_math=False)
    if n <= _COUNTED_CLASSES and counts.max() < _LARGEST_COUNT:
        for i, j in zip(*counts.nonzero(), strict=True):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=8, color=colour)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
