# ruff: noqa: S101 - a promise is an assertion
"""What is promised of thoughts: split from the answer alike by every backend, and closed when asked to."""

from __future__ import annotations

import pytest

from backends.base import Cancel
from backends.conformance import law
from backends.conformance.asking import is_text, is_thought, loaded
from backends.conformance.setting import Setting
from backends.events import ChatEvent, Reasoning


class ThoughtPromises(Setting):
    """Promises of `chat` for a model that thinks."""

    def test_a_thought_comes_before_the_answer_and_no_tag_is_shown(self) -> None:
        with loaded(self, self.provided("thinking")) as session:
            answer = session.ask()
            assert answer.thought.strip(), "thinking() must be answered with a thought"
            assert answer.text.strip(), "thinking() must be answered with text after the thought"
            law.check_split(answer.text, answer.thought)
            first = next(place for place, event in enumerate(answer.events) if is_text(event))
            late = [event for event in answer.events[first:] if is_thought(event)]
            assert not late, f"the thought goes on after the answer has begun: {late!r:.200}"
            for expected, said in ((session.setup.text, answer.text), (session.setup.thought, answer.thought)):
                assert expected in (None, said)

    def test_the_answer_does_not_begin_with_empty_lines_behind_its_thought(self) -> None:
        with loaded(self, self.provided("thinking")) as session:
            assert session.ask().text[:1] not in {"\n", "\r"}

    def test_usage_with_a_thought_adds_up(self) -> None:
        with loaded(self, self.provided("thinking")) as session:
            answer = session.ask()
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)
            law.check_timings(answer.done.timings, answer.done.usage, answer.wall_s)
            law.check_progress(answer.progress, answered=True)

    def test_style_none_leaves_everything_as_text(self) -> None:
        with loaded(self, self.provided("thinking")) as session:
            answer = session.ask(reasoning="none")
            thoughts = [event for event in answer.events if isinstance(event, Reasoning)]
            assert not thoughts, f"with the style none there are no thoughts: {thoughts!r:.200}"
            assert answer.text

    def test_answer_now_closes_the_thought_and_the_answer_follows(self) -> None:
        with loaded(self, self.provided("thinking")) as session:
            if "answer_now" not in session.capabilities:
                pytest.skip(f"{self.backend.name} does not claim answer_now")
            whole = session.ask()
            cancel = Cancel()

            def hurry(event: ChatEvent) -> None:
                cancel.hurried = cancel.hurried or is_thought(event)

            answer = session.ask(cancel=cancel, heard=hurry)
            assert cancel.hurried
            assert len(answer.thought) < len(whole.thought), "the thought went on to its end"
            assert answer.text, "the answer follows the closed thought"
            law.check_split(answer.text, answer.thought)
            law.check_reason(answer.done, "stop", "length", "context")
            law.check_usage(answer.done.usage, answer.pieces, self.counts_output)
