"""What an app is made of, and how its folder is written."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.apps import golden
from edgekit.apps.expected import TASKS, expected, vectors
from edgekit.apps.golden import Golden, Picture
from edgekit.arrays import row_of
from edgekit.contract import OpenArtifact, contract_path, load, open_artifact
from edgekit.core import CLASSIFY, Artifact, Interface, Quantizing
from edgekit.core.forms import PROCESSORS, fits
from edgekit.core.names import shown
from edgekit.core.reading import read_bytes
from edgekit.data import preprocess
from edgekit.data.stored import real_values, stored_values
from edgekit.errors import ContractError, GateError, OutputError, UsageError
from edgekit.measure.store import Store
from edgekit.staging import named_failures, output_folder, publish_folder, staging
from edgekit.tables import APPS
from edgekit.tasks import task_of_file
from edgekit.tasks.agreement import TOLERANCES, compare, compare_outputs, failures

if TYPE_CHECKING:
    from edgekit.core import Measurement, Target
    from edgekit.models.taking import Network

GOLDEN_SCHEMA = "edgekit.golden/1"


PACKAGES = {
    "classify": "classifier",
    "detect": "detector",
    "segment": "segmenter",
    "embed": "embedder",
}
"""What the code of an app is called, by its task."""


@dataclass(frozen=True)
class App:
    """An artifact, and what is known of it.

    Attributes:
        path: of the artifact's main file.
        golden: images that the app is tested with.
        latency: a measurement of the file that is kept, of one image at a time; ``None`` without.
        network: whose outputs the golden images have beside those of the file; ``None`` where it
            was not given.
    """

    path: Path
    contract: Artifact
    target: Target
    golden: tuple[Golden, ...]
    latency: Measurement | None
    network: str | None

    def files(self) -> Sequence[Path]:
        """The artifact's files, the main one first."""
        return self.target.files(self.path)

    def processors(self) -> list[str] | None:
        """Kinds of processors that the file was written for, of `edgekit.core.PROCESSORS`; ``None``
        for all.
        """
        scheme = self.contract.scheme
        if scheme.isa is None or not isinstance(self.target, Quantizing):
            return None
        choices, precision = self.target.choices, scheme.precision
        found = [kind for kind in PROCESSORS if fits(choices, precision, scheme.isa, kind)]
        return None if len(found) == len(PROCESSORS) else found

    def write_golden(self, folder: Path) -> None:
        """Writes the golden images with ``golden.json``."""
        folder.mkdir(parents=True)
        for each in self.golden:
            for name, content in each.files().items():
                (folder / name).write_bytes(content)
        document = {
            "schema": GOLDEN_SCHEMA,
            "task": self.contract.task,
            "processors": self.processors(),
            "images": [each.entry() for each in self.golden],
            "vectors": vectors(self.contract),
        }
        text = json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False)
        (folder / "golden.json").write_text(text + "\n", encoding="utf-8")

    def write_model(self, folder: Path) -> None:
        """Copies the artifact's files and its contract."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in (*self.files(), contract_path(self.path)):
            copied = folder / file.relative_to(self.path.parent)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(read_bytes(file))


class Platform(Protocol):
    """What writes apps of one kind.

    Attributes:
        name: key of `edgekit.tables.APPS`.
        runs: commands to type in the app's folder, to see it work; one a line. ``{task}`` stands
            for the task, ``{package}`` for its name in `PACKAGES`.
        tests: the same, to test it.
        page: whether the folder is a page, which a browser opens once it is complete.
    """

    name: str
    runs: tuple[str, ...]
    tests: tuple[str, ...]
    page: bool

    def why_not(self, app: App) -> str | None:
        """Why an app for this platform cannot run a file, and what to do; ``None`` if it can."""

    def write(self, app: App, folder: Path) -> None:
        """Writes all of an app into an empty folder."""

    def incomplete(self, folder: Path) -> str | None:
        """What is to be done in an app's folder before its page runs; ``None`` for nothing."""


