"""Layouts against NumPy, which really moves the numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exporters.tflite.layout import Layout, moved, plain


def numbers(layout: Layout, memory: np.ndarray) -> np.ndarray:
    """What the network sees of numbers that lie in memory."""
    shaped = memory.reshape([atom.size for atom in layout.memory])
    order = [layout.memory.index(atom) for atom in layout.wanted(range(len(layout.dimensions)))]
    return shaped.transpose(order).reshape(layout.shape)


@st.composite
def factored(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape, and another one of as many elements."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6))
    shapes = []
    for _ in range(2):
        cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=3)))
        ends = [0, *cuts, len(factors)]
        shapes.append(tuple(math.prod(factors[a:b]) for a, b in itertools.pairwise(ends)))
    return shapes[0], shapes[1]


@given(factored(), st.data())
def test_reshaping_and_swapping_see_what_numpy_computes(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject
) -> None:
    shape, other = shapes
    stored = data.draw(st.permutations(range(len(shape))))
    layout = plain(shape, stored)
    memory = np.arange(math.prod(shape))
    seen = numbers(layout, memory)
    reshaped = layout.reshaped(other)
    if reshaped is None:
        return
    assert np.array_equal(numbers(reshaped, memory), seen.reshape(other))
    order = data.draw(st.permutations(range(len(other))))
    turned = reshaped.permuted(order)
    assert np.array_equal(numbers(turned, memory), seen.reshape(other).transpose(order))
    wanted = turned.wanted(range(len(other)))
    sizes, axes, after = moved(turned, wanted)
    got = memory.reshape(sizes).transpose(axes)
    assert list(got.shape) == after
    assert np.array_equal(got.reshape(turned.shape), numbers(turned, memory))
    assert turned.lies(wanted) == (sorted(axes) == list(axes))


def test_a_channel_shuffle_moves_nothing_until_an_operator_needs_it() -> None:
    image = plain((1, 12, 4, 5), (0, 2, 3, 1))
    groups = image.reshaped((1, 3, 4, 4, 5))
    assert groups is not None
    shuffled = groups.permuted((0, 2, 1, 3, 4)).reshaped((1, 12, 4, 5))
    assert shuffled is not None
    assert shuffled.memory == groups.memory
    assert moved(shuffled, shuffled.wanted((0, 2, 3, 1))) == ([20, 3, 4], [0, 2, 1], [20, 4, 3])
    back = shuffled.reshaped((1, 4, 3, 4, 5))
    assert back is not None
    assert back.permuted((0, 2, 1, 3, 4)).lies(image.wanted((0, 2, 3, 1))) is False


def test_flattening_keeps_the_order_in_memory() -> None:
    flat = plain((1, 8, 2, 2), (0, 2, 3, 1)).reshaped((1, 32))
    assert flat is not None
    assert flat.shape == (1, 32)
    assert not flat.lies(flat.wanted((0, 1)))


def test_a_reshaping_that_tears_dimensions_apart_is_none() -> None:
    assert plain((2, 3), (0, 1)).reshaped((3, 2)) is None
    assert plain((4, 6), (1, 0)).reshaped((2, 12)) is not None
