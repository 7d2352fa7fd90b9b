"""The smallest network of every family of timm, exported to every target and held to PyTorch.

``python tests/bench/timm_networks.py --targets tflite --out DIR`` takes each module of timm's
registry that has convolutions, builds its network of the fewest parameters with random weights and
batch norms set from noise, and converts it at the smallest side of `SIDES` that it runs at. One
JSON line a file goes to ``DIR/TARGET-PRECISION.jsonl``: ``db``, how far the file follows PyTorch on
images that it has not seen, or ``said``, why there is none. A run goes on behind the last line.

``--table`` prints what the lines say as the table of the docs; ``--only NAME`` shows one network.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from random_networks import LEAST_DB, sqnr
from torch import nn

SIDES = (96, 128, 160, 192, 224, 256)
IMAGES, CALIBRATION_IMAGES, STATISTICS_IMAGES = 4, 12, 4
PATIENCE_S = 240
MOST_PARAMETERS = 2e8

LARGE = re.compile(r"large|huge|giant|big|base|medium|xl|so\d+m|_l_|_b_|1[05]\d|200|269|_512|_384")
"""Names that are not even asked for their size, where a family has others: building takes long."""


def smallest(folder: Path) -> dict[str, str]:
    """The network of the fewest parameters, by family; only of families with convolutions."""
    record = folder / "smallest.json"
    if record.exists():
        return dict(json.loads(record.read_text()))
    from timm.models import _registry

    found = {}
    for family, members in sorted(_registry._module_to_models.items()):
        names = sorted(name for name in members if not LARGE.search(name)) or sorted(members)
        sizes = [(size, name) for name in names if (size := _parameters(name)) is not None]
        if sizes and min(sizes)[0] <= MOST_PARAMETERS:
            found[family] = min(sizes)[1]
    record.write_text(json.dumps(found, indent=1))
    return found


def _parameters(name: str) -> int | None:
    """How many a network has; ``None`` if none of its layers is a convolution."""
    import timm

    try:
        with torch.device("meta"):
            module = timm.create_model(name)
    except Exception:  # some cannot be built without memory
        return None
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d
    if not any(isinstance(layer, kinds) for layer in module.modules()):
        return None
    return sum(p.numel() for p in module.parameters())


def smooth(count: int, side: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Images (count, 3, side, side) with gradients, edges and patches, normalized."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    images = np.empty((count, 3, side, side), np.float32)
    for image in images:
        angle, shift = rng.uniform(0, 6.3), rng.uniform(-0.5, 0.5)
        edge = (np.cos(angle) * x + np.sin(angle) * y + shift) > 0.3
        for plane in image:
            plane[:] = rng.uniform(0, 0.6) + rng.uniform(-0.5, 0.5) * x
            plane += rng.uniform(-0.5, 0.5) * y + rng.uniform(-0.4, 0.4) * edge
            top, left = rng.integers(0, side - side // 4, 2)
            plane[top : top + side // 4, left : left + side // 4] += rng.uniform(-0.4, 0.4)
            plane += rng.normal(0, 0.05, plane.shape)
    return (np.clip(images, 0, 1) - np.float32(0.45)) / np.float32(0.225)


def network(name: str) -> tuple[nn.Module, int]:
    """A network whose batch norms have seen images, and the side it takes."""
    import timm
    from torch.optim.swa_utils import update_bn

    from edgekit.models.zeros import fill_zeros

    torch.manual_seed(0)
    module = timm.create_model(name).eval()
    side = next(side for side in SIDES if _runs(module, side))
    fill_zeros(module, torch.zeros(1, 3, side, side))
    with torch.no_grad():
        for factors in module.parameters():
            # Of branches that start at next to nothing: float32 itself would not tell them.
            if factors.numel() > 1 and 0 < factors.max() == factors.min() < 0.01:
                factors.fill_(0.1)
    batches = [torch.from_numpy(smooth(STATISTICS_IMAGES, side, 1))]
    torch.manual_seed(0)
    dropping = [layer for layer in module.modules() if "Drop" in type(layer).__name__]
    for layer in dropping:  # what is left out by chance would not be seen
        layer.forward = lambda x, *_, **__: x
    update_bn(batches, module)
    for layer in dropping:
        del layer.forward
    return module.eval(), side


def _runs(module: nn.Module, side: int) -> bool:
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, side, side))
    except Exception:  # whatever its code raises
        return False
    return True


def judged(name: str, target_name: str, precision: str) -> dict[str, Any]:
    """Exports a network and runs the file."""
    from edgekit import registry
    from edgekit.arrays import turned
    from edgekit.core import of_image
    from edgekit.lowering import lower
    from edgekit.models.copying import own_copy
    from edgekit.native_output import captured

    module, side = network(name)
    target = registry.target(target_name)
    images = smooth(IMAGES, side, 7)
    with torch.no_grad():
        expected = torch.cat([own_copy(module)(one[None]) for one in torch.from_numpy(images)])
    scheme = target.schemes[precision]
    example = of_image(torch.from_numpy(images[:1]))
    ranges = None
    if scheme.calibration is not None:
        smooth_ones = turned(smooth(CALIBRATION_IMAGES, side, 2), "NCHW", target.layout)
        ranges = [[np.ascontiguousarray(one[None])] for one in smooth_ones]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{target.suffix}"
        begin = time.perf_counter()
        with captured():
            lowered, _ = lower(own_copy(module), example.tensors, target, scheme)
            target.export(lowered, example, path, scheme, ranges)
            seconds = time.perf_counter() - begin
            runner = target.open(path, 1)
            inputs = np.ascontiguousarray(turned(images, "NCHW", target.layout))
            found = np.concatenate([runner.run([one[None]])[0] for one in inputs])
        left = Counter(target.float_operators(path)) if ranges else Counter[str]()  # type: ignore[attr-defined]
    db = round(sqnr(expected.double().numpy(), found.astype(np.float64)), 1)
    return {"side": side, "db": db, "seconds": round(seconds, 1), "left_in_float": dict(left)}


def _attempt(name: str, target: str, precision: str, answer: Any) -> None:
    from edgekit.errors import EdgekitError

    torch.set_num_threads(1)
    try:
        found = judged(name, target, precision)
    except EdgekitError as error:
        found = {"said": str(error)[:500]}
    except BaseException:
        found = {"raw": traceback.format_exc()[-1500:]}
    answer.send(found)


def entry_of(name: str, target: str, precision: str) -> dict[str, Any]:
    """What becomes of one network, in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_attempt, args=(name, target, precision, sender)
    )
    process.start()
    sender.close()
    try:
        found = receiver.recv() if receiver.poll(PATIENCE_S) else {"raw": f"{PATIENCE_S} s"}
    except EOFError:
        found = {"raw": "the process died"}
    process.kill()
    process.join()
    return dict(found)


