"""Measuring processes, and what becomes of those that go wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from small_artifacts import Artifacts

from edgekit.devices.agents import Agent
from edgekit.devices.device import HOST
from edgekit.errors import InputError, UnavailableError, UsageError
from edgekit.measure.process import Placed, Process
from edgekit.measure.subjects import Subject

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _beside_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)


@pytest.fixture
def agent() -> Iterator[Agent]:
    with closing(HOST.open()) as found:
        yield found


def load(process: Process) -> dict[str, Any]:
    process.begin()
    process.ready()
    return process.open()


@pytest.fixture
def opened(agent: Agent, request: pytest.FixtureRequest) -> Process:
    process = Process(agent, Placed(Subject(f"odd_networks:{request.param}")), time_limit_s=60)
    load(process)
    return process


@pytest.mark.parametrize("target", ["onnx", "openvino", "tflite"])
def test_an_artifact_tells_what_loading_and_running_took(
    agent: Agent, artifacts: Artifacts, target: str
) -> None:
    path = artifacts[target, "fp32"]
    with closing(Process(agent, Placed(Subject(str(path))))) as process:
        opened = load(process)
        assert opened["load_ms"] > 0
        assert opened["first_ms"] > 0
        assert opened["size_bytes"] >= path.stat().st_size
        assert len(opened["sha256"]) == 64
        assert opened["input"] in ("1x3x32x32 float32", "1x32x32x3 float32")
        assert process.ask("memory")["peak_rss_mib"] > opened["idle_rss_mib"] > 10
        block = process.ask("block", runs=7, reference=3)
        assert len(block["samples_ms"]) == 7
        assert len(block["reference_ms"]) == 3
        assert min(block["samples_ms"] + block["reference_ms"]) > 0
        assert process.reload(Placed(Subject(str(path))))["load_ms"] > 0
        burst = process.ask("burst", seconds=0.05)
        assert burst["inferences"] >= 1
        assert burst["end_s"] - burst["begin_s"] >= 0.05


def test_denormals_are_flushed_in_the_measuring_process() -> None:
    from edgekit.agent.reference import flush_denormals

    pid = os.fork()
    if pid == 0:
        code = 1
        try:  # nothing may leave the copy of this process
            smallest = float.fromhex("0x1p-1060")
            code = 0 if not flush_denormals() or smallest * 1.0 == 0.0 else 1
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    ("opened", "reason"),
    [("crashes", "SIGSEGV"), ("aborts", "SIGABRT"), ("killed_for_memory", "SIGKILL")],
    indirect=["opened"],
)
def test_a_crash_is_an_error_that_names_what_crashed(opened: Process, reason: str) -> None:
    with pytest.raises(UnavailableError, match=rf"odd_networks.*crashed at 'block' \({reason}"):
        opened.ask("block", runs=60, reference=1)


@pytest.mark.parametrize("opened", ["greedy"], indirect=True)
def test_too_little_memory_is_an_error_and_not_the_end(opened: Process) -> None:
    with pytest.raises(InputError, match=r"odd_networks:greedy: RuntimeError.*memory"):
        opened.ask("block", runs=60, reference=1)
    assert opened.ask("block", runs=2, reference=1)["samples_ms"]


def test_a_hanging_process_is_ended(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Process(agent, Placed(Subject("odd_networks:hangs")), 60)) as process:
        load(process)  # which may take its time on a busy machine
        monkeypatch.setattr(process, "_limit_s", 2)
        with pytest.raises(UnavailableError, match="no answer to 'block' for 2 s"):
            process.ask("block", runs=60, reference=1)
        with pytest.raises(ProcessLookupError):
            os.kill(process.pids[0], 0)


def test_errors_keep_their_class(agent: Agent) -> None:
    with (
        closing(Process(agent, Placed(Subject("mobilenetv33-smal")))) as process,
        pytest.raises(UsageError, match="unknown model 'mobilenetv33-smal': did you mean"),
    ):
        load(process)
