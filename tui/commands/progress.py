"""What an `ask` is waiting for, on stderr: one line that is written over on a terminal, else a line for each stage."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from backends.host.launch import Ending, LaunchStep, Starting, Waiting
from backends.host.wire import Status
from tui.chat.answer import Answer
from tui.chat.clean import clean_line
from tui.chat.thrash import Short, Strain, words
from tui.commands import output
from tui.commands.table import fitted

REDRAW_S = 0.1
_ERASE = "\r\x1b[K"
_DOING = {"loading": "is loading", "prefill": "is answering", "decode": "is answering"}


class Progress:
    """The line about one answer. `quiet` says nothing at all."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._terminal = output.is_terminal(2)
        self._quiet = quiet
        self._stage = self._shown = ""
        self._loads = False
        self._drawn_at = 0.0
        self._told: set[str] = set()

    def step(self, title: str, step: LaunchStep) -> None:
        """Tell what has to happen before there is a host."""
        match step:
            case Waiting(title=other, phase=phase):
                doing = _DOING.get(phase, phase)
                self._show("waiting", f"in line: {other} {doing} and is not ended unasked (--evict ends it)")
            case Ending(title=other):
                self._show("ending", f"ending {other} to free its memory")
            case Starting():
                self._show("loading", f"loading {title}")

    def status(self, title: str, status: Status, answer: str) -> None:
        """Tell what the host is doing, and what is to be known of a model that was loaded for this answer."""
        if self._loads and status.loaded is not None:
            self._loads = False
            self._note(status.loaded.notes)
        if status.phase == "loading":
            self._loads = True
            load = status.load
            text = f"loading {title}"
            if load is not None and load.stage == "warming":
                text += " · warming up"
            elif load is not None:
                text += " · onto the GPU" if load.stage == "offloading" else " · reading"
                text += f" {load.fraction:.0%}" if load.fraction is not None else ""
                text += f" · {load.note}" if load.note else ""
            self._show("loading", text)
        elif answer in status.waiting and status.answer is not None:
            self._show("in line", f"in line: {title} gives another answer first")

    def answer(self, answer: Answer, *, thoughts: bool) -> None:
        """Tell how far the prompt is read, and how long a hidden thought is; nothing once there is text.

        What the engine wants to be known, and that the model repeats itself, is told once.
        """
        if answer.prompt is not None and answer.prompt.note:
            self._once(answer.prompt.note, in_line=False)
        if answer.looping:
            said = bool(answer.text or (answer.reasoning and thoughts))
            self._once("the model repeats itself; Ctrl+C stops it and keeps what was said", in_line=said)
        if not self._terminal:
            return
        if answer.text or answer.finished or (answer.reasoning and thoughts):
            self.clear()
        elif answer.reasoning:
            self._show("thinking", f"thinking · {answer.reasoning_tokens:,} tokens")
        elif answer.prompt is not None and answer.prompt.done < answer.prompt.total:
            self._show("prompt", f"reading the prompt · {answer.prompt.done:,}/{answer.prompt.total:,} tokens")

    def strained(self, strain: Strain, short: Short, answer: Answer, *, thoughts: bool) -> None:
        """Tell that memory is too small for the answer on its way, and what helps."""
        first = "Close something" if short.limit_bytes is None else "Raise that limit"
        helps = f"{first}, or ask with a smaller --context or another preset (-p). Ctrl+C stops it."
        self._once(f"{words(strain, short)} {helps}", in_line=bool(answer.text or (answer.reasoning and thoughts)))

    def clear(self) -> None:
        """Take the line back, before anything else is written to the same terminal."""
        if self._shown and self._terminal:
            self._write(_ERASE)
        self._shown = ""

    def _once(self, note: str, *, in_line: bool) -> None:
        """Tell something once; `in_line` is whether the answer may have left its line unfinished."""
        if note not in self._told:
            self._told.add(note)
            if in_line and self._terminal and not self._quiet:
                self._write("\n")
            self._note([note])

    def _note(self, notes: Sequence[str]) -> None:
        self.clear()
        if not self._quiet:
            for note in notes:
                self._write(f"note: {clean_line(note)}\n")

    def _show(self, stage: str, text: str) -> None:
        if self._quiet or text == self._shown:
            return
        text, new = clean_line(text), stage != self._stage
        self._stage = stage
        if not self._terminal:
            if new:
                self._write(f"{text}\n")
            return
        now = time.monotonic()
        if new or now - self._drawn_at >= REDRAW_S:
            self._drawn_at, self._shown = now, text
            self._write(_ERASE + fitted(text, _columns() - 1))

    def _write(self, text: str) -> None:
        """Write at once; whether anybody reads it changes nothing for the answer."""
        try:
            os.write(2, text.encode(errors="replace"))
        except OSError:
            self._quiet = True


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80
