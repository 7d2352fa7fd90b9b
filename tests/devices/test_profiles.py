from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import tables
from edgekit.core import DeviceProfile
from edgekit.devices.device import find_device
from edgekit.devices.profiles import (
    find_profile,
    load_profiles,
    profile_files,
    profiles_folder,
    remove_profile,
    save_profile,
    user_folder,
)
from edgekit.errors import (
    InputError,
    OutputError,
    PassedOverWarning,
    UnknownNameError,
    UsageError,
)

SHIPPED = (
    "host",
    "jetson-orin-nano",
    "pixel-8",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "x86-laptop",
)
MINIMAL = 'description = "mine"\ntransport = "local:"\n'


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty config folder of the user's, and an empty working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "edgekit" / "profiles"


@pytest.fixture
def write(config: Path) -> Callable[..., Path]:
    """Writes a profile of the user's."""

    def call(name: str, text: str = MINIMAL, folder: Path = config) -> Path:
        path = folder / name / "device.toml"
        path.parent.mkdir(parents=True)
        path.write_text(f'name = "{name}"\n{text}', encoding="utf-8")
        return path

    return call


def test_the_shipped_devices_are_there() -> None:
    assert tuple(profile.name for profile in load_profiles()) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_every_declared_fact_has_a_source(name: str) -> None:
    profile = find_profile(name).profile
    declared = {
        field.name
        for field in dataclasses.fields(profile)
        if getattr(profile, field.name) not in (None, (), {})
    }
    needed = declared - {"name", "description", "sources"}
    assert set(profile.sources) == (needed if name != "host" else set())


@pytest.mark.parametrize("name", SHIPPED[1:])
def test_the_devices_to_reach_say_what_matters(name: str) -> None:
    profile = find_profile(name).profile
    assert profile.soc
    assert profile.isa
    assert profile.cores is not None
    assert profile.threads is not None
    assert 1 <= profile.threads <= profile.cores
    assert profile.max_mhz is not None
    assert 1000 <= profile.max_mhz <= 6000


def test_the_meters_of_the_shipped_devices_are_in_the_registry() -> None:
    meters = {profile.meter for profile in load_profiles()} - {None}
    assert meters >= {"hwmon", "pmic", "power_supply", "rapl"}
    assert meters <= set(tables.METERS)


def test_the_config_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert user_folder() == tmp_path / "config" / "edgekit" / "profiles"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    expected = tmp_path / "home" / ".config" / "edgekit" / "profiles"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative/is/passed/over")
    assert user_folder() == expected
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert user_folder() == expected


def test_a_device_of_the_user_stands_before_the_shipped_one(write: Callable[..., Path]) -> None:
    path = write("pixel-8")
    placed = find_profile("Pixel_8")
    assert (placed.profile.description, placed.origin, placed.path) == ("mine", "user", path)
    assert placed.shadows == (profiles_folder() / "pixel-8" / "device.toml",)
    assert [p.name for p in load_profiles()] == list(SHIPPED)


def test_a_device_of_the_working_folder_stands_before_all(write: Callable[..., Path]) -> None:
    user = write("pixel-8")
    write("pixel-8", MINIMAL.replace("mine", "here"), Path("profiles"))
    placed = find_profile("pixel-8")
    assert (placed.profile.description, placed.origin) == ("here", "folder")
    assert placed.shadows == (user, profiles_folder() / "pixel-8" / "device.toml")


def test_the_checkout_as_working_folder_shadows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(profiles_folder().parent)
    placed = find_profile("host")
    assert (placed.origin, placed.shadows) == ("shipped", ())


def test_an_unknown_device_suggests_the_nearest(write: Callable[..., Path]) -> None:
    write("desk-board")
    with pytest.raises(UnknownNameError) as caught:
        find_profile("desk-bord")
    assert caught.value.suggestions[0] == "desk-board"


WRONG = {
    "colour = 3\n": "unknown key 'colour'",
    'cores = "four"\n': "DeviceProfile.cores: expected int, found 'four'",
    "cores = 0\n": "cores: expected a positive number, found 0",
    "max_mhz = inf\n": "max_mhz: expected a positive number, found inf",
    "max_mhz = nan\n": "max_mhz: expected a positive number, found nan",
    "threads = -1\n": "threads: expected a positive number, found -1",
    'meter = "rapll"\n': "meter: expected one of ",
    "isa = [1]\n": "DeviceProfile.isa[0]: expected str, found 1",
    '[sources]\nspeed = "x"\n': "sources.speed: expected the name of another field",
    "cores = \n": "Invalid value",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=WRONG.values())
def test_what_is_wrong_in_a_file_is_named_with_it(
    text: str, message: str, write: Callable[..., Path]
) -> None:
    path = write("mine", MINIMAL + text)
    with pytest.raises(InputError) as caught:
        find_profile("mine")
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("url", ["", "telnet://x", "ssh://", "ssh:host", "local:x", "local"])
def test_a_transport_is_an_address_of_the_table(url: str, write: Callable[..., Path]) -> None:
    path = write("mine", MINIMAL.replace("local:", url))
    told = r"transport: '.*' is no address of a device: expected"
    with pytest.raises(InputError, match=told) as error:
        find_profile("mine")
    assert str(path) in str(error.value)


