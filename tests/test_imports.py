"""Imports run one way; this reads them off the source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgekit

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgekit"
EXPORTERS = sorted((ROOT / "exporters").rglob("*.py"))
METERS = sorted((PACKAGE / "measure" / "meters").glob("*.py"))

# A part may import its own level's files only within itself, and everything from levels before.
LEVELS = (
    ("core", "meant", "signals"),
    ("errors",),
    ("locks",),
    ("arrays", "boxes", "native_output", "plugins", "staging"),
    ("tables",),
    ("registry",),
    ("agent",),
    ("foreign",),
    ("models", "data", "devices"),
    ("contract", "stated", "tasks"),
    ("folders", "training", "lowering", "verification", "measure"),
    ("inference",),
    ("explaining", "quantize"),
    ("conversion",),
    ("search",),
    ("apps", "report"),
    ("benchmarking", "bundles"),
    ("api",),
    ("cli",),
    ("__main__",),
)
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}

KNOWN_TO_ALL = ("edgekit.core", "edgekit.core.names", "edgekit.core.reading", "edgekit.errors")

RUNTIMES = (
    "accelerate",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "captum",
    "litert_torch",
    "nncf",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "torch",
)


@dataclass(frozen=True)
class Import:
    """One imported module: where, and whether when the file is loaded, later, or never."""

    file: Path
    line: int
    module: str
    moment: str  # "load", "call" or "types"

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def imports(file: Path) -> list[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return list(_walk(file, tree, "load"))


def _walk(file: Path, node: ast.AST, moment: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(file, child.lineno, alias.name, moment)
        elif isinstance(child, ast.ImportFrom):
            for module in _from(file, child):
                yield Import(file, child.lineno, module, moment)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk(file, child, "types" if moment == "types" else "call")
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for statement in child.body:
                yield from _walk(file, ast.Module([statement], []), "types")
            for statement in child.orelse:
                yield from _walk(file, ast.Module([statement], []), moment)
        else:
            yield from _walk(file, child, moment)


def _from(file: Path, node: ast.ImportFrom) -> list[str]:
    """The modules of ``from a import b``: ``a.b`` where that is a module, else ``a``."""
    assert node.level == 0, f"{file}:{node.lineno}: imports are absolute here"
    base = node.module or ""
    found = []
    for alias in node.names:
        inner = ROOT.joinpath(*base.split("."), alias.name)
        is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
        found.append(f"{base}.{alias.name}" if is_module else base)
    return found


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


# Apps are code of their own.
FILES = sorted(file for file in PACKAGE.rglob("*.py") if "template" not in file.parts)
ALL = [found for file in FILES for found in imports(file)]


def test_every_part_of_the_package_has_a_level() -> None:
    assert {part_of(file) for file in FILES} - {"__init__"} == set(LEVEL_OF)


def test_imports_run_one_way() -> None:
    wrong = []
    for found in ALL:
        package, _, rest = found.module.partition(".")
        own, other = part_of(found.file), rest.partition(".")[0]
        if package != "edgekit" or not other or own in (other, "__init__"):
            continue
        if other not in LEVEL_OF or LEVEL_OF[other] >= LEVEL_OF[own]:
            wrong.append(str(found))
    assert not wrong, "\n".join(wrong)


def test_the_package_itself_loads_only_the_standard_library() -> None:
    own = [found for found in imports(PACKAGE / "__init__.py") if found.moment != "types"]
    assert {found.module.partition(".")[0] for found in own} <= sys.stdlib_module_names


@pytest.mark.parametrize("name", ["core", "errors", "plugins", "tables", "registry"])
def test_the_foundation_needs_the_standard_library_only(name: str) -> None:
    needed = {
        found.module.partition(".")[0]
        for found in ALL
        if part_of(found.file) == name and found.moment != "types"
    }
    assert needed
    assert needed <= {*sys.stdlib_module_names, "edgekit"}


def target_of(file: Path) -> str:
    """What an exporter's file belongs to: a module or a package of that name."""
    return file.relative_to(ROOT / "exporters").parts[0].removesuffix(".py")


def test_exporters_exist_for_the_tests_below() -> None:
    assert set(map(target_of, EXPORTERS)) >= {"onnx", "openvino", "tflite"}


