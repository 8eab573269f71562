"""`^f`: what was said or thought, found while one types, and shown in its chat."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from textual.widgets import Input, OptionList

from backends.events import Done, Reasoning, Text
from tests.tui.screens.chatting import Person, at_the_screen
from tests.tui.screens.conftest import NOW, USAGE, said
from tui.chat.answer import fold
from tui.chat.searching import indexing, search
from tui.chat.searching.search import Hit
from tui.chat.storing import tree
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoreError, new_id
from tui.screens.search import SearchScreen
from tui.screens.search.content import BEHIND, age, told, who
from tui.screens.search.screen import PAGE
from tui.widgets.transcript import Transcript


def talk(question: str, answer: str, thought: str = "") -> None:
    said((question, [Reasoning(thought, 3), Text(answer, 3), Done("stop", USAGE)]))


def searching(person: Person) -> SearchScreen:
    screen = person.pilot.app.screen
    assert isinstance(screen, SearchScreen)
    return screen


def found_for(person: Person, text: str) -> int:
    """How many hits are shown for all of `text`, 0 while they are those of its beginning."""
    return len(hits(person)) if searching(person)._text == text else 0


def hits(person: Person) -> list[str]:
    return [str(option.prompt) for option in searching(person).query_one(OptionList).options]


def underlined(person: Person) -> list[str]:
    """What stands out on the terminal."""
    strips = person.pilot.app.screen._compositor.render_strips()
    return [piece.text for strip in strips for piece in strip if piece.style is not None and piece.style.underline]


def test_what_is_found_while_typing_opens_its_chat_at_the_message() -> None:
    talk("The old one", "Photons are scattered by air.\n\n" + "line\n\n" * 60)
    talk("Another", "Nothing of it here.")

    async def look(person: Person) -> None:
        await person.types("ctrl+f")
        await person.until(lambda: "All words, or their beginnings" in person.shown())
        await person.types(*"scat")
        await person.until(lambda: len(hits(person)) == 1)
        assert "The old one" in hits(person)[0]
        assert "scat" in underlined(person)
        assert "1 found" in person.shown()
        await person.types(*"zz")
        await person.until(lambda: "Nothing was found" in person.shown())
        await person.types("backspace", "backspace", *" air")
        await person.until(lambda: len(hits(person)) == 1)
        await person.types("enter")
        await person.until(lambda: "Photons are scattered" in person.shown())
        transcript = person.screen.query_one(Transcript)
        assert person.session.conversation.title == "The old one"
        assert transcript.stood == person.session.branch[1].id
        assert {"scat", "air"} <= set(underlined(person))
        await person.types("escape")
        await person.pilot.pause()
        assert "scat" not in underlined(person)
        await person.types("ctrl+f")
        await person.until(lambda: searching(person).query_one(Input).value == "scat air")
        await person.until(lambda: len(hits(person)) == 1)
        await person.types("escape")
        assert person.pilot.app.screen is person.screen

    at_the_screen(look)


def test_a_thought_opens_unfolded_and_another_branch_is_shown() -> None:
    talk("Why?", "Because.", "perhaps the moon")
    store = Store()
    chat = store.conversations()[0]
    question = store.branch(chat.id)[0]
    edited = tree.begin_edit(store, new_id(), Asked("demo", "echo", "x"), question, "Why not?")
    store.finish(edited.id, fold([]))

    async def look(person: Person) -> None:
        assert person.texts[0] == "Why not?"
        await person.types("ctrl+f", *"moon")
        await person.until(lambda: len(hits(person)) == 1)
        assert "Thought · 21:05" in hits(person)[0]
        await person.types("enter")
        await person.until(lambda: "│ perhaps the moon" in person.shown())
        assert person.texts == ["Why?", "Because."]
        assert underlined(person) == ["moon"]

    at_the_screen(look)


def test_chinese_words_are_found_marked_and_shown_at_80_columns() -> None:
    talk("显存的带宽为什么重要?", "因为每个词都要读一遍全部权重。" * 20)

    async def look(person: Person) -> None:
        await person.types("ctrl+f", *"权重")
        await person.until(lambda: len(hits(person)) == 1)
        assert "权重" in underlined(person)
        await person.types("enter")
        await person.until(lambda: person.pilot.app.screen is person.screen)
        await person.until(lambda: "权重" in underlined(person))

    at_the_screen(look, size=(80, 24))


def test_going_down_reads_older_pages_until_the_end() -> None:
    store = Store()
    row = store.begin(new_id(), Asked("demo", "echo", "x"), "first of the marmots")
    store.finish(row.id, fold([]))
    with store.transaction() as db:
        for number in range(2 * PAGE):
            db.execute(
                "INSERT INTO message (id, conversation, parent, role, text, state, created_at)"
                " VALUES (?, ?, ?, 'user', ?, 'done', ?)",
                (new_id(), row.conversation, row.id, f"marmot {number}", NOW),
            )
        indexing.later(db)
    store.close()

    async def look(person: Person) -> None:
        await person.types("ctrl+f", *"marmot")
        await person.until(lambda: found_for(person, "marmot") == PAGE)
        assert "older ones below" in person.shown()
        assert f"marmot {2 * PAGE - 1}" in hits(person)[0]
        results = searching(person).query_one(OptionList)
        while len(hits(person)) < 2 * PAGE + 1:
            before = len(hits(person))
            for _ in range(PAGE - 2):
                results.action_cursor_down()
            await person.until(lambda before=before: len(hits(person)) > before)
        assert len(set(hits(person))) == 2 * PAGE + 1
        assert "first of the marmots" in hits(person)[-1]
        assert "older ones below" not in person.shown()

    at_the_screen(look)


def test_while_the_index_is_behind_a_line_says_so_and_then_all_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    talk("Why?", "An otter said so.")
    go_on = threading.Event()
    catch_up, complete = search.catch_up, search.complete
    monkeypatch.setattr(search, "catch_up", lambda store, s: go_on.wait(0.02) and catch_up(store, s))
    monkeypatch.setattr(search, "complete", lambda store: go_on.is_set() and complete(store))

    async def look(person: Person) -> None:
        await person.types("ctrl+f", *"otter")
        await person.until(lambda: BEHIND in person.shown())
        go_on.set()
        await person.until(lambda: BEHIND not in person.shown() and len(hits(person)) == 1)

    at_the_screen(look)


def test_the_hit_that_one_stands_on_stays_when_the_index_has_caught_up(monkeypatch: pytest.MonkeyPatch) -> None:
    talk("Why?", "An otter said so.")
    talk("Who?", "That otter did.")
    go_on = threading.Event()
    catch_up, complete = search.catch_up, search.complete
    store = Store()
    assert search.catch_up(store, 5.0)
    store.close()
    monkeypatch.setattr(search, "catch_up", lambda store, s: go_on.wait(0.02) and catch_up(store, s))
    monkeypatch.setattr(search, "complete", lambda store: go_on.is_set() and complete(store))

    async def look(person: Person) -> None:
        await person.types("ctrl+f", *"otter")
        await person.until(lambda: BEHIND in person.shown() and found_for(person, "otter") == 2)
        await person.types("down")
        go_on.set()
        await person.until(lambda: BEHIND not in person.shown())
        assert searching(person).query_one(OptionList).highlighted == 1

    at_the_screen(look)


def test_a_search_that_is_overtaken_shows_nothing_and_enter_means_what_is_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk("about cats", "Cats purr.")
    talk("about dogs", "Dogs bark.")
    real: Callable[..., list[Hit]] = search.search

    def slow(store: Store, text: str, *more: int, **others: int) -> list[Hit]:
        time.sleep(0.4 if text == "cats" else 0)
        return real(store, text, *more, **others)

    monkeypatch.setattr(search, "search", slow)

    async def look(person: Person) -> None:
        await person.types("ctrl+f", *"cats")
        await person.pilot.pause(0.2)
        await person.types("ctrl+u", *"dogs", "enter")
        await person.until(lambda: person.pilot.app.screen is person.screen)
        assert person.session.conversation.title == "about dogs"
        await person.pilot.pause(0.4)
        assert person.session.conversation.title == "about dogs"

    at_the_screen(look)


def test_titles_texts_and_failures_are_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    talk("[/x] [bold]otter \x1b[31m \u202eleft", "otter [/] \x1b]52;c;aGk=\x07 \u202eleft\x00 [@click=app.quit]x[/]")

    async def look(person: Person) -> None:
        await person.types("ctrl+f", *'ot" [/x] NEAR( *')
        await person.pilot.pause(0.3)
        await person.types("ctrl+u", *"otter")
        await person.until(lambda: len(hits(person)) == 2)
        shown = person.shown()
        assert "[/x] [bold]otter" in shown
        assert not any(character in shown for character in "\x1b\x07\u202e\x00")

        def fails(*_: object, **__: object) -> list[Hit]:
            raise StoreError("The conversations cannot be used", "[/x] disk I/O error", "")

        monkeypatch.setattr(search, "search", fails)
        await person.types("s")
        await person.until(lambda: "✗ The conversations cannot be used: [/x] disk I/O error" in person.shown())
        await person.types("escape")
        assert person.pilot.app.screen is person.screen

    at_the_screen(look)


@pytest.mark.parametrize(
    ("back_s", "words"),
    [
        (60, "21:04"),
        (23 * 3600, "yesterday"),
        (5 * 86_400, "5 days ago"),
        (60 * 86_400, "2026-01-01"),
        (-90_000, "2026-03-03"),
    ],
)
def test_the_age_of_a_hit_reads_as_people_say_it(back_s: int, words: str) -> None:
    assert age(NOW - back_s, NOW) == words


def test_the_line_under_the_hits_says_what_is_going_on() -> None:
    assert told("x", 0, more=False, searching=True, complete=True) == "Searching …"
    assert told("x", 40, more=True, searching=False, complete=True) == "40 found, and older ones below"
    assert told("x", 1, more=False, searching=False, complete=False).endswith(BEHIND)
    hit = Hit("c", "t", "m", "assistant", NOW, "reasoning", "s", (), 1)
    assert who(hit) == "Thought"
