"""Backends whose answers, thoughts or continuations break a promise. Importing this registers them in `WRONG`."""

from __future__ import annotations

import random
from collections.abc import Iterable

from msgspec.structs import replace

from backends.base import Availability, Cancel, ChatRequest, Partial
from backends.errors import BackendError, CannotContinue
from backends.events import ChatEvent, Done, PromptProgress, Reasoning, Text, Timings, Usage
from tests.backends.wrong_backends import (
    Change,
    Events,
    RightBackend,
    after,
    asked,
    breaks,
    each,
    first,
    reason,
    sampled,
    tells,
    timings,
    usage,
)

ORDER = "a_question_is_answered_in_order_and_ends_once"
PROGRESS = "prompt_progress_never_goes_back_and_ends_at_its_total"
USAGE = "usage_adds_up_and_unknown_is_not_zero"
TIMINGS = "timings_are_plausible"
LIMIT = "the_token_limit_ends_the_answer"
STOP_STRING = "a_stop_string_ends_the_answer_and_is_not_shown"
NO_STOP = "a_stop_string_that_does_not_come_changes_nothing"
UNICODE = "characters_of_several_bytes_come_out_whole"
EMPTY = "an_empty_answer_is_an_answer"
FAILING = "an_answer_that_fails_keeps_what_was_said_and_says_why"
THOUGHT = "a_thought_comes_before_the_answer_and_no_tag_is_shown"
THOUGHT_USAGE = "usage_with_a_thought_adds_up"
HURRY = "answer_now_closes_the_thought_and_the_answer_follows"
PARTIAL_TEXT = "a_partial_text_is_gone_on_with_and_not_repeated"
BEHIND_THOUGHT = "text_behind_a_closed_thought_is_gone_on_with"
CLOSED_THOUGHT = "a_closed_thought_is_followed_by_its_answer"
OPEN_THOUGHT = "an_open_thought_is_gone_on_with"

tells(ORDER, "ends twice", after(Done("stop")))
tells(ORDER, "has no end", lambda events: (event for event in events if not isinstance(event, Done)))
tells(ORDER, "says something behind its end", after(Text("and so on")))
tells(ORDER, "goes on reading behind its text", lambda events: [Text("Well, ", 0), *events])
tells(ORDER, "gives what is no event", after({"done": True}))  # type: ignore[arg-type]
tells(ORDER, "cannot be sent", each(Text, lambda text: replace(text, text=text.text + "\ud83c")))
tells(ORDER, "counts in fractions", each(Text, lambda text: replace(text, tokens=0.5)))
tells(ORDER, "leaves out a word", lambda events: (e for e in events if not (isinstance(e, Text) and e.text == " wide")))
tells(ORDER, "has a reason of its own", reason("eos"))
tells(ORDER, "thinks where nobody thinks", first(Reasoning("Hm.", 0)))

tells(PROGRESS, "goes back", lambda events: [PromptProgress(7, 7), *events])
tells(PROGRESS, "never arrives", each(PromptProgress, lambda progress: replace(progress, total=progress.total + 1)))
tells(PROGRESS, "passes its total", each(PromptProgress, lambda progress: replace(progress, done=progress.total + 1)))
tells(PROGRESS, "changes its total", lambda events: [PromptProgress(0, 9_999), *events])
tells(PROGRESS, "has more cached than done", each(PromptProgress, lambda progress: replace(progress, cached=9_999)))

tells(USAGE, "counts what it did not tell", usage(output_tokens=3))
tells(USAGE, "says 0 output tokens for unknown", usage(output_tokens=0))
tells(USAGE, "says 0 prompt tokens for unknown", usage(prompt_tokens=0))
tells(USAGE, "has more cached than the prompt", usage(cached_tokens=9_999))
tells(USAGE, "has more thought than output", usage(reasoning_tokens=9_999))
tells(USAGE, "counts below nothing", usage(cached_tokens=-1))
breaks(USAGE, "tells of more chunks than tokens", counts_output=False)(
    type("Chunked", (RightBackend,), {"chat": lambda self, r, c: usage(output_tokens=3)(RightBackend.chat(self, r, c))})
)

