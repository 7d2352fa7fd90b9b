"""Energy of the subjects of a session, behind its latencies: metered, estimated, or neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import registry, tables
from edgekit.agent.recorder import REMEDY, shortest_window_s
from edgekit.core import Artifact, Energy, MeterRecord, Reading, from_json, reason_with_layer
from edgekit.devices.agents import Agent, EndedError, Slot
from edgekit.devices.device import HOST, Device
from edgekit.errors import EdgekitError, MeterError, UnavailableError, UsageError
from edgekit.measure import energy
from edgekit.measure.energy import Window
from edgekit.measure.energy_curve import energy_curve
from edgekit.measure.networks import network_of
from edgekit.measure.session import Participant, Progress
from edgekit.measure.subjects import Subject

if TYPE_CHECKING:
    from torch import Tensor

    from edgekit.core import Array

Say = Callable[[str], None]

AUTO, OFF, ESTIMATE = "auto", "off", "estimate"

_WAIT_S = 60.0


class Metering:
    """How the energy of a session's subjects is found out.

    Attributes:
        meter: that is read, on the device; ``None`` without one.
    """

    def __init__(
        self, meter_name: str, slot: Slot | None, meter: MeterRecord | None, reason: str
    ) -> None:
        self._meter_name, self._slot = meter_name, slot
        self.meter, self._reason = meter, reason

    def of(self, participant: Participant, progress: Progress) -> Energy:
        """Energy of one subject; the others wait meanwhile.

        What goes wrong with the meter is the reason of an ``unavailable`` energy: the latencies
        that were measured before are good all the same.
        """
        if self._meter_name == ESTIMATE:
            try:
                return estimate(participant.subject)
            except Exception as error:  # whatever PyTorch or an odd network raises
                return energy.unavailable(_reason(error))
        if self.meter is None:
            return energy.unavailable(self._reason)
        try:
            return self._measured(self.meter, participant, progress)
        except MeterError as error:
            return energy.unavailable(str(error))

    def _measured(self, meter: MeterRecord, participant: Participant, progress: Progress) -> Energy:
        called, window_s = participant.subject.called, shortest_window_s(meter)
        windows: list[Window] = []
        total = energy.FEWEST_WINDOWS + 1
        self._ask("begin")
        progress(f"energy of idling before {called}", 0, total)
        rest = self._ask("idle", expected_s=1.05 * window_s, seconds=1.05 * window_s)
        for i in range(energy.FEWEST_WINDOWS):
            progress(f"energy of {called}", i + 1, total)
            burst = participant.process.ask("burst", expected_s=window_s, seconds=1.05 * window_s)
            windows.append((burst["begin_s"], burst["end_s"], burst["inferences"]))
        _, (pairs,) = self._answer("end", expected_s=window_s, reach_s=windows[-1][1])
        readings = [Reading(*pair) for pair in pairs.tolist()]
        curve = energy_curve(readings, meter)
        return energy.measured(curve, (rest["begin_s"], rest["end_s"]), windows, meter)

    def opened(self, words: str, root: Path) -> dict[str, Any]:
        """What opening a meter tells.

        Args:
            words: its name, and what stands behind a colon.
            root: of the device's file system.
        """
        _, entry = tables.METERS.find(words.partition(":")[0])
        return self._ask("open", words=words, where=entry.where, root=str(root))

    def why_not(self, words: str, gpu: bool, root: Path) -> str | None:
        """Opens a meter, and says why it is none for the subjects; ``None`` where it is."""
        try:
            self.meter = from_json(MeterRecord, self.opened(words, root)["meter"])
        except (UnavailableError, UsageError) as error:
            return str(error)
        if self.meter.scope != ("package" if gpu else "gpu"):
            return None
        return f"it meters the {self.meter.scope}, where the network does not run"

    def _ask(self, do: str, expected_s: float = 0.0, **arguments: Any) -> dict[str, Any]:
        return self._answer(do, expected_s, **arguments)[0]

    def _answer(
        self, do: str, expected_s: float = 0.0, **arguments: Any
    ) -> tuple[dict[str, Any], list[Array]]:
        limit_s = _WAIT_S + 3 * expected_s
        assert self._slot is not None
        try:
            return self._slot.ask(do, limit_s=limit_s, **arguments)
        except EndedError as error:
            name = self._meter_name if self.meter is None else self.meter.name
            raise MeterError(f"meter '{name}' cannot be read: {error}; {REMEDY}") from error


@contextmanager
def metering(
    agent: Agent,
    meter_name: str,
    *,
    gpu: bool = False,
    root: Path = Path("/"),
    device: Device = HOST,
    say: Say = lambda warning: None,
) -> Iterator[Metering]:
    """Opens what ``--energy`` names, on the device of an agent.

    Args:
        meter_name: ``auto``, ``off``, ``estimate``, or a meter of the registry. ``auto`` begins
            with the one that the device declares.
        gpu: whether the subjects run on a GPU.
        root: of the device's file system.
        say: told why the meter that the device declares is not used.

    Raises:
        UsageError: there is no such meter.
        UnavailableError: the meter that was named cannot be read.
    """
    if meter_name in (OFF, ESTIMATE):
        yield Metering(meter_name, None, None, "not asked for")
        return
    if meter_name != AUTO:
        registry.meter(meter_name)  # refuses names that there are not
    slot = agent.slot("meter")
    found = Metering(meter_name, slot, None, "")
    try:
        declared = None if device.profile is None else device.profile.meter
        if meter_name == AUTO and declared is not None:
            reason = found.why_not(declared, gpu, root)
            if reason is None:
                yield found
                return
            slot.end()
            slot = agent.slot("meter")
            found = Metering(meter_name, slot, None, "")
            say(
                f"device '{device.name}' declares the meter '{declared}', which is not used: "
                f"{reason}; looking for another one"
            )
        if meter_name == AUTO:
            kinds = {name: entry.where for name, entry in tables.METERS.items()}
            answer = found._ask("discover", kinds=kinds, root=str(root), gpu=gpu)
            found._reason = "no meter: " + "; ".join(answer["reasons"])
        else:
            answer = found.opened(meter_name, root)
        if answer["meter"] is not None:
            found.meter = from_json(MeterRecord, answer["meter"])
        yield found
    finally:
        slot.end()


def _reason(error: Exception) -> str:
    """Why there is no estimate, in a line."""
    if isinstance(error, EdgekitError):
        return str(error)
    return f"no estimate of energy: {reason_with_layer(error)}"


def _image(contract: Artifact) -> Tensor:
    """An image of the size that a classifier takes, for its network."""
    import torch

    assert contract.preprocessing is not None
    return torch.zeros(replace(contract.preprocessing, layout="NCHW").shape())


def estimate(subject: Subject) -> Energy:
    """A guess from the network's operations and the bytes that they move.

    Raises:
        EdgekitError: the network is not known, or nothing is cited for its precision.
        Exception: whatever building or running the network raises.
    """
    from edgekit.contract import load
    from edgekit.models import build
    from edgekit.models.count import layers_of
    from edgekit.models.trace import trace

    path = Path(subject.source)
    if subject.target == "pytorch":
        model = network_of(subject)
        module, inputs, precision = model.module, model.tensors, "fp32"
        weight_bytes = sum(4 * p.numel() for p in module.parameters())
    else:
        contract = load(path)
        if contract.spec is None:
            raise UnavailableError(
                f"{path}: its contract does not tell the network, and without its operations "
                f"there is no estimate of energy"
            )
        module, inputs = build(contract.spec), (_image(contract),)
        # Weights of 16 bits are widened when the file is loaded.
        precision = (
            "fp32" if contract.scheme.activations == "float32" else contract.scheme.precision
        )
        weight_bytes = contract.size_bytes or 0
    counted = layers_of(module, trace(module.eval(), *inputs))
    # Every output is written once and read once.
    moved = 2 * sum(layer.activation_bytes for layer in counted)
    macs = sum(layer.macs for layer in counted)
    batch = subject.batch
    return energy.estimated(batch * macs, weight_bytes, batch * moved, precision)
