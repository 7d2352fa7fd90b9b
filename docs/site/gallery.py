"""Pictures of ``docs/gallery.md``, taken from the folder in which the tutorial was followed."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from edgekit.report.svg import standalone

FOLDER = Path(__file__).parents[1] / "gallery"
LARGEST_BYTES = 100_000
WIDTH = 900  # of pictures of pixels

DRAWN = {
    "latency": ("files/benchmark.html", "latency"),
    "accuracy": ("files/benchmark.html", "accuracy"),
    "operators": ("report.html", "operators"),
    "search": ("runs/small/search.html", "comparison"),
    "widths": ("runs/small/search.html", "widths"),
}
"""By name of a picture the page and the section whose first drawing it is."""

PAINTED = {"curves": "runs/digits/curves.png", "confusions": "runs/digits/confusions.png"}
"""By name of a picture the file; one that is not there is left out."""


def take(work: Path, folder: Path = FOLDER) -> None:
    """Takes all pictures.

    Args:
        work: where the commands of the tutorial ran.
    """
    folder.mkdir(exist_ok=True)
    for name, (page, section) in DRAWN.items():
        drawn = drawing((work / page).read_text(encoding="utf-8"), section)
        (folder / f"{name}.svg").write_text(standalone(drawn), encoding="utf-8")
    for name, file in PAINTED.items():
        if (work / file).exists():
            with Image.open(work / file) as picture:
                _small(picture).save(folder / f"{name}.png", optimize=True)
    for picture in folder.iterdir():
        size = picture.stat().st_size
        if size > LARGEST_BYTES:
            raise SystemExit(f"{picture} has {size} bytes, more than {LARGEST_BYTES}")


def drawing(page: str, section: str) -> str:
    """The first ``<svg>`` of a section of a report.

    Raises:
        SystemExit: there is none.
    """
    whole = re.search(rf'<section id="{section}">(.*?)</section>', page, re.DOTALL)
    found = whole and re.search(r"<svg\b.*?</svg>", whole[1], re.DOTALL)
    if not found:
        names = ", ".join(re.findall(r'<section id="([^"]+)"', page))
        raise SystemExit(f"no drawing in the section {section}; sections: {names}")
    return found[0]


def _small(picture: Image.Image) -> Image.Image:
    picture = picture.convert("RGB")
    picture.thumbnail((WIDTH, 10 * WIDTH))
    return picture.quantize(64)
