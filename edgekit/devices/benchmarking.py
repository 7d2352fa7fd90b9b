"""Devices that have nothing but a benchmark program: what stands for an agent on them, here.

Such a program, which the user names, runs a file many times and prints a summary. A process on this
machine answers what an agent is asked as far as that goes, and starts the program there for each
block: records have one value a block, the median of its runs, and no outputs.
"""

from __future__ import annotations

import importlib
import os
import re
import secrets
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from edgekit import registry
from edgekit.agent.hardware import described
from edgekit.agent.kernel import text
from edgekit.agent.wire import ARRAYS, GREETING, PROTOCOL, Closed, Wire
from edgekit.core import to_json
from edgekit.core.names import problem_on_device, shown
from edgekit.devices.native import Program, adb_push, own_folder, program
from edgekit.errors import EdgekitError, InputError, UnavailableError, UsageError, name_of

_LIMIT_S = 600.0
_MOST_PRINTED = 1 << 24
_MOST_FILE_BYTES = 1 << 31
_OPEN_RUNS = 3
_MOST_KEPT = 64
_PLACE = re.compile(r"/[A-Za-z0-9_./-]{1,200}")

# Files of the kernel that tell what the device is and how it is doing; see edgekit/agent.
_TELLING = (
    "/proc/cpuinfo /proc/meminfo /proc/loadavg /proc/device-tree/model "
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq "
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq "
    "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor "
    "/sys/class/thermal/thermal_zone*/temp /sys/class/thermal/cooling_device*/type "
    "/sys/class/thermal/cooling_device*/cur_state"
)
_TOLD = re.compile(
    "|".join(
        re.escape(name).replace(r"\[0\-9\]\*", "[0-9]{1,9}").replace(r"\*", "[0-9]{1,9}")
        for name in _TELLING.split()
    )
)
"""What their names may be."""


