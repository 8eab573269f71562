"""The nodes of a formula as pieces of Unicode. What is not known is not guessed: `Unknown`, and the source is shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Sequence
from typing import Any, Final

from tui.widgets.transcript.latex import grids, symbols
from tui.widgets.transcript.latex.pieces import BOX_BEGINS, BOX_ENDS, Piece, bracketed, joined, over

_ROOTS: Final = {"": "√", "2": "√", "3": "∛", "4": "∜"}
_PRIMES: Final = {"'": "′", "''": "″"}
_OPERATORS: Final = ("+", "-", "=", "<", ">", "|", "/", "*")
_SCRIPTS: Final = ("^", "_")
_SPECIALS: Final = {"~": " ", "--": "--", "---": "---", "``": "“", "!`": "!‘", "?`": "?‘"}


class Unknown(Exception):
    """Something in a formula cannot be shown so that it means the same."""


class Renderer:
    """Renders nodes of the library's parser; `symbols` gives the signs that it knows by their names."""

    def __init__(self, signs: Any) -> None:
        self._signs = signs

    def pieces(self, nodes: Sequence[Any]) -> list[Piece]:
        """Return the pieces of some nodes. Raises Unknown."""
        atoms = _spaced(nodes)
        out: list[Piece] = []
        at = 0
        while at < len(atoms):
            atom = atoms[at]
            at += 1
            if _one_of(atom, _SCRIPTS):
                at = _past_spaces(atoms, at)
                if at == len(atoms):
                    raise Unknown(atom)
                text = self._line([atoms[at]], compact=True)
                at += 1
                _attach(out, _script(text, up=atom == "^", alone=not _goes_on(atoms[at : at + 1])))
            elif _one_of(atom, _PRIMES):
                _attach(out, _PRIMES[atom])
            elif isinstance(atom, str):
                out.append(_character(atom))
            elif _is_group(atom):
                inner = self.pieces(atom.nodelist)
                scripted = len(inner) > 1 and any(_one_of(after, _SCRIPTS) for after in atoms[at : at + 1])
                out += [Piece(bracketed(joined(inner)))] if scripted else inner
            elif getattr(atom, "macroname", "") == "not":
                out.append(_negated(self._argument(atom, 0)))
            elif getattr(atom, "macroname", "") in symbols.DELIMITERS:
                at = _past_spaces(atoms, at)
                at += at < len(atoms) and _one_of(atoms[at], ".")
            else:
                out += self._node(atom)
        return grids.fenced(out)

    def _line(self, nodes: Sequence[Any], *, compact: bool = False) -> str:
        return joined(self.pieces(nodes), compact=compact)

    def _argument(self, node: Any, number: int, *, compact: bool = False) -> str:
        arguments = node.nodeargd.argnlist if node.nodeargd is not None and node.nodeargd.argnlist else []
        if number >= len(arguments) or arguments[number] is None:
            raise Unknown(node)
        return self._line([arguments[number]], compact=compact)

    def _optional(self, node: Any, number: int) -> str:
        argument = node.nodeargd.argnlist[number] if node.nodeargd is not None and node.nodeargd.argnlist else None
        return self._line(argument.nodelist, compact=True) if argument is not None else ""

    def _node(self, node: Any) -> list[Piece]:
        match type(node).__name__:
            case "LatexMacroNode":
                return self._macro(node)
            case "LatexEnvironmentNode":
                return self._environment(node)
            case "LatexMathNode":
                return self.pieces(node.nodelist)
            case _:
                raise Unknown(node)  # A comment among them: after a bare % nothing would be shown.

    def _macro(self, node: Any) -> list[Piece]:
        name = node.macroname
        if name in symbols.FRACTIONS:
            above, below = self._argument(node, 0), self._argument(node, 1)
            if not above or not below:
                raise Unknown(node)
            words = self.pieces([node.nodeargd.argnlist[1]])
            return [Piece(over(above, below, below_is_text=all(one.kind == "text" for one in words)), "fraction")]
        if name == "sqrt":
            return [self._root(node)]
        if name in symbols.BINOMIALS:
            return [Piece(f"C({self._argument(node, 0)}, {self._argument(node, 1)})")]
        if name in symbols.BOXES:
            return [Piece(f"{BOX_BEGINS}{self._argument(node, 0)}{BOX_ENDS}")]
        if name in symbols.TEXTS:
            return [Piece(self._words(node.nodeargd.argnlist[0]), "text")]
        if name == "operatorname":
            return [Piece(self._argument(node, 1), "function")]
        if name in symbols.PLAIN:
            text = self._argument(node, 0)
            return [Piece(text, "function" if text in symbols.FUNCTIONS else "operand")]
        if name == "mathbb":
            return [Piece(symbols.double_struck(self._argument(node, 0)))]
        if name in symbols.ACCENTS:
            return [Piece(_accented(name, self._argument(node, 0)))]
        return self._further(node, name)

    def _further(self, node: Any, name: str) -> list[Piece]:
        match name:
            case "overset" | "stackrel":
                return [Piece(self._argument(node, 1) + _script(self._argument(node, 0), up=True), "between")]
            case "underset":
                return [Piece(self._argument(node, 1) + _script(self._argument(node, 0, compact=True)), "function")]
            case "xrightarrow" | "xleftarrow":
                text = self._argument(node, 1)
                return [Piece(f"─{text}→" if name == "xrightarrow" else f"←{text}─", "between")]
            case "pmod":
                return [Piece(f" (mod {self._argument(node, 0)})", "text")]
            case "bmod" | "mod":
                return [Piece("mod", "between")]
            case "textcolor" | "color":
                return self.pieces([node.nodeargd.argnlist[2]]) if name == "textcolor" else []
            case "overbrace" | "underbrace":
                return [Piece(bracketed(self._argument(node, 0)))]
            case "substack":
                return [Piece(", ".join(" ".join(row) for row in self._rows([node.nodeargd.argnlist[0]])))]
            case "tag":
                return [Piece(f"  ({self._argument(node, 1)})", "text")]
            case "label" | "phantom" | "hphantom" | "vphantom" | "hspace" | "vspace":
                return []
            case "cancel":
                return [Piece("".join(f"{character}\u0338" for character in self._argument(node, 0)))]
        if name in symbols.IGNORED:
            return []
        if name in symbols.SPACES or name in symbols.SPACES_OF:
            return [Piece(symbols.SPACES.get(name, " "), "space")]
        return [self._sign(name)]

    def _sign(self, name: str) -> Piece:
        known = getattr(self._signs.get_macro_spec(name), "simplify_repl", None)
        sign = symbols.own(name) or (known if isinstance(known, str) else "")
        if name in symbols.BARS:
            return Piece(*symbols.BARS[name])
        if name in symbols.FUNCTIONS:
            return Piece(sign or name, "big" if name in symbols.WITH_LIMITS else "function")
        if not sign or "%" in sign[:-1] or len(sign) > 4 or not sign.isprintable():
            raise Unknown(name)
        if sign in symbols.BIG:
            return Piece(sign, "big")
        return Piece(sign, "between") if symbols.stands_between(sign) else _character(sign)

    def _root(self, node: Any) -> Piece:
        degree, inside = self._optional(node, 0), self._argument(node, 1)
        if not inside:
            raise Unknown(node)
        sign = _ROOTS.get(degree) or f"{_script(degree, up=True)}√"
        return Piece(f"{sign}{bracketed(inside)}")

    def _words(self, group: Any) -> str:
        """Return text inside a formula, with its spaces; a formula may be in it again."""
        parts = []
        for node in group.nodelist if _is_group(group) else [group]:
            match type(node).__name__:
                case "LatexCharsNode":
                    parts.append(" ".join(node.chars.split("\n")))
                case "LatexGroupNode":
                    parts.append(self._words(node))
                case "LatexSpecialsNode":
                    parts.append({"''": "”"}.get(node.specials_chars) or _special(node))
                case "LatexMacroNode" if node.macroname in symbols.TEXTS:
                    parts.append(self._words(node.nodeargd.argnlist[0]))
                case _:
                    parts.append(self._line([node]) + getattr(node, "macro_post_space", ""))
        return "".join(parts)

    def _environment(self, node: Any) -> list[Piece]:
        name = node.environmentname
        if name in grids.WHOLE:
            return self.pieces(node.nodelist)
        rows = self._rows(node.nodelist)
        if not rows:
            raise Unknown(node)
        if name in grids.MATRICES:
            return [grids.matrix(rows, name, self._spec(node))]
        if name in grids.CASES:
            return [grids.cases(rows, name)]
        if name in grids.ALIGNED:
            return [grids.aligned(rows)]
        raise Unknown(node)

    def _spec(self, node: Any) -> str:
        """Return how the columns of an array are to be flush: l, c and r."""
        if node.environmentname not in {"array", "tabular"}:
            return ""
        chars = "".join(getattr(each, "chars", "") for each in node.nodeargd.argnlist[-1].nodelist)
        return "".join(character for character in chars if character in "lcr")

    def aligned(self, nodes: Sequence[Any]) -> list[Piece]:
        """Return what has line breaks outside of any environment."""
        return [grids.aligned(self._rows(nodes))]

    def _rows(self, nodes: Sequence[Any]) -> list[list[str]]:
        """Return the cells between & and line breaks, row by row; empty rows are left out."""
        if len(nodes) == 1 and _is_group(nodes[0]):
            nodes = nodes[0].nodelist
        rows: list[list[list[Any]]] = [[[]]]
        for node in nodes:
            if is_break(node):
                rows.append([[]])
            elif getattr(node, "specials_chars", "") == "&":
                rows[-1].append([])
            else:
                rows[-1][-1].append(node)
        found = [[self._line(cell) for cell in row] for row in rows]
        return [row for row in found if any(row)]


