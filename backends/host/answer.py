"""The running record of one answer inside its host: every event once encoded, for the spool and for who watches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from backends.base import Cancel, ChatRequest
from backends.events import PromptProgress, Reasoning, Text, Usage
from backends.host.spool import SpoolWriter
from backends.host.wire import AnswerEvent, Chat, Record, encode


class AnswerLog:
    """One answer's records. Written by the engine's thread and by the server, read by connections.

    The last record becomes visible only after the spool holds it on disk. `changed` is told whether it cannot wait.
    """

    def __init__(self, chat: Chat, spool: SpoolWriter | None, changed: Callable[[bool], None]) -> None:
        self.answer = chat.answer
        self.request: ChatRequest = chat.request
        self.cancel = Cancel()
        self.lines: list[bytes] = []
        self.finished = False
        self._spool = spool
        self._changed = changed
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._closing = False
        self._prompt: PromptProgress | None = None
        self._reasoning_tokens = 0
        self._output_tokens = 0

    @property
    def closing(self) -> bool:
        """True as soon as the last record is decided; what the engine still says is dropped."""
        return self._closing

    def append(self, event: PromptProgress | Reasoning | Text) -> None:
        """Add an event; dropped if the answer was closed meanwhile."""
        with self._lock:
            if self._closing:
                return
            match event:
                case PromptProgress():
                    self._prompt = event
                case Reasoning(tokens=tokens):
                    self._reasoning_tokens += tokens
                    self._output_tokens += tokens
                case Text(tokens=tokens):
                    self._output_tokens += tokens
            line = self._line(event)
            if self._spool is not None:
                self._spool.write(line)
            self.lines.append(line)
        self._changed(False)

    def close(self, event: AnswerEvent) -> None:
        """Add the last record: to the spool, synced, then for who watches. Only the first call counts. Blocks."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            line = self._line(event)
        if self._spool is not None:
            self._spool.write(line)
            self._spool.close()
        self.lines.append(line)
        self.finished = True
        self._changed(True)

    def usage(self) -> Usage:
        """Return what was counted here, for an answer that the engine did not end itself."""
        prompt = self._prompt
        return Usage(
            (prompt.total or None) if prompt else None,
            prompt.cached if prompt and prompt.total else None,
            self._reasoning_tokens,
            self._output_tokens,
        )

    def _line(self, event: AnswerEvent) -> bytes:
        return encode(Record(self.answer, len(self.lines), round(time.monotonic() - self._started, 4), event))
