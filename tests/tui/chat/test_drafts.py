"""Drafts on the disk: whole or not at all, the later writer's, nobody else's to read, gone with their chat."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends import lock_file
from backends.errors import Problem
from tui.chat import drafts
from tui.chat.drafts import Draft
from tui.chat.storing import forgetting
from tui.chat.storing.store import Store


def test_a_draft_is_kept_for_its_chat_and_for_its_owner_alone(home: Path) -> None:
    drafts.save("a1", Draft("hello\n你好 👩‍👩‍👧", (1, 2), at=1.0))
    drafts.save(None, Draft("new one", at=1.0))
    assert drafts.load("a1") == Draft("hello\n你好 👩‍👩‍👧", (1, 2), at=1.0)
    assert drafts.load(None).text == "new one"
    assert drafts.load("b2").empty
    drafts.save("new", Draft("of a chat that came in under this name", at=1.0))
    assert drafts.load(None).text == "new one"
    assert drafts.load("new").empty
    assert drafts.chats() == {"a1"}
    folder = home / "state" / "drafts"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.lists(st.text(), max_size=3), st.text())
def test_any_text_comes_back(text: str, queued: list[str], before: str) -> None:
    draft = Draft(text, (0, 0), tuple(queued), "id", before, 1.0)
    drafts._known.clear()
    drafts.save("c", draft)
    back = drafts.load("c")
    assert (back.text, back.queued, back.before) == (text, tuple(queued), before)


def test_half_a_character_is_kept_as_a_sign_of_itself() -> None:
    drafts.save("a", Draft("\ud83d", at=1.0))
    assert drafts.load("a").text == "�"


def test_an_empty_draft_deletes_what_we_wrote_but_not_what_another_screen_has_written_since() -> None:
    drafts.save("a", Draft("mine", at=1.0))
    drafts.save("a", Draft(at=2.0))
    assert not list(drafts.folder().glob("a*"))
    drafts.save("a", Draft("mine", at=3.0))
    (drafts.folder() / "a.json").write_text('{"text": "theirs", "at": 3.5}')
    drafts.save("a", Draft(at=4.0))
    assert drafts.load("a").text == "theirs"


def test_the_later_writer_wins_and_an_older_write_that_comes_late_does_not() -> None:
    drafts.save("a", Draft("second", at=2.0))
    drafts.save("a", Draft("first", at=1.0))
    assert drafts.load("a").text == "second"


def test_what_is_no_draft_or_no_file_counts_as_none(tmp_path: Path) -> None:
    drafts.folder().mkdir(parents=True)
    (drafts.folder() / "a.json").write_bytes(b'{"text": 7')
    os.mkfifo(drafts.folder() / "b.json")
    assert drafts.load("a").empty
    assert drafts.load("b").empty
    assert drafts.load("../../../etc/passwd").empty
    drafts.save("../outside", Draft("x", at=1.0))
    assert not (drafts.folder().parent / "outside.json").exists()


def test_where_nothing_can_be_written_a_problem_says_so(home: Path) -> None:
    (home / "state").mkdir(parents=True)
    (home / "state" / "drafts").write_text("in the way")
    with pytest.raises(Problem, match="cannot be kept"):
        drafts.save("a", Draft("x", at=1.0))


def test_what_cannot_be_written_is_there_while_the_program_is_and_is_written_at_its_end_if_that_can_be() -> None:
    drafts.folder().parent.mkdir(parents=True, exist_ok=True)
    drafts.folder().write_text("no folder")
    with pytest.raises(Problem, match="cannot be kept"):
        drafts.save("a", Draft("typed", at=1.0))
    assert drafts.load("a").text == "typed"
    drafts.folder().unlink()
    drafts.flush()
    assert Draft("typed", at=1.0) == drafts._read(drafts.folder() / "a.json")
    drafts.save("a", Draft("typed on", at=2.0))
    assert drafts.load("a").text == "typed on"


def test_a_clock_that_was_set_back_keeps_no_draft_from_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    before = drafts.moment()
    drafts.save("a", Draft("before", at=before))
    monkeypatch.setattr("tui.chat.drafts.time.time", lambda: before - 3600.0)
    drafts.save("a", Draft("after", at=drafts.moment()))
    assert drafts.load("a").text == "after"
    (drafts.folder() / "b.json").write_text(f'{{"text": "of tomorrow", "at": {before + 86400}}}')
    drafts.load("b")
    drafts.save("b", Draft("today's", at=drafts.moment()))
    assert drafts.load("b").text == "today's"


def test_what_another_screen_is_to_send_stays_with_it_as_long_as_that_lives() -> None:
    drafts.save("a", Draft("typed", queued=("the next one",), at=1.0))
    (theirs,) = drafts._to_send.values()
    drafts._to_send.clear()  # From here on as in another process.
    assert drafts.load("a") == Draft("typed", at=1.0)
    drafts.save("a", Draft("typed here", at=2.0))
    drafts.save("a", Draft(at=3.0))
    kept = drafts._read(drafts.folder() / "a.json")
    assert (kept.text, kept.queued) == ("", ("the next one",))
    os.close(theirs)
    assert drafts.load("a").queued == ("the next one",)


def test_what_was_queued_in_a_chat_that_is_shown_no_more_is_anybodys_to_take() -> None:
    drafts.save("a", Draft(queued=("the next one",), at=1.0))
    drafts.load("b")
    assert not lock_file.held(drafts.folder() / "a.next")
    assert drafts.load("a").queued == ("the next one",)
    drafts.save("a", Draft("the next one", at=2.0))
    assert [file.name for file in drafts.folder().iterdir()] == ["a.json"]


def test_what_waits_is_written_at_the_end_as_it_is_then() -> None:
    text = ["one"]
    drafts.later("a", lambda: Draft(text[0], at=1.0))
    text[0] = "one two"
    drafts.flush()
    assert drafts.load("a").text == "one two"
    assert drafts.waiting() == []


def test_the_draft_written_last_is_known() -> None:
    assert drafts.latest() is None
    drafts.save("a", Draft("x", at=1.0))
    drafts.save(None, Draft("y", at=2.0))
    assert drafts.latest() == (None, 2.0)
    drafts.save("a", Draft("z", at=3.0))
    assert drafts.latest() == ("a", 3.0)


def test_a_deleted_chat_takes_its_draft_along_and_one_whose_deleter_died_is_found() -> None:
    store = Store()
    for chat in ("aa", "ab"):
        drafts.save(chat, Draft("secret", at=1.0))
        (drafts.folder() / f"{chat}.md").write_text("secret")
        (drafts.folder() / f".{chat}.md.swp").write_text("secret")
    asyncio.run(forgetting.forget("aa"))
    assert drafts.chats() == {"ab"}
    assert forgetting.left(store) == ["ab"]
    asyncio.run(forgetting.empty(store))
    assert not list(drafts.folder().iterdir())
    store.close()


def test_only_a_message_deleted_leaves_the_draft_of_its_chat() -> None:
    drafts.save("aa", Draft("mine", at=1.0))
    asyncio.run(forgetting.forget("aa", ["m1"], whole=False))
    assert drafts.load("aa").text == "mine"


def test_what_was_left_in_an_editor_is_the_text_of_the_next_start() -> None:
    drafts.save("a", Draft("before", at=1.0))
    (drafts.folder() / "a.md").write_text("from the editor\n")
    assert drafts.load("a").text == "from the editor"
    assert [file.name for file in drafts.folder().iterdir()] == ["a.json"]
    (drafts.folder() / "a.md").write_text("\n")
    assert drafts.load("a").text == "from the editor"


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    drafts._known.clear()
    drafts._unwritten.clear()
    drafts._to_send.clear()
    with contextlib.suppress(Exception):
        drafts.waiting()
