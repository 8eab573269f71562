"""The Markdown inside a line: emphasis, code, links, images. The parser is loaded when first needed.

The parser is told to drop nothing: HTML and link definitions are text, an escape of LaTeX keeps its backslash.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from rich.style import Style

from tui.chat.clean import clean
from tui.widgets.transcript import formulas
from tui.widgets.transcript.palette import Palette
from tui.widgets.transcript.wrap import TAB

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

Line = list[tuple[str, Style | None]]
"""One line of styled text."""

_ESCAPABLE: Final = frozenset("*_`~#+-.>|<&$\"'\n")
_ACTIVE: Final = frozenset("*_`~[]<>&!\\$")
_EMPHASIS: Final = {"strong": Style(bold=True), "em": Style(italic=True), "s": Style(strike=True)}


def inline(source: str, palette: Palette, base: Style | None = None, *, math: bool = True) -> list[Line]:
    """Return the styled lines of a paragraph's text, on top of the `base` style; with `math` formulas are shown."""
    if _ACTIVE.isdisjoint(source):
        return [[(line, base)] for line in source.split("\n")]
    tokens = parser(math=math).parseInline(source)
    return styled(tokens[0].children or [], palette, base)


def styled(tokens: list[Token], palette: Palette, base: Style | None = None) -> list[Line]:
    """Return the styled lines of the parser's inline tokens."""
    lines: list[Line] = [[]]
    stack = [base or Style()]
    links: list[tuple[str, int, int]] = []

    def add(text: str, style: Style) -> None:
        # Entities can spell what the source may not contain.
        first, *others = clean(text).replace("\t", TAB).split("\n")
        lines[-1].append((first, style))
        lines.extend([(other, style)] for other in others)

    for token in tokens:
        name, _, side = token.type.rpartition("_")
        match token.type:
            case "softbreak" | "hardbreak":
                lines.append([])
            case "code_inline":
                add(token.content, stack[-1] + palette.code)
            case formulas.KIND if (shown := formulas.of(token)) is not None:
                for text, boxed in shown.flat:
                    add(text, stack[-1] + palette.boxed if boxed else stack[-1])
            case "image":
                add(f"[image: {token.content}]", stack[-1])
                add(f"({token.attrGet('src')})", stack[-1] + palette.mark)
            case "link_open":
                links.append((str(token.attrGet("href") or ""), len(lines), len(lines[-1])))
                stack.append(stack[-1] + palette.link)
            case "link_close":
                stack.pop()
                target, row, column = links.pop()
                if _text_since(lines, row, column) not in {target, target.removeprefix("mailto:")}:
                    add(f" ({target})", stack[-1] + palette.mark)
            case _ if side == "open":
                stack.append(stack[-1] + _EMPHASIS.get(name, Style()))
            case _ if side == "close":
                stack.pop()
            case _:
                add(token.content, stack[-1])
    return lines


@cache
def parser(*, math: bool) -> MarkdownIt:
    """Return the parser: CommonMark with tables, strikethrough and `math`, without HTML and link definitions."""
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline.escape import escape

    def escape_markup(state: StateInline, silent: bool) -> bool:
        follows = state.src[state.pos + 1 : state.pos + 2]
        return follows in _ESCAPABLE and escape(state, silent)

    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}).enable(["strikethrough", "table"])
    markdown.disable("reference")
    markdown.inline.ruler.at("escape", escape_markup)
    if math:
        markdown.inline.ruler.before("escape", formulas.KIND, formulas.rule)
    return markdown


def _text_since(lines: list[Line], row: int, column: int) -> str:
    first, *others = lines[row - 1 :]
    return "\n".join("".join(text for text, _ in line) for line in [first[column:], *others])
