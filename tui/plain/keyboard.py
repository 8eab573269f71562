"""What is typed while an answer runs: not shown; a few keys are heard, the rest stands at the next prompt."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal, TypeVar

Pressed = Literal["stop", "leave", "answer now", "gone"]

_KEYS: dict[int, Pressed] = {0x03: "stop", 0x1B: "stop", 0x04: "leave", 0x19: "answer now"}
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.)|[\x00-\x08\x0b-\x1f\x7f]")
_MOST_BYTES = 64 * 1024
T = TypeVar("T")


class Keyboard:
    """`typed` gives, once, what was typed beside the keys that mean something."""

    def __init__(self) -> None:
        self._typed = bytearray()
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Hear keys at once and show none, until the end of the block; Ctrl+C is a key like others meanwhile."""
        before: list[Any] | None = None
        with contextlib.suppress(termios.error):
            before = termios.tcgetattr(0)
            termios.tcsetattr(0, termios.TCSANOW, _quiet(before))
        interrupt = signal.signal(signal.SIGINT, self._interrupted)
        try:
            with again(_quiet(before) if before is not None else None):
                yield
        finally:
            signal.signal(signal.SIGINT, interrupt)
            if before is not None:
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(0, termios.TCSANOW, before)

    def wait(self, seconds: float) -> Pressed | None:
        """Wait so long for a key; return which was pressed, None for none of those that mean something."""
        ready = select.select([0, self._wake], [], [], seconds)[0]
        if self._wake in ready:
            os.read(self._wake, 64)
            return "stop"
        if 0 not in ready:
            return None
        try:
            data = os.read(0, 4096)
        except OSError:
            return "gone"
        if not data:
            return "gone"
        if len(data) == 1 and data[0] in _KEYS:
            return _KEYS[data[0]]
        if len(self._typed) < _MOST_BYTES:
            self._typed += data
        return None

    @staticmethod
    def lend(work: Callable[[], T]) -> T:
        """Lend the terminal to another program; Ctrl+C is for that one meanwhile."""
        interrupt = signal.signal(signal.SIGINT, lambda *_given: None)
        try:
            return work()
        finally:
            signal.signal(signal.SIGINT, interrupt)

    def typed(self) -> str:
        """Return what was typed meanwhile, without what is no text; it is forgotten then."""
        text = self._typed.decode(errors="replace")
        self._typed.clear()
        return _SEQUENCE.sub("", text.replace("\r", "\n")).strip("\n")

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._woken, b"!")


@contextmanager
def again(modes: list[Any] | None, then: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Put these modes of the terminal back, and do `then`, whenever a shell that has stopped us lets us go on."""

    def continued(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(termios.error, OSError):
            if modes is not None and os.tcgetpgrp(0) == os.getpgrp():  # Else the terminal is another one's.
                termios.tcsetattr(0, termios.TCSANOW, modes)
                then()

    before = signal.signal(signal.SIGCONT, continued)
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, before)


def _quiet(modes: list[Any]) -> list[Any]:
    """Return the modes of a terminal that gives each key at once and writes none."""
    quiet = [*modes[:6], list(modes[6])]
    quiet[3] &= ~(termios.ICANON | termios.ECHO)
    quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 1, 0
    return quiet
