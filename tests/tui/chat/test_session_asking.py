"""A chat that asks otherwise than its preset, on real hosts: what reaches them, and when the model is loaded anew."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
import pytest

from backends import paths
from backends.base import Message
from backends.errors import OutOfMemory
from backends.fitting import fits
from tui.chat.asking import NOTHING, Asking
from tui.chat.session import Session
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError
from tui.chat.target import Target

FRENCH = Asking("Answer only in French.", temperature=0.2, top_p=0.5, seed=7, max_tokens=3)


def talking(session: Session) -> bool:
    return session.answer is not None and len(session.answer.text) > 20


def loaded(session: Session) -> bool:
    return session.status is not None and session.status.phase == "idle"


async def test_a_chat_yet_to_begin_asks_so_with_its_first_question_and_keeps_it(
    screens: Any, target: Any, requests: Any
) -> None:
    screen = screens(target(text="one two three four"))
    await screen.session.ask_so(FRENCH)
    assert screen.store.count() == 0, "it reaches the disk with its first question"
    await screen.ask("why?")
    assert requests[-1].messages == (Message("system", "Answer only in French."), Message("user", "why?"))
    sampling = requests[-1].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.max_tokens) == (0.2, 0.5, 7, 3)
    assert (screen.session.branch[-1].text, screen.session.branch[-1].reason) == ("one two three", "length")
    assert screen.session.branch[-1].usage.prompt_tokens == 5, "the system prompt is counted too"
    chat = screen.session.conversation.id
    assert screen.store.conversation(chat).asking == FRENCH
    await screen.session.new()
    assert screen.session.wanted.asking == NOTHING
    await screen.ask("another?")
    assert requests[-1].messages == (Message("user", "another?"),)
    assert requests[-1].sampling.temperature == 0.6
    await screen.session.open(chat)
    await screen.session.retry()
    await screen.until(lambda session: not session.busy)
    assert requests[-1].messages[0].text == "Answer only in French."
    await screen.session.edit(screen.session.branch[0].id, "why not?")
    await screen.until(lambda session: not session.busy)
    assert [message.text for message in requests[-1].messages] == ["Answer only in French.", "why not?"]


async def test_what_is_changed_during_an_answer_holds_from_the_next_one_on(
    screens: Any, target: Any, requests: Any
) -> None:
    screen = screens(target(text="word " * 400, tokens_per_second=60.0))
    await screen.session.send("first")
    await screen.until(talking)
    await screen.session.ask_so(FRENCH)
    assert screen.session.busy
    assert requests[-1].messages == (Message("user", "first"),)
    await screen.session.stop()
    await screen.until(lambda session: not session.busy)
    assert screen.session.branch[-1].state == "stopped"
    await screen.ask("second")
    assert [message.role for message in requests[-1].messages] == ["system", "user", "assistant", "user"]
    assert requests[-1].sampling.seed == 7


async def test_another_context_loads_the_model_anew_and_other_chats_have_their_own(screens: Any, target: Any) -> None:
    usual = target(context=1024)
    screen = screens(usual)
    await screen.until(loaded)
    pid = screen.session.host_pid
    await screen.session.ask_so(Asking(temperature=0.1))
    assert screen.session.host_pid == pid, "sampling needs no other model"
    await screen.session.ask_so(Asking(context=2048))
    await screen.until(lambda session: loaded(session) and session.status.loaded.context == 2048)
    assert screen.session.host_pid != pid
    assert screen.session.target == screen.session.loaded_target
    await screen.ask("why?")
    chat = screen.session.conversation.id
    await screen.session.new()
    assert screen.session.target == usual
    await screen.ask("another?")
    assert screen.session.status.loaded.context == 1024
    await screen.session.open(chat)
    assert screen.session.target.spec.options["context"] == 2048
    assert screen.session.status.loaded.context == 1024, "to read a chat loads nothing"
    await screen.ask("and?")
    assert screen.session.status.loaded.context == 2048


async def test_another_context_asked_for_during_an_answer_is_loaded_after_it(screens: Any, target: Any) -> None:
    screen = screens(target(context=1024, text="word " * 60, tokens_per_second=60.0))
    await screen.session.send("first")
    await screen.until(talking)
    await screen.session.ask_so(Asking(context=2048))
    assert screen.session.status.loaded.context == 1024
    await screen.until(lambda session: loaded(session) and session.status.loaded.context == 2048)
    assert screen.session.branch[-1].state == "done"
    assert len(screen.session.branch[-1].text.split()) == 60


async def test_a_model_that_is_not_in_memory_is_not_loaded_for_it(screens: Any, target: Any) -> None:
    screen = screens()
    screen.session.target = target(context=1024)
    await screen.session.ask_so(Asking(context=2048))
    assert (screen.session.loading, screen.session.status) == (False, None)


async def test_a_backend_that_takes_no_context_answers_with_its_own(screens: Any, target: Any) -> None:
    screen = screens(target())
    await screen.session.ask_so(Asking(context=2048))
    await screen.ask("why?")
    assert screen.session.branch[-1].state == "done"
    assert screen.session.status.loaded.context == 4096


async def test_the_system_prompt_counts_where_the_conversation_does_not_fit_and_stays_with_what_is_sent(
    screens: Any, target: Any, requests: Any
) -> None:
    system = "system " * 300
    screen = screens(target(context=1024, text="said " * 100))
    await screen.session.ask_so(Asking(system.strip()))
    number = 0
    while screen.session.remedies.overflow is None:
        await screen.ask(f"question {number} " + "more " * 100)
        await screen.until(lambda session: not session.busy)
        number += 1
    found = screen.session.remedies.overflow
    assert number == 4
    assert found.told
    assert fits(found.fit.tokens - 300, 1024), "without the system prompt it would have fit"
    await screen.session.remedies.go_on_without()
    await screen.until(lambda session: not session.busy)
    assert [message.role for message in requests[-1].messages] == ["system", "user"]
    assert requests[-1].messages[0].text.startswith("system system")


async def test_a_chat_with_a_context_of_its_own_can_be_given_a_larger_one(screens: Any, target: Any) -> None:
    screen = screens(target(context=4096, text="said " * 100))
    await screen.session.ask_so(Asking(context=512))
    while screen.session.remedies.overflow is None:
        await screen.ask("question " + "more " * 100)
        await screen.until(lambda session: not session.busy)
    larger = screen.session.remedies.overflow.larger
    await screen.session.remedies.enlarge()
    await screen.until(lambda session: not session.busy)
    assert screen.session.branch[-1].state == "done"
    assert screen.session.status.loaded.context == larger > 512
    await screen.ask("and?")
    assert screen.session.status.loaded.context == larger
    await screen.session.new()
    assert screen.session.target.spec.options["context"] == 4096


async def test_a_larger_context_that_cannot_be_had_leaves_the_chats_own(
    screens: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = screens(target(context=4096, text="said " * 100))
    await screen.session.ask_so(Asking(context=512))
    while screen.session.remedies.overflow is None:
        await screen.ask("question " + "more " * 100)
        await screen.until(lambda session: not session.busy)
    grow = Target.with_context

    def too_large(one: Target, tokens: int) -> Target:
        larger = grow(one, tokens)
        spec = msgspec.structs.replace(larger.spec, options={**larger.spec.options, "fail": "load"})
        return msgspec.structs.replace(larger, spec=spec) if tokens > 512 else larger

    monkeypatch.setattr(Target, "with_context", too_large)
    await screen.session.remedies.enlarge()
    await screen.until(lambda session: not session.busy)
    assert screen.session.branch[-1].error.kind == OutOfMemory.kind
    assert screen.session.target.spec.options["context"] == 512
    await screen.session.retry()
    await screen.until(lambda session: not session.busy)
    assert screen.session.remedies.overflow is not None, "the choices are there again"


async def test_what_another_program_asks_of_the_chat_is_taken_in(screens: Any, target: Any, requests: Any) -> None:
    first, second = screens(target()), screens(target())
    await first.ask("why?")
    await second.session.open(first.session.conversation.id)
    await second.session.ask_so(FRENCH)
    assert await first.session.refresh()
    assert first.session.wanted.asking == FRENCH
    await first.ask("and?")
    assert requests[-1].messages[0].text == "Answer only in French."


async def test_a_chat_whose_wish_cannot_be_read_opens_without_and_can_be_given_another(
    screens: Any, target: Any, requests: Any
) -> None:
    screen = screens(target())
    await screen.ask("why?")
    chat = screen.session.conversation.id
    with sqlite3.connect(paths.database()) as db:
        db.execute("UPDATE conversation SET asking = '{\"temperature\": 99}'")
    await screen.session.open(chat)
    assert screen.session.conversation.asking_lost
    await screen.ask("and?")
    assert requests[-1].sampling.temperature == 0.6
    await screen.session.ask_so(FRENCH)
    assert not screen.session.conversation.asking_lost
    store = Store()
    assert store.conversation(chat).asking == FRENCH
    store.close()


async def test_a_wish_that_cannot_be_kept_changes_nothing(screens: Any, target: Any) -> None:
    screen = screens(target())
    await screen.ask("why?")
    screen.store.delete(screen.session.conversation.id)
    with pytest.raises(StoreError, match="no such chat"):
        await screen.session.ask_so(FRENCH)
    assert screen.session.wanted.asking == NOTHING
