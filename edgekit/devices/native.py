"""The native runner: an agent for devices without a Python, which the user has built.

It and the libraries of its runtimes are files of the user's. They are brought to the device once,
by their digests, and started by one line for its shell, in which no name of the user's stands.
"""

from __future__ import annotations

import functools
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.agent.hardware import isa_family
from edgekit.agent.wire import Wire
from edgekit.core.names import shown
from edgekit.errors import InputError, UnavailableError, UsageError

Send = Callable[[Path, str], None]
"""Brings a file to a path on the device, whose folder may not be there yet."""

NO_FOLDER, ARRIVED_OTHERWISE = 65, 66
"""Exit codes of the line."""


def own_folder(name: str) -> str:
    """For a device's shell: makes a folder below ``$f``, and goes there.

    That is Android's folder for what a computer brings; elsewhere one of the user's own. Neither
    may be a link, or one that others may write to: what lies there is run.

    Args:
        name: ours.
    """
    return (
        "for d in /data/local/tmp /var/tmp /tmp no; do [ -d $d ] && [ -w $d ] && break; done; "
        "f=$d/edgekit; [ $d = /data/local/tmp ] || f=$f-$(id -u); "
        f"for k in $f $f/{name}; do mkdir -m 700 $k 2>/dev/null; "
        "[ ! -L $k ] && [ -d $k ] && [ -O $k ] || "
        f"{{ echo $k cannot be written to, or is a link >&2; exit {NO_FOLDER}; }}; "
        "case $(ls -ld $k) in d????-??-*) ;; "
        f"*) echo others may write to $k: remove it there >&2; exit {NO_FOLDER};; esac; done; "
        f"cd $f/{name} || exit {NO_FOLDER}; "
    )


# Of programs and libraries: those that were not used for longest go.
_MOST_KEPT = 16

_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_PLACE = re.compile(r"/[A-Za-z0-9_./-]{1,200}")
_SHELL_BYTES = 1 << 16
_PUSH_S = 1800.0

# ELF's numbers of processors (e_machine), and what `uname -m` calls them.
_PROCESSORS = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


@dataclass(frozen=True, slots=True)
class Program:
    """A program or a library of the user's.

    Attributes:
        path: here.
        name: on the device.
        sha256: of its content.
        processor: as ``uname -m`` calls it; ``None`` of a script.
    """

    path: Path
    name: str
    sha256: str
    processor: str | None

    @property
    def place(self) -> str:
        """Where it lies on the device, below the folder of all."""
        return f"{self.sha256}/{self.name}"

    @property
    def label(self) -> str:
        """What stands for its version, which it does not tell."""
        return f"{self.name} {self.sha256[:8]}"


def program(path: Path, what: str) -> Program:
    """Looks at a file of the user's.

    Args:
        what: it should be, such as ``native runner``.

    Raises:
        InputError: there is no such file, or it is none that a device could run.
    """
    try:
        with path.open("rb") as file:
            head = file.read(20)
        about = path.stat()
    except OSError as error:
        raise InputError(f"the {what} {path} cannot be read: {error.strerror}") from error
    if head[:4] == b"\x7fELF" and len(head) == 20:
        number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
        processor: str | None = _PROCESSORS.get(number, f"ELF machine {number}")
    elif head[:2] == b"#!":
        processor = None
    else:
        raise InputError(
            f"the {what} {path} is no program or library for Linux or Android: expected one in "
            f"the ELF format, as 'make native' builds the runner and AAR and wheel files hold "
            f"the libraries"
        )
    safe = path.name if _SAFE_NAME.fullmatch(path.name) else "program"
    return Program(path, safe, _sha256(path, about.st_size, about.st_mtime_ns), processor)


