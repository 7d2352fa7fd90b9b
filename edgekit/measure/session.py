"""Measuring several subjects in turns, so that what disturbs the machine disturbs all of them.

Each subject has a process of its own. A round gives every process a block of inferences, in an
order that turns around, while the others wait. Every few rounds all subjects are loaded anew, and
move to other cores. Rounds go on until intervals are narrow enough or time is up.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core import Block, Scalar, TensorSpec, from_json
from edgekit.core.names import shown
from edgekit.devices.agents import LIMIT_S, Agent
from edgekit.devices.agents import check as check_answer
from edgekit.devices.device import HOST, Device
from edgekit.errors import EdgekitError, InputError, UnavailableError, UsageError
from edgekit.measure.disturbances import disturbances, reference_changes
from edgekit.measure.process import Placed, Process
from edgekit.measure.subjects import Subject, check, check_threads, example_of, misfit_of

MOST_RUNS = 1 << 22
"""Timed runs of a subject, after which a session ends: what reads results takes no more of them."""

# Blocks of some hundredths of a second: shorter ones are mostly runs with cold caches, longer ones
# let the machine change between two subjects.
_BLOCK_S = 0.026
_FEWEST_RUNS, _MOST_RUNS, _MOST_SUSTAINED_RUNS = 4, 100, 20_000
_SLOW_RUN_S, _SLOW_RUNS = 0.25, 2
_REFERENCE_RUNS = 5
_WARM_UP_S = 0.2
_RELOAD_RUNS, _RELOAD_S = 5, 0.010

# Of one subject without a pause, blocks need no neighbours.
_SUSTAINED_BLOCK_S = 0.25

# Loading may take a third of the time. A few loads say too little about what loading changes;
# behind many of them, it is done less often.
_FEWEST_LOADS, _MANY_LOADS = 8, 40
_LOADING_SHARE = 1 / 3

_LONG_LOAD_S = 2.0
_SHORTEST_S = 1.0
_JUDGE_EVERY_S = 0.5
_JUDGING_SHARE = 0.05

# Rounds are asked for together: between two of them nothing is said to a device that may be far.
_TOGETHER_S = 0.25
_LOOK_EVERY_S = 0.5
_COOL_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: at most, of all rounds.
        goal: half the width of the interval at which to stop, as a share; 0 for not before time
            is up.
        time_limit_s: of an answer, after which a process is taken for hanging.
        sustained: whether to run without a pause, and so without loading anew.
        cool_s: time to wait before, or at most, where a temperature is waited for.
        cool_celsius: temperature to wait for.
    """

    seconds: float = 10.0
    goal: float = 0.02
    time_limit_s: float = LIMIT_S
    sustained: bool = False
    cool_s: float = 0.0
    cool_celsius: float | None = None


@dataclass(slots=True)
class Participant:
    """A subject in a session.

    Attributes:
        placed: the subject on the device.
        opened: what opening it told.
        blocks: one per round in which it took part.
        error: what ended its part; the blocks before that count.
        cut_short: whether that was before all rounds were done.
        misfit: what to say where its file was written for another kind of processor.
    """

    subject: Subject
    placed: Placed
    process: Process
    places: list[tuple[int, ...]] = field(default_factory=list)
    opened: dict[str, Any] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    runs: int = _FEWEST_RUNS
    run_s: float = 0.0
    load_s: float = 0.0
    switches: int = 0
    error: EdgekitError | None = None
    cut_short: bool = False
    misfit: str | None = None

    @property
    def block_s(self) -> float:
        """Seconds that a block of its inferences takes."""
        return self.runs * self.run_s

    @property
    def imports(self) -> tuple[str, ...]:
        """What its process has imported; processes that have the same can be exchanged."""
        source = self.subject.source if self.subject.target == "pytorch" else ""
        return (self.subject.target, self.subject.processor, source)

    def cores(self, loads: int) -> tuple[int, ...]:
        """Where it runs after so many loads."""
        return self.places[loads % len(self.places)] if self.places else ()


Progress = Callable[[str, float, float], None]
"""Told what is being done, how much is done, and of how much."""


Hold = Callable[[bool], None]
"""Told whether an interrupt would lose what was measured, and so should wait."""


def _silent(_what: str, _done: float, _total: float) -> None:
    pass


