"""What an app has to give for a golden image: outputs, and what they come to, task by task.

Outputs of most tasks are compared one by one, by some of their numbers. What they come to is tested
by *cases*: outputs of an image, or made ones, with what decoding makes of them, to the last digit.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgekit.core import (
    CLASSIFY,
    SCORES,
    Artifact,
    Interface,
    Preprocessing,
    TensorSpec,
    scores_fit,
    to_json,
)
from edgekit.data import preprocess
from edgekit.data.scores import probabilities
from edgekit.tasks import Described, Frame, task_of_file
from edgekit.tasks.detect import Detect
from edgekit.tasks.embed import Embed, Embedding, Gallery
from edgekit.tasks.segment import Segment

TASKS = (CLASSIFY, Detect.name, Segment.name, Embed.name)
"""Tasks that apps are written for."""

SAME_FILE_DB = {"fp32": 80.0, "fp16": 60.0}
"""How closely an app has to give what the file gave here, on other processors, too: sums of float32
are in another order there (docs/measurements/devices.md)."""

SAME_FILE_OF_INTEGERS_DB = 40.0
"""The same of integers, whose kernels are equal to the bit where the file was written for them. A
file for another kind of processor may pass the bound (docs/devices.md), so that apps look at their
processor as well."""

_MOST_NUMBERS = 4000
"""Of an output in a golden image: enough to tell a wrong one, and few enough to be read."""

_MOST_BOXES = 60
"""Boxes of a case, those of the highest scores."""

_OF_BOXES = ("boxes", "scores", "classes")
"""Roles of the outputs of a detector that have a row for each box."""

_SEED = 29


@dataclass(frozen=True, slots=True)
class Expected:
    """What belongs to one image.

    Attributes:
        told: in ``golden.json``.
        files: beside it, by what their names end in.
    """

    told: Mapping[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


def expected(
    contract: Artifact, rows: Mapping[str, NDArray[Any]], size: tuple[int, int], name: str
) -> Expected:
    """What an app has to give for an image.

    Args:
        rows: outputs, by whose they are: ``file``, and ``network`` where it is known.
        size: (height, width) of the image.
        name: of its file.
    """
    if contract.task == CLASSIFY:
        return _classes(contract, rows, size, name)
    columns = Interface(contract.inputs, contract.outputs).columns
    outputs = {
        of: {spec.role or spec.name: _sample(contract, spec, rows, of, columns[spec.name])
             for spec in contract.outputs}
        for of in rows
    }  # fmt: skip
    found = _RESULTS[contract.task](contract, rows["file"], size, name)
    return replace(found, told={"size": list(size), "outputs": outputs, **found.told})


def _sample(
    contract: Artifact, spec: TensorSpec, rows: Mapping[str, NDArray[Any]], of: str, own: slice
) -> dict[str, Any]:
    """Some numbers of an output, and how closely those of the app have to follow them."""
    values = rows[of][own]
    every = max(1, -(-len(values) // _MOST_NUMBERS))
    # Neighbours in a row may be of one class: the step has no side of a map in it.
    while every > 1 and any(side > 1 and every % side == 0 for side in spec.shape):
        every += 1
    least = _least(contract, of, values, rows["file"][own])
    kept = _digits(values[::every])
    return {"every": every, "values": kept, "least_db": least}


def _least(
    contract: Artifact,
    of: str,
    values: NDArray[Any],
    by_file: NDArray[Any],
    *,
    centred: bool = False,
) -> float:
    if of == "file":
        return SAME_FILE_DB.get(contract.scheme.precision, SAME_FILE_OF_INTEGERS_DB)
    # What integers cost on this image is known: an app may not lose more than a little on top.
    return round(signal_to_noise_db(by_file, values, centred=centred) - 1.0, 1)


def signal_to_noise_db(found: NDArray[Any], known: NDArray[Any], *, centred: bool = True) -> float:
    """Power of what is expected over that of the difference, at most 200 dB.

    Args:
        centred: whether only the spread of what is expected counts, as of scores of classes.
    """
    noise = float(np.square(found - known, dtype=np.float64).mean())
    power = float(np.var(known, dtype=np.float64))
    if not centred:
        power = float(np.square(known, dtype=np.float64).mean())
    return 10 * math.log10(max(power, 1e-30) / max(noise, power * 1e-20, 1e-30))


def _classes(
    contract: Artifact, rows: Mapping[str, NDArray[Any]], size: tuple[int, int], name: str
) -> Expected:
    least = {of: _least(contract, of, row, rows["file"], centred=True) for of, row in rows.items()}
    found: Any = _decoded(contract, rows["file"], size, name)
    labels = [
        {"index": each.index, "label": each.label, "probability": each.probability}
        for each in found.labels
    ]
    scores = {of: [float(x) for x in row] for of, row in rows.items()}
    return Expected({"scores": scores, "least_db": least, "labels": labels})


def _decoded(contract: Artifact, row: NDArray[Any], size: tuple[int, int], name: str) -> Any:
    assert contract.preprocessing is not None
    frame = Frame(size, contract.preprocessing)
    return task_of_file(contract, name).decode(row[np.newaxis], name, frame, 5)


def _objects(contract: Artifact, row: NDArray[Any], size: tuple[int, int], name: str) -> Expected:
    """A case of the image's surest boxes; where none is sure enough, by a lower threshold."""
    columns = Interface(contract.inputs, contract.outputs).columns
    # How many boxes there are is no part of them: places without one have no score.
    parts = {
        spec.role or spec.name: row[columns[spec.name]].reshape(spec.shape[1:])
        for spec in contract.outputs
        if (spec.role or spec.name) in _OF_BOXES
    }
    scores = parts["scores"].reshape(len(parts["boxes"]), -1)
    best = np.argsort(-scores.max(axis=1), kind="stable")[:_MOST_BOXES]
    few = {role: part[np.sort(best)] for role, part in parts.items()}
    task: Any = task_of_file(contract, name)
    threshold = min(task.threshold, float(np.partition(scores.ravel(), -20)[-20:].min())
                    if scores.size >= 20 else float(scores.min()))  # fmt: skip
    return Expected({"case": _case_of_objects(contract, few, size, max(0.0, threshold))})


