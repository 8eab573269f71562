"""The styles of the transcript, resolved from its component classes, so that every theme colours it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from rich.style import Style


class Palette(msgspec.Struct, frozen=True):
    """One Rich style, without background, for each component class `transcript--NAME`."""

    user: Style
    assistant: Style
    when: Style
    thought: Style
    notice: Style
    info: Style
    warning: Style
    error: Style
    heading: Style
    code: Style
    link: Style
    mark: Style
    keyword: Style
    string: Style
    comment: Style
    number: Style
    stand: Style
    found: Style
    boxed: Style


NAMES = Palette.__struct_fields__
COMPONENT_CLASSES = {f"transcript--{name}" for name in NAMES}


def resolve(style_of: Callable[[str], Style]) -> Palette:
    """Build the palette; `style_of` gives the style of a component class."""
    return Palette(**{name: _foreground(style_of(f"transcript--{name}")) for name in NAMES})


def _foreground(style: Style) -> Style:
    return Style(
        color=style.color,
        bold=style.bold,
        dim=style.dim,
        italic=style.italic,
        underline=style.underline,
        strike=style.strike,
    )
