"""Artifacts and their contracts: written together, checked together.

``<artifact>.json`` beside every artifact holds the `Artifact` record and a digest of itself. The
same record, less what the file itself determines, is embedded in the artifact. Opening checks the
contract's own digest and the file's; where the latter differs, the embedded record tells altered
bytes from a contract of another file. (Digests find accidents and edits, not forgery: who can
write both files can sign them anew.)
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgekit
from edgekit import plugins, registry, tables
from edgekit.core import (
    CLASSIFY,
    SCORES,
    SUPPRESSED,
    Artifact,
    Suppression,
    TensorSpec,
    canonical_json,
    from_json,
    reason,
    to_json,
)
from edgekit.core.names import problem_of, shown
from edgekit.core.reading import check_file, open_file, parse_json, read_text
from edgekit.core.reasons import PASSING
from edgekit.data import preprocess
from edgekit.devices.device import HOST, Device
from edgekit.devices.fitting import misfit
from edgekit.devices.runner import open_file as run_file
from edgekit.devices.simulators import interpreter
from edgekit.errors import ContractError, EdgekitError, InputError, UnavailableError
from edgekit.native_output import captured

if TYPE_CHECKING:
    from edgekit.core import Target
    from edgekit.devices.runner import DeviceRunner

SCHEMA = "edgekit.artifact/2"
"""Of what is written. Contracts of `OLDER` are read as well: they are of classifiers."""

OLDER = "edgekit.artifact/1"
DIGEST_KEY = "contract_sha256"
REJECTED = ".rejected"
"""Ending of what failed its verification."""

OF_THE_FILE = ("path", "sha256", "size_bytes", "agreement")
"""Fields that only exist once the file does, and are not embedded in it."""

OF_RUNS = ("ladder", "tuning")
"""Fields that only runs of the file fill; they stay empty inside it, so that what is shipped is, to
the byte, what ran."""


@dataclass(frozen=True, slots=True)
class OpenArtifact:
    """A loaded artifact with its contract.

    Attributes:
        misfit: what to say where it was written for another kind of processor.
    """

    path: Path
    contract: Artifact
    target: Target
    runner: DeviceRunner
    misfit: str | None = None


def contract_path(path: Path) -> Path:
    """Where the contract of an artifact lies."""
    return path.with_name(f"{path.name}.json")


def rejected_path(path: Path) -> Path:
    """Where a file is kept that failed its verification."""
    return path.with_name(f"{path.name}{REJECTED}")


def target_by_suffix(path: Path) -> Target | None:
    """The target that writes files with this ending; ``None`` for other files.

    Raises:
        UnavailableError: several targets do.
    """
    return registry.target_by_suffix(path.suffix)


def is_artifact(source: str) -> bool:
    """Whether MODEL or ARTIFACT, as it was given, means an exported file, a rejected one included.

    Raises:
        UnavailableError: a file is there that may be one of a target that cannot be loaded.
    """
    path = Path(source)
    if target_by_suffix(path) is not None or path.suffix == REJECTED:
        return True
    flaws = tables.TARGETS.load_all()[1].values() if path.suffix else ()
    if flaws and os.path.isfile(source):  # noqa: PTH113 - which takes names that are too long
        from edgekit.models.source import FILE_SUFFIXES

        if path.suffix not in FILE_SUFFIXES:
            raise UnavailableError(f"{path} may be a file that cannot be read: {'; '.join(flaws)}")
    return False


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of files in order, as ``cat a b | sha256sum`` gives it."""
    total = hashlib.sha256()
    for file in files:
        with open_file(file) as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def embedded_text(artifact: Artifact) -> str:
    """The text that is stored inside the artifact."""
    data = {k: v for k, v in to_json(artifact).items() if k not in OF_THE_FILE}
    data |= {name: [] for name in OF_RUNS}
    return canonical_json({"schema": SCHEMA, **data})


def contract_text(artifact: Artifact) -> str:
    """The text of the contract beside the artifact."""
    data = {"schema": SCHEMA, **to_json(artifact)}
    own = hashlib.sha256(canonical_json(data).encode()).hexdigest()
    return json.dumps({**data, DIGEST_KEY: own}, indent=2) + "\n"


