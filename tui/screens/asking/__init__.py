"""What a chat asks of its model, above it: a system prompt and sampling, checked while they are typed."""

from tui.screens.asking.screen import AskingScreen

__all__ = ["AskingScreen"]
