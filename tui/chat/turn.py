"""One turn: the question to disk, then to a host; the answer's records to the fold; its end to disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from backends.base import ChatRequest
from backends.errors import CannotContinue, EngineDied, ErrorInfo, Problem, to_info
from backends.events import Done
from backends.host import launch, spool
from backends.host.client import HostClient, HostEnded
from backends.host.wire import Failed, HostSpec, Record
from tui.chat import recovery
from tui.chat.answer import Answer
from tui.chat.history import history
from tui.chat.storing import opened
from tui.chat.storing.opened import Opened
from tui.chat.storing.store import Store
from tui.chat.storing.stored import StoredMessage, StoreError, new_id
from tui.chat.target import Target

ATTACH_POLL_S = 0.2
ENDED_RETRIES = 3

Connect = Callable[[], Awaitable[HostClient]]

_on_the_way: set[str] = set()


class Begun(NamedTuple):
    """A turn that is on disk: the locked spool's descriptor, the answer's row, and where it stands."""

    descriptor: int
    row: StoredMessage
    opened: Opened


def on_the_way() -> bool:
    """Whether a question of this process is being committed, or waits for a host to take it: both need us alive."""
    return bool(_on_the_way)


def open_spool(answer: str) -> int:
    """Create an answer's spool before its question is committed. Raises StoreError."""
    try:
        return spool.create(answer)
    except OSError as error:
        raise StoreError(
            "The answer could not be kept, so nothing was sent",
            f"{spool.path_of(answer)}: {error.strerror}",
            "Make room or check the folder's owner, then send it again.",
        ) from error


def begin(store: Store, answer: str, commit: Callable[[str], StoredMessage]) -> Begun:
    """Lock a spool, then commit the question and the answer's row. Raises StoreError; then nothing was sent."""
    _on_the_way.add(answer)
    try:
        descriptor = open_spool(answer)
        try:
            row = commit(answer)
            return Begun(descriptor, row, opened.read(store, row.conversation))
        except BaseException:
            os.close(descriptor)
            spool.remove(answer)
            raise
    except BaseException:
        _on_the_way.discard(answer)
        raise


async def on_disk(store: Store, commit: Callable[[str], StoredMessage]) -> Begun:
    """Begin a turn under a new id, out of the event loop. Raises StoreError; then nothing was sent.

    Cancelled, it is committed all the same: whoever comes next takes it in.
    """
    work = asyncio.ensure_future(asyncio.to_thread(begin, store, new_id(), commit))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_abandon)
        raise


def request(begun: Begun, target: Target) -> ChatRequest:
    """Return what is sent for a turn: the branch before the answer, as the chat asks for it."""
    found = begun.opened
    sent = history(found.branch[:-1], system=target.system).messages
    return ChatRequest(sent, target.sampling, target.reasoning, begun.row.partial, found.conversation.id)


def _abandon(begun: asyncio.Future[Begun]) -> None:
    """Free the spool of a turn that nobody waits for any more."""
    if not begun.cancelled() and begun.exception() is None:
        os.close(begun.result().descriptor)
        _on_the_way.discard(begun.result().row.id)


async def obtain(
    spec: HostSpec, report: Callable[[launch.LaunchStep], None], *, evict: launch.Evict = "idle"
) -> HostClient:
    """Return a connection to the host of `spec` like `launch.obtain`. Raises Problem."""
    try:
        return await launch.obtain(spec, report, evict=evict)
    except OSError as error:
        hint = "`deepseek-tui doctor` looks at the state folder."
        raise Problem("The model's process cannot be started", str(error), hint) from error


async def generate(
    answer_id: str, request: ChatRequest, connect: Connect, descriptor: int | None, answer: Answer
) -> AsyncIterator[Answer]:
    """Send a request and yield `answer` after each record; it is finished at the end, whatever happened.

    `descriptor` is the answer's locked spool. It stays open here until the host writes it, so that nobody takes
    the answer for abandoned meanwhile.
    """
    try:
        for attempt in range(ENDED_RETRIES):
            if descriptor is not None:
                _on_the_way.add(answer_id)
            try:
                client = await connect()
                client.on_sent = _on_the_way.discard
                handed_over = os.dup(descriptor) if descriptor is not None else None
                async for record in client.chat(answer_id, request, handed_over):
                    if descriptor is not None:
                        os.close(descriptor)
                        descriptor = None
                    answer.take(record)
                    yield answer
            except HostEnded:
                if attempt + 1 < ENDED_RETRIES:
                    continue
                raise EngineDied("The model was ended again and again", "", "Another program may need it.") from None
            break
    except (Problem, OSError) as error:
        fail(answer, to_info(error))
        yield answer
    finally:
        _on_the_way.discard(answer_id)
        if descriptor is not None:
            os.close(descriptor)


async def watch(store: Store, answer_id: str, answer: Answer) -> AsyncIterator[Answer]:
    """Follow an answer that another client or a host left by one is generating, to its end.

    Ends with `answer` finished, or unfinished if its end is already in the store.
    """
    while True:
        client = await launch.find_answer(answer_id)
        if client is not None:
            try:
                with contextlib.suppress(HostEnded, Problem):
                    async for record in client.attach(answer_id, answer.records):
                        answer.take(record)
                        yield answer
            finally:
                await client.close()
            if answer.finished:
                return
        with contextlib.suppress(StoreError):  # Locked for the moment, or the disk is full.
            if await asyncio.to_thread(recovery.take_in, store, answer_id):
                return
        await asyncio.sleep(ATTACH_POLL_S)


async def tell_found(answer_id: str, say: Callable[[HostClient], Awaitable[None]]) -> bool:
    """Say something to the host that is generating an answer for somebody else; say whether there is one."""
    client = await launch.find_answer(answer_id)
    if client is None:
        return False
    try:
        await say(client)
    finally:
        await client.close()
    return True


def cannot_continue(title: str) -> CannotContinue:
    """Return the error for an answer that the loaded model can only begin anew."""
    return CannotContinue(
        f"{title} cannot go on with an answer",
        "Its server takes no unfinished answers.",
        "Ask the question once more, or use a backend that can.",
    )


def finish(store: Store, answer_id: str, answer: Answer) -> None:
    """Commit an answer's end and delete its spool. Raises StoreError; the spool is then still there."""
    if not store.finish(answer_id, answer) and store.message(answer_id) is None:
        raise StoreError(
            "The chat of this answer is gone",
            f"{store.path} does not have it any more.",
            "The answer is kept: the next start puts it into a chat of its own.",
        )
    spool.remove(answer_id)


def stop(answer: Answer) -> None:
    """End an answer that no host has begun."""
    if not answer.finished:
        answer.take(Record("", answer.records, answer.last_s, Done("stopped")))


def fail(answer: Answer, error: ErrorInfo) -> None:
    """End an answer with what went wrong; what was said before stays."""
    if not answer.finished:
        answer.take(Record("", answer.records, answer.last_s, Failed(error)))
