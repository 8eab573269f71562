"""An event loop in a thread of its own: the main thread waits for what a person types, all else happens here."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """A loop in a thread of its own. `call` is for the main thread, and a Ctrl+C there ends the waiting."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="conversation", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        # Else it may arrive here when a shell lets us go on, and wake nobody who waits in the main thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCONT})
        self._loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop and return what comes of it. Raises what it raises."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def look(self, at: Callable[[], T]) -> T:
        """Return what a function finds in the loop, where nothing changes meanwhile."""

        async def looked() -> T:
            return at()

        return self.call(looked())

    def close(self) -> None:
        """End the loop, with what still runs in it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
