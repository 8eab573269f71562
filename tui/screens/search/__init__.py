"""Search in everything that was said and thought, with results while one types."""

from tui.screens.search.screen import SearchScreen

__all__ = ["SearchScreen"]
