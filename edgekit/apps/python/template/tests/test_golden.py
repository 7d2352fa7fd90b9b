"""Runs the app on the images in ``golden``, and holds what it gives against what is known.

A failure of ``test_pixels`` is one of decoding or resizing, ``test_scores`` of the runtime or the
model, ``test_labels`` of what the outputs are taken for, ``test_processor`` of a model that was
written for another kind of processor: its scores are somewhat other ones here.
"""

import json
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from classifier import Classifier, ImageError  # noqa: E402

GOLDEN = json.loads((ROOT / "golden" / "golden.json").read_text(encoding="utf-8"))
IMAGES = {each["file"]: each for each in GOLDEN["images"]}


@pytest.fixture(scope="module")
def classifier():
    return Classifier()


def pixels_of(image):
    pixels = np.asarray(Image.open(ROOT / "golden" / image["pixels"]))
    return pixels if pixels.ndim == 3 else pixels[..., None]


def signal_to_noise_db(scores, expected):
    """Power of the spread of what is expected over that of the difference."""
    noise = float(np.square(scores - expected).mean())
    return 10 * np.log10(max(float(np.var(expected)), 1e-30) / max(noise, 1e-30))


@pytest.mark.parametrize("name", IMAGES)
def test_pixels(classifier, name):
    expected = pixels_of(IMAGES[name]).astype(int)
    found = classifier.finished_pixels(ROOT / "golden" / name).astype(int)
    assert found.shape == expected.shape
    off, most = np.abs(found - expected), IMAGES[name]["most_off"]
    assert off.max() <= most["one"], f"a pixel is off by {off.max()}: at most {most['one']}"
    assert off.mean() <= most["mean"], f"pixels are off by {off.mean():.2f}: at most {most['mean']}"


@pytest.mark.parametrize(("name", "of"), [(n, of) for n in IMAGES for of in IMAGES[n]["scores"]])
def test_scores(classifier, name, of):
    found = classifier.scores(classifier.values(pixels_of(IMAGES[name])))
    expected = np.array(IMAGES[name]["scores"][of])
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    if expected.size == 1:  # one number has no spread: it is compared as it is
        assert abs(found[0] - expected[0]) <= 0.02 * max(1.0, abs(expected[0]))
        return
    decibels = signal_to_noise_db(found, expected)
    least = IMAGES[name]["least_db"][of]
    assert decibels >= least, f"{decibels:.1f} dB to the scores of the {of}: at least {least}"


def processors():
    """The kinds that this processor may be called."""
    machine = platform.machine().lower()
    if machine.startswith(("arm", "aarch")):
        return {"arm"}
    if machine not in ("x86_64", "amd64", "x86", "i686", "i386"):
        return {machine}
    about = Path("/proc/cpuinfo")
    if not about.is_file():
        return {"x86", "x86-vnni"}
    flags = about.read_text(encoding="utf-8", errors="replace").split()
    return {"x86-vnni" if {"avx_vnni", "avx512_vnni"} & set(flags) else "x86"}


def test_processor():
    written = GOLDEN["processors"]
    assert written is None or processors() & set(written), (
        f"the model was written for {', '.join(written)}, and this is {', '.join(processors())}: "
        f"export it for this processor, with --isa"
    )


@pytest.mark.parametrize("name", IMAGES)
def test_labels(classifier, name):
    expected = IMAGES[name]["labels"]
    found = classifier.labels(np.array(IMAGES[name]["scores"]["file"]), len(expected))
    assert len(found) == len(expected)
    for label, known in zip(found, expected):
        assert (label.index, label.label) == (known["index"], known["label"])
        assert abs(label.probability - known["probability"]) < 1e-6


def test_vectors_of_scores(classifier):
    from classifier.decode import probabilities

    for vector in GOLDEN["vectors"]:
        found = np.asarray(probabilities(vector["scores"], vector["kind"]))
        assert found.shape == (len(vector["probabilities"]),)
        assert np.abs(found - np.array(vector["probabilities"])).max() < 1e-9


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_refused(classifier, content):
    with pytest.raises(ImageError):
        classifier(content)
