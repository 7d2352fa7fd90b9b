"""The agent as one file, in Pythons that have NumPy and one runtime and nothing of edgekit."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import bare_python
import numpy as np
import pytest
from bare_python import Bare, old_python, runtime_of
from installed import install
from small_artifacts import Artifacts

from edgekit import registry, tables
from edgekit.agent.wire import PROTOCOL
from edgekit.core import TensorSpec, from_json
from edgekit.devices import device
from edgekit.devices.agents import Agent, Slot
from edgekit.devices.bundle import Bundle, bundle
from edgekit.devices.files import file_request, opener_of
from edgekit.errors import UnavailableError

ROOT = Path(__file__).parents[2]
TARGETS = sorted(tables.TARGETS.built_in)
MOST_BYTES = 200_000

OUTSIDE = {
    # At the top of modules, so that all agents have to have it.
    "load": {"numpy"},
    # Runtimes and what reads files of theirs, as far as it is there; the library of a meter.
    "call": {"ai_edge_litert", "flatbuffers", "google", "numpy", "onnx"},
}
"""What is imported beside the standard library."""


@pytest.fixture(scope="module")
def whole() -> Bundle:
    return bundle(map(opener_of, map(registry.target, TARGETS)))


def modules(found: Bundle) -> dict[str, str]:
    archive = zipfile.ZipFile(io.BytesIO(found.content))
    return {name: archive.read(name).decode() for name in archive.namelist()}


def test_it_is_small_and_made_quickly(whole: Bundle) -> None:
    assert len(whole.content) < MOST_BYTES
    begin = time.process_time()
    again = bundle(map(opener_of, map(registry.target, TARGETS)))
    assert time.process_time() - begin < 0.3
    assert again == whole


def test_it_is_the_same_wherever_it_is_made(whole: Bundle, package_env: dict[str, str]) -> None:
    openers = [opener_of(registry.target(name)) for name in reversed(TARGETS)]
    code = f"from edgekit.devices.bundle import bundle; print(bundle({openers!r}).sha256)"
    for seed in ("1", "2"):
        env = {**package_env, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.stdout.strip() == whole.sha256, done.stderr


def test_it_holds_what_it_imports_and_nothing_else(whole: Bundle) -> None:
    found = modules(whole)
    names = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in found}
    assert names - {"__main__"} == set(whole.modules)
    assert not {"edgekit.registry", "edgekit.tables", "edgekit.cli", "edgekit.devices"} & names
    for path, text in found.items():
        for node, moment in imports(ast.parse(text), "load"):
            wanted = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            for module in map(str, wanted):
                top = module.partition(".")[0]
                if top in ("edgekit", "exporters"):
                    assert module in names, f"{path}: {module}"
                elif top not in sys.stdlib_module_names:
                    assert top in OUTSIDE[moment], f"{path}: {module}"


def imports(node: ast.AST, moment: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, moment
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        else:
            later = isinstance(child, ast.FunctionDef | ast.Lambda)
            yield from imports(child, "call" if later else moment)


NEW_WORDS = {"dataclass": {"slots", "kw_only"}, "zip": {"strict"}}
NEW_NAMES = {
    "BaseExceptionGroup", "ExceptionGroup", "NoneType", "Self", "UTC", "UnionType", "aclosing",
    "bit_count", "graphlib", "hardlink_to", "is_relative_to", "orig_argv", "pairwise", "readlink",
    "removeprefix", "removesuffix", "tomllib", "unparse", "waitstatus_to_exitcode", "with_stem",
    "zoneinfo",
}  # fmt: skip
ON_LATER_PYTHONS = {("edgekit/core/plain.py", "UnionType")}
"""What no agent comes to: it reads no records."""


def test_it_has_nothing_that_python_3_8_does_not_know(whole: Bundle) -> None:
    """As far as a look at the source tells; tests below ask a Python 3.8."""
    for path, text in modules(whole).items():
        tree = ast.parse(text, path, feature_version=(3, 8))
        if any(isinstance(node, ast.FunctionDef) for node in ast.walk(tree)):
            assert "from __future__ import annotations\n" in text, path
        for node in without_types(tree):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                words = {word.arg for word in node.keywords}
                assert not words & NEW_WORDS.get(node.func.id, set()), where
            key = {ast.Attribute: "attr", ast.Name: "id", ast.alias: "name"}.get(type(node), "")
            name = getattr(node, key, None)
            assert name not in NEW_NAMES or (path, name) in ON_LATER_PYTHONS, where


def test_the_linter_takes_it_for_python_3_8(whole: Bundle) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    versions = project["tool"]["ruff"]["per-file-target-version"]
    for path in modules(whole).keys() - {"__main__.py"}:
        found = [version for pattern, version in versions.items() if fnmatch(path, pattern)]
        assert found == ["py38"], path


def without_types(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that are run, annotations and what is for types alone left out."""
    for key, value in ast.iter_fields(node):
        if key in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if isinstance(child, ast.AST) and not typing:
                yield child
                yield from without_types(child)


