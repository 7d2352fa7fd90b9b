"""What networks take and give, found by running them once."""

from __future__ import annotations

import dataclasses
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import ModelError, UsageError
from edgekit.models.arguments import Arguments
from edgekit.models.interface import shaped
from edgekit.models.rows import draws_of, noise_rows, on_rows

Pair = namedtuple("Pair", ["first", "second"])


@dataclasses.dataclass
class Record:
    mean: Tensor
    more: Any


class Net(nn.Module):
    """Gives what a function makes of the mean of each channel."""

    def __init__(self, give: Any) -> None:
        super().__init__()
        self.layer, self.give = nn.Conv2d(3, 3, 1, bias=False), give
        self.eval()

    def forward(self, x: Tensor) -> Any:
        return self.give(self.layer(x).mean((2, 3)))


IMAGE = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
FORMS: dict[str, tuple[Any, list[str]]] = {
    "a tensor": (lambda y: y, ["output"]),
    "a tuple": (lambda y: (y, 2 * y), ["output_0", "output_1"]),
    "a list": (lambda y: [y], ["output_0"]),
    "a dictionary": (lambda y: {"b": y, "a": 2 * y}, ["b", "a"]),
    "a named tuple": (lambda y: Pair(y, (y, 3 * y)), ["first", "second.0", "second.1"]),
    "a dataclass": (lambda y: Record(y, {"in": [y + 1]}), ["mean", "more.in.0"]),
    "something missing": (lambda y: (y, None, {"x": y}), ["output_0", "2.x"]),
    "a name of any letters": (lambda y: {"a b/c": y}, ["a_b_c"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_are_tensors_in_order_with_their_names(form: str) -> None:
    give, names = FORMS[form]
    net = Net(give)
    found = shaped(net, IMAGE, "net")
    assert [spec.name for spec in found.interface.outputs] == names
    given = found.module(IMAGE)
    parts = given if isinstance(given, tuple) else (given,)
    assert [tuple(part.shape) for part in parts] == [s.shape for s in found.interface.outputs]
    assert [name for name, _ in found.module.named_modules()] == ["", "layer"]
    (image,) = found.interface.inputs
    assert (image.name, image.shape, image.layout) == ("x", (1, 3, 4, 4), "NCHW")


def test_a_network_of_tensors_is_taken_as_it_is() -> None:
    net = Net(lambda y: (y, 2 * y))
    assert shaped(net, IMAGE, "net").module is net


class Many(nn.Module):
    def forward(self, a: Tensor, pair: tuple[Tensor, Tensor], *, scale: Tensor) -> Tensor:
        return (a + pair[0] - pair[1]) * scale


def test_inputs_bear_the_names_of_arguments() -> None:
    one = torch.arange(3.0)[None]
    given = Arguments((one, (one + 1, one * 3)), {"scale": torch.tensor([2.0])})
    found = shaped(Many().eval(), given, "net")
    names = [spec.name for spec in found.interface.inputs]
    assert names == ["a", "pair.0", "pair.1", "scale"]
    assert not any(spec.layout for spec in found.interface.inputs)
    expected = (one + one + 1 - one * 3) * 2
    assert torch.equal(found.module(*found.tensors), expected)


def test_chosen_outputs_come_in_the_order_that_was_asked_for() -> None:
    net = Net(lambda y: {"a": y, "b": 2 * y, "c": 3 * y})
    found = shaped(net, IMAGE, "net", ("c", "a"))
    assert [spec.name for spec in found.interface.outputs] == ["c", "a"]
    c, a = found.module(IMAGE)
    torch.testing.assert_close(c, 3 * a)
    with pytest.raises(UsageError, match="--outputs d: 'net' has no such output; it has a, b, c"):
        shaped(net, IMAGE, "net", ("d",))


REFUSED: dict[str, tuple[Any, str]] = {
    "no tensor": (lambda y: (), "gives no tensor"),
    "a word": (lambda y: (y, "a"), "gives a str as '1'"),
    "names alike": (lambda y: {"a.b": y, "a": {"b": y}}, "would be called 'a.b' in a file"),
    "complex numbers": (lambda y: y.to(torch.complex64), "is complex64"),
    "sizes by value": (lambda y: (y, y[y > 0]), "has the shape"),
    "a number by value": (lambda y: [y] * (1 + int(y[0, 0] > 0)), "outputs for one input"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_file_can_hold_is_refused(kind: str) -> None:
    give, message = REFUSED[kind]
    torch.manual_seed(0)  # whose weights give numbers of both signs
    with pytest.raises(ModelError, match=message):
        shaped(Net(give), IMAGE, "net")


def test_a_network_on_rows_computes_the_same() -> None:
    net = Many().eval()
    one = torch.arange(3.0)[None]
    given = Arguments((one, (one + 1, one * 3)), {"scale": torch.tensor([2.0])})
    found = shaped(net, given, "net")
    rows = on_rows(found.module, found.interface, "net")
    row = torch.cat([tensor.reshape(1, -1) for tensor in found.tensors], 1)
    torch.testing.assert_close(rows(row), found.module(*found.tensors).reshape(1, -1))
    both = rows(torch.cat([row, 2 * row]))
    assert both.shape == (2, 3)


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids).sum(1)


def test_integers_stay_within_what_the_example_has() -> None:
    ids = torch.tensor([[3, 9, 4]])
    found = shaped(Words().eval(), ids, "net")
    assert found.interface.inputs[0].dtype == "int64"
    rows = noise_rows(found.interface.inputs, draws_of(found.tensors), 50)
    assert set(np.unique(rows)) == {3.0, 4.0, 9.0}
    given = on_rows(found.module, found.interface, "net")(torch.from_numpy(rows))
    assert given.shape == (50, 4)


def test_the_network_is_left_as_it_was() -> None:
    net = Net(lambda y: {"a": y})
    before = dict(net.state_dict())
    found = shaped(net, IMAGE, "net")
    found.module.layer.weight.data.zero_()  # type: ignore[union-attr]
    assert type(net) is Net
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
