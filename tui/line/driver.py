"""Textual's driver for a line that may stall, break, or bring junk: nothing that it does waits, or ends the screen."""

from __future__ import annotations

import os
import selectors
import termios
from codecs import getincrementaldecoder
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Key, Paste, Resize
from textual.geometry import Size
from textual.message import Message

from tui.line import charset, profile
from tui.line.thinning import Thinner
from tui.line.writing import CANCEL, Writer, apart

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_BYTES = 4096
_TERMINAL = 2
"""Textual draws to standard error."""
_LOOK_S = 0.1
RESTORE = (
    b"\x1b[?2026l\x1b[<u\x1b[?2004l\x1b[?7h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b[?2048l"
    b"\x1b[?1004l\x1b[?1049l\x1b[?25h"
)
"""What takes back all that was switched: held frames, keys, paste, wrapping, mouse, sizes, focus, window, cursor."""


class _Output:
    """`Writer` in the place of Textual's own writer thread, which waits for the terminal."""

    def __init__(self, writer: Callable[[], Writer]) -> None:
        self._make = writer
        self._writer: Writer | None = None

    def start(self) -> None:
        self._writer = self._make()

    def write(self, text: str, *, frame: bool = False) -> None:
        if self._writer is not None and text:
            self._writer.write(text, frame=frame)

    def stop(self) -> None:
        if self._writer is not None:
            self._writer.stop()


class LineDriver(LinuxDriver):
    """Textual's driver, but for how it writes and what it takes in."""

    _caught_up: Callable[[], object] = staticmethod(lambda: None)
    _lost: Callable[[], object] = staticmethod(lambda: None)
    _output: _Output | None = None
    _frame: list[str] | None = None
    _lent = False
    _thinner: Thinner | None = None
    _changed = True
    """Whether the terminal may show anything since the last frame."""
    _drawn_size = Size()

    @property
    def _writer_thread(self) -> Any:
        return self._output

    @_writer_thread.setter
    def _writer_thread(self, thread: object) -> None:
        """Take our own in the place of the one that Textual has made and not started yet."""
        self._output = None if thread is None else _Output(self._make_writer)
        line = profile.current()
        self._thinner = Thinner(erases=line.through != "screen") if line.over_line else None

    def _make_writer(self) -> Writer:
        encoding = charset.encoding(os.environ)
        draw_anew, lost = (lambda: self._soon(self._draw_anew)), (lambda _error: self._soon(self._lost))
        return Writer(_TERMINAL, draw_anew, lost, encoding)

    def _draw_anew(self) -> None:
        self._changed = True
        self._caught_up()

    def watch(self, caught_up: Callable[[], object], lost: Callable[[], object]) -> None:
        """Have the event loop call one when the terminal reads again after frames were dropped, one when it is gone."""
        self._caught_up, self._lost = caught_up, lost

    def _soon(self, deed: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # The event loop has ended.
            self._loop.call_soon_threadsafe(deed)

    def suspend_application_mode(self) -> None:
        """Lend the terminal; what is drawn meanwhile goes nowhere."""
        self._lent = True
        super().suspend_application_mode()

    def resume_application_mode(self) -> None:
        """Take the terminal back, and draw all anew. Who stopped us without asking has not given it back before."""
        if not self._lent:
            super().suspend_application_mode()
        self._lent = False
        super().resume_application_mode()
        self._changed = True
        self._soon(partial(self._app.refresh, layout=True))

    def restore(self) -> None:
        """Give the terminal back as it was, as far as it takes that at once: for an end that there is no time for."""
        if self._output is None:
            return
        with suppress(OSError, termios.error):
            terminal = apart(_TERMINAL)
            os.write(terminal, CANCEL + RESTORE)
            termios.tcsetattr(terminal, termios.TCSANOW, self.attrs_before or termios.tcgetattr(terminal))

    def write(self, data: str) -> None:
        if self._frame is not None:
            self._frame.append(data)
        elif self._output is not None:
            self._output.write(data)

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Take all that is written inside the block as one frame, with its marks of begin and end."""
        self._frame = []
        try:
            yield
        finally:
            drawn, self._frame = "".join(self._frame), None
            if drawn and self._output is not None:
                self._output.write(self._thinned(drawn), frame=True)

    def _thinned(self, drawn: str) -> str:
        """Return what has to be written for a frame; of a terminal of another size nothing is known."""
        if self._thinner is None:
            return drawn
        if self._changed or self._app.size != self._drawn_size:
            self._thinner.forget()
            self._changed, self._drawn_size = False, self._app.size
        return self._thinner.thinned(drawn)

    def _get_terminal_size(self) -> tuple[int, int]:
        """Return the terminal's size; it is asked for when that has changed, be it to what it was before."""
        self._changed = True
        return super()._get_terminal_size()

    def process_message(self, message: Message) -> None:
        if isinstance(message, Resize):
            self._changed = True
        super().process_message(message)

    def run_input_thread(self) -> None:
        """Read and hand on what comes, until the end. What is no text or no sequence of a terminal is passed over."""
        decode = getincrementaldecoder(charset.encoding(os.environ))("replace").decode
        parser = XTermParser(self._debug)
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                text = ""
                if selector.select(_LOOK_S):
                    raw = os.read(self.fileno, _READ_BYTES)
                    if not raw:
                        return
                    text = decode(raw)
                try:
                    for message in [*(parser.feed(text) if text else ()), *parser.tick()]:
                        if _sane(message):
                            self.process_message(message)
                except (ValueError, OverflowError):
                    parser = XTermParser(self._debug)


def _sane(message: Message) -> bool:
    """Say whether a message holds text that can be kept: a terminal can claim keys that are no characters."""
    if isinstance(message, Key) and message.character == "\ufffd":  # No key has it: these were bytes of no text.
        return False
    text = message.character if isinstance(message, Key) else message.text if isinstance(message, Paste) else None
    return text is None or not any("\ud800" <= character <= "\udfff" for character in text)
