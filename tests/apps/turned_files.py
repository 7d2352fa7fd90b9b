"""Image files that say in all ways how they are turned, with what counts of it."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SHORT, LONG, BYTE = 3, 4, 1
_XMP = '<x tiff:Orientation="8"/>'


def block(order: str, value: int, kind: int = SHORT, count: int = 1, tag: int = 0x0112) -> bytes:
    """An EXIF block of one tag, in the byte order ``<`` or ``>``."""
    number = struct.pack(order + "I", value)
    if kind == SHORT:
        number = struct.pack(order + "HH", value & 0xFFFF, 0)
    start = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHI", tag, kind, count) + number
    return start + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


def blocks() -> list[tuple[bytes, int]]:
    """EXIF blocks with the orientation that each says."""
    found = [
        (block(order, value, kind), value if 1 <= value <= 8 else 1)
        for order in "<>"
        for kind in (SHORT, LONG)
        for value in (*range(10), 0x10006)
        if kind == LONG or value < 10
    ]
    for order in "<>":
        found += [
            (block(order, 6, BYTE), 1),
            (block(order, 6, count=2), 1),
            (block(order, 6, tag=0x0113), 1),
            (block(order, 6)[:20], 1),
            (block(order, 6)[:12], 1),
            (block(order, 6)[:4] + struct.pack(order + "I", 2**32 - 9) + block(order, 6)[8:], 1),
        ]
    return [*found, (b"II\0*" + block("<", 6)[4:], 1), (b"Exif", 1), (b"", 1)]


def pixels() -> np.ndarray:
    """No two of its turns are alike; areas are large, so that JPEG keeps them."""
    found = np.zeros((64, 48, 3), np.uint8)
    found[:32] += np.uint8(90)
    found[:, :24] += np.uint8(120)
    return found


def png(exif: bytes = b"", xmp: bool = False, text: bytes = b"") -> bytes:
    other = PngInfo()
    if xmp:
        other.add_itxt("XML:com.adobe.xmp", _XMP)
    if text:
        lines = ["", "exif", f"{len(text):8}", text.hex(), ""]
        other.add_text("Raw profile type exif", "\n".join(lines))
    content = io.BytesIO()
    Image.fromarray(pixels()).save(content, "PNG", pnginfo=other, exif=exif)
    return content.getvalue()


def jpeg(*segments: bytes) -> bytes:
    """A JPEG file with APP1 segments of such contents."""
    content = io.BytesIO()
    Image.fromarray(pixels()).save(content, "JPEG", quality=95)
    whole = content.getvalue()
    said = b"".join(b"\xff\xe1" + struct.pack(">H", len(each) + 2) + each for each in segments)
    return whole[:2] + said + whole[2:]


def turned_files() -> list[tuple[bytes, int]]:
    """Image files with the orientation that counts."""
    exif, xmp = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0" + _XMP.encode()
    found = [
        (png(xmp=True), 1),
        (png(text=exif + block(">", 6)), 1),
        (png(block(">", 6), xmp=True, text=block(">", 3)), 6),
        (png(block("<", 1), xmp=True), 1),
        (jpeg(xmp), 1),
        (jpeg(xmp, exif + block(">", 6)), 6),
        (jpeg(exif + block(">", 6), exif + block("<", 3)), 6),
        (jpeg(exif, exif + block("<", 3)), 1),
        (jpeg(exif + block("<", 8, tag=0x0113), exif + block("<", 3)), 1),
        (jpeg(exif + block("<", 6)[:12], block("<", 6)[12:], xmp), 1),
    ]
    for each, orientation in blocks():
        found.append((jpeg(exif + each), orientation))
        if each:
            found.append((png(each), orientation))
    return found


def upright(orientation: int) -> np.ndarray:
    """What an image of `pixels` becomes."""
    found = pixels()
    turns = {
        2: found[:, ::-1], 3: np.rot90(found, 2), 4: found[::-1], 5: found.swapaxes(0, 1),
        6: np.rot90(found, -1), 7: np.rot90(found, 2).swapaxes(0, 1), 8: np.rot90(found),
    }  # fmt: skip
    return turns.get(orientation, found)
