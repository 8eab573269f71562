"""A preset's main settings, above the chat: changed, checked and planned while they are typed."""

from tui.screens.preset.naming import NameScreen
from tui.screens.preset.screen import PresetScreen

__all__ = ["NameScreen", "PresetScreen"]
