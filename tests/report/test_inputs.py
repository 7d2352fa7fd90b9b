"""What a report is made of: files, artifacts, documents."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from report_records import blocks, measurement, write_accuracy

from edgekit.core import Block, to_json
from edgekit.errors import InputError
from edgekit.measure.store import SAVED_SCHEMA, Store, save
from edgekit.report.entries import bare, unmatched
from edgekit.report.inputs import MOST_KEPT, Accuracy, Unmeasured, collect, kept
from edgekit.tasks.shares import share_interval


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "measurements.db")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    path.write_bytes(b"a network")
    return path


def test_files_are_read_in_order_and_the_same_measurement_once(
    tmp_path: Path, store: Store
) -> None:
    one, other = measurement(1.0), measurement(2.0, artifact="other.onnx")
    save([one, one], tmp_path / "twice.json")  # compared with itself: two measurements
    save([other, one], tmp_path / "b.json")
    found = collect([tmp_path / "twice.json", tmp_path / "b.json"], store)
    assert found.measurements == (one, one, other)
    assert found.notes == ()
    assert not store.path.exists()


def test_an_artifact_is_looked_up_by_its_bytes_and_the_newest_counts(
    store: Store, artifact: Path
) -> None:
    sha256 = hashlib.sha256(artifact.read_bytes()).hexdigest()
    old = measurement(1.0, sha256=sha256)
    new = measurement(2.0, sha256=sha256, started="2026-02-01T12:00:00+00:00")
    two_threads = measurement(3.0, sha256=sha256, threads=2)
    store.add([old, new, two_threads, measurement(4.0, artifact=str(artifact))])
    found = collect([artifact], store)
    assert found.measurements == (new, two_threads)
    assert len(found.notes) == 1
    assert "1 older measurement" in found.notes[0]


def test_accuracies_are_read_once(tmp_path: Path, store: Store) -> None:
    save([measurement()], tmp_path / "m.json")
    one = write_accuracy(tmp_path / "one.json")
    same = write_accuracy(tmp_path / "same.json")
    found = collect([one, tmp_path / "m.json", same], store)
    interval = share_interval(0.75, 400)
    expected = Accuracy("exported/small.onnx", "onnx", "digits, test", 0.75, 400, ci95=interval)
    assert found.accuracies == (expected,)


def test_the_figure_that_counts_is_read_with_its_name(tmp_path: Path, store: Store) -> None:
    save([measurement()], tmp_path / "m.json")
    known = {"name": "top1", "value": 0.75, "ci95": [0.7, 0.8]}
    one = write_accuracy(tmp_path / "one.json", task="classify", headline=known)
    other = {"name": "map", "value": 0.4, "ci95": None}
    two = write_accuracy(tmp_path / "two.json", task="spot", headline=other, source="b.onnx")
    found = collect([one, tmp_path / "m.json", two], store).accuracies
    assert [(a.figure, a.value, a.ci95) for a in found] == [
        ("top-1", 0.75, (0.7, 0.8)),
        ("map", 0.4, None),
    ]
    assert found[1].interval == (0.4, 0.4)


def test_accuracies_that_contradict_each_other_are_refused(tmp_path: Path, store: Store) -> None:
    save([measurement()], tmp_path / "m.json")
    paths = [write_accuracy(tmp_path / "a.json"), write_accuracy(tmp_path / "b.json", top1=0.5)]
    with pytest.raises(InputError, match=r"b\.json contradicts.*0\.5000.*0\.7500"):
        collect([tmp_path / "m.json", *paths], store)


def test_a_measurement_without_samples_is_left_out_and_named(tmp_path: Path, store: Store) -> None:
    save([measurement(blocks=()), measurement(artifact="b.onnx")], tmp_path / "m.json")
    found = collect([tmp_path / "m.json"], store)
    assert [m.artifact for m in found.measurements] == ["b.onnx"]
    assert "exported/small.onnx has no samples" in found.notes[0]


def test_accuracies_alone_are_no_report(tmp_path: Path, store: Store) -> None:
    with pytest.raises(InputError, match="there is no measurement in"):
        collect([write_accuracy(tmp_path / "a.json")], store)


def test_the_history_gives_the_newest_of_each_file_and_condition(store: Store) -> None:
    days = [measurement(1.0 + d, started=f"2026-02-{d:02d}T12:00:00+00:00") for d in range(1, 4)]
    other = measurement(9.0, artifact="b.onnx", sha256="cd" * 32)
    store.add([*days, other, measurement(blocks=(), sha256="ef" * 32)])
    found = kept(store)
    assert found.measurements == (days[-1], other)
    assert found.notes == (
        "2 older measurements of the same files and conditions left out",
        "exported/small.onnx has no samples, and was left out",
    )
    store.add([measurement(1.0, sha256=f"{i:064x}") for i in range(MOST_KEPT)])
    found = kept(store)
    assert len(found.measurements) == MOST_KEPT
    assert "holds more than the newest" in found.notes[-1]


def test_an_empty_history_is_no_page(store: Store) -> None:
    with pytest.raises(InputError, match=r"no measurement in .*measure with 'edgekit profile"):
        kept(store)


def test_an_artifact_without_measurements_stands_beside_one_with_them(
    store: Store, artifact: Path, tmp_path: Path
) -> None:
    store.add([measurement(sha256=hashlib.sha256(artifact.read_bytes()).hexdigest())])
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another network")
    found = collect(
        [other, artifact, write_accuracy(tmp_path / "a.json", source=str(other))], store
    )
    assert len(found.measurements) == 1
    assert found.unmeasured == (Unmeasured(str(other), "onnx", 15),)
    (one,) = bare(found)
    assert [a.value for a in one.accuracies] == [0.75]
    assert unmatched(found) == ()
    with pytest.raises(InputError, match=r"other\.onnx has no measurement in"):
        collect([other], store)


def test_an_artifact_that_was_never_measured_is_named(store: Store, artifact: Path) -> None:
    with pytest.raises(InputError, match=r"small\.onnx has no measurement in .*'edgekit profile "):
        collect([artifact], store)


def test_a_rejected_artifact_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx.rejected"
    path.write_bytes(b"a network")
    with pytest.raises(InputError, match="failed its verification"):
        collect([path], store)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
        ("", "is no JSON, or damaged"),
        ("{", "is no JSON, or damaged"),
        ("[" * 200_000, "is damaged: it is nested more than 100 levels deep"),
        ("[" + "{}," * 2_000_000 + "{}]", "is damaged: it has too many parts"),
        ("[]", "unknown schema None"),
        ('{"schema": "edgekit.future/9"}', "unknown schema 'edgekit.future/9'"),
        ('{"schema": ["x"]}', "unknown schema"),
        ('{"schema": "edgekit.profile/1"}', "the file of -o"),
        (f'{{"schema": "{SAVED_SCHEMA}"}}', "holds no saved measurements"),
        (f'{{"schema": "{SAVED_SCHEMA}", "measurements": [{{}}]}}', "holds no saved measurements"),
        (f'{{"schema": "{SAVED_SCHEMA}", "measurements": []}}', "there is no measurement in"),
        ('{"schema": "edgekit.evaluate/1", "top1": 0.5}', "is damaged"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_of_something_else_is_explained(
    text: str | None, said: str, tmp_path: Path, store: Store
) -> None:
    path = tmp_path / "m.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        collect([path], store)


@pytest.mark.parametrize("path", ["folder", "missing.onnx"])
def test_what_is_no_file_is_explained(path: str, tmp_path: Path, store: Store) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=rf"{path}.*expected a file of 'edgekit profile -o'"):
        collect([tmp_path / path], store)


@pytest.mark.parametrize(
    "changes",
    [{"top1": 1.5}, {"top1": float("nan")}, {"n": 0}, {"n": "many"}, {"source": None}],
    ids=str,
)
def test_an_accuracy_that_cannot_be_is_refused(
    changes: dict[str, Any], tmp_path: Path, store: Store
) -> None:
    save([measurement()], tmp_path / "m.json")
    with pytest.raises(InputError, match=r"a\.json is damaged"):
        collect([tmp_path / "m.json", write_accuracy(tmp_path / "a.json", **changes)], store)


def test_numbers_that_cannot_be_are_refused(tmp_path: Path, store: Store) -> None:
    good = measurement()
    block = blocks(1.0)[0]
    wrong = [
        dataclasses.replace(good, blocks=(dataclasses.replace(block, samples_ms=(1.0, ms)),))
        for ms in (float("nan"), float("inf"), -1.0, 0.0, 1e300)
    ]
    wrong += [
        dataclasses.replace(good, blocks=(Block(0.0, 0, (), (1.0,)),)),
        dataclasses.replace(good, blocks=(Block(float("nan"), 0, (1.0,), (1.0,)),)),
        dataclasses.replace(good, load_ms=float("inf")),
        dataclasses.replace(good, batch=0),
        dataclasses.replace(good, started="yesterday"),
    ]
    path = tmp_path / "m.json"
    for one in wrong:
        document = {"schema": SAVED_SCHEMA, "measurements": [to_json(one)]}
        path.write_text(json.dumps(document), encoding="utf-8")
        with pytest.raises(InputError, match=r"m\.json is damaged"):
            collect([path], store)
    text = json.dumps({"schema": SAVED_SCHEMA, "measurements": [to_json(good)]})
    path.write_text(text.replace("12.5", "1" + "0" * 400), encoding="utf-8")
    with pytest.raises(InputError, match="is damaged"):
        collect([path], store)
