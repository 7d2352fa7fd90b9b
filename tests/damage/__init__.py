"""Ways to damage the files that edgekit reads: each a function of a path and a seeded generator.

`KINDS` has them by what they damage: a target's name, ``contract``, ``image``, ``checkpoint``.
The files are good before; a damaged one may still be a good one (a flipped bit of a weight is).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from damage import checkpoints, contracts, images, onnx_files, openvino_files, raw, tflite_files

Damage = Callable[[Path, random.Random], None]

KINDS: Mapping[str, Mapping[str, Damage]] = {
    "onnx": {**raw.KINDS, **onnx_files.KINDS},
    "openvino": {**raw.KINDS, **openvino_files.KINDS},
    "tflite": {**raw.KINDS, **tflite_files.KINDS},
    "contract": contracts.KINDS,
    "image": images.KINDS,
    "checkpoint": checkpoints.KINDS,
}
