"""Published ImageNet weights: where they are, how their images are prepared, how to fetch them."""

from __future__ import annotations

import hashlib
import http.client
import os
import queue
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from edgekit.core import Preprocessing
from edgekit.core.reading import open_file
from edgekit.errors import InputError, OutputError, UnavailableError, UsageError

BASE_VARIABLE = "EDGEKIT_WEIGHTS_URL"
BASE = "https://download.pytorch.org/models/"
_BLOCK = 1 << 18
_TIMEOUT_S = 30.0
# A server that sends less over such a time would take hours.
_WINDOW_S, _SLOWEST = 15.0, 1024
_SCHEMES = ("https", "http", "file")

# All that asking a server and reading its answer raise.
_FAILURES = (OSError, ValueError, http.client.HTTPException)

Report = Callable[[int, int | None], None]
"""Told how many bytes are there, and of how many, where that is known."""


@dataclass(frozen=True, slots=True)
class Published:
    """A file of torchvision's, of its newest recipe.

    Attributes:
        file: its name ends with the first digits of its SHA-256.
        resize: of the shorter side, pixels.
        crop: pixels.
        top1: on ImageNet's validation images, as torchvision 0.29 states it.
        mib: its size, as torchvision states it, to a tenth.
    """

    file: str
    mib: float
    resize: int
    crop: int
    top1: float
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @property
    def digest(self) -> str:
        """First digits of the SHA-256."""
        return self.file.removesuffix(".pth").rpartition("-")[2]

    @property
    def most_bytes(self) -> int:
        """Bytes that no download of it has."""
        return int((self.mib + 0.1) * 2**20)

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images are prepared."""
        return Preprocessing(
            self.resize, self.crop, mean=self.mean, std=self.std, interpolation=self.interpolation
        )


_HALVES = (0.5, 0.5, 0.5)

# torchvision 0.29, torchvision/models: the default weights of each network.
PUBLISHED = {
    "mobilenetv2": Published("mobilenet_v2-7ebf99e0.pth", 13.6, 232, 224, 72.154),
    "mobilenetv3-large": Published("mobilenet_v3_large-5c1a4163.pth", 21.1, 232, 224, 75.274),
    "mobilenetv3-small": Published("mobilenet_v3_small-047dcff4.pth", 9.8, 256, 224, 67.668),
    "mnasnet-b1@0.5": Published("mnasnet0.5_top1_67.823-3ffadce67e.pth", 8.6, 256, 224, 67.734),
    "mnasnet-b1@0.75": Published("mnasnet0_75-7090bc5f.pth", 12.3, 232, 224, 71.18),
    "mnasnet-b1": Published("mnasnet1.0_top1_73.512-f206786ef8.pth", 16.9, 256, 224, 73.456),
    "mnasnet-b1@1.3": Published("mnasnet1_3-a4c69d6f.pth", 24.2, 232, 224, 76.506),
    "shufflenetv2@0.5": Published("shufflenetv2_x0.5-f707e7126e.pth", 5.3, 256, 224, 60.552),
    "shufflenetv2": Published("shufflenetv2_x1-5666bf0f80.pth", 8.8, 256, 224, 69.362),
    "shufflenetv2@1.5": Published("shufflenetv2_x1_5-3c479a10.pth", 13.6, 232, 224, 72.996),
    "shufflenetv2@2": Published("shufflenetv2_x2_0-8be3c8ee.pth", 28.4, 232, 224, 76.23),
    "efficientnet-b0": Published(
        "efficientnet_b0_rwightman-7f5810bc.pth", 20.5, 256, 224, 77.692, "bicubic"
    ),
    "efficientnet-b1": Published("efficientnet_b1-c27df63c.pth", 30.1, 255, 240, 79.838),
    "efficientnet-b2": Published(
        "efficientnet_b2_rwightman-c35c1473.pth", 35.2, 288, 288, 80.608, "bicubic"
    ),
    "efficientnet-b3": Published(
        "efficientnet_b3_rwightman-b3899882.pth", 47.2, 320, 300, 82.008, "bicubic"
    ),
    "efficientnet-b4": Published(
        "efficientnet_b4_rwightman-23ab8bcd.pth", 74.5, 384, 380, 83.384, "bicubic"
    ),
    "efficientnet-b5": Published(
        "efficientnet_b5_lukemelas-1a07897c.pth", 116.9, 456, 456, 83.444, "bicubic"
    ),
    "efficientnet-b6": Published(
        "efficientnet_b6_lukemelas-24a108a5.pth", 165.4, 528, 528, 84.008, "bicubic"
    ),
    "efficientnet-b7": Published(
        "efficientnet_b7_lukemelas-c5b4e57e.pth", 254.7, 600, 600, 84.122, "bicubic"
    ),
    "efficientnetv2-s": Published("efficientnet_v2_s-dd5fe13b.pth", 82.7, 384, 384, 84.228),
    "efficientnetv2-m": Published("efficientnet_v2_m-dc08266a.pth", 208.0, 480, 480, 85.112),
    "efficientnetv2-l": Published(
        "efficientnet_v2_l-59c71312.pth", 454.6, 480, 480, 85.808, "bicubic", _HALVES, _HALVES
    ),
}


def published(name: str) -> Published:
    """The published weights of a network.

    Raises:
        UsageError: none are published for it.
    """
    if name not in PUBLISHED:
        raise UsageError(
            f"no weights are published for {name}: --pretrained has them for "
            f"{', '.join(PUBLISHED)}; give others with --weights FILE"
        )
    return PUBLISHED[name]


def known(digest: str) -> Published | None:
    """The published file with that SHA-256."""
    return next((p for p in PUBLISHED.values() if digest.startswith(p.digest)), None)


def cache_folder() -> Path:
    """Where downloads are kept: ``edgekit/weights`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgekit" / "weights"


def fetch(name: str, report: Report = lambda done, total: None) -> Path:
    """Downloads the published weights of a network, unless they are there already.

    What was begun is continued. The file gets its name only when its SHA-256 begins as the name
    says. A process that finds another one at it waits for its end.

    Args:
        name: canonical name with its multiplier.

    Returns:
        The file in the cache folder.

    Raises:
        UsageError: none are published, or `BASE_VARIABLE` is no URL.
        UnavailableError: the server cannot be reached.
        InputError: what it sends has another SHA-256, or is longer than the published file.
        OutputError: the cache folder cannot be written, or is full.
    """
    wanted = published(name)
    folder = cache_folder()
    path = folder / wanted.file
    if _is_there(path, wanted):
        return path
    url = f"{_base()}/{wanted.file}"
    part = path.with_name(f"{path.name}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(part) as file:
            if _is_there(path, wanted):  # by another process, in the meantime
                part.unlink()
                return path
            _download(url, file, folder, wanted.most_bytes, report)
            file.flush()
            found = _sha256(part)
            if not found.startswith(wanted.digest):
                part.unlink()
                raise InputError(
                    f"{url} is not the published file: its SHA-256 begins with "
                    f"{found[: len(wanted.digest)]}, expected {wanted.digest}; it was not kept, "
                    f"so try again, or give the file with --weights"
                )
            os.replace(part, path)
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}; free space there, or name "
            f"another cache folder in XDG_CACHE_HOME"
        ) from error
    return path


def _base() -> str:
    """The folder of the published files, as a URL without a slash at its end."""
    base = os.environ.get(BASE_VARIABLE, BASE)
    try:
        scheme = urlsplit(base).scheme
    except ValueError:
        scheme = ""
    if scheme not in _SCHEMES:
        raise UsageError(
            f"{BASE_VARIABLE} is '{base}': expected a URL that begins with https:// or http://, "
            f"as {BASE}"
        )
    return base.rstrip("/")


def _is_there(path: Path, wanted: Published) -> bool:
    return path.exists() and _sha256(path).startswith(wanted.digest)


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """A file, open for appending by this process alone; it does not stay when it is empty."""
    import fcntl  # POSIX only: no other command needs it

    while True:
        with open(part, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever held the lock may have renamed or removed what was opened here.
            if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
                continue
            try:
                yield file
            finally:
                file.flush()
                if part.exists() and part.stat().st_size == 0:
                    part.unlink()
            return


def _download(url: str, file: BinaryIO, folder: Path, most: int, report: Report) -> None:
    """Fetches a file behind what is there of it.

    Args:
        most: bytes that it can have.

    Raises:
        UnavailableError: the server cannot be reached, refuses, stops in between or crawls.
        InputError: it sends more than the file.
        OSError: the file cannot be written.
    """
    done = os.fstat(file.fileno()).st_size
    if done > most:
        done = 0
        file.truncate(0)
    answer = _in_time(url, lambda: _request(url, done))
    if answer is None:
        return
    with answer:
        if answer.status != 206:  # the server sends everything, whatever was asked for
            done = 0
            file.truncate(0)
        length = answer.headers.get("Content-Length")
        if length is not None and not length.isdecimal():
            raise _unreachable(url, f"its length is '{length}', expected a number of bytes")
        total = None if length is None else done + int(length)
        if total is not None and total > most:
            raise _too_long(url, most)
        _check_space(folder, (most if total is None else total) - done)
        pace = _Pace(url)
        while block := _next_block(answer, url, file, total):
            if done + len(block) > most:
                file.truncate(0)
                raise _too_long(url, most)
            file.write(block)
            done += len(block)
            pace.check(len(block))
            report(done, total)
    if total is not None and done < total:
        raise _unreachable(url, f"it stopped after {done:,} of {total:,} bytes")


class _Pace:
    """How fast a server sends; each read by itself is in time where it sends a byte a second."""

    def __init__(self, url: str) -> None:
        self._url, self._since, self._bytes = url, time.monotonic(), 0

    def check(self, more: int) -> None:
        """Notes bytes that came.

        Raises:
            UnavailableError: they are too few for the time.
        """
        self._bytes += more
        now = time.monotonic()
        if now - self._since < _WINDOW_S:
            return
        if self._bytes < _SLOWEST * (now - self._since):
            raise _unreachable(self._url, f"it sends less than {_SLOWEST:,} bytes a second")
        self._since, self._bytes = now, 0


def _in_time(url: str, ask: Callable[[], Any]) -> Any:
    """What a function gives that should take no longer than a read.

    Raises:
        UnavailableError: it does.
    """
    found: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            found.put((ask(), None))
        except BaseException as error:
            found.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        answer, error = found.get(timeout=2 * _TIMEOUT_S)
    except queue.Empty:
        raise _unreachable(url, f"no answer for {2 * _TIMEOUT_S:.0f} s") from None
    if error is not None:
        raise error
    return answer


def _too_long(url: str, most: int) -> InputError:
    return InputError(
        f"{url} is not the published file: it is longer than {most / 2**20:,.1f} MiB; it was not "
        f"kept, so try again, or give the file with --weights"
    )


def _request(url: str, done: int) -> Any:
    """The answer of the server, from byte ``done`` on; ``None`` where nothing is left to send."""
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "edgekit"})  # noqa: S310
        if done:
            request.add_header("Range", f"bytes={done}-")
        return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:
            return None
        raise _unreachable(url, f"{error.code} {error.reason}") from error
    except _FAILURES as error:
        raise _unreachable(url, _reason(error)) from error


def _next_block(answer: Any, url: str, file: BinaryIO, total: int | None) -> bytes:
    try:
        block: bytes = answer.read1(_BLOCK)  # else it waits for a whole block
    except _FAILURES as error:
        if total is None:  # nobody said what was to come: it is begun anew
            file.truncate(0)
        raise _unreachable(url, _reason(error)) from error
    return block


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "it stopped in between"
    if isinstance(error, http.client.BadStatusLine):
        return "it does not answer as an HTTP server"
    return str(getattr(error, "reason", error)) or type(error).__name__


def _check_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OutputError(
            f"cannot write to {folder}: {size / 2**20:,.1f} MiB are needed and "
            f"{free / 2**20:,.1f} MiB free; name another cache folder in XDG_CACHE_HOME"
        )


def _unreachable(url: str, reason: str) -> UnavailableError:
    return UnavailableError(
        f"{url} cannot be downloaded ({reason}): try again where there is a network, set "
        f"{BASE_VARIABLE} to a mirror, or give the file with --weights; what is there is kept"
    )


def _sha256(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
