"""What a user sees first: help, lists, versions, and what happens to a mistyped command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import click
import pytest
from command_line import CommandLine

import edgekit
from edgekit import registry, tables
from edgekit.cli import COMMANDS, cli
from edgekit.cli import cli as group
from edgekit.training.recipe import recipe_names

TOPICS = (
    "models", "targets", "precisions", "recipes", "data", "devices", "formats", "meters", "tasks",
    "transports", "heads",
    "apps",
    "plugins",
)  # fmt: skip

# Distributions that take from a tenth of a second to many seconds to import.
HEAVY = (
    "torch", "numpy", "PIL", "matplotlib", "sklearn", "accelerate", "onnx", "onnxruntime",
    "openvino", "ai_edge_litert", "litert_torch", "ai_edge_quantizer",
)  # fmt: skip

RUN_AND_LIST_MODULES = """
import json, sys
from edgekit.cli import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""


def test_a_list_that_is_given_twice_is_refused(run: CommandLine) -> None:
    """Else the last one would be taken without a word."""
    lists = []
    for command in COMMANDS:
        found = cli.get_command(click.Context(cli), command)
        assert found is not None
        for option in found.params:
            name, words = option.opts[0], getattr(option, "metavar", None) or ""
            if "," not in words or getattr(option, "multiple", False):
                continue
            lists.append(f"{command} {name}")
            result = run(command, name, "1", f"{name}=2")
            assert result.code == 2
            assert f"{name} is given 2 times: expected one list" in result.message
    assert {"export --target", "export --precision", "profile --threads"} <= set(lists)


def test_of_single_values_the_last_one_counts(run: CommandLine) -> None:
    """An alias gives one, the user another."""
    result = run("export", "nothing", "-t", "onnx", "--resolution", 32, "--resolution", "x")
    assert result.code == 2
    assert "x" in result.message
    assert "times" not in result.message


def test_several_names_are_separated_by_commas(run: CommandLine) -> None:
    result = run("export", "mobilenetv1", "-t", "onnx", "--target", "tflite")
    assert result.code == 2
    assert "--target is given 2 times: expected one list, separated by commas" in result.message


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], [], ["list"], ["list", "models", "--json"], ["nonsense"]]
    + [["list", topic] for topic in TOPICS]
    + [[command, "--help"] for command in COMMANDS],
    ids=" ".join,
)
def test_looking_around_imports_nothing_heavy(
    arguments: list[str], package_env: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_LIST_MODULES, *arguments],
        env=package_env,
        capture_output=True,
        check=True,
    )
    code, modules = json.loads(done.stderr.decode().splitlines()[-1])
    assert code == (2 if arguments in ([], ["nonsense"]) else 0)
    assert "click" in modules
    assert not set(HEAVY) & set(modules)


def test_help_names_every_command(cli: CommandLine) -> None:
    shown = cli("--help")
    assert (shown.code, shown.err) == (0, "")
    for command, about in COMMANDS.items():
        assert f"  {command} " in shown.out
        assert about in shown.out
    assert cli("-h").out == shown.out


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_of_80_columns(command: str, cli: CommandLine) -> None:
    # In a process of its own: what help prints must not hang on the state of other tests.
    shown = cli(*filter(None, [command]), "--help")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith(f"Usage: edgekit {command}".rstrip())
    assert max(map(len, shown.out.splitlines())) <= 80
    if command:
        assert "--json" in shown.out
        assert "--verbose" in shown.out


def test_version_is_that_of_the_package(cli: CommandLine) -> None:
    shown = cli("--version")
    assert (shown.code, shown.out, shown.err) == (0, f"edgekit {edgekit.__version__}\n", "")


@pytest.mark.parametrize("topic", TOPICS)
def test_list_shows_a_topic_as_text_and_as_json(topic: str, run: CommandLine) -> None:
    text, document = run("list", topic), run("list", topic, "--json")
    assert (text.code, document.code, text.err, document.err) == (0, 0, "", "")
    assert set(document.json) == {"schema", topic}
    assert document.json["schema"] == "edgekit.list/1"
    assert text.out.startswith(topic.capitalize())
    for entry in document.json[topic]:
        assert entry["name"] in text.out


