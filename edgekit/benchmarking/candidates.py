"""The files that are benchmarked: made of a network, or found in a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgekit import conversion, registry, tables
from edgekit.benchmarking.journal import Journal
from edgekit.benchmarking.results import FAILED, LEFT_OUT, REJECTED, Row
from edgekit.contract import REJECTED as ENDING
from edgekit.contract import contract_path, is_artifact, load, rejected_path
from edgekit.conversion.results import Exported, Failed, Rejected, Result
from edgekit.conversion.stock import export_stock, stock_path
from edgekit.core import Artifact, Target
from edgekit.core.names import file_name, shown
from edgekit.core.reading import parse_json, read_text
from edgekit.core.text import counted_words
from edgekit.errors import ContractError, EdgekitError, InputError, OutputError, UsageError
from edgekit.folders import files_in
from edgekit.models.model import Model
from edgekit.quantize.integers import Integers
from edgekit.staging import refuse_existing

if TYPE_CHECKING:
    from edgekit.stated import Stated

STOCK = "stock"
"""Folder of the stock file, in that of a benchmark; and its key in the journal."""

PAGE, DOCUMENT, MEASUREMENTS = "benchmark.html", "benchmark.json", "measurements.json"
OWN = (PAGE, DOCUMENT, MEASUREMENTS)
"""What a benchmark writes beside the files."""

Step = Callable[[str, float, float], None]
"""Told what is being done, how much is done, and of how much."""

ALL = "all"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Files that are to be made of a network.

    Attributes:
        pairs: target and precision of each.
        left_out: why others are not made that were not asked for by name.
    """

    pairs: tuple[tuple[Target, str], ...]
    left_out: tuple[Row, ...]


def wanted(
    model: Model,
    targets: str | Sequence[str],
    precisions: str | Sequence[str],
    runs: Mapping[str, str | None],
    images: bool,
    folder: Path,
) -> Wanted:
    """Which files of a network are to be made.

    What was asked for by name is made, or is an error; of ``all``, what can be made and run.

    Args:
        targets: names, or ``all``.
        precisions: names, or ``all``: those that each target has.
        runs: by target, why the device cannot run its files; ``None`` where it can.
        images: whether there are some that ranges of integers can come from.
        folder: of the files.

    Raises:
        UnknownNameError: a name that the registry does not have.
        UsageError: none is left.
    """
    every = _is_all(targets)
    known = registry.chosen(targets, "fp32")[0] if not every else _loadable()
    named = None if _is_all(precisions) else registry.names_of(precisions, "precision")
    if named is not None:
        named = list(dict.fromkeys(map(registry.precision, named)))
    pairs, left = [], []
    for target in known:
        for name in named if named is not None else sorted(target.schemes):
            why = None
            if name not in target.schemes:
                why = f"target {target.name} has no such precision"
            elif runs.get(target.name) is not None:
                why = runs[target.name]
            elif target.schemes[name].calibration is not None and not images:
                why = "its ranges come from images, and there are none: give some with --data"
            path = folder / file_name(model.name, f"-{name}{target.suffix}")
            if why is None:
                pairs.append((target, name))
            else:
                left.append(Row(path, target.name, name, LEFT_OUT, why))
    if not pairs:
        texts = "; ".join(
            dict.fromkeys(f"{row.target} {row.precision}: {row.reason}" for row in left)
        )
        raise UsageError(f"there is no file to be made: {texts}")
    return Wanted(tuple(pairs), tuple(left))


def _is_all(names: object) -> bool:
    return any(one.lower() == ALL for one in registry.names_of(names, "names"))


def _loadable() -> list[Target]:
    found, _ = tables.TARGETS.load_all()
    return [found[name] for name in sorted(found)]


def weights_digest(model: Model) -> str:
    """Tells networks of one name apart by their numbers."""
    total = hashlib.sha256()
    for name, value in sorted(model.module.state_dict().items()):
        if not isinstance(value, torch.Tensor):  # of modules that keep something else
            total.update(f"{name} {value!r}".encode())
            continue
        total.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        numbers = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        total.update(numbers.numpy().tobytes())
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class Making:
    """How files are made.

    Attributes:
        data: SRC of the images for verification and ranges, of a network that has none itself.
    """

    model: Model
    folder: Path
    data: str | None
    skip_corrupt: bool
    integers: Integers
    scores: str | None
    stated: Stated
    overwrite: bool