class BenchmarkModel:
    """A benchmark program of the user's.

    Args:
        path: of the program here.

    Attributes:
        option: that names it.
        lacks: see `edgekit.devices.device.Device.check_able`.
    """

    option = "--benchmark-model"
    lacks: Mapping[str, str] = {
        "parts": "a benchmark program does not time the parts of a search; the native runner does, "
        "and so does a Python on the device: see 'edgekit devices add --help'"
    }

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def programs(self) -> tuple[Program, ...]:
        """The program.

        Raises:
            InputError: it is not there, or is no program.
        """
        return (program(self._path, "benchmark program"),)

    def start(
        self, adb: Sequence[str], where: str, channel: int, stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Starts what stands for an agent, as a process of this machine.

        Args:
            adb: what a command for the device begins with.
            where: the device, for people.
        """
        self.programs()
        words = [sys.executable, "-P", "-m", __name__, str(self._path), where, *adb]
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        return subprocess.Popen(  # noqa: S603 - this Python, and words of ours
            words,
            stdin=channel,
            stdout=channel,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the process that decides what is kept
        )


def _lacks(what: str) -> UnavailableError:
    return UnavailableError(
        f"a benchmark program gives no {what}; the native runner does, and so does a Python on the "
        f"device: see 'edgekit devices add --help'"
    )


class Adapter:
    """Answers what an agent is asked.

    Args:
        outer: to the one that asks.
        tool: the program.
        where: the device, for people.
        adb: what a command for the device begins with.
    """

    def __init__(self, outer: Wire, tool: Program, where: str, adb: Sequence[str]) -> None:
        self._outer, self._tool, self._where, self._adb = outer, tool, where, list(adb)
        self._folder = ""
        self._count = 0
        self._slots: dict[int, dict[str, Any]] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self._parts: dict[str, Path] = {}
        self._own = tempfile.TemporaryDirectory(prefix="edgekit-")

    def serve(self) -> None:
        """Answers until the one that asks is gone."""
        try:
            self._prepare()
        except EdgekitError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(1)
        try:
            self._outer.send({GREETING: PROTOCOL})
            while True:
                request, contents = self._outer.receive()
                self._outer.send(self._answer(request, contents))
        except Closed:
            pass
        finally:
            self._own.cleanup()

    def _answer(self, request: dict[str, Any], contents: list[bytearray]) -> dict[str, Any]:
        try:
            number = request.pop("slot", None)
            do = str(request.pop("do", None))
            if number is not None:
                request.pop("within_s", None)
                return self._of_slot(int(number), do, request)
            command = _COMMANDS.get(do)
            if command is None:
                raise _lacks(f"command '{shown(do)}'")
            request.pop(ARRAYS, None)
            if contents:
                request["content"] = bytes(contents[0])
            return command(self, **request)
        except EdgekitError as error:
            return {"error": name_of(error), "message": str(error)}
        except OSError as error:
            why = f"files of the measurement cannot be written here: {error.strerror}"
            return {"error": UnavailableError.__name__, "message": f"{why}; make room"}
        except (LookupError, TypeError, ValueError) as error:
            return {"error": UsageError.__name__, "message": f"there is no such question: {error}"}

    # The way to the device.

    def _shell(self, line: str, limit_s: float = _LIMIT_S) -> tuple[int, str]:
        """Runs a line there; gives its exit code, and all that it printed.

        Raises:
            UnavailableError: it takes too long, or prints without end.
        """
        late = UnavailableError(f"{self._where} did not answer for {limit_s:.0f} s")
        end_s = time.monotonic() + limit_s
        printed = bytearray()
        with subprocess.Popen(  # noqa: S603 - what comes from elsewhere is quoted
            [*self._adb, "shell", "-T", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        ) as process:
            try:
                assert process.stdout is not None
                while True:
                    left_s = max(0.0, end_s - time.monotonic())
                    if not select.select([process.stdout], [], [], left_s)[0]:
                        raise late
                    content = process.stdout.read(1 << 16)
                    if not content:
                        break
                    printed += content
                    if len(printed) > _MOST_PRINTED:
                        raise UnavailableError(
                            f"{self._tool.path} prints without end on {self._where}"
                        )
                process.wait(max(0.0, end_s - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise late from error
            finally:
                process.kill()
        return process.returncode, printed.decode(errors="replace").replace("\r", "")

    def _prepare(self) -> None:
        """Finds a folder there, and brings the program to it.

        Raises:
            UnavailableError: there is none, or the device is gone.
        """
        code, printed = self._shell(
            f"{own_folder('benchmarks')}echo edgekit-at $f && "
            f"ls -t | tail -n +{_MOST_KEPT + 1} | while read k; do rm -rf ./$k; done"
        )
        found = re.search(r"^edgekit-at (\S+)$", printed, re.MULTILINE)
        if code != 0 or found is None or _PLACE.fullmatch(found[1]) is None:
            last = printed.strip().splitlines()[-1:] or [f"exit status {code}"]
            raise UnavailableError(f"{last[0]}")
        self._folder = f"{found[1]}/benchmarks"
        self._bring(self._tool.path, self._tool.sha256, self._tool.name, "700")

    def _bring(self, path: Path, sha256: str, name: str, mode: str) -> str:
        """Brings a file to the device once; gives its path there.

        Raises:
            UnavailableError: it does not get there.
        """
        folder = f"{self._folder}/{sha256}"
        there, part = f"{folder}/{name}", f"{folder}/part-{secrets.token_hex(8)}"
        if self._shell(f"[ -f {shlex.quote(there)} ] && touch -c {folder}")[0] == 0:
            return there
        adb_push(self._adb, path, part, self._where)
        code, printed = self._shell(
            f"s=$(sha256sum {part} 2>/dev/null || echo {sha256}); case $s in {sha256}*) "
            f"chmod {mode} {part} && mv {part} {shlex.quote(there)};; *) rm -f {part}; exit 66;; "
            f"esac"
        )
        if code != 0:
            raise UnavailableError(
                f"{self._where} does not keep {path} as it was sent: "
                f"{printed.strip() or 'see whether its disk is full or damaged'}"
            )
        return there

    # What an agent is asked.

    def hello(self) -> dict[str, Any]:
        """See `edgekit.agent.supervisor.Supervisor.hello`."""
        _, printed = self._shell("nproc; date +%s")
        words = printed.split()
        numbers = [int(word) for word in words if word.isdecimal()]
        return {
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "cores": numbers[0] if len(numbers) == 2 else 1,
            "clock_s": time.monotonic(),
            "wall_s": float(numbers[1]) if len(numbers) == 2 else time.time(),
        }

    def about(self, packages: list[str], variables: list[str], root: str = "/") -> dict[str, Any]:
        """See `edgekit.agent.supervisor.Supervisor.about`."""
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            machine, cores = self._look(Path(folder))
            hardware = described(Path(folder))
        hardware |= {"machine": machine, "emulated": False, "usable_cores": cores}
        hardware["threads"] = max(1, min(hardware["cores"] or cores, cores))
        return {"hardware": hardware, "versions": {}, "environment": {}}

    def conditions(self) -> dict[str, Any]:
        """What the device is like at this moment; see `edgekit.agent.environment`."""
        from edgekit.agent import environment

        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            root = Path(folder)
            machine, cores = self._look(root)
            found = {**environment.machine(root), **environment.moment(root)}
            load = (text(root / "proc/loadavg") or "").split()
        found.pop("emulated", None)
        found |= {"system": machine, "cores": cores}
        found["load_1m"] = float(load[0]) if load else None
        return {"conditions": found}

    def _look(self, root: Path) -> tuple[str, int]:
        """Copies what the kernel there tells below a folder; gives machine and cores."""
        mark = secrets.token_hex(8)
        _, printed = self._shell(
            f"uname -m; nproc; for p in {_TELLING}; do [ -r $p ] && echo && echo {mark} $p && "
            f"cat $p 2>/dev/null; done"
        )
        head, *parts = printed.split(f"\n{mark} ")
        words = head.split()
        for part in parts:
            name, _, told = part.partition("\n")
            name = name.strip()
            if _TOLD.fullmatch(name) is None:
                continue
            place = root / name.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(told)
        cores = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 1
        return (words[0] if words else ""), cores

    def placements(self, threads: int) -> dict[str, Any]:
        """The program runs where the system likes."""
        return {"places": []}

    def claim(self, token: str, owner: str, alone: bool = True) -> dict[str, Any]:
        """Notes nothing: the program ends with each call."""
        return {}

    def place(self, key: str, files: list[list[Any]]) -> dict[str, Any]:
        """See `edgekit.agent.store.Store.place`; each file lies in a folder of its digest."""
        paths = []
        for name, size, sha256 in files:
            if re.fullmatch(r"[0-9a-f]{64}", sha256) is None or not 0 <= size <= _MOST_FILE_BYTES:
                raise UsageError("there is no such file")
            problem = problem_on_device(name)
            if problem is not None:
                raise UsageError(
                    f"'{shown(name)}' cannot be the name of a file on the device: {problem}; "
                    f"rename the file"
                )
            path = f"{self._folder}/{sha256}/{name}"
            self._files[path] = {"size": size, "sha256": sha256, "key": key, "name": name}
            paths.append(path)
        have = [self._there(path) for path in paths]
        return {"paths": paths, "have": have}

    def _there(self, path: str) -> int:
        folder = str(PurePosixPath(path).parent)
        there = self._shell(f"[ -f {shlex.quote(path)} ] && touch -c {folder}")[0] == 0
        return int(self._files[path]["size"]) if there else 0

    def put(
        self, key: str, name: str, size: int, digest: str, offset: int, content: bytes = b""
    ) -> dict[str, Any]:
        """See `edgekit.agent.store.Store.put`."""
        path = f"{self._folder}/{digest}/{name}"
        if path not in self._files:
            raise UsageError("nothing was placed there")
        part = self._parts.setdefault(path, Path(self._own.name, secrets.token_hex(8)))
        have = part.stat().st_size if part.exists() else 0
        if have != offset:
            return {"have": have}
        with part.open("ab") as file:
            file.write(content)
        have += len(content)
        if have >= size:
            self._bring(part, digest, name, "600")
            part.unlink()
            del self._parts[path]
        return {"have": have}

    def release(self, key: str) -> dict[str, Any]:
        """The oldest files go when the program is brought the next time."""
        return {}

    def slot(self, serves: str, direct: bool = False) -> dict[str, Any]:
        """Makes a slot; what it is asked decides what it can do."""
        self._count += 1
        self._slots[self._count] = {"serves": serves}
        return {"slot": self._count, "pid": os.getpid()}

    def end(self, of: int) -> dict[str, Any]:
        """Ends a slot."""
        self._slots.pop(of, None)
        return {}

    def tell(self, of: int, request: dict[str, Any]) -> dict[str, Any]:
        """Asks a slot; its answer waits."""
        do = str(request.pop("do"))
        try:
            self._slots[of]["heard"] = self._of_slot(of, do, request)
        except EdgekitError as error:
            self._slots[of]["heard"] = {"error": name_of(error), "message": str(error)}
        return {}

    def heard(self, of: int, asked: str, within_s: float) -> dict[str, Any]:
        """The answer to what a slot was told."""
        found: dict[str, Any] = self._slots[of].pop("heard")
        return found

    def rounds(self, turns: list[tuple[int, int, int, float]]) -> dict[str, Any]:
        """See `edgekit.agent.supervisor.Supervisor.rounds`."""
        blocks: list[dict[str, Any]] = []
        for number, runs, reference, _ in turns:
            request = {"runs": runs, "reference": reference}
            try:
                answer = self._of_slot(number, "block", request)
            except EdgekitError as error:
                answer = {"error": name_of(error), "message": str(error)}
            blocks.append({**answer, "slot": number})
            if "error" in answer:
                break
        return {"blocks": blocks}

    def watch(self, own: list[int], folder: str | None = None) -> dict[str, Any]:
        """Others on the device cannot be seen."""
        return {"why_not": "a benchmark program tells of no other measurements"}

    def start(self) -> dict[str, Any]:
        """Looks at nothing yet."""
        return {}

    def look(self, now: bool = False) -> dict[str, Any]:
        """A look would take time from the device; there is one at the end."""
        return {}

    def stop(self) -> dict[str, Any]:
        """What the device is like at the end."""
        return {**self.conditions(), "met": False}

    # What a slot is asked.

    def _of_slot(self, number: int, do: str, request: dict[str, Any]) -> dict[str, Any]:
        slot = self._slots[number]
        if slot["serves"] == "meter":
            if do != "discover":
                raise _lacks("meters of energy")
            return {"meter": None, "reasons": ["a benchmark program reads none"]}
        if do == "import":
            self._tool_of(request["subject"])
            return {}
        if do in ("open", "reload"):
            slot["subject"] = request["subject"]["arguments"]
            return self._open(request["subject"], slot)
        if "subject" not in slot:
            raise _lacks({"tensors": "inputs and outputs"}.get(do, f"way to do '{shown(do)}'"))
        if do == "state":
            return {"state": None}
        if do == "memory":
            return {"peak_rss_mib": slot["memory_mib"], "peak_gpu_mib": None}
        if do == "block":
            begin_s = time.monotonic()
            found = self._run(slot["subject"], runs=max(1, int(request["runs"])))[0]
            return {
                "begin_s": begin_s,
                "samples_ms": [found.ms],
                "reference_ms": [],
                "involuntary_switches": 0,
            }
        if do == "operators":
            _, printed = self._run(slot["subject"], runs=int(request["runs"]), operators=True)
            tool, name = self._tool_of({"arguments": slot["subject"]}), slot["subject"]["name"]
            try:
                return {"operators": to_json(tool.operators(printed))}
            except ValueError as error:
                raise UnavailableError(
                    f"{name}: the benchmark program has it run, and {error}"
                ) from error
        raise _lacks(f"way to do '{shown(do)}'")

    def _tool_of(self, subject: dict[str, Any]) -> Any:
        """What knows the program, of the format that a file has.

        Raises:
            UnavailableError: the program runs no files of that format.
        """
        about = subject["arguments"]
        target = registry.target_by_suffix(Path(str(about.get("path", ""))).suffix)
        module = None if target is None else getattr(target, "benchmark_program", None)
        if module is None:
            raise UnavailableError(
                f"{about.get('name', 'it')} is no file that a benchmark program runs; the native "
                f"runner may, and so may a Python on the device: see 'edgekit devices add --help'"
            )
        return importlib.import_module(module)

    def _open(self, subject: dict[str, Any], slot: dict[str, Any]) -> dict[str, Any]:
        about = subject["arguments"]
        if about["batch"] is not None or about["shapes"] or about["inputs"] is not None:
            raise UnavailableError(
                f"{about['name']}: a benchmark program takes it as it was exported, with inputs of "
                f"its own: expected no --batch, --input-shape or --example"
            )
        found, _ = self._run(about, runs=_OPEN_RUNS)
        slot["memory_mib"] = found.memory_mib
        file = self._files.get(about["path"], {})
        return {
            "load_ms": found.load_ms,
            "first_ms": found.first_ms,
            "pid": os.getpid(),
            "state": None,
            "idle_rss_mib": None if found.memory_mib is None else 0.0,
            "runtime": f"{self._tool.label} (medians of its runs)",
            "tools": {self._tool.name: self._tool.sha256[:8]},
            "input": "",
            "inputs": [],
            "size_bytes": file.get("size"),
            "sha256": file.get("sha256"),
            "denormals_flushed": False,
            "timer_overhead_ns": 0.0,
        }

    def _run(self, about: dict[str, Any], *, runs: int, operators: bool = False) -> Any:
        """Starts the program once; gives its summary, and all that it printed.

        Raises:
            InputError: it cannot run the file.
            UnavailableError: it cannot be started.
        """
        tool = self._tool_of({"arguments": about})
        words = [
            f"{self._folder}/{self._tool.place}",
            *tool.options(about["path"], threads=about["threads"], runs=runs, operators=operators),
        ]
        code, printed = self._shell(" ".join(map(shlex.quote, words)))
        if code in (126, 127):
            raise UnavailableError(
                f"{self._where} cannot start the benchmark program {self._tool.path}: "
                f"{printed.strip() or 'see whether it was built for this device'}"
            )
        try:
            found = tool.summary(printed)
        except ValueError as error:
            here = str(error).replace(about["path"], about["name"])
            raise InputError(
                f"{about['name']} cannot be run by the benchmark program: {here}"
            ) from error
        return found, printed


_COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {
    name: getattr(Adapter, name)
    for name in (
        "hello", "about", "placements", "claim", "place", "put", "slot", "end", "tell", "heard",
        "rounds", "watch", "start", "look", "stop", "conditions", "release",
    )
}  # fmt: skip


def main(path: str, where: str, *adb: str) -> None:
    """Serves on standard input and output.

    Args:
        path: of the program here.
        where: the device, for people.
        adb: what a command for the device begins with.
    """
    source, sink = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    Adapter(Wire(source, sink), program(Path(path), "benchmark program"), where, adb).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