def load(path: Path, *, embedded: bool = False) -> Artifact:
    """Reads and checks the contract of an artifact.

    Args:
        embedded: read the contract inside the file instead of the one beside it. Nothing then
            shows whether the bytes are the exported ones.

    Raises:
        InputError: a file of the artifact is missing, or it was rejected.
        ContractError: the contract is missing, damaged, edited, or of another file; it contradicts
            itself; or the artifact's bytes are not the exported ones.
    """
    if path.suffix == REJECTED:
        raise InputError(_why_rejected(path))
    target = target_by_suffix(path)
    if target is None:
        targets, flaws = tables.TARGETS.load_all()
        endings = ", ".join(target.suffix for target in targets.values())
        told = [f"{path} is no artifact: expected a file ending in {endings}", *flaws.values()]
        raise InputError("; ".join(told))
    check_files(path, target)
    artifact = _load_embedded(path, target) if embedded else _load_beside(path, target)
    _check(path, artifact)
    return artifact


def check_files(path: Path, target: Target) -> None:
    """Refuses files of an artifact that are missing, or are nothing that can be read whole.

    Raises:
        InputError: names the file.
    """
    for file in target.files(path):
        try:
            check_file(file)
        except OSError as error:
            missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
            if missing and file != path:  # the main file, which comes first, is there
                raise InputError(
                    f"{path} needs {file.relative_to(path.parent)} beside it, which is missing: "
                    f"put both into one folder"
                ) from error
            if missing:
                raise InputError(
                    f"{file} does not exist: an artifact of target {target.name} needs it"
                ) from error
            raise InputError(f"{file} {error.strerror}; export it again") from error


def open_artifact(
    path: Path, *, threads: int | None = None, embedded: bool = False, device: Device = HOST
) -> OpenArtifact:
    """Checks an artifact against its contract and loads it into its runtime.

    Args:
        device: that it runs on.

    Raises:
        InputError: the runtime cannot load it.
        ContractError: see `load`; or inputs and outputs are not what the contract says.
        UnavailableError: the runtime is not installed.
    """
    contract = load(path, embedded=embedded)
    target = registry.target(contract.target)
    simulator = interpreter(device, path)
    if simulator is not None and simulator.runtime is not None:
        target = simulator.runtime
    with captured():
        runner = run_file(target, path, threads, device=device)
    inputs, outputs = runner.tensors()
    for said, found in ((contract.inputs, inputs), (contract.outputs, outputs)):
        if [(t.shape, t.dtype) for t in said] != [(t.shape, t.dtype) for t in found]:
            raise ContractError(
                f"{path}: the contract promises {_forms(said)}, the file has {_forms(found)}: "
                f"export it again"
            )
    return OpenArtifact(path, contract, target, runner, misfit(path, contract, device))


