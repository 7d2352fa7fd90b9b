"""What to do with the file that a benchmark has chosen."""

from __future__ import annotations

import shlex

from edgekit.benchmarking.results import Benchmark
from edgekit.contract import load
from edgekit.core import CLASSIFY
from edgekit.tables import APPS

_USUAL = "python"
"""Platform of the app that needs nothing else than this machine has."""


def commands(result: Benchmark) -> tuple[str, ...]:
    """Command lines that are of use now."""
    if result.choice.row is None:
        return ()
    path = result.choice.row.path
    file = shlex.quote(str(path))
    contract = load(path)
    if contract.task == CLASSIFY and contract.preprocessing is not None:
        first = next(iter(APPS))
        platform = _USUAL if _USUAL in APPS else first
        return (
            f"edgekit predict {file} IMAGE",
            f"edgekit app {file} --platform {platform} -o app",
        )
    return (f"edgekit profile {file} --per-op", f"edgekit bundle {file} -o {path.stem}.zip")
