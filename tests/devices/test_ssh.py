"""Devices behind SSH: an in-process server, and the system's own client."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncssh
import numpy as np
import pytest
from sent_names import NAMES
from small_artifacts import Artifacts
from ssh_server import PYTHON, SshServer

from edgekit import registry
from edgekit.agent.store import Store
from edgekit.devices import runner
from edgekit.devices.check import check_device
from edgekit.devices.device import HOST, Device
from edgekit.devices.profiles import transport_of
from edgekit.devices.transports import ssh
from edgekit.errors import InputError, UnavailableError, UsageError
from edgekit.measure.profiling import profile
from edgekit.measure.session import Effort
from edgekit.search.timing import Timer

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh here")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshServer]:
    found = SshServer(tmp_path)
    found.install(monkeypatch)
    yield found
    found.close()


def device_of(server: SshServer, python: str = PYTHON) -> Device:
    return Device("pi", transport_of(server.address, python))


@pytest.fixture
def device(server: SshServer) -> Device:
    return device_of(server)


def test_an_agent_is_sent_once(server: SshServer, device: Device) -> None:
    for _ in range(2):
        agent = device.open()
        assert agent.ask("hello")[0]["python"]
        agent.close()
    (sent,) = server.home.rglob("agent-*.pyz")
    assert server.commands[0] == server.commands[1]
    assert PYTHON in server.commands[0]
    sent.write_bytes(b"damaged")
    agent = device.open()
    assert agent.ask("hello")[0]["pid"]
    agent.close()


def test_files_run_there_as_here(
    artifacts: Artifacts, device: Device, server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SLOTS", {})
    for name in ("onnx", "tflite", "openvino"):
        path, target = artifacts[name, "fp32"], registry.target(name)
        found = []
        for place in (HOST, device):
            opened = runner.open_file(target, path, 1, device=place)
            rng = np.random.default_rng(0)
            given = [rng.standard_normal(s.shape, np.float32) for s in opened.tensors()[0]]
            found.append(opened.run(given))
        assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    kept = {path.name for path in (server.home / ".cache" / "edgekit" / "files").rglob("*.*")}
    assert {path.name for path in map(Path, kept)} > {artifacts["tflite", "fp32"].name}
    for slots in runner._SLOTS.values():
        slots.close()


def test_files_are_measured_there(artifacts: Artifacts, device: Device) -> None:
    paths = [artifacts["tflite", "fp32"], artifacts["onnx", "fp32"]]
    found = profile(paths, Effort(1.0, 0.5), device=device, operators=True, energy="off")
    assert [m.device for m in found.measurements] == ["pi", "pi"]
    assert all(m.blocks and m.operators for m in found.measurements)
    assert found.measurements[0].artifact == str(paths[0])
    assert not found.failures


def test_a_file_that_shrinks_while_it_is_sent(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.bin"
    path.write_bytes(b"x" * 200_000)
    with closing(device.open()) as agent:
        ask = agent.ask

        def shrinking(do: str, *more: Any, **arguments: Any) -> Any:
            if do == "put":
                path.write_bytes(b"")
            return ask(do, *more, **arguments)

        agent.ask = shrinking  # type: ignore[method-assign]
        monkeypatch.setattr("edgekit.devices.device._CHUNK_BYTES", 50_000)
        with pytest.raises(InputError, match="was changed while it was sent"):
            device.place(agent, [path])


def test_the_same_inputs_are_sent_once(device: Device, tmp_path: Path) -> None:
    arrays = [np.arange(4.0)]
    with closing(device.open()) as agent:
        first = device.place_arrays(agent, arrays, tmp_path)
        assert device.place_arrays(agent, arrays, tmp_path) == first
        assert device.place_arrays(agent, [np.arange(5.0)], tmp_path) != first


def test_parts_that_were_timed_may_go(artifacts: Artifacts, device: Device) -> None:
    reference, part = artifacts["tflite", "fp32"], artifacts["tflite", "fp16"]
    timer = Timer(registry.target("tflite"), reference, 1, device=device)
    with closing(timer):
        assert min(timer.time(part)) > 0
        first = timer._part
        assert min(timer.time(reference)) > 0
        lock = os.open(Path(first[0]).parent / ".lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(lock)


def test_a_folder_for_the_agent_that_others_may_write_to_is_not_used(
    server: SshServer, device: Device
) -> None:
    device.open().close()
    (sent,) = server.home.rglob("agent-*.pyz")
    folder = sent.parent
    inode = sent.stat().st_ino
    folder.chmod(0o777)
    temporary = server.home / "tmp"
    temporary.mkdir()
    server.shell = f"TMPDIR={temporary}; export TMPDIR; "
    device.open().close()
    assert sent.stat().st_ino == inode
    assert len(list(temporary.rglob("agent-*.pyz"))) == 1


def test_one_at_a_time_measures(artifacts: Artifacts, device: Device) -> None:
    other = device.open()
    other.ask("claim", token="0" * 32, owner="somebody@elsewhere")
    with pytest.raises(UnavailableError, match="somebody@elsewhere measures there"):
        profile([artifacts["tflite", "fp32"]], Effort(1.0), device=device, energy="off")
    other.close()
    profile([artifacts["tflite", "fp32"]], Effort(1.0, 0.5), device=device, energy="off")


def refused(device: Device, words: str) -> None:
    begin_s = time.monotonic()
    with pytest.raises(UnavailableError, match=words):
        device.open()
    assert time.monotonic() - begin_s < 30


def test_a_key_that_is_refused(server: SshServer, device: Device, tmp_path: Path) -> None:
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(tmp_path / "key"))
    (tmp_path / "key").chmod(0o600)
    refused(device, "refuses the keys that it was offered, or wants a password")


def test_a_host_key_that_is_not_known(device: Device, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("")
    refused(device, "host key of ssh://.* is not known here: connect once")


def test_a_host_key_that_has_changed(server: SshServer, device: Device) -> None:
    server.know(asyncssh.generate_private_key("ssh-ed25519"))
    refused(device, "host key of ssh://.* has changed")


def test_a_host_that_is_not_there(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(Device("x", transport_of("ssh://127.0.0.1:1")), "takes no SSH connections")
    refused(Device("x", transport_of("ssh://no-such-host.invalid")), "no host of the name")


def test_a_device_without_python(server: SshServer) -> None:
    refused(device_of(server, "/no/such/python"), "has no Python called /no/such/python")


def test_a_python_that_is_too_old(server: SshServer, tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    old.write_text(
        f"#!/bin/sh\nexec {PYTHON} -c 'import sys; sys.version_info = (3, 7, 2)\n"
        f'exec(sys.argv[1])\' "$2"\n'
    )
    old.chmod(0o755)
    refused(device_of(server, str(old)), "has Python 3.7 as .*: expected Python 3.8 or later")


def test_a_device_without_numpy_is_told_what_to_install(
    server: SshServer, artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SLOTS", {})
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {PYTHON} -S "$@"\n')
    bare.chmod(0o755)
    device = device_of(server, str(bare))
    with pytest.raises(UnavailableError, match="needs the package 'numpy', which is not installed"):
        runner.open_file(registry.target("onnx"), artifacts["onnx", "fp32"], 1, device=device)
    checked = check_device(device, noise_s=0.1)
    assert checked.to_install is not None
    assert "-m pip install numpy " in checked.to_install
    assert checked.spread is None
    for slots in runner._SLOTS.values():
        slots.close()


@pytest.mark.parametrize(
    ("code", "told", "words"),
    [
        (126, "sh: 1: exec: /home/pi/py: Permission denied", "has no Python called"),
        (65, "/tmp/x: Permission denied", "has no folder for the agent"),
        (255, "a@b: Permission denied (publickey).", "refuses the keys"),
        (1, "Connection reset by peer in a program", "has ended: Connection reset"),
    ],
)
def test_what_ssh_says_is_told_from_what_the_device_says(code: int, told: str, words: str) -> None:
    assert words in str(transport_of("ssh://host").explain(code, told))


def test_what_a_login_prints_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SshServer(tmp_path, shell="echo Welcome; echo; echo '{\"a\": 1}'; ")
    server.install(monkeypatch)
    agent = device_of(server).open()
    assert agent.ask("hello")[0]["pid"]
    agent.close()
    server.close()


def test_a_device_that_answers_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SshServer(tmp_path, shell="yes garbage; ")
    server.install(monkeypatch)
    refused(device_of(server), "answers with something else than Python")
    server.close()


def test_a_connection_that_is_cut_is_an_error(
    artifacts: Artifacts, server: SshServer, device: Device
) -> None:
    agent = device.open()
    server.cut()

    def asked() -> None:
        for _ in range(100):
            agent.ask("hello")
            time.sleep(0.1)

    with pytest.raises(UnavailableError, match="connection to ssh://"):
        asked()


@pytest.mark.parametrize(
    "address",
    [
        "ssh://", "ssh://-oProxyCommand=x", "ssh://a b", "ssh://host;reboot", "ssh://$(x)",
        "ssh://user@", "ssh://host:99999", "ssh://host/path", "ssh://us er@host", "ssh://host\n",
        "telnet:x", "ssh", "", "adb:;x", "adb:-s",
    ],
)  # fmt: skip
def test_hostile_addresses_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a"):
        transport_of(address)


@pytest.mark.parametrize("python", ["-c", "python;reboot", "a b", "$(x)", "`x`", "a'b", "a\nb", ""])
def test_hostile_interpreters_are_refused(python: str) -> None:
    with pytest.raises(UsageError, match="expected a name or a path"):
        transport_of("ssh://host", python)


def test_a_file_that_no_runtime_can_read_is_named_as_here(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SLOTS", {})
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"\x00\x00\x00\x00TFL3" + b"nothing" * 9)
    with pytest.raises(InputError, match=rf"{path}") as caught:
        runner.open_file(registry.target("tflite"), path, 1, device=device)
    assert ".cache" not in str(caught.value)
    for slots in runner._SLOTS.values():
        slots.close()


@pytest.mark.parametrize(
    "option",
    [
        ("RemoteCommand", "tmux attach"),
        ("LocalForward", "127.0.0.1:1 127.0.0.1:1"),
        ("SessionType", "none"),
        ("StdinNull", "yes"),
        ("RequestTTY", "force"),
    ],
    ids=lambda option: option[0],
)
def test_what_a_configuration_sets_for_people_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, str]
) -> None:
    newer = option[0] in ("SessionType", "StdinNull")
    if newer and "StdinNull" not in ssh._newer_options(os.environ["PATH"]):
        pytest.skip("an ssh that does not know it")
    server = SshServer(tmp_path)
    server.install(monkeypatch, **dict([option]), ExitOnForwardFailure="yes")
    try:
        with closing(device_of(server).open()) as agent:
            assert agent.ask("hello")[0]["pid"]
    finally:
        server.close()


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ("OpenSSH_7.4p1, OpenSSL 1.0.2k", set()),
        ("OpenSSH_8.0p1 Debian", {"RemoteCommand"}),
        ("OpenSSH_for_Windows_8.6p1", {"RemoteCommand"}),
        (
            "OpenSSH_10.0p2",
            {"RemoteCommand", "SessionType", "StdinNull", "ForkAfterAuthentication"},
        ),
        ("something else", set()),
    ],
)
def test_an_older_ssh_gets_no_option_that_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, known: set[str]
) -> None:
    (tmp_path / "ssh").write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert {*ssh._newer_options(os.environ["PATH"])} == known


def test_a_folder_for_sockets_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tempfile.mkdtemp(prefix="ek", dir="/tmp")
    monkeypatch.setattr(tempfile, "tempdir", shared)
    (tmp_path / "file").write_text("")
    for bad in ("/proc/self", str(tmp_path / "file"), str(tmp_path / "none"), "relative"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", bad)
        assert ssh._sockets().parent == Path(shared)
    shutil.rmtree(shared)


@pytest.mark.parametrize(("name", "taken"), NAMES.items())
def test_names_of_files(tmp_path: Path, name: str, taken: bool) -> None:
    store, path = Store(tmp_path / "store"), tmp_path / name
    (tmp_path / "store").mkdir()
    found = Device("pi", transport_of("ssh://no-such-host.invalid"))
    about = [(name, 1, "0" * 64)]
    if taken:
        found.check_names([path])
        assert store.place("0" * 64, about)["have"] == [0]
        store.close()
        return
    with pytest.raises(InputError, match=r"cannot be sent to ssh://.*: it .*; rename the file"):
        found.check_names([path])
    with pytest.raises(UsageError, match=r"cannot be the name of a file.*: it .*; rename the file"):
        store.place("0" * 64, about)


def test_a_name_is_refused_before_the_device_is_reached(
    artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_SLOTS", {})
    path = tmp_path / ".hidden.onnx"
    shutil.copy(artifacts["onnx", "fp32"], path)
    gone = Device("pi", transport_of("ssh://no-such-host.invalid"))
    with pytest.raises(InputError, match="begins with a dot; rename the file"):
        runner.open_file(registry.target("onnx"), path, 1, device=gone)
    with pytest.raises(InputError, match="begins with a dot; rename the file"):
        profile([path], Effort(1.0), device=gone, energy="off")
