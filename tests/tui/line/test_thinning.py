"""Frames sent in few bytes: what is on the terminal then is what the frames would have drawn."""

from __future__ import annotations

from typing import Any

import pyte
from hypothesis import given
from hypothesis import strategies as some
from rich.cells import cell_len

from tui.line import thinning
from tui.line.thinning import SYNC, Thinner

WIDTH, HEIGHT = 40, 6
PLAIN = "38;2;224;224;224;48;2;18;18;18"
RED = "38;2;224;0;0;48;2;18;18;18"
GREY = "38;2;224;224;224;48;2;40;40;40"


class Screens:
    """Two terminals: one gets the frames, the other what is made of them."""

    def __init__(self, *, erases: bool = True) -> None:
        self.whole, self.thin = pyte.Screen(WIDTH, HEIGHT), pyte.Screen(WIDTH, HEIGHT)
        self.thinner = Thinner(erases=erases)
        for screen in (self.whole, self.thin):
            screen.reset_mode(pyte.modes.DECAWM)

    def draw(self, frame: str) -> str:
        thinned = self.thinner.thinned(frame)
        pyte.Stream(self.whole).feed(bare(frame).replace("\n", "\r\n"))
        pyte.Stream(self.thin).feed(bare(thinned).replace("\n", "\r\n"))
        for y, x in cut(self.whole):  # Half a character: each terminal shows something else there.
            self.thin.buffer[y][x] = self.whole.buffer[y][x]
        assert shown(self.thin) == shown(self.whole)
        assert (self.thin.cursor.y, self.thin.cursor.x) == (self.whole.cursor.y, self.whole.cursor.x)
        return thinned


def bare(frame: str) -> str:
    return frame.replace(SYNC[0], "").replace(SYNC[1], "")  # The emulator does not know them.


def shown(screen: Any) -> list[list[tuple[Any, ...]]]:
    """Return what can be seen: of a blank no more than its background."""
    return [
        [
            (" ", cell.bg) if cell.data == " " and not cell.reverse and not cell.underscore else tuple(cell)
            for cell in (screen.buffer[y][x] for x in range(screen.columns))
        ]
        for y in range(screen.lines)
    ]


def cut(screen: Any) -> list[tuple[int, int]]:
    """Return where a character of two cells has lost one."""
    found = []
    for y in range(screen.lines):
        row = [screen.buffer[y][x].data for x in range(screen.columns)]
        for x, data in enumerate(row):
            wide = bool(data) and cell_len(data) == 2
            alone = not data and (x == 0 or cell_len(row[x - 1] or " ") != 2)
            if alone or (wide and (x + 1 == len(row) or row[x + 1])):
                found.append((y, x))
    return found


def piece(text: str, style: str = PLAIN) -> str:
    return f"\x1b[{style}m{text}\x1b[0m"


def at(y: int, x: int, *pieces: str) -> str:
    return f"\x1b[{y + 1};{x + 1}H{''.join(pieces)}"


def frame(*parts: str, cursor: tuple[int, int] = (5, 2)) -> str:
    last = f"\x1b[{HEIGHT};"
    rows = [part if part.startswith(last) else f"{part}\n" for part in parts]  # At the end a newline would scroll.
    return SYNC[0] + "".join(rows) + at(*cursor) + SYNC[1]


def test_what_is_there_already_is_not_sent_again() -> None:
    screens = Screens()
    whole = frame(at(0, 0, piece("The sky is blue".ljust(WIDTH))), at(1, 0, piece("because".ljust(WIDTH))))
    assert screens.draw(whole)
    assert screens.draw(whole) == ""


def test_a_letter_costs_itself_its_colour_and_the_cursor() -> None:
    screens = Screens()
    screens.draw(frame(at(5, 0, piece("> "), piece(" ", GREY), piece(" " * 37))))
    typed = screens.draw(frame(at(5, 0, piece("> h"), piece(" ", GREY), piece(" " * 36)), cursor=(5, 3)))
    assert len(typed) <= len(SYNC[0] + SYNC[1]) + 75
    assert "h" in typed


def test_blank_rows_are_erased_and_not_written_unless_the_terminal_keeps_no_colour_then() -> None:
    blank = frame(*(at(y, 0, piece(" " * WIDTH, GREY)) for y in range(HEIGHT)))
    assert len(Screens().draw(blank)) < len(Screens(erases=False).draw(blank)) / 2


def test_a_row_that_changes_at_both_ends_is_not_written_between_them() -> None:
    screens = Screens()
    screens.draw(frame(at(2, 0, piece("left" + "middle" * 5 + " right"))))
    changed = screens.draw(frame(at(2, 0, piece("LEFT" + "middle" * 5 + " RIGHT"))))
    assert "middle" not in changed
    assert "LEFT" in changed
    assert "RIGHT" in changed


def test_what_has_one_style_in_many_rows_is_sent_with_it_once_where_all_is_shown_at_once() -> None:
    screens = Screens()
    rows = [at(y, 0, piece("│", RED), piece(" text "), piece("│", GREY)) for y in range(HEIGHT)]
    drawn = screens.draw(frame(*rows))
    assert [drawn.count(f"\x1b[{style}") for style in ("38;2;224;0;0", "38;2;224;224;224")] == [1, 1]
    as_it_comes = Screens().draw(bare(frame(*rows)))
    assert as_it_comes.count("38;2;224;0;0") == HEIGHT
    assert len(drawn) < 0.7 * len(as_it_comes)


