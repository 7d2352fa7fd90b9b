"""Downloads of published weights, from a real server on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from command_line import CommandLine

from edgekit.errors import InputError, UnavailableError
from edgekit.models import build, family_of, find_spec, pretrained
from edgekit.models.shufflenetv2 import torchvision_names
from edgekit.models.size import laid_out
from edgekit.models.source import open_model

NETWORK = "shufflenetv2@0.5"


@dataclass
class Server:
    """A web server with one file.

    Attributes:
        content: of the file.
        stops_after: bytes after which it closes the connection; ``None``: it does not.
        ranges: whether it can continue.
        raw: what it sends instead of an answer; ``None``: it answers.
        waits_for: it answers the first request when this is set.
        drips: whether it sends a byte at a time, and takes its time.
        requests: the Range header of each request.
    """

    url: str
    content: bytes
    stops_after: int | None = None
    ranges: bool = True
    raw: bytes | None = None
    waits_for: threading.Event | None = None
    drips: bool = False
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
            if state.waits_for is not None:
                assert state.waits_for.wait(30)
            if state.raw is not None:
                self.wfile.write(state.raw)
                return
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
                for i in range(len(body) if state.drips else 0):
                    self.wfile.write(body[i : i + 1])
                    time.sleep(0.01)
                self.wfile.write(body if state.stops_after is None else body[: state.stops_after])

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{httpd.server_port}", weights)
    digest = hashlib.sha256(weights).hexdigest()[:10]
    published = pretrained.Published(f"net-{digest}.pth", 5.3, 232, 224, 60.0, "bicubic")
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


OK = b"HTTP/1.1 200 OK\r\n"
ODD_ANSWERS = {
    "no HTTP": (b"220 mail.example.org\r\n", "does not answer as an HTTP server"),
    "nothing": (b"", "does not answer as an HTTP server"),
    "length is no number": (OK + b"Content-Length: abc\r\n\r\nx", "its length is 'abc'"),
    "chunk cut short": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n10\r\nabc",
        "it stopped in between",
    ),
    "no such range, unasked": (
        b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n",
        "416 Range Not Satisfiable",
    ),
}


@pytest.mark.parametrize("kind", ODD_ANSWERS)
def test_odd_answers_of_a_server_are_one_clear_sentence(
    kind: str, server: Server, run: CommandLine
) -> None:
    server.raw, expected = ODD_ANSWERS[kind]
    result = run("describe", NETWORK, "--pretrained")
    assert (result.code, result.out) == (5, "")
    assert "cannot be downloaded" in result.message
    assert expected in result.message
    assert list(pretrained.cache_folder().iterdir()) == []


ENDLESS = {
    "said": OK + b"Content-Length: 999999999999\r\n\r\nx",
    "not said": b"HTTP/1.0 200 OK\r\n\r\n" + bytes(6 << 20),
    "chunks": OK
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + (b"100000\r\n" + bytes(1 << 20) + b"\r\n") * 6,
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_download_ends_where_the_published_file_does(
    kind: str, server: Server, run: CommandLine
) -> None:
    server.raw = ENDLESS[kind]
    result = run("describe", NETWORK, "--pretrained")
    assert (result.code, result.out) == (3, "")
    assert "is not the published file: it is longer than 5.4 MiB" in result.message
    assert list(pretrained.cache_folder().iterdir()) == []


def test_a_download_of_a_byte_at_a_time_is_given_up(
    server: Server, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "_WINDOW_S", 0.2)
    server.drips = True
    result = run("describe", NETWORK, "--pretrained")
    assert (result.code, result.out) == (5, "")
    assert "it sends less than 1,024 bytes a second" in result.message
    assert "what is there is kept" in result.message


def test_an_answer_that_does_not_come_is_given_up(
    server: Server, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "_TIMEOUT_S", 0.1)
    server.waits_for = threading.Event()
    result = run("describe", NETWORK, "--pretrained")
    server.waits_for.set()
    assert (result.code, result.out) == (5, "")
    assert "cannot be downloaded" in result.message


@pytest.mark.parametrize("base", ["mirror.example.org/weights", "C:weights", "", "http://["])
def test_a_mirror_that_is_no_url_is_wrong_usage(
    base: str, server: Server, monkeypatch: pytest.MonkeyPatch, run: CommandLine
) -> None:
    monkeypatch.setenv(pretrained.BASE_VARIABLE, base)
    result = run("describe", NETWORK, "--pretrained")
    assert (result.code, result.out) == (2, "")
    assert f"EDGEKIT_WEIGHTS_URL is '{base}': expected a URL" in result.message


def test_two_that_fetch_the_same_file_do_it_once_and_one_after_the_other(server: Server) -> None:
    server.waits_for = threading.Event()
    found = []

    def first() -> None:
        found.append(pretrained.fetch(NETWORK))

    def second() -> None:
        while not server.requests:  # until the first is at it
            pass
        assert server.waits_for is not None
        server.waits_for.set()
        found.append(pretrained.fetch(NETWORK))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == server.content for path in found] == [True, True]
    assert server.requests == [None]
    assert [file.name for file in found[0].parent.iterdir()] == [found[0].name]


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
        (["timm:mobilenetv2_100"], 2, "--pretrained goes with a zoo name, and 'timm:mobilenetv2_"),
        (["own.network:make"], 2, "--pretrained goes with a zoo name"),
        (["runs/a@0/model.pt"], 2, "--pretrained goes with a zoo name"),
        (["model.pt"], 2, "--pretrained goes with a zoo name"),
        (["mobilenetv2", "--compare", "mobilenetv3"], 2, "belongs to one network, and 2 are named"),
    ],
)
def test_networks_without_published_weights_are_refused(
    arguments: list[str], code: int, text: str, run: CommandLine
) -> None:
    result = run("describe", *arguments, "--pretrained")
    assert (result.code, result.out) == (code, "")
    assert text in result.message


@pytest.mark.parametrize("command", ["describe", "export", "train", "profile"])
def test_a_resolution_that_cannot_be_is_refused_before_the_download(
    command: str, server: Server, run: CommandLine
) -> None:
    words = ["--target", "onnx"] if command == "export" else []
    result = run(command, NETWORK, "--pretrained", "--resolution", 16, *words)
    assert result.code == 2
    assert f"resolution 16 for {NETWORK}: expected 32" in result.message
    assert server.requests == []


def test_other_options_of_a_training_are_checked_before_the_download(
    server: Server, run: CommandLine
) -> None:
    for words, message in (
        (["--epochs", 0], "epochs 0: expected at least 1"),
        (["--init", "x.pth"], "--init and --pretrained exclude each other"),
    ):
        result = run("train", NETWORK, "--pretrained", *words)
        assert result.code == 2
        assert message in result.message
    assert server.requests == []


def test_a_training_starts_from_published_weights(
    server: Server, run: CommandLine, tmp_path: Path
) -> None:
    quick = ["--data", "synthetic", "--resolution", 32, "--epochs", 1, "--lr", 1e-9, "--no-ema"]
    (tmp_path / "own.toml").write_text('init = "elsewhere.pth"\n')
    words = ["--recipe", "own.toml", "--pretrained", "-o", "run"]
    result = run("train", NETWORK, *quick, *words)
    assert result.code == 0, result.err
    assert "the layer of the class scores starts anew" in result.err
    trained = open_model(str(tmp_path / "run")).module.state_dict()
    expected = open_model(NETWORK, weights=pretrained.fetch(NETWORK)).module.state_dict()
    torch.testing.assert_close(
        trained["stem.conv.conv.weight"], expected["stem.conv.conv.weight"], rtol=0, atol=1e-5
    )


def test_several_processes_do_not_download_at_once(
    server: Server, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    result = run("train", NETWORK, "--pretrained")
    assert result.code == 5
    assert f"'edgekit describe {NETWORK} --pretrained' first" in result.message
    assert server.requests == []


def test_every_published_name_is_a_network_and_has_a_digest() -> None:
    for name, published in pretrained.PUBLISHED.items():
        assert find_spec(name).name == name
        assert re.fullmatch(r"[0-9a-f]{8,10}", published.digest), published.file
        spec = find_spec(name)
        tensors = laid_out(spec, family_of(spec).build).state_dict().values()
        size = sum(t.numel() * t.element_size() for t in tensors) / 2**20
        assert 0 < published.mib - size < 0.6, (name, size)