def test_list_without_a_topic_shows_all(run: CommandLine) -> None:
    document = run("list", "--json").json
    assert set(document) == {"schema", *TOPICS}
    assert [entry["name"] for entry in document["targets"]] == list(tables.TARGETS)
    assert {entry["name"] for entry in document["models"]} == set(registry.model_names())
    assert [entry["name"] for entry in document["recipes"]] == list(recipe_names())
    assert {entry["name"] for entry in document["precisions"]} == set(tables.PRECISIONS)
    text = run("list").out
    assert all(f"{topic.capitalize()}:" in text for topic in TOPICS)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["lst"], ["unknown command 'lst'", "did you mean list", "edgekit --help"]),
        (["exprot", "x"], ["unknown command 'exprot'", "did you mean export"]),
        (["list", "model"], ["unknown topic 'model'", "did you mean models", "targets"]),
        (["list", "models", "more"], ["unexpected extra argument", "edgekit list --help"]),
        (["list", "--nonsense"], ["No such option", "--nonsense", "edgekit list --help"]),
        (["export", "mobilenetv2"], ["--target", "edgekit export --help"]),
        (["export"], ["MODEL", "edgekit export --help"]),
        (["evaluate"], ["ARTIFACT|MODEL", "edgekit evaluate --help"]),
        (["verify"], ["ARTIFACT", "edgekit verify --help"]),
        (["predict", "a.onnx"], ["IMAGE", "edgekit predict --help"]),
        (["predict", "a.onnx", "b.png", "--top", "0"], ["--top", "0"]),
        (["predict", "a.onnx", "b.png", "--threads", "0"], ["--threads", "0"]),
        (["train", "mobilenetv2", "--epochs", "many"], ["--epochs", "many", "integer"]),
        (["--nonsense"], ["No such option", "--nonsense"]),
    ],
    ids=lambda value: " ".join(value) if value and not value[0].startswith("un") else "",
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], named: list[str], run: CommandLine
) -> None:
    result = run(*arguments)
    assert (result.code, result.out) == (2, "")
    for text in named:
        assert text in result.message


def test_no_arguments_show_the_help(cli: CommandLine) -> None:
    result = cli()
    assert (result.code, result.out) == (2, "")
    assert result.err.strip() == cli("--help").out.strip()


def test_the_help_of_doctor_names_what_it_checks(run: CommandLine) -> None:
    text = " ".join(run("doctor", "--help").out.split())
    assert "devices" not in text
    for name in ("PyTorch", "CUDA", "temporary files", "Each target", "Python", "processor"):
        assert name in text


@pytest.mark.parametrize(
    "arguments",
    [["list", "model", "--json"], ["list", "--json", "--no"], ["nonsense", "--json"]],
    ids=" ".join,
)
def test_a_wrong_command_line_is_explained_as_json(arguments: list[str], run: CommandLine) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.json["schema"] == "edgekit.error/1"
    assert result.json["error"]["exit_code"] == 2
    assert result.json["error"]["message"] == result.message


def test_many_options_stand_in_groups_and_each_once(run: CommandLine) -> None:
    text = run("export", "--help").out
    titles = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles[:3] == ["Options:", "Network:", "Integers:"]
    first = text[: text.index("Network:")]
    assert all(option in first for option in ("--target", "--precision", "--out", "--json"))
    assert "--ranges" not in first
    for name in ("export", "search", "train", "profile", "describe", "list"):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        listed = run(name, "--help").out.partition("\nOptions:")[2]
        found = re.findall(r"^  (?:-\w, )?(--[a-z][\w-]*)", listed, re.MULTILINE)
        declared = [
            option.opts[-1] if option.opts[-1].startswith("--") else option.opts[0]
            for option in command.params
            if isinstance(option, click.Option)
        ]
        assert len(found) == len(set(found)) == len(declared) + 1  # and --help


def test_networks_are_listed_with_size_and_accuracy(run: CommandLine) -> None:
    listed = run("list", "models")
    assert all(len(line) <= 80 for line in listed.out.splitlines())
    row = next(line.split() for line in listed.out.splitlines() if " mobilenetv2 " in line)
    assert row == ["mobilenetv2", "3.50", "301", "224", "72.2", "yes"]
    entries = {one["name"]: one for one in run("list", "models", "--json").json["models"]}
    found = entries["mobilenetv1"]
    assert (found["params"], found["top1"], found["weights"]) == (4231976, 0.706, None)
    assert found["top1_source"] == "arXiv:1704.04861, table 8"
