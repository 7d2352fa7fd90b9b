"""How an agent gets to a device: over the standard input of a Python that is there.

What is started there is one line that never changes (`COMMAND`): no name and no path passes
through a shell. Over its standard input it gets the rest: a program that keeps the agent in the
user's cache folder, by its digest, and asks for it where it is not there.
"""

from __future__ import annotations

import functools
import re
import time

from edgekit.agent.wire import Wire
from edgekit.devices.bundle import Bundle, bundle
from edgekit.devices.files import opener_of
from edgekit.errors import UnavailableError, UsageError
from edgekit.tables import TARGETS

OLDEST = (3, 8)
"""Of Python on a device."""

LINE = 'import os;exec(b"".join(iter(lambda:os.read(0,1),b"@")))'
"""What Python is told on its command line: to run what comes, up to an at sign."""

TOO_OLD, NO_FOLDER = 64, 65
"""Exit codes of the program."""

# Runs on any Python, to say which one it is. With -c, Python looks for modules first in the folder
# that it is started in: somebody's ~/random.py is not for the agent. Bytes are read one by one, or
# all that are left of a length: what comes behind them is for the agent.
_PROGRAM = f"""
import os, sys
if sys.version_info < {OLDEST}:
    sys.stderr.write("Python %d.%d" % sys.version_info[:2])
    sys.exit({TOO_OLD})
try:
    here = os.path.realpath("")
except OSError:
    here = ""
sys.path[:] = [p for p in sys.path if p and os.path.realpath(p) != here]
import hashlib, tempfile
def line():
    found = b""
    while not found.endswith(b"\\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        found += byte
    return found.split()
def right(path, digest):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == digest
    except OSError:
        return False
def folders():
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(cache):
        yield os.path.join(cache, "edgekit", "agents")
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        yield os.path.join(home, ".cache", "edgekit", "agents")
    yield os.path.join(tempfile.gettempdir(), "edgekit-agents-%d" % os.getuid())
def check(folder):
    about = os.lstat(folder)
    if about.st_uid != os.getuid() or about.st_mode & 0o022:
        raise OSError(0, "others may write to it", folder)
def kept(folder):
    try:
        check(folder)
        return right(os.path.join(folder, name), digest)
    except OSError:
        return False
digest, size = line()
digest, size = digest.decode(), int(size)
name = "agent-%s.pyz" % digest
known = [os.path.join(f, name) for f in folders() if kept(f)]
os.write(1, b"\\nedgekit-has %d\\n" % bool(known))
if not known:
    content = b""
    while len(content) < size:
        more = os.read(0, size - len(content))
        if not more:
            sys.exit(0)
        content += more
    why = ""
    for folder in folders():
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
            check(folder)
            descriptor, part = tempfile.mkstemp(dir=folder)
            made = os.path.join(folder, name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                os.replace(part, made)
            except OSError:
                os.unlink(part)
                raise
            for other in os.listdir(folder):
                if other != name and other.startswith("agent-"):
                    path = os.path.join(folder, other)
                    if os.stat(path).st_mtime < os.stat(made).st_mtime - {90 * 86400}:
                        os.unlink(path)
        except OSError as error:
            why = "%s: %s" % (folder, error.strerror)
            continue
        if kept(folder):
            known = [os.path.join(folder, name)]
            break
    if not known:
        sys.stderr.write(why or "the agent arrives otherwise than it was sent")
        sys.exit({NO_FOLDER})
sys.path.insert(0, known[0])
sys.argv = [known[0]]
from edgekit.agent.__main__ import main
main()
"""

_PYTHON = re.compile(r"[A-Za-z0-9_~./+=@%-][A-Za-z0-9_./+=@%-]*")
_SHELL_BYTES = 1 << 16
_HAS, _LACKS = b"edgekit-has 1", b"edgekit-has 0"
"""Whether the agent is there already."""


def command(python: str) -> str:
    """The line for the device's shell.

    Args:
        python: its interpreter: a name or a path, which may begin with ``~/``.

    Raises:
        UsageError: it has a sign that a shell may take for something else.
    """
    if _PYTHON.fullmatch(python) is None or python.startswith("-"):
        raise UsageError(
            f"python '{python}' of a device: expected a name or a path of letters, digits and "
            f"_ ~ . / + = @ % -, as in ~/venv/bin/python"
        )
    return f"exec {python} -c '{LINE}'"


def whole() -> Bundle:
    """The agent with what opens files of all targets."""
    targets, _ = TARGETS.load_all()
    return _bundled(tuple(sorted(opener_of(target) for target in targets.values())))


_bundled = functools.lru_cache(4)(bundle)


def introduce(wire: Wire, bundle: Bundle, where: str, limit_s: float) -> None:
    """Brings the agent to the Python that runs `LINE`, and starts it.

    Args:
        bundle: what is run there.
        where: the device, for people.
        limit_s: longest wait for an answer.

    Raises:
        Closed: it has ended.
        TimeoutError: it does not answer.
        UnavailableError: what answers is no Python.
    """
    assert "@" not in _PROGRAM
    end_s, read = time.monotonic() + limit_s, 0
    wire.write(f"{_PROGRAM}@{bundle.sha256} {len(bundle.content)}\n".encode("ascii"), end_s)
    while True:
        line = wire.line(end_s, _SHELL_BYTES)
        read += len(line) + 1
        if line in (_HAS, _LACKS):
            break
        if read > _SHELL_BYTES:
            raise UnavailableError(
                f"{where} answers with something else than Python: expected no output of its own "
                f"from what the login starts there"
            )
    if line == _LACKS:
        wire.write(bundle.content, end_s)


def explain(code: int, told: str, where: str, python: str) -> UnavailableError | None:
    """What to say where the program has ended; ``None`` where that was not its doing.

    Args:
        code: exit code.
        told: the last line that it printed.
        where: the device, for people.
        python: its interpreter.
    """
    if code == TOO_OLD:
        oldest = ".".join(map(str, OLDEST))
        return UnavailableError(
            f"{where} has {told or 'an old Python'} as {python}: expected Python {oldest} or "
            f"later; give another one with 'edgekit devices add ... --python PATH'"
        )
    if code == NO_FOLDER:
        return UnavailableError(f"{where} has no folder for the agent: {told}; make room there")
    return None
