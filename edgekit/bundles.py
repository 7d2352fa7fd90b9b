"""Artifacts in one archive, with all that is known of them.

An archive holds each artifact with its contract, the names of its classes, a licence and a model
card, and ``bundle.json`` with the digest of every file. Nothing in it depends on when or where it
was made: equal files give equal archives, to the byte.
"""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.contract import contract_path, load
from edgekit.core import Artifact, Measurement
from edgekit.core.names import inside, shown
from edgekit.core.reading import LARGEST_FILE, LARGEST_NOTE, open_file, parse_json, read_bytes
from edgekit.core.text import counted_words
from edgekit.errors import InputError, OutputError, UsageError
from edgekit.measure.latency_text import in_markdown, latency_text
from edgekit.measure.store import Store
from edgekit.registry import target
from edgekit.report.inputs import Accuracy, accuracy_of
from edgekit.staging import write_file

SCHEMA = "edgekit.bundle/1"
MANIFEST, CARD, LICENCE = "bundle.json", "README.md", "LICENSE"
ENDING = ".zip"

MOST_FILES = 1_000
"""Of an archive that is read."""

_OF_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError,
    ValueError, ArithmeticError, LookupError, TypeError, AttributeError,
)  # fmt: skip
"""What the reader of archives raises for those that are damaged, or were made to be."""

_PLAIN_FLAGS = 0x0800  # names in UTF-8; any other flag is of what edgekit does not write

_WHEN = (1980, 1, 1, 0, 0, 0)  # the first moment that the format knows
_READABLE = 0o100644 << 16


@dataclass(frozen=True)
class Bundled:
    """An artifact of an archive.

    Attributes:
        name: of its main file.
        latencies: measurements of the file that are kept here, the newest of each device.
    """

    name: str
    contract: Artifact
    latencies: tuple[Measurement, ...] = ()
    accuracies: tuple[Accuracy, ...] = ()


def bundle(
    artifacts: Sequence[Path],
    out: Path,
    *,
    licence: Path | None = None,
    evaluations: Sequence[Path] = (),
    overwrite: bool = False,
) -> tuple[Bundled, ...]:
    """Writes an archive.

    Args:
        artifacts: exported files with their contracts, of different names.
        licence: a text of the model's licence.
        evaluations: documents of ``edgekit evaluate --json`` about these files.

    Raises:
        ContractError: a file and its contract do not belong together.
        UsageError: two have one name, or ``out`` is no name of an archive.
        InputError: a file cannot be read.
        OutputError: the archive is there already, or cannot be written.
    """
    if out.suffix != ENDING:
        raise UsageError(f"-o {out}: expected a name that ends in {ENDING}")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already: give --overwrite to replace it")
    figures = [accuracy_of(path) for path in evaluations]
    contents: dict[str, bytes] = {}
    bundled = []
    for path in artifacts:
        contract = load(path)
        files = target(contract.target).files(path)
        for file in (*files, contract_path(path)):
            _put(contents, file.relative_to(path.parent).as_posix(), read_bytes(file))
        if contract.labels is not None:
            # One a line, so names with line ends stay in the contract alone.
            names = [" ".join(label.splitlines()) or "-" for label in contract.labels]
            _put(contents, f"{path.name}.labels.txt", "\n".join([*names, ""]).encode())
        own = tuple(one for one in figures if Path(one.source).name == path.name)
        bundled.append(Bundled(path.name, contract, _latencies(contract), own))
    told = {path.name for path in artifacts}
    stray = next((one for one in figures if Path(one.source).name not in told), None)
    if stray is not None:
        raise UsageError(f"an evaluation is of {stray.source}, which is none of the artifacts")
    if licence is not None:
        contents[LICENCE] = read_bytes(licence, LARGEST_NOTE)
    contents[CARD] = card(bundled, licence is not None).encode()
    contents[MANIFEST] = _manifest(bundled, contents)
    size = sum(map(len, contents.values()))
    if size > LARGEST_FILE - LARGEST_NOTE:
        raise UsageError(
            f"the files have {size:,} bytes, too many for one archive: make several of them"
        )
    write_file(out, lambda staged: _write(staged, contents), overwrite=overwrite)
    return tuple(bundled)


