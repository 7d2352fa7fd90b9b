"""What is computed behind the last layers with weights."""

from __future__ import annotations

from exporters._ends import joined_behind

# A detector: 0 a layer, 1 and 2 predictors of two maps, 3 joins them, 4 makes boxes, 5 joins those.
DETECTOR = [[], [0], [0], [1, 2], [3], [4]]
LAYERS = [True, True, True, False, False, False]
JOINS = [False, False, False, True, False, True]


def test_what_makes_boxes_of_the_maps_of_a_detector() -> None:
    found = joined_behind(DETECTOR, [5], weighty=LAYERS, joining=JOINS)
    assert found == [3, 4, 5]


def test_ends_without_a_join_are_left() -> None:
    # A layer, its activation, an output.
    assert (
        joined_behind([[], [0], [1]], [2], weighty=[True, False, False], joining=[False] * 3) == []
    )


def test_what_a_layer_reads_is_no_end() -> None:
    # 1 joins two layers, which is an output and is read by the layer 3 as well.
    inputs = [[], [0], [1], [1]]
    weighty = [True, False, False, True]
    joining = [False, True, False, False]
    assert joined_behind(inputs, [2, 3], weighty=weighty, joining=joining) == []


def test_outputs_are_told_apart() -> None:
    # 1 is an output as it is, 2 joins it with itself for another one.
    assert joined_behind(
        [[], [0], [1, 1]], [1, 2], weighty=[True, False, False], joining=[False, False, True]
    ) == [1, 2]