def test_of_one_target_it_holds_that_one() -> None:
    for name in TARGETS:
        found = bundle([opener_of(registry.target(name))]).modules
        strange = [m for m in found for other in TARGETS if other != name and other in m]
        assert [m for m in strange if name not in m] == []


def test_every_meter_is_in_it(whole: Bundle) -> None:
    for entry in tables.METERS.built_in.values():
        assert entry.where.partition(":")[0] in whole.modules


def test_a_package_brings_what_its_own_modules_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        "odd_kit/__init__.py": "raise SystemExit('it was imported')",
        "odd_kit/opening.py": "from . import near\nfrom .deep.inner import x\nimport numpy",
        "odd_kit/near.py": "def f():\n    from odd_kit import later, nothing\n",
        "odd_kit/later.py": "try:\n  import odd_kit.tried\nexcept ImportError:\n  import gone\n",
        "odd_kit/tried.py": "",
        "odd_kit/deep/__init__.py": "from .. import near as other",
        "odd_kit/deep/inner.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    import odd_kit.typed\nelse:\n    import odd_kit.timed\nx = lambda: 1",
        "odd_kit/typed.py": "",
        "odd_kit/timed.py": "from odd_kit.damaged import *",
        "odd_kit/damaged.py": "def (",
        "odd_kit/unused.py": "",
        "odd_meter.py": "import odd_kit.unused",
    }
    points = {"edgekit.meters": {"odd": "odd_meter:METER", "gone": "no_such_module:METER"}}
    install(tmp_path, "odd-kit", points, files)
    found = bundle(["odd_kit.opening:OPENER"]).modules
    assert [name for name in found if name.startswith("odd")] == [
        "odd_kit", "odd_kit.damaged", "odd_kit.deep", "odd_kit.deep.inner", "odd_kit.later",
        "odd_kit.near", "odd_kit.opening", "odd_kit.timed", "odd_kit.tried", "odd_kit.unused",
        "odd_meter",
    ]  # fmt: skip


class Session:
    """An agent of a bundle, with a file placed there."""

    def __init__(self, bare: Bare, target: str, path: Path) -> None:
        self.target, self.path = registry.target(target), path
        self.agent = Agent(bare)
        there = device.Device("bare", bare)
        self.files = there.place(self.agent, self.target.files(path))

    def subject(self, **options: object) -> dict[str, object]:
        return file_request(self.target, self.path, files=self.files, threads=1, **options)

    def slot(self, **options: object) -> tuple[Slot, dict[str, object]]:
        found, subject = self.agent.slot(), self.subject(**options)
        found.ask("import", subject=subject, about=str(self.path))
        return found, subject


def exercise(session: Session) -> list[np.ndarray]:
    """Asks for everything that an agent does with a file; gives outputs of noise."""
    hello, _ = session.agent.ask("hello")
    assert hello["protocol"] == PROTOCOL
    slot, subject = session.slot()
    answer, _ = slot.ask("tensors", subject=subject)
    (spec,) = (from_json(TensorSpec, each) for each in answer["inputs"])
    (image,) = noise(spec)
    _, outputs = slot.ask("run", [image])
    timing, _ = session.slot()
    opened, _ = timing.ask("open", subject=subject, cores=[])
    assert opened["sha256"] == device.digest(session.target.files(session.path))
    assert opened["tools"]["numpy"]
    assert len(timing.ask("block", runs=5, reference=2)[0]["samples_ms"]) == 5
    assert timing.ask("memory")[0]["peak_rss_mib"] > 0
    assert set(session.agent.ask("conditions")[0]["conditions"]) >= {"cpu", "governor"}
    return outputs


def noise(spec: TensorSpec) -> list[np.ndarray]:
    return [np.random.default_rng(0).standard_normal(spec.shape).astype(spec.dtype)]


def outputs_here(target: str, path: Path) -> list[np.ndarray]:
    runner = registry.target(target).open(path, 1)
    return runner.run(noise(runner.tensors()[0][0]))


