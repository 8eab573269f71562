"""What the chat screen is made of, from top to bottom."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from tui.widgets.chat_list import ChatList
from tui.widgets.composer import Composer
from tui.widgets.lines import Line
from tui.widgets.sidebar import PresetList
from tui.widgets.transcript import Transcript
from tui.words import _


def widgets() -> ComposeResult:
    """Yield the widgets of the chat screen."""
    yield Line(id="title")
    with Horizontal(id="body"):
        with Vertical(id="sidebar"):
            with Vertical(id="presets-box") as presets:
                presets.border_title = _("Presets")
                yield PresetList(id="presets")
            with Vertical(id="chats-box") as chats:
                chats.border_title = _("Chats")
                yield ChatList(id="chats")
        with Vertical(id="main"):
            yield Transcript(id="transcript")
            yield Line(id="progress")
            with Horizontal(id="composer-box"):
                yield Static("> ", id="prompt")
                yield Composer(id="composer")
    yield Line(id="status")
    yield Line(id="keys")
