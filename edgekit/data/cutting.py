"""Splits of images that come without: cut by a hash of their paths, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SPLIT_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Splits by what people call them."""

WHOLE = ""
"""In the place of a split: images of which nobody said where they belong."""

_HELD_OUT = 0.1  # of each kind, for each split that is cut from others


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """An image by its path relative to the source's folder; of each kind as large a part is cut."""

    relative: str
    kind: str = ""


def cut(by_split: Mapping[str, Sequence[Member]]) -> dict[str, list[Member]]:
    """Train, validation and test, each sorted by path; empty where there is none.

    Args:
        by_split: either `WHOLE` alone, which is cut into 80, 10 and 10 %, or splits. Where
            validation is not among them, 10 % of train become it.
    """
    if WHOLE in by_split:
        validation, test, train = _hold_out(by_split[WHOLE], parts=2)
    else:
        train, test = list(by_split.get("train", [])), list(by_split.get("test", []))
        validation = list(by_split.get("validation", []))
        if not validation:
            validation, train = _hold_out(train, parts=1)
    return {"train": sorted(train), "validation": sorted(validation), "test": sorted(test)}


def _hold_out(members: Iterable[Member], parts: int) -> list[list[Member]]:
    """Cuts parts of 10 % from each kind, in the order of the hashes; the rest comes last.

    A kind with fewer images than there are pieces stays whole.
    """
    by_kind: dict[str, list[Member]] = {}
    for member in sorted(members, key=_hash):
        by_kind.setdefault(member.kind, []).append(member)
    pieces: list[list[Member]] = [[] for _ in range(parts + 1)]
    for images in by_kind.values():
        share = max(1, round(_HELD_OUT * len(images))) if len(images) > parts else 0
        for part in range(parts):
            pieces[part] += images[part * share : (part + 1) * share]
        pieces[parts] += images[parts * share :]
    return pieces


def _hash(member: Member) -> tuple[bytes, str]:
    # File names need not be valid Unicode.
    try:
        name = member.relative.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # of JSON: a file that is called so cannot be
        name = member.relative.encode("utf-8", "surrogatepass")
    return hashlib.sha256(name).digest(), member.relative


def located(sizes: Mapping[str, int], split: str, index: int) -> tuple[str, int]:
    """The split proper that an image belongs to, and its place there.

    Args:
        sizes: of the splits proper, which stand one behind the other in ``all``.
    """
    whole = sum(sizes.values()) if split == "all" else sizes[split]
    if not 0 <= index < whole:
        raise IndexError(f"image {index} of split '{split}' with {whole} images")
    if split != "all":
        return split, index
    for name, size in sizes.items():
        if index < size:
            return name, index
        index -= size
    raise AssertionError("the sizes add up to that of 'all'")
