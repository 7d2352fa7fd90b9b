"""What decides in a search, which a journal has to have in common with the one that goes on."""

from __future__ import annotations

import hashlib
from importlib import metadata

from torch import nn

import edgekit
from edgekit.core import canonical_json, to_json
from edgekit.search.task import Task
from edgekit.tables import SIMULATORS


def identity_of(task: Task) -> dict[str, str]:
    """What a search has to have in common with the one that it goes on with, by its name."""
    return {
        "version of edgekit": edgekit.__version__,
        "network": f"{task.spec.name} ({_digest(task.model.module)})",
        "data": task.data,
        "images": task.inputs.fingerprint(),
        "target": task.target.name,
        "precision": task.precision,
        "budget": ",".join(limit.text for limit in task.limits),
        "resolution": str(task.spec.resolution),
        "kind of scores": task.model.scores or "as they look",
        "preprocessing": canonical_json(to_json(task.preprocessing)),
        "device": task.device.name,
        "threads": str(task.threads),
        **{
            name: value if isinstance(value, str) else canonical_json(to_json(value))
            for name, value in task.device.conditions(task.target).items()
        },
        "meter": task.conduct.meter if "energy" in task.resources else "none",
        "options": canonical_json(to_json(task.options)),
        # Of budgets that they tell something of.
        **{name: _versions(name) for name in task.simulators.values()},
        # Not of classifiers, whose journals are as they always were.
        **({} if task.model.signature is None else {"task": task.model.task}),
    }


def _versions(simulator: str) -> str:
    packages = SIMULATORS.load(simulator).packages
    return ", ".join(f"{package} {metadata.version(package)}" for package in packages)


def _digest(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
