"""A small trained network and its exported files, built once for all workers of a test session."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from edgekit import registry, tables
from edgekit.contract import contract_path, target_by_suffix
from edgekit.core import ModelSpec

MODEL, DATA, RESOLUTION, EPOCHS = "mobilenetv3-small", "digits", 32, 5
PRECISIONS = ("fp32", "fp16")


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this session, and no other session, see."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def once(done: Path) -> Iterator[bool]:
    """Gives True to the one worker that has to make ``done``, while the others wait for it."""
    with open(done.with_name(f"{done.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()


@contextmanager
def filled(done: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``done``; what a worker that died left there is removed.

    Goes into `once`.
    """
    part = done.with_name(f"{done.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    yield part
    part.rename(done)


def train_run(folder: Path) -> Path:
    """The folder of a training of `short_spec` that is good enough to tell the digits apart."""
    from edgekit.training import loop
    from edgekit.training.options import TrainingOptions

    run = folder / "run"
    with once(run) as mine, mock.patch.object(loop, "find_spec", short_spec):
        if mine:
            options = TrainingOptions(epochs=EPOCHS, resolution=RESOLUTION, threads=1)
            with filled(run) as staged:
                loop.train(MODEL, DATA, options=options, out=staged)
    return run


def short_spec(name: str, **details: int) -> ModelSpec:
    """Three blocks of a network, as if the zoo had no more of them: all that reads it takes less
    time.

    Of `MODEL` one of them has a squeeze-excite, a hard swish and a kernel of 5x5.
    """
    from edgekit.models import find_spec

    whole = find_spec(name, **details)
    return dataclasses.replace(whole, rows=(*whole.rows[:2], whole.rows[3]))


def short_network(folder: Path) -> Path:
    """Checkpoint of `short_spec`, trained for seconds."""
    import torch

    from edgekit.data import open_source
    from edgekit.data.preprocess import for_source
    from edgekit.models import build
    from edgekit.models.weights import Checkpoint, save_checkpoint
    from edgekit.search.inputs import ImageInputs
    from edgekit.search.learning import Learner
    from edgekit.tasks.objectives import OF_LOGITS

    path = folder / "short.pt"
    with once(path) as mine:
        if mine:
            spec = short_spec(MODEL, classes=10, resolution=RESOLUTION)
            digits = open_source(DATA)
            preprocessing, labels = for_source(digits, RESOLUTION), tuple(digits.classes)
            torch.manual_seed(0)
            module = build(spec)
            Learner(ImageInputs(digits, preprocessing), OF_LOGITS, 0, None).tune(module, 120, 3e-3)
            state = module.state_dict()
            save_checkpoint(path, Checkpoint(spec.name, spec, state, labels, preprocessing, DATA))
    return path


def int8_files(network: Path, folder: Path) -> Path:
    """A folder with int8 files of a network for all targets, in ``float`` and in ``int8``: by the
    type of their inputs and outputs."""
    from edgekit.conversion import export
    from edgekit.quantize.integers import Integers

    found = folder / "int8"
    with once(found) as mine:
        if mine:
            with filled(found) as staged:
                for interface in ("float", "int8"):
                    export(
                        str(network), tuple(tables.TARGETS), ["int8"], out=staged / interface,
                        integers=Integers(images=64, interface=interface),
                    )  # fmt: skip
    return found


def baked_files(network: Path, folder: Path) -> Path:
    """A folder with files of a network for all targets that take bytes of pixels, in fp32 and int8:
    by precision."""
    from edgekit.conversion import export
    from edgekit.quantize.integers import Integers

    found = folder / "baked"
    with once(found) as mine:
        if mine:
            with filled(found) as staged:
                for precision in ("fp32", "int8"):
                    export(
                        str(network), tuple(tables.TARGETS), [precision], out=staged / precision,
                        integers=Integers(images=64), bake_preprocessing=True,
                    )  # fmt: skip
    return found


class Artifacts(Mapping[tuple[str, str], Path]):
    """Exported files of a run by (target, precision); each target is exported when first asked for.

    Read-only: tests that alter a file copy it first.
    """

    def __init__(self, run: Path, folder: Path) -> None:
        self._run, self._folder = run, folder

    def __getitem__(self, key: tuple[str, str]) -> Path:
        name, precision = key
        if name not in tables.TARGETS or precision not in PRECISIONS:
            raise KeyError(key)
        folder = self._folder / name
        with once(folder) as mine:
            if mine:
                self._export(name, folder)
        return folder / f"{MODEL}-{precision}{registry.target(name).suffix}"

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, precision) for name in tables.TARGETS for precision in PRECISIONS)

    def __len__(self) -> int:
        return len(tables.TARGETS) * len(PRECISIONS)

    def _export(self, name: str, folder: Path) -> None:
        from edgekit.conversion import export

        with filled(folder) as staged:
            export(str(self._run), [name], PRECISIONS, out=staged)


def copy_artifact(path: Path, folder: Path) -> Path:
    """Copies a file with its companions and its contract; the copy may be altered."""
    target = target_by_suffix(path)
    assert target is not None, path
    for file in (*target.files(path), contract_path(path)):
        shutil.copy(file, folder / file.name)
    return folder / path.name
