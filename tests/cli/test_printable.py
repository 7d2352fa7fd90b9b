"""Nothing raw reaches a terminal or a spreadsheet, whoever wrote it."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from command_line import CommandLine, Result
from hypothesis import given
from hypothesis import strategies as st
from pseudo_terminal import PseudoTerminal
from report_records import measurement

import edgekit
from edgekit.cli import COMMANDS
from edgekit.cli import cli as group
from edgekit.core import printable, write_csv
from edgekit.measure.store import Store

# A colour, an 8-bit control, a mark that turns writing round, two line ends, a return, markup.
HOSTILE = "=\x1b[31mred\x9b5m\u202egnp\nerror: forged\u2028\r[bold]:cat:\udcff"
SHOWN = r"=\x1b[31mred\x9b5m\u202egnp\nerror: forged\u2028\r[bold]:cat:\udcff"
NAME = HOSTILE.replace("\udcff", "é")  # a path that Python's own streams take
FORMULA = re.compile(r"\s*[=+\-@]")


# What does its work whatever the text, or without any.
BEGIN_AT_ONCE = {("demo", None), ("demo", "--out"), ("doctor", None), ("history", None)}


def texts_of(command: str) -> Iterator[str | None]:
    """The options of a command that take any text; ``None`` stands for its arguments alone."""
    one = group.get_command(click.Context(group), command)
    assert one is not None
    yield None
    for option in one.params:
        if isinstance(option, click.Option) and not option.is_flag:
            yield option.opts[0]


def assert_printable(result: Result, *, inside: bool = True) -> None:
    for text in (result.out, result.err):
        raw = {c for c in text if c != "\n" and not c.isprintable()}
        assert not raw, text
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == (result.code != 0), result.err
    assert "error: forged" not in errors
    if inside:
        assert r"\x1b" in result.out + result.err


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Measurements with hostile names, in a store of the test's own."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    store = Store(busy_s=0.05)
    fields: dict[str, Any] = {"device": NAME, "reasons": (NAME,), "stable": False}
    store.add([measurement(artifact=NAME, runtime=NAME, **fields)])
    return store


@pytest.mark.parametrize("command", COMMANDS)
def test_whatever_is_given_is_escaped_where_an_error_names_it(
    command: str, run: CommandLine
) -> None:
    """Each option that takes text, one after the other, with arguments that name nothing."""
    one = group.get_command(click.Context(group), command)
    assert one is not None
    arguments = [NAME for p in one.params if isinstance(p, click.Argument)]
    required = [p.opts[0] for p in one.params if isinstance(p, click.Option) and p.required]
    for option in texts_of(command):
        if (command, option) in BEGIN_AT_ONCE:
            continue
        text = [] if option is None else [option, NAME]
        others = [word for name in required if name != option for word in (name, "x")]
        result = run(command, *text, *others, "--", *arguments)
        assert_printable(result, inside=False)
        assert result.code in (0, 2, 3, 5), (option, result)
    unknown = run(command, f"--x{NAME[1:]}")
    assert unknown.code == 2
    assert_printable(unknown)


def test_an_unknown_command(run: CommandLine) -> None:
    assert_printable(run(NAME))


@pytest.fixture
def network(module: Callable[[str], str]) -> str:
    """A network whose layers have hostile names."""
    name = NAME.replace(".", "")
    return module(
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        f"        self.name = {name!r}\n"
        "        self.add_module(self.name, nn.Conv2d(3, 4, 3))\n"
        "    def forward(self, x):\n"
        "        return getattr(self, self.name)(x).mean((2, 3))\n"
    )


def test_names_of_layers(run: CommandLine, network: str) -> None:
    words = f"{network}:Net"
    for more in ([], ["--csv"], ["-v"]):
        result = run("describe", words, "--resolution", 32, *more)
        assert result.code == 0, result.err
        assert_printable(result, inside="--csv" in more)  # tables shorten names
    (row,) = csv.DictReader(io.StringIO(run("describe", words, "--csv").out))
    assert row["name"] == "'" + printable(NAME)


def test_labels_images_and_folders(
    run: CommandLine, checkpoint_of: Callable[..., Path], png: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / NAME).mkdir()
    path = checkpoint_of(NAME, NAME, "[red]plain", "third", name=f"{NAME}/net.pt")
    image = png(f"{NAME}.png")
    for line in (
        ["predict", path, image],
        ["predict", path, image, tmp_path / "gone"],
        ["predict", path, image, "--json"],
        ["evaluate", path, "--data", NAME],
        ["export", path, "-t", "tflite", "-o", NAME],
        ["export", path, "-t", "tflite", "-o", NAME],  # is there already
        ["verify", f"{NAME}/mobilenetv1@0.25-fp32.tflite", "--against", path],
        ["predict", f"{NAME}/mobilenetv1@0.25-fp32.tflite", image],
        ["compare", f"{NAME}/mobilenetv1@0.25-fp32.tflite", path, "--threads", 10_000],
        ["train", "mobilenetv1", "--data", NAME],
        ["demo", "-o", NAME, "--epochs", -1],
    ):
        result = run(*line)
        if "--json" in line:
            assert result.json["predictions"][0]["image"] == str(image)
        assert_printable(result, inside=not {"--threads", "demo", "--json"} & set(map(str, line)))


def test_kept_measurements(run: CommandLine, own_home: Store, tmp_path: Path) -> None:
    assert_printable(run("history"))
    for more in ([], ["--samples"]):
        out = tmp_path / f"table{len(more)}.csv"
        assert run("export-profiles", "-o", out, *more).code == 0
        with open(out, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                assert row["artifact"] == "'" + printable(NAME)
                assert not any(FORMULA.match(v) for v in row.values() if not _is_number(v))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_devices_of_others(run: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "profiles" / "board"
    folder.mkdir(parents=True)
    escaped = '"' + "".join(f"\\U{ord(c):08x}" for c in NAME) + '"'
    (folder / "device.toml").write_text(
        f'name = "board"\ndescription = {escaped}\ntransport = "local:"\nsoc = {escaped}\n'
        f"[sources]\nsoc = {escaped}\n"
    )
    for line in (["devices"], ["devices", "show", "board"], ["list", "devices"]):
        assert_printable(run(*line))


def test_warnings_and_tracebacks(
    run: CommandLine, module: Callable[[str], str], png: Callable[..., Path]
) -> None:
    name = module(
        "import warnings\n"
        "def net():\n"
        f"    warnings.warn({NAME!r})\n"
        f"    raise RuntimeError({NAME!r})\n"
    )
    with warnings.catch_warnings():  # as outside of pytest, which collects them
        warnings.simplefilter("always")
        result = run("predict", f"{name}:net", png(), "-v")
    assert result.code == 3
    assert "Traceback" in result.err
    assert_printable(result)


def test_live_displays(pseudo_terminal: PseudoTerminal) -> None:
    screen = pseudo_terminal(
        f"""
        from edgekit.cli import console
        with console.progress() as display:
            display.add_task({HOSTILE!r}, total=3)
            display.refresh()
            console.note({HOSTILE!r})
        with console.status({HOSTILE!r}) as notify:
            notify({f"then {HOSTILE}"!r})
        """,
        columns=300,
    )
    assert SHOWN in screen.text
    assert f"then {SHOWN}" in screen.raw
    assert "\x1b[31m" + "red" not in screen.raw
    assert not set("\x9b\u202e\u2028") & set(screen.raw)


def test_there_is_one_way_to_print_and_one_to_write_tables() -> None:
    """Others would have no escapes."""
    root = Path(edgekit.__file__).parent
    ways = re.compile(r"(?<![\w.])print\(|click\.echo\(|csv\.(?:Dict)?[wW]riter\(|print_exc\(")
    found = {
        str(file.relative_to(root))
        for file in [*root.rglob("*.py"), *(root.parent / "exporters").rglob("*.py")]
        if "template" not in file.parts and ways.search(file.read_text(encoding="utf-8"))
    }
    # The group prints its version and its help, which are edgekit's own.
    assert found == {"cli/__init__.py", "cli/console.py", "core/text.py"}


@given(st.text())
def test_printable_text_says_what_it_was(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


CELLS = st.one_of(
    st.text(),
    st.text(alphabet="=+-@\t\r\n 1.e'"),
    st.integers(),
    st.floats(allow_nan=False),
    st.none(),
)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=4), min_size=1, max_size=4))
def test_no_cell_of_a_table_is_a_formula(rows: list[list[Any]]) -> None:
    stream = io.StringIO()
    assert write_csv(stream, rows) == len(rows)
    read = list(csv.reader(io.StringIO(stream.getvalue())))
    for row, found in zip(rows, read, strict=True):
        for value, cell in zip(row, found, strict=True):
            assert cell.isprintable()
            if isinstance(value, int | float):
                assert type(value)(cell) == value
            assert _is_number(cell) or not FORMULA.match(cell)


def test_a_negative_number_stays_one() -> None:
    stream = io.StringIO()
    write_csv(stream, [[-1.5, "-1.5", "+3", "-x", "=1+1", " @sum"]])
    assert stream.getvalue() == "-1.5,-1.5,+3,'-x,'=1+1,' @sum\n"
