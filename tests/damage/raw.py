"""Damage to the bytes of any file."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

HUGE = (0xFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0)


def _one_of(path: Path, rng: random.Random) -> Path:
    """The file, or its companion of weights where it has one."""
    beside = path.with_suffix(".bin")
    return beside if path.suffix == ".xml" and beside.exists() and rng.random() < 0.5 else path


def truncated(path: Path, rng: random.Random) -> None:
    path = _one_of(path, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))


def flipped(path: Path, rng: random.Random) -> None:
    path = _one_of(path, rng)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 4, 64))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flipped_head(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 3, 9))):
        content[rng.randrange(min(400, len(content)))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flipped_tail(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 3, 9, 50))):
        content[-1 - rng.randrange(min(4000, len(content)))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def huge_number(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    size = rng.choice((4, 8))
    for _ in range(rng.choice((1, 8))):
        at = rng.randrange(max(1, len(content) // 4 - 2)) * 4
        number = rng.choice(HUGE) & (2 ** (8 * size) - 1)
        content[at : at + size] = struct.pack("<Q", number)[:size]
    path.write_bytes(content)


def block_of_zeros(path: Path, rng: random.Random) -> None:
    path = _one_of(path, rng)
    content = bytearray(path.read_bytes())
    start, size = rng.randrange(len(content)), rng.choice((16, 512, 4096))
    content[start : start + size] = bytes(size)
    path.write_bytes(content)


def block_removed(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = rng.randrange(len(content))
    del content[start : start + rng.choice((1, 4, 512))]
    path.write_bytes(content)


def noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(rng.choice((1, 7, 100, 5000))))


def empty(path: Path, rng: random.Random) -> None:
    _one_of(path, rng).write_bytes(b"")


def longer(path: Path, rng: random.Random) -> None:
    with open(_one_of(path, rng), "ab") as file:
        file.write(rng.randbytes(rng.choice((1, 4096, 1 << 20))))


def sparse(path: Path, rng: random.Random) -> None:
    """A file that takes no disk and claims 40 GB."""
    os.truncate(_one_of(path, rng), 40 << 30)


def pipe(path: Path, rng: random.Random) -> None:
    path = _one_of(path, rng)
    path.unlink()
    os.mkfifo(path)


def endless(path: Path, rng: random.Random) -> None:
    path = _one_of(path, rng)
    path.unlink()
    path.symlink_to(rng.choice(("/dev/zero", "/dev/urandom", "/dev/tty", "/dev/stdin")))


def folder(path: Path, rng: random.Random) -> None:
    path = _one_of(path, rng)
    path.unlink()
    path.mkdir()


KINDS = {
    f.__name__: f
    for f in (
        truncated, flipped, flipped_head, flipped_tail, huge_number, block_of_zeros, block_removed,
        noise, empty, longer, sparse, pipe, endless, folder,
    )
}  # fmt: skip
