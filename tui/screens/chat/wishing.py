"""What the chat on the screen asks of its model: opened to be changed, and marked in the title."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from textual.screen import Screen

from backends.titles import backend_title
from tui.chat.asking import Asking, words
from tui.chat.session import Session
from tui.chat.storing.writing import chat_deleted
from tui.chat.target import Target
from tui.screens.chat.choosing import Presets
from tui.screens.chat.planning import Planning
from tui.words import _

if TYPE_CHECKING:  # Imported when it is opened.
    from presets.plan import PresetPlan
    from tui.screens.asking.form import About

_R1 = "R1"
_LONGEST_MARK = 34


class Wishing:
    """Opens what a chat asks for above `screen`; `say` tells in passing what follows."""

    def __init__(
        self,
        screen: Screen[None],
        session: Callable[[], Session | None],
        presets: Callable[[], Presets],
        planning: Planning,
        say: Callable[[str], None],
    ) -> None:
        self._screen = screen
        self._session = session
        self._presets = presets
        self._planning = planning
        self._say = say

    def open(self) -> None:
        """Open the fields of the chat that is shown, or of the one to come."""
        session = self._session()
        if session is None:
            self._screen.app.bell()
            return
        from tui.screens.asking import AskingScreen

        at = session.conversation.id if session.conversation is not None else None

        async def keep(asking: Asking) -> None:
            if at is not None and (session.conversation is None or session.conversation.id != at):
                raise chat_deleted(at)
            await session.ask_so(asking)

        async def plan(context: int) -> PresetPlan | None:
            target = session.target
            return await self._planning.plan(target.preset, context) if target is not None else None

        def closed(kept: bool | None) -> None:
            if kept:
                self._say(_kept(session))

        self._screen.app.push_screen(AskingScreen(self._about(session), session.wanted.asking, keep, plan), closed)

    def _about(self, session: Session) -> About:
        from tui.screens.asking.form import About

        chosen, status = session.wanted.chosen, session.status
        title = session.conversation.title if session.conversation is not None else ""
        if chosen is None:
            return About(title, _("the preset"))
        entry = self._presets().entry(chosen.preset)
        context = chosen.spec.options.get("context")
        loaded = session.loaded_target
        same = loaded is not None and _model(loaded) == _model(chosen)
        return About(
            title,
            chosen.title,
            backend_title(chosen.spec.backend),
            chosen.sampling,
            entry is not None and _R1 in entry.preset.model.family,
            context if isinstance(context, int) else None,
            session.can("seed"),
            status.loaded.context if status is not None and status.loaded is not None and same else None,
        )


def _model(target: Target) -> tuple[str, str, str]:
    return target.preset, target.spec.backend, target.spec.model


def marked(title: str, asking: Asking, room: int) -> str:
    """Return a chat's title with what it asks for behind it, both as far as there is room; the mark is never cut."""
    said = words(asking)
    if not said:
        return title
    mark = next((form for form in _forms(asking, said) if cell_len(form) <= min(_LONGEST_MARK, room // 2)), "*")
    left = max(0, room - cell_len(mark) - 1)
    if cell_len(title) > left:
        title = f"{set_cell_size(title, left - 1).rstrip()}…" if left > 1 else ""
    return f"{title} {mark}".strip()


def _forms(asking: Asking, said: tuple[str, ...]) -> tuple[str, ...]:
    """Return how it is marked, the longest form first."""
    first, others = asking.names[0], len(said) - 1
    return (f"[{', '.join(said)}]", f"[{first} +{others}]" if others else f"[{first}]", "[*]")


def _kept(session: Session) -> str:
    """Return what is said of what was kept just now."""
    said = ", ".join(words(session.wanted.asking))
    told = _("This chat asks for: {wishes}").format(wishes=said) if said else _("This chat asks as its preset does")
    return f"{told} · {_('from the next question on')}" if session.busy else told
