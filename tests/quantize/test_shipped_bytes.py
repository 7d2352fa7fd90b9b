"""What an export publishes is, to the byte, what it ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit import registry, tables
from edgekit.contract import contract_path, digest, load
from edgekit.conversion import export
from edgekit.quantize import ladder, tuning
from edgekit.quantize.integers import Integers
from edgekit.verification import artifact as verification

WAYS: dict[str, tuple[str, Integers]] = {
    "plain": ("fp32", Integers()),
    "tune": ("int8", Integers(images=16, tune=True)),
    "max-drop": ("int8", Integers(images=16, max_drop=100.0)),
    "both": ("int8", Integers(images=16, tune=True, max_drop=100.0)),
    "mixed": ("int8-mixed", Integers(images=16)),
}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Digests of files in the order in which they were compared, and judged."""
    found: dict[str, list[str]] = {"compared": [], "judged": [], "timed": []}
    compared, judged = verification.agreement_with, ladder.HeldOut.score

    def compare(reference: Any, target: Any, path: Path, *others: Any, **options: Any) -> Any:
        found["compared"].append(digest(target.files(path)))
        return compared(reference, target, path, *others, **options)

    def judge(self: Any, built: Any, target: Any) -> float:
        found["judged"].append(digest(target.files(built.path)))
        return judged(self, built, target)

    def timed(one: Any, other: Any, device: Any) -> tuple[float, float, float]:
        found["timed"] += [digest((one.path,)), digest((other.path,))]
        return 1.0, 0.99, 1.01

    monkeypatch.setattr("edgekit.conversion.building.agreement_with", compare)
    monkeypatch.setattr(ladder.HeldOut, "score", judge)
    monkeypatch.setattr(tuning, "_measured", timed)  # each would take seconds
    monkeypatch.setattr(ladder, "_latency_ms", lambda path, device: 1.0)
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", tables.TARGETS)
def test_it_is_what_ran(
    name: str, way: str, short_network: Path, tmp_path: Path, ran: dict[str, list[str]]
) -> None:
    precision, integers = WAYS[way]
    (found,) = export(str(short_network), [name], [precision], out=tmp_path, integers=integers)
    published = digest(registry.target(name).files(found.path))
    assert published in ran["compared"]
    if integers.max_drop is not None:
        assert published in ran["judged"]
    if integers.tune and name != "openvino":  # whose weights lie beside what has the contract
        assert digest((found.path,)) in ran["timed"]
    contract = load(found.path)
    assert (bool(contract.tuning), bool(contract.ladder)) == (
        integers.tune,
        integers.max_drop is not None,
    )
    contract_path(found.path).unlink()
    inside = load(found.path, embedded=True)
    assert inside.scheme == contract.scheme
    assert (inside.tuning, inside.ladder) == ((), ())
