"""The socket under hosts and clients: lines stay whole, whoever else sends."""

from __future__ import annotations

import asyncio
import socket

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
