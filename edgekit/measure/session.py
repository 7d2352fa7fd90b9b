"""Measuring several subjects in turns, so that what disturbs the machine disturbs all of them.

Each subject has a process of its own. A round gives every process a block of inferences, in an
order that turns around, while the others wait. Every few rounds all subjects are loaded anew.
Rounds go on until intervals are narrow enough or time is up.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.core import Block, Scalar
from edgekit.errors import EdgekitError
from edgekit.measure import environment
from edgekit.measure.environment import Presence, Usage
from edgekit.measure.process import TIME_LIMIT_S, Process
from edgekit.measure.statistics import counted
from edgekit.measure.subjects import Subject, check

# Blocks of about 20 runs: shorter ones are mostly runs with cold caches, longer ones let the
# machine change between two subjects. Fast networks get more runs, slow ones fewer.
_BLOCK_RUNS = (20, 100)
_BLOCK_S = (0.010, 0.250)
_FEWEST_RUNS = 3
_REFERENCE_RUNS = 8
_WARM_UP_S = 0.3
_RELOAD_RUNS = 5

# Loading may take a third of the time. A few loads say too little about what loading changes;
# behind many of them, it is done less often.
_FEWEST_LOADS, _MANY_LOADS = 6, 40
_LOADING_SHARE = 1 / 3

_LONG_LOAD_S = 2.0
_SHORTEST_S = 1.0
_JUDGE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: at most, of all rounds.
        goal: half the width of the interval at which to stop, as a share.
        time_limit_s: of an answer, after which a process is taken for hanging.
        reload: whether to load the subjects anew from time to time.
    """

    seconds: float = 10.0
    goal: float = 0.02
    time_limit_s: float = TIME_LIMIT_S
    reload: bool = True


@dataclass(slots=True)
class Participant:
    """A subject in a session.

    Attributes:
        facts: what opening it told.
        blocks: one per round in which it took part.
        error: what ended its part; the blocks before that count.
    """

    subject: Subject
    process: Process
    facts: dict[str, Any] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    runs: int = _BLOCK_RUNS[0]
    block_s: float = 0.0
    load_s: float = 0.0
    switches: int = 0
    error: EdgekitError | None = None


Progress = Callable[[str, float, float], None]
"""Told what is being done, how much is done, and of how much."""


def _silent(_what: str, _done: float, _total: float) -> None:
    pass


