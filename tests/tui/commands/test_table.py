"""Tables fit the terminal, whatever stands in them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.events import Text
from backends.host.wire import Record
from tui.chat.answer import Answer
from tui.chat.clean import clean
from tui.commands.printing import TextPrinter
from tui.commands.table import cells, fitted, seconds, table
from tui.units import memory


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("größe", 5), ("日本", 4), ("e\u0301", 1), ("a\u200bb", 2), ("😀", 2)]
)
def test_columns_are_counted_as_terminals_show_them(text: str, columns: int) -> None:
    assert cells(text) == columns


@given(st.text(max_size=30), st.integers(1, 20))
def test_cut_text_is_never_wider_than_its_column(text: str, columns: int) -> None:
    assert cells(fitted(text, columns)) <= max(columns, 0)


@given(st.lists(st.tuples(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40)), max_size=5))
def test_every_line_fits_and_steers_nothing(rows: list[tuple[str, str, str]]) -> None:
    lines = list(table(("A", "B", "C"), rows, 40))
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert cells(line) <= 40
        assert clean(line) == line
        assert "\n" not in line


def test_spare_columns_go_before_the_others_are_cut() -> None:
    rows = [("name", "x" * 30, "y" * 30)]
    assert list(table(("A", "B", "C"), rows, 50, spare=(2, 1)))[1] == f"name  {'x' * 30}  {'y' * 11}…"
    assert list(table(("A", "B", "C"), rows, 40, spare=(2, 1)))[1] == f"name  {'x' * 30}"
    assert list(table(("A", "B", "C"), rows, 20, spare=(2, 1)))[1] == f"name  {'x' * 13}…"
    assert list(table(("A", "B", "C"), rows, 10, spare=(2, 1))) == ["A", "name"]


def test_without_a_terminal_nothing_is_cut() -> None:
    assert list(table(("A", "B"), [("x" * 200, "y")])) == ["A" + " " * 201 + "B", "x" * 200 + "  y"]


def test_amounts_are_read_at_a_glance() -> None:
    assert [memory(None), memory(5_600_000_000), memory(98_362_432)] == ["–", "5.6 GB", "98 MB"]
    assert [seconds(None), seconds(4.2), seconds(300), seconds(86_400)] == ["–", "4 s", "5 min", "24 h"]


@given(st.text(alphabet="a\r\n\x1b\u202e日", max_size=30), st.lists(st.integers(0, 30), max_size=6))
def test_text_in_pieces_prints_as_the_whole(text: str, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    answer, printer, said = Answer(), TextPrinter(), b""
    for seq, (begin, end) in enumerate(itertools.pairwise(places)):
        answer.take(Record("", seq, 0.0, Text(text[begin:end])))
        said += printer.answer(answer)
    said += printer.end(answer, None, None)
    whole = clean(text.lstrip("\r\n"))
    assert said.decode() == (whole if whole.endswith("\n") or not whole else whole + "\n")
