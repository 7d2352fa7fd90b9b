"""Energy of the subjects of a session, behind its latencies: metered, estimated, or neither."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit import registry, tables
from edgekit.core import Artifact, Energy, Meter, reason_with_layer
from edgekit.errors import EdgekitError, MeterError, UnavailableError
from edgekit.measure import energy
from edgekit.measure.energy import Window
from edgekit.measure.energy_curve import REMEDY
from edgekit.measure.energy_recorder import EnergyRecorder, shortest_window_s
from edgekit.measure.session import Participant, Progress
from edgekit.measure.subjects import Subject, network_of

if TYPE_CHECKING:
    from torch import Tensor

AUTO, OFF, ESTIMATE = "auto", "off", "estimate"

# What sees the processor, best first: the whole board, then what is nearest to the processor and
# quickest. A battery sees the screen too, and is slow.
_CPU_SCOPES = ("board", "rail", "package", "wall", "device")
_GPU_SCOPES = ("gpu", "board", "rail", "wall", "device")


class Metering:
    """How the energy of a session's subjects is found out.

    Attributes:
        meter: that is read; ``None`` without one.
    """

    def __init__(self, meter_name: str, meter: Meter | None, reason: str) -> None:
        self._meter_name, self.meter, self._reason = meter_name, meter, reason

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
            return _measured(self.meter, participant, progress)
        except MeterError as error:
            return energy.unavailable(str(error))


@contextmanager
def metering(meter_name: str, *, gpu: bool = False, root: Path = Path("/")) -> Iterator[Metering]:
    """Opens what ``--energy`` names.

    Args:
        meter_name: ``auto``, ``off``, ``estimate``, or a meter of the registry.
        gpu: whether the subjects run on a GPU.

    Raises:
        UsageError: there is no such meter.
        UnavailableError: the meter that was named cannot be read.
    """
    meter, reason = None, "not asked for"
    if meter_name == AUTO:
        meter, reasons = discover(root, gpu=gpu)
        reason = "no meter: " + "; ".join(reasons)
    elif meter_name not in (OFF, ESTIMATE):
        meter = open_meter(meter_name, root)
    try:
        yield Metering(meter_name, meter, reason)
    finally:
        if meter is not None:
            meter.close()


def open_meter(meter_name: str, root: Path) -> Meter:
    """Opens a meter of the registry.

    Raises:
        UsageError: there is no such meter, or what stands behind its colon is wrong.
        UnavailableError: the device has none, or it must not be read.
        MeterError: something else went wrong with it.
    """
    kind = registry.meter(meter_name)
    try:
        return kind.open(root)
    except EdgekitError:
        raise
    except Exception as error:  # of a library, or of an odd device
        raise MeterError(f"meter '{meter_name}' cannot be opened: {error!r}; {REMEDY}") from error


def discover(root: Path, *, gpu: bool = False) -> tuple[Meter | None, tuple[str, ...]]:
    """Opens the meter that sees a network best, for ``--energy auto``.

    Args:
        root: of the file system.
        gpu: whether the network runs on a GPU; without, a GPU's meter does not see it.

    Returns:
        The meter, or ``None``; and for every other one why not, its name first.
    """
    scopes = _GPU_SCOPES if gpu else _CPU_SCOPES
    best: Meter | None = None
    reasons = []
    for name in tables.METERS:
        try:
            meter = open_meter(name, root)
        except UnavailableError as error:
            reasons.append(f"{name}: {error}")
            continue
        if meter.scope not in scopes:
            loser: Meter | None = meter
            reason = f"it meters the {meter.scope}, where the network does not run"
        elif best is None or scopes.index(meter.scope) < scopes.index(best.scope):
            loser, best = best, meter
            reason = f"{meter.name} is preferred"
        else:
            loser, reason = meter, f"{best.name} is preferred"
        if loser is not None:
            loser.close()
            reasons.append(f"{loser.name}: {reason}")
    return best, tuple(reasons)


def _measured(meter: Meter, participant: Participant, progress: Progress) -> Energy:
    called, window_s = participant.subject.called, shortest_window_s(meter)
    windows: list[Window] = []
    total = energy.FEWEST_WINDOWS + 1
    with EnergyRecorder(meter) as recorder:
        recorder.reach(time.monotonic())
        progress(f"energy of idling before {called}", 0, total)
        idle_begin = time.monotonic()
        time.sleep(1.05 * window_s)
        idle = (idle_begin, time.monotonic())
        for i in range(energy.FEWEST_WINDOWS):
            progress(f"energy of {called}", i + 1, total)
            burst = participant.process.ask("burst", expected_s=window_s, seconds=1.05 * window_s)
            windows.append((burst["begin_s"], burst["end_s"], burst["inferences"]))
        recorder.reach(windows[-1][1])
        return energy.measured(recorder.curve(), idle, windows, meter)


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