def adb_push(adb: Sequence[str], path: Path, there: str, where: str) -> None:
    """Brings a file to a phone; makes folders that are missing.

    Args:
        adb: what a command for the phone begins with.
        there: its path on the phone.
        where: the phone, for people.

    Raises:
        UnavailableError: it does not get there.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the words of a transport, which has checked them
            [*adb, "push", str(path.absolute()), there],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PUSH_S,
            text=True,
            errors="replace",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"{where} has not taken {path} for {_PUSH_S / 60:.0f} minutes: see its cable"
        ) from error
    if done.returncode == 0:
        return
    lines = [line.strip() for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()]
    wrong = [line for line in lines if "error" in line or "fail" in line]
    why = re.sub(r"^adb: (error: )?", "", (wrong or lines or ["adb push failed"])[0])
    raise UnavailableError(f"{path} cannot be sent to {where}: {why}")


@functools.lru_cache(64)
def _sha256(path: Path, _size: int, _changed_ns: int) -> str:
    from edgekit.agent.files import digest  # which imports NumPy

    return digest([path])


class NativeRunner:
    """The runner of a device.

    Args:
        runner: the program.
        libraries: of its runtimes; those that others need come first.

    Attributes:
        option: that names it.
    """

    option = "--runner"

    def __init__(self, runner: str, libraries: Sequence[str] = ()) -> None:
        self._runner, self._libraries = Path(runner), [Path(library) for library in libraries]
        self._token = secrets.token_hex(8)

    def programs(self) -> tuple[Program, ...]:
        """The runner, and its libraries.

        Raises:
            InputError: a file is not there, or is no program.
            UsageError: they are for different processors.
        """
        found = [program(self._runner, "native runner")]
        found += [program(path, "library") for path in self._libraries]
        own = found[0].processor
        for other in found[1:]:
            if own is not None and other.processor != own:
                raise UsageError(
                    f"the library {other.path} is for {other.processor}, and the native runner "
                    f"{self._runner} for {own}: expected both for the device's processor"
                )
        return tuple(found)

    def command(self) -> str:
        """The line for the device's shell.

        It says where it is and what is missing there, waits until that has come, and starts the
        runner in its place.
        """
        found = self.programs()
        places = " ".join(each.place for each in found)
        part = f"$k.{self._token}"
        libraries = "".join(
            f" --library $f/programs/{each.place} {shlex.quote(each.label)}" for each in found[1:]
        )
        return (
            f"{own_folder('programs')}"
            f'm=; for k in {places}; do if [ -f $k ]; then touch -c ${{k%/*}}; else m="$m $k"; '
            f"fi; done; "
            f"echo edgekit-at $f $(uname -m)$m; read go || exit 0; "
            f"for k in $m; do s=$(sha256sum {part} 2>/dev/null || echo ${{k%/*}}); "
            f'case "$s" in ${{k%/*}}*) chmod 700 {part} && mv {part} $k;; '
            f"*) rm -f {part}; exit {ARRIVED_OTHERWISE};; esac; done; "
            f'[ -z "$m" ] || ls -t | tail -n +{_MOST_KEPT + 1} | while read k; do rm -rf ./$k; '
            f"done; "
            f"exec ./{found[0].place} --folder $f{libraries}"
        )

    def introduce(self, wire: Wire, where: str, limit_s: float, send: Send) -> None:
        """Brings what is missing to the device, and starts the runner.

        Args:
            where: the device, for people.
            limit_s: longest wait for an answer.

        Raises:
            Closed: it has ended.
            TimeoutError: it does not answer.
            UnavailableError: what answers is no shell, or a file does not get there.
            InputError: the runner is for another processor.
        """
        found = self.programs()
        end_s, read = time.monotonic() + limit_s, 0
        while True:
            line = wire.line(end_s)
            read += len(line) + 1
            words = line.decode("ascii", errors="replace").split()
            if words[:1] == ["edgekit-at"] and len(words) >= 3:
                break
            if read > _SHELL_BYTES:
                raise UnavailableError(
                    f"{where} answers with something else than a shell: expected no output of its "
                    f"own from what the login starts there"
                )
        _, folder, machine, *missing = words
        if _PLACE.fullmatch(folder) is None:
            raise UnavailableError(f"{where} has no folder that can be used: '{shown(folder)}'")
        own = found[0].processor
        if own is not None and not _runs(own, machine):
            raise InputError(
                f"the native runner {self._runner} is for {own}, and {where} has another processor "
                f"({shown(machine)}): build one for it, see 'make native'"
            )
        by_place = {each.place: each for each in found}
        for place in missing:
            if place not in by_place:
                raise UnavailableError(
                    f"{where} answers with something else than it was asked: '{shown(place)}'"
                )
            send(by_place[place].path, f"{folder}/programs/{place}.{self._token}")
        wire.write(b"go\n", time.monotonic() + limit_s)

    def explain(self, code: int, told: str, where: str) -> UnavailableError | None:
        """What to say where the line has ended; ``None`` where that was not its doing.

        Args:
            code: exit code.
            told: the last line that it printed.
            where: the device, for people.
        """
        if code == NO_FOLDER:
            return UnavailableError(f"{where} has no folder for the native runner: {told}")
        if code == ARRIVED_OTHERWISE:
            return UnavailableError(
                f"{where} does not keep the native runner as it was sent: see whether its disk is "
                f"full or damaged"
            )
        if code in (126, 127):
            why = told or "it does not say why"
            return UnavailableError(
                f"{where} cannot start the native runner {self._runner}: {why}; see whether it was "
                f"built for this device (Android needs one of its NDK)"
            )
        return None


def _runs(program: str, machine: str) -> bool:
    """Whether a processor runs what is built for another one: the same family, as many bits."""
    if isa_family(program, ()).partition("-")[0] != isa_family(machine, ()).partition("-")[0]:
        return False
    return "64" in machine or "64" not in program
