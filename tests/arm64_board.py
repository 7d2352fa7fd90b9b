"""An arm64 board on a machine of another kind: Debian's userland with an SSH server, under QEMU.

``python tests/arm64_board.py FOLDER`` makes the userland (FOLDER/root) with Python, NumPy and all
runtimes, libraries to link programs for it with (FOLDER/libraries), and the emulator
(FOLDER/qemu-aarch64), of packages of Debian and of wheels; nothing of this machine is changed, and
no rights of root are needed. ``... FOLDER start`` runs it until Enter
is pressed and says how to reach it. What it computes is what a processor of that kind computes;
how long it takes means nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "python3", "openssh-server", "coreutils", "procps", "grep", "dash",
    "libstdc++6", "libgomp1",  # of the wheels
)  # fmt: skip
WHEELS = ("numpy", "ai-edge-litert", "onnxruntime", "openvino")
LIBRARIES = (
    "libpng-dev", "libpng16-16", "libjpeg62-turbo-dev", "libjpeg62-turbo", "zlib1g-dev", "zlib1g",
)  # fmt: skip
SITE = "opt/site"
"""Folder of the wheels in the userland."""

PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (36, 35, 34, 31, 28, 27, 26, 24, 17)]
"""Of wheels that run with the C library of a Debian since bookworm."""

OLDEST_QEMU = 8
"""Bookworm's own, 7.2, crashes in the runtimes."""

MOST_MIB = 2000
"""What is taken on the disk, downloads included."""

CPU = "cortex-a72"
"""Of a Raspberry Pi 4: no dot products of integers."""


class NoBoardError(Exception):
    """Why there is no board here."""


# What makes it


def make(folder: Path) -> None:
    """Makes emulator and userland.

    Raises:
        NoBoardError: they cannot be had here.
    """
    system, folder = _system(), folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free >> 20) < MOST_MIB:
        raise NoBoardError(f"{folder} has {free} MiB left: expected {MOST_MIB}")
    with tempfile.TemporaryDirectory(prefix="part-", dir=folder) as name:
        part = Path(name)
        qemu = _emulator(part, system)
        _userland(part, system, qemu)
        for made in ("root", "libraries"):
            if (folder / made).exists():
                (folder / made).rename(part / f"old-{made}")
            (part / made).rename(folder / made)
        qemu.replace(folder / "qemu-aarch64")  # an old one may be running


def _system() -> dict[str, str]:
    """What is told of the system in os-release.

    Raises:
        NoBoardError: it is not one whose packages can be taken.
    """
    if platform.machine() == "aarch64":
        raise NoBoardError("this machine is an arm64 one by itself")
    about = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    if about.get("ID") != "debian" or not shutil.which("apt-get"):
        raise NoBoardError("the userland is made of Debian's packages, on a Debian only")
    return about


def _emulator(part: Path, system: dict[str, str]) -> Path:
    suites = [system["VERSION_CODENAME"], f"{system['VERSION_CODENAME']}-backports"]
    own = _run("dpkg", "--print-architecture").strip()
    apt = _Apt(part / "host", own, suites)
    for options in (["-t", suites[1]], []):
        with contextlib.suppress(NoBoardError):
            apt("download", "qemu-user", *options, cwd=part)
            break
    archives = list(part.glob("qemu-user*.deb"))
    if not archives:
        raise NoBoardError("there is no package qemu-user")
    _unpack(archives, part / "emulator")
    found = part / "emulator/usr/bin/qemu-aarch64"
    version = _run(str(found), "--version").split()[2]
    if int(version.partition(".")[0]) < OLDEST_QEMU:
        raise NoBoardError(f"QEMU is {version}: expected {OLDEST_QEMU} or later")
    return found


def _userland(part: Path, system: dict[str, str], qemu: Path) -> None:
    root = part / "root"
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    apt = _Apt(part / "arm64", "arm64", [system["VERSION_CODENAME"]])
    apt("install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES)
    _unpack(apt.archives(), root)
    (part / "archives").mkdir()
    apt("download", *LIBRARIES, cwd=part / "archives")
    _unpack(sorted((part / "archives").glob("*.deb")), part / "libraries")
    if not (root / "bin/sh").exists():
        (root / "bin/sh").symlink_to("dash")
    for name in ("proc", "sys", "dev", "run", "tmp", "root", "mnt"):
        (root / name).mkdir(exist_ok=True)
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534:sshd:/run/sshd:/usr/sbin/nologin\n"
    )
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    version = (root / "usr/bin/python3").readlink().name.removeprefix("python")
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    _run(
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--target", str(root / SITE), "--python-version", version, "--only-binary=:all:",
        *platforms, "-c", str(ROOT / "constraints.txt"), *WHEELS,
    )  # fmt: skip
    packages = root / "usr/lib/python3/dist-packages"
    packages.mkdir(parents=True, exist_ok=True)
    (packages / "site.pth").write_text(f"/{SITE}\n")
    python = root / "usr/bin" / f"python{version}"
    told = _run(str(qemu), "-L", str(root), str(python), "-c", _TRIAL)
    if told.strip() != "aarch64":
        raise NoBoardError(f"the userland's Python says {told!r} for its machine")


