"""``edgekit bundle``, and ``edgekit verify`` of what it wrote."""

from __future__ import annotations

import hashlib
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from small_artifacts import Artifacts

TARGETS = ("onnx", "openvino", "tflite")


@pytest.fixture
def archive(artifacts: Artifacts, run: CommandLine, tmp_path: Path) -> Path:
    """One with a file of each target, and a licence."""
    (tmp_path / "licence.txt").write_text("Do what you like.\n")
    files = [artifacts[target, "fp32"] for target in TARGETS]
    done = run("bundle", *files, "-o", "all.zip", "--licence", "licence.txt", "--json")
    assert done.code == 0, done.err
    assert [one["path"] for one in done.json["artifacts"]] == [file.name for file in files]
    return tmp_path / "all.zip"


def contents(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def rewritten(archive: Path, files: dict[str, bytes], **options: Any) -> None:
    with zipfile.ZipFile(archive, "w", **options) as opened:
        for name, content in files.items():
            opened.writestr(name, content)


def test_an_archive_holds_all_that_is_known_and_is_checked(
    archive: Path, trained_run: Path, run: CommandLine
) -> None:
    found = contents(archive)
    card = found["README.md"].decode()
    for target in TARGETS:
        assert f"| {target} | fp32 |" in card
    assert "in `mobilenetv3-small-fp32.onnx.labels.txt`" in card
    assert found["mobilenetv3-small-fp32.onnx.labels.txt"].decode() == "".join(
        f"{digit}\n" for digit in range(10)
    )
    assert found["LICENSE"] == b"Do what you like.\n"
    checked = run("verify", archive)
    assert (checked.code, checked.out.splitlines()[-1]) == (0, "passed")
    compared = run("verify", archive, "--against", trained_run, "--json")
    assert compared.code == 0, compared.err
    assert [one["agreement"]["passed"] for one in compared.json["results"]] == [True] * 3
    other = run("verify", archive, "--against", "mobilenetv3-small@0.5")
    assert other.code in (3, 4)


def test_equal_files_give_equal_archives(
    archive: Path, artifacts: Artifacts, run: CommandLine, tmp_path: Path
) -> None:
    files = [artifacts[target, "fp32"] for target in TARGETS]
    assert run("bundle", *files, "-o", "b.zip", "--licence", "licence.txt").code == 0
    assert (tmp_path / "b.zip").read_bytes() == archive.read_bytes()


def test_accuracies_and_latencies_stand_in_the_card(
    artifacts: Artifacts, run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    path = artifacts["tflite", "fp32"]
    evaluated = run("evaluate", path, "--data", "digits", "--json")
    (tmp_path / "figures.json").write_text(evaluated.out)
    assert run("profile", path, "--time-limit", "20", "--seconds", "1").code == 0
    assert run("bundle", path, "-o", "a.zip", "--evaluation", "figures.json").code == 0
    card = contents(tmp_path / "a.zip")["README.md"].decode()
    assert f"| top-1 | {evaluated.json['top1']:.2%} (" in card
    assert "| latency on host | " in card
    assert "Nobody has given one." in card
    stray = run("bundle", artifacts["onnx", "fp32"], "-o", "b.zip", "--evaluation", "figures.json")
    assert stray.code == 2
    assert "which is none of the artifacts" in stray.message


def test_text_of_others_is_text_in_the_card() -> None:
    from edgekit.measure.latency_text import in_markdown

    assert in_markdown("a|b\n<script>`x`[y](z)\u202e") == "a\\|b \\<script\\>\\`x\\`\\[y\\](z) "


def test_what_cannot_be_written_is_said(
    archive: Path, artifacts: Artifacts, run: CommandLine, copied: Callable[[Path], Path]
) -> None:
    path = artifacts["onnx", "fp32"]
    assert run("bundle", path, "-o", archive).message == (
        f"{archive} exists already: give --overwrite to replace it"
    )
    assert "expected a name that ends in .zip" in run("bundle", path, "-o", "all.tar").message
    assert (
        "two files of the archive would be called mobilenetv3-small-fp32.onnx"
        in run("bundle", path, copied(path), "-o", "b.zip").message
    )
    assert run("bundle", "nowhere.onnx", "-o", "b.zip").code == 3
    assert run("bundle", path, "-o", "b.zip", "--licence", "nowhere").code == 3


def changed(found: dict[str, bytes], how: str) -> dict[str, bytes]:
    """An archive that was tampered with."""
    manifest = json.loads(found["bundle.json"])
    name = "mobilenetv3-small-fp32.onnx"
    if how == "another file":
        return {**found, name: found[name][:-1] + b"x"}
    if how == "a longer file":
        return {**found, name: found[name] + b"x"}
    if how == "a file more":
        return {**found, "evil.sh": b"rm"}
    if how == "a file less":
        return {key: value for key, value in found.items() if key != name}
    if how == "no list":
        return {key: value for key, value in found.items() if key != "bundle.json"}
    if how == "a list of another kind":
        return {**found, "bundle.json": b'{"schema": "edgekit.bundle/9"}'}
    if how == "no JSON":
        return {**found, "bundle.json": b"[" * 5000}
    if how == "a path that leads away":
        manifest["files"]["../evil"] = {"sha256": hashlib.sha256(b"x").hexdigest(), "size_bytes": 1}
        return {**found, "../evil": b"x", "bundle.json": json.dumps(manifest).encode()}
    assert how == "another contract"
    contract = found[f"{name}.json"].replace(b"digits", b"numbers")
    about = {"sha256": hashlib.sha256(contract).hexdigest(), "size_bytes": len(contract)}
    manifest["files"][f"{name}.json"] = about
    return {**found, f"{name}.json": contract, "bundle.json": json.dumps(manifest).encode()}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("another file", "mobilenetv3-small-fp32.onnx was changed after the archive was made"),
        ("a longer file", "mobilenetv3-small-fp32.onnx was changed after the archive was made"),
        ("a file more", "holds evil.sh, unlike its list"),
        ("a file less", "lacks mobilenetv3-small-fp32.onnx, unlike its list"),
        ("no list", "has no bundle.json: it was not made by 'edgekit bundle'"),
        ("a list of another kind", "is damaged, or of another version of edgekit"),
        ("no JSON", "is damaged, or of another version of edgekit"),
        ("a path that leads away", "is damaged, or of another version of edgekit"),
        ("another contract", "was edited after the export"),
    ],
)
def test_an_archive_that_was_changed_is_refused(
    how: str, message: str, archive: Path, run: CommandLine, tmp_path: Path
) -> None:
    rewritten(archive, changed(contents(archive), how))
    refused = run("verify", archive)
    assert refused.code == 3
    assert message in refused.message
    assert not (tmp_path.parent / "evil").exists()


