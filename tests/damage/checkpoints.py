"""Damage to checkpoints."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

from damage import raw


def _content(path: Path) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def _save(path: Path, content: Any) -> None:
    import torch

    torch.save(content, path)


def deflated(path: Path, rng: random.Random) -> None:
    """An archive whose parts unpack to gigabytes."""
    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    size = rng.choice((500, 5000))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
        with archive.open(rng.choice(("archive/data/zz", "x/big")), "w", force_zip64=True) as part:
            for _ in range(size):
                part.write(bytes(1 << 20))


def overlapping(path: Path, rng: random.Random) -> None:
    """Entries of an archive that all mean the same bytes, or claim any size."""
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        if rng.random() < 0.3:
            number = rng.choice((0xFFFFFFFF, 0x7FFFFFFF, 0, 1 << 20)).to_bytes(4, "little")
            place = at + rng.choice((20, 24, 42))
            content[place : place + 4] = number
        at = content.find(b"PK\x01\x02", at + 4)
    path.write_bytes(content)


def strides(path: Path, rng: random.Random) -> None:
    """Tensors that stand for 40 GB and hold one number."""
    import torch

    content = _content(path)
    state = dict(content["state"])
    name = rng.choice(list(state))
    state[name] = torch.zeros(1).expand(*rng.choice(((10**10,), (10**5, 10**5), (3, 10**9))))
    content["state"] = state
    _save(path, content)


def shapes(path: Path, rng: random.Random) -> None:
    """One tensor expanded to the shape of each that is expected, or of another type."""
    import torch

    content = _content(path)
    state = {}
    for name, value in content["state"].items():
        chosen = rng.random()
        if chosen < 0.1:
            value = value.reshape(-1)[:1].expand(value.numel()).reshape(value.shape)
        elif chosen < 0.15:
            value = value.to(rng.choice((torch.float16, torch.complex64, torch.int8, torch.bool)))
        elif chosen < 0.2:
            value = torch.full_like(value, 3e38) if value.is_floating_point() else value
        state[name] = value
    content["state"] = state
    _save(path, content)


def spec(path: Path, rng: random.Random) -> None:
    content = _content(path)
    key = rng.choice(("rows", "stem", "head", "classes", "resolution", "name", "family", "act"))
    number = rng.choice((10**9, 10**30, -1, 0, 10**5, 2**40))
    found = content["spec"]
    if key == "rows":
        rows = [dict(row) for row in found["rows"]]
        row = rng.choice(rows)
        row[rng.choice([k for k, v in row.items() if isinstance(v, int)])] = number
        found["rows"] = rng.choice((rows, rows, rows * 2000))
    elif key == "head":
        found["head"] = [number] * rng.choice((1, 1000))
    elif isinstance(found[key], str):
        found[key] = rng.choice(("../../x", "/abs", "a\x00b", "CON", "x" * 9999, ""))
    else:
        found[key] = number
    _save(path, content)


def fields(path: Path, rng: random.Random) -> None:
    content = _content(path)
    key = rng.choice([k for k in content if k != "state"])
    content[key] = rng.choice((None, 5, "../../../x", ["a"] * 10**6, {"a": 10**30}, float("nan")))
    _save(path, content)


def preprocessing(path: Path, rng: random.Random) -> None:
    content = _content(path)
    side = rng.choice((10**5, 10**9, -1, 16384))
    content["preprocessing"][rng.choice(("resize", "crop"))] = side
    if rng.random() < 0.5:
        content["spec"]["resolution"] = side
        content["preprocessing"].update(resize=side, crop=side)
    _save(path, content)


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def code(path: Path, rng: random.Random) -> None:
    content = _content(path)
    content["data"] = _Runs()
    _save(path, content)


def opcodes(path: Path, rng: random.Random) -> None:
    """Pickles that take memory by themselves."""
    kind = rng.randrange(4)
    if kind == 0:  # a list that doubles itself
        body = b"\x80\x02]q\x00" + b"(h\x00h\x00e" * 200 + b"."
    elif kind == 1:
        body = b"\x80\x02" + b"(" * 3_000_000 + b"."
    elif kind == 2:
        body = b"\x80\x02" + b"\x8b" + (2**31 - 1).to_bytes(4, "little") + b"\1" * 100 + b"."
    else:
        body = b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"\0" * 10 + b"."
    if rng.random() < 0.5:
        path.write_bytes(body)
        return
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/version", "3\n")
    path.write_bytes(buffer.getvalue())


def lists(path: Path, rng: random.Random) -> None:
    """A byte each for millions of lists, in an archive or not."""
    body = b"\x80\x02" + b"]" * rng.choice((1_100_000, 5_000_000, 30_000_000)) + b"}."
    write_pickle(path, body, archive=rng.random() < 0.5)


def shared(path: Path, rng: random.Random) -> None:
    """Tuples that hold each other twice, as a key, which is compared through all of them."""
    depth = rng.choice((24, 40, 200))
    pairs = b"".join(b"h" + bytes([i, ord("h"), i, 0x86, ord("q"), i + 1]) for i in range(depth))
    body = b"\x80\x02})q\x00" + pairs + b"h" + bytes([depth]) + b"K\x01s."
    write_pickle(path, body, archive=rng.random() < 0.5)


def filling(path: Path, rng: random.Random) -> None:
    """A few bytes that ask for gigabytes."""
    size = rng.choice((2**29, 2**31 - 1)).to_bytes(4, "little")
    body = b"\x80\x02}X\x01\0\0\0acbuiltins\nbytearray\nJ" + size + b"\x85Rs."
    write_pickle(path, body, archive=rng.random() < 0.5)


def write_pickle(path: Path, body: bytes, *, archive: bool, name: str = "data.pkl") -> None:
    """A file of torch.save with any pickle, as they are or were before archives."""
    if not archive:
        path.write_bytes(body)
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as made:
        made.writestr(f"archive/{name}", body)
        made.writestr("archive/version", "3\n")


def deep(path: Path, rng: random.Random) -> None:
    depth = rng.choice((900, 100_000, 1_000_000))
    if rng.random() < 0.5:
        path.write_bytes(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    else:
        path.write_bytes(pickle.dumps({"format": "x"}, protocol=2)[:-1] + b"0" * depth + b".")


def safetensors(path: Path, rng: random.Random) -> None:
    head = rng.choice((
        b'{"a":{"dtype":"F32","shape":[100000,100000],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,40000000000]}}',
        b'{"a":' * 200_000,
        b"{" + b" " * 90_000_000 + b"}",
    ))  # fmt: skip
    size = rng.choice((len(head), 2**63, 2**40))
    path.write_bytes(size.to_bytes(8, "little") + head + bytes(4))


KINDS = {
    **raw.KINDS,
    **{f.__name__: f for f in (
        deflated, overlapping, strides, shapes, spec, fields, preprocessing, code, opcodes, lists,
        shared, filling, deep, safetensors,
    )},
}  # fmt: skip
