"""What a benchmark has done, in files that are whole whenever it is killed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core import Measurement, from_json, to_json
from edgekit.core.names import shown
from edgekit.core.reading import parse_json, read_text
from edgekit.errors import InputError, UsageError
from edgekit.measure.store import load_saved, save
from edgekit.staging import output_folder, replace_file

SCHEMA = "edgekit.benchmark-journal/1"
FOLDER = "work"
"""In the folder of a benchmark: the journal, and what was measured, a file a session."""

_BEGIN_ANEW = "give --overwrite to begin anew, or another folder with -o"


class Journal:
    """The journal of one benchmark; one process at a time may open it (`edgekit.locks`).

    What is in it is known by the digests of files: a file that is another one now was not
    evaluated and not measured.

    Args:
        folder: of the benchmark.
        identity: facts that a benchmark which goes on must have in common with the one that was
            begun, by what people call them.
        anew: whether to forget what was begun.

    Attributes:
        begun: whether it goes on with what an earlier process has begun.

    Raises:
        UsageError: it is of another benchmark.
        InputError: it cannot be read, or is damaged.
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], *, anew: bool) -> None:
        self._folder = folder / FOLDER
        self._path = self._folder / "journal.json"
        self._data: dict[str, Any] = {
            "schema": SCHEMA, "identity": dict(identity), "files": {}, "evaluations": {},
            "subjects": [], "sessions": 0, "complete": False,
        }  # fmt: skip
        self.begun = not anew and self._path.exists()
        if self.begun:
            found = _read(self._path)
            _compare(folder, found["identity"], identity)
            self._data = found
        elif anew:
            for old in self._folder.glob("session-*.json"):
                old.unlink(missing_ok=True)

    def begin(self) -> None:
        """Writes it, before there are files of the benchmark that it is to know."""
        self._write()

    def file(self, key: str) -> dict[str, Any] | None:
        """What became of a file that was to be made; ``None`` where that is not known."""
        found = self._data["files"].get(key)
        return None if found is None else dict(found)

    def note_file(self, key: str, **facts: object) -> None:
        """Notes what became of a file."""
        self._data["files"][key] = to_json(facts)
        self._write()

    def evaluation(self, key: str) -> Any:
        """Figures of a file or network, by its digest and by what it was evaluated on."""
        return self._data["evaluations"].get(key)

    def note_evaluation(self, key: str, evaluation: object) -> None:
        """Notes figures."""
        self._data["evaluations"][key] = to_json(evaluation)
        self._write()

    def sessions(self, subjects: Sequence[str]) -> list[list[Measurement]]:
        """What was measured of some files in turns, a list a session.

        Args:
            subjects: their digests, and whatever else a latency depends on. Of others, nothing
                that was measured counts any more.
        """
        if self._data["subjects"] != list(subjects):
            return []
        try:
            return [load_saved(self._session(i)) for i in range(1, self._data["sessions"] + 1)]
        except InputError as error:
            raise InputError(f"{error}: {_BEGIN_ANEW}") from error

    @property
    def complete(self) -> bool:
        """Whether those that `sessions` gives suffice."""
        return bool(self._data["complete"])

    def note_session(
        self,
        subjects: Sequence[str],
        number: int,
        measurements: Sequence[Measurement],
        *,
        complete: bool,
    ) -> None:
        """Notes what a session has measured, so far if it is not over.

        Args:
            number: of the session, from 1 on.
        """
        with output_folder(self._folder):
            save(measurements, self._session(number), overwrite=True)
        self._data |= {"subjects": list(subjects), "sessions": number, "complete": complete}
        self._write()

    def _session(self, number: int) -> Path:
        return self._folder / f"session-{number}.json"

    def _write(self) -> None:
        text = json.dumps(self._data, indent=1, allow_nan=False) + "\n"
        with output_folder(self._folder):
            replace_file(self._path, lambda file: file.write(text.encode()))


_SHAPES = {
    "schema": str, "identity": dict, "files": dict, "evaluations": dict, "subjects": list,
    "sessions": int, "complete": bool,
}  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    """What a journal holds.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    try:
        data = parse_json(read_text(path))
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise ValueError(f"expected the schema {SCHEMA}")
        for key, kind in _SHAPES.items():
            if not isinstance(data.get(key), kind):
                raise ValueError(f"'{key}' is missing or of another type")
        for key in ("files", "evaluations"):
            for name, value in data[key].items():
                if not isinstance(value, dict):
                    raise ValueError(f"'{shown(name)}' is of another type")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{path} is no journal of a benchmark ({reason}): {_BEGIN_ANEW}"
        ) from error
    return data


def _compare(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
    """Refuses to go on with another benchmark.

    Raises:
        UsageError: names the first thing that is different.
    """
    for name in {**wanted, **found}:
        was, now = found.get(name), wanted.get(name)
        if was != now:
            raise UsageError(
                f"{folder} holds a benchmark with another {name} ({shown(str(was))}, now "
                f"{shown(str(now))}): {_BEGIN_ANEW}"
            )


def restored(kind: type[Any], data: Any) -> Any:
    """A record of the journal; ``None`` where it is of another edgekit."""
    try:
        return from_json(kind, data)
    except ValueError:
        return None
