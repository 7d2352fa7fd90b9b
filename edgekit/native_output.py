"""Keeps what converters and runtimes print out of the way, without losing it.

They write to the process's standard streams from C++ and from Python alike, so the redirection
happens at the level of file descriptors.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import IO, TextIO

# Enough for the error message that a converter ends with.
KEPT_CHARACTERS = 4000


@contextmanager
def captured() -> Iterator[None]:
    """Collects everything written to descriptors 1 and 2 inside the block.

    When the block raises, the end of what was collected is added to the exception as a note, for
    those who ask for the traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with sink_of_output() as sink:
        saved = os.dup(1), os.dup(2)
        try:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
            with _python_streams(sink.fileno()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except BaseException as error:
            _flush()
            sink.seek(0)
            text = sink.read().decode(errors="replace")[-KEPT_CHARACTERS:].strip()
            if text:
                error.add_note(f"printed before that:\n{text}")
            raise
        finally:
            _flush()
            for descriptor, original in enumerate(saved, start=1):
                os.dup2(original, descriptor)
                os.close(original)


def sink_of_output() -> IO[bytes]:
    """A file in memory where there are such: on a full disk, converters end the process else."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("edgekit-output"), "w+b")
    return tempfile.TemporaryFile()


@contextmanager
def _python_streams(descriptor: int) -> Iterator[None]:
    """Sends sys.stdout and sys.stderr there too: in a notebook they are not descriptors 1 and 2."""
    outside = sys.stderr
    with (
        open(os.dup(descriptor), "w", encoding="utf-8", errors="replace") as sink,
        redirect_stdout(sink),
        redirect_stderr(sink),
        _log_handlers(sink, outside),
    ):
        yield


@contextmanager
def _log_handlers(sink: TextIO, outside: TextIO) -> Iterator[None]:
    """Sends lines of loggers there too: a handler keeps the stream that it was made with.

    One that was made while progress was shown would write its lines into that.

    Args:
        outside: for handlers that are made meanwhile, whose stream is closed afterwards.
    """
    earlier = {handler: _give(handler, sink) for handler in _handlers()}
    try:
        yield
    finally:
        for handler, stream in earlier.items():
            _give(handler, stream)
        for handler in _handlers():
            if handler.stream is sink:
                _give(handler, outside)


def _handlers() -> set[logging.StreamHandler[TextIO]]:
    """Of all loggers, those that write to a stream that is no file of theirs."""
    known = logging.Logger.manager.loggerDict.copy().values()
    loggers = [logging.getLogger(), *(one for one in known if isinstance(one, logging.Logger))]
    return {h for one in loggers for h in one.handlers if type(h) is logging.StreamHandler}


def _give(handler: logging.StreamHandler[TextIO], stream: TextIO) -> TextIO:
    """Changes the stream of a handler; gives the earlier one.

    That one may be closed, so it is not flushed: handlers do so after each line.
    """
    handler.acquire()
    try:
        earlier, handler.stream = handler.stream, stream
    finally:
        handler.release()
    return earlier


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
