"""Apps for browsers beside edgekit: the same labels, times in turns, bytes.

``python tests/bench/browser.py FILE... --images DIR`` writes an app for each file, runs it in a
headless Chromium (see ``make apps-test``, which gets what it needs), and prints a table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from operator import truediv
from pathlib import Path
from typing import Any

import edgekit
from edgekit.apps.template import bytes_of, mb

ROOT = Path(__file__).parents[2]
LOOK = ROOT / "tests" / "apps" / "look.mjs"
PACKAGES = ROOT / ".apps" / "node_modules"
TURNS = 5


def look(folder: Path, what: str, *words: object) -> Any:
    done = subprocess.run(
        ["node", str(LOOK), str(folder), what, *map(str, words)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    asked = parser.parse_args()
    images = sorted(path for path in asked.images.iterdir() if path.is_file())
    with tempfile.TemporaryDirectory() as temporary:
        apps = [Path(temporary) / str(number) for number in range(len(asked.files))]
        for file, app in zip(asked.files, apps, strict=True):
            edgekit.app(file, "web", app)
            (app / "node_modules").symlink_to(PACKAGES)
            subprocess.run(["node", "vendor.mjs"], cwd=app, check=True, capture_output=True)
        times: list[list[float]] = [[] for _ in apps]
        for _ in range(TURNS):
            for app, found in zip(apps, times, strict=True):
                found.append(look(app, "speed"))
        print(
            "| file | the same top-1 | probability off by, at most | time over the first | vendor |"
        )
        print("|---|---|---|---|---|")
        for file, app, found in zip(asked.files, apps, times, strict=True):
            known = edgekit.predict(file, [str(image) for image in images])
            seen = look(app, "scores", *images)
            pairs = [(a.labels, b) for a, b in zip(known, seen, strict=True)]
            same = sum(a[0].index == b[0]["index"] for a, b in pairs)
            off = max(
                abs(label.probability - other["probability"])
                for a, b in pairs
                for label in a
                for other in b
                if other["index"] == label.index
            )
            vendor = mb(bytes_of([app / "classifier" / "vendor"]))
            # Each over the first one of its own turn, since others use the machine, too.
            ratio = statistics.median(map(truediv, found, times[0]))
            print(f"| {file} | {same} of {len(images)} | {off:.4f} | {ratio:.2f} | {vendor} |")


if __name__ == "__main__":
    main()
