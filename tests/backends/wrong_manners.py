"""Backends that break a promise of stops or of chats. Importing this registers them in `WRONG`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from backends.base import Availability, Cancel, ChatRequest, Message, TokenCount
from backends.errors import BackendError, Busy, ContextOverflow
from backends.events import ChatEvent, PromptProgress, Text
from tests.backends.wrong_backends import Events, RightBackend, breaks, has, reason, tells, usage

NO_CHAT = "a_stop_before_the_question_lets_nothing_begin"
PREFILL = "a_stop_in_prefill_ends_it_soon"
DECODE = "a_stop_in_decode_ends_it_soon_and_keeps_the_text"
IN_THOUGHT = "a_stop_in_a_thought_ends_it_and_keeps_the_thought"
LATE = "a_stop_of_an_answer_that_has_ended_does_not_touch_the_next"
CLOSED = "a_stream_that_is_closed_early_is_given_up_soon"
UNREAD = "a_stream_that_was_never_read_is_harmless"
COUNT = "a_count_is_that_of_the_prompt"
GROWS = "a_count_grows_with_the_conversation"
OVERFLOW = "a_conversation_longer_than_the_context_overflows_before_anything_is_said"
FULL = "an_answer_that_fills_the_context_says_so"
TURNS = "a_conversation_of_several_turns_is_answered"
LEAK = "one_chat_does_not_leak_into_another"
ALIKE = "a_chat_is_answered_alike_after_another"
SETTLE = "settling_ends_soon_after_it_was_stopped"
FORGET = "forgetting_is_harmless_and_forgets_only_that"


@breaks(NO_CHAT, "does not look")
@breaks(PREFILL, "does not look")
@breaks(DECODE, "does not look")
@breaks(IN_THOUGHT, "does not look")
class Deaf(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        yield from super().chat(request, Cancel())


@breaks(NO_CHAT, "raises where it was stopped")
@breaks(PREFILL, "raises where it was stopped")
@breaks(DECODE, "raises where it was stopped")
@breaks(IN_THOUGHT, "raises where it was stopped")
class Shocked(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        for event in super().chat(request, cancel):
            if cancel.is_set():
                raise BackendError("The connection was closed", "x", "Try again.")
            yield event


@breaks(NO_CHAT, "answers nothing more after a stop")
@breaks(PREFILL, "answers nothing more after a stop")
@breaks(DECODE, "answers nothing more after a stop")
@breaks(IN_THOUGHT, "answers nothing more after a stop")
class Offended(RightBackend):
    stopped = False

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        if self.stopped:
            raise Busy("The engine is busy", "x", "Wait.")
        yield from super().chat(request, cancel)
        self.stopped = cancel.is_set()


for promise in (NO_CHAT, PREFILL, DECODE, IN_THOUGHT):
    tells(promise, "does not say that it was stopped", reason("stop"))


@breaks(DECODE, "goes on for a while")
@breaks(PREFILL, "goes on for a while")
class Slow(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        for event in super().chat(request, cancel):
            if cancel.is_set():
                time.sleep(0.6)
            yield event


tells(DECODE, "counts what it did not say", usage(output_tokens=400))


@breaks(LATE, "hears an old stop")
class LongMemory(RightBackend):
    old: Cancel | None = None

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        flag = self.old or cancel
        self.old = cancel
        yield from super().chat(request, flag)


@breaks(CLOSED, "reads to the end first", patience_s=10.0)
class Thorough(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        events = super().chat(request, cancel)
        try:
            yield from events
        finally:
            for _ in events:
                pass
            time.sleep(0.6)


@breaks(CLOSED, "is busy for ever")
@breaks(UNREAD, "is busy for ever")
class Locked(RightBackend):
    busy = False

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        if self.busy:
            raise Busy("The engine is busy", "x", "Wait.")
        self.busy = True
        yield from super().chat(request, cancel)
        self.busy = False


@breaks(UNREAD, "begins before anybody reads")
class Eager(RightBackend):
    busy = False

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        if self.busy:
            raise Busy("The engine is busy", "x", "Wait.")
        self.busy = True
        events = super().chat(request, cancel)

        def read() -> Events:
            try:
                yield from events
            finally:
                self.busy = False

        return read()


def counting(count: Callable[[int], TokenCount]) -> dict[str, Any]:
    def count_tokens(self: RightBackend, messages: Sequence[Message]) -> TokenCount:
        return count(sum(len(message.text) for message in messages))

    return {"count_tokens": count_tokens}


tells(COUNT, "counts other tokens than it uses", usage(prompt_tokens=3))
breaks(COUNT, "claims exact counts and estimates")(
    type("Rough", (RightBackend,), {"count_tokens": lambda s, m: replace(RightBackend.count_tokens(s, m), exact=False)})
)


@breaks(COUNT, "estimates far too much")
class Estimating(RightBackend):
    @classmethod
    def check(cls, options: Any = None) -> Availability:
        return Availability(ready=True)

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        yield from usage(prompt_tokens=500)(super().chat(request, cancel))


breaks(GROWS, "counts every conversation alike")(
    type("Flat", (RightBackend,), {"count_tokens": lambda _self, _messages: TokenCount(7)})
)


@breaks(OVERFLOW, "leaves out the beginning silently")
class Trimming(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        messages = tuple(Message(m.role, m.text[-200:]) for m in request.messages)
        yield from super().chat(replace(request, messages=messages), cancel)


class Overflowing(RightBackend):
    said: tuple[ChatEvent, ...] = ()
    error: BackendError = ContextOverflow("It is full", "x", "Begin anew.")

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        try:
            yield from super().chat(request, cancel)
        except ContextOverflow:
            yield from self.said
            raise self.error from None


breaks(OVERFLOW, "speaks first")(type("Speaking", (Overflowing,), {"said": (PromptProgress(1, 1), Text("Well"))}))
breaks(OVERFLOW, "calls it by another name")(
    type("Misnaming", (Overflowing,), {"error": BackendError("HTTP 400", "x", "Try again.")})
)


@breaks(OVERFLOW, "answers nothing more")
class Overfull(RightBackend):
    full = False

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        if self.full:
            raise Busy("The engine is busy", "x", "Wait.")
        try:
            yield from super().chat(request, cancel)
        except ContextOverflow:
            self.full = True
            raise


tells(FULL, "calls it the end", reason("stop"))
tells(FULL, "calls it the token limit", reason("length"))
tells(FULL, "has more in it than it holds", usage(prompt_tokens=300))


@breaks(TURNS, "knows no earlier turns")
class Forgetful(RightBackend):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        if any(message.role == "assistant" for message in request.messages):
            raise KeyError("assistant")
        yield from super().chat(request, cancel)


class Mixing(RightBackend):
    before: tuple[Message, ...] = ()

    def mixed(self, request: ChatRequest) -> ChatRequest:
        before, self.before = self.before, request.messages
        return replace(request, messages=(*before, *request.messages))


@breaks(LEAK, "sends what was said before")
class Sending(Mixing):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        yield from super().chat(self.mixed(request), cancel)


@breaks(LEAK, "keeps what was said before in the context", sent=lambda _self: None)
class Keeping(Sending):
    pass


@breaks(LEAK, "tells what was said before", sent=lambda _self: None)
class Telling(Mixing):
    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        before = self.mixed(request).messages[0].text
        for event in super().chat(request, cancel):
            yield replace(event, text=before) if isinstance(event, Text) else event


@breaks(ALIKE, "goes on with the other")
class Drifting(RightBackend):
    asked = 0

    def chat(self, request: ChatRequest, cancel: Cancel) -> Events:
        self.asked += 1
        for event in super().chat(request, cancel):
            yield replace(event, text=event.text.replace("wide", str(self.asked))) if isinstance(event, Text) else event


has(SETTLE, "hears no stop", settle=lambda _self, _cancel: time.sleep(0.7))
has(SETTLE, "hears no stop at first", settle=lambda _self, cancel: None if cancel.is_set() else time.sleep(0.9))
has(SETTLE, "leaves without a model", settle=lambda self, _cancel: self.unload())


def forget_known(_self: RightBackend, chat: str) -> None:
    del {"a": 1}[chat]


has(FORGET, "knows what it never heard of", forget=forget_known)
has(FORGET, "forgets the model too", forget=lambda self, _chat: self.unload())
