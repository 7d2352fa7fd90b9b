from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit import registry
from edgekit.data import open_source
from edgekit.errors import InputError, UnknownNameError
from edgekit.training import TrainingOptions
from edgekit.training.options import check, resolve
from edgekit.training.recipe import load_recipe, parse_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_that_edgekit_brings_can_be_used(name: str) -> None:
    recipe = load_recipe(name)
    check(recipe.training_options())
    assert recipe.model is not None
    registry.find_model(recipe.model)


def test_the_recipes_of_the_figures_are_there() -> None:
    assert {"cifar10-mobilenetv3-small", "digits", "efficientnet"} <= set(recipe_names())
    assert load_recipe("Digits") == load_recipe("digits")


def test_the_recipe_for_digits_spells_out_the_defaults() -> None:
    source = open_source("digits")
    chosen = resolve(TrainingOptions(), source, 224, 32)
    assert resolve(load_recipe("digits").training_options(), source, 224, 32) == chosen


def test_the_recipe_of_efficientnet_has_the_rate_of_the_paper() -> None:
    options = load_recipe("efficientnet").training_options(batch_size=4096)
    assert resolve(options, open_source("synthetic"), 224, 32).lr == pytest.approx(0.256)


def test_a_recipe_holds_every_kind_of_option_and_gives_way_to_changes(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        "# mine\nmodel = 'mobilenetv2'\ndata = 'some folder'\nbatch-size = 8\nlr = 1\n"
        "ema = false\nrandaugment = [2, 9]\noptimizer = 'sgd'\n"
    )
    recipe = load_recipe(str(path))
    assert (recipe.model, recipe.data) == ("mobilenetv2", "some folder")
    expected = TrainingOptions(
        batch_size=8, lr=1.0, ema=False, randaugment=(2, 9), optimizer="sgd", epochs=3
    )
    assert recipe.training_options(epochs=3) == expected


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("epochs = 1\n\n# three\nbatch_size = 4", 4, "'batch_size': did you mean 'batch-size'?"),
        ("epoch = 1", 1, "did you mean 'epochs'?"),
        ("out = 'runs/a'", 1, "unknown key 'out': --out is given on the command line only"),
        ("skip-corrupt = true", 1, "--skip-corrupt is given on the command line only"),
        ("skip_corrupt = true", 1, "--skip-corrupt is given on the command line only"),
        ("no-flip = true", 1, "unknown key 'no-flip': write flip = false"),
        ("no-ema = true", 1, "unknown key 'no-ema': write ema = false"),
        ("\n\n[train]\nlr = 1", 3, "unknown key 'train'"),
        ("epochs = 1\nlr.peak = 1", 2, "lr: expected a number"),
        ("epochs = 1.5", 1, "a whole number, found 1.5"),
        ("epochs = true", 1, "a whole number, found True"),
        ("ema = 1", 1, "true or false"),
        ("model = 3", 1, "model: expected text"),
        ("randaugment = '2,9'", 1, "a list of whole numbers"),
        ("lr = 1\nepochs = 0", 2, "epochs 0: expected at least 1"),
        ("optimizer = 'rmsprob'", 1, "did you mean rmsprop?"),
        ('init = """\nseed = 1"""\nseed = "a"', 3, "seed: expected a whole number"),
        ("# [\nepochs = [\n  3,\n]", 2, "epochs: expected a whole number"),
        ("epochs = 1\nlr = ", 2, "Invalid value"),
        ("epochs = 1\nepochs = 2", 2, "overwrite"),
        ("epochs = 1\nx = '\xff'", 2, "UTF-8"),
        ("\nlr = 1" + 400 * "0", 2, "that a float can hold"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, named: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_recipe(text.encode("latin-1"), "own.toml")
    message = str(caught.value)
    assert message.startswith("own.toml")
    assert f"line {line}" in message
    assert named in message


@pytest.mark.parametrize("value", [9000 * "[", 9000 * "1"], ids=["nested", "digits"])
def test_absurd_values_are_input_errors(value: str) -> None:
    with pytest.raises(InputError, match=r"own\.toml is no TOML"):
        parse_recipe(f"seed = {value}".encode(), "own.toml")


def test_a_folder_of_the_same_name_does_not_hide_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_recipe("digits").origin == "digits"


def test_a_file_of_windows_editors_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbfepochs = 3\n")
    assert load_recipe(str(path)).origin == str(path)


def test_missing_and_foreign_files_are_said_to_be_so(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "no.toml", "No such file"),
        (tmp_path, "is a folder: expected a file"),
    ):
        with pytest.raises(InputError, match=reason):
            load_recipe(str(path))
    (tmp_path / "large.toml").write_bytes(b"#" * 200_000)
    with pytest.raises(InputError, match="longer than"):
        load_recipe(str(tmp_path / "large.toml"))
    with pytest.raises(UnknownNameError, match="did you mean digits"):
        load_recipe("digit")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_an_input_error(text: str) -> None:
    try:
        recipe = parse_recipe(text.encode("utf-8", "surrogatepass"), "own.toml")
    except InputError:
        return
    assert set(recipe.options) <= set(tomllib.loads(text + "\n"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("zzz = [\n" + "1,\n" * 30_000 + "]", "unknown key 'zzz'"),
        ("randaugment = [\n" + "1,\n" * 30_000 + "]\nepoch = 1", "randaugment"),
        ("\n" * 90_000 + "zzz = 1", "line 90001: unknown key 'zzz'"),
        ("lr = 1\n" + ".".join("a" * 40_000) + " = 1", "line 2 has over 100 dots"),
        ("[" + ".".join("a" * 40_000) + "]", "line 1 has over 100 dots"),
        ("init = {" + ".".join("a" * 40_000) + " = 1}", "line 1 has over 100 dots"),
    ],
    ids=["long", "long option", "blank", "key", "table", "inline"],
)
def test_long_recipes_are_refused_in_seconds(text: str, named: str) -> None:
    begin = time.process_time()
    with pytest.raises(InputError, match=named):
        parse_recipe(text.encode(), "own.toml")
    # Reading each beginning of them anew takes an hour, a key of many parts minutes.
    assert time.process_time() - begin < 60
