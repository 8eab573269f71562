"""The backend itself: one class with the promises of `backends.base.Backend`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from backends.base import Availability, Backend, Cancel, Cancelled, ChatRequest, Loaded, Message, TokenCount
from backends.errors import BackendError, ModelNotFound
from backends.events import ChatEvent, Done, DoneReason, LoadProgress, PromptProgress, Text, Timings, Usage
from backends.fitting import fits, overflow
from backends.stops import StopMatcher
from deepseek_tui_eliza import script

_CAPABILITIES = ("continue", "exact_tokens", "seed")
_TOKEN = re.compile(r"\s*\S+|\s+")


class ElizaOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a preset may say under [backends.eliza]. `words_per_second` 0 is as fast as it can."""

    context: Annotated[int, msgspec.Meta(ge=64)] = 2048
    words_per_second: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 20.0


class ElizaBackend(Backend):
    """Answers like the program of 1966: it turns what was said into a question."""

    name = "eliza"
    title = "ELIZA"
    Options: ClassVar[type[msgspec.Struct]] = ElizaOptions

    def __init__(self) -> None:
        self._options: ElizaOptions | None = None

    @classmethod
    def check(cls, options: Any = None) -> Availability:
        # A backend with an engine imports it here, never at the top of a module, and says what is missing.
        return Availability(ready=True, version="1966", capabilities=_CAPABILITIES)

    def load(self, model: str, options: ElizaOptions, report: Callable[[LoadProgress], None], cancel: Cancel) -> Loaded:
        if model != "doctor":
            raise ModelNotFound(f"ELIZA has no script {model!r}", "It has: doctor.", 'Write source = "server:doctor".')
        report(LoadProgress("reading", 0.0))
        if cancel.is_set():
            raise Cancelled
        self._options = options
        report(LoadProgress("reading", 1.0))
        return Loaded(context=options.context, capabilities=_CAPABILITIES)

    def count_tokens(self, messages: Sequence[Message]) -> TokenCount:
        return TokenCount(sum(len(_TOKEN.findall(message.text)) for message in messages))

    def chat(self, request: ChatRequest, cancel: Cancel) -> Iterator[ChatEvent]:
        options = self._options
        if options is None:
            raise BackendError("No script is loaded", "ELIZA was asked before it had one.", "Load it first.")
        before = request.partial.text if request.partial is not None else ""
        prompt = self.count_tokens(request.messages).count + len(_TOKEN.findall(before))
        if not fits(prompt, options.context):
            raise overflow(prompt, options.context)
        yield PromptProgress(prompt, prompt)
        rest = script.reply(request.messages[-1].text).removeprefix(before)
        started, said = time.monotonic(), 0
        stops, reason = StopMatcher(request.sampling.stop), "stop"
        for word in _TOKEN.findall(rest):
            if self._pause(options, cancel):
                reason = "stopped"
            elif said == request.sampling.max_tokens:
                reason = "length"
            elif prompt + said >= options.context:
                reason = "context"
            if reason != "stop":
                break
            said += 1
            yield Text(stops.feed(word))
            if stops.hit:
                break
        yield Text(stops.finish(), 0)
        yield _done(reason, prompt, said, time.monotonic() - started)

    def unload(self) -> None:
        self._options = None

    @staticmethod
    def _pause(options: ElizaOptions, cancel: Cancel) -> bool:
        """Wait for the next word; say whether the user stopped us meanwhile."""
        return cancel.wait(1 / options.words_per_second) if options.words_per_second else cancel.is_set()


def _done(reason: str, prompt: int, said: int, decode_s: float) -> Done:
    speed = (said - 1) / decode_s if said > 1 and decode_s > 0 else None
    usage = Usage(prompt_tokens=prompt, reasoning_tokens=0, output_tokens=said)
    timings = Timings(decode_s=decode_s, tokens_per_second=speed)
    return Done(msgspec.convert(reason, DoneReason), usage, timings)
