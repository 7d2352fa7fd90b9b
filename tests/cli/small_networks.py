"""A network that converts in a second, and what its exports leave behind."""

from __future__ import annotations

from pathlib import Path

# With a layer to be found on either side of a fault.
NETWORK = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, 2)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(8, 16, 3, 2)
        self.scores = nn.Linear(16, 4)

    def forward(self, x):
        x = self.relu(self.first(x))
        FAULT
        x = F.relu(self.second(x)).mean((2, 3))
        return self.scores(x)
"""


def network(fault: str = "") -> str:
    """Source of the network, with a statement in its middle."""
    return NETWORK.replace("FAULT", fault or "x = x + 0")


def files(folder: Path) -> list[str]:
    """All files of a folder, relative to it."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
