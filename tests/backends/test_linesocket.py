"""The socket under hosts and clients: lines stay whole, whoever else sends."""

from __future__ import annotations

import asyncio
import socket

import pytest

from backends.host import linesocket
from backends.host.linesocket import LineSocket


async def test_a_short_line_never_lands_inside_a_long_one() -> None:
    here, there = socket.socketpair()
    sender, receiver = LineSocket(here), LineSocket(there)
    long = b"x" * 4_000_000 + b"\n"
    sending = asyncio.create_task(sender.send(long))
    await asyncio.sleep(0)  # The long line fills the buffer and waits for its reader.
    interrupting = asyncio.create_task(sender.send(b"stop\n"))
    await asyncio.sleep(0)
    assert await receiver.read() == long[:-1]
    assert await receiver.read() == b"stop"
    await asyncio.gather(sending, interrupting)
    sender.close()
    receiver.close()


async def test_a_flood_of_lines_leaves_the_other_tasks_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linesocket, "_CHUNK", 1000)
    here, there = socket.socketpair()
    receiver = LineSocket(there)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    # All of it is there at once, so that reading never has to wait.
    here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 500_000)
    here.sendall(b"x" * 99 + b"\n" + b"y" * 99_999 + b"\n")
    here.close()
    ticking = asyncio.create_task(other())
    assert await receiver.read() == b"x" * 99
    assert await receiver.read() == b"y" * 99_999
    ticking.cancel()
    receiver.close()
    assert turns >= 100
