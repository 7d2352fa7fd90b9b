"""What opens files of a target in an agent."""

from __future__ import annotations

import pytest

from edgekit import plugins, registry, tables
from edgekit.agent.files import load_object
from edgekit.devices.files import opener_of


@pytest.mark.parametrize("name", tables.TARGETS.built_in)
def test_a_target_opens_files_as_its_opener_does(name: str) -> None:
    target = registry.target(name)
    assert opener_of(target) == target.opener
    assert isinstance(target, type(load_object(target.opener)))


@pytest.mark.parametrize("name", tables.TARGETS.built_in)
@pytest.mark.parametrize("method", ["start", "open", "activations"])
def test_one_that_derives_from_it_and_opens_otherwise_is_its_own(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(registry.target(name))
    line = plugins.Entry("somewhere:TARGET", "another")
    monkeypatch.setitem(tables.TARGETS.built_in, "another", line)
    plain = type("Plain", (kind,), {"name": "another"})()
    assert opener_of(plain) == kind.opener
    own = type("Own", (kind,), {"name": "another", method: lambda *_: None})()
    assert opener_of(own) == "somewhere:TARGET"
    named = type("Named", (type(own),), {"opener": "elsewhere:OPENER"})()
    assert opener_of(named) == "elsewhere:OPENER"
