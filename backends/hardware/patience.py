"""Waiting with an end for what may never answer: a driver, a dead network disk.

A call that hangs in the kernel cannot be interrupted. It gets a thread of its own, which is left behind; as long as it
hangs, nobody asks the same again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from backends.hardware.sampler import HANGS_AFTER_S

Answer = TypeVar("Answer")

_under_way: dict[str, float] = {}
"""When the oldest call that has not come back was begun, by name."""
_lock = threading.Lock()


class Unanswered(Exception):
    """No answer in time. `silent_s` is how long it has been waited for, by everybody."""

    def __init__(self, silent_s: float) -> None:
        super().__init__(f"no answer for {silent_s:.0f} s")
        self.silent_s = silent_s


class Question(Generic[Answer]):
    """A call in a thread of its own, begun at once: `answer` waits for it.

    Where an earlier call of the same name has hung for 3 s already, nothing is begun and `answer` says so at once.
    """

    def __init__(self, name: str, ask: Callable[[], Answer]) -> None:
        self._name = name
        self._ask = ask
        self._began = time.monotonic()
        self._came = threading.Event()
        self._answers: list[Answer] = []
        self._error: BaseException | None = None
        with _lock:
            self._oldest = _under_way.setdefault(name, self._began)
        self._asked = self._began - self._oldest < HANGS_AFTER_S
        if self._asked:
            self._asked = self._start()

    def answer(self, patience_s: float) -> Answer:
        """Return what the call returned, waiting until `patience_s` seconds after its beginning.

        Raises Unanswered, or what the call raised.
        """
        if not self._asked or not self._came.wait(max(0.0, self._began + patience_s - time.monotonic())):
            raise Unanswered(time.monotonic() - self._oldest)
        if self._error is not None:
            raise self._error
        return self._answers[0]

    def _start(self) -> bool:
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # the system allows no more threads
            self._forget()
            return False
        return True

    def _run(self) -> None:
        try:
            self._answers.append(self._ask())
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            self._error = error
        finally:
            self._forget()
            self._came.set()

    def _forget(self) -> None:
        with _lock, contextlib.suppress(KeyError):
            if _under_way[self._name] == self._oldest:
                del _under_way[self._name]
