"""What outputs come to: vectors and their neighbours. A failure is one of ``decode.py``."""

import numpy as np
import pytest
from embedder.decode import Gallery, among, unit
from golden_files import CASES, IMAGES, pixels_of, same


@pytest.mark.parametrize("name", IMAGES)
def test_embeddings(network, name):
    expected = np.array(IMAGES[name]["embedding"])
    found = unit(network.outputs(network.values(pixels_of(IMAGES[name])))["embedding"])
    cosine = float(found @ expected)
    assert cosine >= same(IMAGES[name]), f"the cosine to what is expected is {cosine:.5f}"


@pytest.mark.parametrize("name", CASES)
def test_neighbours(name):
    case = CASES[name]
    known, labels = np.array(case["known"], np.float32), case["labels"]
    gallery = Gallery(labels, labels, known, case["distance"])
    found = among(unit(case["embedding"]), gallery, len(case["neighbours"]))
    assert found.label == case["label"]
    for one, other in zip(found.neighbours, case["neighbours"]):
        assert one.label == other["label"]
        assert abs(one.distance - other["distance"]) < 1e-5
