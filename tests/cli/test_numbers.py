"""Options that take numbers: no infinity, no NaN, no number out of range."""

from __future__ import annotations

import pytest
from command_line import CommandLine

MEASURING = {
    "--seconds": "at least 1 and at most 86400",
    "--precision-goal": "at least 0.01 and at most 50",
    "--time-limit": "at least 1 and at most 86400",
}
TRAINING = {
    "--lr": "above 0",
    "--weight-decay": "at least 0",
    "--warmup-epochs": "at least 0",
    "--label-smoothing": "at least 0 and below 1",
    "--mixup": "at least 0",
    "--cutmix": "at least 0",
    "--drop-path": "at least 0 and below 1",
    "--dropout": "at least 0 and below 1",
    "--teacher-weight": "above 0 and at most 1",
    "--teacher-temperature": "above 0",
}
OPTIONS = [
    *(("profile a", option, expected) for option, expected in MEASURING.items()),
    *(("compare a b", option, expected) for option, expected in MEASURING.items()),
    ("compare a b", "--fail-if-slower", "at least 0 and at most 10000"),
    *(("train a", option, expected) for option, expected in TRAINING.items()),
]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "-1", "much"])
@pytest.mark.parametrize(("command", "option", "expected"), OPTIONS)
def test_what_is_no_number_of_the_range_is_refused(
    command: str, option: str, expected: str, number: str, run: CommandLine
) -> None:
    found = run(*command.split(), f"{option}={number}")
    assert (found.code, found.out) == (2, "")
    assert f"'{option}': {number}: expected a number that is {expected}" in found.message


@pytest.mark.parametrize(
    ("option", "inside", "outside"),
    [("--lr", "1e-9", "0"), ("--dropout", "0", "1"), ("--teacher-weight", "1", "0")],
)
def test_the_ends_of_ranges_count_as_they_say(
    option: str, inside: str, outside: str, run: CommandLine
) -> None:
    assert f"'{option}': {outside}: expected" in run("train", "a", option, outside).message
    assert run("train", "a", option, inside).message.startswith("unknown model 'a'")
