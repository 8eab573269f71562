"""An answer on stdout as it grows: readable text with nothing harmful in it, raw text, or a JSON object a line."""

from __future__ import annotations

import sys
from typing import Any, Protocol

import msgspec

from backends.errors import ErrorInfo
from backends.events import PromptProgress, Timings, Usage
from backends.host.launch import Ending, LaunchStep, Starting, Waiting
from backends.host.wire import Status
from tui.chat.answer import Answer
from tui.chat.bill import Rates, own_cost
from tui.chat.clean import clean
from tui.chat.thrash import Short, Strain, words
from tui.commands.output import to_json


class Printer(Protocol):
    """Turns what is known into bytes for stdout; each call returns only what is new."""

    def step(self, step: LaunchStep) -> bytes:
        """Say what has to happen before there is a host."""

    def status(self, status: Status) -> bytes:
        """Say what the host does."""

    def strained(self, strain: Strain, short: Short) -> bytes:
        """Say that memory is too small for the answer on its way."""

    def answer(self, answer: Answer) -> bytes:
        """Say what the answer has more than at the last call."""

    def end(self, answer: Answer, chat: str | None, message: str | None) -> bytes:
        """Say how it ended; `chat` and `message` are the ids of what was saved."""


class TextPrinter:
    """Text as a person reads it. `raw` changes nothing in it and adds nothing to it."""

    def __init__(self, *, thoughts: bool = False, raw: bool = False) -> None:
        self._thoughts = thoughts
        self._raw = raw
        self._encoding = "utf-8" if raw or sys.stdout is None else sys.stdout.encoding
        self._reasoned = self._said = 0
        self._inside = self._begun = False
        self._held = ""
        self._last = "\n"

    def step(self, step: LaunchStep) -> bytes:  # noqa: ARG002 - stderr tells it
        return b""

    def status(self, status: Status) -> bytes:  # noqa: ARG002 - stderr tells it
        return b""

    def strained(self, strain: Strain, short: Short) -> bytes:  # noqa: ARG002 - stderr tells it
        return b""

    def answer(self, answer: Answer) -> bytes:
        parts = []
        thought, self._reasoned = answer.reasoning[self._reasoned :], len(answer.reasoning)
        text, self._said = answer.text[self._said :], len(answer.text)
        if thought and self._thoughts:
            if not self._inside:
                self._inside, self._begun = True, False
                parts.append("<think>" if self._raw else "<think>\n")
            parts.append(self._shown(thought))
        if text:
            parts.append(self._close_thought())
            parts.append(self._shown(text))
        return self._bytes("".join(parts))

    def end(self, answer: Answer, chat: str | None, message: str | None) -> bytes:  # noqa: ARG002 - as all printers
        rest = "" if self._raw else self._rest()
        rest += self._close_thought()
        if not self._raw and self._line_open(rest):
            rest += "\n"
        return self._bytes(rest)

    def _close_thought(self) -> str:
        if not self._inside:
            return ""
        self._inside, self._begun = False, False
        if self._raw:
            return "</think>"
        rest = self._rest()
        return rest + ("\n" if self._line_open(rest) else "") + "</think>\n\n"

    def _shown(self, text: str) -> str:
        if self._raw:
            return text
        if not self._begun:
            text = text.lstrip("\r\n")
            self._begun = bool(text)
        text, self._held = self._held + text, ""
        if text.endswith("\r"):
            # Only the next piece tells whether this is half of a line's end.
            text, self._held = text[:-1], "\r"
        shown = clean(text)
        self._last = shown[-1:] or self._last
        return shown

    def _rest(self) -> str:
        rest, self._held = clean(self._held), ""
        return rest

    def _line_open(self, rest: str) -> bool:
        return (rest[-1:] or self._last) != "\n"

    def _bytes(self, text: str) -> bytes:
        self._last = text[-1:] or self._last
        return text.encode(self._encoding, "replace")


class JsonPrinter:
    """One JSON object a line, the last one "done"; errors come before it. `rates` are what energy costs."""

    def __init__(self, rates: Rates | None = None) -> None:
        self._rates = rates or Rates()
        self._prompt: PromptProgress | None = None
        self._reasoned = self._said = 0
        self._looped = False
        self._before = b""

    def step(self, step: LaunchStep) -> bytes:
        match step:
            case Waiting(title=title, phase=phase):
                return self._once({"event": "waiting", "title": title, "phase": phase})
            case Ending(title=title):
                return self._once({"event": "ending", "title": title})
            case Starting(title=title):
                return self._once({"event": "starting", "title": title})

    def status(self, status: Status) -> bytes:
        if status.phase != "loading" or status.load is None:
            return b""
        load = status.load
        return self._once({"event": "load", "stage": load.stage, "fraction": load.fraction, "note": load.note})

    def strained(self, strain: Strain, short: Short) -> bytes:
        told = {"text": words(strain, short), **msgspec.structs.asdict(strain), "limit_bytes": short.limit_bytes}
        return _line({"event": "strain", **told})

    def answer(self, answer: Answer) -> bytes:
        lines = b""
        if answer.prompt is not None and answer.prompt is not self._prompt:
            prompt = self._prompt = answer.prompt
            figures = {"done": prompt.done, "total": prompt.total, "cached": prompt.cached}
            lines += _line({"event": "prompt", **figures, "note": prompt.note})
        thought, self._reasoned = answer.reasoning[self._reasoned :], len(answer.reasoning)
        text, self._said = answer.text[self._said :], len(answer.text)
        if thought:
            lines += _line({"event": "reasoning", "text": thought})
        if text:
            lines += _line({"event": "text", "text": text})
        if answer.looping and not self._looped:
            lines += _line({"event": "looping"})
        self._looped = answer.looping
        return lines

    def end(self, answer: Answer, chat: str | None, message: str | None) -> bytes:
        done, failed = answer.done, answer.failed
        last = {
            "event": "done",
            "reason": "failed" if failed or done is None else done.reason,
            "usage": done.usage if done else Usage(),
            "timings": done.timings if done else Timings(),
            "energy": answer.energy,
            "cost": answer.paid or own_cost(answer.energy, answer.timings, self._rates),
            "io": answer.io,
            "chat": chat,
            "message": message,
        }
        return (error_line(failed) if failed else b"") + _line(last)

    def _once(self, event: dict[str, Any]) -> bytes:
        """Return the line unless it is the same as the one before."""
        line = _line(event)
        same, self._before = line == self._before, line
        return b"" if same else line


def error_line(error: ErrorInfo) -> bytes:
    """Return an error as one JSON line."""
    return _line(
        {"event": "error", "kind": error.kind, "title": error.title, "detail": error.detail, "hint": error.hint}
    )


def _line(event: dict[str, Any]) -> bytes:
    return to_json(event).encode() + b"\n"
