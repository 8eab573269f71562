"""Sort an answer's pieces into thought and text, whether the server or nobody has taken the thought out."""

from __future__ import annotations

from backends.events import Reasoning, Text
from backends.reasoning import SplitState, ThoughtSplitter


class Channels:
    """Takes an answer's pieces, gives events, counts their tokens, and keeps what was said for a continuation."""

    def __init__(self) -> None:
        self.tokens = 0
        self.reasoning_tokens = 0
        self.plain = False
        self._thoughts: list[str] = []
        self._texts: list[str] = []
        self._splitter = ThoughtSplitter()
        self._told_thought = False
        self._worded = False  # the told thought has more than newlines

    def begin(self, state: SplitState, plain: bool) -> None:
        """Start with the text of another request. `plain` says that all of it is the answer."""
        self._splitter = ThoughtSplitter(state)
        self.plain = plain
        self._told_thought = False
        self._worded = state == "thinking"

    @property
    def thinking(self) -> bool:
        """Whether a thought is open that could be closed here: not within a tag."""
        return self._told_thought or (self._splitter.thinking and not self._splitter.holding)

    @property
    def reasoning(self) -> str:
        return "".join(self._thoughts)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def feed(self, said: str, thought: str, tokens: int = 1) -> list[Reasoning | Text]:
        """Take one piece, which stands for so many tokens: what the server calls a thought, and the rest."""
        events: list[Reasoning | Text] = []
        if thought and self.plain:
            said, thought = thought + said, ""
        if thought:
            if not self._told_thought:
                events += self._splitter.finish()
                self._splitter, self._told_thought = ThoughtSplitter("closed"), True
            if not self._worded:
                thought = thought.lstrip("\r\n")
                self._worded = bool(thought)
            events.append(Reasoning(thought, tokens))
            tokens = 0
        if said:
            if self._told_thought:
                self._told_thought = self._worded = False
                events.append(Text("", 0))  # the end of the thought shows at once
            events += self._splitter.feed(said, tokens)
        return self._counted(events)

    def close_thought(self) -> list[Reasoning | Text]:
        """Take note that the end of the thought was put in."""
        events: list[Reasoning | Text] = [Text("", 0)] if self._told_thought else self._splitter.close()
        self._told_thought = False
        return self._counted(events)

    def finish(self, further: int = 0) -> list[Reasoning | Text]:
        """Return what is left, and `further` tokens that no piece stood for, in the channel where the answer ends."""
        if self._told_thought:
            return self._counted([Reasoning("", further)] if further else [])
        events = self._splitter.feed("", further) if further else []
        return self._counted([*events, *self._splitter.finish()])

    def _counted(self, events: list[Reasoning | Text]) -> list[Reasoning | Text]:
        for event in events:
            self.tokens += event.tokens
            if isinstance(event, Reasoning):
                self.reasoning_tokens += event.tokens
                self._thoughts.append(event.text)
            else:
                self._texts.append(event.text)
        return events
