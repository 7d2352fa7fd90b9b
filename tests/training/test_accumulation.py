from __future__ import annotations

import dataclasses

import pytest
import torch
from plain_network import OPTIONS, weights_after

from edgekit.data import open_source
from edgekit.errors import UsageError
from edgekit.training import TrainingOptions
from edgekit.training.options import resolve


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_parts_of_a_batch_give_the_step_of_the_whole(optimizer: str) -> None:
    options = dataclasses.replace(OPTIONS, optimizer=optimizer, lr=0.01)
    whole, steps = weights_after(options)
    # 64 images make batches of 10 and 11, which have no 3 parts of one size.
    parts, same_steps = weights_after(dataclasses.replace(options, accumulate=3))
    assert same_steps == steps == 12
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-4, atol=1e-5)


def test_parts_that_batch_norm_cannot_be_computed_on_are_refused() -> None:
    source = open_source("synthetic")
    assert resolve(TrainingOptions(accumulate=8), source, 32, 32).accumulate == 8  # 2 of 16 each
    with pytest.raises(UsageError, match=r"batch of 16 images .* in 9 parts"):
        resolve(TrainingOptions(accumulate=9), source, 32, 32)
    with pytest.raises(UsageError, match="batch of 64 images"):  # that is all there are
        resolve(TrainingOptions(batch_size=1000, accumulate=33), source, 32, 32)
