"""Networks of the zoo through every target, each verified in its runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import registry, tables
from edgekit.contract import contract_path, load
from edgekit.conversion import Exported, export
from edgekit.core import FLOAT_SCHEMES
from edgekit.models import find_spec
from edgekit.tasks.agreement import TOLERANCES

# One network of every family, and of every kind of block: what converters can stumble over does
# not depend on the width.
NARROW = (
    "efficientnet-b0@0.35",
    "efficientnet-lite0@0.35",
    "efficientnetv2-b0@0.35",
    "mnasnet-a1@0.35",
    "mnasnet-b1@0.35",
    "mobilenetv1@0.25",
    "mobilenetv2@0.35",
    "mobilenetv3-large@0.35",
    "mobilenetv3-small@0.5",
    "mobilenetv3-small-minimalistic@0.5",
    "mobilenetv4-conv-medium@0.35",
    "mobilenetv4-conv-small@0.35",
    "shufflenetv1-g1@0.5",
    "shufflenetv1-g3@0.5",
    "shufflenetv2@0.5",
    "shufflenetv2plus-small@0.5",
)
RESOLUTION = 64

# The first have between them each kind of padding and of joining channels; all of them have each
# activation and each class of blocks.
CHOSEN = ("mobilenetv3-small@0.5", "shufflenetv1-g3@0.5", "shufflenetv2@0.5")
VARIED = (
    *CHOSEN,
    "efficientnet-b0@0.35",
    "efficientnetv2-b0@0.35",
    "mobilenetv1@0.25",
    "mobilenetv4-conv-small@0.35",
    "shufflenetv2plus-small@0.5",
)


def quick(name: str, target: str) -> list[str]:
    """Precisions that are tested by default.

    To onnx and openvino it takes 2 to 8 s; files of float16 differ in how they are stored only.
    """
    if name in {"tflite": CHOSEN, "openvino": CHOSEN[:1]}.get(target, ()):
        return sorted(FLOAT_SCHEMES)
    return ["fp32"] if name in {"tflite": NARROW, "openvino": VARIED}.get(target, CHOSEN) else []


def cells(names: tuple[str, ...], slow: bool) -> list[object]:
    """Networks, targets and precisions; those of one cell share PyTorch's scores."""
    found = []
    for name in names:
        for target in tables.TARGETS:
            now = [] if slow else quick(name, target)
            later = [precision for precision in sorted(FLOAT_SCHEMES) if precision not in now]
            for precisions, marks in ((now, []), (later, [pytest.mark.slow])):
                words = "-".join((name, target, *precisions))
                if precisions:
                    found.append(pytest.param(name, target, precisions, marks=marks, id=words))
    return found


def check_export(
    name: str, target: str, precisions: list[str], folder: Path, resolution: int
) -> None:
    results = export(name, [target], precisions, out=folder, resolution=resolution)
    files: list[Path] = []
    for result, precision in zip(results, precisions, strict=True):
        assert isinstance(result, Exported), result
        agreement = result.artifact.agreement
        assert agreement is not None
        assert agreement.passed
        assert agreement.tolerance == TOLERANCES[precision]
        suffix = registry.target(target).suffix
        assert result.path == folder / f"{name}-{precision}{suffix}"
        assert load(result.path) == result.artifact
        assert result.artifact.preprocessing.crop == resolution
        lowerings = load(result.path, embedded=True).lowerings
        assert lowerings[0] == "fold-batchnorm"
        assert set(lowerings[1:]) <= {"order-channels", "order-groups"}
        files += [*registry.target(target).files(result.path), contract_path(result.path)]
    assert {path.name for path in folder.iterdir()} == {path.name for path in files}


@pytest.mark.parametrize(("name", "target", "precisions"), cells(NARROW, slow=False))
def test_every_kind_of_network_passes_its_gates(
    name: str, target: str, precisions: list[str], tmp_path: Path
) -> None:
    check_export(name, target, precisions, tmp_path, RESOLUTION)


@pytest.mark.parametrize(("name", "target", "precisions"), cells(registry.model_names(), slow=True))
def test_every_network_passes_its_gates_in_full_width(
    name: str, target: str, precisions: list[str], tmp_path: Path
) -> None:
    check_export(name, target, precisions, tmp_path, RESOLUTION)


# Hours in all.
@pytest.mark.slow
@pytest.mark.parametrize("target", tables.TARGETS)
@pytest.mark.parametrize("name", registry.model_names())
def test_every_network_passes_its_gates_at_its_published_resolution(
    name: str, target: str, tmp_path: Path
) -> None:
    precisions = sorted(FLOAT_SCHEMES)
    check_export(name, target, precisions, tmp_path, find_spec(name).resolution)


def test_every_family_is_in_the_matrix() -> None:
    assert {registry.find_model(name)[0] for name in NARROW} == set(tables.FAMILIES)


# Paddings that are equal to TensorFlow's at one size are not at another.
@pytest.mark.slow
@pytest.mark.parametrize("side", [75, 128])
@pytest.mark.parametrize("name", registry.model_names())
def test_every_network_passes_its_gate_as_tflite_at_other_sizes(
    name: str, side: int, tmp_path: Path
) -> None:
    check_export(name, "tflite", ["fp32"], tmp_path, side)
