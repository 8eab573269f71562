"""`ask` when the question is too long for the context, and when the model repeats itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from backends.events import PromptProgress, Text
from backends.host.wire import Record
from tui.chat import thrash
from tui.chat.answer import Answer
from tui.chat.thrash import SHORT, Short, Strain
from tui.commands.printing import JsonPrinter
from tui.commands.progress import Progress

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Write

LOOP = "Wait, let me check that again. The sum of the two numbers is not what I thought it was. " * 40


def test_a_question_that_is_too_long_is_told_with_what_helps_on_a_command_line(run: Run, preset: Write) -> None:
    preset(context=100)
    ran = run("ask", "-p", "echo", "word " * 120)
    assert (ran.status, ran.out) == (1, "")
    title, detail, hint = ran.err.splitlines()[-3:]
    assert title == "deepseek-tui: The question does not fit into the context"
    assert "121 tokens; the context holds 100" in detail
    assert "-p" in hint
    assert "^" not in ran.err
    error, done = run("ask", "-p", "echo", "--json", "word " * 120).events[-2:]
    assert (error["kind"], error["hint"], done["reason"]) == ("context_overflow", hint, "failed")
    saved = run("chats", "show", "last", "--json").json["messages"]
    assert [message["state"] for message in saved] == ["done", "failed"]


def test_a_model_that_repeats_itself_is_told_once_on_stderr(run: Run, preset: Write) -> None:
    preset(text=LOOP)
    ran = run("ask", "-p", "echo", "hi")
    assert ran.out.strip() == LOOP.strip()
    assert ran.err.count("note: the model repeats itself; Ctrl+C stops it") == 1


def test_in_json_a_loop_is_an_event_and_stderr_is_silent(run: Run, preset: Write) -> None:
    preset(text=LOOP)
    ran = run("ask", "-p", "echo", "--json", "hi")
    assert [event["event"] for event in ran.events].count("looping") == 1
    assert ran.err == ""
    assert "".join(event["text"] for event in ran.events if event["event"] == "text") == LOOP


def test_what_the_engine_has_to_say_is_a_note_once(capfd: pytest.CaptureFixture[str]) -> None:
    progress, printer, answer = Progress(), JsonPrinter(), Answer()
    lines = b""
    for number, event in enumerate(
        [
            PromptProgress(1, 9, note="It is \x1b[1mdamaged."),
            PromptProgress(9, 9, note="It is \x1b[1mdamaged."),
            Text("x"),
        ]
    ):
        answer.take(Record("a", number, 0.0, event))
        progress.answer(answer, thoughts=False)
        lines += printer.answer(answer)
    assert capfd.readouterr().err == "note: It is ␛[1mdamaged.\n"
    assert lines.count(b"damaged") == 2


def test_memory_that_is_too_small_is_a_note_with_what_helps_and_in_json_an_event(
    capfd: pytest.CaptureFixture[str],
) -> None:
    strain, answer = Strain("reads", 6_100_000_000, 0, 0.4), Answer()
    Progress().strained(strain, SHORT, answer, thoughts=False)
    Progress(quiet=True).strained(strain, SHORT, answer, thoughts=False)
    assert capfd.readouterr().err == (
        "note: Main memory no longer holds the model: each token reads 6.1 GB from the disk, 0.4 tokens/s. "
        "Close something, or ask with a smaller --context or another preset (-p). Ctrl+C stops it.\n"
    )
    (line,) = JsonPrinter().strained(strain, SHORT).splitlines()
    event = json.loads(line)
    assert (event["event"], event["kind"], event["bytes_per_token"]) == ("strain", "reads", 6_100_000_000)
    assert event["text"] == thrash.words(strain)
    assert event["limit_bytes"] is None


def test_in_a_control_group_it_is_the_limit_that_has_to_give(capfd: pytest.CaptureFixture[str]) -> None:
    strain, limited = Strain("reads", 6_100_000_000, 0, 0.4), Short(8_000_000_000)
    Progress().strained(strain, limited, Answer(), thoughts=False)
    told = capfd.readouterr().err
    assert "lets it have 8.0 GB of main memory in all. Raise that limit, or ask" in told
    assert "Close something" not in told
    assert json.loads(JsonPrinter().strained(strain, limited))["limit_bytes"] == 8_000_000_000
