"""The native runner, built here, on files in LiteRT and ONNX Runtime."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import native_runner
import numpy as np
import pytest
from native_runner import Direct
from sent_names import NAMES
from small_artifacts import Artifacts, once, shared_folder

from edgekit import registry
from edgekit.agent.wire import GREETING, PROTOCOL
from edgekit.core import TensorSpec
from edgekit.devices import runner
from edgekit.devices.agents import Agent, EndedError, Slot
from edgekit.devices.device import HOST, Device
from edgekit.devices.files import file_request
from edgekit.errors import EdgekitError, InputError, ModelError, UnavailableError, UsageError
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.search.timing import Timer

pytestmark = pytest.mark.devices

REFERENCE = {"loader": "edgekit.agent.reference:Reference", "arguments": {}}


@pytest.fixture(scope="session")
def program() -> Path:
    found = native_runner.built()
    if found is None:
        pytest.skip("no g++ or make here")
    return found


@pytest.fixture(scope="session")
def integers(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """int8 files by target, with integers at both ends, made for Arm."""
    folder = shared_folder(tmp_path_factory) / "integers"
    folder.mkdir(exist_ok=True)
    with once(folder / "done") as mine:
        if mine:
            words = ["-t", "tflite,onnx", "-p", "int8", "--isa", "arm", "--io", "int8"]
            subprocess.run(
                [sys.executable, "-m", "edgekit", "export", trained_run, *words,
                 "--max-drop", "100", "-o", folder],
                check=True,
                env={**os.environ, "PYTHONPATH": str(native_runner.ROOT)},
            )  # fmt: skip
            (folder / "done").touch()
    return {path.suffix[1:]: path for path in folder.glob("*int8*") if path.suffix != ".json"}


@pytest.fixture(autouse=True)
def _own_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CLAIMS", str(tmp_path / "claims"))


@pytest.fixture
def own_slots(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(runner, "_SLOTS", {})
    yield
    for slots in runner._SLOTS.values():
        slots.close()


@pytest.fixture
def device(program: Path, tmp_path: Path, own_slots: None) -> Device:
    direct = Direct(program, tmp_path / "there", native_runner.libraries())
    return Device("native", direct)


@pytest.fixture
def agent(device: Device) -> Iterator[Agent]:
    with closing(device.open()) as found:
        yield found


def arrays_for(specs: tuple[TensorSpec, ...], seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    found = []
    for spec in specs:
        kind = np.dtype(spec.dtype)
        values = rng.standard_normal(spec.shape)
        found.append((values * (1 if kind.kind == "f" else 40)).astype(kind))
    return found


def loaded(device: Device, agent: Agent, path: Path, **options: Any) -> tuple[Slot, dict[str, Any]]:
    """A slot that has imported what a file needs, and the subject."""
    target = registry.target_by_suffix(path.suffix)
    assert target is not None
    files = device.place(agent, target.files(path))
    subject = file_request(target, path, **{"threads": 1, **options}, files=files)
    slot = agent.slot()
    slot.ask("import", subject=subject)
    return slot, subject


# Files


@pytest.mark.parametrize("target", ["tflite", "onnx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_outputs_are_those_of_python(
    artifacts: Artifacts, integers: dict[str, Path], device: Device, target: str, precision: str
) -> None:
    path = integers[target] if precision == "int8" else artifacts[target, precision]
    found = []
    for place in (HOST, device):
        opened = runner.open_file(registry.target(target), path, 1, device=place)
        inputs, outputs = opened.tensors()
        found.append((inputs, outputs))
        for seed in range(3):
            found[-1] += tuple(opened.run(arrays_for(inputs, seed)))
    here, there = found
    assert here[:2] == there[:2]
    assert len(here) > 2
    assert all(np.array_equal(a, b) for a, b in zip(here[2:], there[2:], strict=True))


def test_files_are_measured(artifacts: Artifacts, device: Device) -> None:
    paths = [artifacts["tflite", "fp32"], artifacts["onnx", "fp32"]]
    found = profile(paths, Effort(1.5, 0.5), device=device, operators=True)
    assert not found.failures
    for measured, path in zip(found.measurements, paths, strict=True):
        assert measured.artifact == str(path)
        assert measured.sha256 is not None
        assert measured.size_bytes == path.stat().st_size
        assert measured.blocks
        assert all(ms > 0 for block in measured.blocks for ms in block.samples_ms)
        assert all(block.reference_ms for block in measured.blocks)
        assert measured.load_ms
        assert measured.first_ms
        assert measured.peak_rss_mib
        assert measured.environment["denormals_flushed"] is True
        assert measured.environment["input"]
        assert {"cpu", "cores", "other_cores_busy", "max_celsius"} <= measured.environment.keys()
        assert measured.tools["native-runner"]
        assert measured.energy.kind == "unavailable"
    assert found.measurements[1].runtime.startswith("ONNX Runtime 1.")
    assert "libLiteRt.so 1a2b3c4d" in found.measurements[0].runtime
    assert len(found.untimed) == 2
    assert "has no profiler of operators" in str(found.untimed[0].error)


def test_the_records_are_those_of_python(artifacts: Artifacts, device: Device) -> None:
    path = artifacts["onnx", "fp32"]
    records = []
    for place in (HOST, device):
        (one,) = profile([path], Effort(1.0, 0.5), device=place, energy="off").measurements
        records.append(one)
    here, there = records
    changing = {"temperature", "throttled"}
    assert here.environment.keys() - changing == there.environment.keys() - changing
    assert (here.sha256, here.size_bytes, here.input) == (
        there.sha256, there.size_bytes, there.input,
    )  # fmt: skip
    for key in ("cpu", "cores", "governor"):
        assert here.environment[key] == there.environment[key]


def test_hardware_is_what_python_sees(agent: Agent) -> None:
    with closing(HOST.open()) as other:
        answers = [
            one.ask("about", packages=["onnxruntime", "ai-edge-litert"], variables=["HOME"])[0]
            for one in (other, agent)
        ]
        assert answers[0]["hardware"] == answers[1]["hardware"]
        assert answers[0]["environment"] == answers[1]["environment"]
        assert answers[0]["versions"].keys() == answers[1]["versions"].keys()
        assert answers[0]["versions"]["onnxruntime"] == answers[1]["versions"]["onnxruntime"]
        for threads in (1, 2, 64):
            assert other.ask("placements", threads=threads) == agent.ask(
                "placements", threads=threads
            )


def test_hardware_below_another_root(agent: Agent, tmp_path: Path) -> None:
    root = tmp_path / "root"
    files = {
        "proc/cpuinfo": "".join(
            f"processor\t: {i}\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\n"
            f"CPU part\t: {part}\n\n"
            for i, part in enumerate(["0xd05", "0xd05", "0xd0b", "0xfff"])
        ),
        "proc/device-tree/model": "A board\0",
        "proc/meminfo": "MemTotal:        8000000 kB\n",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
        "sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq": "2400000\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with closing(HOST.open()) as other:
        asked = {"packages": [], "variables": [], "root": str(root)}
        here, there = (one.ask("about", **asked)[0] for one in (other, agent))
    assert here["hardware"] == there["hardware"]
    assert there["hardware"]["soc"] == (
        "A board, 2x Cortex-A55 + 1x Cortex-A76 + 1x Arm part 0xfff"
    )


def test_inputs_that_were_chosen(
    artifacts: Artifacts, device: Device, agent: Agent, tmp_path: Path
) -> None:
    path = artifacts["tflite", "fp32"]
    slot, subject = loaded(device, agent, path)
    answer, _ = slot.ask("tensors", subject=subject)
    shape = answer["inputs"][0]["shape"]
    given = device.place_arrays(agent, [np.ones(shape, np.float32)], tmp_path)
    subject["arguments"]["inputs"] = given
    assert slot.ask("open", subject=subject, cores=[])[0]["first_ms"] > 0
    for odd in (np.ones([2, *shape[1:]], np.float32), np.ones(shape, np.float64)):
        subject["arguments"]["inputs"] = device.place_arrays(agent, [odd], tmp_path)
        with pytest.raises(InputError, match="takes"):
            slot.ask("reload", subject=subject, cores=[])
    subject["arguments"]["inputs"] = given
    there = Path(given)
    for size in (0, 10, 100, there.stat().st_size - 30):
        content = there.read_bytes()
        there.write_bytes(content[:size])
        with pytest.raises(InputError, match="inputs on the device"):
            slot.ask("reload", subject=subject, cores=[])
        there.write_bytes(content)


def test_sizes_that_a_file_leaves_open(device: Device, agent: Agent, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    sizes: list[Any] = ["batch", 3, "side", "side"]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "open",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sizes)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "open.onnx"
    onnx.save(model, path)
    slot, subject = loaded(device, agent, path)
    with pytest.raises(InputError, match="expected numbers behind the first size"):
        slot.ask("tensors", subject=subject)
    slot, subject = loaded(device, agent, path, shapes=[("x", (2, 3, 8, 8))])
    answer, _ = slot.ask("tensors", subject=subject)
    assert answer["outputs"][0]["shape"] == [2, 3, 8, 8]
    given = np.arange(384, dtype=np.float32).reshape(2, 3, 8, 8) - 100
    _, (found,) = slot.ask("run", [given])
    assert np.array_equal(found, np.maximum(given, 0))
    slot, subject = loaded(device, agent, path, shapes=[("", (4, 3, 2, 3))])
    with pytest.raises(InputError, match="'side' as 2 and as 3"):
        slot.ask("tensors", subject=subject)


def test_a_batch_that_a_file_does_not_take(
    artifacts: Artifacts, device: Device, agent: Agent
) -> None:
    slot, subject = loaded(device, agent, artifacts["onnx", "fp32"], batch=3)
    with pytest.raises(UnavailableError, match="another batch than it was exported with"):
        slot.ask("tensors", subject=subject)


@pytest.mark.parametrize("threads", [1, 2, None])
def test_threads(artifacts: Artifacts, device: Device, agent: Agent, threads: int | None) -> None:
    slot, subject = loaded(device, agent, artifacts["tflite", "fp32"], threads=threads)
    opened, _ = slot.ask("open", subject=subject, cores=[])
    count = len(os.listdir(f"/proc/{opened['pid']}/task"))
    assert count == (threads or count)


def test_parts_of_a_search(artifacts: Artifacts, device: Device, tmp_path: Path) -> None:
    reference = artifacts["tflite", "fp32"]
    timer = Timer(registry.target("tflite"), reference, 1, between=1 << 20, device=device)
    with closing(timer):
        own_ms, reference_ms = timer.time(reference, whole=True)
        assert 0.5 < own_ms / reference_ms < 2
        part_ms, _ = timer.time(artifacts["tflite", "fp16"])
        assert part_ms > 0
        odd = tmp_path / "odd.tflite"
        odd.write_bytes(reference.read_bytes()[:1000])
        with pytest.raises((InputError, ModelError), match="odd"):
            timer.time(odd)
        assert timer.time(reference)[0] > 0


# What it lacks


@pytest.mark.parametrize(
    ("do", "arguments"),
    [
        ("operators", {"runs": 3}),
        ("activations", {}),
    ],
)
def test_what_it_lacks(
    artifacts: Artifacts, device: Device, agent: Agent, do: str, arguments: dict[str, Any]
) -> None:
    slot, subject = loaded(device, agent, artifacts["tflite", "fp32"])
    slot.ask("open", subject=subject, cores=[])
    with pytest.raises(UnavailableError, match=r"native runner has no .*; a Python on the device"):
        slot.ask(do, **arguments)
    assert slot.ask("block", runs=2, reference=0)[0]["samples_ms"]


def test_files_of_other_runtimes(artifacts: Artifacts, device: Device, agent: Agent) -> None:
    with pytest.raises(UnavailableError, match="has no runtime for"):
        loaded(device, agent, artifacts["openvino", "fp32"])


def test_a_library_that_was_not_given(
    artifacts: Artifacts, program: Path, tmp_path: Path, own_slots: None
) -> None:
    litert = native_runner.libraries()[0]
    device = Device("half", Direct(program, tmp_path / "there", [litert]))
    with closing(device.open()) as agent:
        assert loaded(device, agent, artifacts["tflite", "fp32"])
        with pytest.raises(UnavailableError, match=r"needs libonnxruntime\.so for this device"):
            loaded(device, agent, artifacts["onnx", "fp32"])


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF" + bytes(100)])
def test_a_library_that_is_none(
    artifacts: Artifacts, program: Path, tmp_path: Path, content: bytes
) -> None:
    library = tmp_path / "libodd.so"
    library.write_bytes(content)
    device = Device("odd", Direct(program, tmp_path / "there", [library]))
    with closing(device.open()) as agent:
        with pytest.raises(UnavailableError, match=r"library libodd\.so cannot be loaded"):
            loaded(device, agent, artifacts["tflite", "fp32"])
        with pytest.raises(UnavailableError, match=r"library libodd\.so cannot be loaded"):
            agent.ask("about", packages=["onnxruntime"], variables=[])
        assert agent.ask("hello")[0]["protocol"] == PROTOCOL


# Odd files, and ends


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_damaged_files(artifacts: Artifacts, device: Device, target: str, tmp_path: Path) -> None:
    content = artifacts[target, "fp32"].read_bytes()
    rng = random.Random(0)
    for number in range(12):
        path = tmp_path / f"odd{number}.{target}"
        changed = bytearray(content[: len(content) if number % 2 else rng.randrange(len(content))])
        for _ in range(20 if number > 1 else 0):
            changed[rng.randrange(min(len(changed), 4000))] = rng.randrange(256)
        path.write_bytes(changed)
        told = f"{path.name}|outputs take their sizes"
        try:
            opened = runner.open_file(registry.target(target), path, 1, device=device)
            opened.run(arrays_for(opened.tensors()[0]))
        except (InputError, UnavailableError) as error:
            found = str(error)
        else:
            found = path.name  # not every byte matters
        assert re.search(told, found), found
    good = runner.open_file(registry.target(target), artifacts[target, "fp32"], 1, device=device)
    assert good.run(arrays_for(good.tensors()[0]))


def test_a_file_that_takes_all_memory(device: Device, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    many = helper.make_tensor("many", TensorProto.INT64, [1], [800_000_000])
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["x"], ["rank"]),
            helper.make_node("Mul", ["rank", "many"], ["sizes"]),
            helper.make_node("ConstantOfShape", ["sizes"], ["ones"]),
            helper.make_node("ReduceSum", ["ones"], ["y"]),
        ],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [many],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "large.onnx"
    onnx.save(model, path)
    opened = runner.open_file(registry.target("onnx"), path, 1, device=device)
    with pytest.raises(InputError, match="memory") as caught:
        opened.run([np.ones(1, np.float32)])
    assert "EDGEKIT_RUNTIME_MIB" in str(caught.value)


def test_a_slot_that_hangs_or_is_killed(artifacts: Artifacts, device: Device, agent: Agent) -> None:
    slot, subject = loaded(device, agent, artifacts["tflite", "fp32"])
    opened, _ = slot.ask("open", subject=subject, cores=[])
    os.kill(opened["pid"], signal.SIGSEGV)
    with pytest.raises(UnavailableError, match="SIGSEGV"):
        slot.ask("block", runs=1, reference=0)
    slot, subject = loaded(device, agent, artifacts["tflite", "fp32"])
    opened, _ = slot.ask("open", subject=subject, cores=[])
    os.kill(opened["pid"], signal.SIGSTOP)
    with pytest.raises(UnavailableError, match="did not answer to 'block'"):
        slot.ask("block", runs=1, reference=0, limit_s=0.5)
    assert not alive(opened["pid"])


def alive(pid: int, within_s: float = 5.0) -> bool:
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if ") Z " not in Path(f"/proc/{pid}/stat").read_text():
                time.sleep(0.02)
                continue
        return False
    return True


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_with_the_one_that_asks(artifacts: Artifacts, device: Device, busy: bool) -> None:
    agent = device.open()
    pid = agent.ask("hello")[0]["pid"]
    slot, subject = loaded(device, agent, artifacts["tflite", "fp32"])
    opened, _ = slot.ask("open", subject=subject, cores=[])
    if busy:
        agent._talk.wire.send(
            {"do": "block", "slot": slot.number, "runs": 4_000_000, "reference": 0}
        )
        time.sleep(0.3)
    agent._talk.channel.close()  # as if the way to it had been cut
    assert not any(map(alive, (pid, slot.pid, opened["pid"])))


LARGE = [np.zeros(4_000_000, np.float32)]


def test_a_slot_that_reads_nothing_is_ended_at_its_limit(agent: Agent) -> None:
    slot, good = agent.slot(), agent.slot()
    os.kill(slot.pid, signal.SIGSTOP)
    with pytest.raises(EndedError, match="did not answer to 'import' for 0 s"):
        slot.ask("import", LARGE, limit_s=0.3, subject=REFERENCE)
    good.ask("import", subject=REFERENCE)


def test_it_ends_with_the_one_that_asks_whose_slot_reads_nothing(device: Device) -> None:
    agent = device.open()
    slot = agent.slot()
    os.kill(slot.pid, signal.SIGSTOP)
    slot.begin("import", LARGE, subject=REFERENCE)
    begin_s = time.monotonic()
    agent.close()
    assert time.monotonic() - begin_s < 5
    assert device.transport.ended == []


def test_a_slot_keeps_no_lock(device: Device, agent: Agent, tmp_path: Path) -> None:
    key = "0" * 64
    agent.ask("claim", token="one", owner="somebody")
    agent.ask("place", key=key, files=[])
    slot = agent.slot()
    slot.ask("import", subject=REFERENCE)
    kept = {os.path.realpath(each) for each in Path(f"/proc/{slot.pid}/fd").iterdir()}
    assert not [each for each in kept if each.endswith((".lock", ".claim"))]


@pytest.mark.parametrize("other", ["native", "python"])
def test_one_measures_at_a_time(device: Device, other: str) -> None:
    """Agents in Python and runners see each other."""
    second_device = device if other == "native" else HOST
    with closing(device.open()) as first, closing(device.open()) as second:
        device.claim(first)
        device.claim(second)  # of the same process
    with closing(device.open()) as first, closing(second_device.open()) as second:
        first.ask("claim", token="one", owner="me@here")
        for alone in (True, False):
            with pytest.raises(UnavailableError, match="me@here measures there since 0 minutes"):
                second.ask("claim", token="other", owner="you", alone=alone)
    with closing(second_device.open()) as first, closing(device.open()) as second:
        first.ask("claim", token="one", owner="me@here", alone=False)
        second.ask("claim", token="other", owner="you", alone=False)
        with pytest.raises(UnavailableError, match="me@here runs files there since 0 minutes"):
            second.ask("claim", token="other", owner="you")
    with closing(device.open()) as third:
        third.ask("claim", token="third", owner="you")


def test_transfers_go_on_where_they_were_cut(device: Device, tmp_path: Path) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(os.urandom(300_000))
    with closing(device.open()) as agent:
        place = device.place(agent, [path])
        assert Path(place[0]).read_bytes() == path.read_bytes()
        there = Path(place[0])
        part = there.with_name(there.name + ".part")
        part.write_bytes(path.read_bytes()[:100_000])
        there.unlink()
    with closing(device.open()) as agent:
        asked: list[int] = []
        ask = agent.ask

        def watched(do: str, *more: Any, **arguments: Any) -> Any:
            if do == "put":
                asked.append(arguments["offset"])
            return ask(do, *more, **arguments)

        agent.ask = watched  # type: ignore[method-assign]
        assert device.place(agent, [path]) == place
        assert asked == [100_000]
        assert there.read_bytes() == path.read_bytes()
        key = there.parent.name
        about = {"key": key, "name": "other", "size": 4, "digest": "0" * 64, "offset": 0}
        answer, _ = ask("put", [np.zeros(4, np.uint8)], **about)
        assert answer["have"] == 0  # not what was announced
        for odd in ("../x", ".lock", "a/b", "", "x" * 200, "a\nb"):
            with pytest.raises(UsageError):
                ask("place", key=key, files=[[odd, 4, "0" * 64]])
        for files in ([["a", -1, "0" * 64]], [["a", 4, "zz"]], [["a", 1 << 60, "0" * 64]]):
            with pytest.raises(UsageError):
                ask("place", key=key, files=files)


# Garbage


@pytest.fixture(scope="session")
def checked() -> Path:
    found = native_runner.built(checked=True)
    if found is None:
        pytest.skip("no g++ or make here")
    return found


def test_it_survives_any_bytes(checked: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    messages = [json.dumps(message).encode() + b"\n" for message in questions(rng, 12)]
    for number in range(60):
        if number % 3 == 0:
            content = rng.randbytes(rng.randrange(2000))
        else:
            content = b"".join(rng.choices(messages, k=6))
            content = (
                bytes(changed(content, rng)) if number % 3 == 1 else content[: -rng.randrange(40)]
            )
        done = subprocess.run(
            [checked, "--folder", tmp_path / "there"],
            input=content,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, (content, done.stderr[-2000:])
        assert b"anitizer" not in done.stderr
        assert GREETING.encode() in done.stdout


def changed(content: bytes, rng: random.Random) -> bytearray:
    found = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(found))
        found[at : at + rng.choice([0, 1, 1, 3])] = rng.randbytes(rng.choice([0, 1, 2]))
    return found


ODD = [None, True, -1, 0, 1, 2**31, 2**62, 1e300, -0.5, "", "x" * 3000, "\x00\ud800", [], [[]],
       {}, {"a": [1]}, "open", "worker", "../../etc/passwd", ["cpu"], [[1, 2, 3]]]  # fmt: skip


def questions(rng: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """Questions of an agent, in which some things are odd."""
    digest = "ab" * 32
    usual: list[dict[str, Any]] = [
        {"do": "hello"},
        {"do": "about", "packages": ["numpy"], "variables": ["HOME"], "root": "/"},
        {"do": "placements", "threads": 1},
        {"do": "claim", "token": "t", "owner": "o"},
        {"do": "place", "key": digest, "files": [["a", 10, digest]]},
        {"do": "put", "key": digest, "name": "a", "size": 10, "digest": digest, "offset": 0},
        {"do": "slot", "serves": "worker", "direct": False},
        {"do": "slot", "serves": "meter"},
        {"do": "tell", "of": 1, "request": {"do": "import", "subject": REFERENCE}},
        {"do": "heard", "of": 1, "asked": "import", "within_s": 5.0},
        {"do": "open", "slot": 1, "subject": REFERENCE, "cores": [0], "within_s": 5.0},
        {"do": "reload", "slot": 1, "subject": REFERENCE, "cores": [], "within_s": 5.0},
        {"do": "tensors", "slot": 1, "subject": file_like(digest), "within_s": 5.0},
        {"do": "open", "slot": 1, "subject": file_like(digest), "cores": [], "within_s": 5.0},
        {"do": "block", "slot": 1, "runs": 2, "reference": 1, "within_s": 5.0},
        {"do": "burst", "slot": 1, "seconds": 0.001, "within_s": 5.0},
        {"do": "memory", "slot": 1, "within_s": 5.0},
        {"do": "state", "slot": 1, "within_s": 5.0},
        {"do": "run", "slot": 1, "within_s": 5.0},
        {"do": "rounds", "turns": [[1, 1, 1, 5.0]]},
        {"do": "watch", "own": [1], "folder": None},
        {"do": "start"},
        {"do": "look", "now": True},
        {"do": "stop"},
        {"do": "conditions"},
        {"do": "release", "key": digest},
        {"do": "fate", "of": 1},
        {"do": "end", "of": 1},
    ]
    for _ in range(count):
        message = json.loads(json.dumps(rng.choice(usual)))
        for _ in range(rng.choice([0, 1, 1, 2])):
            odd(message, rng)
        message.pop("folder", None)  # it makes one wherever it is told
        yield message


def file_like(digest: str) -> dict[str, Any]:
    about = {
        "path": f"/nowhere/{digest}/a.onnx", "name": "a.onnx", "opener": "a:B",
        "runtime": "ONNX Runtime", "files": ["/nowhere/a.onnx"], "allowed": [100.0, 5.0],
        "threads": 1, "batch": None, "shapes": [["x", [1, 2]]], "inputs": None, "packages": [],
        "engines": [],
    }  # fmt: skip
    return {"loader": "edgekit.agent.files:File", "arguments": about}


def odd(message: Any, rng: random.Random) -> None:
    """Changes something in a message."""
    while isinstance(message, dict | list) and message:
        keys = list(message) if isinstance(message, dict) else list(range(len(message)))
        key = rng.choice(keys)
        if isinstance(message[key], dict | list) and message[key] and rng.random() < 0.7:
            message = message[key]
            continue
        if key == "within_s":
            return
        message[key] = rng.choice(ODD)
        return


def test_it_answers_odd_questions(checked: Path, tmp_path: Path) -> None:
    rng = random.Random(2)
    transport = Direct(checked, tmp_path / "there")
    device = Device("checked", transport)
    for _ in range(12):
        with closing(device.open()) as agent:
            agent.slot()
            for message in questions(rng, 40):
                content: list[Any] = []
                if rng.random() < 0.3:
                    content = [np.zeros(rng.choice([(0,), (3,), (2, 2), ()]), rng.choice("bBfd"))]
                with contextlib.suppress(EdgekitError, TypeError):
                    agent.ask(message.pop("do"), content, limit_s=20, **message)
                assert agent.usable, (message, transport.ended)
            assert agent.ask("hello")[0]["protocol"] == PROTOCOL
        assert not transport.ended


def test_arrays_that_are_none(checked: Path, tmp_path: Path) -> None:
    odd_arrays: list[Any] = [
        5, [5], [["<f4"]], [["<f4", [-1]]], [["<f4", [2**40]]], [["<f4", [2**33, 2**33]]],
        [["O", [1]]], [["<f4", [1] * 99]], [["|u1", [2**31 - 1]]], [["<f4", "x"]], [[1, [1]]],
    ]  # fmt: skip
    for about in odd_arrays:
        content = json.dumps({"do": "put", "arrays": about}).encode() + b"\nabc"
        done = subprocess.run(
            [checked, "--folder", tmp_path / "there"],
            input=content,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, (about, done.stderr[-2000:])
        assert len(done.stdout.splitlines()) == 1


def test_it_runs_files_with_checks(
    checked: Path, artifacts: Artifacts, tmp_path: Path, own_slots: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The libraries bring memory of their own, of which the checks know nothing."""
    monkeypatch.setenv("EDGEKIT_RUNTIME_MIB", "100000")
    monkeypatch.setenv("ASAN_OPTIONS", "detect_leaks=0:verify_asan_link_order=0")
    device = Device("checked", Direct(checked, tmp_path / "there", native_runner.libraries()))
    for target in ("tflite", "onnx"):
        opened = runner.open_file(
            registry.target(target), artifacts[target, "fp32"], 1, device=device
        )
        for seed in range(3):
            assert opened.run(arrays_for(opened.tensors()[0], seed))


