"""Device profiles: declared facts, each with its source, one folder per device.

Three places hold them, the first one that knows a name wins: ``./profiles``, the user's config
folder, and what edgekit ships.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import edgekit
from edgekit.core import DeviceProfile, Transport, from_json, to_json
from edgekit.core.names import problem_of
from edgekit.core.reading import read_text
from edgekit.devices.benchmarking import BenchmarkModel
from edgekit.devices.native import NativeRunner
from edgekit.errors import (
    EdgekitError,
    InputError,
    OutputError,
    PassedOverWarning,
    UnknownNameError,
    UsageError,
)
from edgekit.plugins import normalize
from edgekit.staging import write_file
from edgekit.tables import METERS, SIMULATORS, TRANSPORTS

FILE_NAME = "device.toml"

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_HINT = "see 'edgekit devices list'"


@dataclass(frozen=True, slots=True)
class PlacedProfile:
    """A profile and the file it comes from.

    Attributes:
        origin: ``shipped``, ``user`` (the config folder) or ``folder`` (``./profiles``).
        shadows: files of the same name that it stands before.
    """

    profile: DeviceProfile
    path: Path
    origin: str
    shadows: tuple[Path, ...] = ()


def profiles_folder() -> Path:
    """Where the shipped profiles lie: inside an installed package, beside it in a checkout."""
    package = Path(edgekit.__file__).parent
    for folder in (package / "profiles", package.parent / "profiles"):
        if folder.is_dir():
            return folder
    raise EdgekitError("the installation is damaged: it has no folder 'profiles'; reinstall it")


def user_folder() -> Path:
    """Where users keep their own: ``XDG_CONFIG_HOME/edgekit/profiles``, else below ``~/.config``.

    Raises:
        InputError: the user has no home folder.
    """
    # The XDG Base Directory Specification: a relative path is to be passed over.
    config = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if config.is_absolute():
        return config / "edgekit" / "profiles"
    try:
        return Path.home() / ".config" / "edgekit" / "profiles"
    except RuntimeError as error:
        raise InputError(
            "there is no home folder for device profiles: set HOME or XDG_CONFIG_HOME"
        ) from error


def transport_of(
    address: str, python: str | None = None, native: NativeRunner | BenchmarkModel | None = None
) -> Transport:
    """The way to a device.

    Args:
        address: such as ``local:`` or ``ssh://pi@desk``.
        python: interpreter there.
        native: what runs there in place of a Python.

    Raises:
        UsageError: there is no such way, the address is none, or nothing but a Python can run
            there.
    """
    name, colon, _ = address.partition(":")
    if not colon or name not in TRANSPORTS:
        forms = ", ".join(f"{known}:" for known in TRANSPORTS)
        raise UsageError(f"'{address}' is no address of a device: expected one with {forms}")
    make: Callable[..., Transport] = TRANSPORTS.load(name)
    if native is None:
        return make(address, python)
    if python is not None:
        raise UsageError(
            "a device has a Python or a program that runs in its place: expected --python, "
            "--runner or --benchmark-model, and one of them"
        )
    if "native" not in inspect.signature(make).parameters:
        raise UsageError(f"devices behind {name}: take no {native.option}, but a Python")
    return make(address, None, native=native)


def native_of(profile: DeviceProfile) -> NativeRunner | BenchmarkModel | None:
    """What runs on a device in place of a Python, where its profile names it.

    Raises:
        UsageError: it names several, or libraries alone.
    """
    if profile.runner is not None and profile.benchmark_model is not None:
        raise UsageError("expected --runner or --benchmark-model, and not both")
    if profile.runner is not None:
        return NativeRunner(profile.runner, profile.libraries)
    if profile.libraries:
        raise UsageError("--library goes with --runner, whose runtimes they are")
    if profile.benchmark_model is not None:
        return BenchmarkModel(profile.benchmark_model)
    return None


def load_profiles() -> list[DeviceProfile]:
    """All profiles, by name, each name once.

    Raises:
        InputError: a profile of the user's is not what `DeviceProfile` describes.
        EdgekitError: a shipped one is not.
    """
    return [read_placed(files).profile for files in profile_files().values()]


def find_profile(name: str) -> PlacedProfile:
    """The profile of that name; ``-``, ``_``, ``.`` and case do not matter.

    Files of other names are not read.

    Raises:
        UnknownNameError: there is none.
        UsageError: it is a simulator, which has no profile.
        InputError: its file is not what `DeviceProfile` describes.
    """
    if SIMULATORS.key(name) is not None:
        raise UsageError(
            f"device '{name}' has no clock, as nothing of it is here: 'edgekit profile FILE "
            f"--device {name}' tells what a file takes there, in memory and as an estimate; other "
            f"commands that measure take --device host"
        )
    files = profile_files()
    if normalize(name) not in files:
        known = [*(found[0][1].parent.name for found in files.values()), *SIMULATORS]
        raise UnknownNameError("device", name, known, _HINT)
    return read_placed(files[normalize(name)])


Files = list[tuple[str, Path]]
"""Origin and path of the files of one name, the one that counts first."""


def profile_at(address: str) -> DeviceProfile | None:
    """The profile of the user's whose device has that address; ``None`` where there is none.

    It warns of profiles of the user's that are not what `DeviceProfile` describes, and passes them
    over.

    Raises:
        UsageError: the address is none.
    """
    wanted = _identity(address)
    for files in profile_files().values():
        if files[0][0] == "shipped":
            continue
        try:
            profile = read_placed(files).profile
        except InputError as error:
            warnings.warn(str(error), PassedOverWarning, stacklevel=2)
            continue
        if _identity(profile.transport) == wanted:
            return profile
    return None


def _identity(address: str) -> str:
    """The same for all ways to write an address."""
    return str(getattr(transport_of(address), "identity", address))


def profile_files() -> dict[str, Files]:
    """The files of all profiles by normalized name, in alphabetical order."""
    found: dict[str, Files] = {}
    for origin, folder in _places():
        for file in folder.glob(f"*/{FILE_NAME}"):
            found.setdefault(normalize(file.parent.name), []).append((origin, file))
    return dict(sorted(found.items(), key=lambda item: item[1][0][1].parent.name))


def _places() -> Iterator[tuple[str, Path]]:
    shipped = profiles_folder()
    here = Path("profiles")
    if here.is_dir() and here.resolve() != shipped.resolve():
        yield "folder", here
    yield "user", user_folder()
    yield "shipped", shipped


def read_placed(files: Files) -> PlacedProfile:
    """Reads the file that counts.

    Args:
        files: as in `profile_files`.

    Raises:
        InputError: it is not what `DeviceProfile` describes; names file and key.
    """
    (origin, path), *shadows = files
    try:
        profile = _read(path)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        kind = EdgekitError if origin == "shipped" else InputError
        raise kind(f"{path}: {reason}; mend the file or remove it") from error
    return PlacedProfile(profile, path, origin, tuple(file for _, file in shadows))


def _read(path: Path) -> DeviceProfile:
    data = tomllib.loads(read_text(path))
    profile = from_json(DeviceProfile, data)
    problem = _problem(profile)
    if profile.name != path.parent.name:
        problem = f"name: expected '{path.parent.name}', as its folder, found '{profile.name}'"
    if problem is not None:
        raise ValueError(problem)
    return profile


def _problem(profile: DeviceProfile) -> str | None:
    """What is wrong with the values of a profile, beginning with the key."""
    if _NAME.fullmatch(profile.name) is None:
        return f"name: expected small letters, digits, '-', '_', '.', found '{profile.name}'"
    if SIMULATORS.key(profile.name) is not None:
        return (
            f"name: '{profile.name}' is a microcontroller that edgekit knows: expected another name"
        )
    if (reason := problem_of(profile.name)) is not None:
        return f"name: '{profile.name}' cannot be the name of a folder: {reason}"
    try:
        transport_of(profile.transport, profile.python, native_of(profile))
    except UsageError as error:
        return f"transport: {error}"
    for key in ("cores", "max_mhz", "ram_mib", "threads"):
        value = getattr(profile, key)
        if value is not None and not 0 < value < float("inf"):
            return f"{key}: expected a positive number, found {value}"
    if profile.meter is not None and profile.meter.partition(":")[0] not in METERS:
        return f"meter: expected one of {', '.join(METERS)}, found '{profile.meter}'"
    declared = {field.name for field in fields(DeviceProfile)} - {"name", "description", "sources"}
    for key in profile.sources:
        if key not in declared:
            return f"sources.{key}: expected the name of another field, such as 'cores'"
    return None


def save_profile(profile: DeviceProfile, overwrite: bool = False) -> Path:
    """Writes a profile into the user's folder.

    Returns:
        The file.

    Raises:
        UsageError: a value is not allowed.
        OutputError: the file exists and may not be replaced, or cannot be written.
    """
    problem = _problem(profile)
    if problem is not None:
        raise UsageError(problem)
    path = user_folder() / profile.name / FILE_NAME
    for origin, known in profile_files().get(normalize(profile.name), []):
        if origin == "user" and (not overwrite or known != path):
            raise OutputError(
                f"you have a device '{known.parent.name}' already ({known}): give --overwrite, or "
                f"remove it with 'edgekit devices remove {known.parent.name}'"
            )
    text = _to_toml(profile)
    write_file(path, lambda staged: staged.write_text(text, encoding="utf-8"), overwrite=overwrite)
    return path


def _to_toml(profile: DeviceProfile) -> str:
    """A profile as TOML; absent values are left out."""

    def text(value: object) -> str:
        # TOML's basic strings, numbers and lists are JSON's, but for one control character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

    data = to_json(profile)
    sources = data.pop("sources")
    lines = [f"{key} = {text(value)}" for key, value in data.items() if value not in (None, [])]
    if sources:
        lines += ["", "[sources]", *(f"{key} = {text(value)}" for key, value in sources.items())]
    return "\n".join(lines) + "\n"


def remove_profile(name: str) -> Path:
    """Deletes a profile from the user's folder; tables beside it stay.

    Returns:
        The file that is gone.

    Raises:
        UnknownNameError: there is no device of that name.
        UsageError: it is not in the user's folder.
        OutputError: it cannot be deleted.
    """
    files = profile_files()
    of_user = [path for origin, path in files.get(normalize(name), []) if origin == "user"]
    if not of_user:
        if normalize(name) not in files:
            known = [found[0][1].parent.name for found in files.values()]
            raise UnknownNameError("device", name, known, _HINT)
        origin, path = files[normalize(name)][0]
        what = "comes with edgekit" if origin == "shipped" else f"lies in {path}, a folder of yours"
        raise UsageError(f"device '{name}' {what}: only what 'add' has written is removed")
    try:
        of_user[0].unlink()
        if not any(of_user[0].parent.iterdir()):
            of_user[0].parent.rmdir()
    except OSError as error:
        raise OutputError(f"cannot remove {of_user[0]}: {error.strerror}") from error
    return of_user[0]
