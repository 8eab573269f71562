"""Where formulas are in a text: between the delimiters of LaTeX, as models write them, and never in code.

A dollar is money unless it is plainly more: `$5 and $6` are no formula.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tui.widgets.transcript.latex import LONGEST

if TYPE_CHECKING:
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

    from tui.widgets.transcript.latex.formula import Formula

KIND: Final = "formula"
_PAIRS: Final = {"$$": "$$", "\\(": "\\)", "\\[": "\\]"}
_ENVIRONMENTS: Final = (
    r"(?:equation|align|aligned|gather|gathered|multline|split|cases|[pbvBV]?matrix|array|eqnarray|alignat|flalign)\*?"
)
_DISPLAY: Final = rf" {{0,3}}(?P<begin>\$\$|\\\[|\\begin{{(?P<name>{_ENVIRONMENTS})}})(?P<rest>.*)$"
_OPENINGS: Final = ("$$", "\\[", "\\begin{")
_BOXED: Final = "\\boxed{"
_LONGEST_BARE: Final = 200
# Words, or an amount before words, are no formula: "$20 per month and 3 cents$".
_WORDS: Final = r"[\d.,]+ ?(?: [A-Za-z]{2}|[\u3040-\u9fff\uac00-\ud7a3])|[A-Za-z]{4,}$|(?=[^\\^_=<>+*/|{}()-]*$)[^ ]* "
_ONLY_WORDS: Final = r"\s*[A-Za-z]{2,}(?:[\s,.]+[A-Za-z]{2,})*\s*$"
_MACRO: Final = re.compile(r"\\[A-Za-z]{2}")
_CLOSING: Final = re.compile(r"(?<!\\)(?:\\\\)*\$")
_NO_BEGIN: Final = frozenset("@#?!%&;,")
"""What a dollar of a shell stands before, and no formula begins with."""


def opened(line: str) -> str | None:
    """Return what ends the displayed formula that begins with this line; None where none does.

    One that ends within the line does so at its end, or it is part of a sentence.
    """
    found = _display(line)
    if found is None:
        return None
    end = f"\\end{{{found['name']}}}" if found["name"] else _PAIRS[found["begin"]]
    closing = found["rest"].find(end)
    return end if closing < 0 or len(found["rest"][closing + len(end) :].strip(" ")) <= 1 else None


def closes(line: str, end: str, *, first: bool) -> bool:
    """Say whether a line ends the displayed formula; the `first` line begins with its delimiter."""
    found = _display(line) if first else None
    return end in (found["rest"] if found is not None else line)


def displayed(lines: tuple[str, ...]) -> Formula | None:
    """Return the displayed formula of a block's lines; None where their source has to be shown."""
    source = "\n".join(line.strip(" ") for line in lines)
    found = _display(lines[0])
    if found is None or len(source) > LONGEST:
        return None
    begin, end = found["begin"], f"\\end{{{found['name']}}}" if found["name"] else _PAIRS[found["begin"]]
    body, closing, after = source[len(begin) :].rpartition(end)
    if not closing or len(after) > 1:
        return None
    shown = _shown(begin + body + closing if found["name"] else body)
    if shown is None or not after:
        return shown
    from tui.widgets.transcript.latex.formula import Formula

    flat, lines_ = (*shown.flat, (after, False)), shown.lines
    return Formula(flat, (*lines_[:-1], (*lines_[-1], (after, False))) if lines_ else ())


def find(source: str, start: int, end: int) -> tuple[int, str] | None:
    """Return where the formula ends that begins at `start`, and what is in it; None where none begins."""
    two = source[start : start + 2]
    if two in _PAIRS:
        closing = source.find(_PAIRS[two], start + 2, min(end, start + 2 + LONGEST))
        inside = source[start + 2 : max(closing, start + 2)]
        if not inside or "`" in inside or (two == "$$" and re.match(_ONLY_WORDS, inside)):
            return None
        return closing + 2, inside
    if two[:1] == "$":
        return _between_dollars(source, start, end)
    return _bare_box(source, start, end)


def rule(state: StateInline, silent: bool) -> bool:
    """Make a token of the formula at the parser's place; text of its source, if that is surely one but not shown."""
    found = find(state.src, state.pos, state.posMax) if state.src[state.pos] in "$\\" else None
    if found is None:
        return False
    known = _shown(found[1]) is not None
    if not known and not _MACRO.search(found[1]):
        return False
    if not silent and known:
        state.push(KIND, "", 0).content = found[1]
    elif not silent:
        state.pending += state.src[state.pos : found[0]]
    state.pos = found[0]
    return True


def of(token: Token) -> Formula | None:
    """Return the formula of a token."""
    return _shown(token.content)


def _display(line: str) -> re.Match[str] | None:
    """Take apart the line that begins a displayed formula."""
    return re.match(_DISPLAY, line) if line.lstrip(" ").startswith(_OPENINGS) else None


def _shown(source: str) -> Formula | None:
    from tui.widgets.transcript.latex.formula import formula

    return formula(source)


def _between_dollars(source: str, start: int, end: int) -> tuple[int, str] | None:
    found = _CLOSING.search(source, start + 1, min(end, start + 1 + LONGEST))
    inside = source[start + 1 : found.end() - 1] if found is not None else ""
    if found is None or not inside or inside[0].isspace() or inside[-1].isspace() or "`" in inside:
        return None
    # Letters of other scripts have no spaces around a formula; after a dollar they are no variable either.
    before, after = source[start - 1 : start], source[found.end() : found.end() + 2]
    if _is_word(before) or _is_word(after[:1]) or (after[:1] == "_" and _is_word(after[1:])) or after[:1] in {"$", "{"}:
        return None
    if inside[0] in _NO_BEGIN or (inside[0] == after[:1] == "(") or re.match(_WORDS, inside):
        return None
    return found.end(), inside


def _is_word(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _bare_box(source: str, start: int, end: int) -> tuple[int, str] | None:
    """Return a box that stands in the text without delimiters."""
    if not source.startswith(_BOXED, start):
        return None
    depth = 0
    for at in range(start + len(_BOXED) - 1, min(end, start + _LONGEST_BARE)):
        depth += (source[at] == "{") - (source[at] == "}")
        if depth == 0:
            return at + 1, source[start : at + 1]
    return None
