"""The colours of code. The highlighter is loaded when the first code comes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from rich.style import Style

from tui.widgets.transcript.inline import Line
from tui.widgets.transcript.palette import Palette


def coloured(code: str, language: str, palette: Palette) -> list[Line] | None:
    """Return the coloured lines of code; None for a language that is not known, or code that would not be the same."""
    lexer = _lexer(language)
    if lexer is None:
        return None
    styles = _styles(palette)
    lines: list[Line] = [[]]
    for kind, text in lexer.get_tokens(code):
        style = styles.get(kind)
        if style is None:
            parent = kind
            while (style := styles.get(parent)) is None:
                parent = parent.parent
            styles[kind] = style
        first, *others = text.split("\n")
        if first:
            lines[-1].append((first, style))
        lines.extend([(other, style)] if other else [] for other in others)
    wanted = code.split("\n")
    del lines[len(wanted) :]
    return lines if ["".join(text for text, _ in line) for line in lines] == wanted else None


@lru_cache(maxsize=32)  # Any word can stand behind a fence.
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
    from pygments.util import ClassNotFound  # type: ignore[import-untyped]

    try:
        return get_lexer_by_name(language, stripnl=False, ensurenl=True)
    except ClassNotFound:
        return None


@lru_cache(maxsize=4)
def _styles(palette: Palette) -> dict[Any, Style]:
    """Return the styles of the kinds of code; those of further kinds are put to them when they come."""
    from pygments.token import (  # type: ignore[import-untyped]
        Comment,
        Keyword,
        Name,
        Number,
        Operator,
        String,
        Token,
    )

    return {
        Token: Style(),
        Comment: palette.comment,
        Keyword: palette.keyword,
        Operator.Word: palette.keyword,
        String: palette.string,
        Number: palette.number,
        Name.Builtin: palette.link + Style(underline=False),
        Name.Decorator: palette.number,
        Name.Tag: palette.keyword,
    }
