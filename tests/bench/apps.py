"""Apps beside edgekit: the same labels, times in turns, bytes.

``python tests/bench/apps.py same FILE... [--data DIR] [--images DIR]``: what apps for every
platform say of images, beside `edgekit predict` and, for a folder with a folder for each class,
`edgekit evaluate`. ``times FILE...``: how long apps take from their start to a first result, and
for an inference, beside `edgekit profile`; what they ship; and the runtimes for browsers against
each other. One thread everywhere. What apps need beyond Python comes from ``make apps-test``; each
turn of a file takes half a minute.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from operator import truediv
from pathlib import Path
from typing import Any

import edgekit
from edgekit.apps.template import bytes_of, installed, mb
from edgekit.errors import UsageError

ROOT = Path(__file__).parents[2]
LOOK = ROOT / "tests" / "apps" / "look.mjs"
PACKAGES = ROOT / ".apps" / "node_modules"
IMAGE = "golden/wide.png"
TURNS, INFERENCES, FIRST = 5, 40, 5
"""Inferences that count in each turn, behind some first ones that do not."""

# CMake looks for the runtimes in the Python that it finds.
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
ONE_THREAD = {"PATH": _PATH, "OMP_NUM_THREADS": "1"}
PYTHON_RUNTIMES = {"tflite": "ai-edge-litert", "onnx": "onnxruntime", "openvino": "openvino"}


def done(words: Sequence[object], folder: Path) -> str:
    """What a program prints."""
    return subprocess.run(
        list(map(str, words)), cwd=folder, env=ONE_THREAD, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip


@dataclass
class Cost:
    """What was measured of an app, a number for each turn."""

    cold_ms: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)


class Program:
    """An app that is a command: in Python, or in C++."""

    def __init__(self, file: Path, name: str, folder: Path) -> None:
        self.target = edgekit.app(file, name, folder).target.name
        self.file, self.name, self.folder, self.cost = file, name, folder, Cost()
        if name == "cpp":
            done(["cmake", "-S", ".", "-B", "build"], folder)
            done(["cmake", "--build", "build"], folder)
        self.command = [sys.executable, "-m", "classifier"]
        if name == "cpp":
            self.command = [str(folder / "build" / "classify")]

    def turn(self) -> None:
        """Starts it twice: for its first result, and for inferences."""
        begin = time.perf_counter()
        words = [*self.command, "--json", IMAGE]
        with subprocess.Popen(
            words, cwd=self.folder, env=ONE_THREAD, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            self.cost.cold_ms.append(1000 * (time.perf_counter() - begin))
        told = done([*self.command, "--json", *[IMAGE] * (FIRST + INFERENCES)], self.folder)
        times = [json.loads(line)["ms"] for line in told.splitlines()]
        self.cost.p50_ms.append(statistics.median(times[FIRST:]))

    def labels(self, images: Sequence[Path]) -> list[Any]:
        told = done([*self.command, "--json", *images], self.folder)
        return [json.loads(line)["labels"] for line in told.splitlines()]

    def shipped(self) -> dict[str, str]:
        """Bytes of code, model and runtime."""
        model = self.folder / "classifier" / "model"
        if self.name == "cpp":
            code = self.folder / "build" / "classify"
            ships = (self.folder / "README.md").read_text().partition("its libraries | ")[2]
            return {
                "code": mb(bytes_of([code])),
                "model": mb(bytes_of([model])),
                "runtime": ships.partition(" |")[0],
            }
        packages = ("numpy", "pillow", PYTHON_RUNTIMES[self.target])
        code = bytes_of(list((self.folder / "classifier").glob("*.py")))
        return {
            "code": mb(code),
            "model": mb(bytes_of([model])),
            "runtime": mb(sum(installed(package)[1] for package in packages)),
        }


class Page:
    """An app for browsers, in a headless one."""

    name = "web"

    def __init__(self, file: Path, folder: Path) -> None:
        edgekit.app(file, "web", folder)
        self.file, self.folder, self.cost = file, folder, Cost()
        self.loaded: list[str] = []
        self.speed_ms: list[float] = []
        (folder / "node_modules").symlink_to(PACKAGES)
        done(["node", "vendor.mjs"], folder)

    def _look(self, what: str, *words: object) -> Any:
        return json.loads(done(["node", LOOK, self.folder, what, *words], self.folder))

    def turn(self) -> None:
        """Opens the page twice: for its own times, and for those of many inferences at once."""
        seen = self._look("cost", FIRST + INFERENCES)
        self.cost.cold_ms.append(seen["cold"])
        self.cost.p50_ms.append(statistics.median(seen["network"][FIRST:]))
        self.loaded = seen["loaded"]
        self.speed_ms.append(self._look("speed"))

    def labels(self, images: Sequence[Path]) -> list[Any]:
        found: list[Any] = self._look("scores", *images)
        return found

    def shipped(self) -> dict[str, str]:
        """Bytes of what the browser loaded, and gzipped."""
        parts = {"classifier/vendor/": "runtime", "classifier/model/": "model", "": "code"}
        sizes = dict.fromkeys(("code", "model", "runtime"), (0, 0))
        for path in self.loaded:
            part = next(what for begin, what in parts.items() if path.startswith(begin))
            content = (self.folder / path).read_bytes()
            plain, packed = sizes[part]
            sizes[part] = plain + len(content), packed + len(gzip.compress(content))
        return {part: f"{mb(plain)}, {mb(packed)}" for part, (plain, packed) in sizes.items()}


App = Program | Page


def apps(file: Path, folder: Path) -> Iterator[App]:
    """The apps that there are for a file."""
    yield Program(file, "python", folder / "python")
    yield Program(file, "cpp", folder / "cpp")
    try:
        yield Page(file, folder / "web")
    except UsageError:
        return  # browsers do not run it


def same(files: Sequence[Path], folder: Path, data: Path | None, images: Path | None) -> None:
    """The table of labels."""
    kinds = (".jpg", ".jpeg", ".png")
    known = sorted(p for p in data.rglob("*") if p.suffix.lower() in kinds) if data else []
    more = sorted(p for p in images.rglob("*") if p.suffix.lower() in kinds) if images else []
    every = [path.absolute() for path in (*known, *more)]
    print(f"\n{len(known)} labelled images and {len(more)} others\n")
    print(
        "| file | app | the same top-1 as `edgekit predict` | probabilities off by, at most "
        "| top-1 | `edgekit evaluate` |"
    )
    print("|---|---|---|---|---|---|")
    for number, file in enumerate(files):
        expected = [list(each.labels) for each in edgekit.predict(file, [*map(str, every)])]
        evaluated = edgekit.evaluate(file, data).headline.value if data else None
        for app in apps(file, folder / str(number)):
            found = app.labels(every)
            pairs = list(zip(expected, found, strict=True))
            equal = sum(a[0].index == b[0]["index"] for a, b in pairs)
            off = max(
                abs(label.probability - other["probability"])
                for a, b in pairs
                for label in a
                for other in b
                if other["index"] == label.index
            )
            right = sum(
                row[0]["label"] == path.parent.name for row, path in zip(found, known, strict=False)
            )
            told = f"{right / len(known):.2%} | {evaluated:.2%}" if known else "- | -"
            print(
                f"| {file.name} | {app.name} | {equal} of {len(every)} | {off:.4f} | {told} |",
                flush=True,
            )


def profiled(file: Path) -> dict[str, float]:
    """What `edgekit profile` says, in ms."""
    words = ("profile", file.absolute(), "--seconds", 3, "--energy", "off", "--no-store", "--json")
    document = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, words)], capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    (found,) = json.loads(document)["measurements"]
    return {
        "p50": found["latency_ms"]["p50"], "load": found["load_ms"], "first": found["first_ms"]
    }  # fmt: skip


def scattered(values: Sequence[float]) -> str:
    """A median, and the least and the most."""
    digits = 0 if min(values) >= 100 else 1 if min(values) >= 10 else 2
    middle, *ends = (
        f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} ({' to '.join(ends)})"


def times(files: Sequence[Path], folder: Path, turns: int) -> None:
    """The tables of times and bytes."""
    made = {file: list(apps(file, folder / str(n))) for n, file in enumerate(files)}
    profiles: dict[Path, list[dict[str, float]]] = {file: [] for file in files}
    for turn in range(turns):
        for file in files if turn % 2 == 0 else files[::-1]:
            profiles[file].append(profiled(file))
            for app in made[file]:
                app.turn()
            print(f"turn {turn + 1} of {turns}: {file.name}", file=sys.stderr)
    print("\n| file | what runs it | start to first result, ms | inference, ms |")
    print("|---|---|---|---|")
    for file in files:
        of = {key: scattered([each[key] for each in profiles[file]]) for key in profiles[file][0]}
        told = f"load {of['load']}, first {of['first']}"
        print(f"| {file.name} | `edgekit profile` | {told} | {of['p50']} |")
        for app in made[file]:
            cost = app.cost
            print(f"| | {app.name} | {scattered(cost.cold_ms)} | {scattered(cost.p50_ms)} |")
    print("\n| file | app | code | model | runtime |\n|---|---|---|---|---|")
    for file in files:
        for app in made[file]:
            ships = app.shipped()
            told = " | ".join(ships[part] for part in ("code", "model", "runtime"))
            print(f"| {file.name} | {app.name} | {told} |")
    pages = [app for file in files for app in made[file] if isinstance(app, Page)]
    print("\n| file | runtime | inference, ms | over the first |\n|---|---|---|---|")
    for page in pages:
        # Each over the first one of its own turn, since others may use the machine, too.
        ratios = list(map(truediv, page.speed_ms, pages[0].speed_ms))
        name = json.loads((page.folder / "runtime.json").read_text())["name"]
        print(f"| {page.file.name} | {name} | {scattered(page.speed_ms)} | {scattered(ratios)} |")


def conditions() -> str:
    """What could explain the figures."""
    cpu = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    chromium = subprocess.run(
        [os.environ.get("CHROMIUM", "chromium"), "--version"], capture_output=True, text=True
    ).stdout.strip()
    versions = [f"{name} {metadata.version(name)}" for name in PYTHON_RUNTIMES.values()]
    runtimes = sorted((ROOT / "edgekit/apps/web/template/runtimes").glob("*/runtime.json"))
    packages = [json.loads(path.read_text())["packages"] for path in runtimes]
    versions += [f"{name} {version}" for each in packages for name, version in each.items()]
    words = " ".join(Path(word).name for word in sys.argv[1:])
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    node = done(["node", "--version"], ROOT).strip()
    return (
        f"`python tests/bench/apps.py {words}`, {datetime.date.today()}, "
        f"{os.cpu_count()} cores of {cpu}, load {load}; one thread; {chromium}, Node {node}, "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("same", "times"))
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, help="a folder with a folder for each class")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--turns", type=int, default=TURNS)
    asked = parser.parse_args()
    print(conditions(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        if asked.part == "same":
            same(asked.files, Path(temporary), asked.data, asked.images)
        else:
            times(asked.files, Path(temporary), asked.turns)
            print(f"\nload at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
