"""Options and words that several commands share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from edgekit.cli import console
from edgekit.core import SCORES, Side
from edgekit.errors import ModelError, UsageError

Command = TypeVar("Command", bound=Callable[..., Any])

model_argument = click.argument("model", metavar="MODEL")
artifact_or_model = click.argument("source", metavar="ARTIFACT|MODEL")

SOURCES = "digits, digit-scenes, or a folder; see 'edgekit list formats'"
"""What ``--data SRC`` may be, in helps."""


class Number(click.FloatRange):
    """A finite number in a range; `click.FloatRange` lets NaN through, and without bounds infinity.

    Args:
        low: the least, ``None`` for any.
        high: the greatest.
        above: whether ``low`` itself is too small.
        below: whether ``high`` itself is too great.
    """

    name = "number"

    def __init__(
        self,
        low: float | None = None,
        high: float | None = None,
        *,
        above: bool = False,
        below: bool = False,
    ) -> None:
        super().__init__(low, high, min_open=above, max_open=below)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number of a text."""
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan  # said below, in one way for all
        if not math.isfinite(number):
            self.fail(f"{value}: expected {self._expected()}", param, ctx)
        return number

    def _expected(self) -> str:
        """The range in words."""
        bounds = []
        if self.min is not None:
            bounds.append(f"{'above' if self.min_open else 'at least'} {self.min:g}")
        if self.max is not None:
            bounds.append(f"{'below' if self.max_open else 'at most'} {self.max:g}")
        return f"a number that is {' and '.join(bounds)}" if bounds else "a finite number"


def scores_option(command: Command) -> Command:
    """``--scores``: what outputs are."""
    return click.option(
        "--scores",
        type=click.Choice(SCORES),
        help="What outputs are; found by itself. sigmoid: each is a probability by itself.",
    )(command)


def task_option(command: Command) -> Command:
    """``--task``: what the outputs of a network are for."""
    return click.option(
        "--task",
        metavar="NAME",
        help="What the outputs of a network are for: classify (scores of an image), detect "
        "(boxes), segment (classes of pixels), embed (embeddings), tensors "
        "(anything else) or another of 'edgekit list tasks'.",
    )(command)


def network_options(command: Command) -> Command:
    """``--example``, ``--outputs`` and ``--task``: what a network takes and gives."""
    outputs = click.option(
        "--outputs", metavar="NAME[,NAME]", help="Outputs to keep, in that order; all by default."
    )
    return example_option(outputs(task_option(command)))


def example_option(command: Command) -> Command:
    """``--example``: inputs of a network that takes anything else than one image."""

    @functools.wraps(command)
    def hinted(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except ModelError as error:
            from edgekit.models.callables import NoImageError

            if not isinstance(error, NoImageError):
                raise
            raise error.with_advice from error

    return click.option(
        "--example",
        metavar="FILE.npz|MODULE:CALLABLE",
        help="Inputs of one inference, of a network that takes anything else than one image.",
    )(hinted)  # type: ignore[return-value]


def weights_option(command: Command) -> Command:
    """``--weights FILE`` and ``--pretrained``, which stands for a file that is downloaded."""

    @functools.wraps(command)
    def with_file(*arguments: Any, pretrained: bool, **options: Any) -> Any:
        if pretrained:
            if options["weights"] is not None:
                raise UsageError("--weights and --pretrained exclude each other: give one of them")
            options["weights"] = fetched(_only_network(options), options.get("resolution"))
        return command(*arguments, **options)

    weights = click.option(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Checkpoint or state dict (.pt, .pth, .safetensors; names of edgekit, torchvision or "
        "timm), for a network's name or callable.",
    )
    pretrained = click.option(
        "--pretrained",
        is_flag=True,
        help="Take torchvision's ImageNet weights, downloaded once into the user's cache.",
    )
    return weights(pretrained(with_file))  # type: ignore[return-value]


def _only_network(options: dict[str, Any]) -> str:
    """The one MODEL of a command line that published weights are asked for."""
    named = [
        options[key] for key in ("model", "against", "source", "other", "a", "b") if key in options
    ]
    named = [source for source in (*named, *options.get("sources", ())) if source is not None]
    if len(named) != 1:
        raise UsageError(
            f"--pretrained belongs to one network, and {len(named)} are named: give one"
        )
    return str(named[0])


def fetched(source: str, resolution: Side | None) -> Path:
    """The published weights of a zoo network; see `edgekit.models.taking.fetched`."""
    from edgekit.models import taking

    with fetching(source) as report:
        return taking.fetched(source, resolution, report=report)


@contextmanager
def fetching(source: str) -> Iterator[Callable[[int, int | None], None]]:
    """A line that says how much of a network's weights has come; a function that changes it."""
    with console.status(f"fetching weights of {source}") as notify:

        def report(done: int, total: int | None) -> None:
            of = "" if total is None else f" of {total / 2**20:.1f}"
            notify(f"fetching weights of {source}: {done / 2**20:.1f}{of} MiB")

        yield report


class _Side(click.ParamType[Side]):
    """Side of a square image in pixels, or height and width."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> Side:
        """The sides of a text such as 96 or 96x160."""
        if not isinstance(value, str):
            side: Side = value
            return side
        try:
            sides = [int(word) for word in value.lower().split("x")]
        except ValueError:
            sides = []
        if len(sides) not in (1, 2):
            what = "expected pixels of a square, or height x width, as in 96x160"
            self.fail(f"{value}: {what}", param, ctx)
        return sides[0] if sides[0] == sides[-1] else (sides[0], sides[1])


SIDE = _Side()
"""Pixels of a square, or height x width."""


def size_option(command: Command) -> Command:
    """``--resolution N`` or ``HxW``, or ``--size``, which is the same."""
    return click.option(
        "--resolution",
        "--size",
        "resolution",
        type=SIDE,
        metavar="PIXELS|HxW",
        help="Side of the input image, or its height and width, as in 96x160.",
    )(command)


def embedded_option(command: Command) -> Command:
    """``--embedded``."""
    return click.option(
        "--embedded",
        is_flag=True,
        help="Read the contract inside the artifact; its bytes are then not checked.",
    )(command)


def device_option(command: Command) -> Command:
    """``--device D``: where a file runs."""
    return click.option(
        "--device",
        metavar="D",
        help="Where the file runs: a device, or tflm, the interpreter of microcontrollers; see "
        "'edgekit devices'. [default: host]",
    )(command)


def threads_option(command: Command) -> Command:
    """``--threads N``."""
    return click.option(
        "--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads of the runtime."
    )(command)


def overwrite_option(command: Command) -> Command:
    """``--overwrite``."""
    return click.option("--overwrite", is_flag=True, help="Replace files that exist.")(command)


def names(text: str) -> list[str]:
    """Comma-separated names as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]
