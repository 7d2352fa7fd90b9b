"""Sessions with real artifacts, in real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_artifacts import Artifacts

from edgekit.core import Block
from edgekit.devices.agents import LIMIT_S, Agent
from edgekit.devices.device import HOST
from edgekit.errors import InputError, UnavailableError, UsageError
from edgekit.measure.comparing import compare
from edgekit.measure.disturbances import reference_changes
from edgekit.measure.profiling import measurement, profile
from edgekit.measure.session import Effort, Session, session
from edgekit.measure.subjects import Subject


def never(_: object) -> float:
    return 1.0


def take(subjects: list[Subject], effort: Effort) -> Session:
    with session(subjects, effort) as opened:
        opened.take_turns(never)
        return opened


def take_loads(subjects: list[Subject], loads: int) -> Session:
    """A session that ends once all subjects were loaded anew so often, however long that takes."""

    def progress(what: str, _: float, __: float) -> None:
        if what == "measuring" and all(
            one.blocks and one.blocks[-1].instance == loads for one in opened.participants
        ):
            raise KeyboardInterrupt

    with session(subjects, Effort(seconds=120), progress=progress) as opened:
        opened.take_turns(never)
        return opened


def test_subjects_take_turns_and_are_loaded_anew(artifacts: Artifacts) -> None:
    subjects = [Subject(str(artifacts[t, "fp32"])) for t in ("tflite", "onnx")]
    done = take_loads(subjects, 2)
    one, other = (participant.blocks for participant in done.participants)
    assert len(one) == len(other) >= 4
    assert one[-1].instance == other[-1].instance == 2
    order = sorted([(b.start_s, "a") for b in one] + [(b.start_s, "b") for b in other])
    rounds = ["".join(sorted(who for _, who in order[i : i + 2])) for i in range(0, len(order), 2)]
    assert set(rounds) == {"ab"}
    firsts = [order[i][1] for i in range(0, len(order), 2)]
    assert firsts[:4] in (list("abab"), list("baba"))
    assert all(len(b.samples_ms) >= 4 and len(b.reference_ms) == 5 for b in one)
    for load in range(one[-1].instance):  # that were not cut short
        at = [i for i, b in enumerate(one) if b.instance == load]
        assert [firsts[i] for i in at].count("a") == len(at) / 2


def test_it_stops_when_the_interval_is_narrow_enough(artifacts: Artifacts) -> None:
    with session([Subject(str(artifacts["tflite", "fp32"]))], Effort(120, 0.1)) as opened:
        opened.take_turns(lambda _: 0.0)
    assert not opened.interrupted
    assert 7 <= opened.participants[0].blocks[-1].instance <= 20


def test_it_stops_where_no_reader_would_take_more(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.measure.session.MOST_RUNS", 50)
    done = take([Subject(str(artifacts["tflite", "fp32"]))], Effort(seconds=600))
    (participant,) = done.participants
    assert not done.interrupted
    assert 50 <= len(participant.blocks) * participant.runs < 50 + 2 * participant.runs


def test_what_is_known_about_the_machine_stands_in_the_record(artifacts: Artifacts) -> None:
    done = profile([Subject(str(artifacts["tflite", "fp32"]))], Effort(1.0, 0.5))
    (found,) = done.measurements
    assert found.environment["cores"]
    assert found.environment["input"] == "1x32x32x3 float32"
    assert float(found.environment["timer_overhead_ns"] or 0) > 0
    assert found.runtime.startswith("LiteRT ")
    assert found.tools["ai-edge-litert"] in found.runtime
    assert found.sha256 is not None
    assert found.stable == (not found.reasons)


def test_interrupting_keeps_what_was_measured(artifacts: Artifacts) -> None:
    def progress(what: str, done: float, _: float) -> None:
        if what == "measuring" and done > 0.5:
            raise KeyboardInterrupt

    found = profile([Subject(str(artifacts["tflite", "fp32"]))], Effort(60), progress=progress)
    assert found.interrupted
    assert found.measurements[0].blocks
    assert any("interrupted after" in reason for reason in found.measurements[0].reasons)


def test_a_device_that_is_lost_leaves_what_was_measured(artifacts: Artifacts) -> None:
    subjects = [Subject(str(artifacts[t, "fp32"])) for t in ("tflite", "onnx")]

    def progress(what: str, done: float, _: float) -> None:
        if what == "measuring" and done > 0.5 and agent.usable:
            os.kill(agent.pid, signal.SIGKILL)

    with (
        closing(HOST.open()) as agent,
        session(subjects, Effort(60), progress=progress, agent=agent) as opened,
    ):
        opened.take_turns(never)
        assert opened.seconds < 30
        for participant in opened.participants:
            found = measurement(participant, opened, started="", device="host")
            assert found.blocks
            assert found.environment["cpu"]
            assert any("ended early: the agent on" in reason for reason in found.reasons)


def test_a_device_that_whoever_interrupts_lets_go_of_is_none_that_is_lost(
    artifacts: Artifacts,
) -> None:
    ended = []

    def progress(what: str, done: float, _: float) -> None:
        if ended:
            raise KeyboardInterrupt
        if what == "measuring" and done > 0.3:
            ended.append(os.kill(agent.pid, signal.SIGKILL))

    with (
        closing(HOST.open()) as agent,
        session(
            [Subject(str(artifacts["tflite", "fp32"]))], Effort(60), progress, agent=agent
        ) as opened,
    ):
        opened.take_turns(never)
        assert opened.interrupted
        assert [participant.error for participant in opened.participants] == [None]
        assert opened.participants[0].blocks


def test_rounds_have_one_limit_for_each_process(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []
    ask = Agent.ask

    def noted(self: Agent, do: str, *args: Any, **more: Any) -> Any:
        if do == "rounds":
            limits.append((len(more["turns"]), more["limit_s"]))
        return ask(self, do, *args, **more)

    monkeypatch.setattr(Agent, "ask", noted)
    take([Subject(str(artifacts["tflite", "fp32"]))], Effort(seconds=1.0))
    assert max(turns for turns, _ in limits) > 1
    assert all(LIMIT_S <= limit_s < LIMIT_S + 10 for _, limit_s in limits)


def test_interrupting_before_the_first_round_leaves_nothing(artifacts: Artifacts) -> None:
    def progress(what: str, _: float, __: float) -> None:
        if what == "measuring":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(
            Subject(str(artifacts["tflite", "fp32"])),
            Subject(str(artifacts["tflite", "fp16"])),
            progress=progress,
        )


def test_one_that_cannot_be_loaded_leaves_the_others(artifacts: Artifacts) -> None:
    good = Subject(str(artifacts["tflite", "fp32"]))
    done = profile([Subject("odd_networks:missing"), good], Effort(1.0, 0.5))
    assert [m.artifact for m in done.measurements] == [good.source]
    assert [failure.subject.source for failure in done.failures] == ["odd_networks:missing"]


def test_a_file_that_is_missing_is_refused_before_anything_starts() -> None:
    with (
        pytest.raises(InputError, match=r"gone\.onnx does not exist"),
        session([Subject("gone.onnx")], Effort()),
    ):
        pass


def test_changes_of_the_reference_network() -> None:
    def block(start: float, ms: float) -> Block:
        return Block(start, 0, (1.0,), (9.0, 9.0, *[ms] * 6))

    even = [block(i, 1.0) for i in range(12)]
    assert reference_changes(even) == (0.0, 0.0)
    slower = [block(i, 1.0 if i < 6 else 1.2) for i in range(12)]
    drift, spread = reference_changes(reversed(slower))
    assert drift == pytest.approx(0.2)
    assert spread == pytest.approx(0.2 / 1.1, abs=1e-3)
    assert reference_changes(even[:5]) == (None, None)


def test_those_who_take_turns_share_their_cores_and_move_on_together(artifacts: Artifacts) -> None:
    subjects = [Subject(str(artifacts[t, "fp32"])) for t in ("tflite", "onnx")]
    with session(subjects, Effort(seconds=1.0)) as opened:
        opened.take_turns(never)
        one, other = opened.participants
        where = [
            os.sched_getaffinity(pid)
            for participant in (one, other)
            for pid in participant.process.pids[-1:]
        ]
        assert where[0] == where[1] == set(one.cores(one.blocks[-1].instance))


def test_every_load_has_a_process_of_its_own(artifacts: Artifacts) -> None:
    pids = []

    def progress(what: str, _: float, __: float) -> None:
        if what == "measuring" and opened.participants[0].blocks:
            (one,) = opened.participants
            pids.append(one.process.pids)
            if one.blocks[-1].instance == 1:
                raise KeyboardInterrupt

    subjects = [Subject(str(artifacts["tflite", "fp32"]))]
    with session(subjects, Effort(seconds=120), progress=progress) as opened:
        opened.take_turns(never)
    before, *_, after = pids
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_subjects_of_one_runtime_exchange_their_processes(artifacts: Artifacts) -> None:
    subjects = [Subject(str(artifacts["tflite", p])) for p in ("fp32", "fp16")]
    subjects.append(Subject(str(artifacts["onnx", "fp32"])))
    with session(subjects, Effort(seconds=1.5)) as opened:
        before = [participant.process for participant in opened.participants]
        opened.take_turns(never)
        loads = opened.participants[0].blocks[-1].instance
        after = [participant.process for participant in opened.participants]
        assert after == ([before[1], before[0], before[2]] if loads % 2 else before)
        assert [process.subject for process in after] == subjects


def test_a_file_that_is_replaced_while_it_is_measured_is_an_error(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    path = tmp_path / "own.tflite"
    path.write_bytes(artifacts["tflite", "fp32"].read_bytes())

    def progress(what: str, done: float, _: float) -> None:
        if what == "measuring" and done > 0.3 and path.stat().st_size:
            path.write_bytes(b"")

    found = profile([Subject(str(path))], Effort(5.0), progress=progress)
    assert found.measurements[0].blocks
    (failure,) = found.failures
    assert "own.tflite" in str(failure.error)


def test_nothing_to_measure_is_said() -> None:
    with pytest.raises(UsageError, match="expected at least one file"):
        profile([])


def test_without_a_pause_blocks_of_small_networks_are_long_too(artifacts: Artifacts) -> None:
    subjects = [Subject(str(artifacts["tflite", "fp32"]))]
    (one,) = take(subjects, Effort(seconds=1.0, sustained=True)).participants
    assert one.runs > 100
    assert one.block_s > 0.1


def test_an_error_behind_the_turns_leaves_the_latency_as_it_is(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.measure import profiling

    def fail(*_: object) -> None:
        raise UnavailableError("no operator times")

    monkeypatch.setattr(profiling, "_operators", fail)
    subject = Subject(str(artifacts["tflite", "fp32"]))
    found = profile([subject], Effort(1.0), operators=True, energy="off")
    (failure,) = found.untimed
    assert "no operator times" in str(failure.error)
    assert not found.failures
    assert not any("ended early" in reason for reason in found.measurements[0].reasons)


def test_interrupts_wait_only_while_they_would_lose_something(artifacts: Artifacts) -> None:
    held: list[bool] = []
    subject = Subject(str(artifacts["tflite", "fp32"]))
    profile([subject], Effort(1.0), energy="off", hold=held.append)
    assert held[0] is True
    assert held[-1] is True
    assert False in held


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_it_measures_where_edgekit_is_all_that_runs(artifacts: Artifacts, tmp_path: Path) -> None:
    alone = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces of processes here")
    path = str(artifacts["tflite", "fp32"].absolute())
    edgekit = [sys.executable, "-m", "edgekit", "profile", path, "--seconds", "1"]
    env = {**os.environ, "EDGEKIT_HOME": str(tmp_path)}
    found = subprocess.run([*alone, *edgekit], env=env, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
