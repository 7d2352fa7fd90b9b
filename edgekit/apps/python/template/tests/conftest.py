"""The network, loaded once. Which one it is stands in ``made.py``, which edgekit wrote."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


@pytest.fixture(scope="session")
def network():
    from made import Network

    return Network()
