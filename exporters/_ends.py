"""Ends of graphs: what is computed behind the last layers that have weights."""

from __future__ import annotations

from collections.abc import Sequence


def joined_behind(
    inputs: Sequence[Sequence[int]],
    outputs: Sequence[int],
    *,
    weighty: Sequence[bool],
    joining: Sequence[bool],
) -> list[int]:
    """Operators behind the last weighty ones, of outputs that are joined of several values there.

    Args:
        inputs: of each operator, in the order of computation, those that it takes values of.
        outputs: the operators that give the network's outputs.
        weighty: of each operator, whether it ends the search.
        joining: of each operator, whether it puts several values together.
    """
    leads = [False] * len(inputs)
    for at in reversed(range(len(inputs))):
        if weighty[at] or leads[at]:
            for before in inputs[at]:
                leads[before] = True
    found = set[int]()
    for output in outputs:
        end, waiting = set[int](), [output]
        while waiting:
            at = waiting.pop()
            if at in end or weighty[at] or leads[at]:
                continue
            end.add(at)
            waiting += inputs[at]
        if any(joining[at] for at in end):
            found |= end
    return sorted(found)
