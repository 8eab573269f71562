# ruff: noqa: S101 - a law is an assertion
"""The laws that hold for every answer, every error and every loaded model, whatever was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

import msgspec

from backends.base import Availability, Capability, Loaded
from backends.errors import BackendError, from_info, to_info
from backends.events import ChatEvent, Done, DoneReason, LoadProgress, PromptProgress, Reasoning, Text, Timings, Usage

TITLE_LIMIT, DETAIL_LIMIT, HINT_LIMIT = 120, 4000, 600
# A speed is a rough figure, and engines differ in which tokens they count: this finds wrong units, not wrong digits.
_SPEED_FACTOR = 2.0
_CLOCK_SLACK_S = 5.0
_TRACEBACK = re.compile(r"Traceback \(most recent call last\)|^\s*File \"[^\"]+\", line \d+", re.MULTILINE)
_TAG = re.compile(r"</?think>")

_event = msgspec.json.Decoder(ChatEvent)


def check_order(events: Sequence[ChatEvent], complete: bool = True) -> None:
    """PromptProgress*, then Reasoning and Text, then exactly one Done at the end; a failed answer has none."""
    kinds = [type(event).__name__ for event in events]
    strange = [event for event in events if not isinstance(event, PromptProgress | Reasoning | Text | Done)]
    assert not strange, f"an answer has no such events: {strange!r:.300}"
    ends = kinds.count("Done")
    if complete:
        assert ends == 1, f"an answer has exactly one Done, not {ends}"
        assert kinds[-1] == "Done", f"after Done came {kinds[kinds.index('Done') + 1 :]}"
    else:
        assert ends == 0, "an answer that ends with an error has no Done"
    first = next((place for place, kind in enumerate(kinds) if kind != "PromptProgress"), len(kinds))
    assert "PromptProgress" not in kinds[first:], "the prompt makes no progress after the answer has begun"


def check_wire(events: Sequence[ChatEvent]) -> None:
    """Each event is a wire message: right types, and text that can be written as UTF-8."""
    for event in events:
        try:
            read = _event.decode(msgspec.json.encode(event))
        except (msgspec.MsgspecError, UnicodeEncodeError, TypeError) as error:
            raise AssertionError(f"{event!r:.300} cannot be sent: {error}") from error
        assert read == event, f"{event!r:.300} is {read!r:.300} after it was sent"
        if isinstance(event, Reasoning | Text):
            assert event.tokens >= 0, f"{event!r:.300} stands for fewer than no tokens"


def check_progress(progress: Sequence[PromptProgress], answered: bool) -> None:
    """Progress never goes back, never passes its total, and is complete when the answer begins."""
    before = 0
    for event in progress:
        assert 0 <= event.cached <= event.done <= event.total, f"{event} says what cannot be"
        assert event.done >= before, f"progress goes back from {before} to {event.done}"
        before = event.done
    totals = {event.total for event in progress if event.total}
    assert len(totals) <= 1, f"the length of a prompt does not change: {sorted(totals)}"
    if progress and answered:
        assert progress[-1].done == progress[-1].total, f"the answer began at {progress[-1]}"


def check_usage(usage: Usage, pieces: Sequence[Reasoning | Text], counts_output: bool) -> None:
    """The counts add up, among themselves and with the events; what is unknown is None and never 0."""
    counts = msgspec.structs.asdict(usage)
    negative = {name: count for name, count in counts.items() if count is not None and count < 0}
    assert not negative, f"a count is never negative: {negative}"
    assert usage.prompt_tokens != 0, "prompt_tokens is 0: a prompt has tokens; unknown is None"
    thought = any(piece.text for piece in pieces if isinstance(piece, Reasoning))
    if any(piece.text for piece in pieces):
        assert usage.output_tokens != 0, "output_tokens is 0 for an answer that says something; unknown is None"
    if thought:
        assert usage.reasoning_tokens != 0, "reasoning_tokens is 0 for an answer with a thought; unknown is None"
    if usage.cached_tokens is not None and usage.prompt_tokens is not None:
        assert usage.cached_tokens <= usage.prompt_tokens, f"more is cached than the prompt has: {usage}"
    if usage.reasoning_tokens is not None and usage.output_tokens is not None:
        assert usage.reasoning_tokens <= usage.output_tokens, f"output includes the thought: {usage}"
    total = sum(piece.tokens for piece in pieces)
    thinking = sum(piece.tokens for piece in pieces if isinstance(piece, Reasoning))
    if counts_output:
        assert usage.output_tokens in (None, total), f"the events stand for {total} tokens: {usage}"
        assert usage.reasoning_tokens in (None, thinking), f"the thought's events stand for {thinking} tokens: {usage}"
    elif usage.output_tokens is not None:
        # A chunk stands for a token or more; what opens or closes a thought may be left out by the server.
        assert total <= usage.output_tokens + 2, f"{total} pieces came, more than the tokens: {usage}"


def check_timings(timings: Timings, usage: Usage, wall_s: float) -> None:
    """Times are in seconds and could have been; the speed is that of this answer."""
    seconds = {name: value for name, value in msgspec.structs.asdict(timings).items() if name != "tokens_per_second"}
    for name, value in seconds.items():
        assert value is None or 0 <= value <= wall_s + _CLOCK_SLACK_S, f"{name} is {value} in an answer of {wall_s} s"
    speed = timings.tokens_per_second
    assert speed is None or speed > 0, f"tokens_per_second is {speed}; unknown is None"
    tokens, decode_s = usage.output_tokens, timings.decode_s
    if speed is not None and tokens is not None and tokens > 1 and decode_s:
        low, high = (tokens - 1) / decode_s / _SPEED_FACTOR, tokens / decode_s * _SPEED_FACTOR
        assert low <= speed <= high, f"{tokens} tokens in {decode_s} s are not {speed} tokens a second"


def check_reason(done: Done, *allowed: DoneReason) -> None:
    assert done.reason in allowed, f"the answer ended for the reason {done.reason!r}, not {' or '.join(allowed)}"


def check_error(error: BaseException) -> None:
    """An error is typed and tells a reader what happened, where, and what to do; a host can pass it on."""
    if not isinstance(error, BackendError):
        raise AssertionError(f"{type(error).__name__} is no BackendError: {error}") from error
    assert error.title.strip(), "an error has a title"
    assert len(error.title) <= TITLE_LIMIT, f"a title is one short line: {error.title!r:.200}"
    assert not set(error.title) & {"\n", "\r"}, f"a title is one line: {error.title!r}"
    assert error.hint.strip(), f"an error says what to do: {error!r:.300}"
    assert len(error.hint) <= HINT_LIMIT, f"a hint is a sentence or two: {error.hint!r:.200}"
    assert len(error.detail) <= DETAIL_LIMIT, f"the detail is too long: {error.detail!r:.200}"
    for part in (error.title, error.detail, error.hint):
        assert not _TRACEBACK.search(part), f"a traceback is for a log, not for a reader: {part!r:.300}"
    sent = from_info(to_info(error))
    assert sent.kind == error.kind, f"no host knows the kind {error.kind!r}: derive from backends.errors"


def check_split(text: str, thought: str) -> None:
    """The tags around a thought are never shown."""
    for channel, said in (("thought", thought), ("text", text)):
        tag = _TAG.search(said)
        assert tag is None, f"{tag and tag[0]} is shown in the {channel}: {said!r:.200}"


def check_loaded(loaded: Loaded) -> None:
    """A model's description is possible, and says None where nothing is known."""
    positive = ("context", "trained_context", "layers", "model_bytes")
    zeroes = [name for name in positive if (value := getattr(loaded, name)) is not None and value <= 0]
    assert not zeroes, f"{zeroes} cannot be 0 or less; unknown is None: {loaded}"
    for name in ("gpu_layers", "vram_bytes", "load_s"):
        value = getattr(loaded, name)
        assert value is None or value >= 0, f"{name} is negative: {loaded}"
    if loaded.layers is not None and loaded.gpu_layers is not None:
        assert loaded.gpu_layers <= loaded.layers, f"more layers are on the GPU than there are: {loaded}"
    assert all(note.strip() for note in loaded.notes), f"a note is a sentence: {loaded.notes}"
    check_capabilities(loaded.capabilities or ())


def check_reports(reports: Sequence[LoadProgress]) -> None:
    """Fractions are 0…1, and within a stage they never go back, unless it begins anew."""
    stage, before = "", 0.0
    for report in reports:
        if report.fraction is None:  # such as a note that it begins anew with less on the card
            before = 0.0
            continue
        assert 0 <= report.fraction <= 1, f"{report} is no part of a whole"
        assert report.stage != stage or report.fraction >= before, f"loading goes back from {before} to {report}"
        stage, before = report.stage, report.fraction


def check_capabilities(words: Sequence[str]) -> None:
    unknown = set(words) - set(get_args(Capability))
    assert not unknown, f"these are no capabilities: {sorted(unknown)}; known are {get_args(Capability)}"


def check_availability(answer: Availability) -> None:
    """What `check` says can be shown: a reason and a next step where it is not ready."""
    assert isinstance(answer, Availability), f"check returned {answer!r:.200}"
    assert msgspec.json.decode(msgspec.json.encode(answer), type=Availability) == answer
    check_capabilities(answer.capabilities)
    if not answer.ready:
        assert answer.detail.strip(), "a backend that is not ready says why"
        assert answer.hint.strip(), "a backend that is not ready says what to do"