def _case_of_objects(
    contract: Artifact, parts: Mapping[str, NDArray[Any]], size: tuple[int, int], threshold: float
) -> dict[str, Any]:
    """Raw boxes, and the objects that they come to.

    Args:
        parts: outputs of one image by role, without a batch axis.
    """
    parts = {role: part.astype(np.float32) for role, part in parts.items()}
    specs = tuple(
        TensorSpec(role, (1, *part.shape), "float32", "", role=role) for role, part in parts.items()
    )
    parameters = {**contract.parameters, "score_threshold": threshold}
    own = replace(contract, outputs=specs, parameters=parameters)
    row = np.concatenate([part.ravel() for part in parts.values()])
    found = _decoded(own, row, size, "case")
    return {
        "how": to_json(contract.preprocessing),
        "size": list(size),
        "parameters": parameters,
        "labels": contract.labels,
        **{role: part.tolist() for role, part in parts.items()},
        "objects": [
            {"box": list(one.box), "index": one.index, "label": one.label,
             "probability": one.probability}
            for one in found.boxes
        ],
    }  # fmt: skip


def _areas(contract: Artifact, row: NDArray[Any], size: tuple[int, int], name: str) -> Expected:
    """The network's own mask, and what becomes of it in the image."""
    task: Any = task_of_file(contract, name)
    found = _decoded(contract, row, size, name)
    told = {
        "mask": f"{name}.mask.png",
        "classes_of_network": f"{name}.classes.png",
        "classes": _shares(found),
    }
    files = {".mask.png": _png(found.mask), ".classes.png": _png(task.masks(row[np.newaxis])[0])}
    return Expected(told, files)


def _shares(found: Any) -> list[dict[str, Any]]:
    return [{"index": one.index, "label": one.label, "share": one.share} for one in found.classes]


