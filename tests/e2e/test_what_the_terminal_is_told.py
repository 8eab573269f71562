"""What is written to the terminal besides text: modes, taken back at every end, and colours, as many as it has."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Terminal

BASIC = {str(code) for code in (*range(30, 38), *range(40, 48), *range(90, 98), *range(100, 108))}
NORMALLY_ON = {"7", "25"}
"""Wrapping at the right edge, and the cursor."""

PROGRAM = """
import sys
from tui.line import profile
profile.choose(profile.decide({{"TERM": "xterm-256color"}}, {name!r}))
import tui.app
tui.app.ChatScreen.key_f12 = lambda self: 1 / 0
sys.exit(tui.app.run_app())
"""


def settings(home: Path, **values: str) -> None:
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "config.toml").write_text("".join(f"{name} = {value}\n" for name, value in values.items()))


def modes(raw: str) -> dict[str, str]:
    """Return the last word about each private mode: "h" for on, "l" for off."""
    return {mode: last for numbers, last in re.findall(r"\x1b\[\?([\d;]+)([hl])", raw) for mode in numbers.split(";")}


def colour_codes(raw: str) -> set[str]:
    """Return the codes for colours: "38;5" and "38;2" for those of 256 and of 16 million, else one number."""
    codes = set()
    for run in re.findall(r"\x1b\[([0-9;]*)m", raw):
        codes |= {f"38;{kind}" for kind in re.findall(r"\b[34]8;([25]);", run)}
        codes |= BASIC.intersection(re.sub(r"\b[34]8;(5;\d+|2;\d+;\d+;\d+)", "", run).split(";"))
    return codes


@pytest.mark.parametrize(
    ("name", "end"),
    [("local", "left"), ("ssh", "left"), ("ssh", "told to end"), ("ssh", "hung up"), ("ssh", "crashed")],
)
def test_what_was_switched_is_switched_back_at_every_end(terminal, home: Path, name: str, end: str) -> None:
    (home / "program.py").write_text(PROGRAM.format(name=name))
    shell = home / "shell"
    shell.write_text(f"#!/bin/sh\nexec {sys.executable} {home / 'program.py'}\n")
    shell.chmod(0o755)
    screen: Terminal = terminal(program=str(shell), width=80, height=24)
    screen.see("Ask anything")
    assert {"1000", "1004", "1006", "1049", "2004"} <= {mode for mode, on in modes(screen.raw).items() if on == "h"}
    assert ("1002" in modes(screen.raw)) == (name == "ssh")
    assert ("1003" in modes(screen.raw)) == (name == "local")
    match end:
        case "left":
            screen.press("^q")
        case "told to end":
            os.kill(screen.child.pid, signal.SIGTERM)
        case "hung up":
            os.kill(screen.child.pid, signal.SIGHUP)
        case "crashed":
            screen.press("\x1b[24~")
    screen.ended()
    assert {mode for mode, on in modes(screen.raw).items() if (on == "l") == (mode in NORMALLY_ON)} == set()
    assert len(re.findall(r"\x1b\[>\d+u", screen.raw)) == len(re.findall(r"\x1b\[<\d*u", screen.raw)) == 1
    assert ("ZeroDivisionError" in screen.raw) == (end == "crashed")


def test_without_the_mouse_the_terminal_hears_nothing_of_one(terminal, echo, home: Path) -> None:
    settings(home, mouse="false")
    echo()
    screen = terminal("-p", "demo")
    screen.see("Demo · echo")
    screen.leave()
    assert not modes(screen.raw).keys() & {"9", "1000", "1001", "1002", "1003", "1005", "1006", "1015", "1016"}


@pytest.mark.parametrize(("wish", "expected"), [("256", {"38;5"}), ("16", BASIC), ("none", set()), ("", set())])
def test_there_are_as_many_colours_as_asked_for(terminal, echo, home: Path, wish: str, expected: set[str]) -> None:
    """None at all by the settings, and by NO_COLOR on a terminal that has all of them."""
    if wish:
        settings(home, colours=f'"{wish}"')
    echo()
    screen = terminal("-p", "demo", TERM="xterm-256color", COLORTERM="truecolor", **({} if wish else {"NO_COLOR": "1"}))
    screen.see("Demo · echo")
    found = colour_codes(screen.raw)
    assert found <= expected
    assert bool(found) == bool(expected)


def test_on_a_light_terminal_the_screen_is_light(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "demo", TERM="xterm-256color", COLORTERM="truecolor", COLORFGBG="0;15")
    screen.see("Ask anything")
    backgrounds = [sum(map(int, found)) / 3 for found in re.findall(r"\b48;2;(\d+);(\d+);(\d+)", screen.raw)]
    assert sum(level > 128 for level in backgrounds) > len(backgrounds) * 0.9


def test_errors_that_go_into_a_file_leave_the_screen_where_it_is(terminal, echo, home: Path) -> None:
    echo()
    shell = home / "shell"
    shell.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" 2>{home / "errors"}\n')
    shell.chmod(0o755)
    screen = terminal("-p", "demo", program=str(shell))
    screen.see("Demo · echo")
    screen.leave()
    assert (home / "errors").read_text() == ""


@pytest.mark.parametrize("mend", ["^l", "/redraw\r"])
def test_what_another_program_wrote_over_the_screen_can_be_drawn_over(terminal, echo, mend: str) -> None:
    echo()
    screen = terminal("--profile", "ssh", "-p", "demo")
    screen.see("Ask anything")
    with open(f"/proc/{screen.child.pid}/fd/2", "w") as shared:  # noqa: PTH123 - the terminal itself
        shared.write("\x1b[15;60HBroadcast message")
    screen.see("Broadcast message")
    screen.press(mend) if mend.startswith("^") else screen.type(mend)
    screen.see_gone("Broadcast message")
