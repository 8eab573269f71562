"""The chat screen: it shows a session and hands keys to it."""

from tui.screens.chat.screen import ChatScreen

__all__ = ["ChatScreen"]
