"""Runs a command whose processes get no internet socket, and notes who asked for one.

``python socket_watch.py NOTES COMMAND ...``: a filter of system calls (seccomp(2)) sends each
socket(2) for IPv4 or IPv6, by whichever process the command starts, to this one. It appends a line
of JSON to NOTES and answers that permission is denied. Names are looked up over such sockets, too.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
import sys
from pathlib import Path

UNAVAILABLE = 77

# linux/audit.h: the architecture; asm/unistd.h: numbers of socket(2) and seccomp(2).
MACHINES = {"x86_64": (0xC000003E, 41, 317), "aarch64": (0xC00000B7, 198, 277)}

# linux/prctl.h, linux/seccomp.h
PR_SET_NO_NEW_PRIVS, SET_MODE_FILTER, NEW_LISTENER = 38, 1, 1 << 3
NOTIFY, ALLOW = 0x7FC00000, 0x7FFF0000
RECEIVE, ANSWER = 0xC0502100, 0xC0182101
CALL = struct.Struct("QIIiIQ6Q")  # id, pid, flags; number, architecture, instruction, arguments
REPLY = struct.Struct("QqiI")

# linux/bpf_common.h: load a word of seccomp_data, jump if equal, return.
LOAD, JUMP, RETURN = 0x20, 0x15, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16


def install() -> int:
    """Puts the filter on this process and all that it starts; gives what hears of the calls."""
    architecture, number, seccomp = MACHINES[platform.machine()]
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP, 0, 6, architecture),
        (LOAD, 0, 0, NUMBER),
        (JUMP, 0, 4, number),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (JUMP, 1, 0, socket.AF_INET),
        (JUMP, 0, 1, socket.AF_INET6),
        (RETURN, 0, 0, NOTIFY),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = int(library.syscall(seccomp, SET_MODE_FILTER, NEW_LISTENER, program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "no filter of system calls can be set")
    return listener


def answer(listener: int, notes: Path) -> None:
    """Denies one call, and notes it."""
    call = bytearray(CALL.size)
    try:
        fcntl.ioctl(listener, RECEIVE, call)
    except FileNotFoundError:  # the process that asked is gone
        return
    number, pid, _, _, _, _, family, *_ = CALL.unpack(call)
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        command = []
    with notes.open("a") as file:
        file.write(json.dumps({"family": family, "command": command[:-1]}) + "\n")
    fcntl.ioctl(listener, ANSWER, REPLY.pack(number, 0, -errno.EACCES, 0))


def main(notes: Path, command: list[str]) -> int:
    """Runs the command; gives its exit status."""
    if platform.machine() not in MACHINES:
        print(f"no numbers of system calls for {platform.machine()}", file=sys.stderr)
        return UNAVAILABLE
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            listener = install()
        except OSError as error:
            print(error, file=sys.stderr)
            os._exit(UNAVAILABLE)
        socket.send_fds(there, [b"."], [listener])
        os.close(listener)
        os.execv(command[0], command)
    there.close()
    received = socket.recv_fds(here, 1, 1)[1]
    poll = select.poll()
    for listener in received:
        poll.register(listener, select.POLLIN)
    while True:
        for listener, event in poll.poll(50):
            if event & select.POLLIN:
                answer(listener, notes)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
