"""An answer as it grows: the fold of a host's records, the same for a live stream, a late joiner and a spool."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from backends.base import Partial
from backends.errors import ErrorInfo
from backends.events import Cost, Done, Energy, Io, Metered, PromptProgress, Reasoning, Text, Timings, Usage
from backends.host.wire import Failed, Record
from tui.chat.loops import Repetition

RATE_WINDOW_S = 3.0
SLOW_S = 1.0
"""A model that takes longer for a token spends most of the window on the next one."""
COURSE = 1024
"""So many of the last seconds' reads and writes are remembered: a disk may take minutes for a token."""
# How much of an answer that goes on is looked at for repetitions again.
_LOOKED_AT = 4096


class Moved(msgspec.Struct, frozen=True):
    """What the answer's process had read and written `at_s` seconds after the request, when there were `tokens`."""

    at_s: float
    tokens: int
    io: Io


class Answer:
    """What is known of one answer after some of its records. Times are the host's, in seconds since the request."""

    def __init__(self, before: Partial | None = None) -> None:
        self._reasoning = [before.reasoning] if before and before.reasoning else []
        self._text = [before.text] if before and before.text else []
        self.records = 0
        self.reasoning_tokens = 0
        self.tokens = 0
        self.prompt: PromptProgress | None = None
        self.metered: Metered | None = None
        self.moved: deque[Moved] = deque(maxlen=COURSE)
        self.done: Done | None = None
        self.failed: ErrorInfo | None = None
        self.thinking = bool(before and before.thinking)
        self._repetition = Repetition()
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_tokens = 0
        self._first_s: float | None = None
        self._thought_from: float | None = None
        self._thought_to: float | None = None
        self.last_s = 0.0
        self._clock_offset: float | None = None
        if before is not None:
            self._repetition.feed((before.reasoning if before.thinking else before.text)[-_LOOKED_AT:])

    @property
    def text(self) -> str:
        if len(self._text) > 1:
            self._text[:] = ["".join(self._text)]
        return self._text[0] if self._text else ""

    @property
    def reasoning(self) -> str:
        if len(self._reasoning) > 1:
            self._reasoning[:] = ["".join(self._reasoning)]
        return self._reasoning[0] if self._reasoning else ""

    @property
    def finished(self) -> bool:
        return self.done is not None or self.failed is not None

    @property
    def looping(self) -> bool:
        """Whether the thought, or the text, goes round in circles at the moment."""
        return not self.finished and self._repetition.looping

    @property
    def thought_s(self) -> float | None:
        """How long the thought took, or has taken so far; None without one."""
        if self._thought_from is None:
            return None
        end = self._now() if self._thought_to is None else self._thought_to
        return max(0.0, end - self._thought_from)

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens a second over the last seconds, or over the last two tokens where they are farther apart.

        None before the second one and after the end.
        """
        if self.finished or len(self._recent) < 2:
            return None
        start, end = self._recent[0][0], self._recent[-1][0]
        span = max(self._now(), self.last_s) - start
        tokens = self._recent_tokens - self._recent[0][1]
        each = (end - start) / tokens
        if each > SLOW_S:
            # So slow, it is not slower for what has passed of the next token, unless that is late.
            span = end - start + max(0.0, span - (end - start) - each)
        return tokens / span if span > 0 else None

    @property
    def context_tokens(self) -> int | None:
        """How much of the context this conversation fills now, as the engine counted it; None if unknown."""
        if self.done is not None and self.done.usage.context_tokens is not None:
            return self.done.usage.context_tokens
        return self.prompt.total + self.tokens if self.prompt and self.prompt.total else None

    @property
    def energy(self) -> Energy | None:
        """The joules of this answer up to now; of one that was cut off, those that were told about."""
        if self.done is not None and self.done.energy is not None:
            return self.done.energy
        return self.metered.energy if self.metered is not None else None

    @property
    def io(self) -> Io | None:
        """What it made its process read and write up to now; None where nobody counts."""
        if self.done is not None and self.done.io is not None:
            return self.done.io
        return self.metered.io if self.metered is not None else None

    @property
    def reads_per_s(self) -> float | None:
        """Bytes a second that come from a disk at the moment."""
        return self._moves(lambda io: io.read_bytes)

    @property
    def faults_per_s(self) -> float | None:
        """Page faults a second that wait for a disk at the moment."""
        return self._moves(lambda io: io.page_faults)

    @property
    def paid(self) -> Cost | None:
        """What its server charges; None where it costs what its energy costs."""
        return self.done.cost if self.done is not None else None

    @property
    def usage(self) -> Usage | None:
        """Its tokens as the engine counted them; of one that was cut off, as far as they came."""
        if self.done is not None:
            return self.done.usage
        if self.prompt is None and not self.tokens:
            return None
        total, cached = (self.prompt.total or None, self.prompt.cached) if self.prompt else (None, None)
        return Usage(total, cached if total else None, self.reasoning_tokens, self.tokens)

    @property
    def timings(self) -> Timings | None:
        """Its seconds; of one that was cut off those that were told, else those from its first token on."""
        if self.done is not None:
            return self.done.timings
        if self.metered is not None and self.metered.timings is not None:
            return self.metered.timings
        return Timings(decode_s=self.last_s - self._first_s) if self._first_s is not None else None

    def take(self, record: Record) -> None:
        """Add the next record; one that was taken before is passed over."""
        if record.seq < self.records:
            return
        self.records = record.seq + 1
        self.last_s = record.at_s
        offset = time.monotonic() - record.at_s
        if self._clock_offset is None or offset < self._clock_offset:
            self._clock_offset = offset
        match record.event:
            case PromptProgress():
                self.prompt = record.event
            case Reasoning(text=text, tokens=tokens):
                if self._thought_from is None:
                    self._thought_from = record.at_s
                self.thinking = True
                self._reasoning.append(text)
                self._repetition.feed(text)
                self.reasoning_tokens += tokens
                self._count(record.at_s, tokens)
            case Text(text=text, tokens=tokens):
                if self.thinking:
                    self._repetition = Repetition()
                self._end_thought(record.at_s)
                self._text.append(text)
                self._repetition.feed(text)
                self._count(record.at_s, tokens)
            case Metered(io=io):
                self.metered = record.event
                if io is not None:
                    self.moved.append(Moved(record.at_s, self.tokens, io))
            case Done():
                self._end_thought(record.at_s, still_thinking=self.thinking)
                self.done = record.event
            case Failed(error=error):
                self._end_thought(record.at_s, still_thinking=self.thinking)
                self.failed = error

    def _moves(self, count: Callable[[Io], int | None]) -> float | None:
        """Return a count's growth a second between the last two records that tell of it."""
        if self.finished or len(self.moved) < 2:
            return None
        before, now = self.moved[-2], self.moved[-1]
        first, last = count(before.io), count(now.io)
        if first is None or last is None or now.at_s <= before.at_s:
            return None
        return max(0, last - first) / (now.at_s - before.at_s)

    def _count(self, at_s: float, tokens: int) -> None:
        if not tokens:
            return  # Text that was put in, or none: no token came.
        self.tokens += tokens
        if self._first_s is None:
            self._first_s = at_s
        self._recent.append((at_s, tokens))
        self._recent_tokens += tokens
        while len(self._recent) > 2 and self._recent[0][0] < at_s - RATE_WINDOW_S:
            self._recent_tokens -= self._recent.popleft()[1]

    def _end_thought(self, at_s: float, *, still_thinking: bool = False) -> None:
        if self._thought_from is not None and self._thought_to is None:
            self._thought_to = at_s
        self.thinking = still_thinking

    def _now(self) -> float:
        """Return the host's clock, estimated from the quickest record so far."""
        return time.monotonic() - self._clock_offset if self._clock_offset is not None else 0.0


def fold(records: Iterable[Record], before: Partial | None = None) -> Answer:
    """Return the answer that these records make."""
    answer = Answer(before)
    for record in records:
        answer.take(record)
    return answer
