from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import core
from edgekit.core import (
    FLOAT_SCHEMES,
    Agreement,
    Artifact,
    Block,
    Call,
    Candidate,
    Choice,
    Decided,
    DeviceProfile,
    Draw,
    EmbeddedOperator,
    Energy,
    Interface,
    Measurement,
    MeterRecord,
    ModelSpec,
    OperatorTime,
    OutputAgreement,
    Preprocessing,
    Reading,
    Rung,
    Scheme,
    Simulation,
    Suppression,
    TensorSpec,
    Written,
    canonical_json,
    from_json,
    to_json,
)
from edgekit.core.plain import named

RECORDS = [
    kind
    for kind in vars(core).values()
    if isinstance(kind, type)
    and dataclasses.is_dataclass(kind)
    and kind.__module__.startswith("edgekit.core.")
    and kind is not core.Example  # it holds tensors, and goes into no file
]

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = {
    bool: st.booleans(),
    int: st.integers(-(2**60), 2**60),
    float: FLOATS,
    str: st.text(max_size=8),
    type(None): st.none(),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of an annotated type; of a record, with each defaulted field given or left out."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(
            kind, **{f.name: values_of(hints[f.name]) for f in dataclasses.fields(kind)}
        )
    if origin in (typing.Union, types.UnionType):
        return st.one_of([values_of(choice) for choice in typing.get_args(kind)])
    if origin is tuple:
        item, *rest = typing.get_args(kind)
        if rest != [...]:
            assert set(rest) == {item}, "a tuple of several types would not survive the round trip"
            return st.tuples(*[values_of(item)] * (1 + len(rest)))
        return st.lists(values_of(item), max_size=3).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(st.text(max_size=5), values_of(typing.get_args(kind)[1]), max_size=3)
    return SCALARS[kind]


def spec(**changes: Any) -> ModelSpec:
    values: dict[str, Any] = {
        "name": "toy",
        "family": "toys",
        "rows": ({"out": 8, "expand": None, "act": "relu", "residual": True, "ratio": 0.5},),
        "stem": 16,
        "head": (64, 32),
        "act": "relu",
    }
    return ModelSpec(**{**values, **changes})


def test_a_field_may_have_another_name_in_json_data() -> None:
    kind = dataclasses.make_dataclass(
        "Kind", [("figure", float, dataclasses.field(metadata=named("top1")))], frozen=True
    )
    assert to_json(kind(0.5)) == {"top1": 0.5}
    assert from_json(kind, {"top1": 0.5}) == kind(0.5)
    for data, told in (
        ({"top1": "0.5"}, r"Kind\.top1: expected float"),
        ({}, "Kind: key 'top1' is missing"),
        ({"top1": 0.5, "figure": 0.5}, "Kind: unknown key 'figure'"),
    ):
        with pytest.raises(ValueError, match=told):
            from_json(kind, data)


