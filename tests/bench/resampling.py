"""How often the reference of the resampling, and ports of it, give what Pillow gives.

``python tests/bench/resampling.py`` draws sizes, boxes, filters and pixels for a minute each and
counts what differs: pixels of the reference from Pillow's, prepared images from those that
training uses, and weights of ports to C and JavaScript from the reference's, where there are a C
compiler and Node.js.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from edgekit.core import Preprocessing
from edgekit.data.channels import grey, without_alpha
from edgekit.data.preprocess import geometry, resize_and_crop
from edgekit.data.resampling import FILTERS, resample, row_weights

PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "area": Image.Resampling.BOX,
}
NAMES = tuple(FILTERS)

C = r"""
#include <math.h>
static double area(double x) { return -0.5 < x && x <= 0.5 ? 1.0 : 0.0; }
static double bilinear(double x) { x = fabs(x); return x < 1 ? 1 - x : 0.0; }
static double bicubic(double x) {
  x = fabs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0.0;
}
int row_weights(int rows, int count, float first, float last, int filter, int row, int *begin,
                int *weights, double *shares) {
  double (*of[])(double) = {area, bilinear, bicubic};
  double reaches[] = {0.5, 1.0, 2.0}, total = 0;
  float distance = last - first;
  double step = (double)distance / count, stretch = step > 1 ? step : 1;
  double reach = reaches[filter] * stretch, centre = first + (row + 0.5) * step;
  int start = (int)(centre - reach + 0.5), end = (int)(centre + reach + 0.5);
  if (start < 0) start = 0;
  if (end > rows) end = rows;
  for (int i = start; i < end; i++)
    total += shares[i - start] = of[filter]((i - centre + 0.5) * (1.0 / stretch));
  for (int i = 0; i < end - start; i++) {
    double x = shares[i] / total * 4194304;
    weights[i] = x >= 0 ? (int)floor(x + 0.5) : (int)ceil(x - 0.5);
  }
  *begin = start;
  return end - start;
}
"""

JAVASCRIPT = r"""
const filters = {
  area: [0.5, (x) => (-0.5 < x && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    x = Math.abs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  }],
};
function rowWeights(rows, count, first, last, name, row) {
  const [upper, lower] = [Math.fround(first), Math.fround(last)];
  const step = Math.fround(lower - upper) / count;
  const stretch = Math.max(step, 1);
  const reach = filters[name][0] * stretch;
  const centre = upper + (row + 0.5) * step;
  const begin = Math.max(Math.trunc(centre - reach + 0.5), 0);
  const end = Math.min(Math.trunc(centre + reach + 0.5), rows);
  const shares = [];
  let total = 0;
  for (let i = begin; i < end; i++) {
    shares.push(filters[name][1]((i - centre + 0.5) * (1 / stretch)));
    total += shares[i - begin];
  }
  return [begin, shares.map((share) => {
    const x = share / total * 4194304;
    return x >= 0 ? Math.floor(x + 0.5) : Math.ceil(x - 0.5);
  })];
}
const cases = JSON.parse(require('fs').readFileSync(process.argv[2]));
const found = cases.map(([place, begin, weights]) => {
  const [start, own] = rowWeights(...place);
  const fits = start === begin && own.length === weights.length;
  return fits ? own.filter((w, i) => w !== weights[i]).length : weights.length;
});
console.log(found.reduce((sum, n) => sum + n, 0));
"""

Edges = tuple[float, float]


def edges(rng: np.random.Generator, side: int) -> Edges:
    """Two edges within a side: all of it, on whole pixels, or anywhere."""
    kind = rng.integers(3)
    if kind == 1:
        first, last = sorted(rng.choice(side + 1, 2, replace=False).tolist())
        return float(first), float(last)
    first, last = sorted(rng.uniform(0, side, 2).tolist())
    return (first, last) if kind == 2 and last - first > 0.01 else (0.0, float(side))


def sides(rng: np.random.Generator, count: int) -> list[int]:
    """From 1 to 300, small ones as often as large ones."""
    return [round(float(np.exp(rng.uniform(0, np.log(300))))) for _ in range(count)]


def pixels(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Noise, or only black and white, which overshoots most."""
    found = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return found if rng.random() < 0.5 else ((found > 127) * 255).astype(np.uint8)


def against_pillow(rng: np.random.Generator) -> bool:
    """Whether one draw is resampled to the integer."""
    rows, columns, height, width = sides(rng, 4)
    name = str(rng.choice(list(PILLOW)))
    (left, right), (top, bottom) = edges(rng, columns), edges(rng, rows)
    image = pixels(rng, rows, columns, 3)
    narrow = Image.fromarray(image).resize((width, rows), PILLOW[name], (left, 0, right, rows))
    expected = np.array(narrow.resize((width, height), PILLOW[name], (0, top, width, bottom)))
    found = resample(image, height, width, (left, top, right, bottom), name)
    return bool(np.array_equal(found, expected))


