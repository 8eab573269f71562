"""Which hosts make room for another model, which are waited for, and which stay."""

from __future__ import annotations

import asyncio
import fcntl
import time
from typing import Any

import pytest

from backends import paths
from backends.errors import Busy
from backends.host import launch, spool
from backends.host.client import HostEnded
from tests.processes import alive


async def test_an_idle_host_is_gone_before_another_model_starts(hosts: Any) -> None:
    first = await hosts.loaded(hosts.spec("one"))
    pid = first.welcome.pid
    second = hosts.spec("two")
    seen: list[bool] = []

    def report(step: launch.LaunchStep) -> None:
        hosts.steps.append(step)
        if isinstance(step, launch.Starting):
            seen.append(alive(pid))

    client = await launch.obtain(second, report)
    hosts.clients.append(client)
    assert hosts.steps[-2:] == [launch.Ending("Echo one"), launch.Starting("Echo two")]
    assert seen == [False]
    with pytest.raises(HostEnded):
        await hosts.ask(first)


async def test_a_busy_host_is_waited_for_visibly_and_ends_its_answer(hosts: Any, eventually: Any) -> None:
    first = await hosts.loaded(hosts.spec("one", text="a b c d e f", tokens_per_second=8.0))
    running, records = hosts.begin(first)
    await eventually(lambda: records)
    second = await hosts.obtain(hosts.spec("two"))
    assert launch.Waiting("Echo one", "decode") in hosts.steps
    await running
    assert records[-1].event.reason == "stop"
    assert (await second.loaded()).phase == "idle"


async def test_a_host_that_loads_is_busy_and_waited_for(hosts: Any) -> None:
    await hosts.obtain(hosts.spec("one", load_s=0.6))
    await hosts.loaded(hosts.spec("two"))
    assert launch.Waiting("Echo one", "loading") in hosts.steps


async def test_told_to_evict_a_busy_host_ends_and_its_answer_is_kept(hosts: Any, eventually: Any) -> None:
    first = await hosts.loaded(hosts.spec("one", text="word " * 400, tokens_per_second=50.0))
    running, records = hosts.begin(first)
    await eventually(lambda: len(records) > 5)
    await hosts.obtain(hosts.spec("two"), evict="busy")
    await running
    assert records[-1].event.reason == "stopped"
    assert spool.read("a1") == records


async def test_told_to_evict_nothing_it_refuses(hosts: Any) -> None:
    await hosts.loaded(hosts.spec("one"))
    with pytest.raises(Busy, match="Echo one is loaded"):
        await hosts.obtain(hosts.spec("two"), evict="none")
    again = await hosts.obtain(hosts.spec("one"), evict="none")
    assert again.status.phase == "idle"


async def test_told_to_evict_nothing_it_waits_for_a_host_that_is_just_ending(hosts: Any, eventually: Any) -> None:
    spec = hosts.spec()
    folder = paths.private(paths.private(paths.hosts()) / launch.key_of(spec))
    with (folder / launch.LOCK).open("w") as ending:
        fcntl.flock(ending, fcntl.LOCK_EX)
        obtaining = asyncio.create_task(hosts.obtain(spec, evict="none"))
        await eventually(lambda: hosts.steps)
        assert not obtaining.done()
    assert (await asyncio.wait_for(obtaining, 5)).connected


async def test_told_to_evict_nothing_it_refuses_after_a_while_where_a_host_says_nothing(
    hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "SILENT_S", 0.3)
    folder = paths.private(paths.private(paths.hosts()) / "silent")
    with (folder / launch.LOCK).open("w") as silent:
        fcntl.flock(silent, fcntl.LOCK_EX)
        with pytest.raises(Busy, match="host silent is loaded"):
            await asyncio.wait_for(hosts.obtain(hosts.spec(), evict="none"), 5)


async def test_a_host_that_becomes_busy_while_it_is_asked_to_end_is_waited_for(
    hosts: Any, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    first = await hosts.loaded(hosts.spec("one", text="a b c d", tokens_per_second=8.0))
    end = launch.end
    running: list[asyncio.Task[None]] = []

    async def late(view: launch.HostView, *, force: bool = False, timeout_s: float = launch.END_S) -> bool:
        if not running:
            task, records = hosts.begin(first)
            running.append(task)
            await eventually(lambda: records)
        return await end(view, force=force, timeout_s=timeout_s)

    monkeypatch.setattr(launch, "end", late)
    started = time.monotonic()
    await hosts.obtain(hosts.spec("two"))
    assert time.monotonic() - started < 5
    await running[0]
    assert spool.read("a1")[-1].event.reason == "stop"


async def test_an_idle_host_of_another_build_is_replaced(hosts: Any) -> None:
    old = await hosts.loaded(hosts.spec(build="old build"))
    pid = old.welcome.pid
    new = await hosts.obtain(hosts.spec())
    assert new.welcome.build == "this build"
    assert not alive(pid)


async def test_a_busy_host_of_another_build_finishes_first(hosts: Any, eventually: Any) -> None:
    old = await hosts.loaded(hosts.spec(build="old build", text="a b c d e f", tokens_per_second=10.0))
    running, records = hosts.begin(old)
    await eventually(lambda: records)
    new = await hosts.obtain(hosts.spec(text="a b c d e f", tokens_per_second=10.0))
    await running
    assert records[-1].event.reason == "stop"
    assert new.welcome.build == "this build"
