"""The processes of one training: which of them this is, as the launcher says.

``accelerate launch`` and ``torchrun`` tell each process by its environment; nothing here needs
torch. A process that was started by neither is the only one.
"""

from __future__ import annotations

import os


def count() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


def share() -> tuple[int, int]:
    """Number of this process and how many there are."""
    return rank(), count()


def is_main() -> bool:
    """Whether this process writes files and talks to people."""
    return rank() == 0
