"""Textual's lists, scrollers and lines of text, with the keys of the table instead of their own."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Input, OptionList

from tui.keys.bindings import bindings


class Scroll(VerticalScroll, inherit_bindings=False):
    """What scrolls up and down, also by keys."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("scroll")


class Options(OptionList, inherit_bindings=False):
    """Lines to choose from. What chooses is the key of the screen."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("lists")


class TextLine(Input, inherit_bindings=False):
    """One line of text. The keys that move in it and change it are those of every such line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(each for each in Input.BINDINGS if isinstance(each, Binding) and each.action != "submit"),
        *bindings("line"),
    ]
