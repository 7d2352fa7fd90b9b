"""An SSH server in this process, and the system's ``ssh`` set up to reach it, and it alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh

Handler = Callable[[Any], Any]


class SshServer:
    """Runs commands as a device's shell does.

    Args:
        folder: for keys and configuration.
        shell: prefix of every command line, to change what a login there prints or finds.

    Attributes:
        address: ``ssh://...`` of it.
        commands: that were run.
        environment: of what is run, in addition.
        pids: of what was run; each leads a group of processes.
    """

    def __init__(self, folder: Path, shell: str = "") -> None:
        self._folder, self.shell = folder, shell
        self.commands: list[str] = []
        self.environment: dict[str, str] = {}
        self.pids: list[int] = []
        self._connections: list[Any] = []
        self.home = folder / "device-home"
        self.home.mkdir()
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self._key.write_private_key(str(folder / "key"))
        (folder / "key").chmod(0o600)
        (folder / "authorized").write_bytes(self._key.export_public_key())
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(30)
        self.address = f"ssh://tester@127.0.0.1:{self.port}"
        self.know(self._host_key)

    def know(self, key: Any, port: int | None = None) -> None:
        """Makes a host key the one that is expected of it, or of what stands before it."""
        public = key.export_public_key().decode()
        (self._folder / "known").write_text(f"[127.0.0.1]:{port or self.port} {public}")

    def behind(self, port: int) -> str:
        """Lets something stand before it on this machine; gives the address."""
        self.know(self._host_key, port)
        return f"ssh://tester@127.0.0.1:{port}"

    def install(self, patch: Any, **options: str) -> None:
        """Makes ``ssh`` of the path the system's own with a configuration of the test's.

        Args:
            options: of ssh_config, in addition.
        """
        lines = {
            "IdentityFile": f"{self._folder}/key",
            "UserKnownHostsFile": f"{self._folder}/known",
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            **options,
        }
        text = "Host *\n" + "".join(f"  {name} {value}\n" for name, value in lines.items())
        (self._folder / "config").write_text(text)
        bin_ = self._folder / "bin"
        bin_.mkdir(exist_ok=True)
        ssh = next(
            path
            for folder in os.environ["PATH"].split(os.pathsep)
            if (path := Path(folder, "ssh")).exists() and Path(folder) != bin_
        )
        (bin_ / "ssh").write_text(f'#!/bin/sh\nexec {ssh} -F {self._folder}/config "$@"\n')
        (bin_ / "ssh").chmod(0o755)
        patch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
        self._sockets = tempfile.TemporaryDirectory(prefix="ek", dir="/tmp")  # short, for sockets
        patch.setenv("XDG_RUNTIME_DIR", self._sockets.name)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[self._host_key],
            authorized_client_keys=str(self._folder / "authorized"),
            process_factory=self._serve,
            encoding=None,
        )
        self.port = self._server.get_port()

    async def _serve(self, process: Any) -> None:
        self.commands.append(process.command)
        self._connections.append(process.channel.get_connection())
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "XDG_CACHE_HOME": "",
            "EDGEKIT_CLAIMS": str(self.home / "claims"),  # other tests measure on this machine, too
            **self.environment,
        }
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            self.shell + process.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=str(self.home),
            start_new_session=True,
        )
        self.pids.append(child.pid)
        feeding = asyncio.ensure_future(_pump(process.stdin, child.stdin))
        await asyncio.gather(
            _pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr)
        )
        code = await child.wait()
        feeding.cancel()
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)

    def kill(self) -> None:
        """Ends all that runs there, as `kill -9` or a power cut does."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def slots(self) -> list[int]:
        """Processes that agents have started there."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[1]) in self.pids:
                    found.append(int(stat.parent.name))
        return found

    def cut(self) -> None:
        """Closes all connections as a device does that is switched off."""
        for connection in self._connections:
            self._loop.call_soon_threadsafe(connection.abort)

    def close(self) -> None:
        """Ends the server and what runs there."""
        self.kill()

        async def end() -> None:
            self._server.close()
            for connection in self._connections:
                connection.abort()
            await self._server.wait_closed()
            own = asyncio.current_task()
            tasks = [task for task in asyncio.all_tasks() if task is not own]
            if tasks:  # of processes that have just ended
                _, tasks = map(list, await asyncio.wait(tasks, timeout=3))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()


async def _pump(source: Any, sink: Any) -> None:
    """Passes bytes on to their end; whoever has gone gets none."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while content := await source.read(1 << 16):
            sink.write(content)
            await sink.drain()
    with contextlib.suppress(OSError, asyncssh.Error):
        if isinstance(sink, asyncio.StreamWriter):
            sink.close()


PYTHON = sys.executable