_TRIAL = """
import os, numpy, onnxruntime, openvino, ai_edge_litert.interpreter
print(os.uname().machine)
"""


class _Apt:
    """``apt-get`` with settings, lists and archives of its own, to which nothing is installed."""

    def __init__(self, folder: Path, architecture: str, suites: Sequence[str]) -> None:
        for name in (
            "lists/partial",
            "cache/archives/partial",
            "etc/apt.conf.d",
            "etc/preferences.d",
        ):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        uri, key = _archive(suites[0])
        sources = [f"deb [arch={architecture}{key}] {uri} {suite} main\n" for suite in suites]
        (folder / "sources.list").write_text("".join(sources))
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": pwd.getpwuid(os.geteuid()).pw_name,
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Dir::Cache": f"{folder}/cache",
            "Dir::Etc::sourcelist": f"{folder}/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferencesparts": f"{folder}/etc/preferences.d",
            "Dir::State": f"{folder}",
            "Dir::State::status": f"{folder}/status",
        }
        self._words = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        self._folder = folder
        self("update")

    def __call__(self, *words: str, cwd: Path | None = None) -> None:
        _run("apt-get", "--quiet=2", *self._words, *words, cwd=cwd)

    def archives(self) -> list[Path]:
        return sorted((self._folder / "cache/archives").glob("*.deb"))


def _archive(suite: str) -> tuple[str, str]:
    """Where this machine has its packages from, and the option that names the key of that."""
    told = _run(
        "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    )  # fmt: skip
    entries = [line.split() for line in told.splitlines()]
    found = [entry[0] for entry in entries if entry[1:] == [suite, "main"]]
    if not found:
        raise NoBoardError(f"apt knows no source of {suite}")
    key = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    return found[0], f" signed-by={key}" if key.exists() else ""


def _unpack(archives: Sequence[Path], folder: Path) -> None:
    """Unpacks packages, without what their scripts do; links of folders stay links."""
    folder.mkdir(exist_ok=True)
    tar = ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", str(folder)]
    for archive in archives:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE
        ) as opened:
            subprocess.run(tar, stdin=opened.stdout, check=True)


def _run(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise NoBoardError(
            f"{Path(words[0]).name} failed: {lines[-1] if lines else done.returncode}"
        )
    return done.stdout


# What runs it

# In namespaces of its own: what is mounted, registered and started here ends with them. This shell
# is their first process, and ends when its input does: with the one that started it.
_INSIDE = """
set -e
read ready
cd "$1"
mount -t proc proc proc
for name in sys dev; do mount --rbind /$name $name; done
for name in root run tmp; do mount -t tmpfs -o mode=0755 tmpfs $name; done
chmod 1777 tmp
mkdir -p run/sshd
mount --bind "$2" mnt
mount -t binfmt_misc binfmt_misc proc/sys/fs/binfmt_misc
printf '%s' "$3" > proc/sys/fs/binfmt_misc/register
shift 3
trap 'exit 1' TERM
{ chroot . "$@" < /dev/null; kill -TERM $$; } &
read ended
"""

# Kernel, Documentation/admin-guide/binfmt-misc.rst: the head of an ELF file of 64 bits for AArch64;
# O, C and F: the file is opened, and the emulator too, before the root changes.
_HEAD = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

_SSHD = """
ListenAddress 127.0.0.1:{port}
HostKey /mnt/host
AuthorizedKeysFile /mnt/key.pub
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
UsePAM no
PidFile none
LogLevel ERROR
SetEnv QEMU_CPU={cpu}
"""


def inside(
    made: Path, words: Sequence[str], shared: Path, variables: Mapping[str, str], **streams: Any
) -> subprocess.Popen[bytes]:
    """Runs a program of the userland, which ends with all that it started when its input ends.

    Args:
        made: folder of `make`.
        shared: folder of this machine that it finds as /mnt.
        variables: of its environment; ``QEMU_CPU`` names the processor.
        streams: ``stdout`` and ``stderr``.

    Raises:
        NoBoardError: nothing can be run here.
    """
    _check_usable(made)
    made = made.resolve()
    register = f":aarch64:M::{_HEAD}:{_MASK}:{made / 'qemu-aarch64'}:OCF"
    spaces = ["--user", "--mount", "--pid", "--fork", "--kill-child"]
    process = subprocess.Popen(
        [
            "unshare",
            *spaces,
            "sh",
            "-c",
            _INSIDE,
            "inside",
            made / "root",
            shared,
            register,
            *words,
        ],
        stdin=subprocess.PIPE,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **variables},
        start_new_session=True,
        **streams,
    )
    assert process.stdin is not None
    try:
        _map_users(process.pid)
    except BaseException:
        process.kill()
        process.wait()
        raise
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"go\n")
        process.stdin.flush()
    return process