def _never(_hold: bool) -> None:
    pass


class Session:
    """Subjects that take turns.

    Args:
        subjects: at least one.
        device: that they run on.
        agent: on it, which only this session asks.
        progress: see `Progress`.
        hold: see `Hold`.

    Attributes:
        boot: tells one start of the device's system from another; ``None`` where it does not.

    Raises:
        UsageError: more threads than the device has cores.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        effort: Effort,
        device: Device,
        agent: Agent,
        progress: Progress | None = None,
        hold: Hold | None = None,
    ) -> None:
        hello, _ = agent.ask("hello")
        for subject in subjects:
            check_threads(subject, hello["cores"], agent.where)
        self._subjects, self.device, self.agent = subjects, device, agent
        self.effort, self.progress, self._hold = effort, progress or _silent, hold or _never
        self.participants: list[Participant] = []
        self.interrupted = False
        self.seconds = 0.0
        self._begin_s: float = hello["clock_s"]
        self.boot: str | None = hello.get("boot")
        self._emulated = device.emulated(agent)
        self._looked_s = 0.0
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-")
        self.conditions: dict[str, Scalar] = {}
        self._met = False

    @property
    def active(self) -> list[Participant]:
        """Those without an error."""
        return [p for p in self.participants if p.error is None]

    def open(self) -> None:
        """Loads all subjects, one after the other, and warms them up.

        A subject that fails is left out; what it failed of is its `Participant.error`.
        """
        self._cool_down()
        self.progress("importing runtimes", 0, len(self._subjects))
        self.agent.ask("watch", own=[os.getpid()] if self.device.here else [])
        for subject in self._subjects:  # side by side
            placed = self._placed(subject)
            process = Process(self.agent, placed, self.effort.time_limit_s)
            answer, _ = self.agent.ask("placements", threads=subject.threads)
            places = [tuple(cores) for cores in answer["places"]]
            misfit = misfit_of(subject, self.device, self.agent)
            self.participants.append(Participant(subject, placed, process, places, misfit=misfit))
            process.begin()
        for participant in self.participants:
            with self._failing(participant):
                participant.process.ready()
        for participant in self.active:
            with self._failing(participant):
                self._give_example(participant)
        for i, participant in enumerate(self.active):
            self.progress(f"loading {participant.subject.called}", i, len(self.active))
            with self._failing(participant):
                opened = participant.opened = participant.process.open(participant.cores(0))
                participant.load_s = (opened["load_ms"] + opened["first_ms"]) / 1e3
                self._warm_up(participant)
                opened |= participant.process.ask("memory")
                if participant.load_s < _LONG_LOAD_S:  # the first load tells too much of it
                    participant.load_s = self._load_one_anew(participant, 0)
        self._check_names()

    def _cool_down(self) -> None:
        """Waits until the device is cool.

        Raises:
            UnavailableError: it tells no temperature, or does not become as cool.
        """
        goal, limit_s = self.effort.cool_celsius, self.effort.cool_s
        if goal is None and limit_s == 0:
            return
        begin_s, celsius = time.monotonic(), None
        while (elapsed_s := time.monotonic() - begin_s) < limit_s:
            seen, _ = self.agent.ask("conditions")
            celsius = seen["conditions"].get("max_celsius")
            if goal is not None and celsius is None:
                raise UnavailableError(
                    f"{self.agent.where} tells no temperature: give a time in place of "
                    f"--cooldown {goal:g}C, as in --cooldown 60s"
                )
            if goal is not None and celsius <= goal:
                return
            told = "" if celsius is None else f" from {celsius:.0f} °C"
            self.progress(f"cooling down{told}", elapsed_s, limit_s)
            time.sleep(min(_COOL_EVERY_S, max(0.0, limit_s - elapsed_s)))
        if goal is not None:
            raise UnavailableError(
                f"{self.agent.where} has {celsius:.0f} °C after {limit_s:.0f} s, expected "
                f"{goal:g} °C: give it a fan, or a higher temperature with --cooldown"
            )

    def _placed(self, subject: Subject) -> Placed:
        """Brings a subject's files to the device.

        Raises:
            UnavailableError: it is a network, and the device is another machine.
        """
        if self.device.here:
            return Placed(subject)
        files = subject.files
        if files is None:
            raise UnavailableError(
                f"'{subject.source}' is a network in PyTorch, which runs on this machine only: "
                f"export it, and give the file"
            )
        return Placed(subject, self.device.place(self.agent, files))

    def _give_example(self, participant: Participant) -> None:
        """Brings the inputs to the device that a file is timed with, where they are not noise."""
        if participant.subject.example is None or participant.subject.files is None:
            return
        asked = participant.placed.request()
        answer = participant.process.ask("tensors", subject=asked)
        specs = [from_json(TensorSpec, spec) for spec in answer["inputs"]]
        arrays = example_of(participant.subject, specs)
        path = self.device.place_arrays(self.agent, arrays, Path(self._folder.name))
        participant.placed = replace(participant.placed, inputs=path)

    def _check_names(self) -> None:
        """Refuses a shape for an input that none of the files has.

        Raises:
            InputError: names it, and those that there are.
        """
        given = {name for p in self.participants for name, _ in p.subject.shapes if name}
        known = dict.fromkeys(name for p in self.active for name in p.opened["inputs"])
        strange = sorted(given - known.keys())
        if strange and self.active:
            raise InputError(
                f"--input-shape {shown(strange[0])}: no such input in "
                f"{', '.join(dict.fromkeys(p.subject.called for p in self.active))}; expected one "
                f"of {', '.join(map(shown, known))}"
            )

    def take_turns(self, precision: Callable[[Sequence[Participant]], float]) -> None:
        """Measures rounds until they suffice.

        A device that is lost ends the part of all participants; their blocks before that count.

        Args:
            precision: half the width of the widest interval so far, as a share.
        """
        begin_s = time.monotonic()
        rounds, loads, next_load = 0, 0, self._rounds_per_load(0)
        try:
            seen, _ = self.agent.ask("conditions")
            self.conditions = dict(seen["conditions"])  # should nobody be there to ask at the end
            self.agent.ask("start")
            begin_s = time.monotonic()
            judge_s = begin_s + _SHORTEST_S
            while self.active:
                elapsed_s = time.monotonic() - begin_s
                self.progress("measuring", min(elapsed_s, self.effort.seconds), self.effort.seconds)
                self.look()
                if rounds and (elapsed_s >= self.effort.seconds or self._is_full()):
                    break
                now_s = time.monotonic()
                if self.effort.goal and now_s >= judge_s and self._many_loads(loads):
                    if precision(self.active) <= self.effort.goal:
                        break
                    spent_s = time.monotonic() - now_s
                    judge_s = now_s + max(_JUDGE_EVERY_S, spent_s / _JUDGING_SHARE)
                if rounds and rounds >= next_load and self._may_load(elapsed_s):
                    loads += 1
                    self._load_anew(loads)
                    next_load = rounds + self._rounds_per_load(loads)
                rounds += self._rounds(rounds, loads, next_load - rounds, elapsed_s)
        except KeyboardInterrupt:
            self.interrupted = True
        except UnavailableError as error:  # the agent is gone, and all with it
            self._note_loss(error)
        self._hold(True)
        self.seconds = time.monotonic() - begin_s
        if not self.interrupted:  # its processes may be in the middle of an answer
            for participant in self.active:
                with self._failing(participant):
                    self._check_state(participant, participant.process.ask("state"))
        for participant in self.participants:
            participant.cut_short = participant.error is not None
        self._note_conditions()

    def _note_loss(self, error: UnavailableError) -> None:
        """Makes the end of the agent that of all participants, or of a session that was ended."""
        try:
            self.progress("measuring", self.effort.seconds, self.effort.seconds)
        except KeyboardInterrupt:  # whoever did so has let go of the device, too
            self.interrupted = True
        else:
            for participant in self.active:
                participant.error = error

    def look(self, *, now: bool = False) -> None:
        """Lets the agent look at the device, some times a second.

        Args:
            now: whether to look however short ago the last look was.
        """
        clock_s = time.monotonic()
        if now or clock_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = clock_s
            self.agent.ask("look", now=now)

    def _note_conditions(self) -> None:
        """Notes what the agent saw of the device, as long as it can be asked."""
        with contextlib.suppress(UnavailableError):
            seen, _ = self.agent.ask("stop")
            self.conditions, self._met = dict(seen["conditions"]), seen["met"]
        blocks = [block for p in self.participants for block in p.blocks]
        drift, spread = reference_changes(blocks)
        self.conditions |= {"reference_drift": drift, "reference_spread": spread}

    def reasons(self) -> list[str]:
        """What disturbed the device, in words."""
        return list(disturbances(self.conditions, met=self._met))

    def environment(self, participant: Participant) -> dict[str, Scalar]:
        """What could explain a participant's numbers; see `edgekit.agent.environment`."""
        opened = participant.opened
        own = ("input", "denormals_flushed", "timer_overhead_ns", "peak_gpu_mib")
        names = {name for name, _ in participant.subject.shapes} & {"", *opened["inputs"]}
        return {
            **self.conditions,
            **({"input_chosen": True} if names else {}),
            **{key: opened.get(key) for key in own},
            "involuntary_switches": participant.switches,
        }

    def close(self) -> None:
        """Ends all processes."""
        for participant in self.participants:
            participant.process.close()
        self._folder.cleanup()

    def _reference(self, runs: int) -> int:
        """How often to run the reference network: never where its speed says nothing.

        It takes an imitated processor a second, which imitates floats one by one.
        """
        return 0 if self._emulated else runs

    def _warm_up(self, participant: Participant) -> None:
        ask = participant.process.ask
        begin = time.monotonic()
        samples: list[float] = []
        while time.monotonic() - begin < _WARM_UP_S or len(samples) < 2:
            block = ask("block", runs=max(1, len(samples)), reference=self._reference(2))
            samples += block["samples_ms"]
        one_s = float(np.median(samples[len(samples) // 2 :])) / 1e3
        block_s = _SUSTAINED_BLOCK_S if self.effort.sustained else _BLOCK_S
        fewest = _FEWEST_RUNS if one_s < _SLOW_RUN_S else _SLOW_RUNS
        most = _MOST_SUSTAINED_RUNS if self.effort.sustained else _MOST_RUNS
        participant.runs = max(fewest, min(most, math.ceil(block_s / one_s)))
        participant.run_s = one_s

    def _rounds_per_load(self, loads: int) -> int:
        """Rounds between two loads, so that loading keeps to its share of the time."""
        active = self.active
        rounds_s = sum(p.block_s for p in active) or 1.0
        loading_s = sum(p.load_s for p in active)
        by_share = loading_s * (1 / _LOADING_SHARE - 1) / rounds_s
        rounds = max(2, math.ceil(by_share)) * (1 + loads // _MANY_LOADS)
        # Whoever comes first in a round follows itself, with warm caches: each of two as often.
        return rounds + rounds % 2

    def _is_full(self) -> bool:
        return any(len(p.blocks) * p.runs >= MOST_RUNS for p in self.active)

    def _may_load(self, elapsed: float) -> bool:
        """Not where half of what is left of the time would go into it."""
        if self.effort.sustained:
            return False
        left = self.effort.seconds - elapsed
        return sum(p.load_s for p in self.active) < left / 2

    def _many_loads(self, loads: int) -> bool:
        return loads + 1 >= _FEWEST_LOADS or not self._may_load(0.0)

    def _in_turn(self, turn: int) -> list[Participant]:
        return self.active if turn % 2 else self.active[::-1]

    def _load_anew(self, loads: int) -> None:
        self._swap_processes()
        for participant in self._in_turn(loads):
            with self._failing(participant, lost=True):
                spent_s = self._load_one_anew(participant, loads)
                participant.load_s = 0.5 * (participant.load_s + spent_s)

    def _swap_processes(self) -> None:
        """Gives each subject the process of another one that needs the same imports.

        What a process has of its own, such as where its libraries lie in memory, makes it a
        percent faster or slower for all of its life.
        """
        alike: dict[tuple[str, ...], list[Participant]] = {}
        for participant in self.active:
            alike.setdefault(participant.imports, []).append(participant)
        for group in alike.values():
            turned = [group[-1], *group[:-1]]
            processes = [participant.process for participant in turned]
            for participant, process in zip(group, processes, strict=True):
                participant.process = process

    def _load_one_anew(self, participant: Participant, loads: int) -> float:
        """Loads a subject anew and warms it up; gives the seconds that it took."""
        begin_s = time.monotonic()
        process = participant.process
        found = process.reload(participant.placed, participant.cores(loads), participant.load_s)
        self._check_state(participant, found)
        runs = min(_RELOAD_RUNS, max(2, math.ceil(_RELOAD_S / max(participant.run_s, 1e-9))))
        few = self._reference(1)
        process.ask("block", expected_s=participant.block_s, runs=runs, reference=few)
        return time.monotonic() - begin_s

    def _check_state(self, participant: Participant, answer: dict[str, Any]) -> None:
        if answer["state"] != participant.opened["state"]:
            raise InputError(
                f"{participant.subject.called} was changed while it was measured: measure it again"
            )

    def _rounds(self, done: int, loads: int, left: int, elapsed_s: float) -> int:
        """Takes some rounds; gives how many.

        Args:
            done: rounds so far.
            loads: so far.
            left: rounds until the next load.
            elapsed_s: so far.
        """
        if not self.active:  # none could be loaded anew
            return 0
        round_s = max(sum(p.block_s for p in self.active), 1e-9)
        spare_s = min(_TOGETHER_S, self.effort.seconds - elapsed_s)
        room = min((MOST_RUNS - len(p.blocks) * p.runs) // p.runs for p in self.active)
        count = max(1, min(int(spare_s / round_s), left, room))
        turns = [p for i in range(count) for p in self._in_turn(done + loads + i)]
        alone = {p.process.number: p.process.allowed_s() for p in turns}
        limit_s = sum(alone.values()) + 3 * sum(p.block_s for p in turns)
        reference = self._reference(_REFERENCE_RUNS)
        asked = [
            (p.process.number, p.runs, reference, p.process.allowed_s(p.block_s)) for p in turns
        ]
        answer, _ = self.agent.ask("rounds", turns=asked, limit_s=limit_s)
        by_slot = {p.process.number: p for p in turns}
        for found in answer["blocks"]:
            participant = by_slot[found["slot"]]
            with self._failing(participant):
                with participant.process.ending():
                    check_answer(found, self.agent.where, participant.subject.called)
                self._keep(participant, found, loads)
        return count

    def _keep(self, participant: Participant, found: dict[str, Any], load: int) -> None:
        participant.switches += found["involuntary_switches"]
        participant.blocks.append(
            Block(
                round(found["begin_s"] - self._begin_s, 4),
                load,
                tuple(found["samples_ms"]),
                tuple(found["reference_ms"]),
            )
        )

    @contextmanager
    def _failing(self, participant: Participant, *, lost: bool = False) -> Iterator[None]:
        """Makes an error of a participant the end of its part.

        Args:
            lost: whether the end of the agent, which is that of all, is raised all the same.
        """
        try:
            yield
        except EdgekitError as error:
            if lost and isinstance(error, UnavailableError) and not self.agent.usable:
                raise
            participant.error = error
            participant.process.close()

    @contextmanager
    def keeping(self, participant: Participant) -> Iterator[None]:
        """Makes an error of a participant the end of its part, and Ctrl-C that of the session."""
        try:
            self._hold(False)
            with self._failing(participant):
                yield
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self._hold(True)


@contextmanager
def session(
    subjects: Sequence[Subject],
    effort: Effort,
    progress: Progress | None = None,
    hold: Hold | None = None,
    device: Device = HOST,
    agent: Agent | None = None,
) -> Iterator[Session]:
    """An opened session, which ends with the block.

    Args:
        agent: on the device, which stays open; ``None`` for one of its own.

    Raises:
        EdgekitError: a subject that can be refused at once, see `edgekit.measure.subjects.check`;
            or no subject could be opened; the error of the first.
        UsageError: there are none.
        UnavailableError: the device cannot be reached.
    """
    if not subjects:
        raise UsageError("nothing to measure: expected at least one file or network")
    for subject in subjects:
        check(subject)
    with contextlib.ExitStack() as closing:
        if agent is None:
            agent = closing.enter_context(contextlib.closing(device.open()))
        device.claim(agent)
        opened = Session(subjects, effort, device, agent, progress, hold)
        closing.callback(opened.close)
        opened.open()
        if not opened.active:
            error = opened.participants[0].error
            assert error is not None
            raise error
        yield opened
