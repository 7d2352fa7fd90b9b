"""TCP between a client and a server that is cut when a test says so, in the ways networks are."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

TO_SERVER, TO_CLIENT = 0, 1
HOWS = ("close", "reset", "hole")
"""An end of the connection, a reset, and nothing at all any more, whatever is sent."""


class CuttingProxy:
    """Passes bytes on until so many have passed one way.

    Args:
        port: of the server, on this machine.

    Attributes:
        port: that clients connect to.
        passed: bytes to the server and to the client.
        cuts: that there were.
        open: whether new connections are passed on, too.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passed = [0, 0]
        self.cuts = 0
        self.open = True
        self._how: str | Callable[[], object] = "close"
        self._limits: list[int | None] = [None, None]
        self._sockets: list[socket.socket] = []
        self._held: list[socket.socket] = []  # in a hole
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(
        self,
        how: str | Callable[[], object],
        *,
        to_server: int | None = None,
        to_client: int | None = None,
        for_good: bool = True,
    ) -> None:
        """Cuts all connections once so many more bytes have passed one way.

        Args:
            how: of `HOWS`, or what to do instead.
            for_good: whether nobody gets through afterwards, until `heal`.
        """
        with self._lock:
            self._how, self._for_good = how, for_good
            more = (to_server, to_client)
            self._limits = [
                None if one is None else now + one
                for now, one in zip(self.passed, more, strict=True)
            ]

    def heal(self) -> None:
        """Lets new connections through again."""
        self.open, self._limits = True, [None, None]
        self._drop(self._held, "reset")

    def cut(self, how: str, *, for_good: bool = True) -> None:
        """Cuts all connections now."""
        with self._lock:
            self._how, self._for_good = how, for_good
            self._cut()

    def _cut(self) -> None:
        self.cuts += 1
        self._limits = [None, None]
        if callable(self._how):
            self._how()
            return
        self.open = not self._for_good
        if self._how == "hole":
            self._held += self._sockets
        else:
            self._drop(self._sockets, self._how)
        self._sockets = []

    def _drop(self, sockets: list[socket.socket], how: str) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                if how == "reset":
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        sockets.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if not self.open:
                    if self._how == "hole":
                        self._held.append(client)
                    else:
                        client.close()
                    continue
                try:
                    server = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    client.close()
                    continue
                pair = [client, server]
                for one in pair:
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets += pair
                for way in ((TO_SERVER, client, server), (TO_CLIENT, server, client)):
                    threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, way: int, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            for content in _received(source):
                with self._lock:
                    if source not in self._sockets:  # in a hole
                        return
                    limit = self._limits[way]
                    left = len(content) if limit is None else max(0, limit - self.passed[way])
                    part = content[:left]
                    self.passed[way] += len(part)
                sink.sendall(part)
                if limit is not None and self.passed[way] >= limit:
                    with self._lock:
                        if self._limits[way] is not None:
                            self._cut()
                    sink.sendall(content[len(part) :])  # of what goes on
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Ends it."""
        self._listener.close()
        self._drop(self._sockets, "close")
        self._drop(self._held, "close")


def _received(source: socket.socket) -> Iterator[bytes]:
    while content := source.recv(4096):
        yield content
