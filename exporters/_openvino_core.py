"""Networks compiled by OpenVINO, without what its plugin for CPUs does to signals."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Puts this thread's alternate signal stack back after code that loads OpenVINO's plugin.

    The plugin puts a stack of its own in place, on Linux, and its core takes that away when it
    goes. Of two cores of which the first one goes first, the second puts the stack of the first
    back, which is there no more: the next signal that Python has a handler for, Ctrl-C say, ends
    the process as a segmentation fault. A core whose stack is not in place leaves it at that.
    """
    if sys.platform != "linux":
        yield
        return
    change, kept = ctypes.CDLL(None).sigaltstack, _SignalStack()
    known = change(None, ctypes.byref(kept)) == 0
    try:
        yield
    finally:
        if known:
            change(ctypes.byref(kept), None)


def compiled(openvino: ModuleType, graph: Any, config: Mapping[str, Any]) -> Any:
    """A graph compiled for the CPU.

    By a core of its own: threads of one that is kept are missing in processes that are forked.
    """
    with signal_stack_kept():
        return openvino.Core().compile_model(graph, "CPU", dict(config))
