"""Damage to image files."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

from PIL import Image

from damage import raw


def _png(width: int, height: int, data: bytes, *more: tuple[bytes, bytes], mode: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, mode, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, part in ((b"IHDR", header), *more, (b"IDAT", data), (b"IEND", b"")):
        content += struct.pack(">I", len(part)) + kind + part
        content += struct.pack(">I", zlib.crc32(kind + part))
    return content


def bomb(path: Path, rng: random.Random) -> None:
    """Megabytes of zeros in a few kilobytes."""
    width, height = rng.choice(((14_000, 14_000), (13_000, 15_000), (199_000_000, 1), (1, 10**8)))
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    size, data = 0, b""
    while size < min(height * len(row), 300_000_000):
        data += packer.compress(row)
        size += len(row)
    path.write_bytes(_png(width, height, data + packer.flush()))


def notes(path: Path, rng: random.Random) -> None:
    """Text that unpacks to hundreds of megabytes."""
    packed = zlib.compress(bytes(200_000_000), 9)
    kind = rng.choice((b"zTXt", b"iCCP"))
    more = [(kind, b"note\0\0" + packed)] * rng.choice((1, 4))
    path.write_bytes(_png(4, 4, zlib.compress(bytes(13 * 4)), *more))


def animation(path: Path, rng: random.Random) -> None:
    """A large canvas with small frames."""
    Image.new("P", (3, 3)).save(path, "GIF")
    content = bytearray(path.read_bytes())
    content[6:10] = struct.pack("<HH", *rng.choice(((14_000, 14_000), (65_535, 3000), (0, 0))))
    path.write_bytes(content)


def bitmap(path: Path, rng: random.Random) -> None:
    Image.new("RGB", (3, 3)).save(path, "BMP")
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<ii", *rng.choice(((14_000, 14_000), (2**31 - 1, -1), (-5, 5))))
    path.write_bytes(content)


def jpeg(path: Path, rng: random.Random) -> None:
    """A JPEG whose size is not that of its data."""
    Image.new("RGB", (32, 32), (200, 10, 90)).save(path, "JPEG")
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", *rng.choice(((14_000, 14_000), (65_535, 3000))))
    path.write_bytes(content)


def webp(path: Path, rng: random.Random) -> None:
    Image.new("RGB", (32, 32), (200, 10, 90)).save(path, "WEBP")
    raw.flipped_head(path, rng)


def large(path: Path, rng: random.Random) -> None:
    """A whole picture of as many pixels as are allowed, and of more."""
    side = rng.choice((6000, 13_900, 15_000))
    Image.new(rng.choice(("L", "1")), (side, side)).save(path, "PNG", compress_level=1)


KINDS = {
    **{name: raw.KINDS[name] for name in (
        "truncated", "flipped", "flipped_head", "noise", "empty", "pipe", "endless", "sparse",
        "folder",
    )},
    **{f.__name__: f for f in (bomb, notes, animation, bitmap, jpeg, webp, large)},
}  # fmt: skip
