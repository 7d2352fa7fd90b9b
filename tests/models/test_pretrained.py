"""Downloads of published weights, from a real server on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from command_line import CommandLine

from edgekit.errors import InputError, UnavailableError
from edgekit.models import build, find_spec, pretrained
from edgekit.models.shufflenetv2 import torchvision_names
from edgekit.models.source import open_model

NETWORK = "shufflenetv2@0.5"


@dataclass
class Server:
    """A web server with one file.

    Attributes:
        content: of the file.
        stops_after: bytes after which it closes the connection; ``None``: it does not.
        ranges: whether it can continue.
        requests: the Range header of each request.
    """

    url: str
    content: bytes
    stops_after: int | None = None
    ranges: bool = True
    requests: list[str | None] = field(default_factory=list)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    torch.manual_seed(0)
    spec = find_spec(NETWORK)
    names = dict(torchvision_names(spec))
    state = {
        f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value
        for name, value in build(spec).state_dict().items()
    }
    path = tmp_path_factory.mktemp("weights") / "file.pth"
    torch.save(state, path)
    return path.read_bytes()


@pytest.fixture
def server(weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves a file that is published for `NETWORK`, into an empty cache."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.requests.append(asked)
            start = 0
            if asked and state.ranges:
                found = re.fullmatch(r"bytes=(\d+)-", asked)
                assert found
                start = int(found.group(1))
                if start >= len(state.content):
                    self.send_error(416)
                    return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # A client that will not go on closes the connection: nothing to report.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body if state.stops_after is None else body[: state.stops_after])

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{httpd.server_port}", weights)
    digest = hashlib.sha256(weights).hexdigest()[:10]
    published = pretrained.Published(f"net-{digest}.pth", 232, 224, 60.0, "bicubic")
    monkeypatch.setitem(pretrained.PUBLISHED, NETWORK, published)
    monkeypatch.setenv(pretrained.BASE_VARIABLE, state.url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_file_is_fetched_once_and_checked(server: Server) -> None:
    told = []
    path = pretrained.fetch(NETWORK, lambda done, total: told.append((done, total)))
    assert path.read_bytes() == server.content
    assert told[-1] == (len(server.content), len(server.content))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert pretrained.fetch(NETWORK) == path
    assert len(server.requests) == 1


def test_a_broken_download_goes_on_where_it_stopped(server: Server) -> None:
    server.stops_after = 1000
    with pytest.raises(UnavailableError, match=r"stopped after 1,000 of [\d,]+ bytes"):
        pretrained.fetch(NETWORK)
    assert [file.name[-5:] for file in pretrained.cache_folder().iterdir()] == [".part"]
    server.stops_after = None
    assert pretrained.fetch(NETWORK).read_bytes() == server.content
    assert server.requests == [None, "bytes=1000-"]


def test_a_server_that_cannot_continue_starts_anew(server: Server) -> None:
    server.stops_after = 1000
    with pytest.raises(UnavailableError):
        pretrained.fetch(NETWORK)
    server.stops_after, server.ranges = None, False
    assert pretrained.fetch(NETWORK).read_bytes() == server.content


def test_a_whole_file_that_was_only_not_named_yet_is_taken(server: Server) -> None:
    part = pretrained.cache_folder() / f"{pretrained.published(NETWORK).file}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(server.content)
    assert pretrained.fetch(NETWORK).read_bytes() == server.content


def test_another_file_is_refused_and_not_kept(server: Server) -> None:
    server.content = b"something else"
    with pytest.raises(InputError, match=r"is not the published file: its SHA-256 begins with"):
        pretrained.fetch(NETWORK)
    assert list(pretrained.cache_folder().iterdir()) == []


def test_a_damaged_file_of_the_cache_is_fetched_again(server: Server) -> None:
    path = pretrained.fetch(NETWORK)
    path.write_bytes(b"damaged")
    assert pretrained.fetch(NETWORK).read_bytes() == server.content


def test_published_weights_bring_their_preprocessing(server: Server) -> None:
    model = open_model(NETWORK, weights=pretrained.fetch(NETWORK))
    assert model.preprocessing is not None
    assert (model.preprocessing.resize, model.preprocessing.crop) == (232, 224)
    assert model.preprocessing.interpolation == "bicubic"
    half = open_model(NETWORK, weights=pretrained.fetch(NETWORK), resolution=112)
    assert half.preprocessing is not None
    assert (half.preprocessing.resize, half.preprocessing.crop) == (116, 112)


def test_no_network_is_one_clear_sentence(cli: CommandLine, tmp_path: Path, server: Server) -> None:
    closed = {"EDGEKIT_WEIGHTS_URL": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(tmp_path / "c")}
    result = cli("describe", "mobilenetv2", "--pretrained", env=closed)
    assert (result.code, result.out) == (5, "")
    assert "http://127.0.0.1:9/mobilenet_v2-7ebf99e0.pth cannot be downloaded" in result.message
    assert "--weights" in result.message


def test_a_cache_that_cannot_be_written_is_named(
    cli: CommandLine, tmp_path: Path, server: Server
) -> None:
    (tmp_path / "file").write_text("no folder")
    env = {"EDGEKIT_WEIGHTS_URL": server.url, "XDG_CACHE_HOME": str(tmp_path / "file")}
    result = cli("describe", "mobilenetv2", "--pretrained", env=env)
    assert result.code == 3
    assert f"cannot write to {tmp_path / 'file'}" in result.message


def test_no_space_is_said_before_anything_is_fetched(
    server: Server, monkeypatch: pytest.MonkeyPatch, run: CommandLine
) -> None:
    # A full disk is not at hand: what the system says of it is replaced, nothing else.
    monkeypatch.setattr(
        pretrained.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})()
    )
    result = run("describe", NETWORK, "--pretrained")
    assert result.code == 3
    assert "MiB are needed and 0.0 MiB free" in result.message


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["mobilenetv1"], 2, "no weights are published for mobilenetv1"),
        (["mobilenetv2", "--weights", "x.pth"], 2, "exclude each other"),
        (["mobilnetv2"], 2, "unknown model 'mobilnetv2'"),
    ],
)
def test_networks_without_published_weights_are_refused(
    arguments: list[str], code: int, text: str, run: CommandLine
) -> None:
    result = run("describe", *arguments, "--pretrained")
    assert (result.code, result.out) == (code, "")
    assert text in result.message


def test_every_published_name_is_a_network_and_has_a_digest() -> None:
    for name, published in pretrained.PUBLISHED.items():
        assert find_spec(name).name == name
        assert re.fullmatch(r"[0-9a-f]{8,10}", published.digest), published.file
