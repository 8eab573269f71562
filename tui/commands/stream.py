"""Writing to stdout from an event loop: nothing waits in a buffer, and a slow reader does not keep Ctrl+C waiting."""

from __future__ import annotations

import asyncio
import os
import select

PIECE = 512
"""A terminal or pipe that is ready takes so many bytes at once: the smallest PIPE_BUF that POSIX allows."""


class Output:
    """A descriptor that is written as the reader takes it. Raises OSError; BrokenPipeError if the reader is gone.

    `terminal` is whether it was one at the beginning: one that is gone does not say so any more.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self.terminal = os.isatty(descriptor)

    async def write(self, data: bytes) -> None:
        while data:
            if not select.select([], [self._descriptor], [], 0)[1]:
                await self._writable()
            try:
                data = data[os.write(self._descriptor, data[:PIECE]) :]
            except BlockingIOError:
                await self._writable()

    async def _writable(self) -> None:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_writer(self._descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._descriptor)
