"""The Textual application: one chat screen, its theme, and its end."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tui.line import profile

profile.apply(profile.current(), os.environ)

from rich.console import RenderableType  # noqa: E402
from textual.app import App, SystemCommand  # noqa: E402 - Textual reads its settings at import
from textual.screen import Screen  # noqa: E402

from tui.hang_up import HangUp  # noqa: E402
from tui.line.driver import LineDriver  # noqa: E402
from tui.line.incoming import PASTE_CHARACTERS  # noqa: E402
from tui.screens.chat import ChatScreen  # noqa: E402
from tui.screens.chat.start import Wish  # noqa: E402
from tui.settings import Settings  # noqa: E402
from tui.words import _  # noqa: E402


class DeepseekApp(App[None], inherit_bindings=False):
    """The screen of `deepseek-tui`."""

    TITLE = "deepseek-tui"
    ENABLE_COMMAND_PALETTE = True

    def __init__(self, wish: Wish | None = None, theme: str = "") -> None:
        # NO_COLOR is no colour at all: Textual's own reading of it, greys, is black on black in 16 colours.
        super().__init__(driver_class=LineDriver, ansi_color=True if "NO_COLOR" in os.environ else None)
        self._wish = wish or Wish()
        self.theme = theme if theme in self.available_themes else _default_theme()

    def on_load(self) -> None:
        # Before the terminal is taken over: from then on it must be given back, whoever ends us.
        self._hang_up = HangUp(screen=True, restore=self._restore)
        self._hang_up.leave_when_told(self.exit)

    def on_mount(self) -> None:
        self.push_screen(ChatScreen(self._wish))
        if isinstance(self._driver, LineDriver):
            self._driver.watch(self.refresh, self._hang_up.gone, self._paste_cut)

    def on_unmount(self) -> None:
        self._hang_up.close()

    def _paste_cut(self) -> None:
        size = f"{PASTE_CHARACTERS:,}"
        words = _("The paste was too long: its first {size} characters are here").format(size=size)
        self.notify(words, severity="warning", markup=False)

    def _restore(self) -> None:
        if isinstance(self._driver, LineDriver):
            self._driver.restore()

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        if isinstance(self._driver, LineDriver):
            with self._driver.frame():
                super()._display(screen, renderable)
        else:
            super()._display(screen, renderable)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        if isinstance(screen, ChatScreen):
            yield from screen.get_commands()
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)


def run_app(
    preset: str | None = None, backend: str | None = None, chat: str | None = None, settings: Settings | None = None
) -> int:
    """Open the screen and stay until it is left; return the exit status."""
    settings = settings or Settings()
    app = DeepseekApp(Wish(preset, backend, chat), settings.theme)
    app.run(mouse=settings.mouse)
    return app.return_code or 0


def _default_theme() -> str:
    return "ansi-dark" if profile.current().colours in {"16", "none"} else "textual-dark"
