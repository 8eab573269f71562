"""What is drawn, in as few bytes as it takes: only the cells that are not on the terminal already.

Textual sends whole stretches of rows, most of which are there already, and the whole style before each piece. Here a
picture of the terminal is kept, and a frame becomes what differs from it. What is in a frame that is not understood
goes out as it is, and the picture is forgotten: the next frames are sent whole then.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import repeat, zip_longest
from typing import Final, NamedTuple

from rich.cells import cell_len

SYNC: Final = ("\x1b[?2026h", "\x1b[?2026l")
_TOKEN = re.compile(r"\x1b\[([0-9;]*)m|\x1b\[(\d+);(\d+)H|(\n)|([^\x00-\x1f\x7f-\x9f]+)|(.)", re.DOTALL)
_SURE = re.compile(
    "[ -~\xa1-\xac\xae-\u02ff\u0391-\u03ff\u0400-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e"
    "\u2070-\u209c\u20a0-\u20bf\u2100-\u214f\u2190-\u21ff\u2200-\u22ff\u2500-\u25fc\u2713-\u2717\u276f\u27e8\u27e9]*"
)
"""Characters that take one cell wherever the screen can be drawn at all."""
_SURELY_WIDE: Final = "[\u3001-\u3029\u3041-\u3096\u30a1-\u30fe\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff60]"
_VISIBLE_ON_BLANKS: Final = {"4", "7", "9", "21", "53"}
_OFF: Final = {"1": "22", "2": "22", "3": "23", "4": "24", "7": "27", "9": "29"}
"""What ends an attribute alone."""
_ERASED_FROM: Final = 12
"""So many blank cells are worth the sequence that erases them."""
_BRIDGED: Final = 5
"""So many cells that have not changed cost less than to move over them."""
_SORTED_FROM: Final = 8
"""In another order fewer runs hardly cost less."""

Cell = tuple[str, str] | None
"""A character and its style; "" after a character of two cells; None is not known."""


class Stretch(NamedTuple):
    """Cells that follow each other, as they came: where they begin and how they are written."""

    x: int
    raw: str
    cells: list[tuple[str, str]]
    sure: bool


class Picture(NamedTuple):
    """What a terminal shows: its rows, those of uncertain widths, and its cursor, None if it may be anywhere."""

    rows: dict[int, list[Cell]]
    odd: set[int]
    cursor: tuple[int, int] | None


class Thinner:
    """The picture of one terminal. `erases` says that what it erases gets the colour that is set then."""

    def __init__(self, *, erases: bool = True) -> None:
        self._erases = erases
        self._rows: dict[int, list[Cell]] = {}
        self._odd: set[int] = set()  # Rows with characters whose width terminals do not agree on.
        self._cursor: tuple[int, int] | None = None

    def forget(self) -> None:
        """Take it that anything may be on the terminal."""
        self._rows.clear()
        self._odd.clear()
        self._cursor = None

    def picture(self) -> Picture:
        """Return what is kept of the terminal, for `restore`."""
        return Picture(self._rows.copy(), self._odd.copy(), self._cursor)

    def restore(self, picture: Picture) -> None:
        """Take back what was thinned since, and has not been written."""
        self._rows, self._odd, self._cursor = picture

    def thinned(self, frame: str) -> str:
        """Return what has to be written so that the terminal shows `frame`, "" if it does already."""
        body = frame.removeprefix(SYNC[0]).removesuffix(SYNC[1])
        read = _read(body)
        if read is None:
            self.forget()
            return frame
        stretches, end = read
        pen = _Pen(self._cursor, erases=self._erases)
        for y in sorted(stretches):
            self._row(y, stretches[y], pen)
        start, stop = (SYNC[0] if frame.startswith(SYNC[0]) else ""), (SYNC[1] if frame.endswith(SYNC[1]) else "")
        written = pen.finish(end, at_once=bool(start))
        self._cursor = pen.at
        return f"{start}{written}{stop}" if written else ""

    def _row(self, y: int, stretches: list[Stretch], pen: _Pen) -> None:
        old = self._rows.get(y, [])
        new = old.copy()
        for stretch in stretches:
            _lay(new, stretch)
        self._rows[y] = new
        if old == new:
            return
        if y in self._odd or not all(stretch.sure for stretch in stretches):
            # Where a cell is in such a row only the terminal knows: all of it goes out as it came.
            for stretch in stretches:
                pen.raw(y, stretch)
            if all(cell is None or _is_sure(cell[0]) for cell in new):
                self._odd.discard(y)
                self._rows[y] = new = []
                for stretch in stretches:
                    _lay(new, stretch)
            else:
                self._odd.add(y)
            return
        pairs = enumerate(zip_longest(old, new))
        pen.runs(y, new, [x for x, (was, now) in pairs if was != now and now is not None])


class Run(NamedTuple):
    """Text in one style, or `cells` blanks to erase where there is none. What goes out as it came has no style."""

    y: int
    x: int
    style: str | None
    text: str
    cells: int


class _Pen:
    """Gathers what is to be written, and writes it. `at` is where the terminal's cursor is."""

    def __init__(self, at: tuple[int, int] | None, *, erases: bool) -> None:
        self.at = at
        self._erases = erases
        self._runs: list[Run] = []

    def runs(self, y: int, row: list[Cell], changed: list[int]) -> None:
        """Write the changed cells of a row, and those between two of them that cost less than a move."""
        at = 0
        while at < len(changed):
            first = last = changed[at]
            while at + 1 < len(changed) and _bridge(row, last, changed[at + 1]):
                at += 1
                last = changed[at]
            at += 1
            while _is_rest(row, first):
                first -= 1
            while _is_rest(row, last + 1):
                last += 1
            self._run(y, first, [cell for cell in row[first : last + 1] if cell is not None])

    def raw(self, y: int, stretch: Stretch) -> None:
        """Write cells as they came."""
        self._runs.append(Run(y, stretch.x, None, stretch.raw, 0))

    def finish(self, end: tuple[int, int] | None, *, at_once: bool) -> str:
        """Return what is gathered, in as few bytes as it takes; it leaves no style behind, and the cursor at `end`.

        `at_once` says that the terminal shows all of it at once: then it need not come row by row.
        """
        written, self.at = _written(self._runs, begin := self.at, end)
        if at_once and len(self._runs) >= _SORTED_FROM:
            by_style, at = _written(_by_style(self._runs), begin, end)
            if len(by_style) < len(written):
                written, self.at = by_style, at
        return written

    def _run(self, y: int, x: int, cells: list[tuple[str, str]]) -> None:
        at = 0
        while at < len(cells):
            style = cells[at][1]
            end = at + 1
            while end < len(cells) and cells[end][1] == style:
                end += 1
            blank = self._erases and end - at >= _ERASED_FROM and style.startswith(" ")
            text = "" if blank else "".join(character for character, _ in cells[at:end])
            self._runs.append(Run(y, x + at, style, text, end - at))
            at = end