tells(TIMINGS, "is in milliseconds", timings(prefill_s=120_000.0))
tells(TIMINGS, "is negative", timings(decode_s=-1.0))
tells(TIMINGS, "has a speed of 0", timings(tokens_per_second=0.0))
tells(TIMINGS, "has the speed of another answer", timings(decode_s=1.0, tokens_per_second=1000.0))


def at_once(events: Events) -> Iterable[ChatEvent]:
    told = list(events)
    texts = [event for event in told if isinstance(event, Text)]
    yield from (event for event in told if isinstance(event, PromptProgress))
    yield Text("".join(text.text for text in texts), sum(text.tokens for text in texts))
    yield told[-1]


tells("an_answer_comes_in_pieces_while_it_is_made", "says everything at once", at_once)

asked(LIMIT, "knows no limit", sampled(max_tokens=None))
asked(LIMIT, "says one token more", sampled(max_tokens=4))
tells(LIMIT, "does not say why it ended", reason("stop"))

asked(STOP_STRING, "knows no stop strings", sampled(stop=()))
tells(STOP_STRING, "does not say why it ended", reason("length"))


@breaks(STOP_STRING, "looks for it in each piece alone")
class PieceByPiece(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        stops = request.sampling.stop
        for event in super().chat(replace(request, sampling=replace(request.sampling, stop=())), cancel):
            if isinstance(event, Text) and any(stop in event.text for stop in stops):
                yield Done("stop")
                return
            yield event


@breaks(STOP_STRING, "shows it before it ends")
class Showing(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        text, stops = "", request.sampling.stop
        for event in super().chat(replace(request, sampling=replace(request.sampling, stop=())), cancel):
            yield event
            text += event.text if isinstance(event, Text) else ""
            if any(stop in text for stop in stops):
                yield Done("stop", Usage(), Timings())
                return


@breaks(NO_STOP, "loses what it held back")
class Losing(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        events = list(super().chat(request, cancel))
        lost = next((e for e in reversed(events) if isinstance(e, Text)), None) if request.sampling.stop else None
        yield from (event for event in events if event is not lost)


def cut_characters(events: Events) -> Iterable[ChatEvent]:
    for event in events:
        if isinstance(event, Text):
            data = event.text.encode()
            yield Text(data[:2].decode(errors="replace"))
            yield Text(data[2:].decode(errors="replace"), 0)
        else:
            yield event


tells(UNICODE, "cuts characters", cut_characters)
tells(UNICODE, "loses characters", each(Text, lambda t: replace(t, text=t.text.encode("ascii", "ignore").decode())))
tells(UNICODE, "writes other characters", each(Text, lambda t: replace(t, text=t.text.replace("ü", "u") + "海")))

tells(EMPTY, "says that there is nothing", first(Text("(no answer)")))
tells(EMPTY, "has another reason", reason("length"))


@breaks(EMPTY, "fails when there is nothing")
class Speechless(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        events = list(super().chat(request, cancel))
        if not any(isinstance(event, Text) for event in events):
            raise BackendError("The engine said nothing", "", "Try again.")
        yield from events


tells(
    "the_same_seed_gives_the_same_answer", "throws dice", each(Text, lambda t: replace(t, text=f"{random.random()} "))
)


def failing(error: BaseException | None) -> Change:
    """Return what raises another error in place of the right one, or none."""

    def change(events: Events) -> Iterable[ChatEvent]:
        try:
            yield from events
        except BackendError:
            if error is not None:
                raise error from None
            yield Done("stop")

    return change


def all_or_nothing(events: Events) -> Iterable[ChatEvent]:
    return list(events)


tells(FAILING, "ends as if nothing had happened", failing(None))
tells(FAILING, "raises what nobody expects", failing(RuntimeError("boom")))
tells(FAILING, "has no title", failing(BackendError("", "x", "Try again.")))
tells(FAILING, "has two titles", failing(BackendError("One\nTwo", "x", "Try again.")))
tells(FAILING, "says not what to do", failing(BackendError("It failed", "x")))
tells(FAILING, "tells a story", failing(BackendError("It failed " * 40, "x", "Try again.")))
tells(FAILING, "is a traceback", failing(BackendError("It failed", "Traceback (most recent call last):\n x", "Again.")))
tells(FAILING, "is of a kind of its own", failing(type("Own", (BackendError,), {"kind": "own"})("A", "b", "c")))
tells(FAILING, "forgets what was said", all_or_nothing)

tells(THOUGHT, "shows the closing tag", each(Reasoning, lambda r: replace(r, text=r.text.replace("sea.", "</think>"))))
tells(THOUGHT, "shows a tag in pieces", each(Text, lambda t: replace(t, text=t.text.replace(" wide", "</th") + "ink>")))
tells(THOUGHT, "does not split", each(Reasoning, lambda thought: Text(thought.text, thought.tokens)))
tells(THOUGHT, "only thinks", each(Text, lambda text: Reasoning(text.text, text.tokens)))


def thought_last(events: Events) -> Iterable[ChatEvent]:
    order = (PromptProgress, Text, Reasoning, Done)
    return sorted(events, key=lambda event: order.index(type(event)))


tells(THOUGHT, "thinks after it has answered", thought_last)
tells("the_answer_does_not_begin_with_empty_lines_behind_its_thought", "leaves them", first(Text("\n\n", 0)))


def with_lines(events: Events) -> Iterable[ChatEvent]:
    for event in events:
        yield Text("\n\n", 0) if event == Text("", 0) else event


tells("the_answer_does_not_begin_with_empty_lines_behind_its_thought", "leaves them behind the thought", with_lines)
tells(THOUGHT_USAGE, "says 0 for an unknown thought", usage(reasoning_tokens=0))
tells(THOUGHT_USAGE, "leaves the thought out of the output", usage(output_tokens=16))
asked("style_none_leaves_everything_as_text", "splits all the same", lambda request: replace(request, reasoning="auto"))
tells(
    "style_none_leaves_everything_as_text",
    "drops the answer",
    lambda events: (event for event in events if not isinstance(event, Text)),
)


@breaks(HURRY, "claims to answer now and does not")
class Patient(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        deaf = Cancel()
        cancel.on_set(deaf.set)
        yield from super().chat(request, deaf)


@breaks(HURRY, "takes answer now for a stop")
class Hasty(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        for event in super().chat(request, cancel):
            if cancel.hurried and not isinstance(event, Done):
                yield Done("stop", Usage())
                return
            yield event


for promise in (PARTIAL_TEXT, BEHIND_THOUGHT, CLOSED_THOUGHT, OPEN_THOUGHT):
    asked(promise, "begins anew", lambda request: replace(request, partial=None))


@breaks(PARTIAL_TEXT, "repeats the end of what there was")
@breaks(BEHIND_THOUGHT, "repeats the end of what there was")
@breaks(CLOSED_THOUGHT, "repeats the end of what there was")
@breaks(OPEN_THOUGHT, "repeats the end of what there was")
class Repeating(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        events, partial = super().chat(request, cancel), request.partial
        if partial is None:
            yield from events
        else:
            kind = Reasoning if partial.thinking else Text
            yield from first(kind((partial.text or partial.reasoning)[-12:], 0))(events)


asked(
    BEHIND_THOUGHT,
    "begins the answer anew",
    lambda r: replace(r, partial=Partial(r.partial.reasoning)) if r.partial else r,
)
asked(CLOSED_THOUGHT, "opens the thought again", lambda r: replace(r, partial=Partial("They ", thinking=True)))
asked(
    OPEN_THOUGHT, "closes the thought", lambda r: replace(r, partial=r.partial and replace(r.partial, thinking=False))
)


class Unable(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        if request.partial is not None:
            raise CannotContinue("This server cannot go on with an answer", "", "Ask again.")
        yield from super().chat(request, cancel)


class Humble(RightBackend):
    @classmethod
    def check(cls, options: object = None) -> Availability:
        return Availability(ready=True)


for promise in (PARTIAL_TEXT, BEHIND_THOUGHT, CLOSED_THOUGHT, OPEN_THOUGHT):
    breaks(promise, "claims to go on and cannot")(Unable)
    breaks(promise, "goes on and does not claim it")(Humble)


@breaks(PARTIAL_TEXT, "cannot go on and fails by accident")
class Accident(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        if request.partial is not None:
            raise NotImplementedError
        yield from super().chat(request, cancel)
