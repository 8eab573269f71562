"""Fetching a model: the question before it, and how far it is in few words."""

from tui.screens.fetch.screen import Answer, FetchScreen

__all__ = ["Answer", "FetchScreen"]
