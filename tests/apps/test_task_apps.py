"""Apps that find objects, segment, or compare images: in Python, and who is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from app_files import NETWORKS, TaskFiles
from command_line import CommandLine
from object_networks import SIDE, UNCHANGED, scene
from PIL import Image
from small_artifacts import copy_artifact
from test_python_app import inside
from test_web_app import NODE, failing_without_browser

from edgekit import tables
from edgekit.apps import app as apps
from edgekit.apps.expected import TASKS
from edgekit.tasks import detect

WRONG = {
    "detect": [
        ("suppress.py", "shared > union", "shared < union", {"test_objects"}),
        ("decode.py", "np.array([column, row] * 2)", "0", {"test_objects"}),
        ("decode.py", ".astype(np.float32)\n", ".round()\n", {"test_objects"}),
    ],
    "segment": [
        ("decode.py", "+ 0.5 - first", "- first", {"test_masks", "test_made_masks"}),
        ("decode.py", "argmax", "argmin", {"test_classes_of_the_network", "test_made_masks"}),
    ],
    "embed": [
        ("decode.py", "vector / length", "vector", {"test_neighbours"}),
        ("decode.py", "near[0].distance <", "near[0].distance >", {"test_neighbours"}),
    ],
}

OTHERS = [name for name in tables.TARGETS.built_in if name != "onnx"]


def failing(folder: Path) -> set[str]:
    """Names of the app's own tests that fail."""
    tested = inside(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode in (0, 1), tested.stdout + tested.stderr
    failed = [line for line in tested.stdout.splitlines() if line.startswith("FAILED")]
    return {line.split("::")[1].partition("[")[0].partition(" ")[0] for line in failed}


@pytest.mark.apps
@pytest.mark.parametrize("task", NETWORKS)
def test_a_wrong_app_fails_its_test_and_the_name_says_where(
    task: str, task_files: TaskFiles, run: CommandLine, tmp_path: Path
) -> None:
    path = task_files(task, "onnx")
    assert run("app", path, "--platform", "python", "-o", "made").code == 0
    folder, package = tmp_path / "made", apps.PACKAGES[task]
    assert failing(folder) == set()
    network = ("network.py", "_real(array, spec).reshape", "0.9 * _real(array, spec).reshape")
    for file, old, new, names in [*WRONG[task], (*network, {"test_outputs"})]:
        place = folder / package / file
        text = place.read_text()
        assert text.count(old) == 1, old
        place.write_text(text.replace(old, new))
        assert failing(folder) == names, (old, new)
        place.write_text(text)


@pytest.mark.parametrize(
    "target", ["onnx", *(pytest.param(name, marks=pytest.mark.apps) for name in OTHERS)]
)
@pytest.mark.parametrize("task", NETWORKS)
def test_an_app_says_what_predict_says(
    task: str, target: str, task_files: TaskFiles, run: CommandLine, tmp_path: Path
) -> None:
    path = task_files(task, target)
    done = run("app", path, "--platform", "python", "-o", "made", "--json")
    assert done.code == 0, done.err
    folder, package = tmp_path / "made", apps.PACKAGES[task]
    assert failing(folder) == set()
    image = Image.fromarray(scene({0: 0, 5: 1, 6: 1})).resize((90, 61))
    image.save("photo.png")
    Path("known/left").mkdir(parents=True)
    Image.fromarray(scene({0: 0})).save("known/left/1.png")
    Image.fromarray(scene({6: 1})).save("known/right-2.png")
    more = ("--gallery", tmp_path / "known") if task == "embed" else ()
    words = [str(tmp_path / "photo.png"), "--json", *map(str, more)]
    own = inside(folder, "-m", package, *words, "--draw", "drawn")
    assert own.returncode == 0, own.stderr
    assert (folder / "drawn" / "photo.png").is_file()
    (expected,) = run("predict", path, *words).json["predictions"]
    found = json.loads(own.stdout)
    del found["ms"], found["image"]
    if task == "detect":
        assert len(found["boxes"]) == 3
        for one, other in zip(found["boxes"], expected["boxes"], strict=True):
            np.testing.assert_allclose(one.pop("box"), other.pop("box"), atol=1e-3)
            assert one.pop("probability") == pytest.approx(other.pop("probability"), abs=1e-5)
    if task == "embed":
        for one in (found, expected):
            for value in ("embedding", "distance"):
                assert np.ravel(one.pop(value)) is not None
            assert [each.pop("label") for each in one["neighbours"]] == ["right", "left"]
            one.pop("neighbours")
    assert found == {key: value for key, value in expected.items() if key != "image"}
    plain = [word for word in words if word != "--json"]
    shown = inside(folder, "-m", package, words[0], *plain, "--draw", "twice")
    assert len(shown.stdout.splitlines()) > 1
    assert sorted(x.name for x in (folder / "twice").iterdir()) == ["photo-2.png", "photo.png"]


def test_an_app_of_a_file_that_suppresses_boxes_itself(run: CommandLine, tmp_path: Path) -> None:
    made = run("export", "object_networks:Crowds", "--task", "detect", "--resolution", SIDE,
               *UNCHANGED, "--nms", "graph", "-t", "onnx", "-o", "files", "--json")  # fmt: skip
    assert made.code == 0, made.err
    path = made.json["artifacts"][0]["path"]
    for platform in ("python", "web"):
        done = run("app", path, "--platform", platform, "-o", platform)
        assert done.code == 0, done.err
    assert failing(tmp_path / "python") == set()
    if NODE is not None:
        names, said = failing_without_browser(tmp_path / "web")
        assert names == set(), said
    Image.fromarray(scene({0: 0, 5: 1, 6: 1})).save("photo.png")
    own = inside(tmp_path / "python", "-m", "detector", str(tmp_path / "photo.png"), "--json")
    (expected,) = run("predict", path, "photo.png", "--json").json["predictions"]
    found = json.loads(own.stdout)["boxes"]
    assert len(found) == len(expected["boxes"]) > 2
    for one, other in zip(found, expected["boxes"], strict=True):
        np.testing.assert_allclose(one["box"], other["box"], atol=1e-3)
        assert one["index"] == other["index"]
    words = ("--platform", "python", "-o", "held", "--against", "object_networks:Crowds")
    held = run("app", path, *words)
    assert held.code == 2
    assert f"{path} suppresses boxes by itself" in held.message
    assert not Path("held").exists()


def test_what_stands_in_an_app_is_what_edgekit_has() -> None:
    """An app has no edgekit to ask."""
    decode = (Path(apps.__file__).parent / "python/template/detect/decode.py").read_text()
    assert f"DEFAULTS = {json.dumps(detect.DEFAULTS)}" in decode
    assert set(apps.PACKAGES) == set(TASKS)


@pytest.mark.parametrize("task", NETWORKS)
@pytest.mark.parametrize("platform", tables.APPS.built_in)
def test_platforms_without_apps_of_a_task_name_those_that_have_one(
    platform: str, task: str, task_files: TaskFiles, run: CommandLine
) -> None:
    having = [name for name, entry in tables.APPS.built_in.items() if task in entry.tasks]
    if platform in having:
        pytest.skip("it has one")
    path = task_files(task, "onnx")
    done = run("app", path, "--platform", platform, "-o", "made")
    assert done.code == 2
    assert done.message == (
        f"{path} is of the task {task}, which there are no apps of for {platform}: give --platform "
        f"{' or '.join(having)}"
    )
    assert not Path("made").exists()


def test_the_list_says_who_has_apps_of_what(run: CommandLine) -> None:
    listed = {row["name"]: row["tasks"] for row in run("list", "apps", "--json").json["apps"]}
    assert listed["python"] == ["classify", "detect", "segment", "embed"]
    assert listed["ios"] == ["classify"]
    assert "(classify, detect, segment, embed)" in " ".join(run("list", "apps").out.split())


def test_outputs_that_nobody_described_are_refused(run: CommandLine, tmp_path: Path) -> None:
    made = run("export", "object_networks:Cells", "--task", "tensors", "--resolution", "32", "-t",
               "onnx", "-o", "raw", "--json")  # fmt: skip
    assert made.code == 0, made.err
    done = run("app", made.json["artifacts"][0]["path"], "--platform", "python", "-o", "made")
    assert done.code == 2
    assert (
        "is of the task 'tensors': apps are written for classify, detect, segment" in done.message
    )


def test_outputs_of_the_network_are_golden_as_well(
    task_files: TaskFiles, run: CommandLine, tmp_path: Path
) -> None:
    path = copy_artifact(task_files("detect", "onnx"), tmp_path)
    said = ("app", path, "--platform", "python", "-o", "made", "--against")
    done = run(*said, "object_networks:Cells")
    assert done.code == 0, done.err
    golden = json.loads((tmp_path / "made" / "golden" / "golden.json").read_text())
    assert all(set(image["outputs"]) == {"file", "network"} for image in golden["images"])
    other = run(*said, "object_networks:Pixels", "--overwrite")
    assert other.code in (2, 3, 4)
    assert "Pixels" in other.message