def _written(
    runs: Iterable[Run], at: tuple[int, int] | None, end: tuple[int, int] | None
) -> tuple[str, tuple[int, int] | None]:
    """Return what writes runs in this order, and where the cursor is then."""
    out: list[str] = []
    style = ""
    for run in runs:
        here = (run.y, run.x)
        if run.style is None and style:
            out.append("\x1b[0m")
            style = ""
        if at != here:
            out.append(_move(at, here))
        if run.style is None:
            out.append(run.text)
            at = None
            continue
        change, style = _change(style, run.style)
        out.append(change)
        out.append(run.text or f"\x1b[{run.cells}X")
        at = (run.y, run.x + run.cells) if run.text else here
    if style:
        out.append("\x1b[0m")
    if end is not None and at != end:
        out.append(_move(at, end))
        at = end
    return "".join(out), at


def _move(at: tuple[int, int] | None, to: tuple[int, int]) -> str:
    return f"\x1b[{to[1] + 1}G" if at is not None and at[0] == to[0] else f"\x1b[{to[0] + 1};{to[1] + 1}H"


def _by_style(runs: Iterable[Run]) -> list[Run]:
    """Return runs by background, and by style on each. What goes out as it came is first."""
    order: dict[str, int] = {}

    def place(run: Run) -> tuple[int, int]:
        if run.style is None:
            return -1, -1
        background = _parts(run.style)[2]
        return order.setdefault(f"on {background}", len(order)), order.setdefault(run.style, len(order))

    return sorted(runs, key=place)


def _read(frame: str) -> tuple[dict[int, list[Stretch]], tuple[int, int] | None] | None:
    """Return what a frame writes, by row, and where it leaves the cursor; None if that cannot be told."""
    found: dict[int, list[Stretch]] = {}
    y, x, style = -1, 0, ""
    here: Stretch | None = None
    raw: list[str] = []
    at: tuple[int, int] | None = None

    def close() -> None:
        if here is not None and here.cells:
            end = "\x1b[0m" if style else ""
            found.setdefault(y, []).append(here._replace(raw="".join([*raw, end])))

    for token in _TOKEN.finditer(frame):
        match token.lastindex:
            case 1 if not style or token[1] in {"", "0"}:
                style = token[1] if token[1] != "0" else ""
                raw.append(token[0])
            case 3:
                close()
                y, x, here = int(token[2]) - 1, int(token[3]) - 1, None
                raw, at = [f"\x1b[{style}m"] if style else [], (y, x)
            case 4:
                close()
                y, x, here, at = y + 1, 0, None, None
                raw = [f"\x1b[{style}m"] if style else []
            case 5 if y >= 0:
                text = token[5]
                cells, sure = _cells(text, style)
                here = here or Stretch(x, "", [], True)
                here.cells.extend(cells)
                here = here if sure else here._replace(sure=False)
                raw.append(text)
                at = None
            case _:
                return None
    close()
    return found, at


