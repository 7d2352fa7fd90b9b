"""A file in its runtime, as a slot of an agent has it."""

from __future__ import annotations

import hashlib
import importlib
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, ContextManager

import numpy as np

from edgekit.agent.bounds import Allowed, explained
from edgekit.agent.hardware import versions
from edgekit.agent.inputs import noise_of
from edgekit.core import reason, reason_with_layer
from edgekit.core.reading import open_file
from edgekit.core.reasons import PASSING
from edgekit.errors import EdgekitError, InputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgekit.core import Array, OperatorTime, Runner, TensorSpec


def load_object(where: str) -> Any:
    """What ``module:attribute`` names."""
    module, _, attribute = where.partition(":")
    return getattr(importlib.import_module(module), attribute)


class File:
    """An artifact, or any file of a format that edgekit knows.

    Args:
        path: of its main file, on this device.
        name: what the one that asks calls it.
        opener: ``module:attribute`` of what opens it; see `edgekit.core.Target`.
        runtime: what runs it, for people.
        files: all of its files, the main one first.
        threads: of the runtime; ``None`` leaves the choice to it.
        batch: see `edgekit.core.Target.open`.
        shapes: as well, as pairs of a name and a shape.
        inputs: ``.npz`` file on this device with the inputs that it is timed with, by their order;
            ``None`` for noise.
        packages: distributions whose versions are told.
        engines: distributions, of which the first that is installed is the runtime's.
        here: the same where the one that asks runs, with its version; empty where it has none.
        allowed: MiB and seconds that the runtime may take until its first inference is done.

    Attributes:
        runtime: what runs it, with its version.
        tools: versions.
        input: shape and type of what it takes, known once it was loaded.
        inputs: names of that.
        forks: whether it can be loaded in a fork of the process that has imported its runtime.
    """

    forks = True

    def __init__(
        self,
        path: str,
        name: str,
        opener: str,
        runtime: str,
        files: Sequence[str],
        allowed: tuple[float, float],
        threads: int | None = None,
        batch: int | None = None,
        shapes: Sequence[tuple[str, Sequence[int]]] | None = None,
        inputs: str | None = None,
        packages: Sequence[str] = (),
        engines: Sequence[str] = (),
        here: Sequence[str] = (),
    ) -> None:
        self._path, self._name, self._runtime = Path(path), name, runtime
        self._files = [Path(file) for file in files]
        self._threads, self._batch, self._given = threads, batch, inputs
        self._shapes = None if shapes is None else {key: tuple(shape) for key, shape in shapes}
        self.bounds = Allowed(*allowed)
        self.input = ""
        self.inputs: tuple[str, ...] = ()
        self._opener = load_object(opener)
        _start(self._opener, runtime)
        self.tools = {"python": platform.python_version(), "numpy": np.__version__}
        self.tools.update(versions(packages))
        there = next(([each, self.tools[each]] for each in engines if each in self.tools), [])
        self.runtime = f"{runtime} {there[1] if there else ''}".strip()
        self._versions = there, list(here)

    def load(self) -> Runner:
        """Loads the file anew.

        Raises:
            UnavailableError: the runtime refuses it, and is of another version than that of the one
                that asks.
            Exception: what the runtime raises.
        """
        try:
            return self._open(self._threads)
        except ModuleNotFoundError:
            raise
        except PASSING:
            raise
        except BaseException as error:
            there, here = self._versions
            if not there or not here or _alike(there, here) or not self._refused(error):
                raise
            said = f"{self._name} cannot be run by {self._runtime}: {reason_with_layer(error)}"
            raise UnavailableError(
                f"{error if isinstance(error, InputError) else said}; it is {' '.join(there)} "
                f"there and {' '.join(here)} here: install '{'=='.join(here)}' there, or write the "
                f"file with the other one here"
            ) from error

    def _refused(self, error: BaseException) -> bool:
        """Whether the runtime takes the file for none of its own, as far as can be told."""
        if isinstance(error, InputError):  # of what was asked besides, where that is all
            return error.__cause__ is not None and self._batch is None and not self._shapes
        return not isinstance(error, EdgekitError)

    def _open(self, threads: int | None) -> Runner:
        found: Runner = self._opener.open(
            self._path, threads, batch=self._batch, shapes=self._shapes
        )
        return found

    def prepare(self, loaded: Runner) -> Callable[[], object]:
        """Gives what was loaded an input; each call of the result is one inference."""
        tensors, _ = loaded.tensors()
        self.inputs = tuple(tensor.name for tensor in tensors)
        inputs = self._inputs(tensors)
        self.input = ", ".join(f"{'x'.join(map(str, x.shape))} {x.dtype}" for x in inputs)
        return loaded.prepare(inputs)

    def _inputs(self, tensors: Sequence[TensorSpec]) -> list[Array]:
        if self._given is None:
            return [noise_of(tensor) for tensor in tensors]
        with np.load(self._given, allow_pickle=False) as arrays:
            return [arrays[f"arr_{i}"] for i in range(len(tensors))]

    def operators(self, runs: int) -> tuple[OperatorTime, ...]:
        """Times its operators.

        Raises:
            UnavailableError: the runtime has no profiler.
        """
        operators = getattr(self._opener, "operators", None)
        if operators is None:
            raise UnavailableError(f"{self._runtime} has no profiler of operators")
        inputs = self._inputs(self._open(1).tensors()[0])
        found: tuple[OperatorTime, ...] = operators(
            self._path,
            inputs,
            threads=self._threads,
            runs=runs,
            batch=self._batch,
            shapes=self._shapes,
        )
        return found

    def activations(self, inputs: Sequence[Array]) -> list[tuple[str, Array]]:
        """What flows between its layers; see `edgekit.core.Inspectable`."""
        return list(self._opener.activations(self._path, inputs))

    def size(self) -> tuple[int, str]:
        """Bytes and digest of its files."""
        return sum(file.stat().st_size for file in self._files), digest(self._files)

    def explained(self, *, bounded: bool) -> ContextManager[None]:
        """Turns what the runtime raises into a sentence that names the file.

        Args:
            bounded: whether this process is held to the file's bounds.
        """
        return explained(self._name, self._runtime, self.bounds if bounded else None)

    def renamed(self, text: str) -> str:
        """A message in which files are called as the one that asks calls them."""
        for file in self._files:
            text = text.replace(str(file), str(Path(self._name).with_name(file.name)))
        return text

    def state(self) -> list[list[int]]:
        """What changes when one of the files does.

        Raises:
            InputError: one is gone.
        """
        try:
            found = [file.stat() for file in self._files]
        except FileNotFoundError as error:
            raise InputError(
                f"{error.filename} is gone: expected it to stay while it is measured"
            ) from error
        return [[f.st_dev, f.st_ino, f.st_size, f.st_mtime_ns] for f in found]


def _alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two distributions are the same, and of one version but for its last part."""
    if one[0] != other[0]:
        return False
    return one[1].split(".")[:2] == other[1].split(".")[:2]


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of files in order, as ``cat a b | sha256sum`` gives it."""
    total = hashlib.sha256()
    for file in files:
        with open_file(file) as stream:
            while True:
                block = stream.read(1 << 20)
                if not block:
                    break
                total.update(block)
    return total.hexdigest()


def _start(opener: Any, runtime: str) -> None:
    """Imports the runtime.

    Raises:
        ModuleNotFoundError: it is not installed.
        UnavailableError: its installation does not work.
    """
    try:
        opener.start()
    except ModuleNotFoundError:
        raise
    except PASSING:
        raise
    except BaseException as error:  # libraries that do not fit, above all
        raise UnavailableError(
            f"{runtime} cannot be imported: {reason(error)}; install it again, and see "
            f"'edgekit doctor'"
        ) from error


__all__ = ["File", "digest", "load_object"]
