"""Networks that find objects, segment, or compare images, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine
from object_networks import UNCHANGED, scene
from PIL import Image

NETWORKS = {"detect": "Cells", "segment": "Pixels", "embed": "Likeness"}


def network(task: str) -> tuple[str, ...]:
    labels = {"detect": ("--labels", "names.txt"), "segment": ("--labels", "masks.txt")}
    Path("names.txt").write_text("red\ngreen\n", encoding="utf-8")
    Path("masks.txt").write_text("dark\nred\ngreen\n", encoding="utf-8")
    side = ("--resolution", "32")
    own = (f"object_networks:{NETWORKS[task]}", "--task", task, *side, *UNCHANGED)
    return (*own, *labels.get(task, ()))


@pytest.fixture
def image() -> str:
    Image.fromarray(scene({0: 0, 5: 1, 6: 1})).save("a.png")
    return "a.png"


def file_of(run: CommandLine, task: str) -> str:
    found = run("export", *network(task), "-t", "onnx", "-o", "out", "--json")
    assert found.code == 0, found.err
    return str(found.json["artifacts"][0]["path"])


def test_a_file_finds_objects_as_its_network_does(run: CommandLine, image: str) -> None:
    path = file_of(run, "detect")
    both = [run("predict", *words, "--json") for words in ((path, image),)]
    both.append(run("predict", network("detect")[0], image, *network("detect")[1:], "--json"))
    for found in both:
        assert found.code == 0, found.err
        (one,) = found.json["predictions"]
        assert one["image"] == "a.png"
        assert [(b["index"], b["label"]) for b in one["boxes"]] == [
            (0, "red"), (1, "green"), (1, "green"),
        ]  # fmt: skip
        corners = np.array([b["box"] for b in one["boxes"]])
        np.testing.assert_allclose(corners, [[0, 0, 8, 8], [8, 8, 16, 16], [16, 8, 24, 16]])
        assert one["boxes"][0]["probability"] == pytest.approx(1, abs=1e-3)
    shown = run("predict", path, image, "-o", "drawn")
    assert "red" in shown.out
    assert "8, 8 to 16, 16 px" in shown.out
    with Image.open("drawn/a.png") as drawn:
        assert drawn.size == (256, 256)


def test_thresholds_are_asked_for_and_checked(run: CommandLine, image: str) -> None:
    path = file_of(run, "detect")
    few = run("predict", path, image, "--score-threshold", "1")
    assert "nothing with a score of 1 or more" in few.out
    for option in ("--score-threshold", "--nms-iou"):
        refused = run("predict", path, image, option, "1.5")
        assert refused.code == 2
        assert "1.5" in refused.message
    refused = run("predict", *network("segment")[:1], image, *network("segment")[1:],
                  "--nms-iou", "0.5")  # fmt: skip
    assert refused.code == 2
    assert refused.message.startswith("--nms-iou goes with networks of the task detect")


def test_masks_are_shares_and_pictures(run: CommandLine, image: str) -> None:
    path = file_of(run, "segment")
    found = run("predict", path, image, "-o", "drawn", "--json")
    assert found.code == 0, found.err
    (one,) = found.json["predictions"]
    assert one["classes"] == [
        {"index": 0, "label": "dark", "share": 13 / 16},
        {"index": 2, "label": "green", "share": 2 / 16},
        {"index": 1, "label": "red", "share": 1 / 16},
    ]
    assert "mask" not in one
    with Image.open("drawn/a.png") as picture:
        drawn = np.asarray(picture)
    assert (drawn[4, 4] != drawn[100, 4]).any()


def test_a_gallery_says_what_an_image_shows(run: CommandLine, image: str) -> None:
    path = file_of(run, "embed")
    for name, cells in {"left/x": {0: 0}, "right/y": {3: 0}, "green-2": {5: 1}}.items():
        file = Path("gallery", f"{name}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(cells)).save(file)
    Image.fromarray(scene({4: 0, 9: 0, 3: 1})).save("b.png")
    found = run("predict", path, "b.png", "--gallery", "gallery", "-o", "drawn", "--json")
    assert found.code == 0, found.err
    (one,) = found.json["predictions"]
    assert one["label"] == "left"
    near = one["neighbours"]
    assert [n["label"] for n in near] == ["left", "green", "right"]
    assert near[0]["distance"] < near[1]["distance"]
    with Image.open("drawn/b.png") as drawn:
        assert drawn.width > 800
    far = run("predict", path, "b.png", "--gallery", "gallery", "--distance", "0.0001")
    assert "(none of the gallery)" in far.out
    alone = run("predict", path, "b.png")
    assert "6 numbers: " in alone.out


def test_galleries_are_for_embeddings(run: CommandLine, image: str) -> None:
    refused = run("predict", network("detect")[0], image, *network("detect")[1:], "--gallery", ".")
    assert refused.code == 2
    assert "--gallery goes with networks of the task embed" in refused.message
    path = file_of(run, "embed")
    refused = run("predict", path, image, "--gallery", "nothing")
    assert refused.code == 3
    assert refused.message.startswith("gallery 'nothing' is no folder")
    refused = run("predict", path, image, "--distance", "0.5")
    assert refused.code == 2
    assert "--distance goes with --gallery DIR" in refused.message


def test_figures_of_scenes(run: CommandLine) -> None:
    Path("digits.txt").write_text("\n".join("0123456789"), encoding="utf-8")
    own = network("detect")[:-2]
    refused = run("evaluate", *network("detect"), "--data", "digit-scenes", "--json")
    assert refused.code == 3
    assert "class '0' of 'digit-scenes' is none of the 2 classes" in refused.message
    refused = run("evaluate", *own, "--data", "digits")
    assert refused.code == 3
    assert "data source 'digits' has labels" in refused.message
    assert "the task detect needs boxes" in refused.message
