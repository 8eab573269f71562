"""A model that a server elsewhere has takes no memory here: it is in nobody's way, and nobody is in its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backends.host import launch
from tests.backends.fake_openai import FakeOpenAI

SLOW = {"text": "word " * 400, "tokens_per_second": 50.0}


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        server.models["far"] = lambda question: f"You said: {question}"
        yield server


def far(hosts: Any, server: FakeOpenAI) -> Any:
    return hosts.spec("far", backend="openai", base_url=server.url, context=4096)


async def test_a_local_model_stays_loaded_beside_it(hosts: Any, said: Any, server: FakeOpenAI) -> None:
    local = await hosts.loaded(hosts.spec())
    remote = await hosts.loaded(far(hosts, server))
    assert said(await hosts.ask(remote, "a1")).startswith("You said: hello")
    assert local.connected
    assert said(await hosts.ask(local, "a2"))
    assert not [step for step in hosts.steps if isinstance(step, launch.Ending | launch.Waiting)]


async def test_it_does_not_wait_in_line_behind_a_local_answer(hosts: Any, said: Any, server: FakeOpenAI) -> None:
    local = await hosts.loaded(hosts.spec(**SLOW))
    running, records = hosts.begin(local, "a1")
    remote = await hosts.loaded(far(hosts, server))
    assert said(await hosts.ask(remote, "a2")).startswith("You said: hello")
    assert not running.done(), "and the local answer goes on meanwhile"
    await local.stop("a1")
    await running
    assert records


async def test_a_local_model_that_comes_later_does_not_end_it(hosts: Any, said: Any, server: FakeOpenAI) -> None:
    remote = await hosts.loaded(far(hosts, server))
    await hosts.loaded(hosts.spec())
    assert remote.connected
    assert said(await hosts.ask(remote, "a1"))


async def test_of_two_local_models_one_is_ended_with_it_or_without(hosts: Any, server: FakeOpenAI) -> None:
    first = await hosts.loaded(hosts.spec("first"))
    await hosts.loaded(far(hosts, server))
    await hosts.loaded(hosts.spec("second"))
    assert not first.connected


async def test_freeing_memory_ends_what_takes_some_and_is_idle(hosts: Any, server: FakeOpenAI, eventually: Any) -> None:
    local = await hosts.loaded(hosts.spec())
    remote = await hosts.loaded(far(hosts, server))
    await launch.free_memory()
    await eventually(lambda: not local.connected)
    assert remote.connected
    busy = await hosts.loaded(hosts.spec(**SLOW))
    running, _ = hosts.begin(busy, "a1")
    await eventually(lambda: busy.status.answer == "a1")
    await launch.free_memory()
    assert busy.connected
    await busy.stop("a1")
    await running
