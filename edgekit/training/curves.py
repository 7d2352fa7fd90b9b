"""The picture of a training: loss and accuracy over the epochs."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from edgekit.core import printable
from edgekit.training.progress import EpochRecord

# Okabe and Ito's palette, told apart by colour-blind readers and in grey.
_TRAIN = "#0072B2"
_VALIDATION = "#D55E00"
_GREY = "#555555"
_MARKED_EPOCHS = 30


def draw(history: Sequence[EpochRecord], title: str) -> bytes:
    """Draws two panels, loss and top-1 accuracy.

    Args:
        history: one record per epoch, at least one.

    Returns:
        A PNG of 1500 x 630 pixels.
    """
    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(printable(title), fontsize=12, fontweight="bold", parse_math=False)
    left, right = figure.subplots(1, 2)
    epochs = [r.epoch for r in history]
    curves = [r.train_loss for r in history], [r.validation_loss for r in history]
    _panel(left, "Loss (cross-entropy)", epochs, *curves, "{:.3f}".format)
    left.set_ylim(bottom=0)
    curves = [r.train_top1 for r in history], [r.validation_top1 for r in history]
    _panel(right, "Top-1 accuracy", epochs, *curves, "{:.1%}".format)
    right.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    right.set_ylim(top=1.01)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _panel(
    axes: Axes,
    title: str,
    epochs: Sequence[int],
    train: Sequence[float],
    validation: Sequence[float],
    value: Callable[[float], str],
) -> None:
    """One quantity on training and validation images, its last values in the legend."""
    marker = "o" if len(epochs) <= _MARKED_EPOCHS else None
    for values, colour, label in (
        (train, _TRAIN, "train (augmented)"),
        (validation, _VALIDATION, "validation"),
    ):
        text = f"{label}: {value(values[-1])}"
        axes.plot(epochs, values, color=colour, label=text, marker=marker, markersize=4, lw=1.8)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("epoch", color=_GREY)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#E5E5E5")
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")
    axes.legend(frameon=False)
