"""Who is to answer the chat that is shown: the model that was chosen, as this chat asks for it."""

from __future__ import annotations

import msgspec

from backends.errors import Problem
from tui.chat.asking import NOTHING, Asking
from tui.chat.storing.stored import Conversation
from tui.chat.target import Target


class Wanted:
    """`chosen` is the model, whatever chat is shown; `asking` is what the one shown, or the one to come, asks of it.

    The context that an answer had to be given may be larger than that which its chat asks for. It holds as long as the
    chat is shown; where the chat asks for none, it is the model's from then on.
    """

    def __init__(self) -> None:
        self.chosen: Target | None = None
        self.asking = NOTHING
        self._chat: str | None = None
        self._grown: int | None = None
        self._before: tuple[Target, int | None] | None = None

    @property
    def target(self) -> Target | None:
        """Who is to answer, None while nobody is chosen."""
        return self._asked(self.chosen) if self.chosen is not None else None

    def needed(self) -> Target:
        """Return who is to answer. Raises Problem."""
        return self._asked(self.some())

    def some(self) -> Target:
        """Return the model that is chosen. Raises Problem."""
        if self.chosen is None:
            raise Problem("No model is chosen", "", "Choose a preset first.")
        return self.chosen

    def still(self, asked: Target | None) -> Target | None:
        """Return who is to answer if it is the model that was `asked`, though perhaps otherwise; else None."""
        target = self.target
        if asked is None or target is None or (asked.preset, asked.spec) != (target.preset, target.spec):
            return None
        return target

    def choose(self, target: Target | None) -> None:
        """Answer with this model from now on."""
        self.chosen, self._grown = target, None

    def show(self, chat: Conversation | None) -> None:
        """Answer as this chat asks for it; None is one that is yet to begin."""
        if chat is None or chat.id != self._chat:
            self._grown = None
        self._chat = chat.id if chat is not None else None
        self.ask_so(chat.asking if chat is not None else None)

    def ask_so(self, asking: Asking | None) -> None:
        """Take another wish of the chat that is shown."""
        asking = asking or NOTHING
        if asking.context != self.asking.context:
            self._grown = None
        self.asking = asking

    def grow(self, context: int | None) -> None:
        """Take so large a context from now on, until `shrink`; None leaves it as it is."""
        self._before = None
        if context is None or self.chosen is None:
            return
        self._before = (self.chosen, self._grown)
        if self.asking.context is None:
            self.chosen = self.chosen.with_context(context)
        else:
            self._grown = context

    def shrink(self, *, failed: bool) -> bool:
        """Take the context from before `grow` again if the larger one `failed`; say whether it is another now."""
        before, self._before = self._before, None
        if before is None or not failed:
            return False
        self.chosen, self._grown = before
        return True

    def _asked(self, chosen: Target) -> Target:
        grown = self._grown
        return chosen.asked_so(self.asking if grown is None else msgspec.structs.replace(self.asking, context=grown))
