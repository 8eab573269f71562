"""`ask` when something ends it: Ctrl+C, a closed pipe, a killed host; and when it has to wait in line."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Start, Write

LONG = "one two three four five six seven eight nine ten " * 40


def last_answer(run: Run) -> dict[str, object]:
    return dict(run("chats", "show", "last", "--json").json["messages"][-1])


def host_pid(run: Run) -> int | None:
    hosts = run("ps", "--json").json["hosts"]
    return int(hosts[0]["pid"]) if hosts else None


@pytest.fixture
def terminal(tmp_path: Path) -> Callable[..., pexpect.spawn]:
    """`terminal("ask", "hi")` begins a command in a pseudo-terminal of 80 columns."""
    from tests.tui.commands.conftest import COMMAND

    def call(*arguments: str) -> pexpect.spawn:
        program, *fixed = COMMAND
        return pexpect.spawn(
            program, [*fixed, *arguments], cwd=str(tmp_path), timeout=15, encoding="utf-8", dimensions=(24, 80)
        )

    return call


def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(
    terminal: Callable[..., pexpect.spawn], run: Run, preset: Write
) -> None:
    preset(text=LONG, tokens_per_second=20)
    child = terminal("ask", "-p", "echo", "hi")
    child.expect("two three four")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130
    assert "Traceback" not in child.before
    answer = last_answer(run)
    assert answer["state"] == "stopped"
    assert str(answer["text"]).startswith("one two three four")


def test_loading_shows_percent_on_one_line_and_can_be_stopped(
    terminal: Callable[..., pexpect.spawn], run: Run, preset: Write
) -> None:
    preset(load_s=20)
    child = terminal("ask", "-p", "echo", "hi")
    child.expect(r"\r\x1b\[Kloading Echo · reading \d+%")
    began = time.monotonic()
    child.sendintr()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 130
    assert time.monotonic() - began < 3
    assert "\n" not in child.before.replace("\r\n", "").replace("^C", "")
    assert last_answer(run)["state"] == "stopped"


def test_a_hidden_thought_shows_its_length_and_leaves_no_trace(
    terminal: Callable[..., pexpect.spawn], preset: Write
) -> None:
    preset(reasoning="hm " * 30, text="Yes.", tokens_per_second=60)
    child = terminal("ask", "-p", "echo", "hi")
    child.expect(r"thinking · \d+ tokens")
    child.expect(pexpect.EOF)
    assert child.before.endswith("\r\x1b[KYes.\r\n")


def test_a_second_ctrl_c_leaves_at_once_although_the_host_hangs(
    terminal: Callable[..., pexpect.spawn], run: Run, preset: Write, wait_until: Callable[..., None]
) -> None:
    preset(text=LONG, tokens_per_second=20)
    child = terminal("ask", "-p", "echo", "hi")
    child.expect("two three")
    pid = host_pid(run)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        child.sendintr()
        time.sleep(0.5)
        assert child.isalive()
        began = time.monotonic()
        child.sendintr()
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 130
        assert time.monotonic() - began < 2
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: last_answer(run)["state"] == "interrupted")
    assert str(last_answer(run)["text"]).startswith("one two")


def test_a_polite_kill_is_a_stop(start: Start, run: Run, preset: Write) -> None:
    preset(text=LONG, tokens_per_second=20)
    process = start("ask", "-p", "echo", "hi")
    assert process.stdout is not None
    assert process.stdout.read(8) == b"one two "
    process.terminate()
    assert process.wait(10) == 130
    assert last_answer(run)["state"] == "stopped"


def test_a_reader_that_leaves_stops_the_answer_in_silence(start: Start, run: Run, preset: Write) -> None:
    preset(text="first line\n" * 200, tokens_per_second=40)
    process = start("ask", "-p", "echo", "hi")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"first line\n"
    process.stdout.close()
    assert process.wait(10) == 130
    assert process.stderr.read() == b"loading Echo\n"
    assert last_answer(run)["state"] == "stopped"


def test_a_reader_that_does_not_read_does_not_keep_ctrl_c_waiting(start: Start, run: Run, preset: Write) -> None:
    preset(text="x" * 60 + "\n", repeat=4000)
    process = start("ask", "-p", "echo", "hi", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130
    assert last_answer(run)["state"] in {"done", "stopped"}


@pytest.mark.parametrize(
    ("phase", "doing", "said"),
    [
        ("loading", "while loading the model", ""),
        ("prefill", "while reading the prompt", ""),
        ("decode", "while answering", "one two three"),
    ],
)
def test_a_killed_host_is_told_and_the_part_kept(
    start: Start, run: Run, preset: Write, wait_until: Callable[..., None], phase: str, doing: str, said: str
) -> None:
    slow = {"loading": {"load_s": 30}, "prefill": {"prefill_tokens_per_second": 1}, "decode": {}}[phase]
    preset(text=LONG, tokens_per_second=20, **slow)
    process = start("ask", "-p", "echo", "hi")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(len(said)).decode() == said
    wait_until(lambda: [host["phase"] for host in run("ps", "--json").json["hosts"]] == [phase])
    pid = host_pid(run)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert process.wait(10) == 1
    errors = process.stderr.read().decode().splitlines()
    assert errors[1:] == [
        f"deepseek-tui: Echo: its process ended {doing}",
        "It was killed or crashed without a word.",
        "What was said is kept. Retry starts it again.",
    ]
    shown = run("chats", "show", "last")
    assert "interrupted" in shown.out
    assert said + process.stdout.read().decode().rstrip() in shown.out


def test_an_ask_that_is_killed_leaves_an_answer_that_is_finished_without_it(
    start: Start, run: Run, preset: Write, wait_until: Callable[..., None]
) -> None:
    preset(text="one two three four five six", tokens_per_second=6)
    process = start("ask", "-p", "echo", "hi")
    assert process.stdout is not None
    assert process.stdout.read(4) == b"one "
    process.kill()
    assert "being written" in run("chats", "show", "last").out
    wait_until(lambda: last_answer(run)["state"] == "done")
    assert last_answer(run)["text"] == "one two three four five six"


def test_beside_a_busy_model_it_waits_in_sight_and_nothing_is_ended(
    start: Start, run: Run, preset: Write, wait_until: Callable[..., None]
) -> None:
    preset("busy", text="one two three four five six seven eight nine ten", tokens_per_second=5)
    preset("other", text="Mine.")
    first = start("ask", "-p", "busy", "hi")
    assert first.stdout is not None
    assert first.stdout.read(4) == b"one "
    second = run("ask", "-p", "other", "--json", "hi")
    assert {"event": "waiting", "title": "Busy", "phase": "decode"} in second.events
    assert second.events[-2]["text"] == "Mine."
    assert first.wait(10) == 0
    assert first.stdout.read().endswith(b"nine ten\n")


def test_waiting_in_line_is_one_line_on_stderr_and_can_be_given_up(
    start: Start, run: Run, preset: Write, wait_until: Callable[..., None]
) -> None:
    preset("busy", text=LONG, tokens_per_second=10)
    preset("other")
    first = start("ask", "-p", "busy", "hi")
    assert first.stdout is not None
    assert first.stdout.read(4) == b"one "
    second = start("ask", "-p", "other", "hi")
    assert second.stderr is not None
    expected = "in line: Busy is answering and is not ended unasked (--evict ends it)\n"
    assert second.stderr.readline().decode() == expected
    time.sleep(0.6)
    second.send_signal(signal.SIGINT)
    assert second.wait(5) == 130
    assert second.stderr.read() == b""
    assert first.poll() is None
    first.terminate()
    assert first.wait(10) == 130


def test_evict_ends_a_busy_model(start: Start, run: Run, preset: Write) -> None:
    preset("busy", text=LONG, tokens_per_second=10)
    preset("other", text="Mine.")
    first = start("ask", "-p", "busy", "hi")
    assert first.stdout is not None
    assert first.stdout.read(4) == b"one "
    second = run("ask", "-p", "other", "--evict", "hi")
    assert (second.status, second.out) == (0, "Mine.\n")
    assert "ending Busy" in second.err
    assert first.wait(10) == 130


def test_an_idle_model_makes_room_and_it_is_said(run: Run, preset: Write) -> None:
    preset("idle", keep_alive_s=30)
    preset("other", text="Mine.")
    run("ask", "-p", "idle", "hi")
    ran = run("ask", "-p", "other", "hi")
    assert ran.out == "Mine.\n"
    assert ran.err == "ending Idle to free its memory\nloading Other\n"


def test_two_questions_to_one_model_are_answered_one_after_the_other(start: Start, run: Run, preset: Write) -> None:
    preset(text="one two three four five six", tokens_per_second=6, keep_alive_s=1)
    first = start("ask", "-p", "echo", "hi")
    assert first.stdout is not None
    assert first.stdout.read(4) == b"one "
    second = run("ask", "-p", "echo", "hi")
    assert second.out == "one two three four five six\n"
    assert "in line: Echo gives another answer first" in second.err
    assert first.wait(5) == 0
