"""Looking after the conversations: what is wrong is found and put right, and nothing that can be read is lost."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import stat
from pathlib import Path

import pytest

from backends import chat_states, paths
from backends.events import Text
from backends.host import spool
from backends.host.wire import Record, encode
from tests.tui.chat.kept_chats import kinds, three_chats, turn
from tui.chat.searching import indexing, search
from tui.chat.storing import salvage, shelf, upkeep
from tui.chat.storing.migrations import MIGRATIONS
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError

PAGE = 4096


def break_rows(*statements: str) -> None:
    """Change the database behind the program's back."""
    with contextlib.closing(sqlite3.connect(paths.database(), isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


@pytest.fixture
def chats(home: Path) -> list[str]:
    return three_chats()


def texts(chat: str) -> list[str]:
    store = Store()
    branch = [message.text for message in store.branch(chat)]
    store.close()
    return branch


def whole(number: int) -> list[str]:
    return [f"{what} {number} {other}" for other in range(3) for what in ("question", "answer")]


def test_sound_conversations_are_reported_so_and_left_alone(chats: list[str]) -> None:
    before = paths.database().read_bytes()
    report = upkeep.check()
    assert report.sound
    assert (report.schema, report.conversations, report.messages) == (len(MIGRATIONS), len(chats), 18)
    assert (report.findings, report.copies, report.size_bytes) == ((), (), len(before))
    repaired = upkeep.repair()
    assert (repaired.kept, repaired.textless, repaired.after) == (None, 0, repaired.before)
    assert paths.database().read_bytes() == before


def test_no_conversations_are_an_error_and_none_are_made(home: Path) -> None:
    with pytest.raises(StoreError, match="no conversations yet"):
        upkeep.check()
    assert not paths.database().exists()


def test_lost_heads_and_references_are_mended(chats: list[str]) -> None:
    break_rows(
        f"UPDATE conversation SET head = NULL WHERE id = '{chats[0]}'",
        f"UPDATE conversation SET head = (SELECT id FROM message WHERE text = 'answer 2 1') WHERE id = '{chats[1]}'",
        f"UPDATE conversation SET head = 'gone' WHERE id = '{chats[2]}'",
        "UPDATE receipt SET message = 'gone'",
    )
    repaired = upkeep.repair()
    assert "head" in kinds(repaired.before)
    assert "reference" in kinds(repaired.before)
    assert repaired.after.findings == ()
    assert [texts(chat) for chat in chats] == [whole(0), whole(1), whole(2)]


def test_a_chat_that_is_missing_is_made_again_from_its_messages(chats: list[str]) -> None:
    break_rows("PRAGMA foreign_keys = OFF", f"DELETE FROM conversation WHERE id = '{chats[1]}'")
    repaired = upkeep.repair()
    assert "reference" in kinds(repaired.before)
    assert repaired.after.sound
    assert texts(chats[1]) == whole(1)
    store = Store()
    assert store.conversation(chats[1]).title == "question 1 0"
    store.close()


def test_a_message_that_is_missing_has_another_in_its_place_that_says_so(chats: list[str]) -> None:
    break_rows("PRAGMA foreign_keys = OFF", "DELETE FROM message WHERE text = 'answer 1 1'")
    repaired = upkeep.repair()
    assert "unreachable" in kinds(repaired.before)
    assert repaired.after.sound
    expected = whole(1)
    expected[3] = ""  # Its error says so.
    assert texts(chats[1]) == expected
    assert (texts(chats[0]), texts(chats[2])) == (whole(0), whole(2))
    store = Store(Path(repaired.kept or ""))
    assert len(store.rows("SELECT 1 FROM message")) == 17, "the copy is of before"
    store.close()


def test_a_bit_that_has_flipped_costs_a_character_and_is_found(chats: list[str]) -> None:
    chat = f"WHERE id = '{chats[1]}'"
    break_rows(
        "UPDATE message SET text = CAST(x'71ff20' || text AS TEXT), usage = '{' WHERE text = 'question 1 1'",
        f"UPDATE conversation SET title = CAST(x'fe20' || title AS TEXT) {chat}",
        "UPDATE receipt SET energy = '[', cost = CAST(x'7bff' AS TEXT)",
        "INSERT INTO receipt (id, kind, at, cost) VALUES ('r', 'answer', 1, '[]')",
    )
    store = Store()
    assert [message.text for message in store.branch(chats[1])][2:4] == ["q\ufffd question 1 1", "answer 1 1"]
    assert store.branch(chats[1])[2].usage is None
    assert "\ufffd question 1 0" in [each.title for each in store.conversations()]
    assert [receipt.cost for receipt in store.receipts()] == [None]
    with store.transaction() as db:
        indexing.make_anew(db)
    assert search.catch_up(store, 10)
    store.close()
    repaired = upkeep.repair()
    assert [(finding.kind, finding.count) for finding in repaired.before.findings] == [("garbled", 4)]
    assert repaired.after.findings == ()
    assert texts(chats[1])[2:4] == ["q\ufffd question 1 1", "answer 1 1"]


def test_a_circle_of_messages_is_opened(chats: list[str]) -> None:
    break_rows(
        "UPDATE message SET parent = (SELECT id FROM message WHERE text = 'answer 1 2') WHERE text = 'question 1 1'"
    )
    store = Store()
    assert len(store.branch(chats[1])) == 4, "it is read without end no more"
    store.close()
    repaired = upkeep.repair()
    assert kinds(repaired.before) == ["unreachable"]
    assert repaired.after.sound
    assert texts(chats[1]) == whole(1)


def test_an_index_that_is_not_in_step_is_made_anew(chats: list[str]) -> None:
    break_rows("PRAGMA foreign_keys = OFF", "DELETE FROM indexed WHERE place = (SELECT min(place) FROM indexed)")
    assert sorted(kinds(upkeep.check())) == ["index", "not_indexed"]
    assert upkeep.repair().after.sound
    break_rows("UPDATE said_data SET block = zeroblob(30) WHERE id > 100")
    assert kinds(upkeep.check()) == ["index"]
    assert upkeep.repair().after.sound
    store = Store()
    assert len(search.search(store, "question")) == 9
    store.close()


def test_a_spool_of_nothing_is_found_and_a_running_one_is_none(chats: list[str]) -> None:
    running = spool.create("running")
    os.close(spool.create("left"))
    report = upkeep.check()
    assert [(finding.kind, finding.detail) for finding in report.findings] == [("spool", "left")]
    spool.path_of("left").write_bytes(encode(Record("left", 0, 1.0, Text("words of nobody"))))
    repaired = upkeep.repair()
    assert (kinds(repaired.before), repaired.after.findings, repaired.kept) == (["spool"], (), None)
    store = Store()
    assert len(search.search(store, '"words of nobody"')) == 1
    store.close()
    os.close(running)


def test_a_warm_state_of_a_chat_that_is_gone_is_found_and_deleted(chats: list[str]) -> None:
    gone, kept = (chat_states.path_of(chat, "0123456789abcdef") for chat in ("gone", chats[0]))
    paths.private(gone.parent)
    for each in (gone, kept):
        os.close(os.open(each, os.O_CREAT, 0o600))
    assert [(finding.kind, finding.detail) for finding in upkeep.check().findings] == [("state", "gone")]
    assert upkeep.repair().after.findings == ()
    assert kept.exists()
    assert not gone.exists()


def test_files_that_hold_conversations_too_are_named(chats: list[str]) -> None:
    left = [".chats.schema-3.sqlite3.0a1b2c3d.part", "chats.before-repair-1.sqlite3", "chats.new-2.sqlite3"]
    for name in left:
        (paths.data() / name).touch(0o600)
    (paths.data() / "others.sqlite3").touch(0o600)
    assert [Path(copy).name for copy in upkeep.check().copies] == left
    assert upkeep.check().sound


def test_files_that_others_may_read_are_found_and_closed(chats: list[str]) -> None:
    os.close(spool.create("running"))
    state = chat_states.path_of(chats[0], "0123456789abcdef")
    paths.private(state.parent)
    state.touch(0o644)
    files = [paths.database(), spool.path_of("running"), state]
    for each in files:
        each.chmod(0o644)
        each.parent.chmod(0o755)
    finding = upkeep.check().findings[0]
    assert (finding.kind, finding.count) == ("open", 6)
    assert upkeep.repair().after.sound
    assert {stat.S_IMODE(each.stat().st_mode) for each in files if each.exists()} == {0o600}
    assert {stat.S_IMODE(each.parent.stat().st_mode) for each in files} == {0o700}
    paths.database().chmod(0o644)
    Store().close()
    assert stat.S_IMODE(paths.database().stat().st_mode) == 0o600, "opening does it too"


def test_what_can_be_read_of_a_damaged_file_is_carried_over_and_the_old_one_kept(home: Path) -> None:
    store = Store()
    made: dict[str, int] = {}
    for number in range(4):
        chat = None
        for _ in range(6):
            chat = turn(store, "question " * 300, chat, "answer " * 2000).conversation
        made[chat or ""] = number
    name = store.conversations()[0].id
    shelf.rename(store, name, "kept name")
    store.close()
    sound = paths.database().read_bytes()
    for seed in range(6):
        damaged, chance = bytearray(sound), random.Random(seed)
        for _ in range(2):
            page = chance.randrange(1, len(sound) // PAGE) * PAGE
            damaged[page : page + PAGE] = chance.randbytes(PAGE)
        paths.database().write_bytes(damaged)
        repaired = upkeep.repair()
        assert "damaged" in kinds(repaired.before)
        assert repaired.after.sound
        assert Path(repaired.kept or "").read_bytes() == bytes(damaged)
        assert stat.S_IMODE(Path(repaired.kept or "").stat().st_mode) == 0o600
        assert stat.S_IMODE(paths.database().stat().st_mode) == 0o600
        store = Store()
        assert {chat.id for chat in store.conversations()} == set(made)
        branches = [store.branch(chat) for chat in made]
        assert all(len(branch) >= 10 for branch in branches)
        said = [message.text for branch in branches for message in branch]
        assert sum(text.startswith(("question ", "answer ")) for text in said) >= 40, "a page holds few messages"
        turn(store, "it goes on", name)
        store.close()
        for copy in upkeep.copies(paths.database()):
            copy.unlink()


def test_of_a_file_whose_end_is_missing_the_rest_is_read(home: Path) -> None:
    store = Store()
    made = [turn(store, f"question {number} " * 300, None, "answer " * 2000).conversation for number in range(12)]
    store.close()
    content = paths.database().read_bytes()
    paths.database().write_bytes(content[: len(content) * 2 // 3])
    repaired = upkeep.repair()
    assert (kinds(repaired.before), repaired.before.messages) == (["damaged"], None)
    assert repaired.after.sound
    assert [each.name for each in paths.data().iterdir() if "new" in each.name] == []
    store = Store()
    said = [message.text for chat in store.conversations() for message in store.branch(chat.id)]
    assert {chat.id for chat in store.conversations()} <= set(made)
    assert sum(text.startswith(("question ", "answer ")) for text in said) >= 12
    store.close()


def test_a_table_that_nobody_knows_any_more_costs_no_other(chats: list[str]) -> None:
    break_rows(
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = 'CREATE ' || CAST(x'd3ff' AS TEXT) WHERE name = 'receipt'",
    )
    repaired = upkeep.repair()
    assert "damaged" in kinds(repaired.before)
    assert repaired.after.sound
    assert [texts(chat) for chat in chats] == [whole(0), whole(1), whole(2)]


def test_where_all_text_is_lost_each_message_still_has_its_place(chats: list[str]) -> None:
    with contextlib.closing(sqlite3.connect(paths.database())) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'message'").fetchone()
    content = bytearray(paths.database().read_bytes())
    content[(root - 1) * PAGE : root * PAGE] = bytes(PAGE)
    paths.database().write_bytes(content)
    repaired = upkeep.repair()
    assert (repaired.before.messages, repaired.textless, repaired.after.messages) == (18, 18, 18)
    assert repaired.after.sound
    store = Store()
    for chat in chats:
        branch = store.branch(chat)
        assert [message.role for message in branch] == ["user", "assistant"] * 3
        assert branch[0].text == "(This message could not be read from the damaged file.)"
        assert (branch[1].text, branch[1].state, branch[1].error) == ("", "failed", salvage.UNREAD)
    store.close()


def test_a_file_that_is_no_database_is_kept_and_an_empty_one_takes_its_place(home: Path) -> None:
    paths.private(paths.data())
    paths.database().write_bytes(b"a poem\n" * 1000)
    report = upkeep.check()
    assert (kinds(report), report.schema) == (["open", "damaged"], None)
    repaired = upkeep.repair()
    assert Path(repaired.kept or "").read_bytes() == b"a poem\n" * 1000
    assert (repaired.after.sound, repaired.after.messages) == (True, 0)


def test_whoever_has_the_old_file_open_is_told_and_writes_nothing_into_it(chats: list[str]) -> None:
    store = Store()
    page = bytearray(paths.database().read_bytes())
    store.close()
    page[PAGE * 9 : PAGE * 10] = bytes(PAGE)
    paths.database().write_bytes(page)
    with contextlib.closing(sqlite3.connect(paths.database(), isolation_level=None)) as other:
        other.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if "damaged" not in kinds(upkeep.repair().before):
            pytest.fail("the page was in use")
        with pytest.raises(sqlite3.DatabaseError):
            other.execute("INSERT INTO indexing VALUES ('x', 1)")


def test_a_repair_does_not_begin_while_somebody_writes(chats: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BUSY_S", 0.1)
    with contextlib.closing(sqlite3.connect(paths.database(), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            upkeep.check()
        other.execute("ROLLBACK")
    assert upkeep.check().sound


def test_a_newer_schema_is_reported_and_not_repaired(chats: list[str]) -> None:
    break_rows("PRAGMA user_version = 99")
    assert kinds(upkeep.check()) == ["newer_schema"]
    with pytest.raises(StoreError, match="newer"):
        upkeep.repair()
