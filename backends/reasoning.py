"""Split generated text into thoughts and answer: `<think>` … `</think>`, across arbitrary chunk borders.

DeepSeek-R1 puts its thought first. Newer templates end the prompt with `<think>`, so the model emits only the closing
tag; with older ones it emits both. A tag further down is part of the answer and is left alone.
"""

from __future__ import annotations

from typing import Literal

from backends.base import Partial, ReasoningStyle
from backends.events import Reasoning, Text

OPEN = "<think>"
CLOSE = "</think>"

SplitState = Literal["start", "opened", "entered", "thinking", "closed", "answer"]
"""Where the text stands: an opening tag may come (`start`), the prompt opened a thought and the model may repeat the
tag (`opened`), just behind the opening tag, in the middle of a thought, just behind the closing tag, in the answer."""

_NEWLINES = "\r\n"
_LEADING_LIMIT = 64  # spaces before an opening tag that we wait for
_THOUGHT: tuple[SplitState, ...] = ("opened", "entered", "thinking")


def prompt_opens_thought(prompt: str) -> bool:
    """Say whether the rendered prompt leaves the model inside a thought."""
    return prompt.rstrip().endswith(OPEN)


def initial_state(style: ReasoningStyle, prompt: str, partial: Partial | None) -> SplitState:
    """Return where the generated text starts, after `prompt` (which ends with the partial answer, if any)."""
    if style == "none":
        return "answer"
    if partial is not None and partial.text:
        return "answer"
    if partial is not None and partial.reasoning:
        return "thinking" if partial.thinking else "closed"
    return "opened" if prompt_opens_thought(prompt) else "start"


def strip_thought(text: str) -> str:
    """Return the visible part of an answer that may still carry its thought, as a history text must be sent.

    A thought is a leading `<think>` … `</think>`, or, where the prompt had opened it, all before a first `</think>`
    on a line of its own. Tags that an answer merely talks about stay.
    """
    start = text.lstrip()
    if start.startswith(OPEN):
        _, tag, visible = start.partition(CLOSE)
        return visible.lstrip(_NEWLINES) if tag else ""
    thought, tag, visible = text.partition(CLOSE)
    own_line = (not thought or thought.endswith("\n")) and (not visible or visible[0] in _NEWLINES)
    if tag and own_line and OPEN not in thought:
        return visible.lstrip(_NEWLINES)
    return text


def closing(before: str) -> str:
    """Return what closes the thought that `before` ends in, so that it reads as R1 writes it and as a template would.

    That is a closing tag on a line of its own, after an empty line if nothing was thought, and an empty line behind it.
    """
    thought = before.rstrip(_NEWLINES)
    missing = (2 if thought.endswith(OPEN) else 1) - before[len(thought) :].count("\n")
    return "\n" * max(0, missing) + CLOSE + "\n\n"


class ThoughtSplitter:
    """Feed it text as it comes; it gives events back, and holds back only what may be the beginning of a tag.

    Each token is counted in exactly one event: in the channel that the first character of its piece went to. A tag
    counts as reasoning, if need be in an event without text. Newlines right behind a tag are dropped. The end of a
    thought shows at once: by a `Text` without text if none follows yet.
    """

    def __init__(self, state: SplitState = "start") -> None:
        self._state: SplitState = state
        self._held = ""
        self._tokens = 0

    @property
    def thinking(self) -> bool:
        """Whether the next text belongs to a thought, as far as it is known."""
        return self._state in _THOUGHT

    @property
    def answering(self) -> bool:
        """Whether all that follows belongs to the answer."""
        return self._state in ("closed", "answer")

    @property
    def holding(self) -> bool:
        """Whether something is held back that may be the beginning of a tag."""
        return bool(self._held)

    @property
    def steady(self) -> bool:
        """Whether text without a `<` stays in the present channel, however it is cut."""
        return self._state in ("thinking", "answer") and not self._held

    def feed(self, text: str, tokens: int = 1) -> list[Reasoning | Text]:
        """Take a piece of text that `tokens` generated tokens stand for."""
        self._tokens += tokens
        if self._state == "answer":
            return [Text(text, self._take_tokens())] if text else []
        events: list[Reasoning | Text] = []
        rest = self._held + text
        self._held = ""
        while rest:
            rest = self._step(rest, events)
        return events

    def close(self) -> list[Reasoning | Text]:
        """End the open thought from outside: what follows is the answer, after newlines that are dropped."""
        events = self.finish()
        self._state = "closed"
        return [*events, Text("", 0)]

    def finish(self) -> list[Reasoning | Text]:
        """Return what was held back, and the tokens that no event has counted yet."""
        held, self._held = self._held, ""
        if self._state == "opened":
            held = held.lstrip(_NEWLINES)
        if not held and not self._tokens:
            return []
        return [self._event(held)]

    def _step(self, text: str, events: list[Reasoning | Text]) -> str:
        """Consume the beginning of a non-empty `text` in the present state; return what is left for the next one."""
        match self._state:
            case "start" | "opened":
                return self._lead_in(text, events)
            case "entered":
                return self._skip_newlines(text, "thinking")
            case "thinking":
                return self._think(text, events)
            case "closed":
                return self._skip_newlines(text, "answer")
            case "answer":
                events.append(self._event(text))
                return ""

    def _lead_in(self, text: str, events: list[Reasoning | Text]) -> str:
        body = text.lstrip()
        if len(text) - len(body) <= _LEADING_LIMIT:
            if body.startswith(OPEN):
                events.append(Reasoning("", self._take_tokens()))
                self._state = "entered"
                return body[len(OPEN) :]
            if OPEN.startswith(body):
                self._held = text
                return ""
        self._state = "answer" if self._state == "start" else "entered"
        return text

    def _skip_newlines(self, text: str, then: SplitState) -> str:
        rest = text.lstrip(_NEWLINES)
        if rest:
            self._state = then
        return rest

    def _think(self, text: str, events: list[Reasoning | Text]) -> str:
        thought, tag, rest = text.partition(CLOSE)
        if tag:
            events.append(Reasoning(thought, self._take_tokens()))
            self._state = "closed"
            if not rest.strip(_NEWLINES):
                events.append(Text("", 0))
            return rest
        keep = overlap(text, CLOSE)
        self._held = text[len(text) - keep :]
        if keep < len(text):
            events.append(Reasoning(text[: len(text) - keep], self._take_tokens()))
        return ""

    def _event(self, text: str) -> Reasoning | Text:
        channel = Reasoning if self.thinking else Text
        return channel(text, self._take_tokens())

    def _take_tokens(self) -> int:
        tokens, self._tokens = self._tokens, 0
        return tokens


def overlap(text: str, word: str) -> int:
    """Return the length of the longest end of `text` that is a beginning of `word`, but not all of it."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0