def test_what_is_no_archive_is_refused(archive: Path, run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "letter.zip").write_text("dear")
    assert "is no archive, or a damaged one" in run("verify", "letter.zip").message
    assert "does not exist: expected an archive" in run("verify", "nowhere.zip").message
    (tmp_path / "folder.zip").mkdir()
    assert run("verify", "folder.zip").code == 3
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive.read_bytes()[:-3000])
    assert run("verify", cut).code == 3
    assert "other options go with --against" in run("verify", archive, "--data", "digits").message


def damaged(archive: Path, how: str) -> None:
    """Makes an archive that no 'edgekit bundle' would write."""
    found = contents(archive)
    manifest = json.loads(found["bundle.json"])
    flags = {b"PK\3\4": 6, b"PK\1\2": 8}  # where an entry's flags stand

    def listed(**values: Any) -> dict[str, bytes]:
        return {**found, "bundle.json": json.dumps({**manifest, **values}).encode()}

    def first_size(size: str) -> dict[str, bytes]:
        old = f'"size_bytes": {next(iter(manifest["files"].values()))["size_bytes"]}'
        text = found["bundle.json"].decode().replace(old, f'"size_bytes": {size}')
        return {**found, "bundle.json": text.encode()}

    def mangled(change: Callable[[bytearray], None]) -> None:
        content = bytearray(archive.read_bytes())
        change(content)
        archive.write_bytes(content)

    def garbled(content: bytearray) -> None:
        start = content.find(b"bundle.json") + len("bundle.json")
        content[start : start + 30] = bytes(0xFF ^ byte for byte in content[start : start + 30])

    def misnamed(content: bytearray) -> None:
        content[:] = content.replace(b"README.md", b"\xff\xfe\xffADME\xffd")
        flagged(0x0800)(content)

    def flagged(bits: int) -> Callable[[bytearray], None]:
        def change(content: bytearray) -> None:
            for mark, offset in flags.items():
                at = content.find(mark)
                while at >= 0:
                    content[at + offset : at + offset + 2] = bits.to_bytes(2, "little")
                    at = content.find(mark, at + 4)

        return change

    def beyond(content: bytearray) -> None:
        """A file of the list of contents that is four gigabytes long."""
        at = content.find(b"PK\1\2")
        content[at + 20 : at + 28] = b"\xf0\xff\xff\xff" * 2

    if how in ("deflated", "lzma", "bzip2"):
        methods = {"deflated": 8, "bzip2": 12, "lzma": 14}
        rewritten(archive, found, compression=methods[how])
        mangled(garbled)
    elif how == "encrypted":
        mangled(flagged(1))
    elif how == "a name that is no text":
        mangled(misnamed)
    elif how == "more than it has":
        mangled(beyond)
    elif how.startswith("size "):
        rewritten(archive, first_size(how.removeprefix("size ")))
    elif how == "two ways to one file":
        name = "mobilenetv3-small-fp32.onnx"
        files = {**manifest["files"], f"./{name}": manifest["files"][name]}
        rewritten(archive, {**listed(files=files), f"./{name}": found[name]})
    elif how == "no artifact":
        files = {"README.md": manifest["files"]["README.md"]}
        kept = listed(artifacts=[], files=files)
        rewritten(archive, {name: kept[name] for name in ("bundle.json", "README.md")})
    elif how == "a list as a name":
        rewritten(archive, listed(artifacts=[{"path": ["x"], "sha256": "a"}]))
    else:
        assert how in ("artifacts 5", 'artifacts {"a": 1}', "artifacts null"), how
        rewritten(archive, listed(artifacts=json.loads(how.removeprefix("artifacts "))))