def _cells(text: str, style: str) -> tuple[list[tuple[str, str]], bool]:
    """Return the cells of a text, and whether every terminal takes as many for it."""
    blank = _blank(style)
    if _SURE.fullmatch(text):
        return [(character, blank if character == " " else style) for character in text], True
    cells: list[tuple[str, str]] = []
    sure = True
    for character in text:
        wide = _surely_wide().match(character) is not None
        width = 2 if wide else cell_len(character)
        sure = sure and (wide or _SURE.fullmatch(character) is not None)
        if width:
            cells.append((character, blank if character == " " else style))
            cells.extend(repeat(("", style), width - 1))
        elif cells:
            cells[-1] = (cells[-1][0] + character, style)
    return cells, sure


def _lay(row: list[Cell], stretch: Stretch) -> None:
    """Write cells into a row. Of a character of two cells that loses one, the other is not known any more."""
    start, end = stretch.x, stretch.x + len(stretch.cells)
    row.extend(repeat(None, end - len(row)))
    if _is_rest(row, start):
        row[start - 1] = None
    if _is_rest(row, end):
        row[end] = None
    row[start:end] = stretch.cells


def _is_rest(row: list[Cell], x: int) -> bool:
    """Say whether a cell is the second one of a character."""
    return 0 < x < len(row) and (cell := row[x]) is not None and cell[0] == ""


def _is_sure(character: str) -> bool:
    return _SURE.fullmatch(character) is not None or _surely_wide().fullmatch(character) is not None


@cache
def _surely_wide() -> re.Pattern[str]:
    # Large sets of characters take long to compile.
    return re.compile(_SURELY_WIDE)


def _bridge(row: list[Cell], last: int, following: int) -> bool:
    """Say whether to write on from one changed cell to the next."""
    between = row[last + 1 : following]
    if not between:
        return True
    written = row[last]
    return (
        written is not None
        and len(between) <= _BRIDGED
        and all(cell is not None and not _change(written[1], cell[1])[0] for cell in between)
    )


@lru_cache(4096)
def _parts(style: str) -> tuple[tuple[str, ...], str, str]:
    """Return the attributes, the colour and the background of a style, "" where it has none."""
    flags: list[str] = []
    colours = {"3": "", "4": ""}
    codes = iter(style.strip().split(";"))
    for code in codes:
        if code in {"38", "48"}:
            kind = next(codes, "")
            rest = [next(codes, "") for _ in range(3 if kind == "2" else 1)]
            colours[code[0]] = ";".join([code, kind, *rest])
        elif len(code) >= 2 and (tens := code[:-1]) in {"3", "4", "9", "10"}:
            colours["3" if tens in {"3", "9"} else "4"] = "" if code in {"39", "49"} else code
        elif code:
            flags.append(code)
    return tuple(flags), colours["3"], colours["4"]


@lru_cache(4096)
def _blank(style: str) -> str:
    """Return the style of a blank, which shows no more than a background: after a space, "48;5;1"."""
    flags, _, background = _parts(style)
    return style if _VISIBLE_ON_BLANKS & set(flags) else f" {background}"


@lru_cache(4096)
def _change(old: str, new: str) -> tuple[str, str]:
    """Return what turns one style into another, and which style there is then: for a blank the old may do."""
    if old == new:
        return "", old
    (flags, colour, background), (wanted, to_colour, to_background) = _parts(old), _parts(new)
    if new.startswith(" "):
        if background == to_background and not _VISIBLE_ON_BLANKS & set(flags):
            return "", old
        if not flags:
            to_colour = colour
    full = [*wanted, *([to_colour] if to_colour else []), *([to_background] if to_background else [])]
    off = list(dict.fromkeys(_OFF.get(flag, "0") for flag in flags if flag not in wanted))
    if "0" in off:
        written = f"\x1b[{';'.join(['0', *full])}m"
    else:
        # What ends one of bold and dim ends both.
        some = [*off, *(flag for flag in wanted if flag not in flags or _OFF.get(flag) in off)]
        some += [to_colour or "39"] if to_colour != colour else []
        some += [to_background or "49"] if to_background != background else []
        written = f"\x1b[{';'.join(some)}m" if some else ""
    if not full:
        written = "\x1b[0m"
    return written, ";".join(full)
