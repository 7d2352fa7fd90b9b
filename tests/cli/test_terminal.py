"""What people see on a terminal: nothing torn, nothing cut within words, colours where wanted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pseudo_terminal import PseudoTerminal

from edgekit.cli import screen, tabular
from edgekit.cli.screen import Screen, wrapped

# Lines of others, by every way there is, while displays change.
NOISE = """
import logging, os, subprocess, sys, threading, time
from edgekit.cli import console
logging.basicConfig(format="%(message)s")

def write():
    for i in range(20):
        logging.getLogger("library").warning("line of a logger %d", i)
        os.write(1, b"line of C on 1, %d\\n" % i)
        os.write(2, b"line of C on 2, %d\\n" % i)
        print("line of Python", i)
        sys.stderr.write(f"line in parts ")
        sys.stderr.flush()
        time.sleep(0.02)
        sys.stderr.write(f"{i}\\n")

writer = threading.Thread(target=write)
with console.status("loading something with a long name") as notify:
    writer.start()
    for i in range(20):
        notify(f"step 1: training candidates, {i} of 20")
        time.sleep(0.03)
    subprocess.run(["sh", "-c", "echo line of a process; printf 'bar 9%%\\rline of a bar'"])
    console.note("line of a note")
    console.warn("of a warning")
    writer.join()
with console.progress() as display:
    task = display.add_task("measuring", total=10)
    for i in range(10):
        display.update(task, completed=i)
        os.write(2, b"line while measuring %d\\n" % i)
        time.sleep(0.03)
    console.say("line of a result")
console.say("done")
"""


def test_lines_of_others_never_tear_a_display(pseudo_terminal: PseudoTerminal) -> None:
    seen = pseudo_terminal(NOISE)
    assert seen.code == 0
    assert "training candidates" in seen.raw
    wanted = [
        *(f"{text}{i}" for i in range(20) for text in (
            "line of a logger ", "line of C on 1, ", "line of C on 2, ", "line of Python ",
            "line in parts ",
        )),
        "line of a process", "line of a bar", "line of a note", "warning: of a warning",
        *(f"line while measuring {i}" for i in range(10)), "line of a result", "done",
    ]  # fmt: skip
    assert sorted(seen.lines) == sorted(wanted)  # each whole, and nothing else is left
    assert seen.lines[-1] == "done"
    assert "0:00:00 done, about 0:00:0" in seen.raw
    for frame in seen.frames:
        for line in frame.split("\n"):
            assert not line or line in wanted or re.match(r"[⠀-⣿] ", line), frame


def test_a_display_is_gone_whatever_ends_it(pseudo_terminal: PseudoTerminal) -> None:
    seen = pseudo_terminal("""
        import os
        from edgekit.cli import console
        try:
            with console.status("at work"):
                os.write(2, b"last words")
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            console.note("interrupted")
        os.write(2, b"on the terminal again\\n")
    """)
    assert seen.lines == ["last words", "interrupted", "on the terminal again"]
    assert seen.raw.count("\x1b[?25l") == seen.raw.count("\x1b[?25h") == 1


def test_finished_steps_are_a_table_that_grows(pseudo_terminal: PseudoTerminal) -> None:
    seen = pseudo_terminal("""
        import time
        from edgekit.cli import console
        with console.status("at work") as notify:
            for i in range(20):
                notify.table(["step", "change"], [(str(n), f"change {n}") for n in range(i)])
                notify(f"step {i}: training, 1 of 3")
                time.sleep(0.05)
            notify("testing")
            time.sleep(0.2)
        console.say("done")
    """, lines=16)  # fmt: skip
    assert (seen.code, seen.text) == (0, "done")
    assert any("change 0" in frame and "change 2" in frame for frame in seen.frames)
    assert any("change 18" in frame and "change 8" not in frame for frame in seen.frames)
    assert all(len(frame.split("\n")) <= 16 for frame in seen.frames)  # nothing scrolled away
    last = next(frame for frame in reversed(seen.frames) if "testing" in frame)
    assert re.search(r"testing  0:00:0\d$", last)  # whose count is not that of what was before


TABLE = """
from edgekit.cli import console
console.table(
    ["file", ("size", "right"), ("agreement", "right"), "time"],
    [("out/a-name-that-is-longer-than-all-there-is-room-for-on-a-screen-of-that-width.onnx",
      "1.20 MiB", "85.2 dB", "rejected"), ("out/short.tflite", "0.31 MiB", "9.5 dB", "0.1 s")],
    folder="out",
)
console.warn("a sentence that is longer than the eighty columns of a usual screen, \\u00b1 a word")
console.go_on("edgekit", "export", "runs/a-run-of-a-long-name", "--target", "all", "-o", "my files")
"""


@pytest.mark.parametrize("columns", [80, 40, 20])
def test_names_are_shortened_and_words_stay_whole(
    columns: int, pseudo_terminal: PseudoTerminal
) -> None:
    seen = pseudo_terminal(TABLE, columns=columns)
    assert seen.code == 0
    words = set(re.split(r"\s+", seen.text))
    for word in ("1.20", "MiB", "85.2", "rejected", "short.tflite", "sentence", "'my files'"):
        assert word in words or word in seen.text.replace("\n", " ")
    assert re.search(r"a-\S*…\S*\.onnx", seen.text)
    if columns == 80:
        assert seen.lines[3].endswith("85.2 dB   rejected") or "rejected" in seen.lines[4]


def test_a_pipe_gets_lines_of_80_columns_and_no_codes(
    tmp_path: Path, package_env: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TABLE], env={**package_env, "FORCE_COLOR": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert re.search(r"^ a-name-that\S*…\S*width\.onnx", done.stdout, re.MULTILINE)
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 2


COLOURS = """
import time
from edgekit.cli import console
with console.status("at work"):
    time.sleep(0.2)
