"""The lines around the conversation: title, progress, status and keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.cells import cell_len
from textual.screen import Screen
from textual.timer import Timer

from tui import keys
from tui.chat.asking import NOTHING
from tui.chat.clean import clean_line
from tui.chat.seen import Seen
from tui.chat.session import Session
from tui.keys.key import Place
from tui.line import profile, signals
from tui.screens.chat import footer, progress
from tui.screens.chat.wishing import marked
from tui.widgets.chat_list import ChatList
from tui.widgets.lines import Line, edges, room
from tui.widgets.sidebar import PresetList
from tui.widgets.transcript import Transcript
from tui.words import N_, _

NAME = "deepseek-tui"
SAID_S, LONG_SAID_S = 4.0, 8.0
LEAVING = N_("Leaving: the answer goes on. {program.quit} again ends it too")
MORE = N_("↓ more below · {composer.end} goes there")


class Around:
    """Keeps the four lines of a screen at what is true; what is said in passing stays long enough to be read.

    `changed` has them shown anew.
    """

    def __init__(self, screen: Screen[None], changed: Callable[[], None]) -> None:
        self._screen = screen
        self._changed = changed
        self._said = ""
        self._below = False
        self._unsaying: Timer | None = None

    def show(
        self,
        session: Session | None,
        seen: Seen,
        fetches: Sequence[str] = (),
        deleted: str = "",
        *,
        leaving: bool,
    ) -> None:
        """Show a session and its figures, and what is fetched in ever shorter forms.

        `deleted` is what can be taken back.
        """
        title = session.conversation.title if session and session.conversation else _("New chat")
        signals.show_title(f"{title} · deepseek-tui")
        width = self._screen.size.width - 2
        line = "SSH" if profile.current().over_line else ""
        asking = session.wanted.asking if session is not None else NOTHING
        shown = marked(clean_line(title), asking, room(NAME, line, width))
        self._line("title").say(edges(NAME, shown, line, width))
        self._line("keys").say(keys.key_line(width, _place(self._screen)))
        doing = keys.filled(_(LEAVING)) if leaving else self._said
        if session is not None:
            # What can be taken back is said before what would be done next, but not before what is being done.
            resting = deleted if not session.busy and not session.loading else ""
            doing = doing or resting or progress.doing(session)
            self._line("status").say(footer.footer_line(seen, width))
        if not doing and self._below and not self._screen.has_class("-tall"):  # There is no border then.
            doing = keys.filled(_(MORE))
        self._line("progress").say(clean_line(doing), fetches)

    def more(self, *, below: bool) -> None:
        """Mark that the conversation goes on under its view, or does not."""
        self._below = below
        self._screen.query_one("#main").border_subtitle = keys.filled(_(MORE)) if below else ""
        self._changed()

    def say(self, text: str) -> None:
        """Say something in the progress line for a while, instead of what is being done. "" ends that.

        What has no room there is said over the conversation.
        """
        if 0 < self._line("progress").content_size.width < cell_len(text):
            self._screen.app.clear_notifications()
            self._screen.notify(text, markup=False, timeout=LONG_SAID_S)
            text = ""
        if self._unsaying is not None:
            self._unsaying.stop()
        self._said = text
        self._unsaying = self._screen.set_timer(SAID_S, self._unsay) if text else None
        self._changed()

    def _unsay(self) -> None:
        self._said, self._unsaying = "", None
        self._changed()

    def _line(self, name: str) -> Line:
        return self._screen.query_one(f"#{name}", Line)


def _place(screen: Screen[None]) -> Place | None:
    """Return the place with keys of its own that one is in."""
    match screen.focused:
        case Transcript():
            return "messages"
        case ChatList():
            return "chats"
        case PresetList():
            return "presets"
        case _:
            return None
