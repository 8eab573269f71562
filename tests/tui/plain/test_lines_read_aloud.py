"""Growing text becomes whole lines, the same however it came, and lines break between words only."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tui.commands.table import cells
from tui.plain.aloud import ENOUGH, MOST, Aloud
from tui.plain.speaking import broken

TEXTS = st.lists(
    st.sampled_from(["word", " ", "\n", ". ", "。", "```\n", "| a | b |\n", "e.g. ", "好", "x" * 50, "! ", "\r\n"]),
    max_size=120,
).map("".join)


def said(text: str, size: int) -> list[str]:
    aloud, lines = Aloud(), []
    for start in range(0, len(text), size):
        lines += aloud.more(text[start : start + size])
    return lines + aloud.end()


def letters(text: str) -> str:
    return re.sub(r"\s", "", text)


@given(TEXTS, st.integers(1, 40))
def test_nothing_is_lost_or_said_twice(text: str, size: int) -> None:
    assert letters("".join(said(text, size))) == letters(text)


@given(TEXTS, st.integers(1, 40))
def test_no_line_has_a_newline_in_it(text: str, size: int) -> None:
    assert all("\n" not in line for line in said(text, size))


def test_a_sentence_is_said_before_its_paragraph_has_ended() -> None:
    aloud = Aloud()
    first = "The sky is blue because air scatters short waves more than long ones, said Rayleigh."
    assert aloud.more(first + " And the ev") == [first]
    assert aloud.more("ening is red.\n") == ["And the evening is red."]


def test_a_short_sentence_waits_for_its_neighbour() -> None:
    aloud = Aloud()
    assert aloud.more("Air, e.g. nitrogen, scatters.") == []
    assert aloud.more("\n") == ["Air, e.g. nitrogen, scatters."]


def test_chinese_sentences_end_without_a_space() -> None:
    sentence = "天" * ENOUGH + "。"
    assert Aloud().more(sentence + "后") == [sentence]


def test_code_comes_in_its_own_lines_only() -> None:
    line = "print('One. Two. Three.')  # " + "and so on. " * 20
    aloud = Aloud()
    assert aloud.more(f"```python\n{line}") == ["```python"]
    assert aloud.more("\n```\n") == [line, "```"]


def test_a_line_without_an_end_is_said_in_parts() -> None:
    assert len(Aloud().more("word " * (MOST // 2))) >= 2


@given(st.text(alphabet="ab好 ", max_size=300), st.integers(20, 60))
def test_a_line_is_broken_between_words_and_fits(line: str, wide: int) -> None:
    parts = broken(line, wide)
    assert " ".join(parts).split() == line.split()
    for part in parts:
        assert cells(part) <= wide or " " not in part.strip()


def test_what_stands_further_in_stays_further_in() -> None:
    assert broken("  - one two three four five six", 20) == ["  - one two three", "  four five six"]
