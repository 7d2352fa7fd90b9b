"""Messages between an agent and the one that asks."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
