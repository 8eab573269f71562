"""The terminal goes: the screen is gone within two seconds, the answer goes on, and the next screen has all of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import processes_of
from tests.e2e.conftest import Terminal

WORDS = " ".join(f"word{number}" for number in range(100))
THOUGHT = " ".join(f"hm{number}" for number in range(220))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(*arguments: str) -> str:
    """Run a command of ours; return what it prints."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "tui", *arguments], capture_output=True, text=True, check=False, timeout=30
    ).stdout


def test_an_idle_screen_ends_with_its_terminal(terminal, echo) -> None:
    echo(text="fine")
    screen = terminal("-p", "demo")
    screen.ask("hello")
    screen.see("saved")
    screen.cut()
    screen.gone()


def test_a_screen_that_is_just_starting_ends_with_its_terminal(terminal, echo) -> None:
    echo()
    for seconds in (0.05, 0.3, 0.6):
        screen = terminal("-p", "demo")
        time.sleep(seconds)
        screen.cut()
        screen.gone()


def test_while_the_model_loads_the_question_is_answered_all_the_same(terminal, echo, hosts) -> None:
    echo(text="here it is", load_s=2.5)
    screen = terminal("-p", "demo")
    screen.see("reading the model")
    screen.ask("are you there?")
    screen.see("are you there")
    screen.cut()
    screen.gone()
    assert hosts()
    again = terminal()
    again.see("here it is")
    again.see("saved")


def test_a_question_sent_at_the_very_last_moment_still_reaches_a_model(terminal, echo, hosts) -> None:
    """No model is loaded: its process has to be started before there is anybody to hand the question to."""
    echo(text="just in time")
    screen = terminal("-p", "demo")
    screen.see("Demo · echo │")
    for pid in hosts():
        os.kill(pid, signal.SIGKILL)
    screen.see("not loaded")
    screen.ask("quick")
    screen.cut()
    screen.gone()
    again = terminal()
    again.see("just in time")
    again.see("saved")


def test_while_a_question_about_fetching_is_open(terminal, echo) -> None:
    echo()
    screen = terminal("-p", "8b-q4_k_m")
    screen.see(r"is not here yet", 20)
    screen.cut()
    screen.gone()


def test_where_the_shell_ignores_the_hang_up_nothing_spins_on_the_dead_terminal(
    terminal, echo, hosts, home: Path
) -> None:
    """Nobody signals the screen then: it sees its terminal dead, or it would read that for ever."""
    echo(text=WORDS, tokens_per_second=40)
    shell = home / "shell"
    shell.write_text(f'#!/bin/sh\ntrap "" HUP\nshift 3\n{sys.executable} -P -m tui "$@"\ntrue\n')
    shell.chmod(0o755)
    screen: Terminal = terminal("-p", "demo", program=str(shell))
    screen.ask("talk")
    screen.see("word20")
    (pid,) = [pid for pid, command in processes_of(home).items() if f"{sys.executable} -P -m tui" in command]
    before = cpu_s(pid)
    screen.cut()
    started, used = time.monotonic(), 0.0
    try:
        while Path(f"/proc/{pid}/exe").exists():
            assert time.monotonic() - started < 2
            used = cpu_s(pid) - before
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert used < 0.5
    assert hosts()


def test_while_it_streams_the_answer_goes_on_and_two_others_see_the_rest_with_true_figures(terminal, echo) -> None:
    echo(text=WORDS, reasoning=THOUGHT, tokens_per_second=60)
    screen = terminal("-p", "demo")
    screen.ask("think")
    before, at = thought_tokens(screen), time.monotonic()
    screen.cut()
    screen.gone()
    second, third = terminal(), terminal()
    thought_tokens(second)
    second.read(1.0)
    grown, took_s = thought_tokens(second) - before, time.monotonic() - at
    assert 0.7 * 60 * took_s < grown < 1.2 * 60 * took_s
    for again in (second, third):
        again.see(r"│ (4[5-9]|5\d|6[0-5])\.\d tok/s │")
    second.cut()
    second.gone()
    third.see(r"thought for [34](\.\d)? s · 220 tokens", 20)
    third.see("word99", 20)
    third.see("saved")


def thought_tokens(screen: Terminal) -> int:
    found = re.search(r"thinking · (\d+) tokens", screen.see(r"thinking · [1-9]\d+ tokens"))
    assert found is not None
    return int(found[1])


def test_ps_shows_what_was_left_running_and_stop_ends_it(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=5)
    screen = terminal("-p", "demo")
    screen.ask("talk")
    screen.see("word3")
    screen.cut()
    screen.gone()
    (host,) = json.loads(run("ps", "--json"))["hosts"]
    assert (host["phase"], host["clients"]) == ("decode", 0)
    assert "answering" in run("ps")
    assert "--force ends it" in run("stop", host["key"])
    assert "ended" in run("stop", "--force", host["key"])
    assert run("ps").strip() == "No model is loaded."
    again = terminal()
    again.see("word3")
    again.see("Stopped|Interrupted|Cut off")


def test_an_ask_whose_terminal_goes_as_soon_as_it_is_committed_is_answered(terminal, echo, home: Path) -> None:
    echo(text=WORDS, tokens_per_second=200)
    asking = terminal("ask", "-p", "demo", "talk")
    while not list(home.glob("state/spool/*.jsonl")):
        asking.read(0.01)
    asking.cut()
    asking.gone()
    again = terminal("-p", "demo")
    again.see("word99", 20)
    again.see("saved")


def test_an_ask_that_sees_its_terminal_gone_before_the_signal_comes_is_answered(terminal, echo) -> None:
    echo(text=WORDS, tokens_per_second=100)
    ours, theirs = os.openpty()
    command = [sys.executable, "-P", "-m", "tui", "ask", "-p", "demo", "talk"]
    # Not its controlling terminal: no signal comes at all.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, start_new_session=True) as asking:
        os.close(theirs)
        assert os.read(ours, 1)
        os.close(ours)
        assert asking.wait(5) == 128 + signal.SIGHUP
    again = terminal("-p", "demo")
    again.see("word99", 20)
    again.see("saved")