def open_app(
    artifact: str | os.PathLike[str],
    *,
    against: Network | None = None,
    weights: Path | str | None = None,
    images: Sequence[str | os.PathLike[str]] = (),
) -> App:
    """Opens a file for which apps are written, and computes what they have to give.

    Args:
        artifact: an exported file with its contract.
        against: the network it was made from, whose outputs the golden images get as well.
        weights: for a network's name or callable.
        images: files that are golden images beside the generated ones.

    Raises:
        ContractError: file and contract do not belong together.
        UsageError: its outputs have no meaning that an app could show, or a network is given for a
            file that suppresses boxes by itself.
        DataError: an image cannot be used.
        GateError: the network gives other outputs than the file.
    """
    path = Path(artifact)
    opened = open_artifact(path)
    contract = opened.contract
    if contract.preprocessing is None or contract.task not in TASKS:
        raise UsageError(
            f"{path} is of the task '{contract.task}': apps are written for {', '.join(TASKS)}, "
            f"whose outputs mean something, and for images, whose contract says how they are "
            f"prepared"
        )
    task_of_file(contract, str(path)).check_meaning()
    if contract.task == CLASSIFY:
        _check_labels(path, contract)
    found = [*golden.pictures(contract.preprocessing)]
    taken = {picture.file for picture in found}
    for image in images:
        name = shown(Path(image).name)
        if name in taken:
            raise UsageError(f"two golden images are called {name}: rename one")
        taken.add(name)
        found.append(golden.named_picture(os.fspath(image), name))
    network = None if against is None else _network(path, contract, against, weights)
    images_of = tuple(_golden(opened, picture, network) for picture in found)
    if network is not None:
        _check_network(path, contract, network.source, images_of)
    return App(
        path,
        contract,
        opened.target,
        images_of,
        _latency(contract),
        None if network is None else network.source,
    )


def _check_labels(path: Path, contract: Artifact) -> None:
    columns = contract.outputs[0].shape[-1]
    if contract.labels is not None and len(contract.labels) not in (columns, max(2, columns)):
        raise ContractError(
            f"{path}: the contract has {len(contract.labels)} labels for {columns} outputs: "
            f"expected as many; export it again"
        )


def _network(path: Path, contract: Artifact, against: Network, weights: Path | str | None) -> Any:
    from edgekit.verification.artifact import network_of_file

    if contract.suppression is not None:
        raise UsageError(
            f"{path} suppresses boxes by itself, and the network does not, so that their outputs "
            f"cannot be compared: leave out --against; 'edgekit verify' holds such a file against "
            f"its network"
        )
    model = network_of_file(path, contract, against, weights)
    if not model.trained:
        raise UsageError(
            f"'{model.source}' is untrained: its scores are others each time; give the weights "
            f"that {path} was made from"
        )
    return model


def _check_network(path: Path, contract: Artifact, source: str, several: Sequence[Golden]) -> None:
    """Holds the file against the network on the golden images, by the bound of its contract.

    Raises:
        GateError: they are too far apart.
    """
    rows = np.stack([each.rows["network"] for each in several])
    outputs = np.stack([each.rows["file"] for each in several])
    if not np.isfinite(rows).all():
        raise GateError(f"'{source}' gives outputs that are not finite for the golden images")
    if contract.task == CLASSIFY:
        known = contract.agreement
        bounds = TOLERANCES[contract.scheme.precision] if known is None else known.tolerance
        # These images are too few for shares of likeliest classes.
        least = {"sqnr_db": bounds["sqnr_db"]}
        found = compare(rows, outputs, least, contract.scores)
    else:
        interface = Interface(contract.inputs, contract.outputs)
        found = compare_outputs(rows, outputs, interface, contract.scheme.precision)
    if not found.passed:
        raise GateError(
            f"{path} and '{source}' give other outputs for the golden images: {failures(found)}; "
            f"give the network that the file was exported from"
        )


def _golden(opened: OpenArtifact, picture: Picture, network: Any) -> Golden:
    assert opened.contract.preprocessing is not None
    pixels, size = golden.finished(picture, opened.contract.preprocessing)
    known: dict[str, NDArray[Any]] = {}
    if network is not None:
        from edgekit.inference import ModelClassifier

        plain = preprocess.normalize(pixels, network.preprocessing)
        known["network"] = ModelClassifier(network).rows(plain[np.newaxis])[0]
    return _run(opened, picture, pixels, size, known)


def _run(
    opened: OpenArtifact,
    picture: Picture,
    pixels: NDArray[np.uint8],
    size: tuple[int, int],
    known: dict[str, NDArray[Any]],
) -> Golden:
    """The image with what the file gives for it.

    Args:
        known: outputs of others.
    """
    contract = opened.contract
    assert contract.preprocessing is not None
    image = preprocess.normalize(pixels, contract.preprocessing)
    given = stored_values(np.ascontiguousarray(image[np.newaxis]), contract.inputs[0])
    made = opened.runner.run([given])
    row = row_of([real_values(*each) for each in zip(made, contract.outputs, strict=True)])[0]
    if not np.isfinite(row).all():
        raise GateError(
            f"{opened.path} gives outputs that are not finite for the golden image "
            f"{picture.file}: export it in another precision"
        )
    rows = {"file": row, **known}
    return Golden(picture, pixels, size, rows, expected(contract, rows, size, picture.file))


