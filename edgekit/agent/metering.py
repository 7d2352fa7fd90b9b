"""A slot of an agent with a meter of energy, which it reads while another slot computes."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping

import numpy as np

from edgekit.agent.files import load_object
from edgekit.agent.recorder import REMEDY, EnergyRecorder
from edgekit.agent.wire import packed
from edgekit.core import with_kind
from edgekit.core.reasons import PASSING
from edgekit.errors import EdgekitError, MeterError, UnavailableError, name_of

if TYPE_CHECKING:
    from edgekit.agent.wire import Wire
    from edgekit.core import Array, Meter

# What sees the processor, best first: the whole board, then what is nearest to the processor and
# quickest. A battery sees the screen too, and is slow.
_CPU_SCOPES = ("board", "rail", "package", "wall", "device")
_GPU_SCOPES = ("gpu", "board", "rail", "wall", "device")

Kinds = Mapping[str, str]
"""Kinds of meters: ``module:attribute`` by name."""


def open_meter(words: str, where: str, root: Path) -> Meter:
    """Opens a meter.

    Args:
        words: its name, and what stands behind a colon.
        where: of its kind.

    Raises:
        UsageError: what stands behind the colon is wrong.
        UnavailableError: the device has none, or it must not be read.
        MeterError: something else went wrong with it.
    """
    _, colon, argument = words.partition(":")
    try:
        kind = load_object(where)
        found: Meter = (kind.of(argument) if colon else kind).open(root)
        return found
    except EdgekitError:
        raise
    except Exception as error:  # of a library, or of an odd device
        raise MeterError(f"meter '{words}' cannot be opened: {error!r}; {REMEDY}") from error


def discover(
    kinds: Kinds, root: Path, *, gpu: bool = False
) -> tuple[Meter | None, tuple[str, ...]]:
    """Opens the meter that sees a network best.

    Args:
        root: of the file system.
        gpu: whether the network runs on a GPU; without, a GPU's meter does not see it.

    Returns:
        The meter, or ``None``; and for every other one why not, its name first.
    """
    scopes = _GPU_SCOPES if gpu else _CPU_SCOPES
    best: Meter | None = None
    reasons = []
    for name, where in kinds.items():
        try:
            found = open_meter(name, where, root)
        except UnavailableError as error:
            reasons.append(f"{name}: {error}")
            continue
        if found.scope not in scopes:
            loser: Meter | None = found
            reason = f"it meters the {found.scope}, where the network does not run"
        elif best is None or scopes.index(found.scope) < scopes.index(best.scope):
            loser, best = best, found
            reason = f"{found.name} is preferred"
        else:
            loser, reason = found, f"{best.name} is preferred"
        if loser is not None:
            loser.close()
            reasons.append(f"{loser.name}: {reason}")
    return best, tuple(reasons)


class Metering:
    """The commands of the slot."""

    def __init__(self) -> None:
        self.meter: Meter | None = None
        self._recorder: EnergyRecorder | None = None
        self._running = contextlib.ExitStack()

    def open(self, words: str, where: str, root: str) -> dict[str, Any]:
        """Opens a meter: ``meter``, what it is."""
        self.meter = open_meter(words, where, Path(root))
        return {"meter": _about(self.meter)}

    def discover(self, kinds: Kinds, root: str, gpu: bool) -> dict[str, Any]:
        """Opens the best one: ``meter``, or ``None``, and ``reasons``, why no other one."""
        self.meter, reasons = discover(kinds, Path(root), gpu=gpu)
        return {
            "meter": None if self.meter is None else _about(self.meter),
            "reasons": list(reasons),
        }

    def begin(self) -> dict[str, Any]:
        """Begins to read it all the time."""
        assert self.meter is not None
        self._running.close()
        self._recorder = self._running.enter_context(EnergyRecorder(self.meter))
        self._recorder.reach(time.monotonic())
        return {}

    def idle(self, seconds: float) -> dict[str, Any]:
        """Lets the device rest: ``begin_s`` and ``end_s``."""
        begin_s = time.monotonic()
        time.sleep(seconds)
        return {"begin_s": begin_s, "end_s": time.monotonic()}

    def end(self, reach_s: float) -> list[Array]:
        """Reads until a time was reached: times and values of all readings since `begin`.

        A meter may show what is no number, which no document could hold.
        """
        assert self._recorder is not None
        self._recorder.reach(reach_s)
        found = self._recorder.readings()
        self._running.close()
        return [np.array([(one.time_s, one.value) for one in found], np.float64).reshape(-1, 2)]


def _about(meter: Meter) -> dict[str, Any]:
    names = ("name", "scope", "detail", "quantity", "range_mj", "period_s")
    return {name: getattr(meter, name) for name in names}


_COMMANDS = ("open", "discover", "begin", "idle", "end")


def serve(wire: Wire) -> None:
    """Answers requests.

    Raises:
        Closed: nobody asks any more.
    """
    metering = Metering()
    while True:
        request, _ = wire.receive()
        do = request.pop("do")
        assert do in _COMMANDS, do
        answer: dict[str, Any] | list[Array]
        try:
            answer = getattr(metering, do)(**request)
        except EdgekitError as error:
            answer = {"error": name_of(error), "message": str(error)}
        except PASSING:
            raise
        except BaseException as error:  # of a library, or of an odd device
            name = request.get("words", "auto") if metering.meter is None else metering.meter.name
            message = f"meter '{name}' failed: {with_kind(error)}; {REMEDY}"
            answer = {"error": name_of(MeterError(message)), "message": message}
        if isinstance(answer, dict):
            wire.send(answer)
        else:
            about, contents = packed(answer)
            wire.send(about, contents)
