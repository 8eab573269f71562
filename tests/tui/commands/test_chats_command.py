"""`chats`: what was said, listed and read."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from tui.chat.answer import Answer
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Write


def test_without_chats_it_says_how_to_begin(run: Run) -> None:
    assert "deepseek-tui ask" in run("chats").out
    assert run("chats", "--json").json == {"chats": [], "more": False}
    ran = run("chats", "show", "last")
    assert ran.status == 1
    assert "There are no chats yet" in ran.err


def test_the_list_is_newest_first_and_bounded(run: Run, preset: Write) -> None:
    preset(keep_alive_s=2)
    for question in ("first", "second", "third"):
        run("ask", "-p", "echo", question)
    head, *lines = run("chats").out.splitlines()
    assert head.split() == ["ID", "LAST", "USED", "MESSAGES", "PRESET", "TITLE"]
    assert [line.split()[-1] for line in lines] == ["third", "second", "first"]
    assert [line.split()[3] for line in lines] == ["2", "2", "2"]
    listed = run("chats", "list", "--limit", "2", "--json").json
    assert [chat["title"] for chat in listed["chats"]] == ["third", "second"]
    assert listed["more"] is True
    assert run("chats", "list", "--limit", "0").status == 2


def test_a_chat_is_found_by_the_beginning_of_its_id(run: Run, preset: Write) -> None:
    preset(text="answer")
    run("ask", "-p", "echo", "question")
    chat = run("chats", "--json").json["chats"][0]["id"]
    out = run("chats", "show", chat[:8]).out
    assert out.splitlines()[0] == "question"
    assert "echo · echo · " in out
    assert out.endswith("\nanswer\n")
    ran = run("chats", "show", "zzz")
    assert ran.status == 1
    assert ran.err.splitlines()[0] == "deepseek-tui: There is no such chat"


def test_thoughts_are_one_line_unless_wanted(run: Run, preset: Write) -> None:
    preset(text="Yes.", reasoning="hm hm hm")
    run("ask", "-p", "echo", "hi")
    out = run("chats", "show", "last").out
    assert "3 tokens)" in out
    assert "hm" not in out
    assert "<think>\nhm hm hm\n</think>" in run("chats", "show", "last", "--show-thinking").out


def test_an_error_stands_below_its_answer(run: Run, preset: Write) -> None:
    preset(fail="load")
    run("ask", "-p", "echo", "hi")
    out = run("chats", "show", "last").out
    assert " · failed\n" in out
    assert "! There is too little memory for this model" in out
    error = run("chats", "show", "last", "--json").json["messages"][-1]["error"]
    assert error["kind"] == "out_of_memory"


def test_a_damaged_database_is_told_without_a_traceback(run: Run, home: Path) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data" / "chats.sqlite3").write_bytes(b"this is no database, but long enough to look at" * 40)
    ran = run("chats")
    assert ran.status == 1
    assert "The conversations cannot be used" in ran.err
    assert "Keep a copy" in ran.err
    assert run("ask", "hi").status == 1


def test_conversations_of_a_newer_version_are_left_alone(run: Run, home: Path) -> None:
    (home / "data").mkdir(parents=True)
    with sqlite3.connect(home / "data" / "chats.sqlite3") as database:
        database.execute("PRAGMA user_version = 99")
    ran = run("chats")
    assert ran.status == 1
    assert "newer deepseek-tui" in ran.err


def test_what_is_not_sent_to_the_model_is_marked(run: Run, preset: Write) -> None:
    preset(text="answer")
    run("ask", "-p", "echo", "old")
    store = Store()
    chat = store.conversations()[0].id
    asked = Asked("echo", "echo", "model")
    row = store.begin(new_id(), asked, "new", chat)
    store.finish(row.id, Answer())
    question = store.message(row.parent or "")
    assert question is not None
    again = store.begin_again(new_id(), asked, question, None, {question.id: "It was old."})
    store.finish(again.id, Answer())
    store.close()
    before, mark, after = run("chats", "show", "last").out.partition("── not sent to the model from here up ──")
    assert mark
    assert "old" in before
    assert after.startswith("\nIn its place, a summary:\nIt was old.\n")
    assert run("chats", "show", "last", "--json").json["messages"][2]["context_start"] == "It was old."