def run_again(app: App, opened: OpenArtifact) -> App:
    """The same app, whose golden images have what the file gives in another runtime.

    Args:
        opened: the app's file there.
    """
    several = []
    for each in app.golden:
        known = {of: row for of, row in each.rows.items() if of != "file"}
        several.append(_run(opened, each.picture, each.pixels, each.size, known))
    return dataclasses.replace(app, golden=tuple(several))


def _latency(contract: Artifact) -> Measurement | None:
    """Of one image at a time, as apps run it: the newest that is stable, or else the newest."""
    single = [one for _, one in Store().each(artifact=contract.sha256) if one.batch == 1]
    return next((one for one in single if one.stable), single[0] if single else None)


def write_app(app: App, platform: str, out: Path, *, overwrite: bool = False) -> Platform:
    """Writes an app into a new folder, which appears when it is complete.

    Args:
        platform: key of `edgekit.tables.APPS`.
        overwrite: replace the folder, where it is one that this function has written.

    Raises:
        UsageError: the platform cannot run the file; says what to do.
        OutputError: the folder is there already and not empty, or cannot be written.
    """
    found: Platform = APPS.load(platform)
    _check_task(app, platform)
    why_not = found.why_not(app)
    if why_not is not None:
        raise UsageError(f"{app.path} cannot be in an app for {found.name}: {why_not}")
    _check_folder(out, overwrite)
    # Errors name it as the user does, where it has a name.
    final = out if out.name not in ("", "..") else Path(os.path.abspath(out))  # noqa: PTH100
    with output_folder(final.parent), named_failures(out), staging(final.parent) as hidden:
        made = hidden / final.name
        made.mkdir()
        found.write(app, made)
        (made / MARK).write_text(_mark(app, platform), encoding="utf-8")
        _check_folder(out, overwrite)
        publish_folder(made, final)
    return found


def _check_task(app: App, platform: str) -> None:
    """Refuses a file of a task that the platform has no app for.

    Raises:
        UsageError: names the platforms that have one.
    """
    task = app.contract.task
    if task in APPS.find(platform)[1].tasks:
        return
    others = [name for name, entry in APPS.items() if task in entry.tasks]
    raise UsageError(
        f"{app.path} is of the task {task}, which there are no apps of for {platform}: give "
        f"--platform {' or '.join(others)}"
    )


def _check_folder(out: Path, overwrite: bool) -> None:
    """Refuses a place that holds something else than an app that may be replaced.

    Raises:
        OutputError: as said.
    """
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise OutputError(f"{out} is no folder: name a new one with -o")
    if next(out.iterdir(), None) is None:
        return
    if not (out / MARK).is_file():
        raise OutputError(f"{out} is not empty: name a new or an empty folder with -o")
    if not overwrite:
        raise OutputError(f"{out} holds an app already: give --overwrite to replace all of it")


def holds(artifact: Path, platform: str, folder: Path) -> bool:
    """Whether a folder holds an app that this edgekit has written, or would write just so, for
    this file, its contract and the platform; whatever golden images it has.
    """
    try:
        mark = json.loads(read_bytes(folder / MARK))
        return bool(mark["of"] == _of(artifact, platform))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _of(artifact: Path, platform: str) -> dict[str, Any]:
    """What an app is written from, beside its golden images."""
    import edgekit

    code = hashlib.sha256()
    package = Path(inspect.getfile(type(APPS.load(platform)))).parent
    own = sorted(Path(__file__).parent.glob("*.py"))
    for file in (*own, *sorted(package.rglob("*"))):
        if file.is_file() and "__pycache__" not in file.parts:
            for part in (file.name.encode(), read_bytes(file)):
                code.update(hashlib.sha256(part).digest())
    return {
        "platform": platform,
        "artifact": load(artifact).sha256,
        "contract": hashlib.sha256(read_bytes(contract_path(artifact))).hexdigest(),
        "edgekit": edgekit.__version__,
        "template": code.hexdigest(),
    }


def written_with(folder: Path) -> tuple[list[str], str | None]:
    """Golden images of an app in a folder, by name, and the network whose scores they have.

    Raises:
        OutputError: it holds no app that can be read.
    """
    try:
        mark = json.loads(read_bytes(folder / MARK))
        return list(mark["golden"]), mark["network"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise OutputError(f"{folder / MARK} is damaged: write the app anew") from error


MARK = "edgekit-app.json"
"""What says that a folder is an app that was generated, and from what."""


def _mark(app: App, platform: str) -> str:
    of = _of(app.path, platform)
    about = {
        "schema": "edgekit.app/1",
        "platform": platform,
        "artifact": {"path": app.path.name, "sha256": app.contract.sha256},
        "edgekit": of["edgekit"],
        "of": of,
        "golden": [each.picture.file for each in app.golden],
        "network": app.network,
    }
    return json.dumps(about, indent=2) + "\n"
