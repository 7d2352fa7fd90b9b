"""``edgekit list``: what there is. Imports neither torch nor a runtime."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable
from importlib import resources
from typing import Any

import click

from edgekit import tables
from edgekit.cli import console, figures
from edgekit.errors import UnknownNameError
from edgekit.plugins import Entry, Table, points

Rows = list[dict[str, Any]]


def zoo() -> dict[str, dict[str, str]]:
    """What is known of networks without building them, by name; the columns of ``zoo.csv``."""
    # Not by edgekit.models, which imports torch.
    text = resources.files("edgekit").joinpath("models", "zoo.csv").read_text(encoding="utf-8")
    return {row["model"]: row for row in csv.DictReader(text.splitlines()[1:])}


def _models() -> Rows:
    known = zoo()
    return [
        {
            "name": name,
            "family": family,
            "source": entry.about,
            **_figures(known.get(name)),
            **_package(entry),
        }
        for family, entry in tables.FAMILIES.lines()
        for name in entry.variants
    ]


def _figures(row: dict[str, str] | None) -> dict[str, Any]:
    """Size and published accuracy of a network; empty for those of other packages."""
    if row is None:
        return {}
    return {
        "params": int(row["params"]),
        "macs": int(row["macs"]),
        "resolution": int(row["resolution"]),
        "top1": float(row["top1"]) / 100 if row["top1"] else None,
        "top1_source": row["source"] or None,
        "weights": row["weights"] or None,
    }


def _show_models(rows: Rows) -> None:
    def cells(row: dict[str, Any]) -> tuple[str, ...]:
        if "params" not in row:
            return (row["name"], "", "", "", "", row.get("package", ""))
        return (
            row["name"],
            f"{row['params'] / 1e6:.2f}",
            f"{row['macs'] / 1e6:,.0f}",
            str(row["resolution"]),
            "" if row["top1"] is None else f"{100 * row['top1']:.1f}",
            "yes" if row["weights"] else row.get("package", ""),
        )

    right = "right"
    console.table(
        [
            "network", ("M params", right), ("M MACs", right), ("px", right), ("top-1 %", right),
            "weights",
        ],
        map(cells, rows),
    )  # fmt: skip
    console.say("px: published resolution, which MACs are of. top-1: on ImageNet, as published;")
    console.say("--json has the sources. weights: --pretrained fetches them.")


def _devices() -> Rows:
    from edgekit.devices.profiles import load_profiles

    profiles = [{"name": p.name, "about": p.description} for p in load_profiles()]
    return [*profiles, *_entries(tables.SIMULATORS)()]


def _recipes() -> Rows:
    # Not by edgekit.training, which imports torch.
    folder = resources.files("edgekit").joinpath("training", "recipes")
    rows = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            recipe = tomllib.loads(file.read_text(encoding="utf-8"))
            data = f"on {recipe['data']}" if "data" in recipe else "on images given with --data"
            name = file.name.removesuffix(".toml")
            rows.append({"name": name, "about": f"{recipe['model']} {data}"})
    return rows


def _package(entry: Entry) -> dict[str, str]:
    """The package that a line comes from, where that is not edgekit."""
    return {"package": entry.package} if entry.package else {}


def _entries(table: Table[Any]) -> Callable[[], Rows]:
    return lambda: [
        {"name": name, "about": entry.about, **_package(entry)} for name, entry in table.lines()
    ]


def _heads() -> Rows:
    return [
        {
            "name": name,
            **({"task": entry.task} if entry.task else {}),
            "about": entry.about,
            **_package(entry),
        }
        for name, entry in tables.HEADS.lines()
    ]


def _apps() -> Rows:
    return [
        {"name": name, "about": entry.about, "tasks": list(entry.tasks), **_package(entry)}
        for name, entry in tables.APPS.lines()
    ]


def _plugins() -> Rows:
    groups = {table.group for table in tables.TABLES}
    return [
        {
            "name": point.name,
            "group": point.group,
            "where": point.where,
            "package": point.package,
            **({} if point.group in groups else {"ignored": "no table has that group"}),
        }
        for point in points()
    ]


TOPICS: dict[str, Callable[[], Rows]] = {
    "models": _models,
    "targets": _entries(tables.TARGETS),
    "precisions": lambda: [{"name": k, "about": v} for k, v in tables.PRECISIONS.items()],
    "recipes": _recipes,
    "data": _entries(tables.SOURCES),
    "formats": _entries(tables.FORMATS),
    "devices": _devices,
    "meters": _entries(tables.METERS),
    "transports": _entries(tables.TRANSPORTS),
    "tasks": _entries(tables.TASKS),
    "heads": _heads,
    "apps": _apps,
    "plugins": _plugins,
}


def _told(value: str | list[str]) -> str:
    return value if isinstance(value, str) else f"({', '.join(value)})"


@click.command("list")
@click.argument("topic", required=False)
@console.common_options
def command(topic: str | None) -> None:
    """List what there is.

    TOPIC is models, tasks (what outputs are for), heads (that tasks put on a
    model, as in mobilenetv3-small+ssdlite), targets, precisions, recipes (of
    trainings), data, formats (of folders with images), devices, meters,
    transports (ways to devices), apps or plugins (what other packages add);
    without it, all of them. '@0.75' behind a model's name is its width
    multiplier.
    """
    if topic is not None and topic not in TOPICS:
        raise UnknownNameError("topic", topic, TOPICS, f"expected one of {', '.join(TOPICS)}")
    found = {name: TOPICS[name]() for name in ([topic] if topic else TOPICS)}
    for name, rows in found.items():
        console.say(f"{name.capitalize()}:" if rows else f"{name.capitalize()}: none")
        if name == "models" and rows:
            _show_models(rows)
            continue
        width = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            rest = "  ".join(_told(value) for key, value in row.items() if key != "name")
            figures.say_wrapped(f"{row['name']:{width}}  {rest}", "  ", " " * (width + 4))
    if console.wants_json():
        console.emit_json("edgekit.list/1", found)