class Board:
    """An emulated board with an SSH server on this machine's loopback, which ends with the object.

    Args:
        made: folder of `make`.
        cpu: as QEMU names it.

    Attributes:
        address: ``ssh://...`` of it.

    Raises:
        NoBoardError: there is none here.
    """

    def __init__(self, made: Path, cpu: str = CPU) -> None:
        _check_usable(made, "ssh", "ssh-keygen")
        self._folder = tempfile.TemporaryDirectory(prefix="ek", dir="/tmp")
        folder = Path(self._folder.name)
        for name in ("key", "host"):
            _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (folder / "sshd").write_text(_SSHD.format(port=port, cpu=cpu))
        public = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[127.0.0.1]:{port} {public}")
        self.address = f"ssh://root@127.0.0.1:{port}"
        self._log = (folder / "log").open("w+b")
        try:
            self._process = inside(
                made,
                ["/usr/sbin/sshd", "-D", "-e", "-f", "/mnt/sshd"],
                folder,
                {"QEMU_CPU": cpu},
                stdout=self._log,
                stderr=self._log,
            )
            self._wait(port)
        except BaseException:
            self.close()
            raise

    def _wait(self, port: int) -> None:
        end_s = time.monotonic() + 60
        while self._process.poll() is None and time.monotonic() < end_s:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), 20) as made,
            ):
                if made.recv(4) == b"SSH-":
                    return
            time.sleep(0.1)
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        raise NoBoardError(f"its SSH server does not start: {lines[-1] if lines else 'no answer'}")

    def install(self, patch: Any) -> None:
        """Makes ``ssh`` of the path the system's own with a configuration of the board's."""
        folder = Path(self._folder.name)
        lines = {
            "IdentityFile": f"{folder}/key",
            "UserKnownHostsFile": f"{folder}/known",
            "GlobalKnownHostsFile": "/dev/null",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
        }
        text = "Host *\n" + "".join(f"  {name} {value}\n" for name, value in lines.items())
        (folder / "config").write_text(text)
        (folder / "bin").mkdir(exist_ok=True)
        ssh = folder / "bin/ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        ssh.chmod(0o755)
        patch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("XDG_RUNTIME_DIR", f"{folder}")  # for sockets, whose paths must be short

    def close(self) -> None:
        """Ends it, with all that runs there: that is below the first process of its namespace."""
        if hasattr(self, "_process"):
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _check_usable(made: Path, *programs: str) -> None:
    """Refuses where nothing can be run."""
    for name in ("root", "qemu-aarch64"):
        if not (made / name).exists():
            raise NoBoardError(
                f"there is no {made / name}: 'make .arm64/stamp' makes it on a Debian"
            )
    for program in ("unshare", *programs):
        if shutil.which(program) is None:
            raise NoBoardError(f"there is no '{program}' here")


def _map_users(pid: int) -> None:
    """Gives a process of a new namespace all users, which an SSH server needs for its own one."""
    own = Path(f"/proc/{pid}/ns/user")
    end_s = time.monotonic() + 10
    while own.readlink() == Path("/proc/self/ns/user").readlink():
        if time.monotonic() > end_s:
            raise NoBoardError("this system gives no namespaces of users")
        time.sleep(0.01)
    ids = {"uid": os.geteuid(), "gid": os.getegid()}
    for kind, number in ids.items():
        if ids["uid"] == 0:
            try:
                Path(f"/proc/{pid}/{kind}_map").write_text("0 0 65536")
            except OSError as error:
                raise NoBoardError(
                    f"namespaces of users take no users: {error.strerror}"
                ) from error
            continue
        user = pwd.getpwuid(ids["uid"]).pw_name
        ranges = Path(f"/etc/sub{kind}")
        lines = ranges.read_text().splitlines() if ranges.exists() else []
        first = next((one.split(":")[1] for one in lines if one.startswith(f"{user}:")), None)
        if first is None or shutil.which(f"new{kind}map") is None:
            raise NoBoardError(f"{user} is not root, and has no users of its own in {ranges}")
        _run(f"new{kind}map", str(pid), "0", str(number), "1", "1", first, "65535")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("do", nargs="?", choices=("make", "start"), default="make")
    parser.add_argument("--cpu", default=CPU, help="as QEMU names it")
    chosen = parser.parse_args()
    try:
        if chosen.do == "make":
            make(chosen.folder)
            return
        with Board(chosen.folder, chosen.cpu) as started:
            print(f"{started.address} with the configuration {started._folder.name}/config")
            input("Enter ends it. ")
    except NoBoardError as reason:
        sys.exit(f"no arm64 board: {reason}")


if __name__ == "__main__":
    main()
