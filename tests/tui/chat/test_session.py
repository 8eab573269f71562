"""One conversation on a real host: asking, stopping, retrying, going on, leaving and coming back."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from backends import lock_file
from backends.base import Cancel
from backends.errors import EngineDied, OutOfMemory, Problem
from backends.host import launch, spool
from tui.chat import session as module
from tui.chat.session import Session
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoreError

SLOW = {"text": "word " * 400, "tokens_per_second": 60.0}


def said(session: Session) -> str:
    return session.branch[-1].text


def talking(session: Session) -> bool:
    return session.answer is not None and len(session.answer.text) > 20


def wait_until_free(answer: str) -> None:
    with spool.path_of(answer).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)


async def test_a_question_is_answered_kept_and_told_in_order(screens: Any, target: Any) -> None:
    screen = screens(
        target(reasoning="let me think", text="it is so"),
        lambda s: (s.busy, [m.state for m in s.branch], s.answer.text if s.answer else None),
    )
    await screen.session.send("why?")
    assert [(m.role, m.text, m.state) for m in screen.session.branch] == [
        ("user", "why?", "done"),
        ("assistant", "", "streaming"),
    ]
    assert screen.session.conversation.title == "why?"
    await screen.until(lambda session: not session.busy)
    question, answer = screen.session.branch
    assert (answer.text, answer.reasoning, answer.state) == ("it is so", "let me think", "done")
    assert (answer.preset, answer.backend, answer.model) == ("model", "echo", "model")
    assert answer.usage.output_tokens == 6
    assert answer.thought_s is not None
    assert (screen.session.answer, screen.session.answering, screen.session.unsaved) == (None, None, "")
    assert spool.answers() == []
    # An answer is never shown as neither growing nor ended: whoever looks at any change sees all that was said.
    texts = [text if text is not None else "" for _, _, text in screen.seen]
    after = screen.seen[len(texts) - 1 - texts[::-1].index("it is so") :]
    assert all(busy or states[-1:] == ["done"] for busy, states, _ in after)
    assert question.parent is None


async def test_the_question_is_on_disk_before_the_host_can_see_it(
    screens: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_hosts_door: list[list[str]] = []
    obtain = launch.obtain

    async def looking(*arguments: Any, **more: Any) -> Any:
        other = Store()
        at_the_hosts_door.append([row["text"] for row in other.rows("SELECT text FROM message WHERE role = 'user'")])
        other.close()
        return await obtain(*arguments, **more)

    screen = screens()
    screen.session.target = target()
    monkeypatch.setattr(launch, "obtain", looking)
    await screen.ask("why?")
    assert at_the_hosts_door == [["why?"]]


async def test_a_conversation_goes_on_and_the_model_hears_all_of_it(screens: Any, target: Any) -> None:
    screen = screens(target())
    await screen.ask("one two")
    await screen.ask("three")
    assert [m.text for m in screen.session.branch] == ["one two", "one two", "three", "three"]
    assert screen.session.branch[-1].usage.prompt_tokens == 5
    assert len(screen.store.conversations()) == 1


async def test_two_sends_at_once_make_one_question(screens: Any, target: Any) -> None:
    screen = screens(target())
    await asyncio.gather(*(screen.session.send("why?") for _ in range(3)))
    await screen.until(lambda session: not session.busy)
    assert len(screen.store.rows("SELECT id FROM message")) == 2
    assert spool.answers() == []


async def test_without_a_model_nothing_is_sent(screens: Any) -> None:
    screen = screens()
    with pytest.raises(Problem, match="No model is chosen"):
        await screen.session.send("why?")
    assert screen.store.conversations() == []


async def test_stop_keeps_what_was_said(screens: Any, target: Any) -> None:
    screen = screens(target(**SLOW))
    await screen.session.send("why?")
    await screen.until(talking)
    stopped = time.monotonic()
    await screen.session.stop()
    await screen.until(lambda session: not session.busy)
    assert time.monotonic() - stopped < 1
    assert screen.session.branch[-1].state == "stopped"
    assert SLOW["text"].startswith(said(screen.session))
    assert len(said(screen.session)) > 20
    await screen.session.stop()  # nothing is left to stop


async def test_retry_makes_a_sibling(screens: Any, target: Any) -> None:
    screen = screens(target())
    await screen.ask("why?")
    first = screen.session.branch[-1]
    await screen.session.retry()
    await screen.until(lambda session: not session.busy)
    assert [m.text for m in screen.session.branch] == ["why?", "why?"]
    assert screen.session.branch[-1].id != first.id
    assert screen.session.branch[-1].parent == first.parent
    assert screen.store.message(first.id) == first


async def test_going_on_adds_to_what_was_said(screens: Any, target: Any) -> None:
    words = " ".join(str(number) for number in range(100))
    screen = screens(target(text=words, reasoning="think first", tokens_per_second=60.0))
    await screen.session.send("count")
    await screen.until(talking)
    await screen.session.stop()
    await screen.until(lambda session: not session.busy)
    cut = said(screen.session)
    assert 20 < len(cut) < len(words)
    await screen.session.resume()
    assert screen.session.answer.text == cut
    await screen.until(lambda session: not session.busy)
    last = screen.session.branch[-1]
    assert (last.text, last.reasoning, last.state) == (words, "think first", "done")
    assert len(screen.session.branch) == 2


async def test_retrying_and_going_on_without_a_question_do_nothing(screens: Any, target: Any) -> None:
    screen = screens(target())
    await screen.session.retry()
    await screen.session.resume()
    assert not screen.session.busy


async def test_leaving_in_mid_answer_and_opening_again_gets_the_rest(screens: Any, target: Any) -> None:
    words = " ".join(str(number) for number in range(80))
    first = screens(target(text=words, tokens_per_second=60.0))
    await first.session.send("count")
    await first.until(talking)
    conversation = first.session.conversation.id
    await first.close()
    second = screens()
    await second.session.open(conversation)
    assert second.session.busy
    await second.until(lambda session: not session.busy)
    last = second.session.branch[-1]
    assert (last.text, last.state, last.usage.output_tokens) == (words, "done", 80)
    assert spool.answers() == []


async def test_opening_again_after_the_end_takes_the_answer_in(screens: Any, target: Any, end_hosts: Any) -> None:
    first = screens(target(text="a b c d e f g h", tokens_per_second=20.0))
    await first.session.send("q")
    answer, conversation = first.session.answering.id, first.session.conversation.id
    await first.until(lambda session: session.answer.text)
    await first.close()
    await asyncio.to_thread(wait_until_free, answer)
    end_hosts()
    second = screens()
    await second.session.open(conversation)
    await second.until(lambda session: not session.busy)
    assert (said(second.session), second.session.branch[-1].state) == ("a b c d e f g h", "done")


async def test_a_new_chat_lets_the_answer_go_on(screens: Any, target: Any) -> None:
    screen = screens(target(text="a b c d e f", tokens_per_second=15.0))
    await screen.session.send("q")
    await screen.until(lambda session: session.answer.text)
    old = screen.session.conversation.id
    await screen.session.new()
    assert (screen.session.branch, screen.session.conversation, screen.session.busy) == ([], None, False)
    await screen.session.open(old)
    assert screen.session.busy
    await screen.until(lambda session: not session.busy)
    assert said(screen.session) == "a b c d e f"


async def test_an_unknown_chat_leaves_everything_as_it_is(screens: Any, target: Any) -> None:
    screen = screens(target(**SLOW))
    await screen.session.send("q")
    with pytest.raises(StoreError, match="no such chat"):
        await screen.session.open("nowhere")
    assert screen.session.busy
    await screen.until(talking)
    await screen.session.stop()
    await screen.until(lambda session: not session.busy)


@pytest.mark.parametrize(("where", "words"), [("load", "loading"), ("prefill", "prompt"), ("decode", "answering")])
async def test_a_crash_keeps_the_answer_says_what_died_and_retry_starts_again(
    screens: Any, target: Any, where: str, words: str
) -> None:
    crashing = target(
        text="one two three four five", crash=where, after=4,
        load_s=0.2, prefill_tokens_per_second=500.0, tokens_per_second=30.0,
    )  # fmt: skip
    screen = screens(crashing)
    await screen.ask("why?")
    last = screen.session.branch[-1]
    assert last.state == "interrupted"
    assert (last.error.kind, last.text) == ("engine_died", "one two three four" if where == "decode" else "")
    assert words in last.error.title
    assert spool.answers() == []
    screen.session.choose(target())
    await screen.session.retry()
    await screen.until(lambda session: not session.busy)
    assert said(screen.session) == "why?"


async def test_a_host_that_dies_idle_is_told_and_the_next_question_starts_another(screens: Any, target: Any) -> None:
    screen = screens(target())
    await screen.ask("one")
    os.kill(screen.session.host_pid, signal.SIGKILL)
    await screen.until(lambda session: session.problem is not None)
    assert isinstance(screen.session.problem, EngineDied)
    assert (screen.session.status, screen.session.loaded_target) == (None, None)
    await screen.ask("two")
    assert (said(screen.session), screen.session.problem) == ("two", None)


async def test_a_host_that_ends_in_order_is_no_problem(screens: Any, target: Any) -> None:
    screen = screens(target())
    await screen.ask("one")
    await screen.session.unload()
    await screen.until(lambda session: session.status is None)
    assert screen.session.problem is None
    await screen.ask("two")
    assert said(screen.session) == "two"


async def test_a_model_that_cannot_be_loaded_is_told(screens: Any, target: Any) -> None:
    screen = screens(target(fail="load"))
    await screen.until(lambda session: session.problem is not None)
    assert isinstance(screen.session.problem, OutOfMemory)
    await screen.ask("why?")
    assert (screen.session.branch[-1].state, screen.session.branch[-1].error.kind) == ("failed", "out_of_memory")


async def test_changing_the_model_ends_the_idle_one_and_is_no_problem(screens: Any, target: Any) -> None:
    screen = screens(target("one"), lambda session: session.step)
    await screen.ask("q")
    screen.session.choose(target("two", text="from two"))
    await screen.until(lambda s: s.loaded_target and s.loaded_target.preset == "two" and s.status.phase == "idle")
    assert launch.Ending("Echo one") in screen.seen
    assert screen.session.problem is None
    await screen.ask("q")
    assert [m.preset for m in screen.session.branch if m.role == "assistant"] == ["one", "two"]


async def test_changing_the_model_in_an_answer_waits_for_its_end(screens: Any, target: Any) -> None:
    screen = screens(target("one", text="a b c d e f", tokens_per_second=20.0))
    await screen.session.send("q")
    await screen.until(lambda session: session.answer.text)
    screen.session.choose(target("two"))
    await screen.until(lambda session: not session.busy)
    assert (said(screen.session), screen.session.branch[-1].state) == ("a b c d e f", "done")
    await screen.until(lambda s: s.loaded_target and s.loaded_target.preset == "two" and not s.loading)


async def test_choosing_again_and_again_gives_up_what_was_loading(screens: Any, target: Any) -> None:
    screen = screens(target("one", load_s=60.0))
    await screen.until(lambda session: session.status is not None and session.status.load is not None)
    for name in ("two", "three"):
        screen.session.choose(target(name, load_s=60.0))
    screen.session.choose(target("four"))
    await screen.until(lambda s: s.loaded_target and s.loaded_target.preset == "four" and not s.loading, 10)
    assert screen.session.problem is None
    assert [view.title for view in await launch.survey()] == ["Echo four"]


async def test_loading_can_be_stopped_and_is_no_problem(screens: Any, target: Any) -> None:
    screen = screens(target(load_s=60.0))
    await screen.until(lambda session: session.status is not None and session.status.load is not None)
    await screen.session.stop()
    await screen.until(lambda session: not session.loading, 5)
    await asyncio.sleep(0)
    assert screen.session.problem is None


async def test_stop_while_loading_ends_question_and_loading(screens: Any, target: Any) -> None:
    screen = screens(target(load_s=60.0))
    await screen.session.send("q")
    await screen.until(lambda session: session.status is not None and session.status.load is not None)
    await screen.session.stop()
    await screen.until(lambda session: not session.busy, 5)
    assert screen.session.branch[-1].state == "stopped"


async def test_stop_right_after_sending_is_heard(screens: Any, target: Any) -> None:
    screen = screens()
    screen.session.target = target(**SLOW)
    await screen.session.send("q")
    await screen.session.stop()
    await screen.until(lambda session: not session.busy, 5)
    assert screen.session.branch[-1].state == "stopped"
    assert spool.answers() == []


async def test_leaving_right_after_sending_frees_the_spool(screens: Any, target: Any) -> None:
    screen = screens()
    screen.session.target = target()
    await screen.session.send("q")
    answer = screen.session.answering.id
    await screen.session.leave()
    assert not spool.running(answer)


async def test_a_host_that_ended_just_before_a_question_is_started_again(
    screens: Any, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = screens(target())
    await screen.ask("one")
    client = screen.session._link.client
    create = module.turn.open_spool

    def meanwhile(answer: str) -> int:
        os.kill(client.welcome.pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        while lock_file.held(client.folder / launch.LOCK) and time.monotonic() < deadline:
            time.sleep(0.01)
        return create(answer)

    monkeypatch.setattr(module.turn, "open_spool", meanwhile)
    await screen.ask("two")
    assert (said(screen.session), screen.session.branch[-1].state) == ("two", "done")


async def test_a_deaf_engine_holds_up_the_next_question_only_so_long(screens: Any, target: Any) -> None:
    screen = screens(target(text="a b c", tokens_per_second=0.1, deaf=True, drain_s=0.5))
    await screen.session.send("one")
    await screen.until(lambda session: session.status is not None and session.status.answer)
    pid = screen.session.host_pid
    await screen.session.stop()
    await screen.until(lambda session: not session.busy, 1)
    await screen.session.send("two")
    await screen.until(lambda session: session.host_pid not in {None, pid} and session.status.answer, 6)
    assert screen.session.busy
    await screen.session.stop()
    await screen.until(lambda session: not session.busy, 1)


def test_the_chat_core_imports_no_screen_and_no_engine() -> None:
    code = "import sys, tui.chat.session; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    loaded = set(child.stdout.split())
    assert "tui" in loaded
    assert loaded & {"textual", "rich", "llama_cpp", "numpy", "httpx", "pydantic", "jinja2"} == set()


def test_a_cancel_calls_back_once_whenever_it_is_asked_to() -> None:
    cancel, called = Cancel(), []
    cancel.on_set(lambda: called.append("early"))
    cancel.set()
    cancel.set()
    cancel.on_set(lambda: called.append("late"))
    assert (called, cancel.is_set(), cancel.wait(0)) == (["early", "late"], True, True)
