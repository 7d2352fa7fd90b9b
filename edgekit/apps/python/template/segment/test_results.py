"""What outputs come to: masks. A failure is one of ``decode.py``."""

import numpy as np
import pytest
from golden_files import CASES, IMAGES, mask_of, pixels_of, same
from segmenter.decode import classes_of, decode


def check(found, mask, known):
    assert np.array_equal(found.mask, mask), f"{np.mean(found.mask != mask):.2%} of pixels differ"
    shares = {area.index: area.share for area in found.classes}
    for area in known:
        assert abs(shares[area["index"]] - area["share"]) < 1e-6


@pytest.mark.parametrize("name", IMAGES)
def test_masks(network, name):
    image = IMAGES[name]
    cells = mask_of(image["classes_of_network"])
    check(
        decode(cells, network.contract, tuple(image["size"])),
        mask_of(image["mask"]),
        image["classes"],
    )


@pytest.mark.parametrize("name", IMAGES)
def test_classes_of_the_network(network, name):
    outputs = network.outputs(network.values(pixels_of(IMAGES[name])))
    cells = mask_of(IMAGES[name]["classes_of_network"])
    alike = float((classes_of(outputs) == cells).mean())
    assert alike >= same(IMAGES[name]), f"{alike:.2%} of the network's cells have the same class"


@pytest.mark.parametrize("name", CASES)
def test_made_masks(name):
    case = CASES[name]
    cells = classes_of({"scores": np.array(case["scores"], np.float32)})
    found = decode(cells, {"preprocessing": case["how"], "labels": None}, tuple(case["size"]))
    check(found, np.array(case["mask"]), case["classes"])
