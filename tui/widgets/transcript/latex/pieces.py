"""Pieces of a formula put into one line: where spaces and brackets have to be so that it means the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, Literal, NamedTuple

from rich.cells import cell_len

BOX_BEGINS: Final = "\ue000"
BOX_ENDS: Final = "\ue001"
"""What is boxed stands between these two; they are never shown."""

Kind = Literal["operand", "open", "close", "between", "function", "big", "fraction", "text", "sign", "space"]


class Grid(NamedTuple):
    """A part of a formula that is several lines high: its lines are equally wide, `middle` is at the others' height."""

    lines: tuple[str, ...]
    middle: int


class Piece(NamedTuple):
    """`text` is what is shown in one line, `grid` what is shown where there are several."""

    text: str
    kind: Kind = "operand"
    grid: Grid | None = None


_OPERAND: Final = r"(?:[^\W_]|[.,′″°%∞∂√∛∜!⁺⁻⁼⁽⁾₊₋₌₍₎\u0300-\u036f\u20d7]|[\^_]\([^()]*\))"
_SIMPLE_ABOVE: Final = re.compile(rf"[-+±]?(?:{_OPERAND}|(?<=[^\W\d_])\([^()]*\)|(?<=√)\([^()]*\))+")
_SIMPLE_BELOW: Final = re.compile(
    r"\d[\d.,]*|√?(?:\d+|[d∂]?\w)[⁰¹²³⁴-⁾₀-ₜᴬ-ᵪᶜ-ᶿⱼⱽ′″°!\u0300-\u036f\u20d7]*(?:[\^_]\([^()]*\))*(?:\([^()]*\))?|√\([^()]*\)"
)
_NUMERIC: Final = re.compile(r"[\d.,]+(?:/[\d.,]+)?")


def joined(pieces: Sequence[Piece], *, compact: bool = False) -> str:
    """Return the pieces as one line; `compact` leaves out the spaces around what stands between, as in exponents."""
    shown = [piece for piece in pieces if piece.kind != "space"] if compact else list(pieces)
    line = ""
    before: Piece | None = None
    for at, piece in enumerate(shown):
        if piece.kind == "space":
            line += piece.text if before is not None and before.kind != "open" and not line.endswith(" ") else ""
            continue
        if piece.kind == "close":
            line = line.rstrip(" ")
        text = piece.text
        if piece.kind == "fraction":
            after = next((other for other in islice(shown, at + 1, None) if other.kind != "space"), None)
            text = _fraction_among(before, piece, after, line)
        if _apart(before, piece, text, compact=compact) and line and not line.endswith(" "):
            line += " "
        line += text.lstrip(" ") if line.endswith(" ") else text
        before = piece
    return line.strip(" ")


def over(above: str, below: str, *, below_is_text: bool = False) -> str:
    """Return a fraction in one line, in which each side is bracketed where its meaning needs it."""
    top = above if _SIMPLE_ABOVE.fullmatch(above) or enclosed(above) else f"({above})"
    simple = _SIMPLE_BELOW.fullmatch(below) or enclosed(below) or (below_is_text and " " not in below)
    return f"{top}/{below if simple else f'({below})'}"


def bracketed(text: str) -> str:
    """Return the text as one thing."""
    return text if len(text) == 1 or _NUMERIC.fullmatch(text) or enclosed(text) else f"({text})"


def enclosed(text: str) -> bool:
    """Say whether one pair of brackets is around it all."""
    if text[:1] + text[-1:] not in {"()", "[]", "||"} or len(text) < 2:
        return False
    depth = 0
    for at, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0 and text[0] != "|" and at < len(text) - 1:
            return False
    return text[0] != "|" or "|" not in text[1:-1]


def composed(pieces: Sequence[Piece]) -> Grid:
    """Return the pieces beside each other, over as many lines as the highest of them needs."""
    parts: list[Grid] = []
    run: list[Piece] = []
    for piece in [*pieces, Piece("", grid=Grid(("",), 0))]:
        if piece.grid is None:
            run.append(piece)
            continue
        if text := joined(run):
            space_before = " " if parts and text[0] not in ",.;" else ""
            parts.append(Grid((f"{space_before}{text}{' ' if piece.text else ''}",), 0))
        run = []
        if piece.text:
            parts.append(piece.grid)
    return beside(parts)


def beside(parts: Iterable[Grid]) -> Grid:
    """Return grids beside each other."""
    grids = list(parts)
    above = max((grid.middle for grid in grids), default=0)
    below = max((len(grid.lines) - grid.middle for grid in grids), default=1)
    lines = [""] * (above + below)
    for grid in grids:
        width = max(map(cell_len, grid.lines))
        top = above - grid.middle
        for at in range(above + below):
            part = grid.lines[at - top] if 0 <= at - top < len(grid.lines) else ""
            lines[at] += part + " " * (width - cell_len(part))
    return Grid(tuple(lines), above)


def _fraction_among(before: Piece | None, piece: Piece, after: Piece | None, line: str) -> str:
    """Return a fraction, in brackets if it would run into its neighbours."""
    number_before = before is not None and before.text.isdecimal() and _NUMERIC.fullmatch(piece.text)
    runs_in = before is not None and before.kind in {"operand", "close", "function", "fraction"} and not number_before
    runs_on = after is not None and (
        after.kind in {"operand", "open", "function", "big", "fraction"}
        or (after.kind == "text" and not after.text.startswith(" "))
    )
    if runs_in or runs_on:
        return f"({piece.text})"
    return f" {piece.text}" if number_before and not line.endswith(" ") else piece.text


def _apart(before: Piece | None, piece: Piece, text: str, *, compact: bool) -> bool:
    """Say whether a space has to be between two pieces."""
    if before is None:
        return False
    if piece.kind == "between" or before.kind == "between":
        return not compact
    if before.kind == "function":
        return text[:1] not in "([|^_" and piece.kind in {"operand", "function", "big", "fraction"}
    if piece.kind in {"function", "big"}:
        return before.kind in {"operand", "close", "fraction", "big"}
    return before.kind == "big" and not compact
