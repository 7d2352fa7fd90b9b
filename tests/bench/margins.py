"""How close the assertions of the suite are to failing: a plugin of pytest.

A test whose numbers stand next to its bound fails on the next processor. With a clean cache of
bytecode (``find tests -name __pycache__ -exec rm -r {} +``)::

    PYTHONPATH=tests/bench MARGINS=FILE python -m pytest -n auto -p margins \\
        -o enable_assertion_pass_hook=true

FILE gets a line for each comparison of numbers that passed: distance to the bound as a share of the
larger number, test, line, both numbers, and the assertion. Sort it by the first column.
"""

from __future__ import annotations

import os
import re

import pytest

_NUMBER = r"-?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)"
_SCALAR = rf"(?:np\.float\d+\()?({_NUMBER})\)?"
_ORDER = re.compile(rf"{_SCALAR} (?:<=|>=|<|>) {_SCALAR}(?![\w.])")
_NEAR = re.compile(rf"({_NUMBER})\)? == ({_NUMBER}) ± ({_NUMBER})")


def pytest_assertion_pass(item: pytest.Item, lineno: int, orig: str, expl: str) -> None:
    """Notes the comparisons of an assertion that held; whole numbers are counts, and left out."""
    text = expl.partition("\n")[0]
    found = []
    for a, b in _ORDER.findall(text):
        if "." in a + b or "e" in a + b:
            largest = max(abs(float(a)), abs(float(b)))
            share = abs(float(a) - float(b)) / largest if largest else 0.0
            found.append((share, f"{a} and {b}"))
    for a, b, within in _NEAR.findall(text):
        if float(within):
            share = 1 - abs(float(a) - float(b)) / float(within)
            found.append((share, f"{a} near {b} by {within}"))
    with open(os.environ["MARGINS"], "a", encoding="utf-8") as file:
        for share, said in found:
            said_by = " ".join(orig.split())
            file.write(f"{share:.4f}\t{item.nodeid}\t{lineno}\t{said}\t{said_by}\n")
