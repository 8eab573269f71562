"""`chats` keeps conversations in order: named, pinned, put aside, brought back, found, looked after."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends import chat_states, paths
from tests.tui.commands.chats_here import begin, titles
from tests.tui.commands.in_process import runner
from tui.chat.answer import fold
from tui.chat.storing import shelf
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, new_id

if TYPE_CHECKING:
    from tests.tui.commands.conftest import Run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command line in this process, in an empty folder."""
    return runner(monkeypatch, capsys, tmp_path)


def test_a_chat_gets_a_name_and_its_old_one_back(here: Run) -> None:
    chat = begin("first words")
    assert here("chats", "rename", chat[:8], "A  better\nname").out == "Its title is: A better name\n"
    assert here("chats", "rename", "last", "", "--json").json["chat"]["title"] == "first words"
    assert here("chats", "rename", "zzz", "x").status == 1


def test_a_pinned_chat_is_first_but_not_the_last_used(here: Run) -> None:
    old = begin("old")
    begin("new")
    assert here("chats", "pin", old).out == "Pinned: old\n"
    assert titles(here) == ["old", "new"]
    head, first, _ = here("chats").out.splitlines()
    assert head.split()[-2:] == ["MARK", "TITLE"]
    assert first.split()[-2:] == ["pinned", "old"]
    assert here("chats", "show", "last").out.startswith("new\n")
    assert here("chats", "pin", old, "--off", "--json").json["chat"]["pinned_at"] is None
    assert titles(here) == ["new", "old"]


def test_an_archived_chat_is_out_of_the_list_and_found_again(here: Run) -> None:
    begin("kept")
    aside = begin("aside")
    here("chats", "archive", "last")
    assert titles(here) == ["kept"]
    assert [chat["id"] for chat in here("chats", "list", "--archived", "--json").json["chats"]] == [aside]
    assert len(here("chats", "list", "--all", "--json").json["chats"]) == 2
    assert here("chats", "archive", aside, "--off").out == "Back in the list: aside\n"
    assert here("chats", "list", "--archived").out.startswith("No chat was put aside.")


def test_what_was_thrown_away_on_the_screen_is_brought_back_or_gone_for_good(here: Run) -> None:
    chat = begin("oops")
    store = Store()
    shelf.throw_away(store, chat)
    assert titles(here) == []
    assert here("chats", "show", chat).status == 1
    assert "deleted" in here("chats", "list", "--deleted").out
    assert here("chats", "restore", chat[:6]).out == "Back again: oops\n"
    assert titles(here) == ["oops"]
    assert here("chats", "restore", "last").status == 1
    shelf.throw_away(store, chat)
    store.close()
    assert here("chats", "delete", "last", "--yes").status == 1
    assert here("chats", "delete", chat[:6], "--yes").out == "Deleted: oops\n"
    assert here("chats", "list", "--deleted").out == "There is nothing to restore.\n"


def test_what_was_thrown_away_a_week_ago_is_gone_for_good(here: Run) -> None:
    gone, kept = begin("gone", "and this"), begin("kept")
    state = chat_states.path_of(gone, "0123456789abcdef")
    paths.private(paths.chat_states())
    state.write_bytes(b"a state")
    store = Store()
    for chat, days in ((gone, 7.1), (kept, 6.9)):
        shelf.throw_away(store, chat)
        with store.transaction() as db:
            db.execute("UPDATE conversation SET deleted_at = deleted_at - ? WHERE id = ?", (days * 24 * 3600, chat))
    assert [chat["id"] for chat in here("chats", "list", "--deleted", "--json").json["chats"]] == [kept]
    assert store.rows("SELECT id FROM message WHERE conversation = ?", gone) == []
    assert not state.exists()
    store.close()


def test_what_is_left_of_a_chat_whose_deleting_was_cut_short_goes_the_next_time(here: Run) -> None:
    gone, kept = begin("gone"), begin("kept")
    states = [chat_states.path_of(chat, "0123456789abcdef") for chat in (gone, kept)]
    paths.private(paths.chat_states())
    for state in states:
        state.write_bytes(b"a state")
    store = Store()
    store.delete(gone)
    store.close()
    assert titles(here) == ["kept"]
    assert [state.exists() for state in states] == [False, True]


def test_other_versions_of_a_message_are_told_and_shown(here: Run) -> None:
    chat = begin("question")
    store = Store()
    question, first = store.branch(chat)
    again = store.begin_again(new_id(), Asked("starter", "echo", "model"), question, None)
    store.finish(again.id, fold([]))
    store.close()
    assert " · version 2 of 2" in here("chats", "show", chat).out
    out = here("chats", "show", chat, "--branches").out.splitlines()
    assert [line.split()[0] for line in out[1:]] == [again.id[:8], first.id[:8]]
    assert "version 1 of 2" in here("chats", "show", chat, "--branch", out[2].split()[0]).out
    assert here("chats", "show", chat, "--json").json["versions"] == {again.id: [2, 2]}


def test_words_are_found_in_all_chats_or_in_one(here: Run) -> None:
    one, other = begin("why is the sky blue"), begin("the sea is blue", "天空")
    out = here("chats", "search", "blue").out.splitlines()
    assert [line[:8] for line in out[::2]] == [other[:8], one[:8]]
    assert out[1].startswith("    you ")
    found = here("chats", "search", "blue", "is", "--json").json
    assert [hit["conversation"] for hit in found["hits"]] == [other, one]
    assert found["more"] is False
    assert len(here("chats", "search", '"is blue"', "--json").json["hits"]) == 1
    assert len(here("chats", "search", "空", "--chat", other[:8], "--json").json["hits"]) == 1
    assert here("chats", "search", "空", "--chat", one).out == "Nothing was found.\n"
    assert here("chats", "search", "is", "--limit", "1").out.endswith("--limit N …\n")
    assert here("chats", "search").status == 2


def test_the_file_is_looked_at_mended_and_copied(here: Run, tmp_path: Path) -> None:
    assert here("chats", "check").status == 1
    begin("kept")
    assert here("chats", "check").out.endswith(" kB\nNothing is wrong.\n")
    assert ": 1 chat, 2 messages, " in here("chats", "check").out
    paths.database().chmod(0o644)
    ran = here("chats", "check")
    assert ran.status == 1
    assert "! others on this machine can read them" in ran.out
    assert here("chats", "check", "--json").json["report"]["findings"][0]["kind"] == "open"
    ran = here("chats", "repair")
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "Nothing is wrong.")
    with sqlite3.connect(paths.database()) as newer:
        (schema,) = newer.execute("PRAGMA user_version").fetchone()
        newer.execute("PRAGMA user_version = 99")
        ran = here("chats", "check")
        assert (ran.status, "repair" in ran.out) == (1, False)
        newer.execute(f"PRAGMA user_version = {schema}")
    assert here("chats", "backup", "copy.sqlite3").status == 0
    assert here("chats", "backup", "copy.sqlite3").status == 1
    assert here("chats", "backup", "copy.sqlite3", "--force", "--json").json["size_bytes"] > 4096
    assert here("chats", "backup", ".").out.startswith("Copied: chats-")
    with sqlite3.connect(tmp_path / "copy.sqlite3") as copy:
        assert copy.execute("SELECT title FROM conversation").fetchall() == [("kept",)]
    assert (tmp_path / "copy.sqlite3").stat().st_mode & 0o777 == 0o600
