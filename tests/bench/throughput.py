"""Images per second of `edgekit train` against a plain PyTorch loop on the same network.

Run by `make bench`, or with other networks: ``python tests/bench/throughput.py NETWORK...``.

The plain loop is what one writes first: a shuffled DataLoader over float tensors in memory,
forward, cross entropy, backward, AdamW. It augments nothing, averages nothing and evaluates
nothing. Both take the same number of images of the same size; rounds alternate.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from edgekit.models import build

NETWORKS = ("mobilenetv3-small", "shufflenetv2")
SIDE, BATCH, EPOCHS, ROUNDS = 64, 128, 4, 3
IMAGES, CLASSES = 1259, 10  # of the training split of digits


def plain(network: str) -> list[float]:
    """Images per second of each epoch but the first."""
    torch.manual_seed(0)
    model = build(network, classes=CLASSES, resolution=SIDE).train()
    images, labels = torch.randn(IMAGES, 3, SIDE, SIDE), torch.randint(CLASSES, (IMAGES,))
    loader = DataLoader(TensorDataset(images, labels), BATCH, shuffle=True, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rates = []
    for _ in range(EPOCHS):
        begin, n = time.perf_counter(), 0
        for pixels, target in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(pixels), target)
            loss.backward()
            optimizer.step()
            n += len(target)
        rates.append(n / (time.perf_counter() - begin))
    return rates[1:]


def plain_elsewhere(network: str) -> list[float]:
    """`plain` in a process of its own."""
    command = [sys.executable, __file__, "--plain", network]
    rates: list[float] = json.loads(subprocess.check_output(command, text=True))
    return rates


def ours(network: str) -> list[float]:
    """The same of ``edgekit train``, which states it in ``metrics.jsonl``."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"--data": "digits", "--resolution": SIDE, "--batch-size": BATCH}
        command = [sys.executable, "-m", "edgekit", "train", network, "--epochs", str(EPOCHS)]
        command += [str(word) for pair in options.items() for word in pair]
        subprocess.run([*command, "-o", folder], check=True, capture_output=True)
        lines = Path(folder, "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [record["images_per_s"] for record in records[1:] if "images_per_s" in record]


def main() -> None:
    """Prints a table in Markdown."""
    print(f"digits at {SIDE} px, batch {BATCH}, median of {ROUNDS} alternating rounds\n")
    print("| network | edgekit train, images/s | plain loop | ratio | of each round |")
    print("|---|---|---|---|---|")
    for network in sys.argv[1:] or NETWORKS:
        pairs = []
        for i in range(ROUNDS):
            order = (ours, plain_elsewhere) if i % 2 == 0 else (plain_elsewhere, ours)
            pairs.append({way.__name__: statistics.median(way(network)) for way in order})
        rates = {name: statistics.median(pair[name] for pair in pairs) for name in pairs[0]}
        ratios = [pair["ours"] / pair["plain_elsewhere"] for pair in pairs]
        print(
            f"| {network} | {rates['ours']:.0f} | {rates['plain_elsewhere']:.0f} "
            f"| {statistics.median(ratios):.2f} | {', '.join(f'{r:.2f}' for r in ratios)} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--plain"]:
        print(json.dumps(plain(sys.argv[2])))
    else:
        main()
