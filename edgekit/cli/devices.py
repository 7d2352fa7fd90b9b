"""``edgekit devices``: what is known of each device. Imports neither torch nor a runtime."""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import console, figures
from edgekit.core import printable
from edgekit.errors import EdgekitError, UnavailableError, UnknownNameError, UsageError
from edgekit.tables import SIMULATORS

if TYPE_CHECKING:
    from edgekit.core import DeviceProfile
    from edgekit.devices.profiles import PlacedProfile

ORIGINS = {"shipped": "edgekit", "user": "you", "folder": "./profiles"}

LABELS = {
    "transport": "reached by",
    "soc": "processor",
    "isa": "instructions",
    "cores": "cores",
    "max_mhz": "max MHz",
    "ram_mib": "memory",
    "meter": "energy meter",
    "runtimes": "runtimes",
    "threads": "suggested threads",
    "python": "Python",
    "runner": "native runner",
    "libraries": "its libraries",
    "benchmark_model": "benchmark_model",
}
"""How the fields of a profile are called, for people."""


@click.command("devices")
@click.argument("action", metavar="[ACTION]", default="list")
@click.argument("name", metavar="[NAME]", required=False)
@click.argument("address", metavar="[ADDRESS]", required=False)
@click.option("--transport", metavar="URL", help="add: the address, as an option.")
@click.option("--like", metavar="NAME", help="add: take the facts of this device.")
@click.option("--description", metavar="TEXT", help="add: what it is.")
@click.option("--meter", metavar="METER", help="add: its energy meter; see list meters.")
@click.option("--threads", type=click.IntRange(1, 1024), metavar="N", help="add: suggested.")
@click.option("--python", metavar="PATH", help="add: interpreter there, if not python3.")
@click.option("--runner", metavar="PATH", help="add: native runner, instead of a Python there.")
@click.option("--library", multiple=True, metavar="PATH", help="add: of the runner's runtimes.")
@click.option(
    "--benchmark-model", metavar="PATH", help="add: that program of TensorFlow Lite, instead."
)
@click.option("--overwrite", is_flag=True, help="add: replace a device of yours.")
@console.common_options
def command(action: str, name: str | None, address: str | None, **options: Any) -> None:
    """Show, add, remove and check device profiles.

    \b
    edgekit devices                   all of them
    edgekit devices show NAME         what is known of it, and from where
    edgekit devices check NAME        whether that is true, and usable
    edgekit devices add desk ssh://pi@desk.local --like raspberry-pi-5
    edgekit devices add phone adb:SERIAL --runner R --library L
    edgekit devices remove NAME       only what was added

    Devices of yours are files in ~/.config/edgekit/profiles, or in a folder
    'profiles' where you are; they stand before those of edgekit. For
    microcontrollers something on this machine stands: an interpreter, which
    runs files, or an estimate.
    """
    if action not in ACTIONS:
        raise UnknownNameError(
            "action", action, ACTIONS, f"expected one of {', '.join(ACTIONS)}, then a name"
        )
    if address is not None:
        if action != "add" or options["transport"] is not None:
            raise UsageError(f"unexpected '{address}': edgekit devices {action} NAME")
        options["transport"] = address
    given = [f"--{key}" for key, value in options.items() if value not in (None, False, ())]
    if given and action != "add":
        raise UsageError(f"{given[0]} belongs to 'edgekit devices add', not to '{action}'")
    if name is not None and SIMULATORS.key(name) is not None and action != "add":
        _simulator(action, name)
        return
    if action == "list":
        if name is not None:
            raise UsageError(f"unexpected '{name}': 'edgekit devices show {name}' shows one device")
        _list()
        return
    if name is None:
        raise UsageError(f"missing name: edgekit devices {action} NAME")
    ACTIONS[action](name, options)


