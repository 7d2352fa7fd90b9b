"""``edgekit doctor``: what works here, and the command that mends what does not."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from edgekit import registry, tables
from edgekit.agent.kernel import usable_cores
from edgekit.cli import console
from edgekit.core import Convertible, reason
from edgekit.core.reasons import PASSING
from edgekit.core.text import counted_words
from edgekit.errors import UnavailableError
from edgekit.plugins import Table, points, to_install


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the diagnosis.

    Attributes:
        needed: whether edgekit is broken without it.
        fix: the command that mends it; empty where it works or nothing does.
    """

    name: str
    works: bool
    found: str
    needed: bool = True
    fix: str = ""


@click.command("doctor")
@console.common_options
def command() -> None:
    """Check PyTorch, CUDA, temporary files, converters and runtimes.

    Each target converts and runs a tiny network; Python and processor are
    shown. Exit code 5 when something
    that edgekit needs does not work.
    """
    steps: list[Callable[[], Check]] = [_python, _processor, _torch, _accelerator, _writable]
    steps += [lambda name=name: _target(name) for name in tables.TARGETS]  # type: ignore[misc]
    steps += [lambda one=one: _converter(*one) for one in _other_converters()]  # type: ignore[misc]
    steps += [lambda names=names: _simulators(*names) for names in _simulator_packages()]  # type: ignore[misc]
    steps += [lambda one=one: _plugin(*one) for one in _plugins()]  # type: ignore[misc]
    checks = []
    with console.status("checking") as notify:
        for step in steps:
            checks.append(step())
            notify(f"checked {checks[-1].name}")
    console.table(
        ["", "what", "found"],
        [("ok" if c.works else "!!" if c.needed else "--", c.name, c.found) for c in checks],
    )
    for check in checks:
        if check.fix:
            console.say(f"to mend {check.name}: {check.fix}")
    if console.wants_json():
        from edgekit.core import to_json

        console.emit_json("edgekit.doctor/1", {"checks": to_json(checks)})
    broken = [check.name for check in checks if check.needed and not check.works]
    if broken:
        raise UnavailableError(f"does not work here: {', '.join(broken)}; see the lines above")


def _python() -> Check:
    return Check("Python", True, f"{platform.python_version()} on {platform.platform()}")


def _processor() -> Check:
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp")
    features = ", ".join(name for name in known if name in flags) or "features unknown"
    return Check(
        "processor",
        True,
        f"{counted_words(usable_cores(), 'core')}, {platform.machine()}, {features}",
    )


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("PyTorch", False, reason(error), fix="pip install torch")
    return Check("PyTorch", True, torch.__version__)


def _accelerator() -> Check:
    try:
        import torch
    except (ImportError, OSError):
        return Check("CUDA", False, "unknown without PyTorch", needed=False)
    if not torch.cuda.is_available():
        return Check("CUDA", False, "no GPU that this PyTorch can use", needed=False)
    return Check("CUDA", True, torch.cuda.get_device_name(), needed=False)


def _writable() -> Check:
    folder = tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            "temporary files", False, reason(error), fix="export TMPDIR=/a/writable/folder"
        )
    return Check("temporary files", True, folder)


def _plugins() -> list[tuple[Table[Any] | None, str, str]]:
    """What other packages add, targets apart: its table, its name and the package.

    Without a table, why the package adds nothing stands in place of the name.
    """
    found: list[tuple[Table[Any] | None, str, str]] = [
        (table, name, entry.package)
        for table in tables.TABLES
        if table is not tables.TARGETS
        for name, entry in table.lines()
        if entry.package
    ]
    groups = {table.group for table in tables.TABLES}
    for point in points():
        if point.group not in groups:
            why = f"no table has the group '{point.group}'" if point.group else point.where
            found.append((None, why, point.package))
    return found


def _plugin(table: Table[Any] | None, name: str, package: str) -> Check:
    """Whether what another package adds can be loaded."""
    if table is None:
        return Check(package, False, name, needed=False)
    title = f"{table.kind} {name}"
    try:
        table.load(name)
    except UnavailableError as error:
        return Check(title, False, str(error), needed=False)
    return Check(title, True, package, needed=False)


def _other_converters() -> list[tuple[str, str]]:
    """Targets and those of their converters that are not the default."""
    targets, _ = tables.TARGETS.load_all()
    return [
        (name, converter)
        for name, target in targets.items()
        if isinstance(target, Convertible)
        for converter in target.converters[1:]
    ]


def _converter(name: str, converter: str) -> Check:
    """Whether a converter that nobody needs is installed."""
    title = f"{name} by {converter}"
    try:
        version = metadata.version(converter)
    except metadata.PackageNotFoundError:
        found = f"not installed: pip install {to_install(converter)}"
        return Check(title, False, found, needed=False)
    return Check(title, True, f"{converter} {version}", needed=False)


def _simulator_packages() -> list[tuple[str, tuple[str, ...]]]:
    """Distributions that microcontrollers need, with the devices that need them."""
    found: dict[str, list[str]] = {}
    for name, entry in tables.SIMULATORS.items():
        if not entry.package:
            for package in tables.SIMULATORS.load(name).packages:
                found.setdefault(package, []).append(name)
    return [(package, tuple(names)) for package, names in found.items()]


def _simulators(package: str, names: Sequence[str]) -> Check:
    """Whether what stands for microcontrollers can be started."""
    from edgekit.devices.simulators import ready

    title = f"device {names[0]}" + (" and others" if names[1:] else "")
    try:
        ready(names[0])
    except UnavailableError:
        extra = tables.SIMULATORS.load(names[0]).extra
        return Check(title, False, f"not installed: pip install '{extra}'", needed=False)
    except PASSING:
        raise
    except BaseException as error:  # as of targets
        return Check(title, False, reason(error), needed=False)
    return Check(title, True, f"{package} {metadata.version(package)}", needed=False)


def _target(name: str) -> Check:
    """Converts and runs the smallest network there is."""
    title, package = f"target {name}", tables.TARGETS[name].package
    try:
        target = registry.target(name)
    except UnavailableError as error:
        return Check(title, False, str(error), needed=not package)
    try:
        versions = ", ".join(
            f"{package} {metadata.version(package)}"
            for package in target.packages
            if package != "torch"
        )
        import torch

        from edgekit.core import of_image
        from edgekit.native_output import captured

        network = torch.nn.Conv2d(3, 4, 3)
        network = torch.nn.Sequential(network, torch.nn.Flatten(1)).eval()  # type: ignore[assignment]
        example = of_image(torch.zeros(1, 3, 8, 8))
        with tempfile.TemporaryDirectory() as folder, captured():
            path = Path(folder, f"doctor{target.suffix}")
            target.export(network, example, path, target.schemes["fp32"])
            runner = target.open(path)
            runner.run([torch.zeros(runner.tensors()[0][0].shape).numpy()])
    except PASSING:
        raise
    except BaseException as error:  # whatever goes wrong in a converter or runtime is the diagnosis
        missing = isinstance(error, ImportError | metadata.PackageNotFoundError)
        verb = "install" if missing else "install --force-reinstall"
        fix = f"pip {verb} {' '.join(p for p in target.packages if p != 'torch')}"
        return Check(title, False, reason(error), needed=not package, fix=fix)
    return Check(title, True, versions, needed=not package)
