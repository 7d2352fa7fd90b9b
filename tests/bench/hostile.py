"""Damaged and hostile files through ``predict``, ``profile`` and ``verify``.

Each case alters good files with a generator of its own seed, runs one command on them in a process
of its own, and says how it ended: exit code, signal, processor seconds and peak memory of it and
its children. What counts as a fault: an exit code that is not 0, 3 or 4 (a file that computes
something else fails the gate of ``verify``), a traceback, more than 10 s, more than 1 GB, a file
outside the case's folder.

``--seed S`` runs one case and keeps its files. 2,000 cases take about an hour on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[i]) for i in (1, 2)]

from damage import KINDS, contracts  # noqa: E402
from PIL import Image  # noqa: E402

TARGETS = {"onnx": ".onnx", "openvino": ".xml", "tflite": ".tflite"}
MODEL = "mobilenetv1@0.25"
LIMIT_S, LIMIT_MIB, PATIENCE_S = 10.0, 1000.0, 120.0
ALLOWED = {0, 3}


@dataclass(frozen=True)
class Case:
    """What is damaged, how, and which command sees it."""

    seed: int
    target: str
    precision: str
    what: str
    kind: str
    contract: str  # kept, signed, none, embedded
    command: str

    @property
    def name(self) -> str:
        """All of it in a line."""
        contract = f"/{self.contract}" if self.what in TARGETS else ""
        file = f"{self.target}-{self.precision}"
        return f"{self.seed} {self.command} {file} {self.what}:{self.kind}{contract}"


def case_of(seed: int) -> Case:
    """The case of a seed; most are damaged files with a contract that fits them."""
    rng = random.Random(seed)
    target = rng.choice(sorted(TARGETS))
    what = rng.choices((target, "contract", "image", "checkpoint"), (70, 16, 6, 8))[0]
    command = rng.choice(("predict", "profile", "verify"))
    if what == "image":
        command = "predict"
    if what == "checkpoint":
        command = "verify"
    kind = rng.choice(sorted(KINDS[what]))
    contract = rng.choices(("signed", "embedded", "kept", "none"), (6, 3, 1, 1))[0]
    return Case(seed, target, rng.choice(("fp32", "int8")), what, kind, contract, command)


def good_files(folder: Path) -> None:
    """A trained network and its files."""
    from edgekit.cli import run

    os.chdir(folder)
    for words in (
        ["train", MODEL, "--data", "digits", "--resolution", "32", "--epochs", "3", "-o", "run"],
        ["export", "run", "-t", "all", "-p", "fp32,int8", "-o", "files"],
    ):
        code = run(words)
        assert code == 0, words


def arguments(case: Case, good: Path, folder: Path) -> list[str]:
    """Makes the files of a case; what to run on them."""
    rng = random.Random(f"files {case.seed}")
    path = folder / f"{MODEL}-{case.precision}{TARGETS[case.target]}"
    for file in (good / "files").glob(f"{path.stem}.*"):
        if file.name.startswith((path.name, f"{path.stem}.bin")):
            shutil.copy(file, folder)
    shutil.copy(good / "run" / "model.pt", folder / "model.pt")
    Image.new("RGB", (40, 50), (90, 30, 200)).save(folder / "image.png")
    damage = KINDS[case.what][case.kind]
    damage(
        {"image": folder / "image.png", "checkpoint": folder / "model.pt"}.get(case.what, path), rng
    )
    embedded = case.what in TARGETS and case.contract == "embedded"
    if case.what in TARGETS:
        if case.contract == "signed" and all(
            f.is_file() and f.resolve().is_relative_to(folder) and f.stat().st_size < 1 << 30
            for f in (path, path.with_suffix(".bin"))
            if f == path or case.target == "openvino"
        ):
            contracts.resign(path)
        if case.contract == "none" or (embedded and case.command == "profile"):
            contracts.contract_path(path).unlink()
    more = ["--embedded"] if embedded and case.command != "profile" else []
    return {
        "predict": ["predict", path.name, "image.png", *more],
        "profile": ["profile", path.name, "--seconds", "1",
                    *(["--per-op"] if case.seed % 2 else [])],
        "verify": ["verify", path.name, "--against", "model.pt", "--data", "digits", *more,
                   *(["--per-layer"] if case.seed % 2 else [])],
    }[case.command]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    seconds: float
    wall_s: float
    peak_mib: float
    text: str
    strays: tuple[str, ...]

    def faults(self, case: Case) -> list[str]:
        """What is wrong with it."""
        found = []
        allowed = ALLOWED | ({4} if case.command == "verify" else set())
        if self.code not in allowed:
            found.append(f"exit {self.code}")
        if "Traceback" in self.text:
            found.append("traceback")
        if self.seconds > LIMIT_S or self.wall_s >= PATIENCE_S:
            found.append(f"{self.seconds:.0f} s")
        if self.peak_mib > LIMIT_MIB:
            found.append(f"{self.peak_mib:.0f} MiB")
        found.extend(f"wrote {name}" for name in self.strays)
        return found


def outcome(words: list[str], folder: Path) -> Outcome:
    """Runs a command in a fork that has imported edgekit and PyTorch, and nothing of a runtime."""
    before = set(folder.rglob("*"))
    begin = time.monotonic()
    output = folder.with_name(f"{folder.name}.txt")
    child = os.fork()
    if child == 0:
        _run(words, folder, output)
    killed = False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - begin > PATIENCE_S:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            killed = True
        time.sleep(0.005)
    text = output.read_text(errors="replace")
    output.unlink()
    new = {p for p in set(folder.rglob("*")) - before if "store" not in p.parts}
    strays = tuple(str(p.relative_to(folder)) for p in sorted(new))
    code = 124 if killed else os.waitstatus_to_exitcode(status)
    return Outcome(
        code,
        usage.ru_utime + usage.ru_stime,
        time.monotonic() - begin,
        usage.ru_maxrss / 1024,
        text,
        strays,
    )


def _run(words: list[str], folder: Path, output: Path) -> None:
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, target in ((0, null), (1, file), (2, file)):
            os.dup2(target, number)
        os.environ["XDG_DATA_HOME"] = os.environ["EDGEKIT_HOME"] = str(folder / "store")
        from edgekit.cli import run

        code = run(words)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def main() -> None:
    """Runs the cases and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=Path, help="folder of good files, from an earlier run")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, help="one case, whose files stay")
    parser.add_argument("--only", default="", help="part of a case's name")
    options = parser.parse_args()
    good = (options.good or options.work / "good").resolve()
    work = options.work.resolve()
    if not (good / "files").exists():
        good.mkdir(parents=True, exist_ok=True)
        child = os.fork()
        if child == 0:
            good_files(good)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    # So that no case has to import them, which takes longer than most.
    import onnx  # noqa: F401

    import edgekit.cli.profile
    import edgekit.verification.artifact  # noqa: F401
    from edgekit.data import open_source

    open_source("digits").image("test", 0)

    seeds = (
        [options.seed]
        if options.seed is not None
        else range(options.first, options.first + options.count)
    )
    codes: Counter[str] = Counter()
    faulty, worst_s, worst_mib = 0, 0.0, 0.0
    for seed in seeds:
        case = case_of(seed)
        if options.only not in case.name:
            continue
        folder = work / f"case{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            words = arguments(case, good, folder)
        except Exception as error:
            print(f"?? {case.name}: not made ({type(error).__name__}: {error})", flush=True)
            continue
        found = outcome(words, folder)
        faults = found.faults(case)
        codes[f"{case.command} {found.code}"] += 1
        worst_s, worst_mib = max(worst_s, found.seconds), max(worst_mib, found.peak_mib)
        last = next((x for x in reversed(found.text.strip().splitlines()) if x.strip()), "")
        last = next((x for x in found.text.splitlines() if x.startswith("error:")), last)
        mark = "!!" if faults else "ok"
        faulty += bool(faults)
        print(
            f"{mark} {case.name}: {found.code} {found.seconds:.1f} s {found.peak_mib:.0f} MiB "
            f"{'; '.join(faults)} | {last[:220]!r}",
            flush=True,
        )
        if options.seed is not None:
            print(found.text)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    total = sum(codes.values())
    print(f"{total} cases, {faulty} faults, at most {worst_s:.1f} s and {worst_mib:.0f} MiB")
    for name, count in sorted(codes.items()):
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
