"""The one check that outputs are numbers, before any figure is made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekit.core import ImageSource
from edgekit.errors import ModelError


def check_finite(
    scores: NDArray[Any],
    what: str,
    image: Callable[[int], str],
    output: Callable[[int], str] = lambda column: f"output {column}",
) -> None:
    """Refuses outputs that are no finite numbers: they would be ranked by their place.

    Args:
        scores: (n, ...), one row for each image.
        what: the network or file, for the message.
        image: names the image of a row.
        output: names a column of rows, (n, numbers).

    Raises:
        ModelError: one is not; the message names the first such image and output.
    """
    if np.isfinite(scores).all():
        return
    row, *place = (int(i) for i in np.argwhere(~np.isfinite(scores))[0])
    where = output(place[0]) if len(place) == 1 else f"output {', '.join(map(str, place))}"
    value = scores[(row, *place)]
    raise ModelError(
        f"{what} gives {value} for {image(row)}, {where}: expected finite numbers; look for "
        f"weights that are not finite or too large for the precision, and for divisions by zero"
    )


def namer(source: ImageSource, split: str, start: int = 0) -> Callable[[int], str]:
    """Names images of a split by their place behind the first one, ``start``."""
    return lambda i: f"'{source.name}', image {start + i} of split '{split}'"