class Session:
    """Subjects that take turns.

    Args:
        subjects: at least one.
        presence: of this measurement on the machine.
        progress: see `Progress`.

    Raises:
        EdgekitError: a subject that can be refused at once; see `edgekit.measure.subjects.check`.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        effort: Effort,
        presence: Presence,
        progress: Progress | None = None,
    ) -> None:
        for subject in subjects:
            check(subject)
        self.effort, self.progress = effort, progress or _silent
        self.participants = [Participant(s, Process(s, effort.time_limit_s)) for s in subjects]
        self.interrupted = False
        self.seconds = 0.0
        self._begin = time.monotonic()
        self._watch = Watch(self, presence)

    @property
    def active(self) -> list[Participant]:
        """Those without an error."""
        return [p for p in self.participants if p.error is None]

    def open(self) -> None:
        """Loads all subjects, one after the other, and warms them up.

        A subject that fails is left out; what it failed of is its `Participant.error`.
        """
        for i, participant in enumerate(self.participants):
            self.progress(f"loading {participant.subject.words}", i, len(self.participants))
            with self._failing(participant):
                participant.facts = participant.process.open()
                facts = participant.facts
                participant.load_s = (facts["load_ms"] + facts["first_ms"]) / 1e3
                self._warm_up(participant)
                facts |= participant.process.ask("memory")
                if participant.load_s < _LONG_LOAD_S:  # the first load tells too much of it
                    participant.load_s = self._load_one_anew(participant)

    def take_turns(self, precision: Callable[[Sequence[Participant]], float]) -> None:
        """Measures rounds until they suffice.

        Args:
            precision: half the width of the widest interval so far, as a share.
        """
        effort = self.effort
        self._watch.start()
        begin = judged = time.monotonic()
        rounds, loads, next_load = 0, 0, self._rounds_per_load(0)
        try:
            while self.active:
                elapsed = time.monotonic() - begin
                self.progress("measuring", min(elapsed, effort.seconds), effort.seconds)
                if elapsed >= effort.seconds and rounds:
                    break
                now = time.monotonic()
                if now - judged >= _JUDGE_EVERY_S and elapsed >= _SHORTEST_S:
                    judged = now
                    if self._many_loads(loads) and precision(self.active) <= effort.goal:
                        break
                if rounds and rounds >= next_load and self._may_load(elapsed):
                    self._load_anew()
                    loads += 1
                    next_load = rounds + self._rounds_per_load(loads)
                for participant in self.active if rounds % 2 else reversed(self.active):
                    with self._failing(participant):
                        self._block(participant, loads)
                rounds += 1
        except KeyboardInterrupt:
            self.interrupted = True
        self.seconds = time.monotonic() - begin
        self._watch.stop()

    def environment(self) -> dict[str, Scalar]:
        """What could explain the numbers; see `edgekit.measure.environment`."""
        return self._watch.facts

    def disturbances(self) -> tuple[str, ...]:
        """What disturbed the machine, in words."""
        return self._watch.reasons

    def close(self) -> None:
        """Ends all processes."""
        for participant in self.participants:
            participant.process.close()

    def _warm_up(self, participant: Participant) -> None:
        ask = participant.process.ask
        begin = time.monotonic()
        samples: list[float] = []
        while time.monotonic() - begin < _WARM_UP_S or len(samples) < 2:
            samples += ask("block", runs=max(1, len(samples)), reference=2)["samples_ms"]
        one_s = float(np.median(samples[len(samples) // 2 :])) / 1e3
        fewest, most = _BLOCK_RUNS
        if one_s * fewest <= _BLOCK_S[1]:
            participant.runs = min(most, max(fewest, math.ceil(_BLOCK_S[0] / one_s)))
        else:
            participant.runs = max(_FEWEST_RUNS, int(_BLOCK_S[1] / one_s))
        participant.block_s = one_s * participant.runs

    def _rounds_per_load(self, loads: int) -> int:
        """Rounds between two loads, so that loading keeps to its share of the time."""
        active = self.active
        rounds_s = sum(p.block_s for p in active) or 1.0
        loading_s = sum(p.load_s for p in active)
        by_share = loading_s * (1 / _LOADING_SHARE - 1) / rounds_s
        return max(2, math.ceil(by_share)) * (1 + loads // _MANY_LOADS)

    def _may_load(self, elapsed: float) -> bool:
        """Not where half of what is left of the time would go into it."""
        if not self.effort.reload:
            return False
        left = self.effort.seconds - elapsed
        return sum(p.load_s for p in self.active) < left / 2

    def _many_loads(self, loads: int) -> bool:
        return loads + 1 >= _FEWEST_LOADS or not self._may_load(0.0)

    def _load_anew(self) -> None:
        for participant in self.active:
            with self._failing(participant):
                spent_s = self._load_one_anew(participant)
                participant.load_s = 0.5 * (participant.load_s + spent_s)

    def _load_one_anew(self, participant: Participant) -> float:
        """Loads a subject anew and warms it up; gives the seconds that it took."""
        begin = time.monotonic()
        participant.process.ask("reload", expected_s=participant.load_s)
        runs = min(_RELOAD_RUNS, participant.runs)
        participant.process.ask("block", expected_s=participant.block_s, runs=runs, reference=1)
        return time.monotonic() - begin

    def _block(self, participant: Participant, load: int) -> None:
        answer = participant.process.ask(
            "block",
            expected_s=participant.block_s,
            runs=participant.runs,
            reference=_REFERENCE_RUNS,
        )
        participant.switches += answer["involuntary_switches"]
        participant.blocks.append(
            Block(
                round(time.monotonic() - self._begin, 4),
                load,
                tuple(answer["samples_ms"]),
                tuple(answer["reference_ms"]),
            )
        )

    @contextmanager
    def _failing(self, participant: Participant) -> Iterator[None]:
        try:
            yield
        except EdgekitError as error:
            participant.error = error
            participant.process.close()

    @contextmanager
    def keeping(self, participant: Participant) -> Iterator[None]:
        """Makes an error of a participant the end of its part, and Ctrl-C that of the session."""
        try:
            with self._failing(participant):
                yield
        except KeyboardInterrupt:
            self.interrupted = True


@contextmanager
def session(
    subjects: Sequence[Subject], effort: Effort, progress: Progress | None = None
) -> Iterator[Session]:
    """An opened session, which ends with the block.

    Raises:
        EdgekitError: no subject could be opened; the error of the first.
    """
    with environment.presence() as presence:
        opened = Session(subjects, effort, presence, progress)
        try:
            opened.open()
            if not opened.active:
                error = opened.participants[0].error
                assert error is not None
                raise error
            yield opened
        finally:
            opened.close()


# A desktop at rest uses some percent of a core; what a host takes away is noticed much earlier.
_OTHERS_CORES, _STEAL_CORES = 0.2, 0.02
# Of the reference network: between the first and last third, and between its slow and fast blocks.
_DRIFT, _SPREAD = 0.05, 0.15
_FREQUENCY_CHANGE = 0.05


class Watch:
    """Looks at the machine while a session runs."""

    def __init__(self, session: Session, presence: Presence) -> None:
        self._session, self._others = session, presence
        self._before: tuple[Usage | None, float, dict[str, Scalar]] | None = None
        self.facts: dict[str, Scalar] = {}
        self.reasons: tuple[str, ...] = ()

    def start(self) -> None:
        """Notes how the machine is at the beginning."""
        self._others.others()
        self._before = (environment.usage(), self._own(), environment.moment())

    def stop(self) -> None:
        """Notes what changed."""
        assert self._before is not None
        self._others.others()
        usage, own_s, before = self._before
        after = environment.moment()
        self.facts = {**environment.machine(), **after, "start_mhz": before["max_mhz"]}
        participants = self._session.participants
        self.facts["involuntary_switches"] = sum(p.switches for p in participants)
        self.facts["denormals_flushed"] = all(
            p.facts.get("denormals_flushed") for p in participants
        )
        overheads = [p.facts["timer_overhead_ns"] for p in participants if p.facts]
        self.facts["timer_overhead_ns"] = max(overheads, default=None)
        now = environment.usage()
        if usage is not None and now is not None:
            seconds = max(now.clock_s - usage.clock_s, 1e-9)
            others = now.busy_s - usage.busy_s - (self._own() - own_s)
            self.facts["other_cores_busy"] = round(max(0.0, others / seconds), 3)
            self.facts["steal_cores"] = round((now.steal_s - usage.steal_s) / seconds, 4)
        drift, spread = reference_changes(b for p in participants for b in p.blocks)
        self.facts["reference_drift"], self.facts["reference_spread"] = drift, spread
        self.reasons = tuple(self._judge())

    def _own(self) -> float:
        pids = [p.process.pid for p in self._session.participants]
        return environment.own_seconds([os.getpid(), *pids])

    def _judge(self) -> Iterator[str]:
        def number(key: str) -> float:
            value = self.facts.get(key)
            return float(value) if isinstance(value, int | float) else 0.0

        if self._others.met:
            yield "another measurement ran on this machine: they disturb each other"
        if number("other_cores_busy") > _OTHERS_CORES:
            busy = number("other_cores_busy")
            yield f"other processes used {busy:.1f} of {self.facts['cores']} cores"
        if number("steal_cores") > _STEAL_CORES:
            yield f"the host took {number('steal_cores'):.1%} of a core away"
        if abs(number("reference_drift")) > _DRIFT:
            drift = number("reference_drift")
            yield f"the machine changed its speed: the reference network took {drift:+.0%}"
        if number("reference_spread") > _SPREAD:
            spread = number("reference_spread")
            yield f"the machine's speed varied: 80 % of reference blocks lie within {spread:.0%}"
        start, end = number("start_mhz"), number("max_mhz")
        if start and abs(end / start - 1) > _FREQUENCY_CHANGE:
            yield f"the frequency went from {start:.0f} to {end:.0f} MHz"


def reference_changes(blocks: Iterable[Block]) -> tuple[float | None, float | None]:
    """How the reference network's time changed over some blocks.

    Returns:
        Its last third over its first, less 1; and the width between the 10 % and 90 % points
        over the median. ``None`` of fewer than six blocks.
    """
    ordered = sorted(blocks, key=lambda block: block.start_s)
    times = [float(np.median(counted(b.reference_ms))) for b in ordered if b.reference_ms]
    if len(times) < 6:
        return None, None
    third = len(times) // 3
    drift = float(np.median(times[-third:]) / np.median(times[:third])) - 1
    low, middle, high = np.percentile(times, [10, 50, 90])
    return round(drift, 4), round(float((high - low) / middle), 4)