def passes(entry: dict[str, Any], precision: str) -> bool:
    """Whether there is a file that runs; one of float32 computes the network, too.

    How much integers cost says little of random weights.
    """
    return bool(entry.get("db", -np.inf) >= (LEAST_DB[precision] if precision == "fp32" else -200))


def table(folder: Path) -> None:
    """Counts, what keeps each network that does not pass, and integers that say little."""
    for record in sorted(folder.glob("*-*.jsonl")):
        precision = record.stem.rpartition("-")[2]
        entries = [json.loads(line) for line in record.read_text().splitlines()]
        good = [entry for entry in entries if passes(entry, precision)]
        coarse = [entry for entry in good if entry["db"] < LEAST_DB[precision]]
        middle = np.median([entry["db"] for entry in good])
        print(f"{record.stem}: {len(good)} of {len(entries)}, median {middle:.1f} dB")
        for entry in entries:
            if entry not in good:
                why = entry.get("said") or entry.get("raw") or f"{entry['db']} dB"
                print(f"  {entry['name']}: {why.strip().splitlines()[-1][:200]}")
        for entry in coarse:
            print(f"  {entry['name']}: runs, {entry['db']} dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--targets", default="tflite,onnx,openvino")
    parser.add_argument("--precisions", default="fp32")
    parser.add_argument("--every", type=int, default=1, help="Every so many networks only.")
    parser.add_argument("--only", help="Names of networks, with commas; nothing is recorded.")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.table:
        table(options.out)
        return
    import timm  # noqa: F401  # here, so that it is imported once

    import edgekit.lowering  # noqa: F401

    chosen = smallest(options.out)
    names = options.only.split(",") if options.only else list(chosen.values())[:: options.every]
    for target in options.targets.split(","):
        for precision in options.precisions.split(","):
            record = options.out / f"{target}-{precision}.jsonl"
            lines = record.read_text().splitlines() if record.exists() else []
            done = {json.loads(line)["name"] for line in lines}
            for name in names:
                if name in done and not options.only:
                    continue
                entry = {"name": name, **entry_of(name, target, precision)}
                print(target, precision, json.dumps(entry), flush=True)
                if not options.only:
                    with record.open("a") as file:
                        file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
