"""The fold of an answer's records: the same for who watches live, who comes late and who reads the spool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Partial
from backends.errors import ErrorInfo
from backends.events import Done, Io, Metered, PromptProgress, Reasoning, Text, Usage
from backends.host.wire import AnswerEvent, Failed, Record
from tui.chat import answer as module
from tui.chat.answer import Answer, fold


def records(*events: tuple[float, AnswerEvent]) -> list[Record]:
    return [Record("a", seq, at_s, event) for seq, (at_s, event) in enumerate(events)]


def facts(answer: Answer) -> tuple[object, ...]:
    """Everything that does not depend on when it is looked at."""
    return (
        answer.text, answer.reasoning, answer.records, answer.tokens, answer.reasoning_tokens, answer.thinking,
        answer.prompt, answer.done, answer.failed, answer.finished, answer.last_s, answer.context_tokens,
        answer.thought_s if answer.finished or not answer.thinking else None,
    )  # fmt: skip


texts = st.text(max_size=5)
tokens = st.integers(0, 4)
events = st.one_of(
    st.builds(PromptProgress, st.integers(0, 99), st.integers(0, 99)),
    st.builds(Reasoning, texts, tokens),
    st.builds(Text, texts, tokens),
)
ends = st.one_of(
    st.none(),
    st.builds(Done, st.sampled_from(["stop", "stopped", "length"]), st.builds(Usage, st.integers(0, 9))),
    st.builds(Failed, st.builds(ErrorInfo, texts, texts)),
)


@st.composite
def streams(draw: st.DrawFn) -> list[Record]:
    steps = draw(st.lists(st.tuples(st.floats(0, 2), events), max_size=20))
    end = draw(ends)
    at_s, made = 0.0, []
    for wait_s, event in [*steps, *([(0.1, end)] if end is not None else [])]:
        at_s += wait_s
        made.append((at_s, event))
    return records(*made)


@given(streams(), st.lists(st.integers(0, 25)), st.sampled_from([None, Partial("r", "t"), Partial("r", "", True)]))
def test_one_who_joins_late_or_again_and_again_sees_what_the_live_viewer_sees(
    stream: list[Record], joins: list[int], before: Partial | None
) -> None:
    live = Answer(before)
    looked = []
    for record in stream:
        live.take(record)
        looked.append((live.text, live.reasoning))  # looking in between changes nothing
    joined = Answer(before)
    for start in [*sorted(joins), 0]:
        for record in stream[:start] if start else stream:  # from the beginning each time: doubles are passed over
            joined.take(record)
    assert facts(joined) == facts(live) == facts(fold(stream, before))
    for count, (text, reasoning) in enumerate(looked, 1):
        assert (text, reasoning) == (fold(stream[:count], before).text, fold(stream[:count], before).reasoning)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def feed(answer: Answer, clock: list[float], stream: list[Record], start: float = 1000.0) -> None:
    for record in stream:
        clock[0] = start + record.at_s
        answer.take(record)


def test_the_rate_counts_the_tokens_of_the_last_seconds(clock: list[float]) -> None:
    answer = Answer()
    feed(answer, clock, records((0.0, Text("a", 1))))
    assert answer.tokens_per_second is None
    feed(answer, clock, records(*((n * 0.1, Text("a", 1)) for n in range(51))))
    assert answer.tokens_per_second == pytest.approx(10.0)
    slow = [Record("a", 51 + n, 5.0 + (n + 1) * 0.5, Text("a", 1)) for n in range(8)]
    feed(answer, clock, slow)
    assert answer.tokens_per_second == pytest.approx(2.0)


def test_the_rate_sinks_while_nothing_comes(clock: list[float]) -> None:
    answer = Answer()
    feed(answer, clock, records((0.0, Text("a", 1)), (1.0, Text("b", 4))))
    assert answer.tokens_per_second == pytest.approx(4.0)
    clock[0] += 3.0
    assert answer.tokens_per_second == pytest.approx(1.0)


def test_a_model_that_takes_longer_for_a_token_than_the_rate_looks_back_has_one_all_the_same(
    clock: list[float],
) -> None:
    answer = Answer()
    feed(answer, clock, records((0.0, Text("a", 1)), (20.0, Text("b", 1)), (45.0, Text("c", 1))))
    for waited in (0.0, 12.0, 24.0):
        clock[0] = 1045.0 + waited
        assert answer.tokens_per_second == pytest.approx(1 / 25)
    clock[0] = 1045.0 + 75.0
    assert answer.tokens_per_second == pytest.approx(1 / 75)


def test_the_rate_of_a_late_joiner_is_that_of_the_stream_and_not_of_the_joining(clock: list[float]) -> None:
    answer = Answer()
    clock[0] = 5000.0
    for record in records(*((n * 0.1, Text("a", 1)) for n in range(20))):
        answer.take(record)
    assert answer.tokens_per_second == pytest.approx(10.0)


def test_there_is_no_rate_after_the_end(clock: list[float]) -> None:
    answer = Answer()
    feed(answer, clock, records((0.0, Text("a")), (1.0, Text("b")), (2.0, Done("stop"))))
    assert answer.tokens_per_second is None


def test_a_thought_takes_from_its_first_token_to_the_first_of_the_text(clock: list[float]) -> None:
    answer = Answer()
    assert answer.thought_s is None
    feed(answer, clock, records((1.0, PromptProgress(1, 1)), (2.0, Reasoning("r"))))
    clock[0] += 1.5
    assert (answer.thought_s, answer.thinking) == (pytest.approx(1.5), True)
    feed(answer, clock, [Record("a", 2, 6.0, Text("t")), Record("a", 3, 9.0, Text("t"))])
    assert (answer.thought_s, answer.thinking) == (pytest.approx(4.0), False)


def test_an_answer_cut_off_in_its_thought_is_still_thinking(clock: list[float]) -> None:
    answer = Answer()
    feed(answer, clock, records((1.0, Reasoning("r")), (3.0, Done("stopped"))))
    clock[0] += 100
    assert (answer.thought_s, answer.thinking, answer.finished) == (2.0, True, True)


def test_the_context_is_the_prompt_and_what_was_generated() -> None:
    assert Answer().context_tokens is None
    stream = records((0, PromptProgress(5, 10)), (1, Reasoning("r", 2)), (2, Text("t", 3)), (3, Text("x", 0)))
    assert fold(stream).context_tokens == 15
    end = Record("a", 4, 4, Done("stop", Usage(11, 0, 2, 6)))
    assert fold([*stream, end]).context_tokens == 17
    unknown = Record("a", 4, 4, Done("stop"))
    assert fold([*stream, unknown]).context_tokens == 15


def test_going_on_keeps_what_was_there_before() -> None:
    answer = fold(records((0, Reasoning(" more")), (1, Text("text"))), Partial("thought", "", thinking=True))
    assert (answer.reasoning, answer.text) == ("thought more", "text")
    answer = fold(records((0, Text(" end"))), Partial("thought", "text"))
    assert (answer.reasoning, answer.text, answer.tokens) == ("thought", "text end", 1)


def test_the_thinking_ends_with_the_thought_and_not_with_the_first_word(clock: list[float]) -> None:
    answer = Answer()
    feed(answer, clock, records((0.0, Reasoning("r")), (2.0, Text("", 0))))
    assert (answer.thinking, answer.thought_s, answer.text, answer.tokens) == (False, 2.0, "", 1)
    assert answer.tokens_per_second is None  # an event that no token stands for does not count


LOOP = "Wait, let me check that again. The angles add up to a straight line, so the third one is sixty. "


def pieces(text: str, event: type[Reasoning | Text]) -> list[tuple[float, AnswerEvent]]:
    return [(0.0, event(text[start : start + 4])) for start in range(0, len(text), 4)]


def test_a_thought_that_goes_round_in_circles_is_noticed_until_it_ends() -> None:
    answer = fold(records(*pieces(LOOP * 6, Reasoning)))
    assert answer.looping
    answer.take(Record("a", answer.records, 1.0, Text("", 0)))
    assert not answer.looping


def test_an_answer_is_looked_at_apart_from_its_thought_and_no_more_when_it_is_over() -> None:
    stream = records(*pieces(LOOP * 6, Reasoning), (1.0, Text("So ")), *pieces(LOOP, Text))
    answer = fold(stream)
    assert not answer.looping
    for _, event in pieces(LOOP * 5, Text):
        answer.take(Record("a", answer.records, 2.0, event))
    assert answer.looping
    answer.take(Record("a", answer.records, 3.0, Done("stopped")))
    assert not answer.looping


@pytest.mark.parametrize("before", [Partial(LOOP * 4, "", thinking=True), Partial("", LOOP * 4)])
def test_a_loop_that_is_gone_on_with_is_noticed_at_once(before: Partial) -> None:
    event = Reasoning if before.thinking else Text
    assert fold(records(*pieces(LOOP, event)), before).looping


def test_what_it_reads_a_second_is_that_between_the_last_two_words_on_it() -> None:
    answer = Answer()
    rates = []
    course = [(0.0, 0, 0), (1.0, 500, 7), (3.0, 4500, 27), (3.0, 9000, 50)]
    for number, (at_s, read, faults) in enumerate(course):
        answer.take(Record("a", number, at_s, Metered(None, io=Io(read, faults, 0))))
        rates.append((answer.reads_per_s, answer.faults_per_s))
    assert rates == [(None, None), (500.0, 7.0), (2000.0, 10.0), (None, None)]
    assert answer.io == Io(9000, 50, 0)


def test_what_it_read_in_all_is_the_last_word_on_it() -> None:
    answer = Answer()
    answer.take(Record("a", 0, 1.0, Metered(None, io=Io(5, 1, 0))))
    answer.take(Record("a", 1, 2.0, Metered(None, io=Io(6, 1, 0))))
    answer.take(Record("a", 2, 2.5, Done("stop", io=Io(7, 2, 4096, 4096))))
    assert answer.io == Io(7, 2, 4096, 4096)
    assert (answer.reads_per_s, answer.faults_per_s) == (None, None)


def test_of_an_engine_in_no_process_of_ours_nothing_is_known() -> None:
    answer = Answer()
    answer.take(Record("a", 0, 1.0, Metered(None)))
    answer.take(Record("a", 1, 2.0, Metered(None)))
    assert (answer.io, answer.reads_per_s, answer.faults_per_s) == (None, None, None)
