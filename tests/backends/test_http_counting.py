"""How long a conversation is, before a server says so: near enough at once, and better with each true count."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Message
from backends.http.counting import Estimator, visible

ENGLISH = (
    "The sky is blue because the molecules of the air scatter short waves far more strongly than long ones. "
    "Lord Rayleigh described it in 1871, and measured how the strength falls with the fourth power of the length. "
) * 6
CODE = (
    "def fibonacci(count: int) -> list[int]:\n    numbers = [0, 1]\n    while len(numbers) < count:\n"
    "        numbers.append(numbers[-1] + numbers[-2])\n    return numbers[:count]\n\n\n"
) * 6
CHINESE = "天空之所以是蓝色的,是因为空气分子对短波光的散射比对长波光强得多。瑞利勋爵在一八七一年解释了这一现象。" * 10
# DeepSeek's manual reckons with 0.3 tokens for an English character, and with 0.6 for a Chinese one.
TRUE = {
    "english": (ENGLISH, round(0.3 * len(ENGLISH))),
    "code": (CODE, round(0.3 * len(CODE))),
    "chinese": (CHINESE, round(0.6 * len(CHINESE))),
}

ROLES = st.sampled_from(["system", "user", "assistant"])
MESSAGES = st.lists(st.builds(Message, ROLES, st.text(max_size=200)), max_size=8)


def asked(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


@pytest.mark.parametrize("language", TRUE)
def test_a_first_estimate_is_right_within_a_factor(language: str) -> None:
    text, true = TRUE[language]
    assert true / 1.6 < Estimator().count(asked(text)) < true * 1.6


@pytest.mark.parametrize("language", TRUE)
def test_an_estimate_after_a_true_count_is_close(language: str) -> None:
    text, true = TRUE[language]
    estimator = Estimator()
    estimator.learn(asked(text), true)
    assert abs(estimator.count(asked(text)) - true) <= 1
    assert estimator.count(asked(text * 4)) == pytest.approx(true * 4, rel=0.05)


def test_the_latest_true_count_is_what_counts() -> None:
    estimator = Estimator()
    estimator.learn(asked(ENGLISH), 600)
    estimator.learn(asked(ENGLISH), 255)
    assert abs(estimator.count(asked(ENGLISH)) - 255) <= 1


def test_nothing_is_learned_from_a_text_shorter_than_its_template() -> None:
    estimator = Estimator()
    before = estimator.count(asked(ENGLISH))
    estimator.learn(asked("Hi"), 40)
    estimator.learn((), 900)
    assert estimator.count(asked(ENGLISH)) == before


@pytest.mark.parametrize("tokens", [-5, 0, 1, 12])
def test_nothing_is_learned_from_less_than_a_template(tokens: int) -> None:
    estimator = Estimator()
    before = estimator.count(asked(ENGLISH))
    estimator.learn(asked(ENGLISH), tokens)
    assert estimator.count(asked(ENGLISH)) == before


@pytest.mark.parametrize("tokens", [20, 10**9])
def test_an_absurd_count_moves_the_estimate_no_further_than_texts_can_be(tokens: int) -> None:
    estimator = Estimator()
    estimator.learn(asked(ENGLISH), tokens)
    size = len(ENGLISH.encode())
    assert size / 12 <= estimator.count(asked(ENGLISH)) <= size + 12


def test_each_message_costs_what_its_template_puts_around_it() -> None:
    estimator = Estimator()
    empty = estimator.count(())
    assert 0 < empty < 20
    counts = [estimator.count((Message("user", ""),) * number) for number in range(5)]
    assert len({b - a for a, b in itertools.pairwise(counts)}) == 1
    assert counts[1] > counts[0] == empty


def test_an_unfinished_answer_counts_too() -> None:
    estimator = Estimator()
    both = (*asked("Why?"), Message("assistant", ENGLISH))
    further = estimator.count(asked("Why?"), ENGLISH)
    assert estimator.count(asked("Why?")) < further <= estimator.count(both)
    assert estimator.count(both) - further < 20


def test_a_thought_is_counted_only_where_it_is_sent() -> None:
    thought = f"<think>\n{ENGLISH}\n</think>\n\nBlue."
    estimator = Estimator()
    assert estimator.count([Message("assistant", thought)]) == estimator.count([Message("assistant", "Blue.")])
    assert visible(Message("assistant", thought)) == "Blue."
    for role in ("user", "system"):
        message = Message(role, thought)
        assert visible(message) == thought
        assert estimator.count([message]) > estimator.count([Message(role, ENGLISH)])


def test_a_true_count_is_learned_for_what_was_sent() -> None:
    plain = (Message("user", ENGLISH), Message("assistant", "Blue."))
    thinking = (plain[0], Message("assistant", f"<think>\n{CODE}\n</think>\n\nBlue."))
    one, other = Estimator(), Estimator()
    one.learn(plain, 300)
    other.learn(thinking, 300)
    assert one.count(plain) == other.count(thinking) == other.count(plain)


def test_half_of_a_character_from_a_broken_source_is_counted_all_the_same() -> None:
    assert Estimator().count(asked("\ud83d" * 36), "\udc00" * 36) > Estimator().count(asked(""))


@given(MESSAGES, st.text(max_size=200), MESSAGES, st.integers(-10, 10**7))
def test_an_estimate_is_never_negative_and_grows_with_the_text(
    messages: list[Message], further: str, others: list[Message], tokens: int
) -> None:
    estimator = Estimator()
    estimator.learn(others, tokens)
    count = estimator.count(messages, further)
    assert count > 0
    assert estimator.count([*messages, Message("user", "x")], further) > count
    assert estimator.count(messages, further + "x" * 20) > count
