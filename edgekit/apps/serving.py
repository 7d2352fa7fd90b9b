"""Serves the folder of an app on this machine, for a look at its page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgekit.errors import UnavailableError

HOST = "127.0.0.1"

_ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}
"""What a page needs to have threads; and the newest files, since apps are written anew."""


class _Handler(SimpleHTTPRequestHandler):
    # Said here, since a machine's own table of types may lack them or have others.
    extensions_map = {  # noqa: RUF012 - declared by the class above
        **SimpleHTTPRequestHandler.extensions_map,
        ".css": "text/css",
        ".html": "text/html",
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".json": "application/json",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        for name, value in _ISOLATED.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing: the page tells what it lacks."""


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[ThreadingHTTPServer]:
    """A server of a folder's files, which nobody but this machine reaches.

    Args:
        port: where; 0 for one that is free.

    Raises:
        UnavailableError: the port is taken, or may not be used.
    """
    try:
        server = ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise UnavailableError(
            f"port {port} cannot be used ({error.strerror}): give another one with --port, or none"
        ) from error
    server.daemon_threads = True
    with server:
        yield server


def serve(server: ThreadingHTTPServer) -> None:
    """Answers until the keyboard interrupts it."""
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return


def address(server: ThreadingHTTPServer) -> str:
    """What to type into a browser."""
    return f"http://{HOST}:{server.server_port}/"
