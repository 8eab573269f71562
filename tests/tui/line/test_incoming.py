"""What comes from a terminal is told apart: keys at once, pasted text whole, and nothing sent by a pasted newline."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.line.incoming import (
    BURST_CHARACTERS,
    PASTE_CHARACTERS,
    STRING_BYTES,
    Afresh,
    Answered,
    Incoming,
    Pasted,
    Piece,
    Typed,
)

HOLD_S, ESCAPE_S = 0.03, 0.1
PASTE, END = "\x1b[200~", "\x1b[201~"

characters = st.characters(exclude_categories=["Cc", "Cs"])
lines = st.lists(st.text(characters, max_size=60), min_size=1, max_size=8)
newlines = st.sampled_from(["\r", "\n", "\r\n"])


def come(*reads: str | tuple[float, str], wait_s: float = 2.0) -> list[Piece]:
    """Return what is made of reads; a number before one is the time since the one before, else 1 ms."""
    incoming, now, pieces = Incoming(HOLD_S, ESCAPE_S), 0.0, []
    for read in reads:
        gap, text = read if isinstance(read, tuple) else (0.001, read)
        until = now + gap
        while (wait := incoming.wait_s(now)) is not None and now + wait <= until:
            now += wait + 1e-6
            pieces += incoming.tick(now)
        now = until
        pieces += incoming.tick(now)
        pieces += incoming.feed(text, now)
    pieces += incoming.tick(now + wait_s)
    assert incoming.wait_s(now + wait_s) is None
    return pieces


def text_of(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Typed | Pasted))


def split(text: str, places: Iterable[int]) -> list[str]:
    at = sorted({0, len(text), *(place for place in places if place <= len(text))})
    return [text[begin:end] for begin, end in pairwise(at)]


@pytest.mark.parametrize("key", ["a", "\r", "\n", "\t", "\x11", "\x1b", "\x1b[A", "\x1bOP", "\x1b]", "é", "你"])
def test_a_key_is_given_at_once(key: str) -> None:
    incoming = Incoming(HOLD_S, ESCAPE_S)
    assert list(incoming.feed(key, 1.0)) == [Typed(key)]
    assert incoming.wait_s(1.0) is None


def test_a_fast_typists_word_and_enter_in_one_read_send() -> None:
    assert come("hi\r") == [Typed("hi\r")]
    assert come("hello there, you\r") == [Typed("hello there, you\r")]
    assert come("\r\r") == [Typed("\r\r")]


def test_a_key_held_down_on_a_slow_line_stays_a_key() -> None:
    assert come("j" * 100) == [Typed("j" * 100)]
    assert come("\x1b[A" * 100) == [Typed("\x1b[A")] * 100


def test_a_long_line_without_brackets_is_one_paste_and_enter_after_it_is_a_key() -> None:
    line = "0123456789" * 10
    assert come(line) == [Pasted(line)]
    assert come(f"{line}\r") == [Pasted(line), Typed("\r")]


def test_lines_without_brackets_send_nothing_not_even_by_the_last_newline() -> None:
    assert come("one\rtwo\r") == [Pasted("one\ntwo\n")]
    assert come("a\rb") == [Pasted("a\nb")]
    assert come("one line of many\r", (HOLD_S / 2, "and another\r")) == [Pasted("one line of many\nand another\n")]
    # A pause in the middle of it makes two of it.
    later = come("one\rtwo three\r", (0.5, "four five six\r"))
    assert later == [Pasted("one\ntwo three\n"), Pasted("four five six\n")]
    # Who has read it first, and then types, sends.
    assert come("one\rtwo three\r", (0.5, "ok\r")) == [Pasted("one\ntwo three\n"), Typed("ok\r")]


@given(lines, newlines, st.lists(st.integers(9, 40)), st.booleans())
def test_lines_without_brackets_split_at_any_places_arrive_whole_and_send_nothing(
    written: list[str], newline: str, lengths: list[int], ending: bool
) -> None:
    text = newline.join(written) + newline * ending
    at, places = 0, []
    for length in lengths:
        at += length
        places.append(at)
    reads = split(text, places)
    if len(reads) > 1 and len(reads[-1]) <= BURST_CHARACTERS:
        reads[-2:] = [reads[-2] + reads[-1]]
    pieces = come(*reads)
    normal = "\n".join(written) + "\n" * ending
    assert text_of(pieces).replace("\r\n", "\n").replace("\r", "\n") == normal
    if "\n" in normal.rstrip("\n"):
        assert all("\r" not in piece.text and "\n" not in piece.text for piece in pieces if isinstance(piece, Typed))


@given(lines, newlines, st.lists(st.integers(0, 500)), st.text("ab\r", max_size=5))
def test_a_paste_in_brackets_split_at_any_places_is_one_paste(
    written: list[str], newline: str, places: list[int], before: str
) -> None:
    pieces = come(*split(before + PASTE + newline.join(written) + END + "x", places))
    assert [piece for piece in pieces if isinstance(piece, Pasted)][-1] == Pasted("\n".join(written))
    assert text_of(pieces).endswith("x")
    typed = "".join(piece.text for piece in pieces if isinstance(piece, Typed))
    # Of its brackets a beginning may have been given as keys, and was taken back then.
    assert typed.endswith("x")
    if not any(isinstance(piece, Afresh) for piece in pieces) and "\r" not in before:
        assert typed == f"{before}x"


def test_a_paste_without_an_end_is_given_after_a_second_and_what_is_typed_then_is_typed() -> None:
    assert come(f"{PASTE}one\rtwo\x1b[20", (1.5, "x")) == [Pasted("one\ntwo[20"), Typed("x")]


def test_a_paste_that_is_too_long_is_cut_and_says_so() -> None:
    text = "x" * 600_000
    assert come(PASTE + text, text + END) == [Pasted("x" * PASTE_CHARACTERS, cut=True)]
    assert come(PASTE + text + END) == [Pasted(text)]
    burst = come("one\r" + text, text + "y")
    assert [(len(piece.text), piece.cut) for piece in burst if isinstance(piece, Pasted)] == [(PASTE_CHARACTERS, True)]


def test_what_steers_a_terminal_is_not_in_pasted_text() -> None:
    assert come(f"{PASTE}a\x1b[31mb\x00\x9bc\td{END}") == [Pasted("a[31mbc\td")]


@pytest.mark.parametrize(
    "answer",
    [
        "\x1b]11;rgb:0000/0000/0000\x1b\\",
        "\x1b]11;rgb:0000/0000/0000\x07",
        "\x1bP>|xterm(390)\x1b\\",
        "\x1b_Gi=1;OK\x1b\\",
        "\x1b[?62;22c",
        "\x1b[>41;390;0c",
        "\x1b[?1u",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_answers_that_nobody_here_asked_for_are_passed_over(answer: str, size: int) -> None:
    pieces = come(*(answer[at : at + size] for at in range(0, len(answer), size)), "x")
    begun = [at for at, piece in enumerate(pieces) if isinstance(piece, Afresh)]
    assert "".join(piece.text for piece in pieces[max(begun, default=-1) + 1 :] if isinstance(piece, Typed)) == "x"


def test_a_string_without_an_end_does_not_swallow_the_keys_after_it() -> None:
    assert come("\x1b]0;title", (1.5, "x")) == [Typed("x")]
    assert come("\x1b]0;title", "\x1b[A") == [Typed("\x1b[A")]
    assert text_of(come("\x1b]0;" + "x" * STRING_BYTES, "y" * STRING_BYTES, "z")).endswith("z")


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_an_answer_of_the_terminal_is_seen_between_keys(size: int) -> None:
    sent = "a\x1b[0nb"
    pieces = come(*(sent[at : at + size] for at in range(0, len(sent), size)))
    assert [piece for piece in pieces if isinstance(piece, Answered)] == [Answered()]
    assert pieces[-1] == Typed("b")


def test_a_mode_report_goes_to_who_asked_for_it() -> None:
    assert come("\x1b[?2026;2$y") == [Typed("\x1b[?2026;2$y")]


@given(st.lists(st.text("ab\r\n\t\x00\x1b\x07\x18[]P_GM?0123;~nu<$y\\", max_size=12)))
def test_whatever_comes_it_is_taken_and_ends(reads: list[str]) -> None:
    assert come(*reads, (2.0, "x"))[-1] == Typed("x")
