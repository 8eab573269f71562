# ruff: noqa: S101 - a promise is an assertion
"""What is promised of one answer: its events, counts, limits and characters."""

from __future__ import annotations

import msgspec
import pytest

from backends.conformance import law
from backends.conformance.asking import Answer, Session, is_piece, loaded
from backends.conformance.setting import Setting, Setup
from backends.events import Text

_FEW = 3
_LEAST_PIECES = 4


class AnswerPromises(Setting):
    """Promises of `chat` for a single question."""

    def test_a_question_is_answered_in_order_and_ends_once(self) -> None:
        with loaded(self, self.plain()) as session:
            answer = session.ask()
            assert answer.text, "plain() must be answered"
            law.check_reason(answer.done, "stop", "length", "context")
            _check_known(answer, session.setup)
            assert not answer.thought, "the answer to plain() has no thought"

    def test_prompt_progress_never_goes_back_and_ends_at_its_total(self) -> None:
        with loaded(self, self.plain()) as session:
            for _ in range(2):  # the second time most of it may be cached
                law.check_progress(session.ask().progress, answered=True)

    def test_usage_adds_up_and_unknown_is_not_zero(self) -> None:
        with loaded(self, self.plain()) as session:
            for _ in range(2):
                answer = session.ask()
                law.check_usage(answer.done.usage, answer.pieces, self.counts_output)

    def test_timings_are_plausible(self) -> None:
        with loaded(self, self.plain()) as session:
            answer = session.ask()
            law.check_timings(answer.done.timings, answer.done.usage, answer.wall_s)

    def test_an_answer_comes_in_pieces_while_it_is_made(self) -> None:
        with loaded(self, self.plain()) as session:
            pieces = [piece for piece in session.ask().pieces if piece.text]
            assert len(pieces) >= 2, f"the whole answer came at once: {pieces!r:.200}"

    def test_the_token_limit_ends_the_answer(self) -> None:
        with loaded(self, self.plain()) as session:
            sampling = msgspec.structs.replace(session.setup.sampling, max_tokens=_FEW)
            answer = session.ask(sampling=sampling)
            law.check_reason(answer.done, "length")
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)
            assert sum(piece.tokens for piece in answer.pieces) <= _FEW
            assert (answer.done.usage.output_tokens or 0) <= _FEW
            assert answer.text, "so many tokens say something"

    def test_a_stop_string_ends_the_answer_and_is_not_shown(self) -> None:
        with loaded(self, self.plain()) as session:
            whole, pieces = _whole(session)
            place = len("".join(piece.text for piece in pieces[: len(pieces) // 2]))
            # Half a piece before, half a piece behind: no piece holds all of it.
            stop = whole[max(1, place - 2) : place + 2]
            sampling = msgspec.structs.replace(session.setup.sampling, stop=("it never says this", stop))
            answer = session.ask(sampling=sampling)
            assert stop not in answer.text, f"the stop string {stop!r} is shown"
            assert answer.text == whole.partition(stop)[0], f"{stop!r} ended {whole!r:.200} elsewhere"
            law.check_reason(answer.done, "stop")
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)

    def test_a_stop_string_that_does_not_come_changes_nothing(self) -> None:
        with loaded(self, self.plain()) as session:
            whole, _ = _whole(session)
            # Its beginning comes, so that it has to be held back for a while; its end does not.
            sampling = msgspec.structs.replace(session.setup.sampling, stop=(whole[-2:] + "\x00",))
            assert session.ask(sampling=sampling).text == whole

    def test_characters_of_several_bytes_come_out_whole(self) -> None:
        with loaded(self, self.provided("unicode")) as session:
            answer = session.ask()
            said = answer.thought + answer.text
            assert any(ord(letter) > 0x7FF for letter in said), f"unicode() has no such characters: {said!r:.100}"
            assert "\ufffd" not in said, f"a character was cut: {said!r:.200}"
            _check_known(answer, session.setup)

    def test_an_empty_answer_is_an_answer(self) -> None:
        with loaded(self, self.provided("empty_answer")) as session:
            answer = session.ask()
            assert answer.text == "", "the answer to empty_answer() is empty"
            law.check_reason(answer.done, "stop")
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)

    def test_the_same_seed_gives_the_same_answer(self) -> None:
        with loaded(self, self.plain()) as session:
            if "seed" not in session.capabilities:
                pytest.skip(f"{self.backend.name} does not claim seed")
            chance = msgspec.structs.replace(session.setup.sampling, temperature=1.0, top_p=1.0, seed=7)
            session.ask(sampling=chance)  # so that as much of the prompt is cached for each of those below
            assert session.ask(sampling=chance).text == session.ask(sampling=chance).text

    def test_an_answer_that_fails_keeps_what_was_said_and_says_why(self) -> None:
        failing = self.provided("failing_answer")
        with loaded(self, failing.setup) as session:
            answer = session.fail(failing.error, failing.what)
            assert any(is_piece(event) for event in answer.events), "what came before the failure is told"


def _whole(session: Session) -> tuple[str, list[Text]]:
    """Return the complete answer and its pieces, asked twice so that as much is cached as for what follows."""
    session.ask()
    answer = session.ask()
    pieces = [piece for piece in answer.pieces if isinstance(piece, Text) and piece.text]
    assert len(pieces) >= _LEAST_PIECES, f"plain() must be answered with a dozen tokens or more: {answer.text!r:.100}"
    return answer.text, pieces


def _check_known(answer: Answer, setup: Setup) -> None:
    if setup.text is not None:
        assert answer.text == setup.text
    if setup.thought is not None:
        assert answer.thought == setup.thought