def against_training(rng: np.random.Generator) -> bool:
    """Whether one draw is prepared to the integer, with all fits and numbers of channels."""
    rows, columns = sides(rng, 2)
    height, width = rng.integers(1, 120, 2).tolist()
    fit = str(rng.choice(["crop", "stretch", "letterbox"]))
    order, name = str(rng.choice(["RGB", "L", "RGBA"])), str(rng.choice(list(PILLOW)))
    more = int(rng.integers(0, 40))
    p = Preprocessing(
        None if fit == "letterbox" else (height + more, width + more), (height, width), order,
        mean=(0.0,) * len(order), std=(1.0,) * len(order), interpolation=name, fit=fit,
        pad=int(rng.integers(256)), alpha="keep" if order == "RGBA" else "white",
    )  # fmt: skip
    image = pixels(rng, rows, columns, 4)
    shown = image if order == "RGBA" else without_alpha(image, "white")
    place = geometry(rows, columns, p)
    shown = grey(shown) if order == "L" else shown
    part = resample(shown, place.height, place.width, place.box, name)
    expected = np.full((height, width, len(order)), p.pad, np.uint8)
    expected[place.top :, place.left :][: place.height, : place.width] = part
    return bool(np.array_equal(resize_and_crop(image, p), expected))


def rows_of(rng: np.random.Generator) -> Iterator[tuple[list[object], int, list[int]]]:
    """Rows to weigh: their place, and the reference's weights."""
    rows, count = int(rng.integers(1, 1000)), int(rng.integers(1, 400))
    first, last = edges(rng, rows)
    name = str(rng.choice(NAMES))
    for row in rng.integers(0, count, 5).tolist():
        begin, weights = row_weights(rows, count, first, last, FILTERS[name], row)
        yield [rows, count, first, last, name, row], begin, weights


def ports(cases: list[tuple[list[object], int, list[int]]], folder: Path) -> Iterator[str]:
    """How many weights each port has otherwise."""
    total = sum(len(weights) for _, _, weights in cases)
    compiler, node = shutil.which("cc"), shutil.which("node")
    (folder / "port.c").write_text(C)
    kinds = (["-ffp-contract=off"], ["-ffp-contract=fast", "-march=native"])
    for flags in kinds if compiler is not None else ():
        library = folder / f"port{len(flags)}.so"
        line = [str(compiler), "-O2", *flags, "-shared", "-fPIC", "port.c", "-lm", "-o", library]
        subprocess.run(line, check=True, cwd=folder)
        differ = sum(_by_c(ctypes.CDLL(str(library)), case) for case in cases)
        yield f"C, {' '.join(flags)}: {differ} of {total:,} weights differ"
    if node is not None:
        (folder / "port.js").write_text(JAVASCRIPT)
        (folder / "cases.json").write_text(json.dumps(cases))
        line = [node, "port.js", "cases.json"]
        differ = int(subprocess.run(line, check=True, cwd=folder, capture_output=True).stdout)
        yield f"JavaScript: {differ} of {total:,} weights differ"


def _by_c(library: ctypes.CDLL, case: tuple[list[object], int, list[int]]) -> int:
    (rows, count, first, last, name, row), begin, weights = case
    start, found, shares = ctypes.c_int(), (ctypes.c_int * 5000)(), (ctypes.c_double * 5000)()
    many = library.row_weights(
        rows, count, ctypes.c_float(first), ctypes.c_float(last), NAMES.index(str(name)), row,
        ctypes.byref(start), found, shares,
    )  # fmt: skip
    if (start.value, many) != (begin, len(weights)):
        return len(weights)
    return sum(one != other for one, other in zip(weights, found[:many], strict=True))


def main() -> None:
    """Prints one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each comparison")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for compare, what in ((against_pillow, "Pillow"), (against_training, "training")):
        rng, end = np.random.default_rng(given.seed), time.monotonic() + given.seconds
        count = wrong = 0
        while time.monotonic() < end:
            count, wrong = count + 1, wrong + (not compare(rng))
        print(f"{what}: {count - wrong:,} of {count:,} images are equal")
    rng, end = np.random.default_rng(given.seed), time.monotonic() + given.seconds / 4
    cases = []
    while time.monotonic() < end:
        cases += rows_of(rng)
    with tempfile.TemporaryDirectory() as folder:
        for line in ports(cases, Path(folder)):
            print(line)


if __name__ == "__main__":
    main()
