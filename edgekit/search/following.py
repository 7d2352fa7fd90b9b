"""How closely a file follows the network that a search began with, in its runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from edgekit.data.finite import check_finite
from edgekit.native_output import captured
from edgekit.search.inputs import Running
from edgekit.search.task import Task
from edgekit.verification.artifact import running
from edgekit.verification.reference import inputs_of, outputs_of

AT_ONCE = 32
"""Inferences whose outputs are held in memory."""


def followed(path: Path, task: Task, split: str) -> float:
    """The headline figure of a file on all inputs of a split; see `edgekit.tasks.objectives`.

    One that is worse than nothing, as the mean of an output explains none of its variance, is 0.

    Args:
        task: whose start network is followed.

    Raises:
        ModelError: the runtime cannot run the file, or an output is not a finite number.
    """
    inputs, model, target = task.inputs, task.model, task.target
    tally, alone = task.objective.tally(), Running(task.run.interface, batched=False)
    with running(path, target), captured():
        runner = target.open(path, task.threads)
        given, got = runner.tensors()
        step = task.run.at_once(AT_ONCE)
        for start in range(0, inputs.size(split), step):
            part = range(start, min(start + step, inputs.size(split)))
            rows = inputs.ready(inputs.fetch(split, part)[0])
            with torch.no_grad():
                wanted = alone(model.module, rows)
            samples = rows.numpy()
            outputs = np.concatenate(
                [
                    outputs_of(
                        model,
                        runner.run(inputs_of(model, samples[i : i + 1], target.layout, given)),
                        got,
                    )
                    for i in range(len(samples))
                ]
            )
            names = [inputs.named(split, i) for i in part]
            check_finite(outputs, str(path), names.__getitem__, model.told)
            tally.update(torch.from_numpy(outputs), torch.zeros(len(outputs)), wanted)
    return max(0.0, tally.figure)
