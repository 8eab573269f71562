"""The socket between a host and its clients: lines, descriptors, nonsense, privacy."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends import lock_file, paths
from backends.base import ChatRequest, Message
from backends.errors import BackendError
from backends.events import Text
from backends.host import client as client_module
from backends.host import launch, linesocket, server, spool, wire
from backends.host.client import open_client
from backends.host.linesocket import LineSocket, connect, listen, peer_uid


async def pair() -> tuple[LineSocket, LineSocket]:
    left, right = socket.socketpair()
    return LineSocket(left), LineSocket(right)


async def test_lines_of_any_size_arrive_whole_and_in_order() -> None:
    left, right = await pair()
    lines = [b"", b"a", b"x" * 3_000_000, b"last"]

    async def send() -> None:
        await left.send(b"".join(line + b"\n" for line in lines))
        left.close()

    sending = asyncio.create_task(send())
    assert [await right.read() for _ in range(5)] == [*lines, None]
    await sending
    right.close()


async def test_lines_sent_at_the_same_time_do_not_mix() -> None:
    left, right = await pair()
    lines = {bytes([letter]) * 1_000_000 for letter in b"abcd"}
    sending = asyncio.gather(*(left.send(line + b"\n") for line in lines))
    assert {await right.read() for _ in lines} == lines
    await sending
    left.close()
    right.close()


async def test_a_line_without_end_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linesocket, "MAX_LINE_BYTES", 100_000)
    left, right = await pair()
    sending = asyncio.create_task(left.send(b"x" * 1_000_000))
    with pytest.raises(ValueError, match="too long"):
        await right.read()
    sending.cancel()
    left.close()
    right.close()


async def test_descriptors_arrive_with_their_lines_in_order(tmp_path: Path) -> None:
    left, right = await pair()
    files = [(tmp_path / name).open("wb") for name in "ab"]
    await left.send(b"one\n", files[0].fileno())
    await left.send(b"plain\n")
    await left.send(b"two\n", files[1].fileno())
    for line, name in ((b"one", b"A"), (b"plain", None), (b"two", b"B")):
        assert await right.read() == line
        if name:
            descriptor = right.take_descriptor()
            assert descriptor is not None
            os.write(descriptor, name)
            os.close(descriptor)
    assert right.take_descriptor() is None
    assert [(tmp_path / name).read_bytes() for name in "ab"] == [b"A", b"B"]
    left.close()
    right.close()


async def test_descriptors_that_nobody_takes_are_closed_with_the_socket() -> None:
    left, right = await pair()
    reading, writing = os.pipe()
    await left.send(b"line\n", writing)
    os.close(writing)
    assert await right.read() == b"line"
    right.close()
    assert os.read(reading, 1) == b""  # the end: no writer is left
    os.close(reading)
    left.close()


async def test_a_home_of_150_characters_works(hosts: Any, long_home: Path, said: Any) -> None:
    assert len(str(long_home)) >= 150
    client = await hosts.loaded(hosts.spec())
    assert said(await hosts.ask(client, question="a long way")) == "a long way"
    assert [view.status.phase for view in await launch.survey()] == ["idle"]
    assert await launch.end((await launch.survey())[0])


async def test_everything_a_host_leaves_on_disk_is_for_its_owner_alone(hosts: Any) -> None:
    old = os.umask(0)
    try:
        client = await hosts.loaded(hosts.spec())
        await hosts.ask(client)
    finally:
        os.umask(old)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in client.folder.iterdir()}
    assert modes.pop("socket") == 0o600
    assert modes.pop("log") == 0o600
    assert modes.pop("lock") == 0o600
    assert modes.pop("spec.json") == 0o600
    assert modes == {}
    for folder in (client.folder, paths.hosts(), paths.spools()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_both_ends_refuse_the_socket_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen(tmp_path)
    monkeypatch.setattr(linesocket, "peer_uid", lambda _sock: os.getuid() + 1)
    with pytest.raises(PermissionError, match="another user"):
        await connect(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(server, "peer_uid", lambda _sock: os.getuid() + 1)
    spec = wire.HostSpec("echo", "m", {}, "Echo", "b", 60.0)
    running = server.Server(spec, "key", listener)
    accepting = asyncio.create_task(running._accept())
    line = await connect(tmp_path)
    assert await asyncio.wait_for(line.read(), 5) is None
    line.close()
    accepting.cancel()
    listener.close()


def test_the_peer_of_a_socket_pair_is_this_user() -> None:
    left, right = socket.socketpair()
    assert peer_uid(left) == os.getuid()
    left.close()
    right.close()


async def reply_to(line: LineSocket, wanted: type) -> Any:
    while True:
        raw = await asyncio.wait_for(line.read(), 5)
        assert raw is not None
        reply = wire.decode_reply(raw)
        if isinstance(reply, wanted):
            return reply


@pytest.mark.parametrize(
    "nonsense",
    [
        b"garbage",
        b"",
        b"\x00\xff\xfe",
        b"[]",
        b'{"type":"sing","song":1}',  # a newer client's unknown message
        b'{"type":"chat","answer":5}',
        b'{"type":"chat","answer":"a","request":{"messages":[{"role":"prophet","text":""}]}}',
        b"[" * 100_000,
    ],
    ids=range(8),
)
async def test_nonsense_is_refused_and_the_host_and_the_connection_go_on(
    hosts: Any, nonsense: bytes, said: Any
) -> None:
    client = await hosts.loaded(hosts.spec())
    line = await connect(client.folder)
    await line.send(nonsense + b"\n")
    refused = await reply_to(line, wire.Refused)
    assert (refused.error.kind, refused.answer) == ("protocol", None)
    await line.send(wire.encode(wire.Hello(wire.PROTOCOL, "")))
    assert (await reply_to(line, wire.Welcome)).key == client.folder.name
    line.close()
    assert said(await hosts.ask(client)) == "hello"


async def test_a_newer_clients_further_fields_are_passed_over(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec())
    line = await connect(client.folder)
    await line.send(b'{"type":"hello","protocol":9,"build":"newer","mood":"good"}\n')
    assert (await reply_to(line, wire.Welcome)).build == "this build"
    line.close()


async def test_a_spool_that_came_with_nonsense_is_not_taken_for_the_next_answers(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec())
    line = await connect(client.folder)
    wrong = spool.create("wrong")
    await line.send(b'{"type":"chat","answer":5}\n', wrong)
    os.close(wrong)
    await reply_to(line, wire.Refused)
    assert not spool.running("wrong")
    right = spool.create("right")
    await line.send(wire.encode(wire.Chat("right", ChatRequest((Message("user", "q"),)), spooled=True)), right)
    os.close(right)
    while not (await reply_to(line, wire.Record)).final:
        pass
    assert spool.read("right")[-1].final
    assert spool.read("wrong") == []
    line.close()


async def test_a_chat_whose_spool_did_not_come_and_an_answer_that_exists_are_refused(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec())
    line = await connect(client.folder)
    request = ChatRequest((Message("user", "q"),))
    await line.send(wire.encode(wire.Chat("a1", request, spooled=True)))
    assert (await reply_to(line, wire.Refused)).answer == "a1"
    await line.send(wire.encode(wire.Chat("a1", request)))
    while not (await reply_to(line, wire.Record)).final:
        pass
    await line.send(wire.encode(wire.Chat("a1", request)))
    assert "exists" in (await reply_to(line, wire.Refused)).error.title
    line.close()
    with pytest.raises(BackendError, match="exists"):
        await hosts.ask(client, "a1")
    assert not spool.running("a1")


async def test_attaching_to_an_unknown_answer_is_a_typed_error(hosts: Any) -> None:
    client = await hosts.loaded(hosts.spec())
    with pytest.raises(BackendError, match="No such answer"):
        _ = [record async for record in client.attach("never")]


async def test_a_client_that_does_not_read_holds_up_nobody(hosts: Any, said: Any) -> None:
    client = await hosts.loaded(hosts.spec(text="0123456789" * 2000 + " ", repeat=400))  # 8 MB
    lazy = await connect(client.folder)
    await lazy.send(wire.encode(wire.Chat("lazy", ChatRequest((Message("user", "q"),)))))
    await lazy.send(wire.encode(wire.Hello(wire.PROTOCOL, "b")))
    records = await hosts.ask(client, "a1")
    assert len(said(records)) == 400 * 20_001
    lazy.close()


def test_a_request_of_an_older_build_still_reads() -> None:
    plain = b'{"type":"chat","answer":"a1","request":{"messages":[{"role":"user","text":"q"}]}}'
    request = wire.decode_request(plain)
    assert isinstance(request, wire.Chat)
    assert not request.spooled


def test_text_with_newlines_stays_one_line() -> None:
    record = wire.Record("a", 0, 0.0, Text("a\nb\r\n\x00\u2028\x1b"))
    line = wire.encode(record)
    assert line.count(b"\n") == 1
    assert wire.decode_record(line) == record


def test_the_client_layer_imports_no_engine_and_no_server() -> None:
    code = "import sys, backends.host.launch; print('backends.host.server' in sys.modules, 'llama_cpp' in sys.modules)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert child.stdout.split() == ["False", "False"]


class StrangeHost:
    """A host of a newer build, as a process's stand-in: it speaks words that this client does not know."""

    def __init__(self, folder: Path, *, busy: bool) -> None:
        self.folder, self.busy, self.asked = folder, busy, 0

    async def serve(self) -> None:
        listener = listen(self.folder)
        lock = launch.os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        launch.fcntl.flock(lock, launch.fcntl.LOCK_EX)
        os.write(lock, b"1")
        over = asyncio.Event()

        async def one(line: LineSocket) -> None:
            while (raw := await line.read()) is not None:
                kind = msgspec.json.decode(raw)["type"]
                if kind == "hello":
                    await line.send(wire.encode(wire.Welcome(2, "newer", 1, self.folder.name, "e", "m", "Newer")))
                    await line.send(b'{"type":"status","phase":"meditating"}\n')
                elif kind == "shutdown" and self.busy:
                    self.asked += 1
                    await line.send(b'{"type":"refused","error":{"kind":"busy","title":"no"}}\n')
                elif kind == "shutdown":
                    over.set()
                    return

        async def accept() -> None:
            tasks = []
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                tasks.append(asyncio.create_task(one(LineSocket(sock))))

        accepting = asyncio.create_task(accept())
        try:
            await over.wait()
        finally:
            accepting.cancel()
            listener.close()
            os.close(lock)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_newer_host_whose_words_are_unknown_decides_itself_whether_it_can_end(
    hosts: Any, busy: bool, eventually: Any
) -> None:
    strange = StrangeHost(paths.private(paths.hosts()) / "0123", busy=busy)
    paths.private(strange.folder)
    serving = asyncio.create_task(strange.serve())
    await eventually(lambda: lock_file.held(strange.folder / launch.LOCK))
    view = (await launch.survey())[0]
    assert (view.welcome.build, view.status) == ("newer", None)
    obtaining = asyncio.create_task(hosts.obtain(hosts.spec()))
    if busy:
        await eventually(lambda: strange.asked >= 2)
        assert launch.Waiting("Newer", "not answering") in hosts.steps
        assert not obtaining.done()
        strange.busy = False
    await asyncio.wait_for(obtaining, 10)
    await serving
    assert launch.Ending("Newer") in hosts.steps


async def test_a_connection_that_closes_in_the_greeting_is_told_at_once(tmp_path: Path) -> None:
    listener = listen(tmp_path)

    async def hang_up() -> None:
        sock, _ = await asyncio.get_running_loop().sock_accept(listener)
        line = LineSocket(sock)
        await line.read()
        await line.send(wire.encode(wire.Welcome(1, "b", 1, "k", "e", "m", "Rude")))
        line.close()

    hanging_up = asyncio.create_task(hang_up())
    async with asyncio.timeout(client_module.HELLO_S / 2):
        with pytest.raises(BackendError, match="Rude: its process ended"):
            await open_client(tmp_path, "b")
    await hanging_up
    listener.close()
