"""One turn, seen from below: the spool is held without a gap, and every way to fail ends the answer."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from backends.base import ChatRequest, Message
from backends.errors import Busy, EngineDied
from backends.host import launch, spool
from backends.host.client import HostClient, HostEnded
from tui.chat import turn
from tui.chat.answer import Answer
from tui.chat.storing.store import Store
from tui.chat.storing.stored import Asked, StoreError

ASKED = Asked("p", "echo", "m")
REQUEST = ChatRequest((Message("user", "one two three"),))


async def run(answer_id: str, connect: Callable[[], Any], descriptor: int | None) -> Answer:
    answer = Answer()
    async for _ in turn.generate(answer_id, REQUEST, connect, descriptor, answer):
        pass
    return answer


async def test_there_is_no_gap_in_the_lock_from_the_spool_to_the_last_record(target: Any, screens: Any) -> None:
    client = await launch.obtain(target().spec)

    async def connect() -> HostClient:
        return client

    current, over, gaps, looks = [""], threading.Event(), [], [0]

    def look() -> None:
        while not over.is_set():
            answer = current[0]
            if answer:
                looks[0] += 1
                if not spool.running(answer):
                    records = spool.read(answer)
                    if not records or not records[-1].final:
                        gaps.append(answer)

    watching = threading.Thread(target=look)
    watching.start()
    for number in range(100):
        descriptor = turn.open_spool(f"t{number}")
        current[0] = f"t{number}"
        answer = await run(f"t{number}", connect, descriptor)
        assert answer.done is not None
    over.set()
    watching.join()
    await client.close()
    assert gaps == []
    assert looks[0] > 100


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Busy("another is loaded"), "busy"),
        (EngineDied("gone"), "engine_died"),
        (OSError(24, "Too many open files"), "backend_error"),
    ],
)
async def test_a_host_that_cannot_be_had_ends_the_answer_with_why(error: Exception, kind: str) -> None:
    async def connect() -> HostClient:
        raise error

    descriptor = turn.open_spool("a1")
    answer = await run("a1", connect, descriptor)
    assert answer.failed is not None
    assert answer.failed.kind == kind
    assert not spool.running("a1")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


async def test_a_host_that_ends_again_and_again_is_not_tried_for_ever() -> None:
    tries = []

    class Ending:
        def chat(self, *arguments: Any) -> Any:
            async def stream() -> Any:
                tries.append(arguments)
                os.close(arguments[2])
                raise HostEnded
                yield

            return stream()

    async def connect() -> Any:
        return Ending()

    answer = await run("a1", connect, turn.open_spool("a1"))
    assert answer.failed is not None
    assert answer.failed.kind == "engine_died"
    assert len(tries) == turn.ENDED_RETRIES
    assert not spool.running("a1")


async def test_given_up_in_the_middle_it_frees_its_hold() -> None:
    waiting = asyncio.Event()

    async def connect() -> HostClient:
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.create_task(run("a1", connect, turn.open_spool("a1")))
    await waiting.wait()
    assert spool.running("a1")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not spool.running("a1")


def test_a_turn_begins_with_the_spool_locked_and_the_rows_committed() -> None:
    store = Store()
    seen = []

    def commit(answer: str) -> Any:
        seen.append(spool.running(answer))
        return store.begin(answer, ASKED, "why?")

    begun = turn.begin(store, "a1", commit)
    assert seen == [True]
    assert [message.text for message in begun.opened.branch] == ["why?", ""]
    assert begun.opened.conversation.title == "why?"
    assert spool.running("a1")
    os.close(begun.descriptor)
    store.close()


def test_a_turn_whose_commit_fails_leaves_no_spool() -> None:
    store = Store()

    def commit(_answer: str) -> Any:
        raise StoreError("full")

    with pytest.raises(StoreError, match="full"):
        turn.begin(store, "a1", commit)
    assert spool.answers() == []
    store.close()


async def test_watching_goes_on_while_the_store_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    begun = turn.begin(store, "a1", lambda answer: store.begin(answer, ASKED, "why?"))
    os.close(begun.descriptor)
    store._db.execute("PRAGMA query_only = ON")
    monkeypatch.setattr(turn, "ATTACH_POLL_S", 0.01)

    async def watch() -> None:
        async for _ in turn.watch(store, "a1", Answer()):
            pass

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.1)
    assert not watching.done()
    store._db.execute("PRAGMA query_only = OFF")
    await asyncio.wait_for(watching, 5)
    row = store.message("a1")
    assert row is not None
    assert row.state == "interrupted"
    store.close()


def test_an_end_that_is_given_does_not_replace_one_that_came() -> None:
    answer = Answer()
    turn.stop(answer)
    assert answer.done is not None
    turn.fail(answer, EngineDiedInfo)
    assert answer.failed is None


EngineDiedInfo = turn.ErrorInfo("engine_died", "gone")
