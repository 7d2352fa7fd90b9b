"""``edgekit explain``: maps where evidence is known to be, files like their networks, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from PIL import Image

import edgekit
from edgekit import tables
from edgekit.tasks import class_named

SIDE = 32
SQUARE = (10, 26, 18, 34)  # x0, y0, x1, y1 of the red square in an image of 60 x 40

# Class 0 is how much red there is, class 1 how much blue, and nothing else counts.
RED_OR_BLUE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.colours = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.colours.weight.copy_(torch.eye(3)[[0, 2]][:, :, None, None])
        self.act = nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(3, 2, 1)
        self.scores = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.scores.weight.copy_(torch.eye(2))

    def forward(self, x):
        return self.scores(self.act(self.colours(x)).mean((2, 3)))

class Cut(Net):
    def forward(self, x):
        return super().forward(x).detach()

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.scores = nn.Linear(3 * 32 * 32, 2)

    def forward(self, x):
        return self.scores(x.flatten(1))
"""
SAID = ("--resolution", SIDE, "--mean", 0, "--std", 1, "--labels", "names.txt")


@pytest.fixture
def network(module: Callable[[str], str], tmp_path: Path) -> str:
    """A module with the networks; an image with a red and a blue square; names of classes."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    x0, y0, x1, y1 = SQUARE
    pixels[y0:y1, x0:x1, 0] = 255
    pixels[4:10, 30:40, 2] = 200
    Image.fromarray(pixels).save(tmp_path / "squares.png")
    (tmp_path / "names.txt").write_text("red\nblue\n", encoding="utf-8")
    return module(RED_OR_BLUE)


def inside(peak: dict[str, float], slack: float) -> bool:
    x0, y0, x1, y1 = SQUARE
    return x0 - slack <= peak["x"] <= x1 + slack and y0 - slack <= peak["y"] <= y1 + slack


@pytest.mark.parametrize("fit", [("letterbox",), ("stretch",), ("crop", "--resize", "32x48")])
@pytest.mark.parametrize("method", ["grad-cam", "occlusion"])
def test_the_map_lies_where_the_evidence_is(
    method: str, fit: tuple[str, ...], network: str, run: CommandLine, tmp_path: Path
) -> None:
    line = (f"{network}:Net", "squares.png", *SAID, "--fit", *fit, "--class", "Red")
    found = run("explain", *line, "--method", method, "-o", "map.png", "--json")
    assert found.code == 0, found.err
    (one,) = found.json["explanations"]
    assert one["class"] == {"index": 0, "label": "red"}
    assert inside(one["peak"], 0 if method == "grad-cam" else 3), one
    assert one["output"] == "map.png"
    assert one["layer"] == ("act" if method == "grad-cam" else None)
    assert one["seen"] == ([10, 0, 50, 40] if fit[0] == "crop" else [0, 0, 60, 40])
    if method == "grad-cam":
        assert one["share_on_image"] > 0.99
    # The red square as it was, with colours of the map over it, and a caption below.
    with Image.open(tmp_path / "map.png") as drawn:
        assert drawn.width == 240
        assert drawn.height > 160
        left = np.asarray(drawn)[4 * 2, 4 * 2]
    assert left.max() < 40  # black, little evidence or outside of what was seen


def test_of_a_mean_the_map_is_what_was_averaged(network: str, run: CommandLine) -> None:
    found = edgekit.explain(
        f"{network}:Net", "squares.png", class_=0, resolution=SIDE, mean=0, std=1, fit="letterbox"
    )
    x0, y0, x1, y1 = SQUARE
    assert found.share_in(SQUARE) == pytest.approx(1, abs=0.2)
    assert found.share_in((x0 - 2, y0 - 2, x1 + 2, y1 + 2)) == pytest.approx(1)
    assert found.share_in((40, 0, 60, 40)) == 0
    assert found.on_image.shape == (40, 60)
    assert found.on_image[y0 + 4, x0 + 4] == pytest.approx(found.map.max())
    # A gradient of the mean of red is the same at each pixel.
    flat = edgekit.explain(
        f"{network}:Net", ["squares.png"], class_="red", method="saliency", resolution=SIDE,
        mean=0, std=1, fit="letterbox", labels=["red", "blue"],
    )[0].map  # fmt: skip
    assert flat.max() == pytest.approx(1 / SIDE**2, rel=1e-5)
    assert (flat > 0).sum() == ((found.map > 0).sum())  # where the rectifier is open


def test_what_is_covered_counts_by_what_it_loses(network: str, run: CommandLine) -> None:
    """Windows of the size of the image's halves, without overlap: losses are known exactly."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, : SIDE // 2, 0] = 255
    found = edgekit.explain(
        f"{network}:Net", pixels, class_=0, method="occlusion", resolution=SIDE, mean=0, std=1,
        resize="none", window=(SIDE, SIDE // 2), stride=(SIDE, SIDE // 2),
    )  # fmt: skip
    assert found.score == pytest.approx(0.5)
    assert found.map[:, : SIDE // 2] == pytest.approx(0.25)  # half of it becomes half as red
    assert found.map[:, SIDE // 2 :] == pytest.approx(-0.25)
    assert found.evidence.min() == 0
    assert found.peak is not None
    assert found.peak[0] < SIDE / 2


def test_files_lose_what_their_network_loses(
    short_network: Path, int8_files: Path, baked_files: Path, run: CommandLine, tmp_path: Path
) -> None:
    from edgekit.data import open_source

    digit = open_source("digits").image("test", 3)
    one = edgekit.explain(short_network, digit, method="occlusion")
    files = [
        file
        for folder in (int8_files / "float", int8_files / "int8", baked_files / "fp32")
        for file in sorted(folder.iterdir())
        if file.suffix in {".onnx", ".tflite", ".xml"}
    ]
    assert len(files) == 3 * len(tables.TARGETS)
    for file in files:
        found = edgekit.explain(file, digit, class_=one.index)
        assert found.method == "occlusion"
        alike = np.corrcoef(one.map.ravel(), found.map.ravel())[0, 1]
        assert alike > (0.999 if "fp32" in file.name else 0.95), file


def test_several_images_go_into_a_folder(
    short_network: Path, run: CommandLine, png: Callable[..., Path]
) -> None:
    for name in ("a.png", "b.png"):
        png(name)
    Path("more").mkdir()
    png("more/a.png")
    done = run(
        "explain", short_network, "a.png", "more", "b.png", "-o", "maps", "--method", "gradcam"
    )
    assert done.code == 0, done.err
    assert {path.name for path in Path("maps").iterdir()} == {"a.png", "a-2.png", "b.png"}
    assert done.out.count("grad-cam, blocks") == 3
    again = run("explain", short_network, "a.png", "-o", "maps")
    assert again.code == 3
    assert "maps/a.png exists already: give --overwrite" in again.message
    assert run("explain", short_network, "a.png", "-o", "maps", "--overwrite").code == 0


def test_an_image_that_is_broken_comes_after_the_good_ones(
    short_network: Path, run: CommandLine, png: Callable[..., Path]
) -> None:
    png("a.png")
    Path("b.png").write_bytes(b"no image")
    done = run("explain", short_network, "a.png", "b.png", "-o", "maps", "--json")
    assert done.code == 3
    assert "b.png" in done.message
    assert [one["image"] for one in done.json["explanations"]] == ["a.png"]
    assert done.json["error"]["type"] == "DataError"
    assert [path.name for path in Path("maps").iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--layer colour", 2, "unknown layer 'colour': did you mean colours"),
        ("--layer unused", 3, "layer 'unused' of"),
        ("--layer scores", 3, "gives the shape (1, 2): expected a map of several places"),
        (
            "--class green",
            2,
            "unknown class 'green': did you mean red? expected the place of a class, 0 to 1, or",
        ),
        ("--class 2", 2, "unknown class '2'"),
        ("--method lime", 2, "unknown method 'lime': did you mean saliency? expected grad-cam"),
        ("--method saliency --layer act", 2, "--layer goes with --method grad-cam only"),
        ("--window 4", 2, "--window goes with --method occlusion only"),
        ("--method occlusion --window 99", 2, "--window 99x99: expected 1 px or more, and at most"),
        ("--method occlusion --window 4 --stride 5", 2, "--stride 5x5: expected"),
        ("-o map.gif", 2, "map.gif: expected a file ending in .png"),
        ("--overwrite", 2, "--overwrite goes with -o only"),
    ],
)
def test_what_cannot_be(words: str, code: int, said: str, network: str, run: CommandLine) -> None:
    refused = run("explain", f"{network}:Net", "squares.png", *SAID, *words.split())
    assert (refused.code, refused.out) == (code, "")
    assert said in refused.message


@pytest.mark.parametrize(
    ("name", "method", "said"),
    [
        ("Plain", "grad-cam", "has no convolution with a map of several places: --method saliency"),
        ("Cut", "grad-cam", "gives scores without gradients"),
        ("Cut", "saliency", "gives scores without gradients"),
    ],
)
def test_networks_without_what_a_method_needs(
    name: str, method: str, said: str, network: str, run: CommandLine
) -> None:
    line = ("explain", f"{network}:{name}", "squares.png", *SAID)
    refused = run(*line, "--method", method)
    assert refused.code == 3
    assert said in refused.message
    other = run(*line, "--method", "occlusion")
    assert other.code == 0, other.err


def test_an_untrained_network_is_warned_of(run: CommandLine, png: Callable[..., Path]) -> None:
    done = run("explain", "mobilenetv1@0.25", png(), "--resolution", 32)
    assert done.code == 0, done.err
    assert "is untrained" in done.err
    refused = run("explain", "mobilenetv1@0.25", png(), "a.png", "-o", "one.png")
    assert refused.code == 2
    assert "-o one.png: 2 images are given, expected a folder, such as one" in refused.message


def test_a_file_has_no_gradients(
    int8_files: Path, run: CommandLine, png: Callable[..., Path]
) -> None:
    (path,) = (int8_files / "float").glob("*.onnx")
    refused = run("explain", path, png(), "--method", "saliency")
    assert refused.code == 2
    assert "has no gradients: give its network, or --method occlusion" in refused.message


def test_classes_are_named_in_any_case_or_by_place() -> None:
    assert class_named("seven", ["Seven", "9", "0"], 3) == 0
    assert class_named("0", ["Seven", "9", "0"], 3) == 2  # a name before a place
    assert class_named("1", ["Seven", "9", "0"], 3) == 1
    assert class_named("1", None, 2) == 1


OF_OTHER_TASKS = """
class Pixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.colours = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.colours.weight.copy_(torch.eye(3)[:, :, None, None])
            self.colours.bias.copy_(torch.tensor([0.0, 0.5, 0.0]))  # green, where nothing is

    def forward(self, x):
        return {"scores": self.colours(x)}

class Means(nn.Module):
    def __init__(self):
        super().__init__()
        self.colours = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.colours.weight.copy_(torch.eye(3)[:, :, None, None])
            self.colours.bias.zero_()

    def forward(self, x):
        return {"embedding": F.normalize(self.colours(x).amax((2, 3)) + 0.1)}
"""


def test_other_tasks_have_what_can_be_explained(
    network: str, module: Callable[[str], str], run: CommandLine
) -> None:
    own = module(OF_OTHER_TASKS)
    said = (*SAID[:-2], "--fit", "stretch", "--json")
    masks = run("explain", f"{own}:Pixels", "squares.png", *said, "--task", "segment", "--class", 0)
    assert masks.code == 0, masks.err
    (one,) = masks.json["explanations"]
    assert inside(one["peak"], 0)
    assert one["score"] > 0.5  # the mean of red over the pixels that are told to be red
    most = run("explain", f"{own}:Pixels", "squares.png", *said, "--task", "segment")
    assert most.json["explanations"][0]["class"]["index"] == 1

    line = ("explain", f"{own}:Means", "squares.png", *said, "--task", "embed")
    refused = run(*line, "--method", "saliency")
    assert refused.code == 2
    assert "has no gradient: give --method occlusion" in refused.message
    named = run(*line, "--class", "red")
    assert "which has no classes: leave --class out" in named.message
    found = run(*line, "--window", 8)
    assert found.code == 0, found.err
    (one,) = found.json["explanations"]
    assert one["method"] == "occlusion"
    assert one["score"] == pytest.approx(1)
    assert one["peak"] is not None


def test_a_detector_is_explained_by_its_surest_box(
    network: str, run: CommandLine, tmp_path: Path
) -> None:
    line = ("explain", "mobilenetv3-small@0.5+ssdlite", "squares.png", "--resolution", 64, "--json")
    for method in ("grad-cam", "saliency"):
        done = run(*line, "--method", method, "-o", f"{method}.png")
        assert done.code == 0, done.err
        (one,) = done.json["explanations"]
        x0, y0, x1, y1 = one["box"]
        assert 0 <= x0 <= x1 <= 60
        assert 0 <= y0 <= y1 <= 40
        assert one["score"] == pytest.approx(one["probability"])
        if method == "grad-cam":  # in the backbone, rather than a layer of its head
            assert one["layer"].startswith("backbone.")
        assert one["share_in_box"] is None or 0 <= one["share_in_box"] <= 1
        assert (tmp_path / f"{method}.png").exists()
    of_class = run(*line, "--class", 3).json["explanations"][0]
    assert of_class["class"]["index"] == 3


def test_a_file_that_nobody_said_how_to_feed(
    network: str, module: Callable[[str], str], run: CommandLine
) -> None:
    line = (f"{module(OF_OTHER_TASKS)}:Pixels", "--task", "segment", "--resolution", SIDE)
    made = run("export", *line, "-t", "onnx", "-o", "out", "--json")
    assert made.code == 0, made.err
    path = made.json["artifacts"][0]["path"]
    for command in ("explain", "predict"):
        refused = run(command, path, "squares.png")
        assert refused.code == 3
        assert "does not say how images are prepared" in refused.message
    said = ("--mean", 0, "--std", 1, "--fit", "stretch", "--overwrite")
    assert run("export", *line, "-t", "onnx", "-o", "out", *said).code == 0
    found = run("explain", path, "squares.png", "--class", 0, "--window", 8, "--json")
    assert found.code == 0, found.err
    assert inside(found.json["explanations"][0]["peak"], 3)
