"""Device profiles: declared facts, each with its source, one folder per device."""

from __future__ import annotations

import tomllib
from pathlib import Path

import edgekit
from edgekit.core import DeviceProfile, from_json
from edgekit.errors import EdgekitError

FILE_NAME = "device.toml"


def profiles_folder() -> Path:
    """Where the profiles lie: inside an installed package, beside it in a checkout."""
    package = Path(edgekit.__file__).parent
    for folder in (package / "profiles", package.parent / "profiles"):
        if folder.is_dir():
            return folder
    raise EdgekitError("the installation is damaged: it has no folder 'profiles'; reinstall it")


def load_profiles() -> list[DeviceProfile]:
    """All shipped profiles, by name.

    Raises:
        EdgekitError: a profile is not what `DeviceProfile` describes.
    """
    return [_load(file) for file in sorted(profiles_folder().glob(f"*/{FILE_NAME}"))]


def _load(file: Path) -> DeviceProfile:
    try:
        return from_json(DeviceProfile, tomllib.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise EdgekitError(f"{file}: {error}") from error
