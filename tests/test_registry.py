from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import plugins, registry, tables
from edgekit.core import Target
from edgekit.errors import UnavailableError, UnknownNameError, UsageError
from edgekit.models.family import Family
from edgekit.plugins import Entry
from edgekit.registry import find_model

LINES = [
    (f"{table.kind} {name}", entry)
    for table in tables.TABLES
    if table is not tables.EXECUTORS  # Ray need not be there
    for name, entry in table.built_in.items()
]


@pytest.mark.parametrize(
    ("words", "family", "name", "width"),
    [
        ("mobilenetv3", "mobilenetv3", "mobilenetv3-large", 1.0),
        ("MobileNetV3", "mobilenetv3", "mobilenetv3-large", 1.0),
        ("MobileNetV3-Large", "mobilenetv3", "mobilenetv3-large", 1.0),
        ("mobilenet_v3_large", "mobilenetv3", "mobilenetv3-large", 1.0),
        ("mobilenet.v3.large", "mobilenetv3", "mobilenetv3-large", 1.0),
        ("MOBILENETV3SMALL", "mobilenetv3", "mobilenetv3-small", 1.0),
        ("mobilenet-v3_small@0.75", "mobilenetv3", "mobilenetv3-small", 0.75),
        ("mobilenetv3@.5", "mobilenetv3", "mobilenetv3-large", 0.5),
        ("mobilenetv2@0.75", "mobilenetv2", "mobilenetv2", 0.75),
        ("MobileNet_V2@1.4", "mobilenetv2", "mobilenetv2", 1.4),
        ("mobilenetv1@1", "mobilenetv1", "mobilenetv1", 1.0),
        ("mobilenet-v1@0.25", "mobilenetv1", "mobilenetv1", 0.25),
        ("MobileNetV3_Small_Minimalistic", "mobilenetv3", "mobilenetv3-small-minimalistic", 1.0),
        ("mobilenetv4", "mobilenetv4", "mobilenetv4-conv-small", 1.0),
        ("mobilenetv4_conv_medium", "mobilenetv4", "mobilenetv4-conv-medium", 1.0),
        ("mnasnet", "mnasnet", "mnasnet-b1", 1.0),
        ("MnasNet-A1@0.75", "mnasnet", "mnasnet-a1", 0.75),
        ("EfficientNet", "efficientnet", "efficientnet-b0", 1.0),
        ("efficientnet_b7", "efficientnet", "efficientnet-b7", 1.0),
        ("EfficientNet-Lite4", "efficientnet", "efficientnet-lite4", 1.0),
        ("efficientnetv2", "efficientnetv2", "efficientnetv2-s", 1.0),
        ("efficientnet_v2_b3", "efficientnetv2", "efficientnetv2-b3", 1.0),
        ("shufflenetv1", "shufflenetv1", "shufflenetv1-g3", 1.0),
        ("ShuffleNetV1_g8@0.25", "shufflenetv1", "shufflenetv1-g8", 0.25),
        ("shufflenet_v2@1.5", "shufflenetv2", "shufflenetv2", 1.5),
        ("shufflenetv2plus", "shufflenetv2plus", "shufflenetv2plus-small", 1.0),
        ("tf-efficientnet-b0", "efficientnet", "efficientnet-b0", 1.0),
        ("TF_MobileNet_V3_Large@0.75", "mobilenetv3", "mobilenetv3-large", 0.75),
    ],
)
def test_zoo_names_resolve_in_all_spellings(
    words: str, family: str, name: str, width: float
) -> None:
    assert find_model(words) == (family, name, width)


@given(data=st.data())
def test_case_and_separators_never_matter(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(registry.model_names()))
    spelled = "".join(
        data.draw(st.sampled_from(["", "-", "_", "."]))
        + (c.upper() if data.draw(st.booleans()) else c)
        for c in name.replace("-", "")
    )
    assert find_model(spelled)[1] == name


def test_canonical_names_are_those_of_the_design() -> None:
    assert registry.model_names() == (
        *(f"efficientnet-b{i}" for i in range(8)),
        *(f"efficientnet-lite{i}" for i in range(5)),
        *(f"efficientnetv2-{size}" for size in ("b0", "b1", "b2", "b3", "l", "m", "s")),
        "mnasnet-a1",
        "mnasnet-b1",
        "mobilenetv1",
        "mobilenetv2",
        "mobilenetv3-large",
        "mobilenetv3-large-minimalistic",
        "mobilenetv3-large-reduced",
        "mobilenetv3-small",
        "mobilenetv3-small-minimalistic",
        "mobilenetv3-small-reduced",
        *(f"mobilenetv4-conv-{size}" for size in ("large", "medium", "small")),
        *(f"shufflenetv1-g{groups}" for groups in (1, 2, 3, 4, 8)),
        "shufflenetv2",
        *(f"shufflenetv2plus-{size}" for size in ("large", "medium", "small")),
    )
    assert list(tables.TARGETS) == ["onnx", "openvino", "tflite"]
    assert list(tables.PRECISIONS) == sorted(
        ["fp16", "fp32", "int8", "int8-dynamic", "int8-mixed", "w8a16"]
    )
    assert registry.precision("INT16x8") == "w8a16"
    assert list(tables.SOURCES) == ["digit-scenes", "digits", "synthetic"]


