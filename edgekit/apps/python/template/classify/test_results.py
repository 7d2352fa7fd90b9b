"""Scores, and what they come to: classes. ``test_scores`` is of the runtime or the model."""

import numpy as np
import pytest
from classifier.decode import probabilities
from golden_files import GOLDEN, IMAGES, pixels_of, signal_to_noise_db


@pytest.mark.parametrize(("name", "of"), [(n, of) for n in IMAGES for of in IMAGES[n]["scores"]])
def test_scores(network, name, of):
    found = network.scores(network.values(pixels_of(IMAGES[name])))
    expected = np.array(IMAGES[name]["scores"][of])
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    if expected.size == 1:  # one number has no spread: it is compared as it is
        assert abs(found[0] - expected[0]) <= 0.02 * max(1.0, abs(expected[0]))
        return
    decibels = signal_to_noise_db(found, expected, float(np.var(expected)))
    least = IMAGES[name]["least_db"][of]
    assert decibels >= least, f"{decibels:.1f} dB to the scores of the {of}: at least {least}"


@pytest.mark.parametrize("name", IMAGES)
def test_labels(network, name):
    expected = IMAGES[name]["labels"]
    found = network.labels(np.array(IMAGES[name]["scores"]["file"]), len(expected))
    assert len(found) == len(expected)
    for label, known in zip(found, expected):
        assert (label.index, label.label) == (known["index"], known["label"])
        assert abs(label.probability - known["probability"]) < 1e-6


def test_vectors_of_scores():
    for vector in GOLDEN["vectors"]:
        found = np.asarray(probabilities(vector["scores"], vector["kind"]))
        assert found.shape == (len(vector["probabilities"]),)
        assert np.abs(found - np.array(vector["probabilities"])).max() < 1e-9