@pytest.mark.parametrize("name", TARGETS)
def test_it_runs_files_where_there_is_one_runtime(
    name: str, artifacts: Artifacts, whole: Bundle, tmp_path: Path
) -> None:
    bare = Bare(tmp_path, whole.content, runtime_of(sys.executable, name))
    session = Session(bare, name, artifacts[name, "fp32"])
    try:
        found = exercise(session)
        for one, other in zip(found, outputs_here(name, session.path), strict=True):
            np.testing.assert_array_equal(one, other)
        meter = session.agent.slot("meter")
        kinds = {name: entry.where for name, entry in tables.METERS.built_in.items()}
        answer, _ = meter.ask("discover", kinds=kinds, root=str(tmp_path), gpu=False)
        assert answer["meter"] is None
        assert {line.partition(":")[0] for line in answer["reasons"]} == set(kinds)
    finally:
        session.agent.close()


@pytest.mark.devices
@pytest.mark.parametrize("name", TARGETS)
def test_it_runs_files_on_python_3_8(
    name: str, artifacts: Artifacts, whole: Bundle, tmp_path: Path
) -> None:
    python = old_python()
    if python is None:
        pytest.skip("there is no Python 3.8 with NumPy: EDGEKIT_OLD_PYTHON may name one")
    runtime = runtime_of(python, name)
    if runtime is None:
        pytest.skip(f"{python} has none of {', '.join(bare_python.RUNTIMES[name])}")
    session = Session(Bare(tmp_path, whole.content, runtime, python), name, artifacts[name, "fp32"])
    try:
        assert session.agent.ask("hello")[0]["python"].startswith("3.8.")
        found = exercise(session)
        # By a runtime that is years older.
        for one, other in zip(found, outputs_here(name, session.path), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        slot = session.agent.slot("meter")
        kinds = {name: entry.where for name, entry in tables.METERS.built_in.items()}
        answer, _ = slot.ask("discover", kinds=kinds, root=str(tmp_path), gpu=False)
        assert {line.partition(":")[0] for line in answer["reasons"]} == set(kinds)
    finally:
        session.agent.close()


@pytest.mark.devices
def test_every_module_of_it_can_be_imported_by_python_3_8(whole: Bundle, tmp_path: Path) -> None:
    python = old_python()
    if python is None:
        pytest.skip("there is no Python 3.8 with NumPy: EDGEKIT_OLD_PYTHON may name one")
    (tmp_path / "agent.pyz").write_bytes(whole.content)
    names = [name for name in whole.modules if not name.endswith("__main__")]
    code = f"import importlib, sys; sys.path.insert(0, 'agent.pyz')\nfor name in {names!r}:\n"
    done = subprocess.run(
        [python, "-W", "error", "-c", f"{code} importlib.import_module(name)"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def operators(session: Session) -> list[dict[str, object]]:
    slot, subject = session.slot()
    slot.ask("open", subject=subject, cores=[])
    found: list[dict[str, object]] = slot.ask("operators", runs=2)[0]["operators"]
    return found


def test_operators_are_timed_where_the_runtime_tells(
    artifacts: Artifacts, whole: Bundle, tmp_path: Path
) -> None:
    bare = Bare(tmp_path, whole.content, "openvino")
    session = Session(bare, "openvino", artifacts["openvino", "fp32"])
    try:
        assert any(entry["kind"] == "Convolution" for entry in operators(session))
    finally:
        session.agent.close()


def test_what_needs_another_package_says_so(
    artifacts: Artifacts, whole: Bundle, tmp_path: Path
) -> None:
    for name, package in (("onnx", "onnx"), ("tflite", "ai-edge-litert")):
        folder = tmp_path / name
        folder.mkdir()
        path = artifacts[name, "fp32"]
        bare = Bare(folder, whole.content, runtime_of(sys.executable, name))
        if name == "tflite":  # as tflite-runtime has it: no classes of the format
            own = bare.packages / "ai_edge_litert"
            source = own.resolve()
            own.unlink()
            shutil.copytree(
                source, own, symlinks=True, ignore=shutil.ignore_patterns("schema_py_generated*")
            )
        session = Session(bare, name, path)
        try:
            with pytest.raises(UnavailableError, match="timing its operators needs") as caught:
                operators(session)
            assert str(caught.value).endswith(f"pip install {package}")
            slot, subject = session.slot(batch=2)
            with pytest.raises(UnavailableError, match="a batch of 2, which") as caught:
                slot.ask("tensors", subject=subject)
            assert f"needs the package '{package}' where the file runs" in str(caught.value)
        finally:
            session.agent.close()


def test_a_runtime_that_is_missing_is_told(
    artifacts: Artifacts, whole: Bundle, tmp_path: Path
) -> None:
    for name in TARGETS:
        folder = tmp_path / name
        folder.mkdir()
        session = Session(Bare(folder, whole.content, None), name, artifacts[name, "fp32"])
        try:
            with pytest.raises(UnavailableError, match="which is not installed on") as caught:
                session.slot()
            assert bare_python.RUNTIMES[name][0] in str(caught.value)
        finally:
            session.agent.close()