def made(
    making: Making,
    wanted: Wanted,
    journal: Journal,
    step: Step,
    say: Callable[[str], None],
    note: Callable[[str], None],
) -> list[Row]:
    """Makes files, but for those that were made before and are what they were.

    Args:
        say: told warnings.
        note: told what is begun.

    Raises:
        InputError: the network cannot be used at all; a file of somebody else is in the way.
    """
    if not journal.begun:
        _refuse_others(making, wanted)
        journal.begin()
    rows: dict[str, Row] = {}
    missing: list[tuple[Target, str]] = []
    for target, name in wanted.pairs:
        row = _known(making, target, name, journal)
        if row is None:
            missing.append((target, name))
        else:
            rows[_key(target.name, name)] = row
    total, begun = len(wanted.pairs), len(rows)
    if missing:
        note(
            f"exporting {counted_words(len(missing), 'file')}"
            + (f", {counted_words(begun, 'is', 'are')} there" if begun else "")
        )
    step(f"exporting {counted_words(total, 'file')}", begun, total)

    def done(result: Result) -> None:
        row = _row_of(result)
        key = _key(row.target, row.precision)
        rows[key] = row
        journal.note_file(
            key,
            sha256=row.sha256,
            state=row.state,
            reason=row.reason,
            size_bytes=row.size_bytes,
        )
        step("exporting", len(rows), total)

    def notify(stage: str) -> None:
        step(f"exporting {len(rows) + 1} of {total}: {stage}", len(rows), total)

    for names, group in _groups(missing):
        conversion.export(
            making.model,
            [target.name for target in group],
            names,
            out=making.folder,
            data=making.data,
            skip_corrupt=making.skip_corrupt,
            integers=making.integers,
            scores=making.scores,
            stated=making.stated,
            overwrite=making.overwrite or journal.begun,
            strict=False,
            notify=notify,
            say=say,
            done=done,
        )
    return [rows[_key(target.name, name)] for target, name in wanted.pairs]


def _refuse_others(making: Making, wanted: Wanted) -> None:
    """Refuses to write over files of somebody else, before anything is written.

    Raises:
        OutputError: there are some.
    """
    for target, name in wanted.pairs:
        path = making.folder / file_name(making.model.name, f"-{name}{target.suffix}")
        refuse_existing([*target.written(path), contract_path(path)], making.overwrite)


def _groups(pairs: Sequence[tuple[Target, str]]) -> list[tuple[list[str], list[Target]]]:
    """Targets with the same precisions together, which share what an export computes first."""
    by_target: dict[str, tuple[Target, list[str]]] = {}
    for target, name in pairs:
        by_target.setdefault(target.name, (target, []))[1].append(name)
    groups: dict[tuple[str, ...], list[Target]] = {}
    for target, names in by_target.values():
        groups.setdefault(tuple(names), []).append(target)
    return [([*names], targets) for names, targets in groups.items()]


def _key(target: str, precision: str) -> str:
    return f"{target} {precision}"


def _known(making: Making, target: Target, name: str, journal: Journal) -> Row | None:
    """A file that this benchmark made before; ``None`` where it is to be made.

    One that was finished in the moment in which the process was killed is in no journal, and has a
    contract that tells what it was made from.
    """
    path = making.folder / file_name(making.model.name, f"-{name}{target.suffix}")
    noted = journal.file(_key(target.name, name))
    if noted is not None and noted.get("state") == REJECTED and rejected_path(path).exists():
        size = noted.get("size_bytes")
        return Row(
            rejected_path(path), target.name, name, REJECTED, str(noted.get("reason")),
            making.model.source, size if isinstance(size, int) else None,
        )  # fmt: skip
    if not path.exists() or not journal.begun:
        return None
    try:
        contract = load(path)
    except (ContractError, InputError):
        if noted is None:  # of a process that was killed while it gave files their names
            return None
        contract = None
    if contract is not None and _same(contract, making.model, noted):
        row = row_of(path, contract)
        journal.note_file(_key(target.name, name), sha256=row.sha256, state=row.state, reason=None)
        return row
    raise OutputError(
        f"{path} is not the file that this benchmark has made: move it away, or give --overwrite "
        f"to begin anew"
    )


def _same(contract: Artifact, model: Model, noted: Mapping[str, object] | None) -> bool:
    """Whether a file is what this benchmark has made."""
    if noted is not None:
        return noted.get("sha256") == contract.sha256
    return (contract.model, contract.parent_sha256) == (model.source, model.parent_sha256)


