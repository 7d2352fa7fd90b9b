"""Outputs for given pixels. A failure is one of the runtime or the model."""

import numpy as np
import pytest
from golden_files import IMAGES, pixels_of, signal_to_noise_db

OUTPUTS = [
    (name, of, role)
    for name in IMAGES
    for of, outputs in IMAGES[name]["outputs"].items()
    for role in outputs
]


@pytest.mark.parametrize(("name", "of", "role"), OUTPUTS)
def test_outputs(network, name, of, role):
    known = IMAGES[name]["outputs"][of][role]
    outputs = network.outputs(network.values(pixels_of(IMAGES[name])))
    assert set(outputs) == set(IMAGES[name]["outputs"][of])
    found, expected = outputs[role].reshape(-1)[:: known["every"]], np.array(known["values"])
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    decibels = signal_to_noise_db(found, expected, float(np.square(expected).mean()))
    assert decibels >= known["least_db"], (
        f"{decibels:.1f} dB to the {role} of the {of}: at least {known['least_db']}"
    )
