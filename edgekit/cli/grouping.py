"""Options of a command by what they are about, those that everybody needs first."""

from __future__ import annotations

import click

GROUPS = {
    "Network": (
        "weights", "pretrained", "resolution", "init", "example", "outputs", "task", "scores",
        "embedded", "dynamic", "converter", "torch", "processor", "input_shape",
    ),
    "Integers": (
        "calibration", "calibration_images", "ranges", "io", "float_layers", "isa", "tune",
        "max_drop", "qat_epochs",
    ),
    "Learning": (
        "batch_size", "accumulate", "lr", "optimizer", "schedule", "weight_decay", "warmup_epochs",
        "label_smoothing", "ema", "drop_path", "dropout", "teacher", "teacher_weight",
        "teacher_temperature", "amp",
    ),
    "Changes of images": ("flip", "crop", "randaugment", "mixup", "cutmix"),
    "Search": (
        "method", "baselines", "rule", "criterion", "reduction", "tune_steps", "tune_rate",
        "contest", "finish_epochs", "finish_rate", "scratch", "distill", "selection_images",
        "workers", "executor", "wait",
    ),
    "Measurement": (
        "seconds", "precision_goal", "batch", "sustain", "cooldown", "meter", "time_limit",
        "no_store",
    ),
    "Images and classes, where a network does not say": (
        "mean", "std", "scale", "resize", "fit", "pad", "interpolation", "channel_order", "labels",
    ),
}  # fmt: skip
"""Names of parameters. What is in no group stands first, under Options."""

FEW = 14
"""Options that need no groups."""


def format_options(
    command: click.Command, context: click.Context, formatter: click.HelpFormatter
) -> None:
    """Writes the options of a command, in groups where they are many."""
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    group_of = {name: title for title, names in GROUPS.items() for name in names}
    titles = ["Options", *GROUPS] if len(options) > FEW else ["Options"]
    for title in titles:
        lines = [
            line
            for option in options
            if len(titles) == 1 or group_of.get(option.name or "", "Options") == title
            if (line := option.get_help_record(context)) is not None
        ]
        if lines:
            with formatter.section(title):
                formatter.write_dl(lines)
