from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import errors
from edgekit.errors import EdgekitError, UnknownNameError

# Exit codes of the command line: 1 a fault of edgekit, 2 usage, 3 bad input, 4 a gate failed,
# 5 something is not available.
EXIT_CODES = {
    "EdgekitError": 1,
    "UsageError": 2,
    "UnknownNameError": 2,
    "InputError": 3,
    "DataError": 3,
    "CheckpointError": 3,
    "ContractError": 3,
    "ModelError": 3,
    "OutputError": 3,
    "GateError": 4,
    "UnavailableError": 5,
    "MeterError": 5,
}

CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, EdgekitError)
}


def drawn_tree() -> Iterator[tuple[str, str | None, int]]:
    """Name, parent and exit code of each line of the tree in the module's docstring."""
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+) +exit (\d)\b", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        del parents[depth:]
        yield found[2], parents[-1] if parents else None, int(found[3])
        parents.append(found[2])


def test_the_drawn_tree_is_the_tree_of_classes() -> None:
    drawn = {name: parent for name, parent, _ in drawn_tree()}
    actual = {
        name: None if kind is EdgekitError else kind.__bases__[0].__name__
        for name, kind in CLASSES.items()
    }
    assert drawn == actual


def test_the_drawn_exit_codes_are_those_of_the_classes() -> None:
    drawn = {name: code for name, _, code in drawn_tree()}
    assert drawn == {name: kind.exit_code for name, kind in CLASSES.items()}


def test_every_class_has_the_exit_code_of_its_meaning() -> None:
    assert {name: kind.exit_code for name, kind in CLASSES.items()} == EXIT_CODES


def unknown(name: str, *known: str) -> UnknownNameError:
    return UnknownNameError("model", name, known, "see 'edgekit list models'")


@pytest.mark.parametrize(
    ("given_name", "nearest"),
    [
        ("mobilnetv2", "mobilenetv2"),
        ("MOBILENETV2x", "mobilenetv2"),
        ("mobilenetv3-smal", "mobilenetv3-small"),
        ("mobilenet_v3_large", "mobilenetv3-large"),
    ],
)
def test_the_nearest_name_is_suggested_first(given_name: str, nearest: str) -> None:
    known = ("mobilenetv1", "mobilenetv2", "mobilenetv3-large", "mobilenetv3-small")
    error = unknown(given_name, *known)
    assert error.suggestions[0] == nearest
    assert str(error).startswith(f"unknown model '{given_name}': did you mean {nearest}")
    assert str(error).endswith("see 'edgekit list models'")


def test_nothing_is_suggested_where_nothing_is_near() -> None:
    many = [f"network{i}" for i in range(20)]
    error = unknown("zzz", *many)
    assert error.suggestions == ()
    assert str(error) == "unknown model 'zzz': see 'edgekit list models'"
    few = unknown("zzz", *many[:2])
    assert few.suggestions == ()
    assert str(few) == (
        "unknown model 'zzz': expected network0, network1; see 'edgekit list models'"
    )


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [("target", "LiteRT", "tflite"), ("target", "ort", "onnx"), ("precision", "half", "fp16")],
)
def test_names_of_other_tools_are_understood(kind: str, name: str, meant: str) -> None:
    error = UnknownNameError(kind, name, ["fp16", "fp32", "int8", "onnx", "tflite"], "see there")
    assert error.suggestions == (meant,)


def test_networks_of_libraries_are_named_with_their_prefix() -> None:
    message = str(unknown("ResNet18", "mnasnet", "mnasnet-b1"))
    assert "'torchvision:resnet18'" in message
    assert "mnasnet" not in message


@given(name=st.text(max_size=20), known=st.lists(st.text(max_size=8), max_size=8))
def test_only_known_names_are_suggested(name: str, known: list[str]) -> None:
    error = unknown(name, *known)
    assert len(error.suggestions) <= 3
    assert set(error.suggestions) <= set(known)
    assert (error.kind, error.name) == ("model", name)
