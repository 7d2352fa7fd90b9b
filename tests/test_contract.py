from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from damage import contracts

from edgekit import registry, tables
from edgekit.contract import (
    DIGEST_KEY,
    OF_THE_FILE,
    contract_path,
    contract_text,
    digest,
    embedded_text,
    finished,
    is_artifact,
    load,
    open_artifact,
    target_by_suffix,
)
from edgekit.core import Artifact, Target, canonical_json
from edgekit.errors import ContractError, InputError

Files = Mapping[tuple[str, str], Path]
Copy = Callable[[Path], Path]

# One file, and one with a companion.
TARGETS = ("onnx", "openvino")


@pytest.fixture(params=TARGETS)
def path(request: pytest.FixtureRequest, artifacts: Files, copied: Copy) -> Path:
    """A copy of an exported file with its contract."""
    return copied(artifacts[request.param, "fp32"])


@pytest.fixture
def onnx(artifacts: Files, copied: Copy) -> Path:
    return copied(artifacts["onnx", "fp32"])


def target_of(path: Path) -> Target:
    target = target_by_suffix(path)
    assert target is not None
    return target


def written(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(contract_path(path).read_text())
    return data


def forge(path: Path, **changes: Any) -> None:
    """Edits a contract as somebody would who knows how its digest is made."""
    contracts.sign(path, {**written(path), **changes})


def test_endings_tell_artifacts() -> None:
    for name in tables.TARGETS:
        target = registry.target(name)
        assert target_by_suffix(Path(f"a/b{target.suffix}")) is target
    for words in ("mobilenetv2", "model.pt", "a.bin", "onnx", ".onnx.json"):
        assert not is_artifact(words)


def test_the_digest_is_that_of_all_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    (tmp_path / "b").write_bytes(b"yz")
    whole = hashlib.sha256(b"x" * 3_000_000 + b"yz").hexdigest()
    assert digest([tmp_path / "a", tmp_path / "b"]) == whole
    assert digest([tmp_path / "b", tmp_path / "a"]) != whole


def test_a_contract_says_what_the_files_are(path: Path) -> None:
    contract, files = load(path), target_of(path).files(path)
    assert contract.path == path.name
    assert contract.size_bytes == sum(file.stat().st_size for file in files)
    assert contract.sha256 == hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()
    assert contract.target == target_of(path).name
    assert contract.agreement is not None
    assert contract.agreement.passed
    assert set(target_of(path).packages) <= set(contract.tools)
    assert contract.preprocessing.layout == target_of(path).layout
    assert (contract.trained, contract.data) == (True, "digits")
    assert contract.labels == tuple("0123456789")


def test_the_contract_inside_is_the_one_beside_less_what_the_file_determines(path: Path) -> None:
    inside = target_of(path).extract(path)
    assert inside is not None
    beside = {k: v for k, v in written(path).items() if k not in (*OF_THE_FILE, DIGEST_KEY)}
    assert json.loads(inside) == beside
    assert inside == canonical_json(beside) == embedded_text(load(path))


def test_both_contracts_load_as_the_same_record(path: Path) -> None:
    bare: dict[str, Any] = {"sha256": None, "size_bytes": None, "agreement": None}
    assert load(path, embedded=True) == dataclasses.replace(load(path), **bare)


def test_a_contract_reads_back_as_it_was_written(path: Path) -> None:
    contract = load(path)
    assert contract_path(path).read_text() == contract_text(contract)
    again = finished(contract, target_of(path).files(path))
    assert again == contract


def test_the_digest_of_a_contract_is_over_its_canonical_form(path: Path) -> None:
    data = written(path)
    own = data.pop(DIGEST_KEY)
    assert own == hashlib.sha256(canonical_json(data).encode()).hexdigest()


def test_white_space_and_order_of_a_contract_do_not_matter(path: Path) -> None:
    before = load(path)
    data = dict(reversed(written(path).items()))
    contract_path(path).write_text(json.dumps(data, separators=(",", ":")))
    assert load(path) == before


def test_a_contract_of_schema_1_is_read_as_that_of_a_classifier(path: Path) -> None:
    before, data = load(path), written(path)
    data["schema"] = "edgekit.artifact/1"
    del data["task"]
    del data["agreement"]["outputs"]
    for tensor in (*data["inputs"], *data["outputs"]):
        del tensor["role"]
    contracts.sign(path, data)
    found = load(path)
    assert found.task == "classify"
    assert found.outputs[0].role == ""
    roles = [dataclasses.replace(one, role="") for one in (*before.inputs, *before.outputs)]
    assert [*found.inputs, *found.outputs] == roles
    same = dataclasses.replace(before, inputs=found.inputs, outputs=found.outputs)
    assert found == same
    assert open_artifact(path, threads=1).contract == found


@pytest.mark.parametrize("embedded", [False, True])
def test_an_artifact_opens_with_its_runner(path: Path, embedded: bool) -> None:
    if embedded:
        contract_path(path).unlink()
    opened = open_artifact(path, threads=1, embedded=embedded)
    assert (opened.path, opened.target.name) == (path, opened.contract.target)
    inputs, outputs = opened.runner.tensors()
    assert [one.role for one in (*opened.contract.inputs, *opened.contract.outputs)] == [
        "image", "scores",
    ]  # fmt: skip
    said = [
        tuple(dataclasses.replace(one, role="") for one in tensors)
        for tensors in (opened.contract.inputs, opened.contract.outputs)
    ]
    assert [inputs, outputs] == said


def test_a_file_that_openvino_cannot_compile_is_named(artifacts: Files, copied: Copy) -> None:
    path = copied(artifacts["openvino", "fp32"])
    with pytest.raises(InputError, match=r"\.xml cannot be compiled by OpenVINO: .*THREADS"):
        open_artifact(path, threads=-7)


def fails(path: Path, error: type[Exception], message: str, embedded: bool = False) -> None:
    with pytest.raises(error, match=message):
        open_artifact(path, embedded=embedded)


def test_an_edited_contract_is_told(path: Path) -> None:
    text = contract_path(path).read_text()
    contract_path(path).write_text(text.replace('"digits"', '"digest"'))
    fails(path, ContractError, r"json was edited after the export \(its own digest does not match")


def test_a_contract_without_its_digest_counts_as_edited(path: Path) -> None:
    data = written(path)
    del data[DIGEST_KEY]
    contract_path(path).write_text(json.dumps(data))
    fails(path, ContractError, "was edited after the export")


def test_altered_bytes_are_told_in_every_file(path: Path) -> None:
    for file in target_of(path).files(path):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        fails(path, ContractError, "is not the exported file any more .sha256 differs")
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    assert load(path).path == path.name


def test_a_file_that_is_cut_short_is_told_with_both_sizes(path: Path) -> None:
    size = written(path)["size_bytes"]
    largest = max(target_of(path).files(path), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1000])
    fails(path, ContractError, f"{size - 1000:,} bytes, exported with {size:,}")