def is_break(node: Any) -> bool:
    """Say whether a node ends a line."""
    return getattr(node, "macroname", "") in ("\\", "newline", "cr")


def _atoms(node: Any) -> list[Any]:
    """Return the characters of a node, a run of spaces as one, or the node itself where it is more."""
    if isinstance(node, str):
        return [node]
    match type(node).__name__:
        case "LatexCharsNode":
            words = node.chars.split()
            if not words:
                return [" "]
            inner = [character for word in words for character in (" ", *word)][1:]
            return [*([" "] * node.chars[0].isspace()), *inner, *([" "] * node.chars[-1].isspace())]
        case "LatexSpecialsNode":
            return ["''" if node.specials_chars == "''" else _special(node)]
        case _:
            return [node]


def _spaced(nodes: Sequence[Any]) -> list[Any]:
    """Return the atoms of nodes; a space that LaTeX takes for the end of a name stays before an operator."""
    out: list[Any] = []
    for node, after in zip(nodes, [*nodes[1:], None], strict=False):
        out += _atoms(node)
        if getattr(node, "macro_post_space", "") and getattr(after, "chars", "")[:1] in _OPERATORS:
            out.append(" ")
    return out


def _one_of(atom: Any, characters: Container[str]) -> bool:
    return isinstance(atom, str) and atom in characters


