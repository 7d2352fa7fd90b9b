"""Small folders of images with annotations, as other tools write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 20


def save_image(
    path: Path, size: tuple[int, int] = (HEIGHT, WIDTH), orientation: int | None = None
) -> Path:
    """Writes an image whose columns and rows differ; height and width as it is stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.indices(size)
    pixels = np.stack([rows * 10, columns * 10, rows + columns], axis=2).astype(np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def save_mask(path: Path, mask: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, np.uint8)).save(path)
    return path


def voc_object(name: str, corners: Sequence[Any], difficult: Any = 0) -> str:
    edges = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{edge}>{value}</{edge}>" for edge, value in edges)
    named = f"<name>{name}</name><difficult>{difficult}</difficult>"
    return f"<object>{named}<bndbox>{box}</bndbox></object>"


def save_voc(
    root: Path,
    objects: Mapping[str, str],
    lists: Mapping[str, Sequence[str]] | None = None,
    size: tuple[int, int] = (HEIGHT, WIDTH),
) -> Path:
    """Annotations and images by name, and lists of splits."""
    (root / "Annotations").mkdir(parents=True)
    for name, inner in objects.items():
        save_image(root / "JPEGImages" / f"{name}.png")
        told = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
        text = f"<annotation><filename>{name}.png</filename>{told}{inner}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(text)
    for split, names in (lists or {}).items():
        path = root / "ImageSets" / "Main" / f"{split}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(names) + "\n")
    return root


def save_yolo(
    root: Path,
    labels: Mapping[str, str | None],
    description: str | None = "names: [cat, dog]\n",
) -> Path:
    """Label files by the paths of images without their ending, such as ``images/train/a``."""
    for name, text in labels.items():
        image = save_image(root / f"{name}.png")
        if text is not None:
            parts = ["labels" if part == "images" else part for part in Path(name).parts]
            path = (root / Path(*parts)).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert image.is_file()
    (root / "labels").mkdir(exist_ok=True)
    if description is not None:
        (root / "data.yaml").write_text(description)
    return root


def coco(
    images: Sequence[str] = ("a.png", "b.png"),
    annotations: Sequence[Mapping[str, Any]] = (),
    **changes: Any,
) -> dict[str, Any]:
    """A document with the categories cat and dog; annotations get what they lack."""
    usual = {"image_id": 1, "category_id": 3, "bbox": [2, 3, 4, 5]}
    found = {
        "images": [
            {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for i, name in enumerate(images, 1)
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [{"id": i, **usual, **one} for i, one in enumerate(annotations, 1)],
    }
    return {**found, **changes}


def save_coco(root: Path, documents: Mapping[str, Any]) -> Path:
    """Documents by the paths of their files; images stand in ``images``."""
    for name, document in documents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
        for image in document["images"]:
            save_image(root / "images" / image.get("file_name", "none.png"))
    return root


def save_masks(root: Path, masks: Mapping[str, Any], classes: str | None = "sky\nroad\n") -> Path:
    """Masks by the paths of their images, such as ``train/images/a``."""
    for name, mask in masks.items():
        save_image(root / f"{name}.png")
        save_mask(root / f"{name.replace('images', 'masks', 1)}.png", mask)
    if classes is not None:
        (root / "classes.txt").write_text(classes)
    return root
