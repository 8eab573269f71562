"""One formula: LaTeX to Unicode, in one line or over several. The parser is loaded when the first one is met.

The library parses and knows the signs; nothing is executed, and no file is read, whatever the formula says.
"""

from __future__ import annotations

import logging
import re
from functools import cache, lru_cache
from typing import Any, Final

import msgspec
from rich.cells import cell_len

from tui.chat.clean import clean_line
from tui.widgets.transcript.latex import LONGEST, grids
from tui.widgets.transcript.latex.pieces import BOX_BEGINS, BOX_ENDS, composed, joined
from tui.widgets.transcript.latex.render import Renderer, Unknown, is_break

_DEEPEST: Final = 12
_MOST_MACROS: Final = 400

Span = tuple[str, bool]
"""Some text, and whether it is boxed."""


class Formula(msgspec.Struct, frozen=True):
    """A formula in one line and, where it has several, as `lines` of equal width."""

    flat: tuple[Span, ...]
    lines: tuple[tuple[Span, ...], ...] = ()

    @property
    def width(self) -> int:
        """How many cells the lines need."""
        return max((sum(cell_len(text) for text, _ in line) for line in self.lines), default=0)


@lru_cache(maxsize=256)
def formula(source: str) -> Formula | None:
    """Return what a formula, without its delimiters, is shown as; None where its source has to be shown."""
    if len(source) > LONGEST or not source.strip() or not _harmless(source):
        return None
    walker, renderer = _tools()
    try:
        parser = walker(source)
        nodes = parser.get_latex_nodes(parsing_state=parser.make_parsing_state(in_math_mode=True))[0]
        pieces = renderer.aligned(nodes) if any(map(is_break, nodes)) else renderer.pieces(nodes)
        flat = joined(pieces)
        lines = composed(pieces).lines if any(piece.grid is not None for piece in pieces) else ()
    except (_parse_error(), Unknown, RecursionError, IndexError, AttributeError, TypeError, ValueError):
        return None
    spans = _spans(clean_line(flat))
    if not spans:
        return None
    return Formula(spans, tuple(_spans(clean_line(line)) for line in lines))


def _harmless(source: str) -> bool:
    """Say whether a formula is one that can be rendered at once: a hostile one nests without end."""
    if BOX_BEGINS in source or BOX_ENDS in source or source.count("\\") > _MOST_MACROS:
        return False
    depth = deepest = 0
    for character in source:
        depth += (character == "{") - (character == "}")
        deepest = max(deepest, depth)
    return deepest <= _DEEPEST and source.count("\\begin") <= _DEEPEST


def _spans(line: str) -> tuple[Span, ...]:
    spans: list[Span] = []
    depth = 0
    for part in re.split(f"([{BOX_BEGINS}{BOX_ENDS}])", line):
        if part in {BOX_BEGINS, BOX_ENDS}:
            depth += 1 if part == BOX_BEGINS else -1
        elif part:
            spans.append((part, depth > 0))
    return tuple(spans)


@cache
def _parse_error() -> type[Exception]:
    from pylatexenc.latexwalker import LatexWalkerError  # type: ignore[import-untyped]

    error: type[Exception] = LatexWalkerError
    return error


@cache
def _tools() -> tuple[Any, Renderer]:
    from pylatexenc.latex2text import get_default_latex_context_db as signs  # type: ignore[import-untyped]
    from pylatexenc.latexwalker import LatexWalker, get_default_latex_context_db
    from pylatexenc.macrospec import std_environment, std_macro  # type: ignore[import-untyped]

    # What it warns of would be written onto the screen.
    logging.getLogger("pylatexenc").disabled = True
    for name in ("latexwalker", "latex2text", "macrospec"):
        logging.getLogger(f"pylatexenc.{name}").disabled = True
    context = get_default_latex_context_db()
    more = {
        "{": "boxed mathring pmod boldsymbol bm pmb mathnormal mathop mathbin mathrel mathord smash substack phantom",
        "{{": "dfrac tfrac cfrac sfrac binom dbinom tbinom stackrel overset underset",
        "*{": "operatorname tag",
        "[{": "framebox",
    }
    macros = [std_macro(name, arguments) for arguments, names in more.items() for name in names.split()]
    macros += [std_macro(name, "{") for name in ("fbox", "mathscr", "cancel")]
    names = grids.ALIGNED | grids.CASES | grids.MATRICES - {"array", "tabular"} | grids.WHOLE
    arguments = {"alignat": "{", "alignat*": "{"}
    environments = [std_environment(name, arguments.get(name), is_math_mode=True) for name in sorted(names)]
    context.add_context_category("here", macros=macros, environments=environments, prepend=True)

    def walker(source: str) -> Any:
        return LatexWalker(source, latex_context=context, tolerant_parsing=False)

    return walker, Renderer(signs())
