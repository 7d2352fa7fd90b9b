"""Damage to contracts; what is altered here is signed anew, as a forger would."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

from damage import raw
from edgekit.contract import DIGEST_KEY, contract_path, digest, target_by_suffix
from edgekit.core import canonical_json

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 10**9, 10**30, 1e308, -0.5, "", "../../x", "/etc/passwd", "a\x1b[31m\x00b",
    "x" * 100_000, [], {}, [1] * 1000, [[]], {"a": {}}, "\ud800", "CON", "nul.txt", "=1+1",
)  # fmt: skip


def sign(path: Path, data: dict[str, Any]) -> None:
    """Writes the contract of a file, with digests that hold."""
    data = {k: v for k, v in data.items() if k != DIGEST_KEY}
    try:
        own = hashlib.sha256(canonical_json(data).encode(errors="surrogatepass")).hexdigest()
    except (ValueError, TypeError):
        own = ""
    contract_path(path).write_text(json.dumps({**data, DIGEST_KEY: own}, indent=2) + "\n")


def resign(path: Path) -> None:
    """Makes the contract beside a file that of its bytes, whatever they are."""
    target = target_by_suffix(path)
    assert target is not None
    data = json.loads(contract_path(path).read_text())
    files = target.written(path)
    data["size_bytes"] = sum(file.stat().st_size for file in files)
    data["sha256"] = digest(files)
    sign(path, data)


def _places(data: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [where] if where else []
    if isinstance(data, dict):
        for key, value in data.items():
            found += _places(value, (*where, key))
    if isinstance(data, list):
        for i, value in enumerate(data[:20]):
            found += _places(value, (*where, i))
    return found


def values(path: Path, rng: random.Random) -> None:
    """Any value of the contract is anything."""
    data = json.loads(contract_path(path).read_text())
    kept = ("schema", "sha256", "size_bytes", DIGEST_KEY)
    places = [p for p in _places(data) if p[0] not in kept]
    for place in rng.sample(places, rng.choice((1, 1, 3))):
        inner = data
        try:
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = rng.choice(VALUES)
        except (TypeError, KeyError, IndexError):
            continue
    sign(path, data)


def preprocessing(path: Path, rng: random.Random) -> None:
    """Numbers that take memory or time, and fit each other."""
    data = json.loads(contract_path(path).read_text())
    preprocessing = data["preprocessing"]
    side = rng.choice((10**5, 10**9, 16384, 0, -1, 10**30))
    what = rng.randrange(6)
    if what == 0:
        preprocessing["resize"] = rng.choice((side, [side, 32], [32, side, 32], []))
    elif what == 1:
        preprocessing["crop"] = side
        preprocessing["resize"] = rng.choice((None, side))
        for tensor in data["inputs"]:
            tensor["shape"] = [side if n == 32 else n for n in tensor["shape"]]
    elif what == 4:
        preprocessing["crop"] = rng.choice(([side, 32], [32, side], [32] * 1000, [[32]], []))
    elif what == 5:
        preprocessing.update(fit="letterbox", resize=rng.choice((None, side)), pad=side)
    elif what == 2:
        preprocessing["std"] = rng.choice(([0, 0, 0], [1e-300] * 3, [1] * 1000))
    else:
        preprocessing["mean"] = rng.choice(([1e308] * 3, [], [0] * 1000))
    sign(path, data)


def shapes(path: Path, rng: random.Random) -> None:
    data = json.loads(contract_path(path).read_text())
    count = rng.choice((10**6, 10**12, 2**63, 0, -1))
    data["outputs"][0]["shape"] = [1, count]
    if rng.random() < 0.5:
        data["labels"] = None
    if rng.random() < 0.3:
        data["outputs"] = data["outputs"] * 5000
    sign(path, data)


def words(path: Path, rng: random.Random) -> None:
    """Words that choose something."""
    data = json.loads(contract_path(path).read_text())
    place = rng.choice(("target", "precision", "layout", "interpolation", "dtype", "interface"))
    if rng.random() < 0.3:
        place = rng.choice(("fit", "exif", "alpha", "channel_order"))
    word = rng.choice(("", "fp64", "../x", "int4", "NCWH", "magic", "__class__", "x" * 5000))
    if place == "target":
        data["target"] = word
    elif place in ("precision", "interface"):
        data["scheme"][place] = word
    elif place == "dtype":
        data["inputs"][0]["dtype"] = word
    else:
        data["preprocessing"][place] = word
    sign(path, data)


def scales(path: Path, rng: random.Random) -> None:
    data = json.loads(contract_path(path).read_text())
    tensor = rng.choice((data["inputs"], data["outputs"]))[0]
    tensor["scale"] = rng.choice((0, -1, 1e-320, 1e308, 1))
    tensor["zero_point"] = rng.choice((0, 10**9, -(10**30)))
    sign(path, data)


def deep(path: Path, rng: random.Random) -> None:
    depth = rng.choice((900, 10_000, 3_000_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}")))
    contract_path(path).write_text(
        '{"schema": "edgekit.artifact/1", "labels": '
        + opening * depth
        + "1"
        + closing * depth
        + "}"
    )


def long_number(path: Path, rng: random.Random) -> None:
    text = contract_path(path).read_text()
    digits = "9" * rng.choice((4000, 5000, 10_000_000))
    contract_path(path).write_text(text.replace('"size_bytes": ', f'"size_bytes": {digits}', 1))


def no_text(path: Path, rng: random.Random) -> None:
    raw.noise(contract_path(path), rng)


def cut(path: Path, rng: random.Random) -> None:
    raw.truncated(contract_path(path), rng)


def flipped(path: Path, rng: random.Random) -> None:
    raw.flipped(contract_path(path), rng)


def pipe(path: Path, rng: random.Random) -> None:
    raw.pipe(contract_path(path), rng)


def endless(path: Path, rng: random.Random) -> None:
    raw.endless(contract_path(path), rng)


def folder(path: Path, rng: random.Random) -> None:
    raw.folder(contract_path(path), rng)


def sparse(path: Path, rng: random.Random) -> None:
    raw.sparse(contract_path(path), rng)


def large(path: Path, rng: random.Random) -> None:
    """A contract of as many labels as fit into 60 MB."""
    data = json.loads(contract_path(path).read_text())
    data["labels"] = ["a"] * 10_000_000
    sign(path, data)


def missing(path: Path, rng: random.Random) -> None:
    contract_path(path).unlink()


def dangling(path: Path, rng: random.Random) -> None:
    contract_path(path).unlink()
    contract_path(path).symlink_to(rng.choice(("nowhere", contract_path(path).name)))


def locked(path: Path, rng: random.Random) -> None:
    os.chmod(contract_path(path), 0)  # noqa: PTH101 - nothing to root, who may read it all the same


KINDS = {
    f.__name__: f
    for f in (
        values, preprocessing, shapes, words, scales, deep, long_number, no_text, cut, flipped,
        pipe, endless, folder, sparse, large, missing, dangling, locked,
    )
}  # fmt: skip
