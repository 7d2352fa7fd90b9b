"""Meters that show what they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgekit.core import Reading
from edgekit.measure.energy_curve import EnergyCurve, energy_curve


@dataclass
class FakeMeter:
    quantity: str = "energy"
    range_mj: float | None = None
    period_s: float = 0.1
    name: str = "fake"
    scope: str = "board"
    detail: str = "VDD"
    show: Callable[[], Sequence[Reading]] = tuple
    closed: list[bool] = field(default_factory=list)

    def read(self) -> Sequence[Reading]:
        return self.show()

    def close(self) -> None:
        self.closed.append(True)


COUNTER = FakeMeter()
POWER = FakeMeter(quantity="power")


def readings(*pairs: tuple[float, float]) -> list[Reading]:
    return [Reading(*pair) for pair in pairs]


def counted(powers_mw: Sequence[float], step_s: float = 0.1) -> EnergyCurve:
    """The curve of a counter that moves once in a step."""
    energy = np.concatenate(([0.0], np.cumsum(np.array(powers_mw) * step_s)))
    return energy_curve([Reading(i * step_s, e) for i, e in enumerate(energy)], COUNTER)
