# ruff: noqa: S101 - a promise is an assertion
"""What is promised of stopping: in every phase, soon, with all text so far, and with a backend that goes on."""

from __future__ import annotations

import time

from backends.base import Cancel
from backends.conformance import law
from backends.conformance.asking import Answer, Stop, is_piece, is_text, is_thought, loaded
from backends.conformance.setting import HELLO, Setting
from backends.events import ChatEvent, PromptProgress

_LATER_S = 0.2


class StopPromises(Setting):
    """Promises of `Cancel` and of a stream that is closed early."""

    def test_a_stop_before_the_question_lets_nothing_begin(self) -> None:
        cancel = Cancel()
        cancel.set()
        with loaded(self, self.plain()) as session:
            answer = session.ask(cancel=cancel)
            law.check_reason(answer.done, "stopped")
            assert not answer.text, "a stopped answer says nothing more"
            assert answer.wall_s <= self.stop_bound_s
            session.still_answers(session.setup.messages)

    def test_a_stop_in_prefill_ends_it_soon(self) -> None:
        with loaded(self, self.provided("slow_prefill")) as session:
            stop = Stop(lambda event: isinstance(event, PromptProgress), _LATER_S, at_latest_s=_LATER_S)
            answer = session.ask(stop=stop)
            self._stopped(answer)
            assert not any(is_piece(event) for event in answer.events), "the answer began before it was stopped"
            session.still_answers(HELLO)

    def test_a_stop_in_decode_ends_it_soon_and_keeps_the_text(self) -> None:
        with loaded(self, self.slow_decode()) as session:
            answer = session.ask(stop=Stop(is_text, _LATER_S))
            self._stopped(answer)
            assert answer.text, "the text so far is kept"
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)
            known = session.setup.text
            assert known is None or known.startswith(answer.text), f"{answer.text!r:.200} is not its beginning"
            session.still_answers(HELLO)

    def test_a_stop_in_a_thought_ends_it_and_keeps_the_thought(self) -> None:
        cancel = Cancel()

        def stop(event: ChatEvent) -> None:
            if is_thought(event):
                cancel.set()

        with loaded(self, self.provided("thinking")) as session:
            answer = session.ask(cancel=cancel, heard=stop)
            law.check_reason(answer.done, "stopped")
            assert answer.thought, "the thought so far is kept"
            assert not answer.text.strip(), "nothing more is said after the stop"
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)
            session.still_answers(HELLO)

    def test_a_stop_of_an_answer_that_has_ended_does_not_touch_the_next(self) -> None:
        old = Cancel()
        with loaded(self, self.plain()) as session:
            session.ask(cancel=old)

            def stop(event: ChatEvent) -> None:
                if is_piece(event):
                    old.set()

            answer = session.ask(heard=stop)
            assert old.is_set()
            law.check_reason(answer.done, "stop", "length", "context")

    def test_a_stream_that_is_closed_early_is_given_up_soon(self) -> None:
        with loaded(self, self.slow_decode()) as session:
            elapsed = session.read_until(is_text)
            assert elapsed <= self.stop_bound_s, f"closing it took {elapsed:.2f} s"
            session.still_answers(HELLO)

    def test_a_stream_that_was_never_read_is_harmless(self) -> None:
        with loaded(self, self.plain()) as session:
            started = time.monotonic()
            session.read_until(lambda _event: True)
            session.do(lambda: session.backend.chat(session.setup.request(), Cancel()), "an answer that nobody reads")
            answer = session.ask()
            assert answer.text
            assert time.monotonic() - started <= self.patience_s

    def _stopped(self, answer: Answer) -> None:
        law.check_reason(answer.done, "stopped")
        assert answer.stop_s is not None
        assert answer.stop_s <= self.stop_bound_s, f"it went on for {answer.stop_s:.2f} s"
