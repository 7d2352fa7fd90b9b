from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.tasks.confusions import ClassFigures, Confusions, weakest

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60)


@given(pairs)
def test_classes_are_counted_as_by_hand(found: list[tuple[int, int]]) -> None:
    counted = Confusions("abcd")
    for start in range(0, len(found), 7):
        batch = np.array(found[start : start + 7]).reshape(-1, 2)
        counted.update(batch[:, 0], batch[:, 1])
    assert counted.counts.sum() == len(found)
    for i, one in enumerate(counted.classes()):
        own = [taken for true, taken in found if true == i]
        wrong = [taken for taken in own if taken != i]
        assert (one.label, one.n) == ("abcd"[i], len(own))
        assert one.top1 == (own.count(i) / len(own) if own else None)
        assert one.mistaken == max((wrong.count(k) for k in wrong), default=0)
        if wrong:
            assert one.taken_for is not None
            assert wrong.count("abcd".index(one.taken_for)) == one.mistaken
        else:
            assert one.taken_for is None


def test_the_weakest_class_comes_first_and_empty_ones_do_not() -> None:
    classes = [
        ClassFigures("a", 4, 1.0),
        ClassFigures("b", 0, None),
        ClassFigures("c", 4, 0.25, "a", 2),
        ClassFigures("d", 4, 0.25, "a", 3),
    ]
    assert [one.label for one in weakest(classes, 2)] == ["d", "c"]
    assert [one.label for one in weakest(classes, 9)] == ["d", "c", "a"]
