from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core import from_json, to_json
from edgekit.data import open_source
from edgekit.errors import UnavailableError, UnknownNameError, UsageError
from edgekit.training import TrainingOptions, train
from edgekit.training.options import check, machine, resolve


@given(
    st.builds(
        TrainingOptions,
        epochs=st.integers(1, 1000),
        lr=st.none() | st.floats(1e-6, 10),
        flip=st.none() | st.booleans(),
        seed=st.integers(0, 2**63 - 1),
        optimizer=st.sampled_from(["adamw", "rmsprop", "sgd"]),
        randaugment=st.none() | st.tuples(st.integers(1, 14), st.integers(0, 10)),
        init=st.none() | st.text(),
    )
)
def test_survive_a_json_round_trip(options: TrainingOptions) -> None:
    check(options)
    assert from_json(TrainingOptions, json.loads(json.dumps(to_json(options)))) == options


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 0}, "epochs 0"),
        ({"epochs": "3"}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"batch_size": 1}, "batch size 1"),
        ({"lr": 0.0}, "lr 0"),
        ({"lr": -0.1}, "lr -0.1"),
        ({"lr": math.nan}, "lr nan"),
        ({"lr": math.inf}, "lr inf"),
        ({"weight_decay": -1.0}, "weight decay"),
        ({"warmup_epochs": -1.0}, "warm-up"),
        ({"label_smoothing": 1.0}, "label smoothing"),
        ({"seed": -1}, "seed -1"),
        ({"threads": 0}, "threads 0"),
        ({"accumulate": 0}, "accumulate 0"),
        ({"randaugment": (0, 9)}, "randaugment"),
        ({"randaugment": (2, 11)}, "0 to 10"),
        ({"randaugment": (2,)}, "as in 2,9"),
        ({"mixup": -0.1}, "mixup -0.1"),
        ({"cutmix": math.nan}, "cutmix nan"),
        ({"drop_path": 1.0}, "drop path"),
        ({"dropout": -0.5}, "dropout"),
        ({"teacher_weight": 0.0}, "teacher weight"),
        ({"teacher_temperature": 0.0}, "teacher temperature"),
        ({"optimizer": "adam"}, "adamw"),
        ({"schedule": "steps"}, "did you mean step"),
        ({"device": "tpu"}, "device"),
        ({"amp": "fp8"}, "mixed precision"),
        ({"device": "cpu", "amp": "fp16"}, "fp16"),
    ],
)
def test_values_out_of_range_are_usage_errors_that_name_them(
    change: dict[str, Any], named: str, tmp_path: Path
) -> None:
    options = dataclasses.replace(TrainingOptions(), **change)
    with pytest.raises(UsageError, match=named):
        train("mobilenetv1", "synthetic", options=options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_optimizer_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as caught:
        check(TrainingOptions(optimizer="adam"))
    assert caught.value.suggestions == ("adamw",)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU")
def test_cuda_without_a_gpu_is_unavailable_and_auto_takes_the_cpu() -> None:
    with pytest.raises(UnavailableError, match="cuda"):
        machine(TrainingOptions(device="cuda"))
    assert machine(TrainingOptions()) == ("cpu", "no")
    assert machine(TrainingOptions(amp="bf16")) == ("cpu", "bf16")


def test_digits_are_never_flipped_and_shapes_are() -> None:
    digits, shapes = open_source("digits"), open_source("synthetic")
    assert resolve(TrainingOptions(), digits, 224, 32).flip is False
    assert resolve(TrainingOptions(), shapes, 224, 32).flip is True
    assert resolve(TrainingOptions(flip=False), shapes, 224, 32).flip is False
    with pytest.raises(UsageError, match="digits"):
        resolve(TrainingOptions(flip=True), digits, 224, 32)


def test_small_images_are_enlarged_at_most_to_the_next_stride_above_twice_their_side() -> None:
    digits, shapes = open_source("digits"), open_source("synthetic")  # 8 and 40 px
    assert resolve(TrainingOptions(), digits, 224, 32).resolution == 32
    assert resolve(TrainingOptions(), shapes, 224, 32).resolution == 96
    assert resolve(TrainingOptions(), shapes, 64, 32).resolution == 64
    assert resolve(TrainingOptions(resolution=48), shapes, 224, 32).resolution == 48


def test_batch_size_and_rate_follow_the_number_of_images() -> None:
    small = resolve(TrainingOptions(), open_source("synthetic"), 224, 32)  # 64 images
    medium = resolve(TrainingOptions(), open_source("digits"), 224, 32)  # 1,257 images
    assert (small.batch_size, medium.batch_size) == (16, 32)
    assert medium.lr == 4e-3
    assert small.lr == 4e-3
    given = resolve(TrainingOptions(batch_size=128), open_source("digits"), 224, 32)
    assert (given.batch_size, given.lr) == (128, 4e-3)


def test_rate_and_decay_follow_the_optimizer_unless_they_are_given() -> None:
    source = open_source("synthetic")
    adamw = resolve(TrainingOptions(), source, 224, 32)
    sgd = resolve(TrainingOptions(optimizer="sgd"), source, 224, 32)
    rmsprop = resolve(TrainingOptions(optimizer="rmsprop", batch_size=64), source, 224, 32)
    assert rmsprop.lr == pytest.approx(0.256 * 64 / 4096)  # arXiv:1905.11946, section 5
    assert rmsprop.weight_decay == 1e-5
    assert adamw.lr is not None
    assert sgd.lr is not None
    assert sgd.lr > adamw.lr
    assert resolve(TrainingOptions(lr=0.5), source, 224, 32).lr == 0.5
    assert resolve(TrainingOptions(weight_decay=0.0), source, 224, 32).weight_decay == 0.0
