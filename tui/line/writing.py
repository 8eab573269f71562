"""Writing to a terminal that may read slowly, stop reading, or go away: whoever writes never waits.

What is drawn can be drawn again, so frames are dropped while the terminal does not keep up; what switches its modes, or
is said once, is kept in order. When it reads again, one full frame shows the newest state.
"""

from __future__ import annotations

import contextlib
import os
import select
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

WAITING_BYTES = 64 * 1024
"""So much may wait: several frames of a large window. More is not drawn later, it is drawn anew."""
ONCE_BYTES = 256 * 1024
"""So much of what cannot be drawn again may wait, a clipboard's text among it; then nothing more is taken."""
CANCEL = b"\x18"
"""Ends a sequence that is only half written."""
_CHUNK_BYTES = 4096
_SHORT_BYTES = 256
_POLL_MS = 100


class _Piece(NamedTuple):
    data: bytes
    frame: bool


class Writer:
    """A thread that writes to the terminal at `descriptor`; `encode` makes bytes of text, those that it takes.

    `caught_up` is called in it once all is written after frames were dropped: then the screen has to be drawn whole.
    `lost` is called in it, once, when the terminal is gone.
    """

    def __init__(
        self,
        descriptor: int,
        caught_up: Callable[[], object],
        lost: Callable[[OSError], object],
        encode: Callable[[str], bytes] = str.encode,
    ) -> None:
        self._encode = encode
        self._descriptor = apart(descriptor)
        self._caught_up = caught_up
        self._lost = lost
        self._changed = threading.Condition()
        self._pieces: deque[_Piece] = deque()
        self._waiting = 0
        self._dropped = False
        self._closing = self._given_up = self._gone = False
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """How much has still to be written."""
        return self._waiting

    def write(self, text: str, *, frame: bool) -> None:
        """Have text written, soon and in order; a `frame` may be dropped. Never waits for the terminal."""
        data = self._encode(text)
        with self._changed:
            if self._closing or self._gone:
                return
            # What switches modes is short, and has to come even behind texts that were too many.
            most = ONCE_BYTES if len(data) > _SHORT_BYTES else ONCE_BYTES + WAITING_BYTES
            if frame:
                # One is taken whatever its size: all of a large window, in many colours.
                if self._dropped or (self._waiting and self._waiting + len(data) > WAITING_BYTES):
                    self._drop_frames()
                    return
            elif self._waiting + len(data) > most:
                return
            self._pieces.append(_Piece(data, frame))
            self._waiting += len(data)
            self._changed.notify()

    def stop(self, patience_s: float = 0.3) -> bool:
        """Write what waits and end; after so long only what is no frame, as far as it goes. Say if all was written."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self._given_up = True
            self._thread.join(2 * _POLL_MS / 1000)
        return not self._waiting

    def _drop_frames(self) -> None:
        """Forget the frames that wait, but not one that is half written: the terminal would be left inside of it."""
        self._dropped = True
        first, *others = self._pieces or [_Piece(b"", frame=False)]
        self._pieces = deque([first, *(piece for piece in others if not piece.frame)])
        self._waiting = sum(len(piece.data) for piece in self._pieces)

    def _run(self) -> None:
        try:
            while (piece := self._next()) is not None:
                if not self._put(piece.data):
                    break
                if self._done(piece):
                    self._caught_up()
            if self._given_up:
                self._say_the_last()
        except OSError as error:
            with self._changed:
                self._gone = True
                self._pieces.clear()
            self._lost(error)
        finally:
            os.close(self._descriptor)

    def _say_the_last(self) -> None:
        """Make room by throwing away what the terminal has not taken; put there what must be said, and wait no more."""
        last = b""
        for piece in reversed(self._pieces):
            if not piece.frame and len(piece.data) + len(last) < _CHUNK_BYTES:
                last = piece.data + last
        with contextlib.suppress(OSError, termios.error):
            termios.tcflush(self._descriptor, termios.TCOFLUSH)
            os.write(self._descriptor, CANCEL + last)

    def _next(self) -> _Piece | None:
        """Wait for something to write; None at the end."""
        with self._changed:
            while not self._pieces and not self._closing:
                self._changed.wait()
            return self._pieces[0] if self._pieces and not self._given_up else None

    def _done(self, piece: _Piece) -> bool:
        """Take a piece that is written out; say whether frames were dropped, and nothing waits any more."""
        with self._changed:
            self._pieces.popleft()
            self._waiting -= len(piece.data)
            again = self._dropped and not self._pieces and not self._closing
            self._dropped = self._dropped and not again
            return again

    def _put(self, data: bytes) -> bool:
        """Write; say whether all was, and it was not given up. Raises OSError when the terminal is gone."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        at = 0
        while at < len(data) and not self._given_up:
            if not poll.poll(_POLL_MS):
                continue
            try:
                at += os.write(self._descriptor, data[at : at + _CHUNK_BYTES])
            except BlockingIOError:
                time.sleep(_POLL_MS / 10_000)  # It has room, but for less than it takes at once.
        return at == len(data)


def apart(descriptor: int) -> int:
    """Return the same terminal, opened anew: only so can writing be without waiting, and reading stay as it is."""
    with contextlib.suppress(OSError):
        return os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    return os.dup(descriptor)
