"""A host tells of each answer what it made its process read and write, and that all it wrote is our own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backends import paths
from backends.base import ChatRequest, Message, Sampling
from backends.events import Done, Io, Metered
from backends.host import spool
from backends.host.client import open_client
from backends.host.wire import Failed, Record
from tests.backends.fake_openai import FakeOpenAI

pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this system counts nothing of a process")
LONG = {"text": "word " * 100, "tokens_per_second": 40.0}


def told(records: list[Record]) -> list[Io]:
    return [record.event.io for record in records if isinstance(record.event, Metered) and record.event.io is not None]


async def test_it_is_told_once_a_second_and_at_the_end_and_never_shrinks(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec(**LONG))
    records = await hosts.ask(client)
    last = records[-1].event
    assert isinstance(last, Done)
    assert last.io is not None
    course = [*told(records), last.io]
    assert 2 <= len(course) <= 5
    for count in ("read_bytes", "page_faults", "written_bytes", "own_written_bytes"):
        values = [getattr(one, count) for one in course]
        assert values == sorted(values)


async def test_all_that_an_answer_writes_is_its_spool(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec(**LONG))
    for number in range(2):
        records = await hosts.ask(client, f"a{number}")
        last = records[-1].event
        assert isinstance(last, Done)
        assert [one.foreign_written_bytes for one in (*told(records), last.io) if one is not None].count(0) >= 2
        assert last.io is not None
        assert last.io.foreign_written_bytes == 0
        size = spool.path_of(f"a{number}").stat().st_size
        if last.io.written_bytes:  # It is on a disk, not in memory.
            assert last.io.own_written_bytes >= size // 2


async def test_an_answer_that_failed_tells_it_before_the_failure(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec(text="word " * 9, fail="decode", after=4))
    records = await hosts.ask(client)
    assert isinstance(records[-1].event, Failed)
    assert isinstance(records[-2].event, Metered)
    assert records[-2].event.io is not None


async def test_who_looks_at_a_host_sees_what_its_answer_moves_and_what_the_last_one_moved(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec(**LONG))
    assert client.status.io is None
    running, _ = hosts.begin(client)
    await asyncio.sleep(0.3)
    during = await looked(client.folder)
    await running
    after = await looked(client.folder)
    assert during is not None
    assert after is not None
    assert after.written_bytes is not None
    assert after.written_bytes >= (during.written_bytes or 0)
    assert await looked(client.folder) == after


async def looked(folder: Path) -> Io | None:
    looker = await open_client(folder, "")
    try:
        return looker.status.io
    finally:
        await looker.close()


async def test_of_a_server_nothing_is_counted_for_it_is_no_process_of_ours(hosts: Any) -> None:
    with FakeOpenAI() as server:
        server.models["near"] = lambda question: f"You said: {question}"
        client = await hosts.loaded(hosts.spec("near", backend="openai", base_url=server.url, context=4096))
        last = (await hosts.ask(client))[-1].event
    assert isinstance(last, Done)
    assert last.io is None


async def test_kept_states_of_chats_are_our_own_however_much_they_take(hosts: Any, starter_gguf: Path) -> None:
    client = await hosts.loaded(hosts.spec(str(starter_gguf), backend="llama_cpp", context=1024))
    written = []
    for number, chat in enumerate(("first", "second", "first")):
        question = (Message("user", f"{chat} " * 80),)
        request = ChatRequest(question, Sampling(max_tokens=3), chat=chat)
        answer = f"a{number}"
        records = [record async for record in client.chat(answer, request, spool.create(answer))]
        last = records[-1].event
        assert isinstance(last, Done)
        assert last.io is not None
        assert last.io.foreign_written_bytes == 0
        written.append(last.io.written_bytes or 0)
    states = [path.stat().st_size for path in paths.chat_states().glob("*.kv")]
    assert states
    if written[0]:  # It is on a disk, not in memory.
        assert max(written) >= min(states)
