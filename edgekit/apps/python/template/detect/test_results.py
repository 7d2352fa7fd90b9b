"""What outputs come to: objects. A failure is one of ``decode.py``."""

import numpy as np
import pytest
from detector.decode import decode
from golden_files import CASES


@pytest.mark.parametrize("name", CASES)
def test_objects(name):
    case = CASES[name]
    parts = {
        role: np.array(case[role], np.float32)
        for role in ("boxes", "scores", "classes")
        if role in case
    }
    known = case["objects"]
    contract = {
        "parameters": case["parameters"], "preprocessing": case["how"], "labels": case["labels"]
    }  # fmt: skip
    found = decode(parts, contract, tuple(case["size"]))
    assert [(one.index, one.label) for one in found] == [(o["index"], o["label"]) for o in known]
    for one, other in zip(found, known):
        assert abs(one.probability - other["probability"]) < 1e-6
        assert np.abs(np.subtract(one.box, other["box"])).max() < 1e-3