OF_ANOTHER = "is damaged, or of another version of edgekit"
PACKED = "is packed or encrypted, and 'edgekit bundle' stores files as they are"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("deflated", PACKED),
        ("lzma", PACKED),
        ("bzip2", PACKED),
        ("encrypted", PACKED),
        ("a name that is no text", "is no archive, or a damaged one"),
        ("more than it has", "says that it holds more bytes than it has"),
        ("size 1e999", OF_ANOTHER),
        ("size NaN", OF_ANOTHER),
        ("size 1.5", OF_ANOTHER),
        ("size true", OF_ANOTHER),
        ("size -1", OF_ANOTHER),
        ("size " + "9" * 5000, OF_ANOTHER),
        ("two ways to one file", OF_ANOTHER),
        ("no artifact", OF_ANOTHER),
        ("a list as a name", OF_ANOTHER),
        ("artifacts 5", OF_ANOTHER),
        ('artifacts {"a": 1}', OF_ANOTHER),
        ("artifacts null", OF_ANOTHER),
    ],
)
def test_an_archive_that_was_made_to_harm_is_refused(
    how: str, message: str, archive: Path, run: CommandLine
) -> None:
    damaged(archive, how)
    refused = run("verify", archive)
    assert (refused.code, "Traceback" in refused.err) == (3, False)
    assert message in refused.message


def test_bytes_that_are_damaged_anywhere_end_in_a_sentence(archive: Path, tmp_path: Path) -> None:
    """Through the library, since these are many."""
    from edgekit.bundles import Unpacked
    from edgekit.errors import EdgekitError

    rng = random.Random(23)
    content = archive.read_bytes()
    # The archive's own parts: the list at its start, and the directory at its end.
    heads = [*range(3_000), *range(content.rfind(b"PK\5\6") - 2_000, len(content))]
    told = []
    for number in range(200):
        harmed = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            harmed[rng.choice(heads)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        path = tmp_path / f"{number}.zip"
        path.write_bytes(harmed)
        try:
            with Unpacked(path):
                pass
        except EdgekitError as error:
            told.append(str(error))
        path.unlink()
    assert len(told) > 100  # others hit what has no meaning, or wrote what was there
    assert all(text and "\n" not in text for text in told)


def test_a_file_that_inflates_without_end_is_not_read(archive: Path, run: CommandLine) -> None:
    found = contents(archive)
    found["mobilenetv3-small-fp32.onnx"] = bytes(200_000_000)
    rewritten(archive, found, compression=zipfile.ZIP_DEFLATED)
    assert archive.stat().st_size < 20_000_000
    assert PACKED in run("verify", archive).message
