"""Terminals that do not take UTF-8 get what they can show, in as many cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.line.charset import AS_ASCII, UTF8, encoding


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, UTF8),
        ({"LC_ALL": "C"}, UTF8),
        ({"LANG": "en_US.UTF-8"}, UTF8),
        ({"LC_ALL": "", "LANG": "de_DE.ISO-8859-1"}, "iso8859-1"),
        ({"LC_CTYPE": "zh_CN.GBK", "LANG": "en_US.UTF-8"}, "gbk"),
        ({"LC_ALL": "de_DE.ISO-8859-15@euro"}, "iso8859-15"),
        ({"LANG": "xx.nonsense"}, UTF8),
        ({"LANG": "xx.utf-16"}, UTF8),
        ({"LANG": "xx.zip"}, UTF8),
        ({"LANG": "xx.\0"}, UTF8),
        ({"LANG": "ja_JP.ISO-2022-JP"}, UTF8),
    ],
)
def test_the_locale_names_the_encoding(environment: dict[str, str], named: str) -> None:
    assert encoding(environment) == named


def test_what_an_encoding_lacks_is_drawn_with_ascii() -> None:
    assert "╭─ ▌é ✓ 24 → 中 x₁ e\u0301".encode("iso8859-1", AS_ASCII) == "+- |é v 24 > ?? x1 e".encode("latin-1")
    assert "─中".encode("gbk", AS_ASCII).decode("gbk") == "─中"


@given(st.text(max_size=60))
def test_it_needs_as_many_cells_and_never_fails(text: str) -> None:
    drawn = text.encode("ascii", AS_ASCII).decode()
    for character in text:
        if character.isprintable() and not character.isascii():
            one = character.encode("ascii", AS_ASCII).decode()
            assert cell_len(one) == cell_len(character)
    assert text.isascii() is False or drawn == text