def row_of(path: Path, contract: Artifact) -> Row:
    """A file with its contract."""
    return Row(
        path,
        contract.target,
        contract.scheme.precision,
        model=contract.model,
        size_bytes=contract.size_bytes,
        sha256=contract.sha256,
        agreement=contract.agreement,
    )


def _row_of(result: Result) -> Row:
    match result:
        case Exported():
            return row_of(result.path, result.artifact)
        case Rejected():
            row = row_of(result.path, result.artifact)
            return dataclasses.replace(row, state=REJECTED, reason=result.reason)
        case Failed():
            return Row(result.path, result.target, result.precision, FAILED, result.message)


def stock_of(making: Making, journal: Journal, step: Step) -> Row | str:
    """The stock file of a network, or why there is none."""
    folder = making.folder / STOCK
    noted, path = journal.file(STOCK), stock_path(making.model, folder)
    if noted is not None and path.exists():
        try:
            contract = load(path)
        except (ContractError, InputError):
            contract = None
        if contract is not None and contract.sha256 == noted.get("sha256"):
            return row_of(path, contract)
    step("exporting the stock file", 0, 1)
    try:
        made = export_stock(
            making.model, folder, data=making.data, skip_corrupt=making.skip_corrupt
        )
    except EdgekitError as error:
        return str(error)
    journal.note_file(STOCK, sha256=made.artifact.sha256)
    return row_of(made.path, made.artifact)


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a folder.

    Attributes:
        rows: files of edgekit's, rejected ones included.
        stock: the stock file, where a benchmark has left one.
        left: what else there is, with why it is left alone.
        contracts: by path.
    """

    rows: tuple[Row, ...]
    stock: Row | None
    left: tuple[str, ...]
    contracts: Mapping[Path, Artifact]


def in_folder(folder: Path, runs: Mapping[str, str | None]) -> Found:
    """Finds the exported files of a folder.

    Args:
        runs: see `wanted`.

    Raises:
        InputError: there are none.
    """
    rows: list[Row] = []
    left: list[str] = []
    others: list[str] = []
    contracts: dict[Path, Artifact] = {}
    paths = [path for path in files_in(folder) if path.name not in OWN]
    known: dict[str | None, Path] = {}
    for path in paths:
        if not is_artifact(str(path)):
            others.append(path.name)
            continue
        if path.suffix == ENDING:
            row = _rejected(path)
            if row is not None:
                rows.append(row)
            continue
        try:
            contract = load(path)
        except (ContractError, InputError) as error:
            left.append(str(error))
            continue
        if contract.sha256 in known:
            left.append(f"{path} is the same file as {known[contract.sha256].name}")
            continue
        known[contract.sha256] = path
        contracts[path] = contract
        why = runs.get(contract.target)
        row = row_of(path, contract)
        rows.append(row if why is None else dataclasses.replace(row, state=LEFT_OUT, reason=why))
    if others:
        left.append(f"no exported files: {_listed(others)}")
    if not contracts:
        told = f": {'; '.join(left)}" if left else ""
        raise InputError(
            f"{folder} holds no exported file, and is no run folder{told}; expected files of "
            f"'edgekit export', or a run of 'edgekit train'"
        )
    return Found(tuple(rows), _stock_in(folder / STOCK), tuple(left), contracts)


def _listed(names: Sequence[str]) -> str:
    most = 5
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def _rejected(path: Path) -> Row | None:
    """What failed its verification, as the report beside it says; ``None`` for its companions."""
    report = contract_path(path)
    if not report.exists():
        return None
    try:
        data = parse_json(read_text(report))
        artifact = data["artifact"]
        return Row(
            path,
            str(artifact["target"]),
            str(artifact["scheme"]["precision"]),
            REJECTED,
            str(data["reason"]),
            str(artifact["model"]),
            int(artifact["size_bytes"]),
        )
    except (OSError, KeyError, TypeError, ValueError, json.JSONDecodeError):
        return Row(path, "", "", REJECTED, "it failed its verification")


def _stock_in(folder: Path) -> Row | None:
    """The stock file that a benchmark has left in a folder."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in found:
        if is_artifact(str(path)):
            try:
                return row_of(path, load(path))
            except (ContractError, InputError):
                return None
    return None