def _why_rejected(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist: expected an exported file"
    report = contract_path(path)
    where = f"see {report}, and " if report.exists() else ""  # it lies beside the main file only
    return f"{path} failed its verification: {where}export it again"


def _check(path: Path, artifact: Artifact) -> None:
    """Refuses a contract whose parts do not go together.

    Raises:
        ContractError: a name that is a path, an impossible preprocessing, one that does not give
            the input, or labels that are not one for each output.
    """
    names = [artifact.path] if artifact.spec is None else [artifact.path, artifact.spec.name]
    for name in names:
        if (problem := problem_of(name)) is not None:
            raise ContractError(
                f"{path}: the contract has the name '{shown(name)}', which no file can have "
                f"({problem}): export it again"
            )
    for tensor in (*artifact.inputs, *artifact.outputs):
        if not _scale_fits(tensor):
            raise ContractError(
                f"{path}: tensor '{shown(tensor.name)}' is {shown(tensor.dtype)} with the scale "
                f"{tensor.scale} and the zero point {tensor.zero_point}: expected those of "
                f"integers; export it again"
            )
    if artifact.task not in tables.TASKS:
        raise ContractError(
            f"{path}: its task is '{shown(artifact.task)}', which this edgekit does not know: "
            f"expected one of {', '.join(tables.TASKS)}"
        )
    if artifact.preprocessing is not None:
        try:
            preprocess.check(artifact.preprocessing)
        except ContractError as error:
            raise ContractError(f"{path}: {error}") from error
    if artifact.task == CLASSIFY:
        _check_classifier(path, artifact)
    if artifact.suppression is not None:
        _check_suppressed(path, artifact, artifact.suppression)


def _check_classifier(path: Path, artifact: Artifact) -> None:
    """Refuses an image, labels or scores that are not those of a classifier.

    Raises:
        ContractError: as said.
    """
    preprocessing = artifact.preprocessing
    if preprocessing is None:
        raise ContractError(
            f"{path}: the contract of a classifier has no preprocessing: export it again"
        )
    shape = preprocessing.shape()
    if [tensor.shape for tensor in artifact.inputs] != [shape]:
        raise ContractError(
            f"{path}: its preprocessing gives images {shape}, its input takes "
            f"{_forms(artifact.inputs)}: export it again"
        )
    if artifact.scores not in SCORES:
        raise ContractError(
            f"{path}: its outputs are '{artifact.scores}', which this edgekit does not know: "
            f"expected one of {', '.join(SCORES)}"
        )
    classes = [tensor.shape[-1] for tensor in artifact.outputs if tensor.shape]
    counts = (1, 2) if classes == [1] else classes  # one score tells two classes apart
    if len(classes) != 1 or (artifact.labels is not None and len(artifact.labels) not in counts):
        raise ContractError(
            f"{path}: the contract has {len(artifact.labels or ())} labels for "
            f"{', '.join(map(str, classes)) or 'no'} outputs: export it again"
        )


def _check_suppressed(path: Path, artifact: Artifact, about: Suppression) -> None:
    """Refuses what cannot come out of a suppression.

    Raises:
        ContractError: as said.
    """
    most = about.max_detections
    whole = ((1, most, 4), (1, most), (1, most), (1,))
    forms = [(t.name, t.shape, t.dtype) for t in artifact.outputs]
    wanted = [(name, shape, "float32") for name, shape in zip(SUPPRESSED, whole, strict=True)]
    if artifact.task != "detect" or forms != wanted:
        raise ContractError(
            f"{path}: the contract says that suppression is part of the file, of the task "
            f"'{shown(artifact.task)}' with {_forms(artifact.outputs)}: expected detect with "
            f"{', '.join(SUPPRESSED)} for {most} objects; export it again"
        )
    shares = (about.score_threshold, about.nms_iou)
    counts = (about.classes, about.max_detections, about.candidates)
    if not all(0 <= share <= 1 for share in shares) or min(counts) < 1:
        raise ContractError(
            f"{path}: the contract says that objects are suppressed with the score "
            f"{about.score_threshold:g} and the overlap {about.nms_iou:g}, {most} of "
            f"{about.candidates} and {about.classes} classes: expected shares from 0 to 1 and "
            f"counts from 1 on; export it again"
        )


def _scale_fits(tensor: TensorSpec) -> bool:
    """Whether scale and zero point are those of integers, or absent."""
    if tensor.scale is None:
        return tensor.zero_point is None
    bits = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
    bits |= {"uint16": (0, 65535), "int32": (-(2**31), 2**31 - 1)}
    low, high = bits.get(tensor.dtype, (1, 0))
    return 1e-30 < tensor.scale < 1e30 and low <= (tensor.zero_point or 0) <= high


def _extract(path: Path, target: Target) -> str | None:
    """The contract inside a file that may be damaged in any way.

    Raises:
        InputError: the file cannot be read as one of its format.
    """
    try:
        with plugins.needed_packages(f"target {target.name}"):
            return target.extract(path)
    except EdgekitError:
        raise
    except PASSING:
        raise
    except BaseException as error:  # parsers raise everything there is on damaged files
        raise InputError(
            f"{path} is damaged: it is no complete {target.name} file ({reason(error)})"
        ) from error


def _load_embedded(path: Path, target: Target) -> Artifact:
    text = _extract(path, target)
    if text is None:
        raise ContractError(
            f"{path} has no contract inside: it was not written by edgekit; export it again"
        )
    data, _ = _parse(path, text, "its embedded contract")
    data.setdefault("path", path.name)
    return _decode(path, data, "its embedded contract")


def _load_beside(path: Path, target: Target) -> Artifact:
    beside = contract_path(path)
    try:
        text = read_text(beside)
    except FileNotFoundError as error:
        hint = (
            "copy it along with the file, or read the one inside the file with --embedded"
            if _extract(path, target) is not None
            else "the file was not written by edgekit; export it again"
        )
        raise ContractError(f"{path} has no contract: {beside} does not exist; {hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ContractError(f"{beside} cannot be read: {reason}; export it again") from error
    data, schema = _parse(beside, text, "the contract")
    own = data.pop(DIGEST_KEY, None)
    canonical = canonical_json({"schema": schema, **data})
    edited = own != hashlib.sha256(canonical.encode()).hexdigest()
    if edited:
        raise ContractError(
            f"{beside} was edited after the export (its own digest does not match): restore it, or "
            f"export again"
        )
    artifact = _decode(beside, data, "the contract", sound=True)
    if artifact.target != target.name:
        raise ContractError(
            f"{beside} is the contract of a {artifact.target} file, not of {path.name}"
        )
    size = sum(file.stat().st_size for file in target.files(path))
    if size != artifact.size_bytes or digest(target.files(path)) != artifact.sha256:
        raise ContractError(_why_bytes_differ(path, target, artifact, size))
    return artifact


def _why_bytes_differ(path: Path, target: Target, artifact: Artifact, size: int) -> str:
    """Altered bytes and a contract of another file look alike by digest; the inside tells."""
    try:  # as records: an older edgekit wrote the same facts as another text
        inside = embedded_text(_load_embedded(path, target))
    except (InputError, ContractError):
        inside = None
    if inside is not None and inside != embedded_text(artifact):
        return f"{contract_path(path)} is the contract of another file than {path.name}"
    return (
        f"{path} is not the exported file any more (sha256 differs; {size:,} bytes, exported with "
        f"{artifact.size_bytes:,}): copy it again, or export again"
    )


def _parse(path: Path, text: str, what: str) -> tuple[dict[str, Any], str]:
    """The facts of a contract, and its schema."""
    try:
        data = parse_json(text)
    except ValueError as error:
        raise ContractError(f"{path}: {what} is no JSON: {error}") from error
    schema = data.pop("schema", None) if isinstance(data, dict) else None
    if schema not in (SCHEMA, OLDER):
        other = str(schema).startswith("edgekit.artifact/")
        why = f"it is of schema '{shown(str(schema))}', of another edgekit: " if other else ""
        raise ContractError(
            f"{path}: {why}{what} is not of schema '{SCHEMA}' or '{OLDER}', which edgekit "
            f"{edgekit.__version__} reads: use the version that wrote it, or export again"
        )
    return data, schema


# How `edgekit.core.from_json` begins its message about a key that the record does not have.
_UNKNOWN_KEY = re.compile(r"^[\w.\[\]]+: unknown key '")


def _decode(path: Path, data: dict[str, Any], what: str, *, sound: bool = False) -> Artifact:
    """The record of a contract.

    Args:
        sound: the contract's own digest holds: a key that is unknown here was written on purpose.
    """
    try:
        return from_json(Artifact, data)
    except ValueError as error:
        tools = data.get("tools")
        writer = tools.get("edgekit") if isinstance(tools, dict) else None
        known = writer not in (None, edgekit.__version__)
        if known or (sound and _UNKNOWN_KEY.search(str(error))):
            other = f"edgekit {writer}" if known else "another edgekit"
            raise ContractError(
                f"{path}: {what} was written by {other} and cannot be read by this one, "
                f"{edgekit.__version__} ({error}): use that version, or export again"
            ) from error
        raise ContractError(f"{path}: {what} is damaged: {error}") from error


def _forms(tensors: Iterable[Any]) -> str:
    return " and ".join(f"{t.dtype} {t.shape}" for t in tensors)


def finished(artifact: Artifact, files: Iterable[Path], **fields: Any) -> Artifact:
    """The record with what the written files determine."""
    listed = list(files)
    size = sum(file.stat().st_size for file in listed)
    return dataclasses.replace(artifact, sha256=digest(listed), size_bytes=size, **fields)