def _put(contents: dict[str, bytes], name: str, content: bytes) -> None:
    if name in contents or name in (MANIFEST, CARD, LICENCE):
        raise UsageError(f"two files of the archive would be called {shown(name)}: rename one")
    contents[name] = content


def _latencies(contract: Artifact) -> tuple[Measurement, ...]:
    newest: dict[tuple[str, int, int], Measurement] = {}
    for _, one in Store().each(artifact=contract.sha256):
        newest.setdefault((one.device, one.threads, one.batch), one)
    return tuple(newest[key] for key in sorted(newest))


def _manifest(bundled: Sequence[Bundled], contents: Mapping[str, bytes]) -> bytes:
    document = {
        "schema": SCHEMA,
        "artifacts": [{"path": one.name, "sha256": one.contract.sha256} for one in bundled],
        "files": {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            for name, content in sorted(contents.items())
        },
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _write(path: Path, contents: Mapping[str, bytes]) -> None:
    """Stored, not packed: what packs would differ from one version of zlib to the next."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents, key=lambda name: (name != MANIFEST, name)):
            about = zipfile.ZipInfo(name, _WHEN)
            about.external_attr = _READABLE
            about.create_system = 3
            archive.writestr(about, contents[name])


def card(bundled: Sequence[Bundled], licensed: bool) -> str:
    """The model card, as Markdown."""
    lines = ["# Models", ""]
    lines += ["| file | target | precision | size | task |", "|---|---|---|---|---|"]
    for one in bundled:
        c = one.contract
        size = f"{(c.size_bytes or 0) / 2**20:.2f} MiB"
        lines.append(
            f"| {in_markdown(one.name)} | {c.target} | {c.scheme.precision} | {size} | {c.task} |"
        )
    licence = f"See `{LICENCE}`." if licensed else "Nobody has given one."
    lines += ["", "## Licence", "", licence]
    for one in bundled:
        lines += ["", f"## {in_markdown(one.name)}", "", *_about(one)]
    return "\n".join([*lines, ""])


def _about(one: Bundled) -> Iterator[str]:
    c = one.contract
    yield "| what | |"
    yield "|---|---|"
    yield f"| network | {in_markdown(c.model)} |"
    yield f"| trained on | {in_markdown(c.data or ('unknown data' if c.trained else 'nothing'))} |"
    if c.labels is not None:
        yield f"| classes | {len(c.labels)}, in `{in_markdown(one.name)}.labels.txt` |"
    if c.baked is not None:
        yield (
            f"| input | bytes of pixels, {' x '.join(map(str, c.inputs[0].shape))}; the file "
            f"computes (v x {c.baked.scale:.6g} - {list(c.baked.mean)}) / {list(c.baked.std)} "
            f"itself |"
        )
    agreement = c.agreement
    if agreement is not None:
        same = ""
        if agreement.top1_match is not None:
            same = f", the same class for {agreement.top1_match:.1%}"
        yield (f"| against PyTorch | {agreement.sqnr_db:.1f} dB on {agreement.n} inputs{same} |")
    for found in one.accuracies:
        low, high = found.interval
        yield (
            f"| {in_markdown(found.figure)} | {found.value:.2%} ({low:.2%} to {high:.2%}) on "
            f"{counted_words(found.n, 'image')} ({in_markdown(found.data)}) |"
        )
    for m in one.latencies:
        yield f"| latency on {in_markdown(m.device)} | {latency_text(m)} |"
        if m.energy.mj_per_inference is not None:
            kind = m.energy.kind
            yield (
                f"| energy on {in_markdown(m.device)} | {m.energy.mj_per_inference:.3g} mJ an "
                f"inference, {kind} ({in_markdown(m.energy.meter or m.energy.model or '')}) |"
            )
    yield f"| SHA-256 | `{c.sha256}` |"
    if c.parent_sha256 is not None:
        yield f"| made from a checkpoint of SHA-256 | `{c.parent_sha256}` |"
    tools = ", ".join(f"{name} {version}" for name, version in sorted(c.tools.items()))
    yield f"| written by | {in_markdown(tools)} |"


@dataclass(frozen=True)
class Checked:
    """An archive whose files are those that it says.

    Attributes:
        folder: where they were unpacked.
        artifacts: the main file of each artifact.
    """

    folder: Path
    artifacts: tuple[Path, ...]


class Unpacked:
    """An archive, checked and unpacked into a folder that goes with the block.

    Raises:
        InputError: it is none of edgekit's, or damaged, or a file is not the one that it says.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-bundle-")

    def __enter__(self) -> Checked:
        try:
            return self._checked(Path(self._folder.name))
        except BaseException:
            self._folder.cleanup()
            raise

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def _checked(self, folder: Path) -> Checked:
        path = self._path
        try:
            with open_file(path) as file, zipfile.ZipFile(file) as archive:
                files, artifacts = _listed(path, archive)
                for name, about in files.items():
                    _unpack(path, archive, name, about, inside(folder, name))
        except FileNotFoundError as error:
            raise InputError(f"{path} does not exist: expected an archive") from error
        except _OF_ZIP as error:
            raise InputError(f"{path} is no archive, or a damaged one ({error})") from error
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
        found = []
        for one in artifacts:
            main = inside(folder, one["path"])
            contract = load(main)
            if contract.sha256 != one["sha256"]:
                raise InputError(f"{path}: {shown(one['path'])} is not the file that it was")
            found.append(main)
        return Checked(folder, tuple(found))


def _listed(
    path: Path, archive: zipfile.ZipFile
) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """What the manifest says, once the archive holds just that."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(names) > MOST_FILES or len(set(names)) != len(names):
        raise InputError(f"{path} has too many files, or two of one name: make it anew")
    packed = next((entry for entry in entries if not _as_written(entry)), None)
    if packed is not None:
        raise InputError(
            f"{path}: {shown(packed.filename)} is packed or encrypted, and 'edgekit bundle' stores "
            f"files as they are: make it anew"
        )
    # Entries that share their bytes would fill the disk from a small archive.
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise InputError(f"{path} says that it holds more bytes than it has: make it anew")
    if MANIFEST not in names:
        raise InputError(f"{path} has no {MANIFEST}: it was not made by 'edgekit bundle'")
    if archive.getinfo(MANIFEST).file_size > LARGEST_NOTE:
        raise InputError(f"{path}: {MANIFEST} is too large")
    try:
        files, artifacts = _manifest_of(parse_json(archive.read(MANIFEST)))
    except _OF_ZIP as error:
        raise InputError(
            f"{path}: {MANIFEST} is damaged, or of another version of edgekit: make it anew"
        ) from error
    other = sorted({*names} ^ {*files, MANIFEST})
    if other:
        there = "holds" if other[0] in names else "lacks"
        raise InputError(f"{path} {there} {shown(other[0])}, unlike its list: make it anew")
    return files, artifacts


def _as_written(entry: zipfile.ZipInfo) -> bool:
    return (
        entry.compress_type == zipfile.ZIP_STORED
        and entry.flag_bits & ~_PLAIN_FLAGS == 0
        and entry.file_size == entry.compress_size
    )


def _manifest_of(document: Any) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Files and artifacts of a manifest.

    Raises:
        ValueError: it is none. Others, too, where a part is of another kind.
    """
    if document["schema"] != SCHEMA:
        raise ValueError("it is of another schema")
    files, artifacts = document["files"], document["artifacts"]
    for name, about in files.items():
        inside(Path(), name)
        if PurePosixPath(name).as_posix() != name:
            raise ValueError(f"{shown(name)} is no plain path")
        size = about["size_bytes"]
        if not isinstance(about["sha256"], str) or type(size) is not int or size < 0:
            raise ValueError(f"what it says of {shown(name)} is incomplete")
    if not isinstance(artifacts, list) or not artifacts:
        raise ValueError("it has no artifacts")
    for one in artifacts:
        if one["path"] not in files or not isinstance(one["sha256"], str):
            raise ValueError("an artifact is none of its files")
    return files, artifacts


def _unpack(
    path: Path, archive: zipfile.ZipFile, name: str, about: Mapping[str, Any], to: Path
) -> None:
    """One file, no byte more than the list says."""
    to.parent.mkdir(parents=True, exist_ok=True)
    total, size = hashlib.sha256(), about["size_bytes"]
    with archive.open(name) as source, open(to, "wb") as sink:
        left = size
        while block := source.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                break
            total.update(block)
            sink.write(block)
    if left != 0 or total.hexdigest() != about["sha256"]:
        raise InputError(f"{path}: {shown(name)} was changed after the archive was made")