def _list() -> None:
    """All devices; one that cannot be read does not hide the others, but fails."""
    from edgekit.devices.profiles import profile_files, read_placed

    placed, broken = [], []
    for files in profile_files().values():
        try:
            placed.append(read_placed(files))
        except EdgekitError as error:
            broken.append(error)
    console.table(
        ["device", "what it is", "reached by", "from"],
        [
            (p.profile.name, p.profile.description, p.profile.transport, ORIGINS[p.origin])
            for p in placed
        ],
    )
    from edgekit.devices.simulators import about

    simulators = [about(name) for name in SIMULATORS]
    console.table(
        ["microcontroller", "what stands for it here"],
        [(str(one["name"]), str(one["description"])) for one in simulators],
    )
    if console.wants_json():
        document: dict[str, Any] = {
            "devices": [_document(p) for p in placed],
            "simulators": simulators,
        }
        if broken:
            document["errors"] = [console.error_entry(error) for error in broken]
        console.emit_json("edgekit.devices/1", document)
    for other in broken[:-1]:
        console.warn(str(other))
    if broken:
        raise broken[-1]


def _show(name: str, _: Mapping[str, Any]) -> None:
    from edgekit.devices.host import detected
    from edgekit.devices.profiles import find_profile

    placed = find_profile(name)
    profile = detected(placed.profile)
    console.say(f"{profile.name}: {profile.description}")
    console.say(f"from {placed.path}")
    for path in placed.shadows:
        console.say(f"stands before {path}, which is not used")
    values = {key: _text(key, getattr(profile, key)) for key in LABELS}
    rows = [
        (LABELS[key], value, "read off" if _absent(placed.profile, key) else "declared")
        for key, value in values.items()
        if value
    ]
    console.table(["", "value", ""], rows)
    for key, text in profile.sources.items():
        # A web address stays in one piece, so that it can be copied.
        line = textwrap.TextWrapper(
            console.PLAIN_WIDTH,
            initial_indent=f"{LABELS[key]}: ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for part in line.wrap(printable(text)):
            console.say(part)
    if console.wants_json():
        console.emit_json("edgekit.devices/1", {"devices": [_document(placed, profile)]})


def _simulator(action: str, name: str) -> None:
    """Shows or checks a microcontroller, which has no profile."""
    from edgekit.devices.simulators import about, ready

    if action not in ("show", "check"):
        raise UsageError(
            f"device '{name}' comes with edgekit: 'edgekit devices show {name}' shows it"
        )
    known = about(name)
    console.say(f"{known['name']}: {known['description']}")
    packages = known["packages"]
    assert isinstance(packages, dict)
    rows = [
        ("files", f"{known['files']}, of integers at both ends (--io int8)"),
        ("runs files", "yes: verify, evaluate, predict" if known["runs"] else "no"),
        ("tells", "memory" if known["runs"] else "memory and cycles, as an estimate"),
        *((package, version or "not installed") for package, version in packages.items()),
    ]
    console.table(["", "value"], rows)
    if console.wants_json():
        console.emit_json("edgekit.devices/1", {"simulators": [known]})
    if action == "check":
        ready(name)


def _absent(declared: DeviceProfile, key: str) -> bool:
    return getattr(declared, key) in (None, ())


def _text(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if key == "max_mhz" else f"{value} MiB" if key == "ram_mib" else str(value)


def _document(placed: PlacedProfile, profile: DeviceProfile | None = None) -> dict[str, Any]:
    from edgekit.core import to_json

    document: dict[str, Any] = to_json(profile or placed.profile)
    origin = {"origin": placed.origin, "path": str(placed.path)}
    return {**document, **origin, "shadows": to_json(placed.shadows)}


def _add(name: str, options: Mapping[str, Any]) -> None:
    from edgekit.core import DeviceProfile
    from edgekit.devices.profiles import find_profile, native_of, save_profile

    if options["transport"] is None and ":" in name:  # an address, which names the device, too
        options = {**options, "transport": name, "description": options["description"] or name}
        name = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")
    if options["transport"] is None:
        raise UsageError("missing --transport: expected local:, ssh://host or adb:serial")
    profile = DeviceProfile(name, name, options["transport"])
    if options["like"] is not None:
        like = find_profile(options["like"]).profile
        sources = {key: text for key, text in like.sources.items() if key != "transport"}
        profile = dataclasses.replace(
            like, name=name, transport=options["transport"], sources=sources
        )
    changes = {
        key: options[key]
        for key in ("description", "meter", "threads", "python")
        if options[key] is not None
    }
    for key in ("runner", "benchmark_model"):
        if options[key] is not None:
            changes[key] = str(Path(options[key]).expanduser().absolute())
    if options["library"]:
        paths = [Path(path).expanduser().absolute() for path in options["library"]]
        changes["libraries"] = tuple(map(str, paths))
    sources = {key: text for key, text in profile.sources.items() if key not in changes}
    profile = dataclasses.replace(profile, **changes, sources=sources)
    native = native_of(profile)
    if native is not None:  # else the first command that uses it would fail
        native.programs()
    path = save_profile(profile, options["overwrite"])
    placed = find_profile(name)
    console.say(f"added {profile.name}: {path}")
    console.say(f"next: edgekit devices check {profile.name}")
    if placed.path != path:
        console.warn(f"{placed.path} has the same name and stands before it")
    for shadowed in placed.shadows if placed.path == path else ():
        console.say(f"it stands before {shadowed}, which is not used now")
    if console.wants_json():
        console.emit_json("edgekit.devices/1", {"devices": [_document(placed)]})


def _remove(name: str, _: Mapping[str, Any]) -> None:
    from edgekit.devices.profiles import find_profile, profile_files, remove_profile
    from edgekit.plugins import normalize

    path = remove_profile(name)
    console.say(f"removed {path}")
    left = find_profile(name).path if normalize(name) in profile_files() else None
    if left is not None:
        console.say(f"'{name}' is now {left}")
    if console.wants_json():
        document = {"removed": str(path), "now": None if left is None else str(left)}
        console.emit_json("edgekit.devices/1", document)


def _check(name: str, _: Mapping[str, Any]) -> None:
    from edgekit.core import to_json
    from edgekit.devices.check import check_device, with_seen
    from edgekit.devices.device import find_device
    from edgekit.devices.profiles import find_profile, save_profile

    device = find_device(name)
    with console.status(f"connecting to {name}") as notify:
        checked = check_device(device, notify=notify)
    marks = {True: "ok", False: "!!", None: "--"}
    console.table(
        ["", "what", "declared", "found"],
        [
            (marks[f.agrees], f.what, f.declared or "-", f.found or "unknown")
            for f in checked.findings
        ],
    )
    listed = ", ".join(f"{key} {value}" for key, value in checked.versions.items())
    figures.say_wrapped(f"{checked.program}; {listed or 'no runtime'}")
    if checked.spread is not None:
        figures.say_wrapped(
            f"the reference network's time varies by {checked.spread:.1%} (80 % of its blocks)"
        )
    if checked.to_install is not None:
        console.say(f"to install the runtimes that are missing: {checked.to_install}")
    if checked.advice:
        console.say("what would steady its numbers:")
    for text in checked.advice:
        figures.say_wrapped(text, "  - ", "    ")
    wrong = [f.what for f in checked.findings if f.agrees is False]
    kept = None
    if device.profile is not None and not device.here and not wrong:
        known = with_seen(device.profile, checked.seen)
        if known != device.profile and find_profile(device.name).origin == "user":
            kept = save_profile(known, overwrite=True)
            console.say(f"what was seen is kept in {kept}")
        elif known != device.profile:
            figures.say_wrapped(
                f"what was seen is kept in profiles of your own only: 'edgekit devices add NAME "
                f"--like {known.name} --transport {known.transport}' makes one"
            )
    if console.wants_json():
        document = {
            "device": device.name,
            "checks": to_json(checked.findings),
            "python": checked.python,
            "versions": dict(checked.versions),
            "to_install": checked.to_install,
            "conditions": to_json(checked.conditions),
            "spread": checked.spread,
            "advice": list(checked.advice),
            "seen": to_json(checked.seen),
            "kept": None if kept is None else str(kept),
        }
        console.emit_json("edgekit.devices/1", document)
    if wrong:
        raise UnavailableError(
            f"device '{device.name}' is not as declared: {', '.join(wrong)}; see the lines above"
        )


ACTIONS: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
    "list": lambda _, __: _list(),
    "show": _show,
    "add": _add,
    "remove": _remove,
    "check": _check,
}
