"""Textual's driver for a line that may stall, break, or bring junk: nothing that it does waits, or ends the screen."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import termios
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual import constants
from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Key, Paste, Resize
from textual.geometry import Size
from textual.message import Message

from tui.line import charset, pacing, profile
from tui.line.frames import Frames
from tui.line.incoming import Afresh, Answered, Incoming, Pasted, Piece, Typed
from tui.line.pacing import PATIENCE_S, QUESTION, Pacing
from tui.line.resizing import Resizing, size_of
from tui.line.writing import CANCEL, Writer, apart

if TYPE_CHECKING:
    from collections.abc import Iterator

for _digit in "0123456789":  # Else Alt with one would be the sign that Option writes on a Mac.
    cast("dict[str, object]", ANSI_SEQUENCES_KEYS).pop(f"\x1b{_digit}", None)

_READ_BYTES = 4096
_LOOK_S, _QUIET_S = 0.1, 2.0
"""Half a sequence is looked after so often, for so long after the last byte; then only what comes wakes us."""
_HOLD_S, _HOLD_OVER_SSH_S = 0.03, 0.15
"""A burst of text comes in pieces: as large as the kernel takes them here, as large as packets over a line."""
_RESIZED_S, _RESIZED_OVER_SSH_S = 0.04, 0.1
"""A window has come to rest when its size has not changed for so long; each size costs a layout of all."""
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
    _cut: Callable[[], object] = staticmethod(lambda: None)
    _output: _Output | None = None
    _frame: list[str] | None = None
    _lent = False
    _changed = True
    """Whether the terminal may show anything since the last frame."""
    _drawn_size = Size()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._woken, self._waker = os.pipe()
        wait_s = _RESIZED_OVER_SSH_S if profile.current().over_line else _RESIZED_S
        self._resizing = Resizing(self._loop, wait_s, self._tell_size)
        self._pixels: Size | None = None
        line = profile.current()
        self._pacing = Pacing() if line.over_line else None
        self._frames = Frames(self._pacing, erases=line.through != "screen") if self._pacing is not None else None
        self._release: asyncio.TimerHandle | None = None
        pacing.use(self._pacing)

    @property
    def _writer_thread(self) -> Any:
        return self._output

    @_writer_thread.setter
    def _writer_thread(self, thread: object) -> None:
        """Take our own in the place of the one that Textual has made and not started yet."""
        self._output = None if thread is None else _Output(self._make_writer)

    def _make_writer(self) -> Writer:
        draw_anew, lost = (lambda: self._soon(self.draw_anew)), (lambda _error: self._soon(self._lost))
        encode = partial(str.encode, encoding=charset.encoding(os.environ), errors=charset.AS_ASCII)
        return Writer(_drawn_on(), draw_anew, lost, encode)

    def draw_anew(self) -> None:
        """Have all drawn: nothing is known of what the terminal shows."""
        self._changed = True
        if self._pacing is not None:
            self._pacing.forget()
        self._caught_up()

    def watch(self, caught_up: Callable[[], object], lost: Callable[[], object], cut: Callable[[], object]) -> None:
        """Have the event loop call the first when the terminal reads again after frames were dropped.

        The second is called when it is gone, the third when a paste was too long and has been cut.
        """
        self._caught_up, self._lost, self._cut = caught_up, lost, cut

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

    def start_application_mode(self) -> None:
        """Take the terminal over."""
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self._pacing is not None:
            self._pacing.begin()
            self.write(QUESTION)
        signal.signal(signal.SIGWINCH, lambda *_: self._soon(self._resizing.changed))

    def process_message(self, message: Message) -> None:
        """Hand a message on. A terminal's own word of its size is only taken as a hint: it may be anything."""
        if isinstance(message, Resize):
            self._pixels = message.pixel_size
            self._soon(self._resizing.changed)
        elif isinstance(message, Key) and message.key == "ctrl+@":  # What Ctrl with the space bar sends.
            super().process_message(Key("ctrl+space", None))
        else:
            super().process_message(message)

    def _enable_mouse_support(self) -> None:
        """Ask for the mouse; over a line only for what its buttons do: each move is a packet there."""
        if self._mouse:
            self.write(f"\x1b[?1000h\x1b[?{1002 if profile.current().over_line else 1003}h\x1b[?1015h\x1b[?1006h")

    def _disable_mouse_support(self) -> None:
        if self._mouse:
            self.write("\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l")

    def _get_terminal_size(self) -> tuple[int, int]:
        """Return the terminal's size; it is asked for when that has changed, be it to what it was before."""
        self._changed = True
        return size_of(self.fileno, os.environ)

    def _tell_size(self) -> None:
        size = Size(*self._get_terminal_size())
        self.send_message(Resize(size, size, pixel_size=self._pixels))

    def restore(self, more: str = "") -> None:
        """Give the terminal back as it was, as far as it takes that at once: for an end that there is no time for.

        `more` gives back what was not switched here.
        """
        if self._output is None:
            return
        with suppress(OSError, termios.error):
            terminal = apart(_drawn_on())
            os.write(terminal, CANCEL + more.encode() + RESTORE)
            termios.tcsetattr(terminal, termios.TCSANOW, self.attrs_before or termios.tcgetattr(terminal))

    def write(self, data: str) -> None:
        if self._frame is not None:
            self._frame.append(data)
        elif self._output is not None:
            self._output.write(data)

    def say(self, sequence: str) -> None:
        """Write what is no part of the picture, and is said once. Any thread may do it, also while a frame is drawn."""
        if self._output is not None:
            self._output.write(sequence)

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Take all that is written inside the block as one frame, with its marks of begin and end."""
        self._frame = []
        try:
            yield
        finally:
            drawn, self._frame = "".join(self._frame), None
            if drawn:
                self._draw(drawn)

    def _draw(self, drawn: str) -> None:
        """Write a frame. Over a line that is what changes, and later where the line is busy."""
        if self._frames is not None:
            if self._app.size != self._drawn_size:
                self._frames.drop()
            elif self._changed:
                self._frames.forget()
            self._changed, self._drawn_size = False, self._app.size
            drawn = self._frames.put(drawn)
            if self._frames.held and self._release is None:
                self._release = self._loop.call_later(PATIENCE_S, self._draw_held)
        if self._output is not None:
            self._output.write(drawn, frame=True)

    def _draw_held(self) -> None:
        """Write what was held back: the line takes more, or nobody says so."""
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if self._frames is not None and self._frames.held and self._output is not None:
            self._output.write(self._frames.released(), frame=True)

    def _answered(self) -> None:
        if self._pacing is not None:
            self._pacing.answered()
            self._draw_held()

    def run_input_thread(self) -> None:
        """Read and hand on what comes, until the end. What is no text or no sequence of a terminal is passed over."""
        decode = getincrementaldecoder(charset.encoding(os.environ))("replace").decode
        incoming = Incoming(_HOLD_OVER_SSH_S if profile.current().over_line else _HOLD_S, constants.ESCAPE_DELAY)
        parser, heard = XTermParser(self._debug), 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                text, now = "", time.monotonic()
                waits = (_LOOK_S if now - heard < _QUIET_S else None, incoming.wait_s(now))
                ready = selector.select(min((wait for wait in waits if wait is not None), default=None))
                now = time.monotonic()
                if any(key.fd == self.fileno for key, _ in ready):
                    if not (raw := self._read()):
                        return
                    text, heard = decode(raw), now
                for piece in (*incoming.tick(now), *(incoming.feed(text, now) if text else ())):
                    parser = self._take(piece, parser)
                parser = self._hand_on(parser, parser.tick)

    def _read(self) -> bytes:
        """Return what has come, nothing if nothing will come any more."""
        with suppress(OSError):
            if raw := os.read(self.fileno, _READ_BYTES):
                return raw
        self._soon(self._lost)
        return b""

    def disable_input(self) -> None:
        os.write(self._waker, b"x")  # Who reads waits for as long as nothing comes.
        super().disable_input()
        os.read(self._woken, _READ_BYTES)

    def _take(self, piece: Piece, parser: XTermParser) -> XTermParser:
        """Hand on what has come; return the parser for what comes next."""
        match piece:
            case Typed(text):
                return self._hand_on(parser, partial(parser.feed, text))
            case Pasted(text, cut):
                self.process_message(Paste(text))
                if cut:
                    self._soon(self._cut)
            case Answered():
                self._soon(self._answered)
            case Afresh():
                return _another(parser, self._debug)
        return parser

    def _hand_on(self, parser: XTermParser, messages: Callable[[], Iterable[Message]]) -> XTermParser:
        try:
            for message in messages():
                if _sane(message):
                    self.process_message(message)
        except (ArithmeticError, LookupError, ParseError, RuntimeError, TypeError, ValueError):
            return _another(parser, self._debug)
        return parser


def _drawn_on() -> int:
    """Return the descriptor that is drawn to: like Textual's standard error, but where that goes into a file."""
    return 2 if os.isatty(2) else 1


def _another(parser: XTermParser, debug: bool) -> XTermParser:
    """Return a parser that has nothing half read, and knows what the other one does of the mouse."""
    other = XTermParser(debug)
    for name in ("last_x", "last_y", "mouse_pixels", "terminal_size", "terminal_pixel_size"):
        setattr(other, name, getattr(parser, name))
    return other


def _sane(message: Message) -> bool:
    """Say whether a message holds text that can be kept: a terminal can claim keys that are no characters."""
    if isinstance(message, Key) and message.character == "\ufffd":  # No key has it: these were bytes of no text.
        return False
    text = message.character if isinstance(message, Key) else message.text if isinstance(message, Paste) else None
    return text is None or not any("\ud800" <= character <= "\udfff" for character in text)
