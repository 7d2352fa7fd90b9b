"""What devices answer, honest and not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_artifacts import Artifacts

from edgekit.agent.hardware import described
from edgekit.core import DeviceProfile
from edgekit.devices import agents, answers, runner
from edgekit.devices.check import check_device
from edgekit.devices.device import Device
from edgekit.devices.transports.local import LOCAL
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort

Sample = tuple[str, dict[str, Any], dict[str, Any], list[Any]]

PLACED: list[Sample] = [
    ("agent", {"do": "place", "files": [["a", 9, "0"]]}, {"paths": ["/a"], "have": [3]}, []),
    ("agent", {"do": "put", "size": 9}, {"have": 9}, []),
    ("agent", {"do": "fate"}, {"code": -9, "told": "x"}, []),
    ("worker", {"do": "part"}, {"own_ms": 1.0, "reference_ms": 2}, []),
    ("worker", {"do": "activations"}, {"names": ["a"]}, [np.ones(3)]),
    ("worker", {"do": "burst"}, {"begin_s": 1.0, "end_s": 2.0, "inferences": 7}, []),
    ("meter", {"do": "idle"}, {"begin_s": 1.0, "end_s": 2.0}, []),
    ("meter", {"do": "end"}, {}, [np.ones((4, 2))]),
    (
        "meter",
        {"do": "open"},
        {"meter": {"name": "m", "scope": "rail", "detail": "", "quantity": "power",
                   "range_mj": None, "period_s": 0.1}},
        [],
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def honest(artifacts: Artifacts) -> list[Sample]:
    """What agents answer to what edgekit asks, each once."""
    found: dict[tuple[str, str], Sample] = {
        (whom, asked["do"]): (whom, asked, answer, arrays) for whom, asked, answer, arrays in PLACED
    }
    check = answers.check_answer

    def noting(whom: str, asked: Any, answer: Any, arrays: Any = ()) -> None:
        check(whom, asked, answer, arrays)
        found[whom, asked["do"]] = (whom, dict(asked), copy.deepcopy(answer), list(arrays))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents, "check_answer", noting)
        patch.setattr(runner, "_SLOTS", {})
        path = artifacts["openvino", "fp32"]
        profile([path], Effort(2.0, 0.5), operators=True)
        check_device(Device("here", LOCAL, DeviceProfile("here", "", "local:")), noise_s=0.1)
    return list(found.values())


def test_all_that_agents_answer_is_taken(honest: list[Sample]) -> None:
    seen = {(whom, asked["do"]) for whom, asked, _, _ in honest}
    for whom, form in answers.FORMS.items():
        known = {do for name, do in seen if name == whom}
        assert form.keys() - known <= {"tensors", "slot", "state"}, whom


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Ways to all values of a document."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = [*value.items()]
    elif isinstance(value, list):
        pairs = [*enumerate(value[:2])]
    return [way, *(found for key, inner in pairs for found in places(inner, (*way, key)))][:60]


@settings(max_examples=300)
@given(data=st.data())
def test_other_answers_are_refused_and_nothing_else_happens(
    honest: list[Sample], data: st.DataObject
) -> None:
    whom, asked, answer, arrays = data.draw(st.sampled_from(honest))
    changed = copy.deepcopy(answer)
    ways = [way for way in places(changed) if way]
    if ways:
        *way, last = data.draw(st.sampled_from(ways))
        inner: Any = changed
        for key in way:
            inner = inner[key]
        if data.draw(st.booleans()):
            inner[last] = data.draw(JSON)
        else:
            del inner[last]
    try:
        answers.check_answer(whom, asked, changed, arrays)
        answers.check_error({"error": data.draw(JSON), "message": data.draw(JSON)})
    except ValueError:
        pass


@pytest.mark.parametrize(
    ("do", "change"),
    [
        ("hello", lambda answer: answer.pop("cores")),
        ("hello", lambda answer: answer.update(cores=True)),
        ("hello", lambda answer: answer.update(cores=0)),
        ("hello", lambda answer: answer.update(clock_s=float("nan"))),
        ("hello", lambda answer: answer.update(wall_s=10**400)),
        ("about", lambda answer: answer["hardware"].update(isa=["a", 1])),
        ("rounds", lambda answer: answer["blocks"][0].update(slot=10_000)),
        ("rounds", lambda answer: answer["blocks"][0].update(samples_ms=[])),
        ("conditions", lambda answer: answer["conditions"].update(max_celsius="x")),
        ("conditions", lambda answer: answer["conditions"].update({"\ud800": 1})),
        ("worker open", lambda answer: answer.update(inputs=["\ud800"])),
        ("worker open", lambda answer: answer.update(runtime="\ud800")),
        ("operators", lambda answer: answer["operators"][0].update(name="\ud800")),
        ("operators", lambda answer: answer["operators"][0].update(kind="\ud800")),
        ("watch", lambda answer: answer.update(why_not="\ud800")),
    ],
)
def test_what_is_odd_is_refused(
    honest: list[Sample], do: str, change: Callable[[dict[str, Any]], object]
) -> None:
    whom, asked, answer, arrays = next(
        one for one in honest if f"{one[0]} {one[1]['do']}".endswith(do)
    )
    changed = copy.deepcopy(answer)
    change(changed)
    answers.check_answer(whom, asked, answer, arrays)
    with pytest.raises(ValueError, match=r"\w"):
        answers.check_answer(whom, asked, changed, arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer["hardware"].update(soc="\ud800"),
        lambda answer: answer["hardware"].update(soc="x" * 100_000),
        lambda answer: answer["hardware"].update(machine="\udc80"),
        lambda answer: answer["hardware"].update(isa=["\ud800"]),
        lambda answer: answer["hardware"].update(isa=["neon"] * 100_000),
        lambda answer: answer["versions"].update(numpy="\ud800"),
        lambda answer: answer["versions"].update({"\ud800": "1"}),
        lambda answer: answer["versions"].update(never="1.0"),
        lambda answer: answer["environment"].update(HOME="/never/asked/for"),
    ],
)
def test_what_a_device_is_can_be_kept(change: Callable[[dict[str, Any]], object]) -> None:
    asked = {"do": "about", "packages": ["numpy"], "variables": ["OMP_NUM_THREADS"]}
    answer = {
        "hardware": {**described(), "soc": "a processor"},
        "versions": {"numpy": "2.0"},
        "environment": {"OMP_NUM_THREADS": "1"},
    }
    answers.check_answer("agent", asked, answer)
    change(answer)
    with pytest.raises(ValueError, match=r"\w"):
        answers.check_answer("agent", asked, answer)
