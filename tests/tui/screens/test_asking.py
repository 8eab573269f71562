"""What a chat asks of its model, set on the screen by its key: fields, faults, marks, and what reaches the host."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.widgets import Input, TextArea

from backends import paths
from backends.base import ChatRequest, Sampling
from backends.host.client import HostClient
from tests.gguf_files import QWEN_14B, sparse_model
from tests.tui.screens.chatting import Person, at_the_screen
from tui.chat.asking import NOTHING, Asking, words
from tui.screens.asking import AskingScreen, form
from tui.screens.asking.form import About, Checked, check
from tui.screens.chat.wishing import marked
from tui.screens.figures.content import View, content
from tui.screens.figures.screen import FiguresScreen
from tui.screens.overflow import OverflowScreen
from tui.screens.question import QuestionScreen
from tui.widgets.lines import Line

R1 = About("Why?", "8B", "llama.cpp", Sampling(), advised=True, context=4096, loaded=4096)


@pytest.fixture(autouse=True)
def _a_clock_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", time.monotonic)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[ChatRequest]:
    """What the hosts are asked, in order."""
    asked: list[ChatRequest] = []
    chat = HostClient.chat

    def listening(client: HostClient, answer: str, request: ChatRequest, spool: int | None) -> Any:
        asked.append(request)
        return chat(client, answer, request, spool)

    monkeypatch.setattr(HostClient, "chat", listening)
    return asked


async def opened(person: Person) -> AskingScreen:
    await person.types("f10")
    await person.until(lambda: isinstance(person.pilot.app.screen, AskingScreen))
    screen = person.pilot.app.screen
    assert isinstance(screen, AskingScreen)
    return screen


async def put(person: Person, key: str, text: str) -> None:
    """Put a text into a field in place of what it holds."""
    screen = person.pilot.app.screen
    assert isinstance(screen, AskingScreen)
    control = screen._controls[key]
    control.focus()
    if isinstance(control, TextArea):
        control.text = text
    else:
        control.value = text
    await person.pilot.pause()


async def saved(person: Person) -> None:
    await person.types("ctrl+s")
    await person.until(lambda: person.pilot.app.screen is person.screen)


def line(person: Person, name: str) -> str:
    return person.screen.query_one(f"#{name}", Line).text


# On the screen.


def test_what_is_typed_is_asked_with_the_next_question_marked_and_explained(requests: list[ChatRequest]) -> None:
    async def look(person: Person) -> None:
        screen = await opened(person)
        assert isinstance(screen.focused, TextArea), "the system prompt comes first"
        await person.types(*"Be short.", "tab", *"0.2", "tab", "down", "7")
        assert screen.texts | {"system": "Be short.", "temperature": "0.2"} == screen.texts
        await saved(person)
        assert "New chat [system +2]" in line(person, "title")
        assert line(person, "progress").startswith("This chat asks for: system prompt, temperature 0.2")
        await person.types(*"why?", "enter")
        await person.until(lambda: requests)
        await person.waits()
        assert [(m.role, m.text) for m in requests[0].messages] == [("system", "Be short."), ("user", "why?")]
        assert requests[0].sampling.temperature == 0.2
        chat = person.session.conversation
        assert chat is not None
        assert person.session.store.conversation(chat.id).asking == person.session.wanted.asking
        await person.types("f9")
        await person.until(lambda: isinstance(person.pilot.app.screen, FiguresScreen))
        seen = person.screen._explaining.seen(person.session)
        told = content(View(seen), 100).plain
        assert "How this chat asks" in told
        assert "In place of what Demo says: 0.6." in told
        await person.types("escape", "ctrl+n")
        await person.pilot.pause()
        assert "[" not in line(person, "title"), "a new chat asks as its preset does"

    at_the_screen(look)


def test_what_comes_in_one_burst_with_tabs_is_in_the_fields_that_it_was_typed_for() -> None:
    async def look(person: Person) -> None:
        screen = await opened(person)
        for character in "Be short.\t0.2\t0.9":
            key = {"\t": "tab", " ": "space", ".": "full_stop"}.get(character, character)
            person.pilot.app.post_message(Key(key, character))
        await person.until(lambda: screen.texts["top_p"] == "0.9")
        assert screen.texts | {"system": "Be short.", "temperature": "0.2"} == screen.texts

    at_the_screen(look)


def test_a_fault_is_told_in_place_and_nothing_is_kept(requests: list[ChatRequest]) -> None:
    async def look(person: Person) -> None:
        screen = await opened(person)
        await put(person, "top_p", "3")
        await put(person, "temperature", "warm")
        assert "✗ temperature: Expected a number from 0 to 10, found warm." in person.shown()
        assert "✗ top_p: Expected a number from 0 to 1, found 3." in person.shown()
        await person.types("ctrl+s")
        await person.pilot.pause(0.1)
        assert person.pilot.app.screen is screen
        assert screen.focused is screen._controls["temperature"]
        assert person.session.wanted.asking == NOTHING
        await person.types("escape")
        await person.until(lambda: isinstance(person.pilot.app.screen, QuestionScreen))
        await person.types("enter")
        await person.until(lambda: person.pilot.app.screen is person.screen)
        assert requests == []

    at_the_screen(look)


def test_a_change_during_an_answer_waits_for_the_next_question_and_can_be_taken_back(
    requests: list[ChatRequest],
) -> None:
    async def look(person: Person) -> None:
        await person.types(*"why?", "enter")
        await person.waits()
        await opened(person)
        await put(person, "seed", "7")
        await saved(person)
        await person.types("ctrl+r")
        await person.until(lambda: len(requests) == 2)
        await person.waits()
        assert requests[1].sampling.seed == 7
        screen = await opened(person)
        assert screen.texts["seed"] == "7"
        await put(person, "seed", "")
        await saved(person)
        assert line(person, "progress") == "This chat asks as its preset does"
        assert person.session.wanted.asking == NOTHING
        assert "[" not in line(person, "title")

    at_the_screen(look)


def test_a_system_prompt_that_fills_the_context_is_named_where_it_does_not_fit() -> None:
    async def look(person: Person) -> None:
        await opened(person)
        await put(person, "system", "word " * 6000)
        await saved(person)
        await person.types(*"why?", "enter")
        await person.until(lambda: isinstance(person.pilot.app.screen, OverflowScreen))
        assert "This chat's own system prompt counts too" in person.shown()
        await person.types("escape")
        await person.until(lambda: person.pilot.app.screen is person.screen)

    at_the_screen(look)


def test_leaving_without_a_change_asks_nothing() -> None:
    async def look(person: Person) -> None:
        await opened(person)
        await person.types("escape")
        await person.until(lambda: person.pilot.app.screen is person.screen)

    at_the_screen(look)


def test_a_chat_that_was_deleted_meanwhile_is_told_and_no_other_gets_its_wishes() -> None:
    async def look(person: Person) -> None:
        await person.types(*"why?", "enter")
        await person.waits()
        screen = await opened(person)
        await put(person, "seed", "7")
        chat = person.session.conversation
        assert chat is not None
        person.session.store.delete(chat.id)
        await person.types("ctrl+s")
        await person.until(lambda: "✗" in person.shown())
        assert "There is no such chat" in person.shown() or "This chat was deleted" in person.shown()
        assert person.pilot.app.screen is screen
        await person.session.new()
        await person.types("ctrl+s")
        await person.until(lambda: "This chat was deleted" in person.shown())
        assert person.session.wanted.asking == NOTHING

    at_the_screen(look)


def test_what_cannot_be_read_is_told_above_the_chat_until_it_is_set_anew(requests: list[ChatRequest]) -> None:
    async def look(person: Person) -> None:
        await person.types(*"why?", "enter")
        await person.waits()
        chat = person.session.conversation
        assert chat is not None

        def spoil() -> None:
            with sqlite3.connect(paths.database()) as db:
                db.execute("UPDATE conversation SET asking = 'nonsense'")

        await asyncio.to_thread(spoil)
        await person.session.open(chat.id)
        await person.until(lambda: "own system prompt and sampling cannot be read" in person.shown())
        assert "F10 sets it anew" in person.shown()
        await opened(person)
        await put(person, "seed", "7")
        await saved(person)
        await person.until(lambda: "cannot be read" not in person.shown())

    at_the_screen(look)


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
def test_every_field_can_be_reached_on_a_small_screen(size: tuple[int, int]) -> None:
    async def look(person: Person) -> None:
        screen = await opened(person)
        for key in form.KEYS[1:]:
            await person.types("tab")
            assert screen.focused is screen._controls[key]
            await person.pilot.pause()
            assert screen.focused.region.overlaps(screen.query_one("Scroll").region)
        assert isinstance(screen.focused, Input)

    at_the_screen(look, size)


# What is said.


def typed(**values: str) -> dict[str, str]:
    return {key: values.get(key, "") for key in form.KEYS}


def test_what_is_empty_shows_what_the_preset_says() -> None:
    about = About(sampling=Sampling(temperature=1.0, seed=3, max_tokens=100), context=8192)
    assert [form.usual(key, about) for key in form.KEYS] == ["none", "1", "0.95", "3", "100", "8192"]
    assert [form.usual(key, About()) for key in ("seed", "max_tokens", "context")] == [
        "another each time", "no limit", "the backend's own",
    ]  # fmt: skip


def test_the_advice_for_r1_is_told_and_not_forced() -> None:
    checked = check(typed(temperature="0.1", top_p="0.5", system="Be short."))
    assert checked.asking == Asking("Be short.", temperature=0.1, top_p=0.5)
    assert form.note("temperature", "0.1", checked, R1) == "DeepSeek advises 0.5 to 0.7"
    assert form.note("top_p", "0.5", checked, R1) == "DeepSeek advises 0.95"
    assert any("advises no system prompt" in line for line in form.told(checked, R1))
    other = About("Why?", "Starter")
    assert form.note("temperature", "0.1", checked, other) == ""
    assert not any("DeepSeek" in line for line in form.told(checked, other))
    fine = check(typed(temperature="0.6", top_p="0.95"))
    assert [form.note(key, "0.6", fine, R1) for key in ("temperature", "top_p")] == ["", ""]


def test_what_the_backend_cannot_be_told_is_said_beside_it() -> None:
    about = About("Why?", "Server", "OpenAI-compatible", takes_seed=False)
    checked = check(typed(seed="7", context="8192"))
    assert form.note("seed", "7", checked, about) == "this server takes none, and answers as it likes"
    assert form.note("context", "8192", checked, about) == "OpenAI-compatible cannot be told one"


def test_a_model_that_has_to_be_loaded_anew_is_told_before() -> None:
    assert any("loaded anew with 8,192" in line for line in form.told(check(typed(context="8192")), R1))
    assert not any("anew" in line for line in form.told(check(typed(context="4000")), R1)), "4,096 are loaded for it"
    assert not any("anew" in line for line in form.told(Checked(), R1))


def test_the_mark_in_the_title_gets_shorter_and_never_lost() -> None:
    asking = Asking("x", temperature=0.2, top_p=0.5, seed=7)
    assert words(asking) == ("system prompt", "temperature 0.2", "top_p 0.5", "seed 7")
    title = "A title that is not short at all"
    assert marked(title, NOTHING, 20) == title
    assert marked(title, Asking(seed=7), 80) == f"{title} [seed 7]"
    assert marked(title, asking, 80) == f"{title} [system +3]"
    for room in range(4, 90):
        said = marked(title, asking, room)
        assert len(said) <= room
        assert said.endswith(("]", "*")), said


def test_a_context_longer_than_the_model_was_made_for_is_warned_of(home: Path) -> None:
    file = sparse_model(home / "14b.gguf", QWEN_14B, "Q4_K_M", small_vocabulary=True)
    (home / "config" / "presets" / "mine.toml").write_text(
        'title = "Mine"\nbackend = "llama_cpp"\ncontext = 8192\n[model]\nfamily = "DeepSeek-R1"\n'
        f'quantization = "Q4_K_M"\n[backends.llama_cpp]\nsource = "file:{file}"\n'
    )

    async def look(person: Person) -> None:
        person.session.target = person.screen._presets.target("mine")
        screen = await opened(person)
        await put(person, "context", "1000000")
        await person.until(lambda: screen._planned[1] not in {"", "…"})
        assert "Plan" in person.shown()
        assert screen._warnings
        assert screen._warnings[0][:40] in person.shown()
        await put(person, "context", "")
        assert screen._warnings == ()
        assert "Plan" not in person.shown()
        await person.types("escape")
        await person.until(lambda: person.pilot.app.screen is person.screen)

    at_the_screen(look)
