"""The part of an agent that answers: it hands commands to slots, and says what became of those.

A slot is a process of the agent with one file or network at a time (`edgekit.agent.worker`), or
with a meter. One that crashes, hangs or runs out of memory ends alone. The supervisor itself
imports no NumPy and no runtime, so that it starts at once, costs the device nothing, and a slot is
a fork of a process without threads. It ends, and its slots with it, when the one that asks is gone
or has asked nothing for long.
"""

from __future__ import annotations

import array
import contextlib
import os
import platform
import select
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from edgekit.agent import bounds, environment, hardware, kernel
from edgekit.agent.claim import Claim, claims_folder
from edgekit.agent.placing import placements
from edgekit.agent.store import Store, store_folder
from edgekit.agent.watching import Watch
from edgekit.agent.wire import (
    ARRAYS,
    CRASHED,
    GREETING,
    MISSING,
    PROTOCOL,
    SILENT,
    Closed,
    Message,
    Wire,
    poll,
)
from edgekit.core.reasons import with_kind
from edgekit.errors import EdgekitError, UnavailableError, UsageError, name_of

IDLE_S = 600.0
"""Without any question for longer, an agent ends."""

_LIMIT_S = 300.0
# A process that was killed ends within this, unless it hangs in the kernel.
_ENDING_S = 10.0


