"""How hosts come, are shared, and go."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import time
from typing import Any

import pytest

from backends import lock_file, paths
from backends.base import Cancelled
from backends.errors import BackendError, BadOptions, EngineDied, NotInstalled, OutOfMemory
from backends.host import launch, spool, wire
from backends.host.client import HostEnded, open_client
from tests.processes import alive

SLOW = {"text": "word " * 400, "tokens_per_second": 50.0}


async def test_an_idle_host_without_clients_ends_when_its_time_is_over(hosts: Any, eventually: Any) -> None:
    client = await hosts.loaded(hosts.spec(keep_alive_s=0.3))
    pid, folder = client.welcome.pid, client.folder
    await client.close()
    left = time.monotonic()
    await eventually(lambda: not lock_file.held(folder / launch.LOCK))
    assert time.monotonic() - left > 0.25
    await eventually(lambda: not alive(pid))
    assert not (folder / "socket").exists()


async def test_a_host_that_keeps_nothing_alive_waits_for_the_one_who_started_it(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec(keep_alive_s=0.0))
    assert len(await hosts.ask(client)) > 0


async def test_a_connected_client_keeps_an_idle_host(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec(keep_alive_s=0.1))
    await asyncio.sleep(0.5)
    assert client.connected
    assert len(await hosts.ask(client)) > 0


async def test_one_who_only_looks_does_not_keep_a_host(hosts: Any, eventually: Any) -> None:
    client = await hosts.loaded(hosts.spec(keep_alive_s=0.4))
    looker = await open_client(client.folder, "")
    hosts.clients.append(looker)
    await client.close()
    assert looker.status.clients == 1
    await eventually(lambda: not looker.connected, 3)
    assert looker.status.phase == "ending"


async def test_one_who_only_looks_disturbs_no_client(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec())
    heard: list[Any] = []
    client.on_status = heard.append
    for _ in range(3):
        await launch.survey()
    await asyncio.sleep(0.2)
    assert heard == []
    other = await hosts.loaded(hosts.spec())
    await other.close()
    await asyncio.sleep(0.2)
    assert [status.clients for status in heard][-1] == 1


async def test_looking_again_and_again_does_not_put_off_the_end(hosts: Any, eventually: Any) -> None:
    client = await hosts.loaded(hosts.spec(keep_alive_s=0.5))
    await client.close()
    left = time.monotonic()
    while await launch.survey():
        await asyncio.gather(*(launch.survey() for _ in range(4)))
        assert time.monotonic() - left < 3.0


async def test_a_running_answer_keeps_a_host_whose_clients_left(hosts: Any, eventually: Any) -> None:
    client = await hosts.loaded(hosts.spec(keep_alive_s=0.1, text="one two three four", tokens_per_second=5.0))
    running, records = hosts.begin(client)
    await eventually(lambda: records)
    await client.close()
    with pytest.raises(EngineDied):
        await running
    assert spool.running("a1")
    await eventually(lambda: not spool.running("a1"))
    assert spool.read("a1")[-1].event.reason == "stop"


async def test_two_who_start_the_same_model_at_once_get_one_process(hosts: Any) -> None:
    spec = hosts.spec(load_s=0.2)
    code = (
        "import asyncio, sys, msgspec\n"
        "from backends.host import launch, wire\n"
        "spec = msgspec.json.decode(sys.argv[1], type=wire.HostSpec)\n"
        "async def main():\n"
        "    client = await launch.obtain(spec)\n"
        "    print(client.welcome.pid, flush=True)\n"
        "    await client.loaded()\n"
        "    await client.close()\n"
        "asyncio.run(main())"
    )
    argument = wire._encoder.encode(spec).decode()
    others = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, argument, stdout=asyncio.subprocess.PIPE)
        for _ in range(2)
    ]
    mine = await asyncio.gather(*(hosts.obtain(spec) for _ in range(3)))
    theirs = [await asyncio.wait_for(other.communicate(), 20) for other in others]
    assert [other.returncode for other in others] == [0, 0]
    pids = {client.welcome.pid for client in mine} | {int(out) for out, _ in theirs}
    assert len(pids) == 1
    assert len(await launch.survey()) == 1


async def test_a_frozen_host_is_seen_refused_and_killed(hosts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.host.client.HELLO_S", 0.2)
    monkeypatch.setattr(launch, "UNANSWERED_S", 0.5)
    client = await hosts.loaded(hosts.spec())
    pid = client.welcome.pid
    os.kill(pid, signal.SIGSTOP)
    [view] = await launch.survey()
    assert (view.pid, view.status, view.busy) == (pid, None, True)
    async with asyncio.timeout(5):
        with pytest.raises(EngineDied, match=f"host {pid} does not answer"):
            await hosts.obtain(hosts.spec())
        assert hosts.steps == [launch.Starting("Echo model")] + [launch.Waiting(f"host {pid}", "not answering")] * (
            len(hosts.steps) - 1
        )
        assert not await launch.end(view)
        assert alive(pid)
        assert await launch.end(view, force=True)
    assert not alive(pid)
    assert (await hosts.loaded(hosts.spec())).welcome.pid != pid


async def test_hanging_up_the_line_does_nothing_to_a_host(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec())
    assert os.getsid(client.welcome.pid) == client.welcome.pid
    os.kill(client.welcome.pid, signal.SIGHUP)
    assert (await hosts.ask(client))[-1].final


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
async def test_a_host_told_to_terminate_ends_its_answer_in_the_spool(
    hosts: Any, eventually: Any, which: signal.Signals
) -> None:
    client = await hosts.loaded(hosts.spec(**SLOW))
    running, records = hosts.begin(client)
    waiting, _ = hosts.begin(client, "a2")
    await eventually(lambda: len(records) > 3)
    os.kill(client.welcome.pid, which)
    await running
    await waiting
    await eventually(lambda: not lock_file.held(client.folder / launch.LOCK))
    for answer in ("a1", "a2"):
        assert not spool.running(answer)
        assert spool.read(answer)[-1].event.reason == "stopped"
    assert spool.read("a1") == records
    assert spool.read("a1")[-1].event.usage.output_tokens == sum(r.event.tokens for r in records[1:-1])


async def test_a_failure_to_load_reaches_everyone_and_the_next_try_starts_afresh(hosts: Any) -> None:
    spec = hosts.spec(load_s=0.3, fail="load")
    first, second = await hosts.obtain(spec), await hosts.obtain(spec)
    question, records = hosts.begin(first)
    for client in (first, second):
        with pytest.raises(OutOfMemory, match="too little memory"):
            await client.loaded()
    await question
    assert records[-1].event.error.kind == "out_of_memory"
    third = await hosts.obtain(spec)
    assert third.welcome.pid != first.welcome.pid
    with pytest.raises(OutOfMemory):
        await third.loaded()


async def test_a_failed_host_ends_by_itself(hosts: Any, eventually: Any) -> None:
    client = await hosts.obtain(hosts.spec(fail="load"))
    await eventually(lambda: not lock_file.held(client.folder / launch.LOCK), 5)


async def test_options_that_a_backend_does_not_know_are_a_typed_error(hosts: Any) -> None:
    with pytest.raises(BadOptions, match="txet"):
        await hosts.loaded(hosts.spec(txet="x"))
    with pytest.raises(NotInstalled, match="ehco"):
        await hosts.loaded(hosts.spec(backend="ehco"))


async def test_loading_can_be_stopped_and_started_again(hosts: Any, eventually: Any) -> None:
    spec = hosts.spec(load_s=20.0)
    client = await hosts.obtain(spec)
    question, records = hosts.begin(client)
    await eventually(lambda: client.status.load is not None)
    await client.stop_load()
    with pytest.raises(Cancelled):
        await asyncio.wait_for(client.loaded(), 3)
    await question
    assert records[-1].event.reason == "stopped"
    again = await hosts.obtain(spec)
    assert again.welcome.pid != client.welcome.pid


async def test_loading_is_not_stopped_while_another_waits_for_it(hosts: Any) -> None:
    spec = hosts.spec(load_s=0.5)
    first, second = await hosts.obtain(spec), await hosts.obtain(spec)
    await first.stop_load()
    assert (await second.loaded()).phase == "idle"


async def test_a_launch_that_is_given_up_leaves_no_process(hosts: Any, eventually: Any) -> None:
    spec = hosts.spec(load_s=30.0)
    launching = asyncio.create_task(hosts.obtain(spec))
    await eventually(lambda: any(isinstance(step, launch.Starting) for step in hosts.steps))
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    folder = paths.hosts() / launch.key_of(spec)
    await eventually(
        lambda: not lock_file.held(folder / launch.LOCK) and all(c.poll() is not None for c in launch._children)
    )


async def test_a_host_waits_for_its_lock_while_somebody_looks_at_it(hosts: Any, eventually: Any) -> None:
    spec = hosts.spec()
    folder = paths.private(paths.private(paths.hosts()) / launch.key_of(spec))
    with (folder / "lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        obtaining = asyncio.create_task(hosts.obtain(spec))
        await eventually((folder / "log").exists)
        await asyncio.sleep(0.3)
    assert (await asyncio.wait_for(obtaining, 5)).connected


async def test_one_who_waits_for_another_launch_says_so(hosts: Any, eventually: Any) -> None:
    with (paths.private(paths.hosts()) / "launch.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        obtaining = asyncio.create_task(hosts.obtain(hosts.spec()))
        await eventually(lambda: hosts.steps)
        assert hosts.steps == [launch.Waiting("Another window", "starting a model")]
    await obtaining


async def test_a_process_that_cannot_start_is_a_typed_error_with_its_last_words(hosts: Any) -> None:
    spec = hosts.spec()
    folder = paths.private(paths.private(paths.hosts()) / launch.key_of(spec))
    (folder / "socket").mkdir()
    with pytest.raises(EngineDied, match=r"did not start.*socket"):
        await hosts.obtain(spec)


async def test_a_state_folder_that_cannot_be_used_is_an_os_error(hosts: Any) -> None:
    paths.private(paths.state())
    paths.hosts().write_text("a file in the way")
    assert await launch.survey() == []
    with pytest.raises(OSError, match="exists"):
        await hosts.obtain(hosts.spec())


async def test_a_polite_end_is_refused_by_a_busy_host_at_once(hosts: Any, eventually: Any) -> None:
    client = await hosts.loaded(hosts.spec(**SLOW))
    running, records = hosts.begin(client)
    await eventually(lambda: records)
    [view] = await launch.survey()
    started = time.monotonic()
    assert not await launch.end(view)
    assert time.monotonic() - started < 2
    assert not await client.shutdown()
    assert await launch.end(view, force=True)
    await running
    assert records[-1].event.reason == "stopped"


def test_a_host_is_named_by_what_it_runs_and_not_by_who_asks(hosts: Any) -> None:
    plain = hosts.spec(text="x", context=5)
    same = wire.HostSpec("echo", "model", {"context": 5, "text": "x"}, "Other title", "other", 1.0, 2.0)
    assert launch.key_of(plain) == launch.key_of(same)
    assert launch.key_of(plain) != launch.key_of(hosts.spec("other", text="x", context=5))


async def test_a_host_that_ends_takes_no_more_questions(hosts: Any, eventually: Any) -> None:
    """A deaf engine keeps the ending host alive for seconds: long enough to ask it."""
    client = await hosts.loaded(hosts.spec(text="a b c", tokens_per_second=0.5, deaf=True))
    running, records = hosts.begin(client)
    await eventually(lambda: records)
    os.kill(client.welcome.pid, signal.SIGTERM)
    await running
    await eventually(lambda: client.status.phase == "ending")
    late, _ = hosts.begin(client, "a2")
    os.kill(client.welcome.pid, signal.SIGKILL)
    with pytest.raises((HostEnded, BackendError)) as raised:
        await late
    assert raised.type is HostEnded
    assert spool.read("a2") == []
