"""Hostile text is shown, never obeyed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.chat.clean import clean, clean_line

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b]52;c;cm0=\x07", "␛[31mred␛]52;c;cm0=␇"),
        ("a\x00b\x7fc", "a␀b␡c"),
        ("one\r\ntwo\rthree\n", "one\ntwo␍three\n"),
        ("\x85\x9b31m", "⟨U+0085⟩⟨U+009B⟩31m"),
        ("abc\u202etxt.exe", "abc⟨U+202E⟩txt.exe"),
        ("\u2066\u2069\u200e\u200f\u061c", "⟨U+2066⟩⟨U+2069⟩⟨U+200E⟩⟨U+200F⟩⟨U+061C⟩"),
        ("a\u2028b\u2029c", "a\nb\nc"),
        ("\ud800", "\ufffd"),
    ],
)
def test_each_kind_of_hostile_character_becomes_a_visible_sign(hostile: str, shown: str) -> None:
    assert clean(hostile) == shown


def test_joiners_selectors_tabs_and_newlines_stay() -> None:
    text = "👩‍💻 ❤️ می‌خواهم\tx\ny"
    assert clean(text) is text


@given(ANY_TEXT)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    assert not OBEYED.search(clean(text))


@given(ANY_TEXT)
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)


@given(ANY_TEXT)
def test_harmless_text_comes_back_as_the_same_object(text: str) -> None:
    if not OBEYED.search(text):
        assert clean(text) is text


@given(ANY_TEXT)
def test_a_line_is_one_line(text: str) -> None:
    line = clean_line(text)
    assert len(line.splitlines()) <= 1
    assert "\t" not in line
    assert not OBEYED.search(line)


def test_a_harmless_line_comes_back_as_the_same_object() -> None:
    line = "Why is decode memory-bound?"
    assert clean_line(line) is line