def test_the_records_of_the_design_are_there() -> None:
    names = {kind.__name__ for kind in RECORDS}
    assert names >= {
        "ModelSpec",
        "Preprocessing",
        "Scheme",
        "Written",
        "TensorSpec",
        "Artifact",
        "Agreement",
        "Measurement",
        "Energy",
        "DeviceProfile",
    }


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_record_survives_json_text(kind: type[Any]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(record=values_of(kind))
    def survives(record: Any) -> None:
        again = from_json(kind, json.loads(json.dumps(to_json(record))))
        assert again == record
        assert [type(v) for v in _leaves(again)] == [type(v) for v in _leaves(record)]

    survives()


def _leaves(record: Any) -> list[Any]:
    if dataclasses.is_dataclass(record):
        return [x for f in dataclasses.fields(record) for x in _leaves(getattr(record, f.name))]
    if isinstance(record, Mapping):
        return [x for key in sorted(record) for x in _leaves(record[key])]
    if isinstance(record, tuple):
        return [x for value in record for x in _leaves(value)]
    return [record]


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_records_are_frozen(kind: type[Any]) -> None:
    assert kind.__dataclass_params__.frozen


def test_tuples_become_lists_and_paths_strings() -> None:
    assert to_json({"a": (1, (2, 3)), "b": Path("x") / "y"}) == {"a": [1, [2, 3]], "b": "x/y"}


def test_a_pair_has_two_values() -> None:
    assert from_json(Preprocessing, {"resize": None, "crop": [96, 160]}).size == (96, 160)
    with pytest.raises(ValueError, match=r"^Preprocessing\.crop: expected 2 values, found 3"):
        from_json(Preprocessing, {"resize": None, "crop": [96, 160, 3]})


def test_squares_have_one_spelling() -> None:
    assert Preprocessing((64, 64), (32, 32)) == Preprocessing(64, 32)
    assert to_json(Preprocessing((64, 64), (32, 32)))["crop"] == 32
    assert Preprocessing(None, 32).side == 32
    with pytest.raises(ValueError, match="images of 96 x 160 px: expected square ones"):
        _ = Preprocessing(None, (96, 160)).side


def test_another_size_resizes_in_proportion() -> None:
    assert Preprocessing(256, 224).at(112) == Preprocessing(128, 112)
    assert Preprocessing(256, 224).at((112, 224)) == Preprocessing((128, 256), (112, 224))
    assert Preprocessing(None, 224).at((96, 160)).shape(2) == (2, 3, 96, 160)


def test_defaults_may_be_left_out() -> None:
    plain = {"name": "a", "description": "b", "transport": "local:"}
    assert from_json(DeviceProfile, plain) == DeviceProfile("a", "b", "local:")


def test_an_integer_is_read_where_a_float_stands() -> None:
    data = {**to_json(spec()), "width": 1}
    width = from_json(ModelSpec, data).width
    assert (width, type(width)) == (1.0, float)


@pytest.mark.parametrize("number", [True, False])
def test_row_values_keep_booleans_apart_from_numbers(number: bool) -> None:
    row = {"flag": number, "count": int(number)}
    again = from_json(ModelSpec, to_json(spec(rows=(row,)))).rows[0]
    assert [type(value) for value in again.values()] == [bool, int]


def test_keys_of_later_versions_are_left_aside_when_asked_for() -> None:
    data = {"before": 1, "inner": [{"n": 1, "later": {}}], "later": 2}

    @dataclasses.dataclass(frozen=True)
    class Inner:
        n: int

    outer = dataclasses.make_dataclass("Outer", [("before", int), ("inner", tuple[Inner, ...])])
    assert from_json(outer, data, more=True) == outer(1, (Inner(1),))
    with pytest.raises(ValueError, match="Outer: unknown key 'later'"):
        from_json(outer, data)


WRONG = [
    (ModelSpec, {"stem": "16"}, "ModelSpec.stem: expected int, found '16'"),
    (ModelSpec, {"stem": 16.0}, "ModelSpec.stem: expected int, found 16.0"),
    (ModelSpec, {"stem": True}, "ModelSpec.stem: expected int, found True"),
    (ModelSpec, {"stem": None}, "ModelSpec.stem: expected int, found None"),
    (ModelSpec, {"width": True}, "ModelSpec.width: expected float, found True"),
    (ModelSpec, {"head": [64, "x"]}, "ModelSpec.head[1]: expected int, found 'x'"),
    (ModelSpec, {"head": 64}, "ModelSpec.head: expected a list, found int"),
    (ModelSpec, {"head": "64"}, "ModelSpec.head: expected a list, found str"),
    (ModelSpec, {"rows": [[]]}, "ModelSpec.rows[0]: expected an object, found list"),
    (ModelSpec, {"rows": [{}, {"out": [1]}]}, "ModelSpec.rows[1].out: expected"),
    (ModelSpec, {"blocks": 3}, "ModelSpec: unknown key 'blocks'"),
]


@pytest.mark.parametrize(("kind", "change", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_what_is_wrong_is_named_by_its_path(kind: type[Any], change: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below
        from_json(kind, {**to_json(spec()), **change})
    assert str(caught.value).startswith(message)


def artifact() -> Artifact:
    return Artifact(
        path="a.onnx",
        target="onnx",
        scheme=Written.of(FLOAT_SCHEMES["fp32"], Decided("float32")),
        inputs=(TensorSpec("image", (1, 3, 8, 8), "float32", "NCHW"),),
        outputs=(TensorSpec("scores", (1, 4), "float32", "NC"),),
        preprocessing=Preprocessing(resize=None, crop=8),
        model="toy",
        spec=spec(),
        labels=("a", "b"),
        tools={"torch": "2"},
        agreement=Agreement(4, 90.0, 1e-5, 1e-5, 1.0, 1.0, True, {"sqnr_db": 60.0}),
    )


def measurement() -> Measurement:
    return Measurement(
        artifact="a.onnx",
        target="onnx",
        device="host",
        runtime="ONNX Runtime 1",
        threads=1,
        batch=1,
        started="2026-01-31T12:00:00Z",
        blocks=(Block(0.0, 0, (1.5, 1.25), (2.5,)),),
        energy=Energy("unavailable", reason="no meter"),
        operators=(OperatorTime("conv", "Conv", 0.5),),
    )


def test_paths_reach_into_nested_records() -> None:
    data = to_json(artifact())
    data["outputs"][0]["shape"][1] = "four"
    with pytest.raises(ValueError, match=r"^Artifact\.outputs\[0\]\.shape\[1\]: expected int"):
        from_json(Artifact, data)


def test_paths_reach_into_optional_records_and_mappings() -> None:
    data = to_json(artifact())
    data["agreement"]["tolerance"]["sqnr_db"] = "60"
    with pytest.raises(
        ValueError, match=r"^Artifact\.agreement\.tolerance\.sqnr_db: expected floa"
    ):
        from_json(Artifact, data)
    data = to_json(artifact())
    del data["spec"]["stem"]
    with pytest.raises(ValueError, match=r"^Artifact\.spec: key 'stem' is missing"):
        from_json(Artifact, data)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_every_required_key_is_missed_by_name(kind: type[Any]) -> None:
    examples: dict[type[Any], Any] = {
        ModelSpec: spec(),
        Artifact: artifact(),
        Preprocessing: artifact().preprocessing,
        Scheme: FLOAT_SCHEMES["fp32"],
        Written: artifact().scheme,
        Decided: Decided("uint8"),
        TensorSpec: artifact().inputs[0],
        Agreement: artifact().agreement,
        DeviceProfile: DeviceProfile("a", "b", "local:"),
        Measurement: measurement(),
        Block: measurement().blocks[0],
        Energy: measurement().energy,
        OperatorTime: OperatorTime("conv", "Conv", 0.5),
        Reading: Reading(0.5, 1.5),
        EmbeddedOperator: EmbeddedOperator("Pad", 34, "Register_PAD", "ParsePad"),
        Simulation: Simulation("tflm", "interpreter", 1000),
        MeterRecord: MeterRecord("rapl", "package", "package-0", "energy", None, 0.001),
        Draw: Draw(0.5, 2.0, (1, 3)),
        Rung: Rung("int8", 0.9, 0.5, 1000, 1.5, True),
        Candidate: Candidate("int8", {"mean": "pool"}, "ab", "faster", 0.9, (0.8, 0.95)),
        Choice: Choice("int8", ("arm",), {"mean": "pool"}, "twice as fast"),
        Interface: Interface(artifact().inputs, artifact().outputs),
        Suppression: Suppression(2, 0.3, 0.5, 100, 400),
        Call: Call(artifact().inputs, artifact().outputs),
        OutputAgreement: OutputAgreement("boxes", 60.5, None, True),
    }
    whole = to_json(examples[kind])
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is f.default_factory is dataclasses.MISSING
    ]
    assert required
    for name in required:
        less = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(ValueError, match=f"^{kind.__name__}: key '{name}' is missing$"):
            from_json(kind, less)


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_a_record_must_be_an_object(data: Any) -> None:
    with pytest.raises(ValueError, match=r"^TensorSpec: expected an object"):
        from_json(TensorSpec, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(data=JSON)
def test_canonical_json_reads_back_as_the_same_data(data: Any) -> None:
    assert json.loads(canonical_json(data)) == data


@given(data=st.dictionaries(st.text(max_size=4), JSON, max_size=6), random=st.randoms())
def test_canonical_json_does_not_depend_on_the_order_of_keys(data: Any, random: Any) -> None:
    keys = list(data)
    random.shuffle(keys)
    assert canonical_json({key: data[key] for key in keys}) == canonical_json(data)


def test_canonical_json_has_no_spaces_and_sorted_keys() -> None:
    assert canonical_json({"b": [1, 2], "a": {"d": None, "c": "x y"}}) == (
        '{"a":{"c":"x y","d":null},"b":[1,2]}'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_what_json_does_not_know(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": value})
