"""Times of small files on a device, one after the other, against one that stays loaded there.

The search itself may compute meanwhile. A file that makes its runtime crash or hang ends a process
there and not the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.core import Target
from edgekit.devices.agents import Agent, EndedError, Slot
from edgekit.devices.device import HOST, Device
from edgekit.devices.files import file_request
from edgekit.errors import ModelError, UnavailableError

TIME_LIMIT_S = 60.0
TRIES = 2


class Timer:
    """Times files of one target; see `edgekit.agent.parts`.

    Args:
        reference: a file that every other one is measured in turns with.
        between: bytes that are read between two runs of a part.
        device: that they run on.

    Attributes:
        boot: see `edgekit.measure.session.Session`, of the last agent.
    """

    def __init__(
        self,
        target: Target,
        reference: Path,
        threads: int,
        between: int = 0,
        device: Device = HOST,
    ) -> None:
        self._target, self._threads, self._between = target, threads, between
        self._reference, self._device = reference, device
        self._agent: Agent | None = None
        self._slot: Slot | None = None
        self._part: tuple[str, ...] = ()
        self.boot: str | None = None

    def time(self, path: Path, *, whole: bool = False) -> tuple[float, float]:
        """Milliseconds of one inference of a file and of the reference, at the same speed.

        Args:
            whole: it is a whole network, of which nothing runs between two runs.

        Raises:
            InputError: the runtime cannot load the file.
            ModelError: it crashes or hangs on it, twice.
            UnavailableError: the device is gone.
        """
        for attempt in range(TRIES):
            try:
                agent, slot = self._ready()
                if self._part:  # of which there are many
                    self._device.release(agent, self._part)
                self._part = self._device.place(agent, self._target.files(path))
                answer, _ = slot.ask(
                    "part",
                    limit_s=TIME_LIMIT_S,
                    about=str(path),
                    subject=self._request(path, self._part),
                    beside=self._placed(agent),
                    between=self._between,
                    whole=whole,
                )
            except EndedError:
                self._slot = None
                continue
            except UnavailableError:
                self.close()
                if attempt + 1 == TRIES:
                    raise
                continue
            return answer["own_ms"], answer["reference_ms"]
        raise ModelError(
            f"{self._target.name} crashed or hung twice while a part was timed ({path.name})"
        )

    def _placed(self, agent: Agent) -> dict[str, object]:
        """The reference, which stays there."""
        files = self._device.place(agent, self._target.files(self._reference))
        return self._request(self._reference, files)

    def _request(self, path: Path, files: Sequence[str]) -> dict[str, object]:
        return file_request(self._target, path, threads=self._threads, files=files)

    def _ready(self) -> tuple[Agent, Slot]:
        """The agent and a slot that has imported the runtime."""
        if self._agent is None or not self._agent.usable:
            self._agent, self._slot = self._device.open(), None
            self._device.claim(self._agent)
            self.boot = self._agent.ask("hello")[0].get("boot")
        if self._slot is None:
            made = self._agent.slot()
            made.ask("import", subject=self._placed(self._agent))
            self._slot = made
        return self._agent, self._slot

    def close(self) -> None:
        """Ends the agent."""
        if self._agent is not None:
            self._agent.close()
        self._agent = self._slot = None