class Slot:
    """A process that answers commands on its own, seen from the supervisor.

    Args:
        serve: what it does.
        inherited: descriptors that it must not keep.
        asker: descriptor to the one that asks, whose end ends any waiting for the process.
        direct: end of a channel on which it is asked instead; closed here.
    """

    def __init__(
        self,
        serve: Callable[[Wire], None],
        inherited: set[int],
        asker: int,
        direct: int | None = None,
    ) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # it may read nothing
        self.stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the slot
        self.loaded: int | None = None
        own = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                bounds.die_with(own)
                os.setpgid(0, 0)
                for each in (*inherited, ours.fileno()):
                    os.close(each)
                for each in (1, 2):
                    os.dup2(self.stderr.fileno(), each)
                end = theirs.fileno() if direct is None else direct
                serve(Wire(end, end))
                code = 0
            except Closed:
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                # Runtimes that crash while they are torn down have done their work.
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.flush()
                os._exit(code)
        with contextlib.suppress(OSError):  # it has done so itself
            os.setpgid(self.pid, self.pid)
        theirs.close()
        if direct is not None:
            os.close(direct)
        self._socket = ours
        self.wire = Wire(ours.fileno(), ours.fileno(), asker)

    def end(self) -> int:
        """Ends the process and those that it started, such as a compiler; gives its status."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._socket.close()
        end_s = time.monotonic() + _ENDING_S
        status = 0
        while True:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid == 0 and time.monotonic() < end_s:
                    time.sleep(0.001)
                    continue
            return bounds.exit_code(status)

    def last_line(self) -> str:
        """The end of what it printed; call it once the process has ended."""
        size = self.stderr.seek(0, os.SEEK_END)
        self.stderr.seek(max(0, size - 4000))
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        self.stderr.close()
        return lines[-1].strip() if lines else ""


class Supervisor:
    """Answers what an agent is asked.

    Args:
        outer: to the one that asks.
    """

    def __init__(self, outer: Wire) -> None:
        self._outer = outer
        self._slots: dict[int, Slot] = {}
        self._count = 0
        self._watch: Watch | None = None
        self._store: Store | None = None
        self._claim: Claim | None = None
        self._handed: int | None = None

    def serve(self, idle_s: float | None = IDLE_S) -> None:
        """Answers until the one that asks is gone, or asks nothing for so long."""
        try:
            os.set_blocking(self._outer.sink, False)  # the one that asks may read nothing
            self._outer.send({GREETING: PROTOCOL}, limit_s=idle_s)
            while True:
                request, contents = self._outer.receive(idle_s)
                answer = self._answer(request, contents)
                if answer is not None:
                    self._outer.send(*answer, limit_s=idle_s)
        except (Closed, TimeoutError):
            return
        finally:
            for number in list(self._slots):
                self._ended(number)
            if self._watch is not None:
                self._watch.close()
            if self._store is not None:
                self._store.close()
            if self._claim is not None:
                self._claim.close()

    def _answer(self, request: dict[str, Any], contents: list[bytearray]) -> Message | None:
        """The answer to a request; ``None`` where it was given already."""
        number = request.pop("slot", None)
        try:
            if number is not None:
                return self._forward(number, request, contents)
            command = _COMMANDS.get(request.pop("do", None))
            if command is None:
                raise UsageError("the agent knows no such command: it is of another version")
            if contents:
                request.pop(ARRAYS)
                request["content"] = contents[0]
            try:
                answer = command(self, **request)
            except TypeError as error:
                raise UsageError(f"the agent takes no such arguments: {error}") from error
            return None if answer is None else (answer, [])
        except EdgekitError as error:
            return {"error": name_of(error), "message": str(error)}, []
        except Closed:
            raise
        except OSError as error:  # such as a full disk
            message = f"the device cannot do what it was asked: {with_kind(error)}"
            return {"error": UnavailableError.__name__, "message": message}, []
        except Exception as error:  # what was asked is odd, or the device is at its end
            message = f"the agent cannot do what it was asked: {with_kind(error)}"
            return {"error": EdgekitError.__name__, "message": message}, []

    def hello(self) -> dict[str, Any]:
        """What everything else depends on: versions, the two clocks, and which start of the system
        this is.
        """
        return {
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "cores": os.cpu_count() or 1,
            "clock_s": time.monotonic(),
            "wall_s": time.time(),
            "boot": kernel.text(Path("/proc/sys/kernel/random/boot_id")),
        }

    def about(self, packages: list[str], variables: list[str], root: str = "/") -> dict[str, Any]:
        """What the device is; see `edgekit.agent.hardware`.

        Args:
            packages: distributions whose ``versions`` are told.
            variables: of the environment, whose values are told as ``environment``.
            root: of the file system.
        """
        return {
            "hardware": hardware.described(Path(root)),
            "versions": hardware.versions(packages),
            "environment": {name: os.environ[name] for name in variables if name in os.environ},
        }

    def placements(self, threads: int) -> dict[str, Any]:
        """Sets of cores for so many threads; see `edgekit.agent.placing.placements`."""
        return {"places": placements(threads)}

    def claim(self, token: str, owner: str, alone: bool = True) -> dict[str, Any]:
        """Keeps others from measuring here; see `edgekit.agent.claim.Claim`."""
        if self._claim is None or (alone and not self._claim.alone):
            made = Claim(claims_folder(), token, owner, alone=alone)
            if self._claim is not None:
                self._claim.close()
            self._claim = made
        return {}

    def place(self, key: str, files: list[list[Any]]) -> dict[str, Any]:
        """Makes room for files; see `edgekit.agent.store.Store.place`."""
        return self._stored().place(key, files)

    def put(self, content: bytes = b"", **arguments: Any) -> dict[str, Any]:
        """Adds to a file; see `edgekit.agent.store.Store.put`."""
        return self._stored().put(content=content, **arguments)

    def release(self, key: str) -> dict[str, Any]:
        """Lets files be deleted; see `edgekit.agent.store.Store.release`."""
        self._stored().release(key)
        return {}

    def _stored(self) -> Store:
        if self._store is None:
            self._store = Store(store_folder())
        return self._store

    def expect(self) -> None:
        """Answers, and then takes an end of a channel over the one to the one that asks."""
        self._outer.send({})
        self._outer.await_some(_LIMIT_S)
        with socket.fromfd(self._outer.source, socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            _, ends, _, _ = channel.recvmsg(1, socket.CMSG_SPACE(array.array("i").itemsize))
        numbers = array.array("i")
        for level, kind, data in ends:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
        if len(numbers) != 1:
            raise Closed
        self._handed = numbers[0]

    def slot(self, serves: str, direct: bool = False) -> dict[str, Any]:
        """Makes a slot.

        Args:
            serves: ``worker`` or ``meter``.
            direct: it is asked on the channel that `expect` took.

        Returns:
            ``slot``, its number for all that it is asked, and ``pid``.
        """
        if serves not in ("worker", "meter"):
            raise UsageError(f"an agent has no slot of the kind '{serves}'")

        def serve(wire: Wire) -> None:
            try:
                from edgekit.agent import metering, worker
            except ModuleNotFoundError as error:  # NumPy
                wire.receive()
                package = str(error.name)
                wire.send({"error": MISSING, "package": package, "message": str(error)})
                return
            (worker if serves == "worker" else metering).serve(wire)

        own = {self._outer.source, self._outer.sink}
        inherited = own | {each.wire.source for each in self._slots.values()}
        if self._store is not None:
            inherited |= self._store.locks
        if self._claim is not None:
            inherited.add(self._claim.lock)
        end, self._handed = (self._handed, None) if direct else (None, self._handed)
        found = Slot(serve, inherited, self._outer.source, end)
        self._count += 1
        self._slots[self._count] = found
        return {"slot": self._count, "pid": found.pid}

    def end(self, of: int) -> dict[str, Any]:
        """Ends a slot."""
        self._ended(of)
        return {}

    def fate(self, of: int) -> dict[str, Any]:
        """What became of a slot that has ended by itself: ``code`` and ``told``."""
        slot = self._slot(of)
        return {"code": self._ended(of), "told": slot.last_line()}

    def tell(self, of: int, request: dict[str, Any]) -> dict[str, Any]:
        """Hands a command to a slot and does not wait; its answer is that of ``heard``."""
        try:
            self._slot(of).wire.send(request, limit_s=_LIMIT_S)
        except Closed:  # what became of it shows in the answer
            pass
        except TimeoutError:
            return self._silent(of, str(request.get("do")), _LIMIT_S)
        return {}

    def heard(self, of: int, asked: str, within_s: float) -> dict[str, Any]:
        """Waits for the answer to what a slot was told."""
        answer, _ = self._await(of, asked, within_s)
        answer.pop(ARRAYS, None)
        return answer

    def rounds(self, turns: list[tuple[int, int, int, float]]) -> dict[str, Any]:
        """Blocks of inferences of several slots, one after the other.

        Args:
            turns: for each block the slot, its runs, those of the reference network, and the
                seconds that it may take.

        Returns:
            ``blocks``: the answer of each turn, with ``slot``; a slot that failed has no later one.
        """
        blocks: list[dict[str, Any]] = []
        failed = set()
        for number, runs, reference, limit_s in turns:
            if number in failed:
                continue
            request = {"do": "block", "runs": runs, "reference": reference, "within_s": limit_s}
            answer, _ = self._forward(number, request, [])
            blocks.append({**answer, "slot": number})
            if "error" in answer:
                failed.add(number)
        return {"blocks": blocks}

    def watch(self, own: list[int], folder: str | None = None) -> dict[str, Any]:
        """Makes the measurement known to others on this device, and watches the device.

        Args:
            own: processes whose work is the measurement's, beside the agent's.
            folder: see `edgekit.agent.presence.Presence`.
        """
        if self._watch is not None:
            self._watch.close()
        self._watch = Watch(lambda: [*own, *self._pids()], folder)
        return {"why_not": self._watch.why_not}

    def start(self) -> dict[str, Any]:
        """Notes how the device is at the beginning."""
        self._watched().start()
        return {}

    def look(self, now: bool = False) -> dict[str, Any]:
        """Looks at the device; see `edgekit.agent.watching.Watch.look`."""
        self._watched().look(now=now)
        return {}

    def stop(self) -> dict[str, Any]:
        """What changed: ``conditions``, and ``met``, whether others measured."""
        watch = self._watched()
        return {"conditions": watch.stop(), "met": watch.met}

    def conditions(self) -> dict[str, Any]:
        """What the device is like at this moment."""
        return {"conditions": {**environment.machine(), **environment.moment()}}

    def _watched(self) -> Watch:
        if self._watch is None:
            raise UsageError("the agent was not asked to watch its device")
        return self._watch

    def _pids(self) -> list[int]:
        loaded = [slot.loaded for slot in self._slots.values() if slot.loaded is not None]
        return [os.getpid(), *{*(slot.pid for slot in self._slots.values()), *loaded}]

    def _slot(self, number: int) -> Slot:
        if number not in self._slots:
            raise UsageError(f"the agent has no slot {number} any more")
        return self._slots[number]

    def _forward(self, number: int, request: dict[str, Any], contents: list[bytearray]) -> Message:
        limit_s = float(request.pop("within_s", _LIMIT_S))
        do, begun_s = str(request.get("do")), time.monotonic()
        try:
            self._slot(number).wire.send(request, contents, limit_s)
        except Closed:  # what became of it, or of the one that asks, shows in the answer
            pass
        except TimeoutError:
            return self._silent(number, do, limit_s), []
        return self._await(number, do, limit_s, begun_s)

    def _await(self, number: int, do: str, limit_s: float, begun_s: float | None = None) -> Message:
        """The answer of a slot, or what became of it.

        Args:
            limit_s: longest wait.
            begun_s: when it began; now if ``None``.

        Raises:
            Closed: the one that asked is gone.
        """
        slot = self._slot(number)
        end_s = limit_s + (time.monotonic() if begun_s is None else begun_s)
        left_s = end_s - time.monotonic()
        while left_s > 0:
            ready = poll({slot.wire.source: select.POLLIN, self._outer.source: 0}, left_s)
            if self._outer.source in ready:
                raise Closed
            left_s = end_s - time.monotonic()
            if slot.wire.source not in ready:
                continue
            try:
                answer, contents = slot.wire.receive(max(left_s, 1.0))
            except TimeoutError:
                break
            except Closed:
                code = self._ended(number)
                return {"error": CRASHED, "do": do, "code": code, "told": slot.last_line()}, []
            slot.loaded = answer.get("pid", slot.loaded)
            return answer, contents
        return self._silent(number, do, limit_s), []

    def _silent(self, number: int, do: str, limit_s: float) -> dict[str, Any]:
        """Ends a slot that reads or answers nothing; gives the answer that says so."""
        self._ended(number)
        return {"error": SILENT, "do": do, "within_s": limit_s}

    def _ended(self, number: int) -> int:
        slot = self._slots.pop(number, None)
        return 0 if slot is None else slot.end()


_COMMANDS: dict[str | None, Callable[..., dict[str, Any] | None]] = {
    name: getattr(Supervisor, name)
    for name in (
        "hello", "about", "placements", "claim", "place", "put", "expect", "slot", "end", "fate",
        "tell", "heard", "rounds", "watch", "start", "look", "stop", "conditions", "release",
    )
}  # fmt: skip


def main(source: int, sink: int, idle_s: float | None = IDLE_S) -> None:
    """Serves on two descriptors."""
    Supervisor(Wire(source, sink)).serve(idle_s)
