"""Other people's code: networks, converters, quantizers and runtimes raise everything there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgekit.core import reason_with_layer
from edgekit.core.reasons import PASSING
from edgekit.errors import EdgekitError, ModelError
from edgekit.staging import WRITING_FAILED


@contextmanager
def explained(told: Callable[[str], str], kind: type[EdgekitError] = ModelError) -> Iterator[None]:
    """Turns whatever a block raises into one sentence; edgekit's own errors and full disks pass.

    Args:
        told: makes the message of the reason, which names the layer where that shows.

    Raises:
        EdgekitError: of the given class.
    """
    try:
        yield
    except EdgekitError:
        raise
    except PASSING:
        raise
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in WRITING_FAILED:
            raise
        raise kind(told(reason_with_layer(error))) from error
