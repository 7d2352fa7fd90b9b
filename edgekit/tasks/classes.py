"""Classes of a network beside those of data."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.names import shown
from edgekit.core.text import counted_words
from edgekit.errors import DataError, ModelError

_NAMED = 3
"""Classes that a message has room for."""


def outputs_of(
    known: Sequence[str] | None, count: int, of_source: Sequence[str], network: str, source: str
) -> Sequence[int]:
    """For each class of the data the class of the network that stands for it.

    Args:
        known: names of the network's classes; ``None`` where nobody knows them.
        count: how many it has.
        of_source: names of those of the data.
        network: names it, as ``source`` does the data.

    Raises:
        DataError: one is none of the network's.
    """
    if known is None:
        if len(of_source) != count:
            raise DataError(
                f"'{network}' has {counted_words(count, 'output')} without names, '{source}' "
                f"has {len(of_source)} classes: expected the same number"
            )
        return range(count)
    missing = [name for name in of_source if name not in known]
    if missing:
        raise DataError(
            f"class '{shown(missing[0])}' of '{source}' is none of the "
            f"{_counted(known)} of '{network}': give data with classes that it knows"
        )
    places = {name: i for i, name in enumerate(known)}
    return [places[name] for name in of_source]


def labels_for(
    known: Sequence[str] | None,
    count: int,
    of_source: Sequence[str],
    network: str,
    source: str,
    outputs: int | None = None,
) -> tuple[str, ...]:
    """Names for the classes of a network that learns from data; see `outputs_of`.

    Args:
        count: classes of the network.
        outputs: that it has, where these are fewer.

    Raises:
        ModelError: the data has another number of them.
        DataError: its classes are none of the network's, or stand in another order.
    """
    labels = tuple(known or of_source)
    if len(labels) != count:
        raise ModelError(
            f"'{network}' has {counted_words(outputs or count, 'output')}, and '{source}' has "
            f"{counted_words(len(labels), 'class', 'classes')}: expected as many"
        )
    unknown = next((name for name in of_source if name not in labels), None)
    if unknown is not None:
        raise DataError(
            f"class '{shown(unknown)}' of '{source}' is none of the {_counted(labels)} of "
            f"'{network}': give data with its classes, or begin a network of other ones"
        )
    other = next((i for i, name in enumerate(of_source) if labels[i] != name), None)
    if other is not None:  # what is learned goes by the numbers of classes
        raise DataError(
            f"class {other} of '{source}' is '{shown(of_source[other])}', and that of '{network}' "
            f"is '{shown(labels[other])}': to learn, both need their classes in the same order"
        )
    return labels


def _counted(names: Sequence[str]) -> str:
    """How many classes, and the first of them."""
    listed = ", ".join(map(shown, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")
    return f"{counted_words(len(names), 'class', 'classes')} ({listed})"


def name_of(labels: Sequence[str] | None, index: int) -> str | None:
    """The name of a class, where it has one."""
    return labels[index] if labels is not None and index < len(labels) else None