console.warn("mind this")
console.table(["file", "verdict"], [("a", "faster"), ("rejected.onnx", "rejected")])
console.say("passed")
console.fail("it went wrong", "Error", 3)
"""


def test_good_and_bad_news_are_coloured(pseudo_terminal: PseudoTerminal) -> None:
    raw = pseudo_terminal(COLOURS).raw
    for coloured in (
        "\x1b[1;33mwarning:\x1b[0m mind this", "\x1b[32mfaster\x1b[0m", "\x1b[31mrejected\x1b[0m",
        "\x1b[32mpassed\x1b[0m", "\x1b[1;31merror:\x1b[0m it went wrong",
    ):  # fmt: skip
        assert coloured in raw
    assert "\x1b[31mrejected\x1b[0m.onnx" not in raw


def test_no_color_is_obeyed(pseudo_terminal: PseudoTerminal) -> None:
    seen = pseudo_terminal(COLOURS, NO_COLOR="1")
    assert "at work" in seen.raw
    assert not re.search(r"\x1b\[[\d;]*m", seen.raw)


def test_a_dumb_terminal_gets_text_alone(pseudo_terminal: PseudoTerminal) -> None:
    seen = pseudo_terminal(COLOURS, TERM="dumb")
    assert seen.lines[0] == "warning: mind this"
    assert "\x1b" not in seen.raw


PLAIN = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


def test_without_utf8_everything_is_ascii(pseudo_terminal: PseudoTerminal) -> None:
    streams = (
        'import sys; [s.reconfigure(errors="backslashreplace") for s in (sys.stdout, sys.stderr)]'
    )
    seen = pseudo_terminal(f"{streams}\n{COLOURS}\n{TABLE}", **PLAIN)
    assert seen.code == 0
    assert seen.raw.isascii()
    assert "| at work" in seen.raw or "/ at work" in seen.raw or "- at work" in seen.raw
    assert re.search(r"^ -{20,}$", seen.text, re.MULTILINE)
    assert re.search(r"a-\S*\.\.\.\S*\.onnx", seen.text)
    assert "screen, +-" in seen.text
    assert "\\u" not in seen.text


@pytest.mark.parametrize("words", ["list", "devices", "describe mobilenetv1@0.25 --size 32"])
@pytest.mark.parametrize("columns", [80, 40])
def test_commands_on_odd_terminals(
    words: str, columns: int, pseudo_terminal: PseudoTerminal
) -> None:
    seen = pseudo_terminal(words.split(), columns=columns, NO_COLOR="1", **PLAIN)
    assert seen.code == 0, seen.text
    assert seen.raw.isascii()
    assert "\\u" not in seen.text
    assert "Traceback" not in seen.text


def test_a_command_line_is_broken_as_a_shell_reads_it() -> None:
    command = "edgekit search net --budget 'latency=0.6x, size=2MB' -o out --data some/folder"
    lines = wrapped(f"it is kept; go on with: {command}", 50)
    assert all(len(line) <= 50 for line in lines)
    start = next(i for i, line in enumerate(lines) if "edgekit" in line)
    typed = "\n".join(lines[start:])
    assert re.sub(r" \\\n\s+", " ", typed[typed.index("edgekit") :]) == command


def test_a_table_without_room_becomes_lists() -> None:
    heads = ["name", ("latency", "right"), ("memory", "right"), ("accuracy", "right")]
    rows = [("a-very-long-name.onnx", "1.234 ms", "12.5 MiB", "97.25 %")]
    shown = list(tabular.laid_out(heads, rows, Screen(terminal=True, width=30)))
    assert shown[1:-1] == [
        " name      a-very-l…-name.onnx", " latency   1.234 ms", " memory    12.5 MiB",
        " accuracy  97.25 %",
    ]  # fmt: skip


def test_only_whole_words_are_news() -> None:
    assert (
        screen.coloured_result("a/passed.onnx is not-rejected") == "a/passed.onnx is not-rejected"
    )
    assert screen.coloured_result("ok  torch").startswith("\x1b[32mok\x1b[0m  ")


def test_a_bar_without_room_is_left_out() -> None:
    assert wrapped("   12.38%  cat     ████", 40) == ["   12.38%  cat     ████"]
    assert wrapped("   12.38%  cat     ████", 18) == ["   12.38%  cat"]


def test_help_on_a_narrow_terminal_breaks_no_word(pseudo_terminal: PseudoTerminal) -> None:
    seen = pseudo_terminal(["profile", "--help"], columns=40)
    assert seen.code == 0
    assert "  --seconds S\n    Measure" in seen.text
    wide = pseudo_terminal(["profile", "--help"], columns=80)
    words = set(wide.text.split())
    assert {word for word in seen.text.split() if word.isalpha()} <= words


@pytest.mark.parametrize("words", ["--help", "devices --help", "describe --help"])
def test_examples_in_help_fit_a_narrow_terminal(
    words: str, pseudo_terminal: PseudoTerminal
) -> None:
    seen = pseudo_terminal(words.split(), columns=40)
    assert seen.code == 0
    assert "  edgekit " in seen.text
    assert all(len(line) <= 40 for line in seen.text.splitlines()), seen.text


def test_a_reader_that_goes_away_ends_a_command_quietly(
    tmp_path: Path, package_env: dict[str, str]
) -> None:
    for words in ("list", "devices", "export --help"):
        done = subprocess.run(
            ["sh", "-c", f'("$0" -m edgekit {words} 2>err; echo $? >code) | true', sys.executable],
            cwd=tmp_path, env=package_env, check=True,
        )  # fmt: skip
        assert done.returncode == 0
        assert (tmp_path / "err").read_text() == ""
        assert (tmp_path / "code").read_text() == "0\n"


def test_lines_of_a_network_stand_above_the_progress(
    pseudo_terminal: PseudoTerminal, tmp_path: Path
) -> None:
    (tmp_path / "noisy.py").write_text(
        "import logging, os, time\n"
        "from torch import nn\n"
        "def net():\n"
        "    time.sleep(0.5)\n"
        "    print('a line of print')\n"
        "    logging.getLogger('noisy').warning('a line of a logger')\n"
        "    os.write(1, b'a line of C\\n')\n"
        "    time.sleep(0.5)\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(3))\n"
    )
    seen = pseudo_terminal(["describe", "noisy:net", "--size", "8"])
    assert seen.code == 0, seen.text
    assert "loading noisy:net" in seen.raw
    assert "loading" not in seen.text
    for line in ("a line of print", "a line of a logger", "a line of C"):
        assert line in seen.lines


def test_columns_stand_closer_where_that_saves_lines() -> None:
    heads = [("name", "left"), ("what it is", "left")]
    rows = [("a", "one two three"), ("bcd", "four")]
    assert tabular.layout(heads, rows, 30, (3, 2, 1)) == (3, [None, None])
    gap, widths = tabular.layout(heads, rows, 20, (3, 2, 1)) or (0, [])
    assert (gap, widths) == (1, [None, None])
    assert tabular.layout(heads, rows, 18, (3, 2, 1)) == (2, [4, 10])