# Other processors


@pytest.fixture(scope="session")
def emulated() -> Callable[[Path], Device]:
    board = native_runner.arm64_board()
    if board is None:
        pytest.skip("no arm64 userland here: make .arm64/stamp")
    program = native_runner.built(machine="aarch64")
    if program is None:
        pytest.skip(f"no {native_runner.CROSS} here")
    root = board / "root"
    before = [str(board / "qemu-aarch64"), "-cpu", "cortex-a72", "-L", str(root)]
    given = native_runner.libraries(root / "opt" / "site")
    return lambda folder: Device("arm", Direct(program, folder, given, before))


def test_outputs_of_arm64(
    emulated: Callable[[Path], Device],
    artifacts: Artifacts,
    integers: dict[str, Path],
    tmp_path: Path,
    own_slots: None,
) -> None:
    device = emulated(tmp_path / "there")
    for path, least_db in (
        (integers["tflite"], None),
        (integers["onnx"], None),
        (artifacts["tflite", "fp32"], 90.0),
        (artifacts["onnx", "fp32"], 90.0),
    ):
        target = registry.target_by_suffix(path.suffix)
        assert target is not None
        found = []
        for place in (HOST, device):
            opened = runner.open_file(target, path, 1, device=place)
            found.append(opened.run(arrays_for(opened.tensors()[0])))
        for here, there in zip(*found, strict=True):
            if least_db is None:
                assert np.array_equal(here, there), path
            else:
                noise = np.linalg.norm(here - there) + 1e-12
                assert 20 * np.log10(np.linalg.norm(here) / noise) > least_db, path