def test_another_colour_of_the_same_text_is_seen() -> None:
    screens = Screens()
    screens.draw(frame(at(0, 0, piece("warning"))))
    assert "warning" in screens.draw(frame(at(0, 0, piece("warning", RED))))


def test_attributes_do_not_stay_on() -> None:
    screens = Screens()
    screens.draw(frame(at(0, 0, piece("bold", f"1;{PLAIN}"), piece("thin"), piece("under", f"4;{PLAIN}"), piece("  "))))
    screens.draw(frame(at(0, 0, piece("bo", f"1;4;{RED}"), piece("ld", f"3;{PLAIN}"), piece("plain", "39;49"), "none")))


def test_what_ends_bold_ends_dim_too_so_that_is_begun_again() -> None:
    drawn = Screens().draw(frame(at(0, 0, piece("both", f"1;2;{PLAIN}"), piece("dim", f"2;{PLAIN}"), piece("plain"))))
    assert "both\x1b[22;2mdim\x1b[22mplain" in drawn


def test_characters_of_two_cells_are_replaced_whole() -> None:
    screens = Screens()
    screens.draw(frame(at(0, 0, piece("你好 world"))))
    screens.draw(frame(at(0, 0, piece("您好 world"))))
    screens.draw(frame(at(0, 0, piece("a你 orld  "))))


def test_a_row_whose_widths_terminals_do_not_agree_on_goes_out_as_it_came() -> None:
    screens = Screens()
    text = piece("family 👨\u200d👩\u200d👧 at the sea")
    screens.draw(frame(at(0, 0, text)))
    sent = screens.thinner.thinned(frame(at(0, 0, piece("Family 👨\u200d👩\u200d👧 at the sea"))))
    assert "👨\u200d👩\u200d👧 at the sea" in sent
    assert screens.thinner.thinned(frame(at(0, 0, piece("Family 👨\u200d👩\u200d👧 at the sea")))) == ""


def test_after_such_a_row_what_was_not_written_anew_is_not_relied_on() -> None:
    thinner = Thinner()
    thinner.thinned(frame(at(0, 0, piece("❤️ 12345")), at(0, 20, piece("border"))))
    thinner.thinned(frame(at(0, 0, piece("nothing of it"))))
    assert "border" in thinner.thinned(frame(at(0, 20, piece("border"))))


def test_what_is_not_understood_goes_out_as_it_is_and_all_after_it_anew() -> None:
    thinner = Thinner()
    known = frame(at(0, 0, piece("known")))
    thinner.thinned(known)
    strange = frame(at(0, 0, piece("a"), "\x1b]8;;http://x\x1b\\"))
    assert thinner.thinned(strange) == strange
    assert "known" in thinner.thinned(known)


def test_forgotten_all_is_sent_anew() -> None:
    thinner = Thinner()
    whole = frame(at(0, 0, piece("The sky is blue")))
    first = thinner.thinned(whole)
    thinner.forget()
    assert thinner.thinned(whole) == first


def test_the_characters_taken_for_sure_are_as_wide_as_the_program_takes_them() -> None:
    every = [chr(code) for code in range(0x20, 0x10000) if not 0xD800 <= code < 0xE000]
    assert all(cell_len(character) == 1 for character in every if thinning._SURE.fullmatch(character))
    assert all(cell_len(character) == 2 for character in every if thinning._surely_wide().fullmatch(character))


STYLES = some.sampled_from(
    [
        PLAIN,
        RED,
        GREY,
        f"1;{PLAIN}",
        f"2;3;{RED}",
        f"7;{GREY}",
        f"4;{PLAIN}",
        "31",
        "1;92;40",
        "38;5;9;48;5;1",
        "39;49",
        "",
    ]
)
TEXTS = some.text(some.sampled_from("ab cé│▸你好字 "), max_size=14) | some.integers(0, 30).map(" ".__mul__)


@some.composite
def frames(draw: some.DrawFn) -> str:
    rows = []
    for _ in range(draw(some.integers(1, 5))):
        x = draw(some.integers(0, WIDTH - 1))
        pieces, left = [], WIDTH - x
        for text, style in draw(some.lists(some.tuples(TEXTS, STYLES), max_size=4)):
            fitting = text
            while cell_len(fitting) > left:
                fitting = fitting[:-1]
            left -= cell_len(fitting)
            if fitting:
                pieces.append(piece(fitting, style) if style else fitting)
        rows.append((draw(some.integers(0, HEIGHT - 1)), x, "".join(pieces)))
    cursor = draw(some.integers(0, HEIGHT - 1)), draw(some.integers(0, WIDTH - 1))
    return frame(*(at(*row) for row in sorted(rows)), cursor=cursor)


@given(some.lists(frames(), max_size=6), some.booleans())
def test_whatever_is_drawn_the_terminal_shows_it(drawn: list[str], erases: bool) -> None:
    screens = Screens(erases=erases)
    for one in drawn:
        screens.draw(one)
