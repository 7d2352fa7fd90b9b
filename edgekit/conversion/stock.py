"""The file that people have without edgekit: what the usual exporter writes by itself."""

from __future__ import annotations

import time
from pathlib import Path

from edgekit import registry, tables
from edgekit.contract import contract_path, contract_text
from edgekit.conversion.building import build_stock
from edgekit.conversion.results import Exported
from edgekit.core import Stock
from edgekit.core.names import file_name
from edgekit.errors import GateError, ModelError
from edgekit.models.model import Model
from edgekit.models.purity import as_function
from edgekit.staging import hidden_folder, output_folder, publish, staging
from edgekit.tasks.agreement import failures
from edgekit.verification.reference import make_reference


def stock_path(model: Model, folder: Path) -> Path:
    """Where the stock file of a network goes.

    Raises:
        ModelError: no file can be called like the network.
    """
    suffix = registry.target(tables.DEFAULT_TARGET).suffix
    try:
        return folder / file_name(model.name, f"-stock{suffix}")
    except ValueError as error:
        raise ModelError(f"'{model.source}': {error}; rename the network") from error


def export_stock(
    model: Model, folder: Path, *, data: str | None = None, skip_corrupt: bool = False
) -> Exported:
    """Writes the stock file of a network in float32, and compares it with the network.

    It has a contract, so that whatever takes exported files takes it, too. One that is there
    already is replaced.

    Args:
        data: see `edgekit.conversion.export`.

    Raises:
        ModelError: the usual exporter cannot write the network.
        GateError: its file computes something else.
        UnavailableError: a package is missing.
    """
    start = time.perf_counter()
    target, path = registry.target(tables.DEFAULT_TARGET), stock_path(model, folder)
    assert isinstance(target, Stock)
    reference = make_reference(as_function(model), data, skip_corrupt=skip_corrupt)
    with output_folder(folder), staging(folder) as place:
        staged = hidden_folder(place) / path.name
        artifact = build_stock(reference, target, path, staged)
        assert artifact.agreement is not None
        if not artifact.agreement.passed:
            raise GateError(f"{path.name} failed verification: {failures(artifact.agreement)}")
        contract_path(staged).write_text(contract_text(artifact), encoding="utf-8")
        publish(staged.parent, [path, contract_path(path)], overwrite=True)
    seconds = time.perf_counter() - start
    return Exported(path, artifact, seconds, seconds, reference.data, reference.skipped)
