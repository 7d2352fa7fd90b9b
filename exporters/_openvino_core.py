"""The core of OpenVINO, one at a time, and what other cores may break."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
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
    ends the process as a segmentation fault. A core that stays has no such effect.
    """
    _goes_before_forks()
    return _core(openvino, os.getpid())


@functools.cache
def _core(openvino: ModuleType, _: int) -> Any:
    return openvino.Core()


@functools.cache
def _goes_before_forks() -> None:
    """Takes the core away before this process is forked; the next one is made when it is needed.

    A core keeps the threads of networks that are gone for those to come. In a fork they are not
    there, and a network that is given them waits for ever, whatever core it is compiled with.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_go)


def _go() -> None:
    if _core.cache_info().currsize:
        _core.cache_clear()
        gc.collect()  # networks hold their core


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