def _past_spaces(atoms: Sequence[Any], at: int) -> int:
    while at < len(atoms) and _one_of(atoms[at], (" ",)):
        at += 1
    return at


def _special(node: Any) -> str:
    if node.specials_chars not in _SPECIALS:
        raise Unknown(node)
    return _SPECIALS[node.specials_chars]


def _is_group(node: Any) -> bool:
    return type(node).__name__ == "LatexGroupNode"


def _character(character: str) -> Piece:
    category = unicodedata.category(character[0])
    if character.isspace():
        return Piece(character, "space")
    if category in {"Ps", "Pe"}:
        return Piece(character, "open" if category == "Ps" else "close")
    return Piece(character, "operand" if character[0].isalnum() or character in "∂∇∞√" else "sign")


def _goes_on(after: Sequence[Any]) -> bool:
    """Say whether something follows that would be read as part of an exponent."""
    return bool(after) and (not isinstance(after[0], str) or after[0].isalnum())


def _script(text: str, *, up: bool = False, alone: bool = True) -> str:
    """Return an exponent or an index: in its own characters, or after its sign."""
    if not text:
        return ""
    moved = symbols.raised(text) if up else symbols.lowered(text)
    if moved is not None:
        return moved
    return f"{'^' if up else '_'}{text if len(text) == 1 and (alone or not text.isalnum()) else f'({text})'}"


def _attach(out: list[Piece], script: str) -> None:
    """Put an exponent, an index or a prime on what is before it."""
    while out and out[-1].kind == "space":
        out.pop()
    if not out:
        out.append(Piece(script))
        return
    base = out.pop()
    text = f"({base.text})" if base.kind == "fraction" else base.text
    kind = "operand" if base.kind in {"fraction", "text", "sign"} else base.kind
    grid = base.grid
    if grid is not None:
        first, *others = grid.lines
        grid = grid._replace(lines=(first + script, *others))
    out.append(Piece(text + script, kind, grid))


def _negated(sign: str) -> Piece:
    if len(sign) != 1:
        raise Unknown(sign)
    return Piece(unicodedata.normalize("NFC", f"{sign}\u0338"), "between")


def _accented(name: str, text: str) -> str:
    if len(text) == 1 or (name in symbols.LINES and text.isprintable() and " " not in text):
        return unicodedata.normalize("NFC", "".join(character + symbols.ACCENTS[name] for character in text))
    return f"{name}({text})" if text else ""
