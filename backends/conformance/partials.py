# ruff: noqa: S101 - a promise is an assertion
"""What is promised of an unfinished answer: it is gone on with, or it is said that this cannot be done."""

from __future__ import annotations

from backends.base import Partial
from backends.conformance import law
from backends.conformance.asking import Answer, Session, is_piece, loaded
from backends.conformance.setting import Setting
from backends.errors import CannotContinue

# So much of what follows a cut must be the same: a model that reads its own text in other tokens may differ later.
_ALIKE = 8


class PartialPromises(Setting):
    """Promises of `chat` for a request with a partial answer."""

    def test_a_partial_text_is_gone_on_with_and_not_repeated(self) -> None:
        with loaded(self, self.plain()) as session:
            whole = session.ask().text
            cut = whole.rindex(" ", 1, max(2, len(whole) * 2 // 3))
            answer = _go_on(session, Partial(text=whole[:cut]))
            if answer is not None:
                assert not answer.thought
                _check_goes_on(session, answer.text, whole[cut:])
                law.check_usage(answer.done.usage, answer.pieces, self.counts_output)

    def test_text_behind_a_closed_thought_is_gone_on_with(self) -> None:
        with loaded(self, self.provided("thinking")) as session:
            first = session.ask()
            cut = len(first.text) // 2
            cut = first.text.rfind(" ", 1, cut + 1) if " " in first.text[1 : cut + 1] else cut
            answer = _go_on(session, Partial(first.thought, first.text[:cut]))
            if answer is not None:
                assert not answer.thought, "a closed thought is not gone on with"
                law.check_split(answer.text, answer.thought)
                _check_goes_on(session, answer.text, first.text[cut:])

    def test_a_closed_thought_is_followed_by_its_answer(self) -> None:
        with loaded(self, self.provided("thinking")) as session:
            first = session.ask()
            answer = _go_on(session, Partial(first.thought))
            if answer is not None:
                assert not answer.thought, "a closed thought is not gone on with"
                assert answer.text, "the answer follows the thought"
                law.check_split(answer.text, answer.thought)
                _check_goes_on(session, answer.text, first.text)

    def test_an_open_thought_is_gone_on_with(self) -> None:
        with loaded(self, self.provided("thinking")) as session:
            first = session.ask()
            cut = first.thought.rindex(" ", 1, max(2, len(first.thought) * 2 // 3))
            answer = _go_on(session, Partial(first.thought[:cut], thinking=True))
            if answer is not None:
                assert answer.thought, "the thought goes on"
                law.check_split(answer.text, answer.thought)
                _check_goes_on(session, answer.thought, first.thought[cut:])


def _go_on(session: Session, partial: Partial) -> Answer | None:
    """Ask to go on; None if the backend cannot, having said so by its error and in its capabilities alike."""
    answer = session.attempt(partial=partial)
    claimed = "continue" in session.capabilities
    if isinstance(answer.error, CannotContinue):
        law.check_error(answer.error)
        assert not claimed, "it claims continue and cannot"
        assert not any(is_piece(event) for event in answer.events), "nothing is said before CannotContinue"
        return None
    if answer.error is not None:
        raise answer.error
    assert claimed, "it goes on with an answer and does not claim continue"
    return answer


def _check_goes_on(session: Session, new: str, expected: str) -> None:
    """What came is what followed the cut the first time, where that is repeatable; and never the beginning again."""
    setup = session.setup
    if setup.text is not None or setup.thought is not None or "seed" in session.capabilities:
        wanted = expected.lstrip()[:_ALIKE]
        assert new.lstrip().startswith(wanted), f"it goes on with {new!r:.80}, not with {expected!r:.80}"
