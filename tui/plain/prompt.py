"""The line that is typed: edited by readline, with what was asked before on the arrow keys, or many lines.

Nothing is sent by a pasted newline: a terminal that marks a paste gives it as one line, and where none is marked, what
comes too fast for a person is put together and sent by one more Enter.
"""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from tui.plain.keyboard import again
from tui.plain.speaking import say
from tui.words import _, ngettext

try:
    import readline
except ImportError:  # A Python that was built without it: lines as the terminal edits them.
    readline = None  # type: ignore[assignment]

HISTORY = 500
_FAST_S = 0.03
"""No person presses Enter so soon after the last line; a paste does."""
_DIGITS = 10
_BLOCK = '"""'
_MORE = ". "


class Prompt:
    """Reads what is asked. `complete` returns what a line can become."""

    def __init__(self, complete: Callable[[str], Sequence[str]]) -> None:
        self._complete = complete
        self._found: Sequence[str] = ()
        self._reading = False
        self._before: Sequence[str] = ()
        for stream in (sys.stdin, sys.stdout):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        if readline is not None:
            readline.set_auto_history(False)
            readline.set_history_length(HISTORY)
            readline.set_completer_delims("")
            readline.set_completer(self._completed)
            for line in ("set enable-bracketed-paste on", "set bell-style none", "tab: complete"):
                readline.parse_and_bind(line)

    def remember(self, asked: Sequence[str]) -> None:
        """Put what was asked before on the arrow keys, the oldest first."""
        if readline is not None:
            for text in asked[-HISTORY:]:
                readline.add_history(text)

    def read(self, prompt: str, first: str = "") -> str:
        """Return what is typed; `first` stands there already. Raises EOFError, KeyboardInterrupt."""
        self._before, self._reading = (), True
        try:
            text = self._block(self._line(prompt, first)).rstrip("\n")
        finally:
            self._reading = False
        if text.strip() and readline is not None:
            readline.add_history(text)
        return text

    def standing(self) -> str:
        """Return what is typed so far and not sent, "" while nothing is read."""
        line = readline.get_line_buffer() if self._reading and readline is not None else ""
        return "\n".join((*self._before, line)) if self._reading else ""

    def unfinished(self) -> bool:
        """Say whether there was something in the lines that Ctrl+C has left."""
        return bool(self._before) or (readline is not None and bool(readline.get_line_buffer().strip()))

    def _block(self, line: str) -> str:
        """Take the further lines of a block, or of a line that ends with a backslash."""
        head, mark, rest = line.partition(_BLOCK)
        if mark and not head.strip():
            lines = [rest] if rest else []
            while not (lines and lines[-1].rstrip().endswith(_BLOCK)):
                self._before = lines
                try:
                    lines.append(self._line(_MORE))
                except EOFError:
                    break
            return "\n".join(lines).rstrip().removesuffix(_BLOCK).strip("\n")
        lines = [line]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            self._before = lines
            lines.append(self._line(_MORE))
        return "\n".join(lines)

    def _line(self, prompt: str, first: str = "") -> str:
        """Return a line, or all lines of a paste that no terminal has marked as one."""
        lines, took = [self._typed(prompt, first)], 0.0
        while _waiting():
            began = time.monotonic()
            lines.append(self._typed(""))
            took = time.monotonic() - began
        if len(lines) > 1 and took < _FAST_S:
            text = ngettext(
                "{count} line pasted. Enter sends it.", "{count} lines pasted. Enter sends them.", len(lines)
            )
            say(text.format(count=len(lines)))
            if more := self._typed(_MORE):
                lines.append(more)
        return "\n".join(lines)

    @staticmethod
    def _typed(prompt: str, first: str = "") -> str:
        with ExitStack() as until_typed:

            def begun() -> None:
                """Take note of the modes that readline has set: it does not see that a shell has stopped us."""
                if first:
                    _put(first)
                with contextlib.suppress(termios.error):
                    modes = termios.tcgetattr(0)
                    until_typed.enter_context(again(modes, lambda: _show(prompt)))

            if readline is not None:
                until_typed.callback(readline.set_pre_input_hook)
                readline.set_pre_input_hook(begun)
            return input(prompt)

    def _completed(self, text: str, number: int) -> str | None:
        if number == 0:
            self._found = self._complete(text)
        return self._found[number] if number < len(self._found) else None


def sure(question: str) -> bool:
    """Ask for yes or no; only a yes is one."""
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        return answer(f"{question} [y/n] ").lower() in {"y", "yes", _("yes")}
    say()
    return False


def answer(question: str) -> str:
    """Return what is typed after a question, without it among what was asked. Raises EOFError, KeyboardInterrupt."""
    return input(question).strip()


def number(text: str, most: int) -> int | None:
    """Return the number from 1 to `most` that a text is, None if it is none of them."""
    return int(text) if text.isdecimal() and len(text) < _DIGITS and 1 <= int(text) <= most else None


def _show(prompt: str) -> None:
    sys.stdout.write(prompt + readline.get_line_buffer())
    sys.stdout.flush()


def _put(text: str) -> None:
    readline.insert_text(text)
    readline.redisplay()


def _waiting() -> bool:
    """Say whether more has been typed already."""
    try:
        return bool(select.select([sys.stdin], [], [], _FAST_S)[0])
    except (OSError, ValueError):
        return False