def test_the_contract_of_another_file_is_told(artifacts: Files, onnx: Path) -> None:
    shutil.copy(contract_path(artifacts["onnx", "fp16"]), contract_path(onnx))
    fails(onnx, ContractError, f"is the contract of another file than {onnx.name}")


def test_the_contract_of_another_target_is_told(artifacts: Files, onnx: Path) -> None:
    shutil.copy(contract_path(artifacts["openvino", "fp32"]), contract_path(onnx))
    fails(onnx, ContractError, f"is the contract of a openvino file, not of {onnx.name}")


def test_a_missing_contract_points_to_the_one_inside(path: Path) -> None:
    contract_path(path).unlink()
    fails(path, ContractError, "has no contract: .*json does not exist; .*--embedded")


def test_a_foreign_file_has_no_contract_anywhere(onnx: Path) -> None:
    import onnx as onnx_format

    proto = onnx_format.load(str(onnx))
    del proto.metadata_props[:]
    onnx.write_bytes(proto.SerializeToString())
    fails(onnx, ContractError, "has no contract inside: it was not written by edgekit", True)
    contract_path(onnx).unlink()
    fails(onnx, ContractError, "the file was not written by edgekit; export it again")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "is not of schema 'edgekit.artifact/2'"),
        (b"{}", "is not of schema"),
        (b'{"schema": "edgekit.artifact/3"}', "it is of schema 'edgekit.artifact/3'"),
        (b'{"schema": "edgekit.artifact/1"}', "was edited after the export"),
    ],
)
def test_a_damaged_contract_is_told(onnx: Path, content: bytes, message: str) -> None:
    contract_path(onnx).write_bytes(content)
    fails(onnx, ContractError, f"json.*{message}")


def test_a_key_that_is_wrong_is_named_by_its_path(onnx: Path) -> None:
    forge(onnx, size_bytes="many")
    fails(onnx, ContractError, r"damaged: Artifact\.size_bytes: expected int")
    onnx_target = target_of(onnx)
    onnx_target.embed(onnx, '{"schema": "edgekit.artifact/1", "target": 3}')
    fails(onnx, ContractError, "its embedded contract is damaged: Artifact: key", True)
    onnx_target.embed(onnx, "no json")
    fails(onnx, ContractError, "its embedded contract is no JSON", True)


def test_a_file_that_takes_other_inputs_than_promised_is_told(onnx: Path) -> None:
    contract = load(onnx)
    wrong = dataclasses.replace(contract.outputs[0], dtype="int8")
    lying = dataclasses.replace(contract, outputs=(wrong,))
    target_of(onnx).embed(onnx, embedded_text(lying))
    message = r"the contract promises int8 \(1, 10\), the file has float32 \(1, 10\)"
    fails(onnx, ContractError, message, True)
    contract_path(onnx).write_text(contract_text(finished(lying, [onnx])))
    fails(onnx, ContractError, message)


def test_missing_files_are_named(path: Path) -> None:
    for file in reversed(target_of(path).files(path)):
        file.unlink()
        alone = file == path
        why = "does not exist: an artifact of target" if alone else "beside it, which is missing"
        fails(path, InputError, f"{file.name} {why}")


def test_other_files_are_no_artifacts(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    fails(tmp_path / "photo.jpg", InputError, r"expected a file ending in \.onnx, \.xml, \.tflite")


def test_an_artifact_may_be_moved_with_its_contract(path: Path, tmp_path: Path) -> None:
    before: Artifact = load(path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for file in (*target_of(path).files(path), contract_path(path)):
        shutil.move(file, folder)
    assert load(folder / path.name) == before
