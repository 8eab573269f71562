"""The Textual application: one chat screen, its theme, and its end."""

from __future__ import annotations

import gc
import os

from tui.line import profile

_collects = gc.isenabled()
gc.disable()  # What is imported stays: nothing is found by looking for garbage in it.

profile.apply(profile.current(), os.environ)

import asyncio  # noqa: E402
from collections.abc import Iterable  # noqa: E402
from typing import ClassVar  # noqa: E402

from rich.console import RenderableType  # noqa: E402
from textual.app import App, SystemCommand  # noqa: E402 - Textual reads its settings at import
from textual.binding import BindingType  # noqa: E402
from textual.screen import Screen  # noqa: E402
from textual.widgets import Input, TextArea  # noqa: E402

from backends.errors import Problem  # noqa: E402
from tui.hang_up import HangUp  # noqa: E402
from tui.keys import now  # noqa: E402
from tui.keys.bindings import of_program  # noqa: E402
from tui.line import clipboard, outlet, signals  # noqa: E402
from tui.line.driver import LineDriver  # noqa: E402
from tui.line.incoming import PASTE_CHARACTERS  # noqa: E402
from tui.screens.chat import ChatScreen  # noqa: E402
from tui.screens.chat.start import Wish  # noqa: E402
from tui.settings import Settings  # noqa: E402
from tui.words import _  # noqa: E402

gc.freeze()
if _collects:
    gc.enable()


class DeepseekApp(App[None], inherit_bindings=False):
    """The screen of `deepseek-tui`."""

    TITLE = "deepseek-tui"
    BINDINGS: ClassVar[list[BindingType]] = of_program()
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, wish: Wish | None = None, theme: str = "") -> None:
        # NO_COLOR is no colour at all: Textual's own reading of it, greys, is black on black in 16 colours.
        super().__init__(driver_class=LineDriver, ansi_color=profile.current().colours == "none" or None)
        self._wish = wish or Wish()
        self.set_keymap(now.keymap())
        self.theme = theme if theme in self.available_themes else _default_theme()

    def on_load(self) -> None:
        # Before the terminal is taken over: from then on it must be given back, whoever ends us.
        self._hang_up = HangUp(screen=True, restore=self._restore)
        self._hang_up.leave_when_told(self.exit)

    def on_mount(self) -> None:
        self.push_screen(ChatScreen(self._wish))
        if isinstance(self._driver, LineDriver):
            self._driver.watch(self.refresh, self._hang_up.gone, self._paste_cut)
            outlet.to(self._driver.say)

    def on_unmount(self) -> None:
        self._hang_up.close()
        signals.give_title_back()
        outlet.to(None)

    def _paste_cut(self) -> None:
        size = f"{PASTE_CHARACTERS:,}"
        words = _("The paste was too long: its first {size} characters are here").format(size=size)
        self.notify(words, severity="warning", markup=False)

    def _restore(self) -> None:
        if isinstance(self._driver, LineDriver):
            self._driver.restore(signals.old_title())

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(self._driver, LineDriver):
            with self._driver.frame():
                super()._display(screen, renderable)
        else:
            super()._display(screen, renderable)

    def _set_pointer_shape(self, shape: str) -> None:
        """Leave the pointer of the mouse as it is: few terminals know its shapes, and each change is a packet."""

    def copy_to_clipboard(self, text: str) -> None:
        """Copy by the way that leads to this terminal's clipboard, and tell which."""
        self._clipboard = text  # What is pasted here.
        self.run_worker(self._copy(text), group="copying")

    async def _copy(self, text: str) -> None:
        try:
            done = await asyncio.to_thread(clipboard.deliver, text)
        except Problem as problem:
            done = f"{problem.title}: {problem.detail}"
        self.notify(done, markup=False)

    async def action_leave(self) -> None:
        """Leave from whatever is shown, but not from where something is typed that nobody keeps."""
        chat = next((screen for screen in self.screen_stack if isinstance(screen, ChatScreen)), None)
        if chat is None:
            self.exit()
        elif self.screen is not chat and isinstance(self.focused, Input | TextArea):
            self.notify(_("Close this first: what is typed here is kept nowhere"), markup=False)
        else:
            await chat.action_leave()

    def action_redraw(self) -> None:
        """Draw all anew, where another program has written to the terminal."""
        if isinstance(self._driver, LineDriver):
            self._driver.draw_anew()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        if isinstance(screen, ChatScreen):
            yield from screen.get_commands()
        yield SystemCommand(_("Redraw"), _("Where another program wrote over the screen"), self.action_redraw)
        yield SystemCommand(_("Theme"), _("Change the colours"), self.action_change_theme)


def run_app(
    preset: str | None = None, backend: str | None = None, chat: str | None = None, settings: Settings | None = None
) -> int:
    """Open the screen and stay until it is left; return the exit status."""
    settings = settings or Settings()
    app = DeepseekApp(Wish(preset, backend, chat), settings.theme)
    clipboard.choose(settings.clipboard)
    signals.choose(settings.done, title=settings.window_title)
    app.run(mouse=settings.mouse)
    return app.return_code or 0


def _default_theme() -> str:
    """Return the theme that suits the terminal. One that does not tell how light it is is dark, as nearly all are."""
    here = profile.current()
    kind = "ansi" if here.colours in {"16", "none"} else "textual"
    return f"{kind}-{'light' if here.dark is False else 'dark'}"
