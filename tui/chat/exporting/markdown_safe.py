"""Texts of any origin as parts of one Markdown document that they cannot break out of.

A message stays the Markdown that it is. What would reach beyond it, an open fence or a tag of HTML, is closed or made
visible; and whether that has worked is seen by parsing the result, not hoped for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&]|^[+\-=](?=\s|$)|^\d+[.)](?=\s|$))")
_MAY_BREAK_OUT = re.compile(r"```|~~~|<[A-Za-z/!?]")
_TAG = re.compile(r"(?<!\\)<(?=[A-Za-z/!?])(?![A-Za-z][A-Za-z0-9+.\-]{1,31}:[^\s<>]*>)")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(?:.*?[^`])??\1(?!`)", re.DOTALL)
_PROBE = "Nothing holds this back"


def escaped(line: str) -> str:
    """Return one line of plain text so that Markdown shows it as it is."""
    return _SPECIAL.sub(lambda match: _backslashed(match[1]), line)


def contained(text: str) -> str:
    """Return a message, made harmless before, as Markdown that ends where it ends, without HTML."""
    text = text.strip("\n")
    if not _MAY_BREAK_OUT.search(text):
        return text
    for change in (str, _closed, _without_tags, lambda it: _closed(_without_tags(it))):
        changed = change(text)
        if _stays_inside(changed):
            return changed
    return _fenced(text)


def _backslashed(found: str) -> str:
    # Of the number of a list it is the point behind it that makes one.
    return found[:-1] + "\\" + found[-1]


def _stays_inside(text: str) -> bool:
    """Whether a text has no HTML in it, and a heading below it is one on the document's own level."""
    tokens = _parser().parse(f"{text}\n\n# {_PROBE}\n")
    if any(token.type == "html_block" for token in tokens):
        return False
    if any(child.type == "html_inline" for token in tokens for child in token.children or ()):
        return False
    last = tokens[-3:]
    return [token.type for token in last] == ["heading_open", "inline", "heading_close"] and last[0].level == 0


def _closed(text: str) -> str:
    """Return a text whose last fence, if it was left open, is closed."""
    fences = [token for token in _parser().parse(text) if token.type == "fence" and token.level == 0]
    return f"{text}\n{fences[-1].markup}" if fences else text


def _without_tags(text: str) -> str:
    """Return a text whose HTML is shown instead of obeyed; code stays as it is."""
    lines = text.split("\n")
    tokens = _parser().parse(text)
    code = {line for token in tokens if token.type in {"fence", "code_block"} for line in _lines(token)}
    # Neighbouring lines of one kind together: a span of code may go over several.
    parts: list[tuple[bool, list[str]]] = []
    for number, line in enumerate(lines):
        if not parts or parts[-1][0] != (number in code):
            parts.append((number in code, []))
        parts[-1][1].append(line)
    return "\n".join("\n".join(own) if is_code else _shown("\n".join(own)) for is_code, own in parts)


def _lines(token: Token) -> Sequence[int]:
    return range(*token.map) if token.map else ()


def _shown(text: str) -> str:
    kept, place = [], 0
    for span in _CODE_SPAN.finditer(text):
        kept += [_TAG.sub(r"\\<", text[place : span.start()]), span[0]]
        place = span.end()
    return "".join([*kept, _TAG.sub(r"\\<", text[place:])])


def _fenced(text: str) -> str:
    """Return a text as a block of code, which nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


@functools.cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark")