@pytest.mark.parametrize("file", EXPORTERS, ids=lambda file: str(file.relative_to(ROOT)))
def test_exporters_know_only_the_records_the_errors_and_their_runtime(file: Path) -> None:
    allowed_on_load = {*sys.stdlib_module_names, "numpy", "edgekit", "exporters"}
    for found in imports(file):
        package = found.module.partition(".")[0]
        if package in ("edgekit", "exporters"):
            # What several of them share lies in modules whose names begin with an underscore.
            shared = f"{found.module}.".startswith(("exporters._", f"exporters.{target_of(file)}."))
            assert shared or found.module in KNOWN_TO_ALL, str(found)
        if found.moment == "load":
            assert package in allowed_on_load, f"{found} when it is loaded"


# What calls home when it is imported, or brings along what does.
TELLING = {"huggingface_hub", "kagglehub", "litert_torch", "nncf", "onnxruntime", "openvino", "ray"}


def test_packages_that_call_home_are_imported_in_one_way_only() -> None:
    """That of `edgekit.core.silent_import`."""
    for file in (*FILES, *EXPORTERS):
        for found in imports(file):
            package = found.module.partition(".")[0]
            assert package not in TELLING or found.moment == "types", str(found)


def test_importing_changes_neither_environment_nor_what_can_be_imported() -> None:
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in (*EXPORTERS, *FILES)
    ]
    code = f"""
import importlib, os, signal, sys
handlers = {{number: signal.getsignal(number) for number in signal.valid_signals()}}
for name in {modules!r}:
    before = dict(os.environ)
    importlib.import_module(name)
    for key in before.keys() | os.environ.keys():
        if before.get(key) != os.environ.get(key):
            print(f"{{name}} changes {{key}} to {{os.environ.get(key)}}")
    for blocked in [key for key, module in sys.modules.items() if module is None]:
        print(f"{{name}} blocks {{blocked}}")
for number, handler in handlers.items():
    if signal.getsignal(number) is not handler:
        print("something handles", number)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("file", METERS, ids=lambda file: file.stem)
def test_meters_know_only_the_records_and_the_errors(file: Path) -> None:
    for found in imports(file):
        if found.module.partition(".")[0] in sys.stdlib_module_names:
            continue
        # What several of them share lies in modules whose names begin with an underscore.
        shared = found.module.startswith("edgekit.measure.meters._")
        assert shared or found.module in KNOWN_TO_ALL, str(found)


def test_data_needs_neither_torch_nor_a_runtime() -> None:
    for found in ALL:
        if part_of(found.file) == "data":
            package = found.module.partition(".")[0]
            assert package not in RUNTIMES, str(found)
            if package == "sklearn":
                assert found.moment == "call", str(found)
            if package == "edgekit":
                own = found.module.split(".")[1]
                assert own in ("boxes", "data", "core", "errors", "tables", "native_output"), str(
                    found
                )


def test_the_exporters_are_named_only_in_the_tables_the_project_file_and_tests() -> None:
    for file in FILES:
        for found in imports(file):
            assert found.module.partition(".")[0] != "exporters", str(found)
        if file != PACKAGE / "tables.py":
            assert not re.search(r"\bexporters\b", file.read_text(encoding="utf-8")), str(file)


def test_only_the_command_line_prints() -> None:
    for file in FILES:
        if part_of(file) in ("cli", "__main__"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id == "print"), str(file)
    for found in ALL:
        if part_of(found.file) not in ("cli", "__main__"):
            assert found.module.partition(".")[0] not in ("click", "rich"), str(found)


def loaded_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after a statement."""
    code = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_neither_numpy_nor_torch() -> None:
    assert loaded_after("import edgekit").isdisjoint({"numpy", *RUNTIMES})


def test_the_foundation_loads_neither_numpy_nor_torch() -> None:
    statement = "import edgekit.core, edgekit.errors, edgekit.registry, edgekit.cli.list"
    assert loaded_after(statement).isdisjoint({"numpy", *RUNTIMES})


def test_loading_every_target_loads_no_runtime() -> None:
    statement = "from edgekit import registry, tables; [registry.target(n) for n in tables.TARGETS]"
    assert loaded_after(statement).isdisjoint(RUNTIMES)


def test_pages_are_made_without_torch_or_a_runtime() -> None:
    statement = "import edgekit.report.inputs, edgekit.report.page, edgekit.report.search"
    assert loaded_after(statement).isdisjoint(RUNTIMES)


def test_every_public_name_resolves() -> None:
    assert set(edgekit.__all__) <= set(dir(edgekit))
    for name in edgekit.__all__:
        assert callable(getattr(edgekit, name)), name
        assert getattr(edgekit, name).__doc__, name


def test_public_names_for_type_checkers_are_those_at_run_time() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    static = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgekit.")
        for alias in node.names
    }
    assert static == edgekit._HOMES
    assert sorted(static) == sorted(edgekit.__all__)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        edgekit.exprot  # noqa: B018