def test_a_profile_has_the_name_of_its_folder(write: Callable[..., Path]) -> None:
    path = write("mine")
    path.parent.rename(path.parent.with_name("other"))
    with pytest.raises(InputError, match="name: expected 'other', as its folder, found 'mine'"):
        find_profile("other")


def test_a_file_that_is_no_text_is_named(write: Callable[..., Path]) -> None:
    path = write("mine")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"device\.toml"):
        find_profile("mine")


def test_a_broken_file_does_not_hide_other_devices(write: Callable[..., Path]) -> None:
    write("broken", "?")
    assert find_profile("pixel-8").profile.cores == 9
    with pytest.raises(InputError, match="broken"):
        load_profiles()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    description=TEXT,
    isa=st.lists(TEXT, max_size=3).map(tuple),
    cores=st.none() | st.integers(1, 10_000),
    max_mhz=st.none() | st.floats(1, 1e6),
    source=TEXT,
)
def test_what_is_saved_is_read_again(
    description: str,
    isa: tuple[str, ...],
    cores: int | None,
    max_mhz: float | None,
    source: str,
) -> None:
    profile = DeviceProfile(
        "mine",
        description,
        "ssh://me@board:2222",
        isa=isa,
        cores=cores,
        max_mhz=max_mhz,
        sources={"cores": source},
    )
    path = save_profile(profile, overwrite=True)
    assert find_profile("mine").profile == profile
    assert [file.name for file in path.parent.iterdir()] == ["device.toml"]


def test_saving_replaces_nothing_unasked(config: Path) -> None:
    first = DeviceProfile("mine", "first", "local:")
    assert save_profile(first) == config / "mine" / "device.toml"
    with pytest.raises(OutputError, match="you have a device 'mine' already"):
        save_profile(dataclasses.replace(first, description="second"))
    with pytest.raises(OutputError, match="you have a device 'mine' already"):
        save_profile(dataclasses.replace(first, name="mi-ne"), overwrite=True)
    assert find_profile("mine").profile == first


@pytest.mark.parametrize("name", ["", "../up", "a/b", "Upper", ".hidden", "x" * 65, "a b"])
def test_a_name_that_is_no_folder_name_is_refused(name: str, config: Path) -> None:
    with pytest.raises(UsageError, match="name: expected small letters"):
        save_profile(DeviceProfile(name, "x", "local:"))
    assert not config.exists()


def test_a_config_folder_that_is_a_file_is_named(config: Path) -> None:
    config.parent.parent.mkdir()
    config.parent.write_text("precious")
    with pytest.raises(OutputError, match=r"cannot write .*device\.toml: Not a directory"):
        save_profile(DeviceProfile("mine", "x", "local:"))
    assert config.parent.read_text() == "precious"


def test_removing_brings_back_what_was_shadowed(write: Callable[..., Path]) -> None:
    path = write("pixel-8")
    assert remove_profile("pixel-8") == path
    assert not path.parent.exists()
    assert find_profile("pixel-8").origin == "shipped"


def test_removing_keeps_tables_that_lie_beside(write: Callable[..., Path]) -> None:
    path = write("mine")
    (path.parent / "costs.csv").write_text("precious")
    remove_profile("mine")
    assert [file.name for file in path.parent.iterdir()] == ["costs.csv"]
    assert "mine" not in profile_files()


def test_only_devices_of_the_user_are_removed(write: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="'host' comes with edgekit"):
        remove_profile("host")
    with pytest.raises(UnknownNameError):
        remove_profile("nothing-like-it")
    path = write("mine", folder=Path("profiles"))
    with pytest.raises(UsageError, match="a folder of yours"):
        remove_profile("mine")
    assert path.exists()


def test_a_damaged_profile_stops_no_address(write: Callable[..., Path]) -> None:
    damaged = write("a-damaged-one", "?")
    write("pi", MINIMAL.replace("local:", "ssh://pi@desk"))
    with pytest.warns(PassedOverWarning, match=str(damaged)):
        assert find_device("ssh://pi@desk").name == "pi"
    with pytest.warns(PassedOverWarning, match=str(damaged)):
        assert find_device("ssh://other").profile is None


@pytest.mark.parametrize(
    ("declared", "asked", "same"),
    [
        ("ssh://pi@desk", "ssh://pi@desk/", True),
        ("ssh://pi@desk:22/", "ssh://pi@DESK", True),
        ("ssh://desk:2222", "ssh://desk:2222/", True),
        ("ssh://desk:2222", "ssh://desk", False),
        ("ssh://pi@desk", "ssh://Pi@desk", False),
        ("ssh://pi@desk", "ssh://desk", False),
        ("adb:123", "adb:123", True),
        ("adb:123", "adb:124", False),
    ],
)
def test_all_ways_to_write_an_address_are_one_device(
    write: Callable[..., Path], declared: str, asked: str, same: bool
) -> None:
    write("mine", MINIMAL.replace("local:", declared))
    assert (find_device(asked).profile is not None) is same
