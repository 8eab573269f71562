"""`chats delete`: a conversation and all that is kept of it is gone, and never by accident."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect

from backends import chat_states, paths
from backends.host import spool
from tests.tui.commands.chats_here import ASKED
from tui.chat.answer import fold
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run, Start, Write


def listed(run: Run) -> list[str]:
    return [chat["title"] for chat in run("chats", "--json").json["chats"]]


def test_a_chat_is_deleted_with_everything_that_is_kept_of_it(run: Run, preset: Write) -> None:
    preset(keep_alive_s=20)
    for question in ("first", "second"):
        run("ask", "-p", "echo", question)
    chats = {chat["title"]: chat["id"] for chat in run("chats", "--json").json["chats"]}
    kept = {title: chat_states.path_of(chat, "0123456789abcdef") for title, chat in chats.items()}
    paths.private(paths.chat_states())
    for path in kept.values():
        path.write_bytes(b"a state")
    ran = run("chats", "delete", chats["first"][:8], "--yes")
    assert (ran.status, ran.out) == (0, "Deleted: first\n")
    assert listed(run) == ["second"]
    assert not kept["first"].exists()
    assert kept["second"].exists()
    ran = run("chats", "delete", "last", "--yes", "--json")
    assert ran.json == {"deleted": chats["second"], "messages": 2}
    assert listed(run) == []
    assert run("chats", "delete", "last", "--yes").status == 1
    run("stop")


def test_on_a_terminal_it_asks_first(run: Run, preset: Write, tmp_path: Path) -> None:
    preset()
    run("ask", "-p", "echo", "keep \x1b[31mme")
    store = Store()
    question = store.branch(store.conversations()[0].id)[0]
    store.finish(store.begin_again(new_id(), ASKED, question, None).id, fold([]))
    store.close()
    for key, status, left in (("n", 130, 1), ("\x04", 130, 1), ("y", 0, 0)):
        command = ["-P", "-m", "tui", "chats", "delete", "last"]
        child = pexpect.spawn(sys.executable, command, cwd=str(tmp_path), timeout=15, encoding="utf-8")
        child.expect(r"Delete “keep ␛\[31mme” \(3 messages, .*\) for good\? \[y/N\] ")
        child.send(key if key == "\x04" else f"{key}\r")
        child.expect(pexpect.EOF)
        child.wait()
        assert (child.exitstatus, len(listed(run))) == (status, left)


def test_where_nobody_can_be_asked_it_needs_yes(run: Run, preset: Write) -> None:
    preset()
    run("ask", "-p", "echo", "keep me")
    ran = run("chats", "delete", "last")
    assert ran.status == 2
    assert "--yes" in ran.err
    assert listed(run) == ["keep me"]


def test_a_chat_whose_answer_is_being_written_stays(run: Run, start: Start, preset: Write) -> None:
    preset(text="word " * 400, tokens_per_second=40)
    asking = start("ask", "-p", "echo", "busy", stdout=subprocess.PIPE)
    assert asking.stdout is not None
    assert asking.stdout.read(4) == b"word"
    ran = run("chats", "delete", "last", "--yes")
    assert ran.status == 1
    assert "still being written" in ran.err
    assert listed(run) == ["busy"]
    run("stop", "--force")


def test_a_spool_that_was_left_behind_is_not(run: Run, home: Path) -> None:
    store = Store()
    answer = new_id()
    os.close(spool.create(answer))
    row = store.begin(answer, Asked("echo", "echo", "model"), "lost")
    store.close()
    assert spool.answers() == [answer]
    assert run("chats", "delete", row.conversation, "--yes").status == 0
    assert spool.answers() == []


def test_an_unknown_chat_is_told(run: Run, preset: Write) -> None:
    preset()
    run("ask", "-p", "echo", "one")
    ran = run("chats", "delete", "zzz", "--yes")
    assert ran.status == 1
    assert "There is no such chat" in ran.err


def test_a_busy_host_holds_nobody_up(run: Run, start: Start, preset: Write) -> None:
    preset()
    run("ask", "-p", "echo", "old")
    preset(text="word " * 400, tokens_per_second=40)
    asking = start("ask", "-p", "echo", "busy", stdout=subprocess.PIPE)
    assert asking.stdout is not None
    assert asking.stdout.read(4) == b"word"
    old = next(chat["id"] for chat in run("chats", "--json").json["chats"] if chat["title"] == "old")
    began = time.monotonic()
    assert run("chats", "delete", old, "--yes").status == 0
    assert time.monotonic() - began < 8
    assert listed(run) == ["busy"]
    run("stop", "--force")
