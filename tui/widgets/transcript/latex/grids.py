"""Matrices, cases and aligned equations: rows of cells, over several lines and in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len

from tui.widgets.transcript.latex.pieces import Grid, Piece

# Top, middle, bottom and only line of the brackets at both sides.
_SIDES: Final = {
    "(": ("⎛⎜⎝(", "⎞⎟⎠)"),
    "[": ("⎡⎢⎣[", "⎤⎥⎦]"),
    "{": ("⎧⎨⎩{", "⎫⎬⎭}"),
    "|": ("││││", "││││"),
    "‖": ("║║║‖", "║║║‖"),
}
_BRACKETS: Final = {"pmatrix": "(", "bmatrix": "[", "Bmatrix": "{", "vmatrix": "|", "Vmatrix": "‖"}
_ENDS: Final = {"(": ")", "[": "]", "{": "}", "|": "|", "‖": "‖"}
MATRICES: Final = frozenset(("matrix", "smallmatrix", "array", "tabular", *_BRACKETS))
ALIGNED: Final = frozenset(
    name + star
    for name in ("align", "aligned", "alignat", "gather", "gathered", "split", "eqnarray", "multline", "flalign")
    for star in ("", "*")
)
CASES: Final = frozenset(("cases", "dcases", "rcases"))
WHOLE: Final = frozenset(("equation", "equation*", "displaymath", "math"))


def matrix(rows: Sequence[Sequence[str]], name: str, spec: str = "") -> Piece:
    """Return a matrix of the environment `name`, with its brackets; `spec` says how columns are flush, as lcr."""
    widths = _widths(rows)
    lines = [
        "  ".join(
            _flush(cell, width, spec[at : at + 1]) for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).ljust(sum(widths) + 2 * (len(widths) - 1))
        for row in rows
    ]
    bracket = _BRACKETS.get(name, "")
    flat = "; ".join(" ".join(cell or "·" for cell in row) for row in rows)
    shown = f"{bracket or '['}{flat}{_ENDS[bracket or '[']}"
    return Piece(shown, "operand", _bracketed(_even(lines), bracket, right=True))


def fenced(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces with the brackets beside a grid made as high as it is."""
    out: list[Piece] = []
    opened: str | None = None
    for piece in pieces:
        before = next((other for other in reversed(out) if other.kind != "space"), None)
        if piece.grid is not None and before is not None and before.grid is None and before.text in _SIDES:
            while out.pop() is not before:
                pass
            opened = before.text
            inner = piece.text[1:-1] if piece.text[:1] == "[" else piece.text
            out.append(Piece(opened + inner, "operand", _bracketed(piece.grid.lines, opened, right=False)))
        elif opened is not None and piece.kind != "space":
            if before is not None and before.grid is not None and piece.text == _ENDS[opened]:
                while out.pop() is not before:
                    pass
                grid = _bracketed(before.grid.lines, opened, right=True, left=False)
                out.append(Piece(before.text + piece.text, "operand", grid))
            else:
                out.append(piece)
            opened = None
        else:
            out.append(piece)
    return out


def cases(rows: Sequence[Sequence[str]], name: str) -> Piece:
    """Return the cases of a definition after their brace."""
    lines = _even(_columns(rows, right_first=False))
    grid = _bracketed(lines, "{", right=False) if name != "rcases" else _bracketed(lines, "{", right=True, left=False)
    flat = "; ".join(" ".join(cell for cell in row if cell) for row in rows)
    return Piece(f"{{{flat}}}", "operand", grid)


def aligned(rows: Sequence[Sequence[str]]) -> Piece:
    """Return equations below each other, each column flush with that of the others."""
    lines = _even(_columns(rows, right_first=any(len(row) > 1 for row in rows)))
    flat = "; ".join(" ".join(cell for cell in row if cell) for row in rows)
    return Piece(flat, "operand", Grid(tuple(lines), len(lines) // 2))


def _columns(rows: Sequence[Sequence[str]], *, right_first: bool) -> list[str]:
    """Return the rows as lines; of two columns the first is flush right, the second flush left, and so on."""
    widths = _widths(rows)
    lines = []
    for row in rows:
        line = ""
        for at, (cell, width) in enumerate(zip(row, widths, strict=False)):
            fill = " " * (width - cell_len(cell))
            right = right_first and at % 2 == 0
            between = "" if at == 0 or not width else "  " if right or not right_first else " "
            line += between + (fill + cell if right else cell + fill)
        lines.append(line)
    return lines


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    columns = max(map(len, rows))
    return [max((cell_len(row[at]) for row in rows if at < len(row)), default=0) for at in range(columns)]


def _even(lines: Sequence[str]) -> list[str]:
    width = max(map(cell_len, lines))
    return [line + " " * (width - cell_len(line)) for line in lines]


def _flush(text: str, width: int, side: str) -> str:
    room = width - cell_len(text)
    if side in {"l", "r"}:
        return text + " " * room if side == "l" else " " * room + text
    return " " * (room // 2) + text + " " * (room - room // 2)


def _bracketed(lines: Sequence[str], bracket: str, *, right: bool, left: bool = True) -> Grid:
    if bracket:
        starts, ends = _SIDES[bracket]
        last = len(lines) - 1
        # A brace has its point in the middle, and needs a third line for it.
        if bracket == "{" and last == 1:
            lines = [lines[0], " " * cell_len(lines[0]), lines[1]]
            last = 2
        signs = [3 if last == 0 else 0 if at == 0 else 2 if at == last else 1 for at in range(last + 1)]
        if bracket == "{" and last > 2:
            starts, ends = "⎧⎪⎩{⎨", "⎫⎪⎭}⎬"
            signs[len(lines) // 2] = 4
        lines = [
            f"{starts[sign] + ' ' if left and last else starts[sign] if left else ''}{line}"
            f"{' ' + ends[sign] if right and last else ends[sign] if right else ''}"
            for sign, line in zip(signs, lines, strict=True)
        ]
    return Grid(tuple(lines), len(lines) // 2)