@pytest.mark.parametrize(
    ("words", "tensorflow", "canonical"),
    [
        ("efficientnet_b0", False, "efficientnet-b0"),
        ("tf_efficientnet_b0", True, "tf-efficientnet-b0"),
        ("TF-MobileNetV3@0.75", True, "tf-mobilenetv3-large@0.75"),
        ("MobileNet_V2@1.0", False, "mobilenetv2"),
        ("tf.shufflenetv2@0.5", True, "tf-shufflenetv2@0.5"),
    ],
)
def test_names_that_ask_for_tensorflows_padding_keep_their_prefix(
    words: str, tensorflow: bool, canonical: str
) -> None:
    assert registry.is_tensorflow(words) == tensorflow
    assert registry.canonical_name(words) == canonical
    assert registry.canonical_name(canonical) == canonical


def test_tables_are_sorted() -> None:
    found = [t for t in (*tables.TABLES, tables.PRECISIONS) if t is not tables.LOWERINGS]
    assert [list(table) for table in found] == [sorted(table) for table in found]


def test_names_of_a_table_differ_in_more_than_spelling() -> None:
    for table in (*tables.TABLES, tables.PRECISIONS):
        assert len({plugins.normalize(name) for name in table}) == len(table)
    variants = [plugins.normalize(name) for name in registry.model_names()]
    assert len(set(variants)) == len(variants)


@pytest.mark.parametrize("multiplier", ["", "0", "-1", "0.01", "21", "nan", "inf", "x", "0.5@2"])
def test_a_multiplier_must_be_a_sensible_number(multiplier: str) -> None:
    with pytest.raises(
        UsageError, match=re.escape(f"'{multiplier}' of 'mobilenetv2@{multiplier}'")
    ):
        find_model(f"mobilenetv2@{multiplier}")


def test_a_multiplier_is_as_precise_as_its_name() -> None:
    """Two networks of one name would overwrite each other's files."""
    assert find_model("mobilenetv2@0.7500001") == find_model("mobilenetv2@0.75")
    assert find_model("mobilenetv2@1.0000001")[2] == 1


@pytest.mark.parametrize("words", ["mobilenetv9", "", "resnet50", "mobilenetv3-medium", "@0.5"])
def test_unknown_networks_are_refused(words: str) -> None:
    with pytest.raises(UnknownNameError, match="edgekit list models"):
        find_model(words)


def test_a_mistyped_network_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_model("mobilnetv3-smal")
    assert caught.value.suggestions[0] == "mobilenetv3-small"


def test_a_mistyped_network_with_a_multiplier_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_model("mobilenetv@0.75")
    assert "mobilenetv2" in caught.value.suggestions


@pytest.mark.parametrize(("line", "entry"), LINES, ids=[line for line, _ in LINES])
def test_every_line_imports_and_tells_what_it_is(line: str, entry: Entry) -> None:
    assert plugins.load(entry) is not None
    assert entry.about


@pytest.mark.parametrize("family", tables.FAMILIES)
def test_families_offer_the_variants_that_the_table_lists(family: str) -> None:
    loaded = plugins.load(tables.FAMILIES[family])
    assert isinstance(loaded, Family)
    assert set(loaded.variants) == set(tables.FAMILIES[family].variants)
    for name, spec_of in loaded.variants.items():
        assert (spec_of(1.0).name, spec_of(0.5).name) == (name, f"{name}@0.5")
        assert spec_of(1.0).family == family


@pytest.mark.parametrize("name", tables.TARGETS)
def test_targets_go_by_the_name_of_their_line(name: str) -> None:
    found: Target = registry.target(name.upper())
    assert found.name == name
    assert set(found.schemes) <= set(tables.PRECISIONS)


def test_targets_have_endings_of_their_own() -> None:
    targets = [registry.target(name) for name in tables.TARGETS]
    for one, other in itertools.combinations(targets, 2):
        assert one.suffix != other.suffix


@pytest.mark.parametrize("words", ["fp32", "FP32", "fp-32", "Fp_32"])
def test_precisions_resolve_in_all_spellings(words: str) -> None:
    assert registry.precision(words) == "fp32"


@pytest.mark.parametrize(
    ("find", "words", "suggestion", "topic"),
    [
        (registry.target, "onx", "onnx", "targets"),
        (registry.target, "tf-lite2", "tflite", "targets"),
        (registry.precision, "fp23", "fp32", "precisions"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(
    find: Any, words: str, suggestion: str, topic: str
) -> None:
    with pytest.raises(UnknownNameError, match=f"edgekit list {topic}") as caught:
        find(words)
    assert suggestion in caught.value.suggestions


def test_lowerings_go_by_the_name_of_their_line() -> None:
    assert [lowering.name for lowering in registry.lowerings()] == list(tables.LOWERINGS)


def test_a_missing_package_comes_with_the_line_that_installs_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin_of_this_test.py").write_text("import a_package_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    entry = Entry("plugin_of_this_test:TARGET", "the test's target")
    with pytest.raises(UnavailableError) as caught:
        plugins.load(entry)
    assert str(caught.value) == (
        "the test's target needs the package 'a_package_nobody_has', which is not installed: "
        "pip install a_package_nobody_has"
    )


def test_a_mistake_inside_a_plug_in_is_not_called_a_missing_package(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin_of_this_test.py").write_text("raise KeyError('oops')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyError, match="oops"):
        plugins.load(Entry("broken_plugin_of_this_test:TARGET", "broken"))
