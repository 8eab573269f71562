# ruff: noqa: S101 - a promise is an assertion
"""What is promised of conversations: their tokens, the full context, and that none leaks into another."""

from __future__ import annotations

import threading
import time

import pytest

from backends.base import Cancel, Message
from backends.conformance import law
from backends.conformance.asking import Session, is_piece, loaded
from backends.conformance.setting import HELLO, Setting
from backends.errors import ContextOverflow

_SECRET = "xylograph"  # noqa: S105 - a word that no other question brings up
_SENTENCE = "The quick brown fox jumps over the lazy dog. "
_ESTIMATE_FACTOR = 3.0
_ALIKE = 40
_UNKNOWN_CONTEXT = 1_000_000


class ChatPromises(Setting):
    """Promises of `count_tokens`, of the context, and of one conversation beside another."""

    def test_a_count_is_that_of_the_prompt(self) -> None:
        with loaded(self, self.plain()) as session:
            used = session.ask().done.usage.prompt_tokens
            counted = session.do(lambda: session.backend.count_tokens(session.setup.messages), "count_tokens")
            assert counted.count > 0
            if "exact_tokens" in session.capabilities:
                assert counted.exact, "it claims exact_tokens"
                assert used in (None, counted.count), f"the prompt had {used} tokens, counted were {counted.count}"
            elif used is not None:
                low, high = used / _ESTIMATE_FACTOR, used * _ESTIMATE_FACTOR
                assert low <= counted.count <= high, f"the prompt had {used} tokens, estimated were {counted.count}"

    def test_a_count_grows_with_the_conversation(self) -> None:
        with loaded(self, self.plain()) as session:
            one = session.count(HELLO)
            two = session.count((*HELLO, Message("assistant", "Hello. What is it?"), Message("user", _SENTENCE)))
            many = session.count((Message("user", _SENTENCE * 50),))
            assert 0 < one < two < many

    def test_a_conversation_longer_than_the_context_overflows_before_anything_is_said(self) -> None:
        with loaded(self, self.provided("small_context")) as session:
            answer = session.fail(ContextOverflow, "a prompt longer than the context", messages=_too_long(session))
            assert not any(is_piece(event) for event in answer.events), "nothing is said before ContextOverflow"
            assert session.ask().text, "the next question is answered"

    def test_an_answer_that_fills_the_context_says_so(self) -> None:
        with loaded(self, self.provided("full_context")) as session:
            answer = session.ask()
            law.check_reason(answer.done, "context")
            assert answer.text or answer.thought
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)
            context, filled = session.loaded and session.loaded.context, answer.done.usage.context_tokens
            if context and filled is not None:
                assert filled <= context, f"{filled} tokens are in a context of {context}"
            session.still_answers(HELLO)

    def test_a_conversation_of_several_turns_is_answered(self) -> None:
        with loaded(self, self.plain()) as session:
            turns = (Message("system", "Be brief."), *HELLO, Message("assistant", "Hello."), *session.setup.messages)
            answer = session.ask(messages=turns)
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)
            law.check_reason(answer.done, "stop", "length", "context")

    def test_one_chat_does_not_leak_into_another(self) -> None:
        secret = (Message("user", f"The secret word is {_SECRET}. " + _SENTENCE * 3),)
        with loaded(self, self.plain()) as session:
            session.ask(messages=secret, chat="a")
            before = self.sent()
            other = session.ask(chat="b")
            after = self.sent()
            assert _SECRET not in other.text + other.thought, "chat b was told what was said in chat a"
            if before is not None and after is not None:
                assert after.startswith(before), "sent() is everything so far"
                assert _SECRET not in after[len(before) :], "chat a was sent with chat b"
            used = other.done.usage.prompt_tokens
            if used is not None and "exact_tokens" in session.capabilities:
                assert used == session.count(session.setup.messages), "the prompt of chat b has other tokens in it"

    def test_a_chat_is_answered_alike_after_another(self) -> None:
        with loaded(self, self.plain()) as session:
            if session.setup.text is None and "seed" not in session.capabilities:
                pytest.skip(f"{self.backend.name} does not claim seed, and plain() has no known text")
            first = session.ask(chat="a").text
            session.ask(messages=(Message("user", _SENTENCE * 3),), chat="b")
            again = session.ask(chat="a").text
            # With another share of the prompt cached the last bits of an engine's sums may differ.
            assert first[:_ALIKE] == again[:_ALIKE]

    def test_settling_ends_soon_after_it_was_stopped(self) -> None:
        with loaded(self, self.plain()) as session:
            session.ask(chat="a")
            for delay_s in (0.0, 0.2):
                cancel = Cancel()
                timer = threading.Timer(delay_s, cancel.set)
                if delay_s:
                    timer.start()
                else:
                    cancel.set()
                started = time.monotonic()
                session.do(lambda cancel=cancel: session.backend.settle(cancel), "settle")  # type: ignore[misc]
                elapsed = time.monotonic() - started
                timer.cancel()
                assert elapsed <= delay_s + self.stop_bound_s, f"settling went on for {elapsed - delay_s:.2f} s"
            assert session.ask(chat="a").text

    def test_forgetting_is_harmless_and_forgets_only_that(self) -> None:
        with loaded(self, self.plain()) as session:
            session.do(lambda: session.backend.forget("never heard of"), "forget")
            session.ask(chat="a")
            session.do(lambda: session.backend.forget("a"), "forget")
            session.do(lambda: session.backend.forget("a"), "forget")
            assert session.ask(chat="a").text


def _too_long(session: Session) -> tuple[Message, ...]:
    """Return a conversation that is surely longer than the context."""
    assert session.loaded is not None
    context = session.loaded.context
    if context is None:
        pytest.skip(f"{session.backend.name} does not know its context")
    assert context < _UNKNOWN_CONTEXT, "small_context() is not small"
    exact = "exact_tokens" in session.capabilities
    wanted = context + 1 if exact else context * _ESTIMATE_FACTOR
    text = _SENTENCE
    while session.count((Message("user", text),)) < wanted:
        text *= 2
    return (Message("user", text),)
