"""What is said on the command line of images and classes of a network of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image
from small_artifacts import Artifacts
from small_networks import network

from edgekit.contract import load
from edgekit.core import Preprocessing
from edgekit.data.preprocess import default
from edgekit.models.weights import load_checkpoint

Png = Callable[..., Path]
HALVES = ["--mean", "0.5", "--std", "0.25,0.5,0.5"]
SMALL = ["--resolution", 32]
ASSUMED = "nobody said how images are prepared for"


@pytest.fixture
def words(module: Callable[[str], str]) -> str:
    return f"{module(network())}:Net"


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("ant\nbee\r\n  cat \ndog, the\n\n", encoding="utf-8")
    return path


def test_export_writes_what_was_said_into_the_contract(
    run: CommandLine, words: str, names: Path
) -> None:
    done = run("export", words, "-t", "onnx", *SMALL, *HALVES, "--resize", 40, "--labels", names)
    assert done.code == 0, done.err
    assert ASSUMED not in done.err
    contract = load(Path("Net-fp32.onnx"))
    assert contract.labels == ("ant", "bee", "cat", "dog, the")
    assert contract.preprocessing == Preprocessing(40, 32, mean=(0.5,) * 3, std=(0.25, 0.5, 0.5))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["--resize", "none"], {"resize": None}),
        (["--resize", "33x40"], {"resize": (33, 40)}),
        (["--fit", "stretch"], {"resize": None, "fit": "stretch"}),
        (["--fit", "letterbox", "--pad", 114], {"resize": None, "fit": "letterbox", "pad": 114}),
        (["--interpolation", "bicubic"], {"interpolation": "bicubic"}),
        (["--channel-order", "BGR"], {"channel_order": "BGR"}),
        (
            ["--scale", "1", "--mean", "127.5", "--std", "127.5"],
            {"scale": 1.0, "mean": (127.5,) * 3, "std": (127.5,) * 3},
        ),
    ],
    ids=str,
)
def test_each_option_says_one_thing(
    said: list[object], expected: dict[str, Any], run: CommandLine, words: str
) -> None:
    done = run("export", words, "-t", "onnx", *SMALL, *said)
    assert done.code == 0, done.err
    found, usual = load(Path("Net-fp32.onnx")).preprocessing, default(32)
    for name in Preprocessing.__dataclass_fields__:
        assert getattr(found, name) == expected.get(name, getattr(usual, name)), name


def test_what_nobody_said_is_said_aloud_once(run: CommandLine, words: str) -> None:
    done = run("export", words, "-t", "onnx,openvino", *SMALL, "--json")
    assert done.err.count(ASSUMED) == 1
    for part in ("0.485,0.456,0.406", "0.229,0.224,0.225", "short side to 37 px", "--mean"):
        assert part in done.err
    assert done.json["assumed"] == ["size", "values"]
    again = run("export", words, "-t", "onnx", *SMALL, *HALVES, "--overwrite", "--json")
    assert again.json["assumed"] == ["size"]
    assert "short side to 37 px" in again.err
    assert "ImageNet" not in again.err


def test_predict_and_evaluate_say_what_they_assume(
    run: CommandLine, module: Callable[[str], str], png: Png
) -> None:
    """Of trained networks: the answers of others mean nothing anyway."""
    words = f"{module(network().replace('16, 4)', '16, 10)'))}:Net"
    for line, size in (
        (["predict", words, png()], "short side to 37 px"),
        (["evaluate", words, "--data", "digits"], "short side to 32 px, middle 32 px"),
    ):
        result = run(*line, *SMALL)
        assert result.code == 0
        assert result.err.count(ASSUMED) == 1
        assert size in result.err
        said = run(*line, *SMALL, *HALVES, "--fit", "stretch")
        assert said.code == 0
        assert ASSUMED not in said.err


def test_a_run_says_it_itself_and_may_be_overruled(
    run: CommandLine, trained_run: Path, names: Path
) -> None:
    done = run("export", trained_run, "-t", "onnx", "--json")
    assert ASSUMED not in done.err
    assert done.json["assumed"] == []
    line = ["export", trained_run, "-t", "onnx", "--overwrite", "--std", "1", "--json"]
    path = Path(run(*line).json["artifacts"][0]["path"])
    own = load(path).preprocessing
    assert (own.std, own.mean) == ((1.0,) * 3, (0.485, 0.456, 0.406))
    few = run(*line, "--labels", names)
    assert few.code == 3
    assert "4 names for" in few.message
    assert "which gives 10 scores: expected 10 names" in few.message


def test_predict_and_evaluate_prepare_and_name_as_was_said(
    run: CommandLine, words: str, names: Path, png: Png, image_folder: Callable[..., Path]
) -> None:
    """Of the network, of its file, and of a file whose contract says the same."""
    image_folder("images", "ant", "bee", "cat")
    said = [*SMALL, *HALVES, "--resize", 34]
    assert run("export", words, "-t", "onnx", *said, "--labels", names).code == 0
    image = png()
    found = run("predict", words, image, *said, "--labels", names, "--json").json["predictions"]
    labels = {label["label"] for label in found[0]["labels"]}
    assert labels == {"ant", "bee", "cat", "dog, the"}
    file = run("predict", "Net-fp32.onnx", image, "--json").json["predictions"]
    for one, other in zip(found[0]["labels"], file[0]["labels"], strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)
    same = [*HALVES, "--resize", 34, "--labels", names]
    assert run("predict", "Net-fp32.onnx", image, *same).code == 0
    assert run("evaluate", "Net-fp32.onnx", "--data", "images", *same).code == 0
    assert run("evaluate", words, "--data", "images", *said, "--labels", names).code == 0
    assert run("verify", "Net-fp32.onnx", "--against", words, *same).code == 0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["--mean", "0.5", "--std", "0.5"], "--mean 0.5,0.5,0.5: the contract of"),
        (["--resize", "40"], "--resize 40: the contract of"),
        (["--resize", "none"], "--resize none: the contract of"),
        (["--fit", "letterbox"], "--fit letterbox: the contract of"),
        (["--labels", "names.txt"], "--labels: 4 names for"),
        (["--labels", "digits.txt"], "--labels nine: the contract of"),
    ],
    ids=str,
)
def test_a_contract_is_not_overruled(
    said: list[object],
    expected: str,
    run: CommandLine,
    artifacts: Artifacts,
    names: Path,
    png: Png,
    trained_run: Path,
    tmp_path: Path,
) -> None:
    path = artifacts["onnx", "fp32"]
    own = load(path).labels
    assert own is not None
    (tmp_path / "digits.txt").write_text("\n".join(["nine", *own[1:]]))
    for line in (
        ["predict", path, png()],
        ["evaluate", path, "--data", "digits"],
        ["verify", path, "--against", trained_run, "--data", "digits"],
    ):
        result = run(*line, *said)
        assert result.code == (3 if "4 names" in expected else 2)
        assert expected in result.message
        assert result.out == ""


def test_names_that_a_contract_lacks_may_be_given(
    run: CommandLine, words: str, names: Path, png: Png
) -> None:
    assert run("export", words, "-t", "onnx", *SMALL).code == 0
    found = run("predict", "Net-fp32.onnx", png(), "--labels", names, "--json").json
    assert {label["label"] for label in found["predictions"][0]["labels"]} >= {"ant", "bee"}


BAD_VALUES = [
    (["--mean", "0.5,0.5", "--std", "1"], "--mean 0.5,0.5: expected 1 or 3 numbers"),
    (["--mean", "0.5", "--std", "1,1,1,1"], "--std 1,1,1,1: expected 1 or 3 numbers"),
    (["--mean", "nan", "--std", "1"], "'--mean': nan: expected 1 to 4 finite numbers"),
    (["--mean", "0.5,inf,0.5", "--std", "1"], "'--mean': 0.5,inf,0.5: expected 1 to 4"),
    (["--mean", "grey"], "'--mean': grey: expected 1 to 4 finite numbers, with commas"),
    (["--mean", ""], "'--mean': : expected 1 to 4 finite numbers, with commas"),
    (["--mean", "0.5"], "--mean without --std"),
    (["--std", "0.5"], "--std without --mean"),
    (["--mean", "0.5", "--std", "0"], "--std 0,0,0: expected three finite numbers above 0"),
    (["--mean", "0.5", "--std", "-1"], "--std -1,-1,-1: expected three finite numbers above 0"),
    (["--mean", "0.5", "--std", "1e-60"], "--std 1e-60,1e-60,1e-60: expected"),
    (["--mean", "123.7,116.3,103.5", "--std", "58"], "--mean 123.7,116.3,103.5: pixels are 0 to 1"),
    (["--scale", "1"], "--scale 1: mean and std are in its units; give --mean and --std, too"),
    (["--scale", "1/0"], "'--scale': 1/0: expected a finite number"),
    (["--scale", "1,1"], "'--scale': 1,1: expected a finite number"),
    (["--scale", "0", *HALVES], "--scale 0: expected finite and not 0"),
    (["--resize", "31"], "--resize 31: expected none or from the crop (32 px) to 16384 px"),
    (["--resize", "32x31"], "--resize 32,31: expected none or from the crop"),
    (["--resize", "9" * 40], "--resize 999999999: expected none or from the crop"),
    (["--resize", "-5"], "'--resize': -5: expected pixels, HEIGHTxWIDTH or none"),
    (["--resize", "1x2x3"], "'--resize': 1x2x3: expected pixels, HEIGHTxWIDTH or none"),
    (["--resize", "½"], "'--resize': ½: expected pixels, HEIGHTxWIDTH or none"),
    (["--fit", "letterbox", "--pad", "256"], "--pad 256: expected 0 to 255"),
    (["--fit", "letterbox", "--pad", "-1"], "--pad -1: expected 0 to 255"),
    (["--fit", "letterbox", "--pad", "9" * 30], "expected 0 to 255"),
    (["--pad", "3"], "--pad goes with --fit letterbox: a crop is not padded"),
    (["--fit", "letterbox", "--resize", "40"], "--resize goes with --fit crop or stretch"),
    (["--channel-order", "L"], "--mean 0.485,0.456,0.406: expected 1 number for images in L"),
]


@pytest.mark.parametrize(("said", "expected"), BAD_VALUES, ids=str)
def test_what_cannot_be_is_wrong_usage(
    said: list[object], expected: str, run: CommandLine, words: str, png: Png
) -> None:
    search = ["search", words, "--budget", "latency=0.9x", "--data", "digits", "-o", "out"]
    for line in (["predict", words, png()], ["export", words, "-t", "onnx"], search):
        result = run(*line, *SMALL, *said)
        assert (result.code, result.out) == (2, ""), result.err
        assert expected in result.message
        assert not list(Path().glob("*.onnx*"))
        assert not Path("out").exists()


BAD_LABELS: dict[str, tuple[bytes, str]] = {
    "short": (b"a\nb\nc\n", "--labels: 3 names for"),
    "long": (b"a\nb\nc\nd\ne", "which gives 4 scores: expected 4 names"),
    "twice": (b"a\nb\na\nd", "line 3 is 'a', as line 1 is: make names distinct"),
    "empty": (b"", "holds no names: expected one name on each line, or a JSON list"),
    "blank": (b" \n\n", "holds no names"),
    "hole": (b"a\n\nc\nd\n", "line 2 is empty"),
    "binary": (bytes(range(256)), "is no text in UTF-8"),
    "nul": (b"a\nb\0b\nc\nd", "line 2 has a character that does not print, 'b\\x00b'"),
    "escape": (b"a\nb\nc\n\x1b[31md", "line 4 has a character that does not print"),
    "turn": ("a\nb\n\u202ec\nd".encode(), "line 3 has a character that does not print"),
    "separator": ("a\nb\nc\u2028d\ne".encode(), "line 3 has a character that does not print"),
    "huge": (b"a\nb\nc\n" + b"d" * 300, "line 4 has 300 characters"),
    "object": (b'{"0": "a"}', "labels.json is no list of names"),
    "numbers": (b'["a", "b", "c", 4]', "is no list of names"),
    "cut": (b'["a", "b"', "is no JSON"),
    "deep": (b"[" * 9999, "is no JSON"),
    "json": (b'["a", "b", "b", "d"]', "entry 3 is 'b', as entry 2 is"),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_labels_that_cannot_be_used_are_named(
    kind: str, run: CommandLine, words: str, tmp_path: Path
) -> None:
    content, expected = BAD_LABELS[kind]
    path = tmp_path / ("labels.json" if kind == "object" else "labels.txt")
    path.write_bytes(content)
    result = run("export", words, "-t", "onnx", *SMALL, "--labels", path)
    assert (result.code, result.out) == (3, ""), result.err
    assert expected in result.message
    assert not list(Path().glob("*.onnx*"))


def test_a_labels_file_that_is_none_is_named(run: CommandLine, words: str, tmp_path: Path) -> None:
    for path, expected in ((tmp_path / "none.txt", "does not exist"), (tmp_path, "is a folder")):
        result = run("export", words, "-t", "onnx", *SMALL, "--labels", path)
        assert result.code == 3
        assert expected in result.message


def test_json_lists_and_byte_order_marks_are_read(
    run: CommandLine, words: str, tmp_path: Path, png: Png
) -> None:
    marked, listed = tmp_path / "marked.txt", tmp_path / "listed.json"
    marked.write_bytes("\ufeffa\nb\nc\nd".encode())
    listed.write_text(json.dumps(["a", "b", "c", "d"]))
    image = png()
    lines = [["predict", words, image, *SMALL, "--labels", path] for path in (marked, listed)]
    one, other = (run(*line, "--json").json for line in lines)
    assert one == other
    assert {label["label"] for label in one["predictions"][0]["labels"]} == set("abcd")


def test_a_letterbox_of_a_network_is_that_of_its_file(
    run: CommandLine, words: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 31, 3), dtype=np.uint8)).save(tmp_path / "tall.png")
    said = [*SMALL, "--fit", "letterbox", "--pad", 255]
    assert run("export", words, "-t", "onnx", *said).code == 0
    own = run("predict", words, "tall.png", *said, "--json").json["predictions"][0]["labels"]
    file = run("predict", "Net-fp32.onnx", "tall.png", "--json").json["predictions"][0]["labels"]
    other = run("predict", words, "tall.png", *SMALL, "--json").json["predictions"][0]["labels"]
    shares = [{one["index"]: one["probability"] for one in labels} for labels in (own, file, other)]
    assert shares[0] == pytest.approx(shares[1], abs=1e-5)
    assert shares[0] != pytest.approx(shares[2], abs=1e-5)


def test_a_search_is_told_the_same_and_keeps_it(
    run: CommandLine, trained_run: Path, names: Path, tmp_path: Path
) -> None:
    line = ["search", trained_run, "--budget", "macs=0.95x", "--tune-steps", 1, "--no-contest"]
    line += ["--finish-epochs", 0, "--workers", 1, "--no-distill", *HALVES, "--fit", "letterbox"]
    line += ["--reduction", 0.2, "--selection-images", 100]
    names.write_text("\n".join(f"digit {i}" for i in range(10)))
    wrong = run(*line, "-o", "wrong", "--labels", names)
    assert wrong.code == 3
    assert "class '0' of 'digits' is none of the 10 classes (digit 0, digit 1," in wrong.message
    assert not Path("wrong").exists()
    names.write_text("\n".join(map(str, range(10))))
    done = run(*line, "-o", "out", "--labels", names)
    assert done.code == 0, done.err
    found = load_checkpoint(Path("out/model.pt"))
    assert found.labels == tuple("0123456789")
    assert found.preprocessing == Preprocessing(
        None, 32, mean=(0.5,) * 3, std=(0.25, 0.5, 0.5), fit="letterbox"
    )
