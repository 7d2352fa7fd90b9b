"""Messages between an agent and the one that asks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.agent import wire
from edgekit.agent.wire import ARRAYS, Closed, Garbled, Wire, packed, unpacked


@pytest.fixture
def ends() -> Iterator[tuple[Wire, Wire]]:
    """Two ends of a conversation."""
    out, into = os.pipe()
    back, forth = os.pipe()
    yield Wire(out, forth), Wire(back, into)
    for each in (out, into, back, forth):
        try:
            os.close(each)
        except OSError:
            continue


KINDS = ("float32", "float16", "int8", "uint8", "int64", "bool")


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.lists(st.integers(0, 4), max_size=4))))
def test_arrays_arrive_as_they_were_sent(kinds: list[tuple[str, list[int]]]) -> None:
    out, into = os.pipe()
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2, shape).astype(kind) for kind, shape in kinds]
    try:
        document, contents = packed(arrays)
        Wire(out, into).send({"do": "x", **document}, contents)
        answer, received = Wire(out, into).receive(5)
    finally:
        os.close(out)
        os.close(into)
    found = unpacked(answer, received)
    assert len(found) == len(arrays)
    for one, other in zip(found, arrays, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one, other)


def test_large_arrays_pass_through_a_small_pipe(ends: tuple[Wire, Wire]) -> None:
    one, other = ends
    array = np.arange(3_000_000, dtype=np.float32)
    document, contents = packed([array])
    sender = threading.Thread(target=one.send, args=(document, contents))
    sender.start()
    answer, received = other.receive(30)
    sender.join()
    assert np.array_equal(unpacked(answer, received)[0], array)


def test_one_that_says_nothing_is_not_waited_for(ends: tuple[Wire, Wire]) -> None:
    with pytest.raises(TimeoutError):
        ends[0].receive(0.05)
    os.write(ends[1].sink, b'{"half": ')
    with pytest.raises(TimeoutError):
        ends[0].receive(0.05)


def test_the_end_of_a_conversation_is_told(ends: tuple[Wire, Wire]) -> None:
    os.write(ends[1].sink, b'{"half": ')
    os.close(ends[1].sink)
    with pytest.raises(Closed):
        ends[0].receive(5)


@pytest.mark.parametrize(
    "text",
    [
        "no JSON", "[1]", "7", '{"arrays": 7}', '{"arrays": [["<f4"]]}',
        '{"arrays": [["<f4", [-1]]]}',
        '{"arrays": [["|O8", [1]]]}', '{"arrays": [["<f4", [9999999, 9999999]]]}',
        '{"arrays": [["<fx", [1]]]}', '{"arrays": [[4, [1]]]}', "[" * 50_000, '{"a": NaN}', "\xff",
    ],
)  # fmt: skip
def test_another_language_is_told_from_messages(ends: tuple[Wire, Wire], text: str) -> None:
    os.write(ends[1].sink, text.encode("latin-1") + b"\n")
    with pytest.raises(Garbled):
        ends[0].receive(5)


def test_only_numbers_are_sent() -> None:
    with pytest.raises(ValueError, match="expected numbers"):
        packed([np.array(["text"])])


def test_nothing_is_sent_that_is_no_ascii(ends: tuple[Wire, Wire]) -> None:
    ends[1].send({"name": "größe\n"})
    line = ends[0].line()
    assert json.loads(line) == {"name": "größe\n"}
    assert ARRAYS.encode() not in line


@pytest.mark.parametrize("begins", [b"", b'{"arrays": [["|u1", [1000000000]]]}\n'])
def test_what_comes_without_end_passes_no_limit(ends: tuple[Wire, Wire], begins: bytes) -> None:
    """It comes slower than it is read, and faster than anything is waited for."""
    over = threading.Event()

    def feed() -> None:
        os.write(ends[1].sink, begins)
        while not over.is_set():
            os.write(ends[1].sink, b"a" * 10)

    feeder = threading.Thread(target=feed)
    feeder.start()
    begin_s = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            ends[0].receive(0.2)
        assert time.monotonic() - begin_s < 2
    finally:
        over.set()
        os.set_blocking(ends[0].source, False)
        while feeder.is_alive():
            with contextlib.suppress(BlockingIOError):
                os.read(ends[0].source, 1 << 20)
            feeder.join(0.001)


def test_a_long_line_is_searched_once() -> None:
    ours, theirs = socket.socketpair()
    text = b"a" * (32 << 20)
    sender = threading.Thread(target=theirs.sendall, args=(text + b"\n",))
    with ours, theirs:
        sender.start()
        begin_s = time.thread_time()
        assert Wire(ours.fileno(), ours.fileno()).line() == text
        assert time.thread_time() - begin_s < 1
        sender.join()


@pytest.mark.parametrize(
    "about",
    [
        [["|u1", [1 << 30]]] * 3, [["|u1", [1]]] * 5000, [["|u1", [1] * 40]],
        [["|u1", [(1 << 31) + 1]]],
    ],
)  # fmt: skip
def test_arrays_that_are_too_many_or_too_large_are_refused(
    ends: tuple[Wire, Wire], about: list[object]
) -> None:
    text = json.dumps({"arrays": about}).encode() + b"\n"
    sender = threading.Thread(target=os.write, args=(ends[1].sink, text))
    sender.start()
    with pytest.raises(Garbled):
        ends[0].receive(5)
    sender.join()


def test_arrays_that_nobody_asked_for_are_refused(ends: tuple[Wire, Wire]) -> None:
    document, contents = packed([np.zeros(3)])
    for arrays in (True, False):
        ends[1].send(document, contents)
        if arrays:
            assert len(ends[0].receive(5)[1]) == 1
    with pytest.raises(Garbled):
        ends[0].receive(5, arrays=False)


def test_an_array_takes_memory_as_it_comes(ends: tuple[Wire, Wire]) -> None:
    tracemalloc.start()
    try:
        os.write(ends[1].sink, b'{"arrays": [["|u1", [2000000000]]]}\n')
        with pytest.raises(TimeoutError):
            ends[0].receive(0.05)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()


def test_arrays_beyond_what_is_taken_first_arrive(
    ends: tuple[Wire, Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_FIRST_BYTES", 1000)
    array = np.arange(50_000, dtype=np.int32)
    document, contents = packed([array])
    sender = threading.Thread(target=ends[1].send, args=(document, contents))
    sender.start()
    answer, received = ends[0].receive(30)
    sender.join()
    assert np.array_equal(unpacked(answer, received)[0], array)


def test_nothing_is_written_for_one_that_is_gone() -> None:
    ours, theirs = socket.socketpair()
    asker, gone = socket.socketpair()
    with ours, theirs, asker:
        ours.setblocking(False)
        end = Wire(ours.fileno(), ours.fileno(), asker.fileno())
        with pytest.raises(TimeoutError):
            end.send({}, [bytes(10_000_000)], limit_s=0.05)
        gone.close()
        with pytest.raises(Closed):
            end.send({}, [bytes(10_000_000)], limit_s=60)
