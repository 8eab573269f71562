"""Thought and answer in their channels, whether the server tells them apart, its text does, or nobody."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.events import Reasoning, Text
from backends.http.channels import Channels
from backends.reasoning import SplitState, ThoughtSplitter

Piece = tuple[Literal["said", "thought"], str]
PIECES = st.sampled_from(["<think>", "</think>", "<thi", "nk>", "</", "<", ">", "\n", "\r\n", " ", "a", "ü", "…", "Hm"])
TEXTS = st.lists(PIECES, max_size=16).map("".join)
STATES: tuple[SplitState, ...] = ("start", "opened", "entered", "thinking", "closed", "answer")


class Heard:
    """What a `Channels` was given and what it said, checked for counts that add up."""

    def __init__(self, state: SplitState = "start", plain: bool = False) -> None:
        self.channels = Channels()
        self.channels.begin(state, plain)
        self.events: list[Reasoning | Text] = []

    def feed(self, *pieces: Piece, tokens: int = 1) -> list[Reasoning | Text]:
        found: list[Reasoning | Text] = []
        for channel, text in pieces:
            said, thought = (text, "") if channel == "said" else ("", text)
            found += self._heard(self.channels.feed(said, thought, tokens))
        return found

    def both(self, said: str, thought: str, tokens: int = 1) -> list[Reasoning | Text]:
        return self._heard(self.channels.feed(said, thought, tokens))

    def close(self) -> list[Reasoning | Text]:
        return self._heard(self.channels.close_thought())

    def finish(self, further: int = 0) -> list[Reasoning | Text]:
        return self._heard(self.channels.finish(further))

    def _heard(self, events: list[Reasoning | Text]) -> list[Reasoning | Text]:
        self.events += events
        thoughts = [event for event in self.events if isinstance(event, Reasoning)]
        texts = [event for event in self.events if isinstance(event, Text)]
        assert self.channels.tokens == sum(event.tokens for event in self.events)
        assert self.channels.reasoning_tokens == sum(event.tokens for event in thoughts)
        assert self.channels.reasoning == "".join(event.text for event in thoughts)
        assert self.channels.text == "".join(event.text for event in texts)
        return events


def said(*texts: str) -> list[Piece]:
    return [("said", text) for text in texts]


def told(*texts: str) -> list[Piece]:
    return [("thought", text) for text in texts]


def cut(text: str, places: list[int]) -> list[str]:
    places = sorted(place % (len(text) + 1) for place in places)
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@pytest.mark.parametrize(
    ("pieces", "thought", "text"),
    [
        (said("Blue", "."), "", "Blue."),
        (said("<think>", "\n", "Hm", "</think>", "\n\n", "Blue", "."), "Hm", "Blue."),
        (said("<thi", "nk>\nHm</th", "ink>\n\nBlue."), "Hm", "Blue."),
        (told("Hm", "."), "Hm.", ""),
        (told("Hm") + said("Blue"), "Hm", "Blue"),
        (told("\n", "\nHm", "\n") + said("\n\n", "Blue"), "Hm\n", "Blue"),
        (told("\n", "\r\n\nHm", "\n\n", "\nSo") + said("Blue"), "Hm\n\n\nSo", "Blue"),
        (told("Hm") + said("Blue") + told("\n", "\nOh"), "HmOh", "Blue"),
        (told("\r\nHm") + said("Blue </think> sky <think>"), "Hm", "Blue </think> sky <think>"),
        (told("<think>Hm</think>") + said("Blue"), "<think>Hm</think>", "Blue"),
        (told("Hm") + said("Blue") + told("Oh") + said("\nsky"), "HmOh", "Bluesky"),
        (said("Blue") + told("Hm") + said(" sky"), "Hm", "Blue sky"),
        (said("<think>Hm</th") + told("Oh") + said("Blue"), "Hm</thOh", "Blue"),
        (said("<thi") + told("Hm") + said("Blue"), "Hm", "<thiBlue"),
    ],
)
def test_every_mixture_is_sorted(pieces: list[Piece], thought: str, text: str) -> None:
    heard = Heard()
    heard.feed(*pieces)
    heard.finish()
    assert (heard.channels.reasoning, heard.channels.text) == (thought, text)
    assert heard.channels.tokens == len(pieces)


def test_a_thought_that_goes_on_keeps_the_newlines_between_its_parts() -> None:
    heard = Heard("thinking")
    assert heard.feed(*told("\n", "\nSo")) == [Reasoning("\n", 1), Reasoning("\nSo", 1)]


def test_an_answer_that_is_plain_is_all_text() -> None:
    heard = Heard("answer", plain=True)
    heard.feed(*said("<think>Hm</think>"), *told("Oh"))
    heard.both(" sky", "blue")
    heard.finish()
    assert (heard.channels.reasoning, heard.channels.text) == ("", "<think>Hm</think>Ohblue sky")
    assert not heard.channels.thinking
    assert (heard.channels.tokens, heard.channels.reasoning_tokens) == (3, 0)


def test_a_piece_with_a_thought_and_text_counts_once() -> None:
    heard = Heard()
    assert heard.both("Blue", "Hm", 3) == [Reasoning("Hm", 3), Text("", 0), Text("Blue", 0)]
    assert (heard.channels.tokens, heard.channels.reasoning_tokens) == (3, 3)


def test_the_end_of_a_told_thought_shows_at_once() -> None:
    heard = Heard()
    assert heard.feed(*told("Hm")) == [Reasoning("Hm", 1)]
    assert heard.feed(*said("\n\n")) == [Text("", 0)]
    assert heard.feed(*said("Blue")) == [Text("Blue", 2)]


def test_a_piece_that_stands_for_many_tokens_or_none_is_counted_so() -> None:
    heard = Heard()
    heard.feed(*told("Hm"), tokens=7)
    heard.feed(*told("…"), tokens=0)
    heard.feed(*said("Blue"), tokens=5)
    heard.finish()
    assert (heard.channels.tokens, heard.channels.reasoning_tokens) == (12, 7)


@given(TEXTS, st.sampled_from(STATES), st.lists(st.integers(0, 999), max_size=20), st.lists(st.integers(0, 9)))
def test_however_text_is_cut_it_is_sorted_alike(
    text: str, state: SplitState, places: list[int], counts: list[int]
) -> None:
    chunks = cut(text, places)
    counts = [*counts, *[1] * len(chunks)][: len(chunks)]
    heard, whole = Heard(state), Heard(state)
    for chunk, tokens in zip(chunks, counts, strict=True):
        heard.feed(("said", chunk), tokens=tokens)
    heard.finish()
    whole.feed(("said", text))
    whole.finish()
    assert heard.channels.reasoning == whole.channels.reasoning
    assert heard.channels.text == whole.channels.text
    fed = sum(tokens for chunk, tokens in zip(chunks, counts, strict=True) if chunk)
    assert heard.channels.tokens == fed


@given(TEXTS, TEXTS, st.lists(st.integers(0, 999), max_size=12), st.lists(st.integers(0, 999), max_size=12))
def test_however_a_told_thought_is_cut_it_is_sorted_alike(
    thought: str, text: str, places: list[int], others: list[int]
) -> None:
    pieces = [*told(*filter(None, cut(thought, places))), *said(*filter(None, cut(text, others)))]
    heard, whole = Heard(), Heard()
    heard.feed(*pieces)
    heard.finish()
    whole.feed(*told(*filter(None, [thought])), *said(*filter(None, [text])))
    whole.finish()
    assert heard.channels.text == whole.channels.text
    assert heard.channels.reasoning == whole.channels.reasoning
    assert heard.channels.tokens == len(pieces)


@given(st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 9)), max_size=12), st.integers(0, 20), st.booleans())
def test_no_character_and_no_token_is_lost_or_invented(
    pieces: list[tuple[str, str, int]], further: int, plain: bool
) -> None:
    heard = Heard("answer" if plain else "start", plain)
    for text, thought, tokens in pieces:
        heard.both(text, thought, tokens)
    heard.finish()
    heard.finish(further)
    given_in = "".join(thought + text for text, thought, _ in pieces)
    kept = heard.channels.reasoning + heard.channels.text
    for character in "aüHm…":  # those of which no tag is made
        assert kept.count(character) == given_in.count(character)
    assert len(kept) <= len(given_in)
    assert not plain or kept == given_in
    assert heard.channels.tokens == sum(tokens for text, thought, tokens in pieces if text or thought) + further


@pytest.mark.parametrize(
    ("state", "pieces", "thinking", "closed"),
    [
        ("start", [], False, None),
        ("start", said("<thi"), False, None),
        ("start", said("<think>"), True, [Text("", 0)]),
        ("start", said("<think>Hm"), True, [Text("", 0)]),
        ("start", said("<think>Hm</th"), False, [Reasoning("</th", 0), Text("", 0)]),
        ("start", said("Blue"), False, None),
        ("start", said("<think>Hm</think>"), False, None),
        ("start", told("Hm"), True, [Text("", 0)]),
        ("start", told("Hm</th"), True, [Text("", 0)]),
        ("start", told("Hm") + said("B"), False, None),
        ("opened", [], True, [Text("", 0)]),
        ("opened", said("<th"), False, [Reasoning("<th", 1), Text("", 0)]),
        ("opened", told("Hm"), True, [Text("", 0)]),
        ("thinking", [], True, [Text("", 0)]),
        ("thinking", said("Hm <"), False, [Reasoning("<", 0), Text("", 0)]),
        ("closed", [], False, None),
        ("answer", said("Blue"), False, None),
    ],
)
def test_a_thought_is_closed_where_one_is_open(
    state: SplitState, pieces: list[Piece], thinking: bool, closed: list[Reasoning | Text] | None
) -> None:
    heard = Heard(state)
    heard.feed(*pieces)
    assert heard.channels.thinking is thinking
    if closed is None:
        return
    tokens = len(pieces)
    assert heard.close() == closed
    assert not heard.channels.thinking
    assert heard.channels.tokens == tokens
    heard.channels.begin("closed", plain=False)
    assert heard.feed(*said("\n\n", "Blue")) == [Text("Blue", 2)]
    assert heard.channels.text == "Blue"


def test_a_thought_that_was_closed_is_kept_for_what_goes_on() -> None:
    heard = Heard("opened")
    heard.feed(*told("\nHm", "."))
    heard.close()
    heard.channels.begin("closed", plain=False)
    heard.feed(*said("Blue"))
    heard.finish()
    assert (heard.channels.reasoning, heard.channels.text) == ("Hm.", "Blue")
    assert (heard.channels.tokens, heard.channels.reasoning_tokens) == (3, 2)


@pytest.mark.parametrize(
    ("pieces", "event"),
    [
        (told("Hm"), Reasoning("", 4)),
        (said("<think>Hm"), Reasoning("", 4)),
        (said("Blue"), Text("", 4)),
        (told("Hm") + said("Blue"), Text("", 4)),
        ([], Text("", 4)),
    ],
)
def test_tokens_without_a_piece_count_where_the_answer_ends(pieces: list[Piece], event: Reasoning | Text) -> None:
    heard = Heard()
    heard.feed(*pieces)
    assert heard.finish() == []
    assert heard.finish(4) == [event]
    assert heard.finish() == []


def test_what_was_held_back_comes_out_at_the_end() -> None:
    heard = Heard()
    heard.feed(*said("<think>Hm</thi"))
    assert heard.finish() == [Reasoning("</thi", 0)]
    assert ThoughtSplitter("start").feed("<think>Hm</thi") == [Reasoning("", 1), Reasoning("Hm", 0)]
