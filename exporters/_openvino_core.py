"""The core of OpenVINO, one for the life of a process, and what other cores may break."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def core(openvino: ModuleType) -> Any:
    """The core of this process.

    OpenVINO's plugin for CPUs puts an alternate signal stack in place, and its core takes it away
    when it goes. Of two cores of which the first one goes first, the second puts the stack of the
    first back, which is there no more: the next signal that Python has a handler for, Ctrl-C say,
    ends the process as a segmentation fault. A core that stays until the end has no such effect.
    """
    return _core(openvino, os.getpid())  # the threads of one that was inherited are not there


@functools.cache
def _core(openvino: ModuleType, _: int) -> Any:
    return openvino.Core()


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Puts this thread's alternate signal stack back after code that makes cores of its own.

    The plugin has one on Linux only.
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