def test_times_of_an_emulated_processor_are_marked(
    emulated: Callable[[Path], Device], integers: dict[str, Path], tmp_path: Path
) -> None:
    path = integers["tflite"]
    (one,) = profile(
        [path], Effort(1.0, 0.9), device=emulated(tmp_path / "there"), energy="off"
    ).measurements
    assert one.environment["emulated"] is True
    assert any("emulated" in reason for reason in one.reasons)


# How it is built


def test_make_native_says_what_it_is(program: Path) -> None:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("edgekit-runner ")
    assert f"protocol {PROTOCOL}" in done.stdout
    odd_words = subprocess.run([program, "--nothing"], capture_output=True, text=True)
    assert odd_words.returncode == 2
    assert "usage:" in odd_words.stderr


def test_it_needs_nothing_but_the_c_library(program: Path) -> None:
    if shutil.which("ldd") is None:
        pytest.skip("no ldd here")
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    assert "libstdc++" not in done.stdout


def test_names_of_files(agent: Agent) -> None:
    for name, taken in NAMES.items():
        about = [[name, 1, "0" * 64]]
        if taken:
            assert agent.ask("place", key="0" * 64, files=about)[0]["have"] == [0]
        elif name[0] == "." or len(name.encode()) > 120 or {*name} & {*"\n\x7f\\"}:
            with pytest.raises(UsageError, match="cannot be the name of a file on the device"):
                agent.ask("place", key="0" * 64, files=about)