def _png(mask: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(mask).save(content, "PNG", optimize=True)
    return content.getvalue()


def _embedding(contract: Artifact, row: NDArray[Any], size: tuple[int, int], name: str) -> Expected:
    found = _decoded(contract, row, size, name)
    return Expected({"embedding": _digits(found.embedding)})


def _digits(values: Iterable[float]) -> list[float]:
    """All digits that a float32 has, and no more."""
    return [float(f"{value:.7g}") for value in values]


_RESULTS: Mapping[str, Callable[[Artifact, NDArray[Any], tuple[int, int], str], Expected]] = {
    Detect.name: _objects,
    Segment.name: _areas,
    Embed.name: _embedding,
}


def vectors(contract: Artifact) -> list[dict[str, Any]]:
    """Made outputs, and what they come to: what images alone would not try."""
    if contract.task == CLASSIFY:
        return vectors_of_classes()
    rng = np.random.default_rng(_SEED)
    if contract.task == Embed.name:
        return [_gallery(rng, distance) for distance in (None, 0.5)]
    sizes = ((61, 97), (120, 45))
    hows = [
        preprocess.default(32),
        Preprocessing(resize=None, crop=(32, 48), fit="letterbox"),
        Preprocessing(resize=None, crop=(24, 40), fit="stretch"),
        Preprocessing(resize=(40, 36), crop=(32, 24), fit="crop"),
    ]
    make = _crowd if contract.task == Detect.name else _patches
    return [make(contract, how, size, rng) for how in hows for size in sizes]


def vectors_of_classes() -> list[dict[str, Any]]:
    """Scores and the probabilities that they stand for, of each kind there is."""
    rows = {
        "logits": [[2.0, -1.5, 0.25, 30.0], [1000.0, 998.5, -1000.0], [-0.75], [40.0]],
        "probabilities": [[0.1, 0.7, 0.2]],
        "sigmoid": [[0.9, 0.8, 0.01], [0.25]],
    }
    assert set(rows) == set(SCORES)
    return [
        {
            "kind": kind,
            "scores": row,
            "probabilities": probabilities(np.array([row]), kind)[0].tolist(),
        }
        for kind, several in rows.items()
        for row in several
        if scores_fit(kind, len(row))
    ]


def _crowd(
    contract: Artifact, how: Preprocessing, size: tuple[int, int], rng: np.random.Generator
) -> dict[str, Any]:
    """Boxes upon each other, of equal scores and beyond the edges of the image."""
    tall, wide = how.size
    middles = rng.uniform(0, 1, (6, 2)).repeat(6, axis=0) + rng.normal(0, 0.06, (36, 2))
    sides = rng.uniform(0.2, 0.6, (6, 2)).repeat(6, axis=0) * rng.uniform(0.8, 1.2, (36, 2))
    corners = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)
    boxes = corners * [wide, tall, wide, tall]
    boxes[5] = boxes[4][[2, 3, 0, 1]]  # without an area
    scores = np.round(rng.uniform(0, 1, (36, 3)) ** 2, 1)
    own = replace(
        contract,
        preprocessing=how,
        labels=("one", "two", "three"),
        parameters={"nms_iou": 0.4, "max_detections": 25},
    )
    if any((spec.role or spec.name) == "classes" for spec in contract.outputs):
        single = {"boxes": boxes, "scores": scores[:, 0], "classes": rng.integers(0, 3, 36)}
        return _case_of_objects(own, single, size, 0.2)
    return _case_of_objects(own, {"boxes": boxes, "scores": scores}, size, 0.2)


def _patches(
    contract: Artifact, how: Preprocessing, size: tuple[int, int], rng: np.random.Generator
) -> dict[str, Any]:
    """Scores of a coarse map, of several classes or of a single one."""
    count = 1 if how.fit == "stretch" else 3
    scores = np.round(rng.normal(0, 1, (count, 8, 12)), 2).astype(np.float32)
    specs = (TensorSpec("scores", (1, *scores.shape), "float32", "", role="scores"),)
    own = replace(contract, preprocessing=how, labels=None, outputs=specs, parameters={})
    found = _decoded(own, scores.ravel(), size, "case")
    return {
        "how": to_json(how),
        "size": list(size),
        "scores": scores.tolist(),
        "mask": found.mask.tolist(),
        "classes": _shares(found),
    }


def _gallery(rng: np.random.Generator, distance: float | None) -> dict[str, Any]:
    known = rng.normal(0, 1, (7, 5))
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    own = known[3] + rng.normal(0, 0.2, 5) if distance is None else -known.sum(axis=0)
    own /= np.linalg.norm(own)
    names: Sequence[str] = [f"thing {i % 3}" for i in range(len(known))]
    gallery = Gallery(tuple(names), tuple(names), known.astype(np.float32), distance)
    spec = TensorSpec("embedding", (1, 5), "float32", "", role="embedding")
    task = Embed(Described("case", Interface((), (spec,))))
    found = task.among(Embedding("case", tuple(map(float, own))), gallery, 4)
    return {
        "embedding": (3 * own).tolist(),
        "known": known.tolist(),
        "labels": names,
        "distance": distance,
        "label": found.label,
        "neighbours": [{"label": one.label, "distance": one.distance} for one in found.neighbours],
    }
