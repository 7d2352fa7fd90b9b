"""``edgekit search`` on networks that are no classifiers: no labels, any inputs and outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image
from small_examples import save_images
from small_searches import steps
from wide_networks import IMAGE

from edgekit import tables
from edgekit.plugins import Entry
from edgekit.search import journal

pytest.importorskip("torch_pruning", reason="Torch-Pruning is not installed")

FILES = 40

QUICK = (
    "-t", "tflite", "--reduction", 0.2, "--tune-steps", 2, "--finish-epochs", 1, "--workers", 1,
    "-o", "s",
)  # fmt: skip


def saved(folder: Path, *names: str, count: int = FILES) -> Path:
    return save_images(folder, *names, shape=IMAGE, count=count)


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of networks that take one image. Read-only."""
    return saved(tmp_path_factory.mktemp("inputs") / "singles", "x")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of networks that take two images. Read-only."""
    return saved(tmp_path_factory.mktemp("inputs") / "pairs", "left", "right")


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that nobody has put into classes. Read-only."""
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    rows, columns = np.mgrid[:20, :30]
    for i in range(FILES):
        angles = [rows * rng.random() + columns * rng.random() + 6 * rng.random() for _ in "rgb"]
        pixels = 127 + 100 * np.sin(np.stack(angles, -1))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of a network that takes numbers of words. Read-only."""
    folder, rng = tmp_path_factory.mktemp("sentences"), np.random.default_rng(0)
    for i in range(FILES):
        np.savez(folder / f"{i:02}.npz", ids=rng.integers(0, 20, (1, 6)))
    return folder


def words(name: str, example: str = "image") -> tuple[str, ...]:
    return ("search", f"wide_networks:{name}", "--example", f"wide_networks:{example}")


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(
    ("name", "example", "data", "budget"),
    [
        ("unet", "image", "singles", "macs=0.7x"),
        ("siamese", "two_images", "pairs", "macs=0.7x,size=0.9x"),
        ("detector", "image", "frames", "size=0.8x"),
        ("words", "numbers_of_words", "sentences", "macs=0.7x"),
    ],
)
def test_it_ends_within_its_budget_and_follows_the_start(
    name: str,
    example: str,
    data: str,
    budget: str,
    run: CommandLine,
    request: pytest.FixtureRequest,
) -> None:
    given = str(request.getfixturevalue(data))
    done = run(*words(name, example), "--data", given, "--budget", budget, *QUICK, "--json")
    assert done.code == 0, done.err
    found, start, last = done.json, done.json["baseline"], done.json["final"]
    for limit in budget.split(","):
        resource, share = limit.removesuffix("x").split("=")
        key = {"macs": "macs", "size": "size_bytes"}[resource]
        assert last[key] <= float(share) * start[key]
    assert found["task"] == "tensors"
    assert found["test_top1"] is None
    for entry in (*found["steps"], *found["pareto"]):
        assert entry["top1"] is entry["test_top1"] is None
        assert entry["headline"]["name"] == "agreement"
        assert 0 <= entry["headline"]["value"] <= 1
    assert start["headline"]["value"] > 0.999  # float32 in its runtime, against itself
    assert start["test_headline"]["value"] > 0.999
    assert found["headline"] == {**last["headline"], "title": "agreement"}
    network = f"wide_networks:{name}=s/model.pt"
    verified = run("verify", last["artifact"], "--against", network, "--data", given, "--json")
    assert verified.code == 0, verified.err
    assert verified.json["agreement"]["sqnr_db"] > 80
    assert verified.json["same_weights"] is False  # model.pt has another name in it
    exported = run("export", network, "-t", "onnx", "-o", "out", "--json")
    assert exported.code == 0, exported.err
    described = run("describe", network, "--json").json
    assert (described["macs"], described["params"]) == (last["macs"], last["params"])
    page = Path("s/search.html").read_text(encoding="utf-8")
    assert "Agreement against" in page
    for text in (page, done.err, Path("s/pareto.svg").read_text(encoding="utf-8")):
        assert "top-1" not in text.lower()
        assert "accura" not in text.lower()
    assert {"agreement", "test_agreement"} < set(steps(Path("s"))[0])


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(("name", "example"), [("grey", "grey_image"), ("four", "image_of_four")])
def test_classifiers_of_other_images_go_by_their_labels(
    name: str, example: str, run: CommandLine
) -> None:
    done = run(*words(name, example), "--data", "digits", "--budget", "macs=0.7x", *QUICK, "--json")
    assert done.code == 0, done.err
    start, last = done.json["baseline"], done.json["final"]
    assert last["macs"] <= 0.7 * start["macs"]
    figure = last["headline"]
    assert (figure["name"], figure["value"]) == ("top1", last["top1"])
    low, high = figure["ci95"]
    assert low <= last["top1"] <= high
    assert last["top1"] > start["top1"] + 0.1  # it has learned from the labels
    network = f"wide_networks:{name}=s/model.pt"
    verified = run("verify", last["artifact"], "--against", network, "--data", "digits", "--json")
    assert verified.code == 0, verified.err
    assert verified.json["agreement"]["top1_match"] == 1
    described = run("describe", network, "--json").json
    assert (described["macs"], described["params"]) == (last["macs"], last["params"])


@pytest.mark.usefixtures("inline")
@pytest.mark.parametrize(("name", "example"), [("unet", "image"), ("grey", "grey_image")])
def test_a_training_that_spoils_the_network_does_not_count(
    name: str, example: str, run: CommandLine, singles: Path
) -> None:
    data = "digits" if name == "grey" else singles
    rates = ("--tune-steps", 12, "--tune-rate", 0.003, "--finish-rate", 0.9)
    searched = (*words(name, example), "--data", data, "--budget", "macs=0.7x", *QUICK, *rates)
    done = run(*searched, "--json")
    assert done.code == 0, done.err
    within = [s for s in done.json["steps"] if s["macs"] <= 0.7 * done.json["baseline"]["macs"]]
    figures = [step["headline"]["value"] for step in within]
    last = done.json["final"]
    assert last["headline"]["value"] == max(figures) > 0.1
    choice = done.json["choice"]
    assert (choice["by"], choice["within"]) == (last["headline"]["name"], len(within))
    assert (choice["step"], choice["kind"]) == (last["step"], last["kind"])
    assert "the weights from before are kept" in done.err
    page = Path("s/search.html").read_text(encoding="utf-8")
    assert f"the {len(within)} that keep the budget" in page


@pytest.mark.usefixtures("inline")
def test_a_task_of_another_package_is_searched_by_its_own_labels(
    run: CommandLine, singles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tables.TASKS.built_in, "number", Entry("numbered:Number", "numbers"))
    searched = (*words("number"), "--task", "number", "--budget", "macs=0.7x", *QUICK)
    rates = ("--finish-rate", 0.02, "--finish-epochs", 2)
    done = run(*searched, *rates, "--data", "digits", "--json")
    assert done.code == 0, done.err
    start, last = done.json["baseline"], done.json["final"]
    assert (done.json["task"], done.json["headline"]["title"]) == ("number", "near numbers")
    assert last["macs"] <= 0.7 * start["macs"]
    assert last["headline"]["name"] == "near"
    assert last["headline"]["value"] > start["headline"]["value"]  # which was never trained
    network = "wide_networks:number=s/model.pt"
    evaluated = run("evaluate", network, "--data", "digits", "--json", "--task", "number").json
    assert evaluated["near"] == pytest.approx(done.json["test_headline"]["after"], abs=0.01)
    refused = run(*searched, "--data", singles)
    assert refused.code == 3
    assert "which have no labels, and networks of the task number learn from" in refused.message
    refused = run(*searched, "--data", "digits", "--scores", "logits")
    assert refused.code == 2
    assert "--scores goes with scores of classes" in refused.message


@pytest.mark.usefixtures("inline")
def test_it_goes_on_after_an_interruption(
    run: CommandLine, singles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = (*words("unet"), "--data", singles, "--budget", "macs=0.7x", *QUICK)
    done = run(*search)
    assert done.code == 0, done.err
    assert "agreement" in done.out
    whole = steps(Path("s"))
    Path("s").rename("whole")
    notes = iter([*[False] * 5, True])
    add = journal.Journal.add

    def interrupted(self: journal.Journal, *arguments: object) -> None:
        if next(notes, False):
            raise KeyboardInterrupt
        add(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(journal.Journal, "add", interrupted)
    assert run(*search).code == 130
    assert run(*search, "--resume").code == 0
    assert steps(Path("s")) == whole
    for path in singles.glob("*.npz"):
        other = Path("other") / path.name
        other.parent.mkdir(exist_ok=True)
        np.savez(other, x=np.load(path)["x"] + 1)
    refused = run(*words("unet"), "--data", "other", "--budget", "macs=0.7x", *QUICK, "--resume")
    assert refused.code == 2
    assert "is of another search: its data is" in refused.message


def nan_behind_a_dark_pixel(folder: Path) -> Path:
    saved(folder, "x")
    for i, path in enumerate(sorted(folder.glob("*.npz"))):
        value = -1.5 if i == 7 else 0.5
        np.savez(path, x=np.full((1, *IMAGE), value, np.float32) + 0.01 * i)
    return folder


@pytest.mark.usefixtures("inline")
def test_bad_inputs_are_refused_in_a_sentence(run: CommandLine, singles: Path) -> None:
    budget = ("--budget", "macs=0.7x", *QUICK)
    few = saved(Path("few"), "x", count=7)
    result = run(*words("unet"), "--data", few, *budget)
    assert result.code == 3
    assert "'few' has 7 .npz files, one an inference: a search needs 16 at least" in result.message
    other = saved(Path("other"), "x")
    np.savez(other / "07.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    result = run(*words("unet"), "--data", other, *budget)
    assert result.code == 3
    assert "07.npz: array 'x' has the shape (1, 3, 8, 8): expected (1, 3, 16, 24)" in result.message
    result = run(*words("siamese", "two_images"), "--data", singles, *budget)
    assert result.code == 3
    assert "has no array 'left' (it has 'x'): expected one for each input" in result.message
    result = run(*words("siamese", "two_images"), "--data", "digits", *budget)
    assert result.code == 3
    assert "'left' (1, 3, 16, 24) and 'right' (1, 3, 16, 24), which images of" in result.message
    result = run(*words("nothing"), "--data", singles, *budget)
    assert result.code == 3
    assert "finds no groups of channels" in result.message
    result = run(*words("nan"), "--data", nan_behind_a_dark_pixel(Path("dark")), *budget)
    assert result.code == 3
    assert "gives nan for" in result.message
    assert "output 'output_1'" in result.message


@pytest.mark.usefixtures("inline")
def test_what_needs_labels_is_refused(run: CommandLine, singles: Path, trained: Path) -> None:
    Path("names.txt").write_text("a\nb\n")
    for more, told in (
        (("--no-distill",), "nothing to learn from but the start network"),
        (("--scores", "logits"), "--scores goes with scores of classes"),
        (("--labels", "names.txt"), "--labels goes with scores of classes"),
        (("--method", "compound"), "method compound needs rows"),
    ):
        result = run(*words("unet"), "--data", singles, "--budget", "macs=0.7x", *QUICK, *more)
        assert result.code == 2
        assert told in result.message
    result = run("search", trained, "--task", "tensors", "--budget", "macs=0.7x", *QUICK)
    assert result.code == 3
    assert "one of the zoo is searched by its labels" in result.message
    result = run(*words("unet"), "--budget", "macs=0.7x", *QUICK)
    assert result.code == 3
    assert "give inputs like those that it will see with --data" in result.message
