"""``edgekit devices``, through the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command_line import CommandLine

SHIPPED = [
    "host", "jetson-orin-nano", "pixel-8", "raspberry-pi-4", "raspberry-pi-5", "x86-laptop",
]  # fmt: skip


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("edgekit.devices.check.NOISE_S", 0.1)
    return tmp_path / "config" / "edgekit" / "profiles"


def widths(text: str) -> list[int]:
    """Lengths of the lines, without web addresses, which stay in one piece."""
    return [len(line) for line in re.sub(r"\S*https?://\S+", "", text).splitlines()]


@pytest.mark.parametrize("arguments", [[], ["list"]], ids=["", "list"])
def test_devices_are_listed(arguments: list[str], run: CommandLine) -> None:
    shown, document = run("devices", *arguments), run("devices", *arguments, "--json")
    assert (shown.code, shown.err) == (0, "")
    assert [device["name"] for device in document.json["devices"]] == SHIPPED
    assert document.json["schema"] == "edgekit.devices/1"
    assert all(name in shown.out for name in SHIPPED)
    assert max(widths(shown.out)) <= 80


@pytest.mark.parametrize("name", SHIPPED)
def test_a_device_is_shown_with_its_sources(name: str, run: CommandLine) -> None:
    shown = run("devices", "show", name)
    (device,) = run("devices", "show", name, "--json").json["devices"]
    assert (shown.code, shown.err) == (0, "")
    assert max(widths(shown.out)) <= 80
    assert device["origin"] == "shipped"
    assert device["cores"] is not None
    words = " ".join(shown.out.split())
    for source in device["sources"].values():
        assert " ".join(source.split()) in words


def test_the_host_is_read_off(run: CommandLine) -> None:
    shown = run("devices", "show", "host").out
    assert "read off" in shown
    assert "declared" in shown  # the transport
    assert "onnxruntime" in shown


def test_a_device_is_added_shown_checked_and_removed(run: CommandLine, config: Path) -> None:
    options = ("--like", "raspberry-pi-5", "--transport", "ssh://pi@desk", "--threads", "2")
    added = run("devices", "add", "desk", *options, "--description", "on my desk")
    path = config / "desk" / "device.toml"
    assert (added.code, added.out.splitlines()[0]) == (0, f"added desk: {path}")
    (device,) = run("devices", "show", "desk", "--json").json["devices"]
    assert (device["transport"], device["threads"], device["meter"]) == ("ssh://pi@desk", 2, "pmic")
    assert device["description"] == "on my desk"
    assert device["origin"] == "user"
    assert "cores" in device["sources"]
    assert not {"threads", "transport"} & set(device["sources"])

    checked = run("devices", "check", "desk")
    assert checked.code == 5
    assert "there is no host of the name in ssh://pi@desk" in checked.message

    again = run("devices", "add", "desk", *options)
    assert again.code == 3
    assert "you have a device 'desk' already" in again.message
    assert run("devices", "add", "desk", *options, "--overwrite").code == 0

    removed = run("devices", "remove", "desk")
    assert (removed.code, removed.out.strip()) == (0, f"removed {path}")
    assert run("devices", "show", "desk").code == 2


def test_a_device_that_shadows_a_shipped_one_says_so(run: CommandLine) -> None:
    added = run("devices", "add", "pixel-8", "--transport", "adb:1234")
    assert added.code == 0
    assert "stands before" in added.out
    assert "which is not used" in run("devices", "show", "pixel-8").out
    removed = run("devices", "remove", "pixel-8", "--json").json
    assert removed["now"].endswith("profiles/pixel-8/device.toml")


def test_this_machine_is_checked(run: CommandLine) -> None:
    checked = run("devices", "check", "host")
    assert (checked.code, checked.err) == (0, "")
    document = run("devices", "check", "host", "--json").json
    assert {check["what"] for check in document["checks"]} >= {"cores", "memory", "meter"}

    assert run("devices", "add", "mine", "--transport", "local:", "--meter", "pmic").code == 0
    wrong = run("devices", "check", "mine")
    assert wrong.code == 5
    assert "not as declared: meter" in wrong.message
    assert max(widths(wrong.out)) <= 80


def test_a_broken_file_is_named_and_the_others_listed(run: CommandLine, config: Path) -> None:
    for name, text in (("one", "cores = 0"), ("two", "colour = 1")):
        (config / name).mkdir(parents=True)
        text = f'name = "{name}"\ndescription = "x"\ntransport = "local:"\n{text}\n'
        (config / name / "device.toml").write_text(text)
    shown = run("devices")
    assert shown.code == 3
    assert all(name in shown.out for name in SHIPPED)
    assert f"{config / 'one' / 'device.toml'}: cores: expected" in shown.err
    assert f"{config / 'two' / 'device.toml'}: DeviceProfile: unknown key" in shown.message
    document = run("devices", "--json").json
    assert [device["name"] for device in document["devices"]] == SHIPPED
    assert [error["exit_code"] for error in document["errors"]] == [3, 3]
    assert run("devices", "show", "one").code == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["shwo", "host"], ["unknown action 'shwo'", "did you mean show"]),
        (["show"], ["missing name", "edgekit devices show NAME"]),
        (["list", "host"], ["edgekit devices show host"]),
        (["show", "raspberry"], ["unknown device 'raspberry'", "raspberry-pi-"]),
        (["add", "x"], ["--transport", "ssh://host"]),
        (["add", "x", "--transport", "telnet://y"], ["expected one with adb:, local:, ssh:"]),
        (["add", "../x", "--transport", "local:"], ["name: expected small letters"]),
        (["add", "x", "--transport", "local:", "--meter", "rap"], ["meter: expected one of"]),
        (["add", "x", "--transport", "local:", "--like", "y"], ["unknown device 'y'"]),
        (["add", "x", "--transport", "local:", "--threads", "0"], ["--threads"]),
        (["show", "host", "--threads", "2"], ["--threads belongs to 'edgekit devices add'"]),
        (["remove", "host"], ["'host' comes with edgekit"]),
        (["remove", "nothing"], ["unknown device 'nothing'"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_wrong_call_is_explained(
    arguments: list[str], named: list[str], run: CommandLine, config: Path
) -> None:
    result = run("devices", *arguments)
    assert (result.code, result.out) == (2, "")
    for text in named:
        assert text in result.message
    assert not config.exists()


def test_an_address_stands_behind_the_name(run: CommandLine) -> None:
    assert run("devices", "add", "desk", "ssh://pi@desk.local").code == 0
    shown = run("devices", "show", "desk", "--json").json
    assert "ssh://pi@desk.local" in str(shown)
    twice = run("devices", "add", "b", "ssh://pi@desk.local", "--transport", "local:")
    assert (twice.code, twice.message) == (
        2, "unexpected 'ssh://pi@desk.local': edgekit devices add NAME"
    )  # fmt: skip
    other = run("devices", "check", "desk", "ssh://pi@desk.local")
    assert (other.code, other.message) == (
        2, "unexpected 'ssh://pi@desk.local': edgekit devices check NAME"
    )  # fmt: skip
